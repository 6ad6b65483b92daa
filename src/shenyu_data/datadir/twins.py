"""Putting a document's twin in its place: ``NAME.json.gz`` for ``NAME.json``, or the other way.

For ``compress`` and ``decompress``. At every moment one of the two is on the disk, whole. Many are
done at a time, because making things durable costs the same for one as for a thousand:

1. The twins are written under names that nobody reads, read back, and made durable together.
2. They get their names, if those are free, and that is made durable.
3. Where the application reads the twin, two seconds pass: it may have looked a moment before, found
   none, and write it now.
4. If the twin still is what was written, the document is displaced, and removed if it still is what
   was read and nobody has it open for writing. Otherwise it gets its name back, and the twin goes.

Names of what a kill leaves follow from the documents' own: :func:`tidy` needs no journal.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import groupby
from typing import Literal, NamedTuple

from shenyu_data.datadir.exchange import is_open_for_writing, rename_new, sync_all
from shenyu_data.datadir.folder import FILE_FLAGS, open_folder
from shenyu_data.datadir.replace import MOST_BYTES, keep
from shenyu_data.model.layout import (
    DISPLACED_PREFIX,
    GZIP_SUFFIX,
    JSON_SUFFIX,
    NEW_PREFIX,
    is_passing,
)
from shenyu_data.model.records import gunzip
from shenyu_data.storage.atomic import NEW_FILE_FLAGS, set_attributes, write_all

MOST_WAITING = 10_000
MOST_WAITING_BYTES = 256 << 20
"""So much is made durable at a time; of what waits, only digests are in memory."""

QUIET_S = 2.0
"""How long a twin that the application reads is left beside its document."""

_QUIET_NS = 2_000_000_000  # where the system does not tell who has a file open
_DOT_GZ = b".gz"
_REMOVERS = 8
_SHARE = 50

Result = Literal["done", "changed", "taken", "kept", "failed"]
"""``changed``: it was written meanwhile and is as it was; ``taken``: its twin's name is, or the
twin was written; ``kept``: both are there, and what was displaced is kept under another name;
``failed``: see the error.
"""


class Outcome(NamedTuple):
    """What became of one document; ``kept`` is the name of a displaced file that was kept."""

    path: bytes
    result: Result
    before_bytes: int
    after_bytes: int
    error: OSError | None = None
    kept: bytes | None = None


class Source(NamedTuple):
    """A document as it was read."""

    name: bytes
    stat: os.stat_result
    data: bytes


class _Waiting(NamedTuple):
    folder: bytes
    source: bytes
    target: bytes
    stat: os.stat_result
    digest: bytes
    made: os.stat_result
    adopted: bool  # the twin was there before
    watched: bool

    @property
    def path(self) -> bytes:
        return b"%b/%b" % (self.folder, self.source)


def twin_of(name: bytes) -> bytes:
    """Return the name of a document's twin, compressed or plain."""
    return name.removesuffix(_DOT_GZ) if name.endswith(_DOT_GZ) else name + _DOT_GZ


def _digest(data: bytes) -> bytes:
    import hashlib  # late: it loads OpenSSL, which few verbs need

    return hashlib.blake2b(data, digest_size=32).digest()


def token_of(name: bytes) -> str:
    """Return by which name what passes of a document is found, after a kill too."""
    import hashlib  # late, as above

    return hashlib.blake2b(name, digest_size=8, person=b"twins").hexdigest()


