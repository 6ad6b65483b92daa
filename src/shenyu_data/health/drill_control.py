"""The negative control: copies damaged on purpose, of which a drill must notice every one.

A check that never fails proves nothing. So each drill restores a few owners again and again, does
harm to what came back, or to what is read from the repository, and looks with the very same check.
Nothing is changed but copies: in the sandbox, and in what passes through :class:`DamagedReads`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from shenyu_data.datadir.scratch import remove_tree
from shenyu_data.health.drill_check import Checked, Wrong, check_owners
from shenyu_data.health.drill_damage import (
    DamagedReads,
    reach,
    read_copy,
    without_a_chat,
    write_copy,
)
from shenyu_data.health.drill_live import Live
from shenyu_data.health.drill_sandbox import check_room, no_room, unusable
from shenyu_data.health.drill_tasks import open_owners
from shenyu_data.model.errors import DrillBlind
from shenyu_data.model.layout import GZIP_SUFFIX, is_plain_path, kind_of, path_of
from shenyu_data.model.monitor import SilentMonitor
from shenyu_data.operations.past import OwnerDocuments
from shenyu_data.operations.restore import restore_owners
from shenyu_data.operations.restore_tasks import RestoreCounts, RestoreTask
from shenyu_data.repository.format import (
    MANIFESTS,
    PACKS,
    FileEntry,
    FileState,
    Root,
)
from shenyu_data.repository.manifest import layers_of
from shenyu_data.repository.repository import Repository

Result = Literal["noticed", "missed", "impossible"]
"""``impossible``: nothing that was saved can be damaged so, as a chat where there are none."""

_LOOKED_AT = 50  # owners, in search of some that hold chats
_MOST_BYTES = 8 << 20
_SPECIMENS = 2
_MOST_ENTRIES = 200
_LONGEST_PATH_BYTES = 1000  # the whole path of a copy must be one that the system takes
_FEW = 20
_TOO_SHORT_BYTES = 15  # of gzip's 20: header, nothing, trailer

Expected = tuple[Wrong, bytes]
"""What must be noticed, of which path."""


class Control(NamedTuple):
    """One damage made on purpose, and whether it was noticed."""

    name: str
    result: Result


class Document(NamedTuple):
    """A document that can be damaged: of whom, where, its entry."""

    pseudonym: bytes
    path: bytes
    entry: FileEntry


def run_control(
    repository: Repository, root: Root, candidates: Iterable[bytes], sandbox: str
) -> list[Control]:
    """Do each damage to copies of a few of the owners, given by their pseudonyms; return what was
    noticed.

    Raise DrillBlind if any was missed, SandboxUnusable if there is no room.
    """
    try:
        controls = _Control(repository, root, sandbox).run(candidates)
    except OSError as error:
        raise unusable(os.path.join(sandbox, "control"), error) from error
    missed = [control.name for control in controls if control.result == "missed"]
    if missed:
        raise DrillBlind(
            f"the drill did not notice damage that it made on purpose: {', '.join(missed)}",
            hint="What it says proves nothing, and nothing of it was noted. Install the program "
            "anew; if it stays so, report it.",
        )
    return controls


class _Control:
    def __init__(self, repository: Repository, root: Root, sandbox: str) -> None:
        self._repository = repository
        self._root = root
        self._sandbox = sandbox
        self._folders = 0
        self._owners: dict[bytes, OwnerDocuments] = {}
        self._documents: list[Document] = []

    def run(self, candidates: Iterable[bytes]) -> list[Control]:
        self._choose(candidates)
        in_files: dict[str, Callable[[str], list[Expected]]] = {
            "flipped-byte": self._flip,
            "truncated-history": self._truncate,
            "dropped-chat": self._drop_chat,
            "missing-file": self._remove,
            "stray-file": self._add,
            "swapped-documents": self._swap,
        }
        controls = [self._after(name, damage) for name, damage in in_files.items()]
        controls.append(self._beside_live("rotten-live-document"))
        for name, folder, missing in (
            ("damaged-pack", PACKS, False),
            ("missing-pack", PACKS, True),
            ("damaged-manifest", MANIFESTS, False),
        ):
            controls.append(self._through(name, folder, missing=missing))
        return controls

    def _choose(self, candidates: Iterable[bytes]) -> None:
        """Find owners that come back whole, best such as hold chats."""
        second_best: dict[bytes, OwnerDocuments] = {}
        for _, pseudonym in zip(range(_LOOKED_AT), candidates, strict=False):
            bucket = pseudonym[0]
            work = {bucket: layers_of(self._root, bucket)}
            for _, owner in open_owners(
                self._repository, work, frozenset((pseudonym,)), self._root.sequence
            ):
                if not isinstance(owner, OwnerDocuments):
                    continue
                documents = _documents(pseudonym, owner)
                if not documents or sum(item.entry.size for item in documents) > _MOST_BYTES:
                    continue
                if not any(item.entry.chats for item in documents) or owner.record.shared:
                    if len(second_best) < _SPECIMENS:
                        second_best[pseudonym] = owner
                elif self._comes_back(pseudonym, owner):
                    self._owners[pseudonym] = owner
            if len(self._owners) == _SPECIMENS:
                break
        for pseudonym, owner in second_best.items():
            if len(self._owners) < _SPECIMENS and self._comes_back(pseudonym, owner):
                self._owners[pseudonym] = owner
        self._documents = [
            document
            for pseudonym, owner in self._owners.items()
            for document in _documents(pseudonym, owner)
        ]

    def _comes_back(self, pseudonym: bytes, owner: OwnerDocuments) -> bool:
        """Whether an owner is sound: only then damage says something. If not, the drill tells."""
        owners = {pseudonym: owner}
        with _Folder(self) as folder:
            restored = self._restore(self._repository, folder, owners)
            checked = check_owners(folder, owners)
        return not restored.damaged and not restored.failed and not _wrongs(checked)

    def _after(self, name: str, damage: Callable[[str], list[Expected]]) -> Control:
        """Restore, do harm, look: is what must be noticed among what was?"""
        with _Folder(self) as folder:
            restored = self._restore(self._repository, folder, self._owners)
            expected = [] if _is_gone(restored) else damage(folder)
            if not expected:
                return Control(name, "impossible")
            noticed = _wrongs(check_owners(folder, self._owners))
        return Control(name, "noticed" if noticed.issuperset(expected) else "missed")

    def _beside_live(self, name: str) -> Control:
        """Let another copy be the live directory, and one bit of it rot."""
        with _Folder(self) as folder, _Folder(self) as other:
            self._restore(self._repository, folder, self._owners)
            restored = self._restore(self._repository, other, self._owners)
            rotten = [] if _is_gone(restored) else self._flip(other)
            if not rotten or not self._looks_unchanged(other, rotten[0][1]):
                return Control(name, "impossible")
            live = Live(other, unsettled_too=True)
            try:
                noticed = _wrongs(check_owners(folder, self._owners, live))
            finally:
                live.close()
        return Control(name, "noticed" if ("live", rotten[0][1]) in noticed else "missed")

    def _looks_unchanged(self, folder: str, path: bytes) -> bool:
        """Whether the sandbox's file system could give a copy its document's time."""
        times = {item.path: item.entry.mtime_ns for item in self._documents}
        return os.stat(reach(folder, path)).st_mtime_ns == times[path]

    def _through(self, name: str, folder: str, *, missing: bool) -> Control:
        """Let what is read of the repository be damaged: neither may the restore take it for sound,
        nor the check miss what did not come back.
        """
        if not self._documents:
            return Control(name, "impossible")
        storage = DamagedReads(self._repository.storage, folder, missing=missing)
        damaged = Repository(storage, self._repository.keys, self._repository.slot)
        with _Folder(self) as target:
            restored = self._restore(damaged, target, self._owners)
            noticed = _wrongs(check_owners(target, self._owners))
        gone = {("missing", document.path) for document in self._documents}
        return Control(name, "noticed" if _is_gone(restored) and noticed >= gone else "missed")

    def _restore(
        self, repository: Repository, folder: str, owners: dict[bytes, OwnerDocuments]
    ) -> RestoreCounts:
        work = {pseudonym[0]: layers_of(self._root, pseudonym[0]) for pseudonym in owners}
        task = RestoreTask(
            repository,
            folder,
            work,
            None,
            None,
            False,
            self._root.sequence,
            frozenset(owners),
        )
        counts = restore_owners(task, SilentMonitor())
        if counts.no_room:
            raise no_room(folder)
        return counts

    def new_folder(self) -> str:
        """Make a folder to restore into."""
        self._folders += 1
        above = os.path.join(self._sandbox, "control")
        check_room(above, self._owners)
        folder = os.path.join(above, str(self._folders))
        os.mkdir(folder, 0o700)
        return folder

    # Each does one damage to what was restored into a folder, and returns what must be noticed.

    def _flip(self, folder: str) -> list[Expected]:
        largest = max(self._documents, key=lambda item: item.entry.size, default=None)
        if largest is None:
            return []
        data = bytearray(read_copy(folder, largest.path))
        data[len(data) // 2] ^= 1
        write_copy(folder, largest.path, data)
        return [("bytes", largest.path)]

    def _truncate(self, folder: str) -> list[Expected]:
        for document in self._histories():
            data = read_copy(folder, document.path)
            # Neither can be whole: an array that is not closed, less than the shortest gzip.
            is_gzip = document.path.endswith(GZIP_SUFFIX)
            length = _TOO_SHORT_BYTES if is_gzip else len(data.rstrip()) // 2
            write_copy(folder, document.path, data[:length])
            return [("bytes", document.path), ("torn", document.path)]
        return []

    def _drop_chat(self, folder: str) -> list[Expected]:
        """Take a chat out of a history, which stays valid: how chats are really lost."""
        for document in self._histories():
            shorter = without_a_chat(document.path, read_copy(folder, document.path))
            if shorter is not None:
                write_copy(folder, document.path, shorter)
                return [("bytes", document.path), ("counts", document.path)]
        return []

    def _remove(self, folder: str) -> list[Expected]:
        for document in self._documents:
            os.unlink(reach(folder, document.path))
            return [("missing", document.path)]
        return []

    def _add(self, folder: str) -> list[Expected]:
        for document in self._documents:
            above = document.path.rpartition(b"/")[0]
            stray = os.path.join(above, b"drill-" + os.urandom(8).hex().encode())
            with open(reach(folder, stray), "xb"):
                pass
            return [("extra", stray)]
        return []

    def _swap(self, folder: str) -> list[Expected]:
        """Let two documents change places, of two users if there are two."""
        few = self._documents[:_FEW] + self._documents[-_FEW:]
        pairs = [(one, other) for one in few for other in few if one.path != other.path]
        pairs.sort(key=lambda pair: pair[0].pseudonym == pair[1].pseudonym)
        for one, other in pairs:
            data, others = read_copy(folder, one.path), read_copy(folder, other.path)
            if data != others:
                write_copy(folder, one.path, others)
                write_copy(folder, other.path, data)
                return [("bytes", one.path), ("bytes", other.path)]
        return []

    def _histories(self) -> list[Document]:
        return [document for document in self._documents if document.entry.chats]


class _Folder:
    """A folder to restore into, gone afterwards."""

    def __init__(self, control: _Control) -> None:
        self._path = control.new_folder()

    def __enter__(self) -> str:
        return self._path

    def __exit__(self, *_: object) -> None:
        remove_tree(self._path)


def _documents(pseudonym: bytes, owner: OwnerDocuments) -> list[Document]:
    """Return the documents of an owner that can be damaged so that it must be noticed; none if some
    of the owner's are degraded, or linked, so that harm to one would be harm to another.
    """
    found: list[Document] = []
    if len(owner.record.entries) > _MOST_ENTRIES:
        return found
    for entry in owner.record.entries:
        path = path_of(owner.record.owner, entry.place, entry.name)
        if not isinstance(entry, FileEntry):
            continue
        if entry.state > FileState.UNPARSED or entry.links > 1 or not is_plain_path(path):
            return []
        if len(path) > _LONGEST_PATH_BYTES:
            continue
        is_history = kind_of(entry.place, entry.name) == "history"
        if entry.size and (entry.state == FileState.WHOLE or not is_history):
            found.append(Document(pseudonym, path, entry))
    return found


def _is_gone(restored: RestoreCounts) -> bool:
    """Whether somebody did not come back: damaged, or erased meanwhile."""
    return bool(restored.damaged or restored.erased)


def _wrongs(checked: Checked) -> set[Expected]:
    return {(item.wrong, item.path) for item in checked.troubles if item.wrong != "attributes"}
