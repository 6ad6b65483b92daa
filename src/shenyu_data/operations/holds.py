"""The file of holds, kept twice: in the state folder, and beside the configuration.

What is in either holds. If one of the two is gone or damaged, nothing is cleaned up: that no hold
is there must be known, not concluded from a file that is missing. Both places follow from the path
of the data directory. Of one that was moved, the copy beside the configuration says so: it names a
directory that is not there any more.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import NamedTuple

from shenyu_data.datadir.folder import open_root
from shenyu_data.datadir.scan import DataFolders, scan_user
from shenyu_data.model.errors import HoldsDamaged, OwnerHeld, ShenyuDataError, UsageError
from shenyu_data.model.expiry_holds import Hold, decode, decode_placed, encode, joined
from shenyu_data.model.findings import printable
from shenyu_data.model.layout import is_plain_name
from shenyu_data.storage.atomic import make_private, overwrite, write_file

_NAME = "holds.json"
_PREFIX = "shenyu-data."
_MOST_BYTES = 64 << 20


class HoldFiles(NamedTuple):
    """Where the two copies are. ``data`` is the directory they are about; in ``folders`` its copy
    may lie under another name if that was moved, or if somebody else wrote it.
    """

    state: str
    beside: str
    data: str = ""
    folders: tuple[str, ...] = ()


def hold_files(
    state: str, data: str, config_file: str | None, environment: Mapping[str, str]
) -> HoldFiles:
    """Say where the holds of the data directory ``data`` are kept; ``state`` is the folder of what
    concerns it. The copy lies beside the configuration file, else where that would be.
    """
    home = environment.get("XDG_CONFIG_HOME") or os.path.join(
        environment.get("HOME") or "/etc", ".config" if environment.get("HOME") else ""
    )
    folder = usual = os.path.join(home, "shenyu-data")
    folders: tuple[str, ...] = (usual,)
    if config_file is not None:
        above = os.path.dirname(os.path.abspath(config_file))
        folder = above if os.access(above, os.W_OK) else folder
        folders = (usual, above)
    real = os.path.realpath(data)
    mark = hashlib.blake2b(os.fsencode(real), digest_size=6).hexdigest()
    return HoldFiles(
        os.path.join(state, _NAME),
        os.path.join(folder, f"{_PREFIX}{mark}.{_NAME}"),
        real,
        folders,
    )


def is_user_there(data: str, user: bytes) -> bool:
    """Return whether a user who is to be held is in the data directory.

    Raise UsageError if nobody can have that name, DataDirectoryError.
    """
    if not is_plain_name(user):
        raise UsageError(
            f"{printable(user)!r} cannot be a user's name",
            hint="A user is named as in users/NAME.json.",
        )
    with open_root(data), DataFolders(data) as folders:
        return bool(scan_user(folders, user).entries)


def read_holds(files: HoldFiles) -> list[Hold]:
    """Return all holds, those that are over too. Raise HoldsDamaged if a copy is damaged or gone
    while the other one is there, or if there are holds of a directory that may have been moved.
    """
    holds, missing = _read(files)
    if missing:
        if not os.path.lexists(files.state) and (moved := _moved(files)):
            raise HoldsDamaged(
                f"{moved[0].beside} has holds of {moved[0].data}, from before that was moved or of "
                f"somebody else; they may be of {files.data}, so nothing is cleaned up",
                hint="`shenyu-data cleanup hold list` lists them, and any `cleanup hold add` or "
                "`remove` takes them over. Holds of another directory: move that file away.",
            )
        raise HoldsDamaged(
            f"the file of holds {missing[0]} is gone, so nothing is cleaned up",
            hint="See `shenyu-data cleanup hold list` for what its copy says; any `cleanup hold "
            "add` or `remove` writes both anew.",
        )
    return holds


def read_any_holds(files: HoldFiles) -> tuple[list[Hold], list[str]]:
    """Return the holds of the copies that are there, and which copy is not though it should be.
    Raise HoldsDamaged if one is damaged.
    """
    return _read(files)


def write_holds(files: HoldFiles, holds: Sequence[Hold]) -> None:
    """Write both copies. Raise ShenyuDataError if that cannot be done: then one may be new, and
    what is in either holds.
    """
    _, state_twin = _one(files.state)
    beside = state_twin or files.beside
    for path, twin in ((files.state, beside), (beside, files.state)):
        try:
            above = os.path.dirname(path)
            make_private(above)
            folder = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                text = encode(holds, twin, files.data)
                write_file(os.path.basename(path), [text], folder=folder, replace=True)
            finally:
                os.close(folder)
        except OSError as error:
            raise ShenyuDataError(
                f"cannot write the file of holds {path}: {error.strerror}",
                hint="Check the free space, owner and mode of its folder, and do it again.",
            ) from error


def holds_of(holds: Iterable[Hold], user: bytes) -> list[Hold]:
    """Return the holds on a user and on chats of that user, those that are over too."""
    return [hold for hold in holds if os.fsencode(hold.user) == user]


def refuse_held(files: HoldFiles, user: bytes, now_ms: int, *, held_too: bool) -> None:
    """Raise OwnerHeld if a user, or a chat of that user, is held and that is not to be passed over
    (``held_too``); HoldsDamaged if that cannot be told.
    """
    _moved(files)  # one that is damaged would only be met when all is done
    if held_too:
        _read(files)
        return
    for hold in holds_of(read_holds(files), user):
        if not hold.is_over(now_ms):
            chat = "" if hold.chat is None else f"the chat {printable(hold.chat)} of "
            why = f": {printable(hold.reason)}" if hold.reason else ""
            raise OwnerHeld(
                f"{chat}the user {printable(user)} is held{why}",
                hint="`shenyu-data cleanup hold list` says by what; --held-too erases the user all "
                "the same, with the holds.",
            )


def forget_holds(files: HoldFiles, user: bytes) -> int:
    """Take a user's holds out of both copies, and overwrite what these were before; return how many
    there were. Raise ShenyuDataError if that cannot be done.
    """
    count = 0
    for place in (files, *_moved(files)):
        holds, _ = _read(place)
        gone = holds_of(holds, user)
        if gone:
            _write_over(place, [hold for hold in holds if hold not in gone])
        count += len(gone)
    return count


def _write_over(files: HoldFiles, holds: Sequence[Hold]) -> None:
    _, twin = _one(files.state)
    with ExitStack() as stack:
        before = []
        for path in (files.state, twin or files.beside):
            with suppress(FileNotFoundError):
                before.append(_open_to_overwrite(path))
                stack.callback(os.close, before[-1])
        write_holds(files, holds)
        for descriptor in before:  # by now nameless
            overwrite(descriptor)


def _open_to_overwrite(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ShenyuDataError(
            f"cannot write the file of holds {path}: {error.strerror}",
            hint="Check its owner and mode, and do it again.",
        ) from error


def _read(files: HoldFiles) -> tuple[list[Hold], list[str]]:
    mine, twin = _one(files.state)
    beside = twin or files.beside  # the configuration may lie elsewhere today
    other, _ = _one(beside)
    if mine is None and other is None:
        moved = _moved(files)
        holds = joined(*(_read(place)[0] for place in moved))
        return holds, [files.state, files.beside] if moved else []
    missing = [path for path, one in ((files.state, mine), (beside, other)) if one is None]
    return joined(mine or [], other or []), missing


def _moved(files: HoldFiles) -> list[HoldFiles]:
    """Return the copies in the files' folders that may be about the same data directory under
    another path: it is this one, or it is not there any more. Raise HoldsDamaged.
    """
    found = []
    for folder in dict.fromkeys((*files.folders, os.path.dirname(files.beside))):
        try:
            names = sorted(os.listdir(folder)) if files.data else []
        except OSError:
            continue
        for name in names:
            path = os.path.join(folder, name)
            if not (name.startswith(_PREFIX) and name.endswith("." + _NAME)):
                continue
            if path == files.beside:
                continue
            try:
                with open(path, "rb") as file:
                    text = file.read(_MOST_BYTES)
            except OSError:
                continue  # somebody else's, or removed meanwhile
            _, twin, data = decode_placed(text, path)
            if data and (not os.path.isdir(data) or _is_same(data, files.data)):
                found.append(HoldFiles(twin, path, data))
    return found


def _is_same(one: str, other: str) -> bool:
    return os.path.isdir(other) and os.path.samefile(one, other)


def _one(path: str) -> tuple[list[Hold] | None, str]:
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES)
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        raise HoldsDamaged(
            f"the file of holds {path} cannot be read: {error.strerror}",
            hint="Check its owner and mode.",
        ) from error
    return decode(data, path)
