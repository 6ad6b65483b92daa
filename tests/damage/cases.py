"""What can happen to which object: the rows of the table of damages."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from shenyu_data.repository.format import COPY_SUFFIX, DESCRIPTOR, DICTIONARY
from shenyu_data.storage.local import LocalStorage
from shenyu_data.storage.protocol import Storage
from shenyu_data.testing.damage import delete, flip, swap, truncate, write_again
from tests.damage.years import Years

DAMAGES = ("missing", "empty", "truncated", "flipped", "swapped", "duplicated", "old version back")


class Target(NamedTuple):
    """What is damaged: the object, where it is cut off and flipped (None: in its middle), and what
    was once where something like it is now.
    """

    name: str
    offset: int | None = None
    before: str | None = None


class Kind(NamedTuple):
    """One kind of object: how the page calls it and what it says of it, and the one of the kind
    that is damaged. ``both``: it is stored twice, and both copies are.
    """

    title: str
    about: str
    target: Callable[[Years], Target]
    both: bool = False

    @property
    def heading(self) -> str:
        """The title, as a heading."""
        return self.title[0].upper() + self.title[1:]


class Case(NamedTuple):
    """One damage: the objects it is to be seen at, and how to do it."""

    objects: tuple[str, ...]
    apply: Callable[[Storage], None]


def _slot(years: Years, mine: bool) -> Target:
    slot = years.repository.slot
    assert slot is not None
    names = sorted(info.name for info in years.repository.storage.list("slots"))
    name = next(name for name in names if (name == f"slots/{slot.hex()}") == mine)
    return Target(name, before=_first(years, "slots"))


def _first(years: Years, folder: str) -> str | None:
    """Return the oldest of what a folder once held and does not hold any more."""
    return next((name for name in years.attic if name.startswith(f"{folder}/")), None)


def _newest(folder: str) -> Callable[[Years], Target]:
    def target(years: Years) -> Target:
        there = {info.name for info in years.repository.storage.list(folder)}
        names = [name for name in years.seen if name in there and "." not in name]
        return Target(names[-1], before=_first(years, folder))

    return target


def _keyring(years: Years) -> Target:
    return Target(*years.keyring, before=years.keyring_before)


def _snapshot(years: Years) -> Target:
    return Target(f"snapshots/{years.latest}", before=f"snapshots/{years.dropped}")


_TWIN = (
    "The other copy is read; `verify` names the damaged one, and a backup replaces a missing one."
)

KINDS = (
    Kind(
        "descriptor",
        "`repository`. The key slots say as much: nothing depends on it.",
        lambda years: Target(DESCRIPTOR),
    ),
    Kind(
        "dictionary",
        "`dictionary-1`. The program has the same one.",
        lambda years: Target(DICTIONARY),
    ),
    Kind(
        "key slot that is used",
        "The one that opens with the passphrase or key that is given. Any other slot still opens.",
        lambda years: _slot(years, mine=True),
    ),
    Kind(
        "another key slot",
        "Swapped means that both are damaged.",
        lambda years: _slot(years, mine=False),
    ),
    Kind("older repository keys, one copy", f"`generations/*`. {_TWIN}", _newest("generations")),
    Kind(
        "older repository keys, both copies",
        "After a rotation, what is older cannot be read without them, so nothing is opened.",
        _newest("generations"),
        both=True,
    ),
    Kind(
        "keyring, one copy",
        f"`keys/*`. {_TWIN} The old version has the key of an erased user: no reader uses it.",
        _keyring,
    ),
    Kind(
        "keyring, both copies",
        "Users whose key only it held cannot be restored; a full backup takes them anew, under new "
        "keys. Where a keyring cannot be read, nobody can say that an erased user's key is gone.",
        _keyring,
        both=True,
    ),
    Kind("tombstones, one copy", f"`tombstones/*`. {_TWIN}", _newest("tombstones")),
    Kind(
        "tombstones, both copies",
        "The erased user's key is destroyed all the same; but what older snapshots hold of the "
        "user now looks like damage.",
        _newest("tombstones"),
        both=True,
    ),
    Kind(
        "latest snapshot, one copy",
        f"`snapshots/*`. {_TWIN} The duplicate is a snapshot that cannot be read and may be the "
        "latest one; the old version is one that a prune dropped, whose packs are partly gone: "
        "`prune` drops it again.",
        _snapshot,
    ),
    Kind(
        "latest snapshot, both copies",
        "`latest` is not quietly an older one, unless nothing is left of it; each other one "
        "restores by its id.",
        _snapshot,
        both=True,
    ),
    Kind(
        "manifest",
        "`manifests/*`: who is in a snapshot, and where. The next backup takes those users anew.",
        lambda years: Target(*years.manifest, before=_first(years, "manifests")),
    ),
    Kind(
        "pack",
        "`packs/*`: documents. Only `verify --read-data` and a full backup read them.",
        lambda years: Target(*years.pack, before=_first(years, "packs")),
    ),
    Kind(
        "moves",
        "`moved/*`: where the segments of a repacked pack lie. Without it they are there, but "
        "nobody finds them; so `prune` must not take them for unneeded.",
        lambda years: Target(*years.moved, before=_first(years, "moved")),
    ),
    Kind(
        "record of a prune",
        "`prunes/*`. What waits to be deleted waits anew; and a snapshot that was dropped may look "
        "like one that is lost.",
        _newest("prunes"),
    ),
    Kind(
        "acknowledgement",
        "`acknowledgements/*`. What a [tripwire](tripwires.md) noticed counts as not seen: nothing "
        "is pruned until somebody acknowledges it again.",
        _newest("acknowledgements"),
    ),
    Kind(
        "proofs",
        "`proofs/*`. Snapshots count as unverified, until they are verified again.",
        _newest("proofs"),
    ),
)


def case_of(years: Years, kind: Kind, damage: str) -> Case | None:
    """Return a damage to a kind of object; None if there is no such thing."""
    target = kind.target(years)
    names = (target.name, target.name + COPY_SUFFIX) if kind.both else (target.name,)
    if damage == "missing":
        return _each(names, delete(*names).apply)
    if damage == "empty":
        return _each(names, *(truncate(name, 0).apply for name in names))
    if damage in ("truncated", "flipped"):
        at = target.offset
        if at is None:
            at = len(years.repository.storage.read(target.name)) // 2
        action = truncate if damage == "truncated" else flip
        return _each(names, *(action(name, at).apply for name in names))
    if damage == "swapped":
        return _swapped(years, target, names)
    if damage == "duplicated":
        return _duplicated(target, names)
    if target.before is None:
        return None
    before = [target.before + name.removeprefix(target.name) for name in names]
    return _each(tuple(before), *(_put(name, years.attic[name]) for name in before))


def _each(names: tuple[str, ...], *actions: Callable[[Storage], None]) -> Case:
    def apply(storage: Storage) -> None:
        for action in actions:
            action(storage)

    return Case(names, apply)


def _swapped(years: Years, target: Target, names: tuple[str, ...]) -> Case | None:
    """Let it change places with another of its kind; if there is none, with what was there once,
    or with that of another repository.
    """
    others = _others(years, target)
    if others:
        pairs = [(name, others[-1] + name.removeprefix(target.name)) for name in names]
        touched = tuple(name for pair in pairs for name in pair)
        return _each(touched, *(swap(*pair).apply for pair in pairs))
    if target.before is not None:
        data = years.attic[target.before]
    elif "/" in target.name:
        return None
    else:
        data = LocalStorage(str(years.folder / "other")).read(target.name)
        if data == years.repository.storage.read(target.name):
            return None
    return _each(names, *(_replace(name, data) for name in names))


def _others(years: Years, target: Target) -> list[str]:
    """Return the objects of the same kind, the newest last."""
    folder, _, last = target.name.partition("/")
    there = {info.name for info in years.repository.storage.list(folder)} if last else set()
    return [name for name in years.seen if name in there - {target.name} and "." not in name]


def _duplicated(target: Target, names: tuple[str, ...]) -> Case:
    folder, _, last = target.name.partition("/")
    other = f"{folder}/{'0123456789abcdef' * 2}" if last else f"{folder}-2"
    new = tuple(other + name.removeprefix(target.name) for name in names)

    def apply(storage: Storage) -> None:
        for name in new:
            storage.put(name, [storage.read(target.name)])

    return Case(new, apply)


def _put(name: str, data: bytes) -> Callable[[Storage], None]:
    def apply(storage: Storage) -> None:
        storage.put(name, [data])

    return apply


def _replace(name: str, data: bytes) -> Callable[[Storage], None]:
    def apply(storage: Storage) -> None:
        write_again(storage, name, data)

    return apply
