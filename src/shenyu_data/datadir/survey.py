"""The first look at a data directory: which owners there are, dealt into buckets. No file is
opened.

A directory may hold millions of owners. Their names are dealt into buckets as the folders are
listed and, past a bound, wait in an unlinked temporary file; one bucket at a time is then small.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import IO

from shenyu_data.datadir.folder import open_folder, open_root
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import HISTORIES, USERS, Place, is_passing, owner_of_user_file
from shenyu_data.model.monitor import Monitor

MAX_DEPTH = 64
"""Folders nested deeper than this are reported, not entered."""

_WAITING_BYTES = 8 << 20  # of names in memory before they are written out


class Owners:
    """The owners of one bucket and the shared paths that fell into it."""

    __slots__ = ("compressed", "shared", "users")

    def __init__(
        self, users: list[bytes], shared: list[bytes], compressed: frozenset[bytes] = frozenset()
    ) -> None:
        self.users = users
        self.shared = shared
        self.compressed = compressed
        """Those of the users of whom there is a ``users/NAME.json.gz``."""

    def __reduce__(self) -> tuple[object, ...]:
        return Owners, (self.users, self.shared, self.compressed)


class Survey:
    """Owners' names and shared paths by bucket; filled by :func:`survey`, then read bucket by
    bucket.
    """

    def __init__(self, buckets: int) -> None:
        self._waiting: list[list[bytes]] = [[] for _ in range(buckets)]
        self._written: list[list[tuple[int, int]]] = [[] for _ in range(buckets)]
        self._waiting_bytes = 0
        self._file: IO[bytes] | None = None
        self._names = {USERS: 0, HISTORIES: 0, b"": 0}
        self.complete = True
        """Whether every folder could be listed."""
        self.users_complete = True
        """Whether the folders users stand in could be: who was not met is then gone."""

    def close(self) -> None:
        """Give the temporary file's space back."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Survey:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def names(self) -> int:
        """About how many owners and shared paths there are: a user may have a file, a folder, or
        both.
        """
        return max(self._names[USERS], self._names[HISTORIES]) + self._names[b""]

    def add_user(
        self, bucket: int, name: bytes, folder: bytes = USERS, *, compressed: bool = False
    ) -> None:
        """Note that something of the user ``name`` exists in ``folder``."""
        self._names[folder] += 1
        self._add(bucket, (b"z" if compressed else b"u") + name)

    def add_shared(self, bucket: int, path: bytes) -> None:
        """Note a path that belongs to nobody."""
        self._names[b""] += 1
        self._add(bucket, b"s" + path)

    def bucket(self, number: int) -> Owners:
        """Return one bucket's owners and shared paths, each sorted and once."""
        items = set(self._waiting[number])
        if self._file is not None:
            for offset, length in self._written[number]:
                items.update(os.pread(self._file.fileno(), length, offset).split(b"\0"))
        shared = sorted([item[1:] for item in items if item[:1] == b"s"])
        compressed = frozenset([item[1:] for item in items if item[:1] == b"z"])
        users = {item[1:] for item in items if item[:1] == b"u"} | compressed
        return Owners(sorted(users), shared, compressed)

    def _add(self, bucket: int, item: bytes) -> None:
        self._waiting[bucket].append(item)
        self._waiting_bytes += len(item) + 64  # a bytes object's own size
        if self._waiting_bytes > _WAITING_BYTES:
            self._write_out()

    def _write_out(self) -> None:
        if self._file is None:
            import tempfile  # late: it takes 4 ms, and most surveys stay in memory

            self._file = tempfile.TemporaryFile(prefix="shenyu-data-")  # noqa: SIM115 - lives as long as the survey
        for waiting, written in zip(self._waiting, self._written, strict=True):
            if waiting:
                block = b"\0".join(waiting)
                written.append((self._file.tell(), len(block)))
                self._file.write(block)
                waiting.clear()
        self._file.flush()
        self._waiting_bytes = 0


