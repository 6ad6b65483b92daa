"""The journal of what was done to a live data directory: what undo and recovery go by.

One file for each operation in the state folder, a JSON line for each step, durable before the step
is taken. It holds names of users and ids of chats, and digests under a key of the repository's, but
no document. Written by operations that change live data, which only one may do at a time.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec
from blake3 import blake3

from shenyu_data.model.errors import ShenyuDataError, UsageError
from shenyu_data.model.layout import is_path_of
from shenyu_data.operations.alone import take_lock
from shenyu_data.storage.atomic import (
    make_private,
    new_file,
    overwrite,
    sync_folder,
    write_all,
    write_file,
)

if TYPE_CHECKING:
    from shenyu_data.repository.repository import Repository

KEPT_JOURNALS = 50
KEPT_CLEANUPS = 1000
"""Of cleanups so many more, some years of them: a repair asks them what was removed on purpose."""

CLEANUP = "cleanup"
"""Older ones of operations that ended are removed when a new one begins; only the newest can be
taken back. What one that did not end left in the data directory is found by its journal alone."""

IMPORT = "import"
IMPORT_FRESH = "import into an empty directory"
"""Operations that write many new documents at once, see datadir/new_files.py."""

_TAIL_BYTES = 4096  # in which the last line lies, if it says that the operation ended


class Began(msgspec.Struct, frozen=True, tag="began", kw_only=True):
    """The operation: of which repository (empty: it had none), from which snapshot (None: of none,
    or an undo).
    """

    operation: str
    time_ms: int
    repository: bytes
    data: str
    snapshot: bytes | None
    takes_back: str | None = None
    """The journal that this undo takes back."""


class Saved(msgspec.Struct, frozen=True, tag="saved"):
    """The safety snapshot that holds what the next steps change."""

    snapshot: bytes


class Step(msgspec.Struct, frozen=True, tag="step", kw_only=True, omit_defaults=True):
    """One document that is about to be changed: whole, or in one chat.

    ``snapshot`` holds what is put there (None: nothing is), ``before`` what was there (None:
    nothing was); ``wrote`` is the digest of the document or of the chat. ``removed`` are digests of
    the chats that were taken out of the document, if nothing else was done to it.
    """

    path: bytes
    user: bytes | None = None
    chat: str | None = None
    snapshot: bytes | None = None
    before: bytes | None = None
    wrote: bytes | None = None
    removed: list[bytes] | None = None


class Swap(msgspec.Struct, frozen=True, tag="swap", kw_only=True):
    """A document is about to be displaced: its digest, and that of what takes its place."""

    path: bytes
    token: str
    before: bytes
    wrote: bytes


class Settled(msgspec.Struct, frozen=True, tag="settled"):
    """What was displaced is dealt with."""

    token: str


class Folder(msgspec.Struct, frozen=True, tag="folder"):
    """A folder that was made."""

    path: bytes


class FolderGone(msgspec.Struct, frozen=True, tag="folder_gone", kw_only=True):
    """An empty folder that is about to be removed, and its attributes."""

    path: bytes
    mode: int
    uid: int
    gid: int


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """The operation came to its end."""


class TakenBack(msgspec.Struct, frozen=True, tag="taken_back"):
    """An undo of this operation came to its end, or an erasure left nothing of it to take back."""


Line = Began | Saved | Step | Swap | Settled | Folder | FolderGone | Ended | TakenBack

_encoder = msgspec.json.Encoder()
_encode = _encoder.encode
_decode = msgspec.json.Decoder(Line).decode


def encoded(lines: Iterable[Line]) -> bytes:
    """Return lines as they stand in a journal."""
    # Each begins with a line end: a line cut off by a crash must not take the next one along.
    return b"\n" + _encoder.encode_lines(lines)


class Digests:
    """Tells versions of documents apart in a journal, without saying anything about them."""

    def __init__(self, repository: Repository | bytes) -> None:
        """Without a repository there is a key alone: see :func:`local_key`."""
        if isinstance(repository, bytes):
            self._key = repository
        else:
            self._key = repository.keys.journal_key

    def of(self, data: bytes) -> bytes:
        """Return a digest of 16 bytes."""
        return blake3(data, key=self._key).digest(16)

    def hasher(self) -> blake3:
        """Return a hasher whose ``digest(16)`` equals :meth:`of`."""
        return blake3(key=self._key)


class Journal:
    """One operation's journal; :meth:`write` returns when the line is durable."""

    def __init__(self, folder: str, name: str) -> None:
        self.name = name
        self.folder = folder
        self._path = os.path.join(folder, name)

    def write(self, *lines: Line, durable: bool = True) -> None:
        """Add lines. Raises ShenyuDataError if that cannot be done: then nothing may be changed."""
        self.write_encoded(encoded(lines), durable=durable)

    def write_encoded(self, text: bytes, *, durable: bool = True) -> None:
        """As :meth:`write`, given what :func:`encoded` made of lines."""
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            new = not os.path.exists(self._path)
            descriptor = os.open(self._path, flags, 0o600)
            try:
                # Workers write to the same one; on a full disk a line may be written in pieces.
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                write_all(descriptor, [text])
                fcntl.flock(descriptor, fcntl.LOCK_UN)
                if durable:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if new:
                sync_folder(self.folder)
        except OSError as error:
            raise ShenyuDataError(
                f"cannot write the journal {self._path}: {error.strerror}",
                hint="Make room or set XDG_STATE_HOME; without a journal nothing is changed.",
            ) from error

    @property
    def run(self) -> str:
        """Return 8 hexadecimal digits of its name, by which temporary files tell whose they are."""
        return self.name.removesuffix(".jsonl").rpartition("-")[2]

    def written_ms(self) -> int:
        """Return when something was last added, by the clock of the file system. Raises OSError."""
        return os.stat(self._path).st_mtime_ns // 1_000_000

    def read(self) -> Iterator[Line]:
        """Yield what was written, line by line; a line that was cut off is left out."""
        with open(self._path, "rb") as file:
            for text in file:
                with suppress(ValueError, RecursionError):
                    if len(text) > 1:
                        yield _decode(text)

    def lines(self) -> list[Line]:
        """Return what was written, all of it at once."""
        return list(self.read())

    def began(self) -> Began | None:
        """Return the beginning; None if that was cut off."""
        first = next(self.read(), None)
        return first if isinstance(first, Began) else None

    def is_ended(self) -> bool:
        """Whether the operation came to its end: that is the last thing it writes."""
        with open(self._path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            for text in file.read().split(b"\n"):
                with suppress(ValueError, RecursionError):
                    if text and isinstance(_decode(text), Ended):
                        return True
        return False

    @property
    def began_ms(self) -> int:
        """When it began, as far as its name says."""
        number = self.name.partition("-")[0]
        return int(number) // 1_000_000 if number.isdecimal() else 0

    def changed_ms(self) -> int:
        """Return when it was last written. Raises OSError."""
        return os.stat(self._path).st_mtime_ns // 1_000_000

    def discard(self) -> None:
        """Remove it: nothing was done, or long ago."""
        with suppress(OSError):
            os.unlink(self._path)

    def forget(self, owner: bytes) -> bool:
        """Write the journal anew without what it says of a user; return whether there was any.

        If nothing is left to take back it says so: an undo must not go on to an older operation.
        """
        some = steps = False
        for line in self.read():
            about = _is_about(line, owner)
            some |= about
            steps |= isinstance(line, Step) and not about
        if not some:
            return False
        old = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with (
                new_file(self.name, folder=folder, replace=True) as descriptor,
                open(descriptor, "wb", closefd=False) as file,
            ):
                for line in self.read():
                    if not _is_about(line, owner):
                        file.write(b"\n" + _encode(line))
                if not steps:
                    file.write(b"\n" + _encode(TakenBack()))
            overwrite(old)
        finally:
            os.close(folder)
            os.close(old)
        return True


def _is_about(line: Line, owner: bytes) -> bool:
    if isinstance(line, Step) and line.user == owner:
        return True
    return isinstance(line, Step | Swap | Folder | FolderGone) and is_path_of(owner, line.path)


class Journals:
    """The journals about one data directory."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def begin(self, began: Began) -> Journal:
        """Begin a new journal, and remove very old ones. It is the newest whatever the clock says:
        an undo must not take an older operation for the last one.
        """
        names = self._names()
        cleanups = 0
        for name in reversed(names[:-KEPT_JOURNALS]):
            old = Journal(self._folder, name)
            with suppress(OSError):
                first = old.began()
                is_cleanup = first is not None and first.operation == CLEANUP
                cleanups += is_cleanup
                if old.is_ended() and not (is_cleanup and cleanups <= KEPT_CLEANUPS):
                    old.discard()
        last = names[-1].partition("-")[0] if names else ""
        number = max(time.time_ns(), int(last) + 1 if last.isdecimal() else 0)
        journal = Journal(self._folder, f"{number:020d}-{os.urandom(4).hex()}.jsonl")
        journal.write(began)
        return journal

    @property
    def folder(self) -> str:
        """The folder they lie in, with all that concerns the data directory."""
        return self._folder

    def key(self) -> bytes:
        """Return the key for digests where there is no repository, as :func:`local_key`."""
        return local_key(self._folder)

    def newest_first(self) -> Iterator[Journal]:
        """Yield the journals."""
        for name in reversed(self._names()):
            yield Journal(self._folder, name)

    def _names(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self._folder) if name.endswith(".jsonl"))
        except FileNotFoundError:
            return []


def local_key(folder: str) -> bytes:
    """Return the key for journals of operations without a repository; it stays in their folder.

    Raise ShenyuDataError if it cannot be read or made.
    """
    path = os.path.join(folder, "key")
    try:
        make_private(folder)
        if not os.path.exists(path):
            opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                write_file("key", [os.urandom(32)], folder=opened, replace=True)
            finally:
                os.close(opened)
        with open(path, "rb") as file:
            key = file.read(33)
    except OSError as error:
        raise ShenyuDataError(
            f"cannot use {path}: {error.strerror}",
            hint="Check its owner and mode, or set XDG_STATE_HOME.",
        ) from error
    return key.ljust(32, b"\0")[:32]


@contextmanager
def open_journals(folder: str) -> Iterator[Journals]:
    """Open the journals in a folder, which is made if it is missing, for one operation alone.

    Raise UsageError if another one is at work, ShenyuDataError if the folder cannot be used.
    """
    try:
        lock = take_lock(folder)
    except OSError as error:
        raise ShenyuDataError(
            f"cannot use {folder}, where journals are kept: {error.strerror}",
            hint="Check its owner and mode, or set XDG_STATE_HOME.",
        ) from error
    if lock is None:
        raise UsageError(
            "another operation is changing this data directory",
            hint="Wait until it is done; if there is none, its process is still there.",
        )
    try:
        yield Journals(folder)
    finally:
        os.close(lock)