class Twins:
    """Puts twins in the place of documents under the open folder ``root``; ``tell`` is told what
    became of each, once that is settled. ``quiet_s``: how long those that are ``watched`` are.
    """

    def __init__(
        self, root: int, tell: Callable[[Outcome], None], quiet_s: float = QUIET_S
    ) -> None:
        self._root = root
        self._tell = tell
        self._quiet_s = quiet_s
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0

    def add(
        self,
        opened: int,
        folder: bytes,
        source: Source,
        data: bytes,
        *,
        watched: bool = False,
    ) -> None:
        """Write the twin of a document, whose bytes are ``data``, in the folder ``folder``, open as
        ``opened``.
        """
        target = twin_of(source.name)
        temporary = NEW_PREFIX + token_of(target).encode()
        try:
            made = _write(opened, temporary, source.stat, data)
        except OSError as error:
            _remove(opened, temporary)
            self._tell(Outcome(b"%b/%b" % (folder, source.name), "failed", 0, 0, error))
            return
        except BaseException:
            _remove(opened, temporary)
            raise
        self._wait(folder, source, made, adopted=False, watched=watched)

    def adopt(self, opened: int, folder: bytes, source: Source, *, watched: bool = False) -> None:
        """As :func:`add`, where the twin is there already and known to hold the same: what a run
        that was killed left. It gets the document's time.
        """
        target = twin_of(source.name)
        try:
            made = os.stat(target, dir_fd=opened, follow_symlinks=False)
            if made.st_mtime_ns != source.stat.st_mtime_ns:
                times = (source.stat.st_mtime_ns, source.stat.st_mtime_ns)
                os.utime(target, ns=times, dir_fd=opened, follow_symlinks=False)
        except OSError as error:
            self._tell(Outcome(b"%b/%b" % (folder, source.name), "failed", 0, 0, error))
            return
        self._wait(folder, source, made, adopted=True, watched=watched)

    def _wait(
        self,
        folder: bytes,
        source: Source,
        made: os.stat_result,
        *,
        adopted: bool,
        watched: bool,
    ) -> None:
        digest = _digest(source.data)
        target = twin_of(source.name)
        item = _Waiting(folder, source.name, target, source.stat, digest, made, adopted, watched)
        self._waiting.append(item)
        self._waiting_bytes += max(item.stat.st_size, made.st_size)
        if len(self._waiting) >= MOST_WAITING or self._waiting_bytes >= MOST_WAITING_BYTES:
            self.flush()

    def flush(self) -> None:
        """Finish what waits."""
        if not self._waiting:
            return
        try:
            sync_all(self._root)
            named = list(self._each(self._waiting, _name))
            sync_all(self._root)
            if any(item.watched for item in named):
                time.sleep(self._quiet_s)
        except BaseException:
            self.abandon()
            raise
        self._waiting = []
        self._waiting_bytes = 0
        # Removing waits for the disk, file by file: many at a time wait together.
        with ThreadPoolExecutor(_REMOVERS) as threads:
            shares = [named[start : start + _SHARE] for start in range(0, len(named), _SHARE)]
            for outcomes in threads.map(self._displace_all, shares):
                for outcome in outcomes:
                    self._tell(outcome)

    def _displace_all(self, items: list[_Waiting]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for _ in Twins(self._root, outcomes.append)._each(items, _displace):
            pass
        return outcomes

    def abandon(self) -> None:
        """Remove the twins of what waits: only the documents are left."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        for _ in self._each(waiting, _take_back):
            pass

    def _each(
        self, items: list[_Waiting], step: Callable[[int, _Waiting], Outcome | None]
    ) -> Iterator[_Waiting]:
        """Do a step of each document; yield those of which the next may follow."""
        for path, group in groupby(items, lambda item: item.folder):
            try:
                folder = open_folder(self._root, path)
            except OSError as error:
                for item in group:
                    self._tell(Outcome(item.path, "failed", 0, 0, error))
                continue
            try:
                for item in group:
                    try:
                        outcome = step(folder, item)
                    except OSError as error:
                        outcome = Outcome(item.path, "failed", 0, 0, error)
                    if outcome is None:
                        yield item
                    else:
                        self._tell(outcome)
            finally:
                os.close(folder)


def _write(folder: int, temporary: bytes, found: os.stat_result, data: bytes) -> os.stat_result:
    """Write a file with another's attributes, and read it back."""
    descriptor = os.open(temporary, NEW_FILE_FLAGS, 0o600, dir_fd=folder)
    try:
        write_all(descriptor, [data])
        set_attributes(
            descriptor,
            mode=stat.S_IMODE(found.st_mode),
            owner=(found.st_uid, found.st_gid),
            mtime_ns=found.st_mtime_ns,
        )
        made = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if _read(folder, temporary) != data:
        raise OSError(errno.EIO, "what was written is not what is read back")
    return made


def _name(folder: int, item: _Waiting) -> Outcome | None:
    """Give the twin its name."""
    if item.adopted:
        return None
    temporary = NEW_PREFIX + token_of(item.target).encode()
    try:
        rename_new(folder, temporary, item.target)
    except FileExistsError:
        _remove(folder, temporary)
        return Outcome(item.path, "taken", 0, 0)
    except OSError:
        _remove(folder, temporary)
        raise
    return None


def _take_back(folder: int, item: _Waiting) -> None:
    """Remove the twin, whatever it is called by now."""
    _remove(folder, NEW_PREFIX + token_of(item.target).encode())
    _remove_ours(folder, item)


def _displace(folder: int, item: _Waiting) -> Outcome | None:
    """Take the document away, unless somebody wrote to it."""
    displaced = DISPLACED_PREFIX + token_of(item.source).encode()
    try:
        if not _is_ours(folder, item):
            return Outcome(item.path, "taken", 0, 0)
    except FileNotFoundError:
        return Outcome(item.path, "changed", 0, 0)
    try:
        found = os.stat(item.source, dir_fd=folder, follow_symlinks=False)
        same = _identity(found) == _identity(item.stat)
        if same:
            os.rename(item.source, displaced, src_dir_fd=folder, dst_dir_fd=folder)
    except FileNotFoundError:
        same = False
    if not same:
        _remove_ours(folder, item)
        return Outcome(item.path, "changed", 0, 0)
    found_bytes = _settled_bytes(folder, displaced)
    if found_bytes is None or _digest(found_bytes) != item.digest:
        return _give_back(folder, displaced, item)
    os.unlink(displaced, dir_fd=folder)
    return Outcome(item.path, "done", item.stat.st_size, item.made.st_size)


def _settled_bytes(folder: int, displaced: bytes) -> bytes | None:
    """Return what a displaced document holds for good, None if somebody may be writing to it yet.

    By its name nobody can open it any more, so it is enough that nobody has it open now.
    """
    descriptor = os.open(displaced, FILE_FLAGS, dir_fd=folder)
    try:
        written = is_open_for_writing(descriptor)
        found = os.fstat(descriptor)
        if written is None:
            written = time.time_ns() - found.st_mtime_ns < _QUIET_NS
        if written or not stat.S_ISREG(found.st_mode):
            return None
        return _read_open(descriptor)
    finally:
        os.close(descriptor)


def _give_back(folder: int, displaced: bytes, item: _Waiting) -> Outcome:
    """Give a document that is being written its name back; its twin goes, which is out of date."""
    try:
        rename_new(folder, displaced, item.source)
    except FileExistsError:  # the application made a new one meanwhile
        kept = keep(folder, token_of(item.source), item.source)
        return Outcome(item.path, "kept", 0, 0, kept=kept)
    _remove_ours(folder, item)
    return Outcome(item.path, "changed", 0, 0)


def tidy(folder: int, path: bytes, names: list[bytes], tell: Callable[[Outcome], None]) -> bool:
    """Given the names in an open folder, ``path``, finish what a killed run left of twins there;
    return whether there was anything, and the names are others now.

    A half-written twin is removed. A displaced document whose twin holds the same is removed; any
    other gets its name back.
    """
    passing = {name for name in names if is_passing(name)}
    if not passing:
        return False
    documents = {name for name in names if name.endswith((JSON_SUFFIX, GZIP_SUFFIX))}
    did = False
    for name in sorted(documents | {twin_of(name) for name in documents}):
        token = token_of(name).encode()
        if NEW_PREFIX + token in passing:
            _remove(folder, NEW_PREFIX + token)
            did = True
        displaced = DISPLACED_PREFIX + token
        if displaced in passing:
            _settle(folder, path, name, displaced, tell)
            did = True
    return did


def _settle(
    folder: int, path: bytes, name: bytes, displaced: bytes, tell: Callable[[Outcome], None]
) -> None:
    try:
        data = _settled_bytes(folder, displaced)
        if data is not None and _has_same(folder, twin_of(name), plain(name, data)):
            os.unlink(displaced, dir_fd=folder)
            return
        rename_new(folder, displaced, name)
    except FileExistsError:
        kept = keep(folder, token_of(name), name)
        tell(Outcome(b"%b/%b" % (path, name), "kept", 0, 0, kept=kept))
    except OSError as error:
        tell(Outcome(b"%b/%b" % (path, name), "failed", 0, 0, error))


def plain(name: bytes, data: bytes) -> bytes | None:
    """Return what a document holds, unpacked if its name says so; None if it is damaged or too
    large.
    """
    if not name.endswith(GZIP_SUFFIX):
        return data
    unpacked = gunzip(data, MOST_BYTES)
    return None if unpacked is None or len(unpacked) > MOST_BYTES else unpacked


def _has_same(folder: int, name: bytes, wanted: bytes | None) -> bool:
    """Whether the document ``name`` holds exactly this."""
    if wanted is None:
        return False
    with suppress(FileNotFoundError):
        return plain(name, _read(folder, name)) == wanted
    return False


def _read(folder: int, name: bytes) -> bytes:
    descriptor = os.open(name, FILE_FLAGS, dir_fd=folder)
    try:
        return _read_open(descriptor)
    finally:
        os.close(descriptor)


def _read_open(descriptor: int) -> bytes:
    """Read an open file, but no more of it than a document may have."""
    size = min(os.fstat(descriptor).st_size, MOST_BYTES) + 1
    data = os.read(descriptor, size)
    while len(data) < size and (more := os.read(descriptor, size - len(data))):
        data += more
    return data


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _remove(folder: int, name: bytes) -> None:
    with suppress(OSError):
        os.unlink(name, dir_fd=folder)


def _remove_ours(folder: int, item: _Waiting) -> None:
    """Remove the twin of a document that stays, unless it was there before or is another by now."""
    if item.adopted:
        return
    with suppress(OSError):
        if _is_ours(folder, item):
            os.unlink(item.target, dir_fd=folder)


def _is_ours(folder: int, item: _Waiting) -> bool:
    """Whether the twin is as it was written. Raise FileNotFoundError if it is gone."""
    found = os.stat(item.target, dir_fd=folder, follow_symlinks=False)
    made = item.made.st_dev, item.made.st_ino, item.made.st_size, item.stat.st_mtime_ns
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns) == made