def survey(
    data: str,
    result: Survey,
    *,
    user_bucket: Callable[[bytes], int],
    shared_bucket: Callable[[bytes], int],
    monitor: Monitor,
) -> None:
    """List the data directory into ``result``.

    ``user_bucket`` and ``shared_bucket`` say which bucket a user's name or a shared path falls
    into. A folder that cannot be listed is reported and makes ``result.complete`` false. Raise
    DataDirectoryError if the directory itself cannot be listed.
    """
    pending = [(b"", 0)]
    result.add_shared(shared_bucket(b""), b"")
    with open_root(data) as root:
        while pending:
            path, depth = pending.pop()
            try:
                entries = _scan(root, path)
                if path == USERS:
                    entries = _user_files(entries, result, user_bucket)
                elif path == HISTORIES:
                    entries = _history_folders(entries, result, user_bucket)
                for entry in entries:
                    name = os.fsencode(entry.name)
                    folder = entry.is_dir(follow_symlinks=False)
                    if folder and is_passing(name):
                        continue  # users' documents on their way into the directory
                    below = b"%b/%b" % (path, name) if path else name
                    if below in (USERS, HISTORIES) and not folder:
                        result.complete = result.users_complete = False
                        monitor.report(_not_a_folder(below))
                    result.add_shared(shared_bucket(below), below)
                    if folder and depth < MAX_DEPTH:
                        pending.append((below, depth + 1))
                    elif folder:
                        result.complete = False
                        monitor.report(_too_deep(below))
            except FileNotFoundError:
                continue  # it vanished since its parent was listed
            except OSError as error:
                result.complete = False
                result.users_complete &= path not in (b"", USERS, HISTORIES)
                monitor.report(unreadable_folder(path, error))


def _user_files(
    entries: Iterator[os.DirEntry[str]], result: Survey, user_bucket: Callable[[bytes], int]
) -> Iterator[os.DirEntry[str]]:
    """Note whose files there are; yield what is nobody's."""
    for entry in entries:
        if not entry.is_dir(follow_symlinks=False):
            found = owner_of_user_file(os.fsencode(entry.name))
            if found is not None:
                owner, place = found
                compressed = place == Place.USER_FILE_GZIP
                result.add_user(user_bucket(owner), owner, compressed=compressed)
                continue
        yield entry


def _history_folders(
    entries: Iterator[os.DirEntry[str]], result: Survey, user_bucket: Callable[[bytes], int]
) -> Iterator[os.DirEntry[str]]:
    """Note whose folders (or links) there are; yield what is nobody's."""
    for entry in entries:
        if entry.is_dir(follow_symlinks=False) or entry.is_symlink():
            owner = os.fsencode(entry.name)
            result.add_user(user_bucket(owner), owner, HISTORIES)
        else:
            yield entry


def unreadable_folder(path: bytes, error: OSError) -> Finding:
    """Given a folder that could not be listed, return the finding that says so."""
    return Finding(
        code="unreadable-folder",
        severity="error",
        path=printable(path) or ".",
        message=f"the folder cannot be listed: {error.strerror}",
        hint="Check its owner and mode, or run as the user the application runs as.",
    )


def _not_a_folder(path: bytes) -> Finding:
    return Finding(
        code="not-a-folder",
        severity="error",
        path=printable(path),
        message="it is not a folder but a link or a file, and links are never followed",
        hint="Give the real folder with --data, or mount it there instead of linking to it.",
    )


def _too_deep(path: bytes) -> Finding:
    return Finding(
        code="too-deep",
        severity="error",
        path=printable(path),
        message=f"folders are nested deeper than {MAX_DEPTH}; what lies below is left out",
        hint="The application never nests folders; look at what made these and remove them.",
    )


def _scan(root: int, path: bytes) -> Iterator[os.DirEntry[str]]:
    with ExitStack() as stack:
        descriptor = open_folder(root, path)
        stack.callback(os.close, descriptor)
        yield from stack.enter_context(os.scandir(descriptor))
