"""What the workers of ``compress`` and ``decompress`` do: the histories of some owners, one folder
after another. For ``compress.py`` only.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import Literal, NamedTuple

import msgspec

from shenyu_data.datadir.folder import FILE_FLAGS, open_folder, open_root
from shenyu_data.datadir.gzipped import USUAL_LEVEL, pack
from shenyu_data.datadir.replace import read_live
from shenyu_data.datadir.survey import unreadable_folder
from shenyu_data.datadir.twins import QUIET_S, Outcome, Source, Twins, plain, tidy, twin_of
from shenyu_data.model.compress_rules import (
    kept_finding,
    long_name_finding,
    not_exchanged_finding,
    read_by_application_finding,
    several_names_finding,
    too_large_finding,
    torn_finding,
    written_finding,
)
from shenyu_data.model.entry_rules import twin_finding
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import (
    GZIP_SUFFIX,
    HISTORIES,
    JSON_SUFFIX,
    Place,
    is_archive_name,
    kind_of,
)
from shenyu_data.model.rules import APPLICATION_KEYS

MOST_ITEMS = 1000
"""A plan lists this many documents; all are counted."""

MOST_NAME_BYTES = 255
"""No file system takes a longer name."""

_PEEK_BYTES = 64
_BLANKS = b" \t\r\n"

Way = Literal["compress", "decompress"]


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done: which way, with which documents. ``older_than_ns``: only those whose file
    was not written since that moment. ``offline``: the application is not running, so what it reads
    may go too, and need not be watched. ``quiet_s``: how long what it reads is watched otherwise.
    """

    way: Way
    history: bytes | None = None
    older_than_ns: int | None = None
    level: int = USUAL_LEVEL
    offline: bool = False
    quiet_s: float = QUIET_S


class CompressTask(NamedTuple):
    """Owners whose histories are looked at; ``plan``: nothing is changed."""

    data: str
    owners: list[bytes]
    wish: Wish
    plan: bool


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One document that would be done."""

    path: str
    size_bytes: int


class Tally:
    """What one task did: counters, findings, and the first items of a plan."""

    def __init__(self) -> None:
        self.owners = self.documents = self.before_bytes = self.after_bytes = 0
        self.in_use = self.recent = self.refused = self.failed = 0
        self.findings: list[Finding] = []
        self.items: list[Item] = []


COUNTS = ("documents", "before_bytes", "after_bytes", "in_use", "recent", "refused", "failed")


def compress_owners(task: CompressTask) -> Tally:
    """Do what the task's wish says with every history of its owners, or say what would be done."""
    tally = Tally()
    with open_root(task.data) as root:
        work = _Work(root, task, tally)
        try:
            for owner in task.owners:
                work.at_owner(owner)
        except BaseException:
            work.twins.abandon()
            raise
        work.twins.flush()
    tally.owners = len(task.owners)
    return tally


class _Work:
    def __init__(self, root: int, task: CompressTask, tally: Tally) -> None:
        self._root = root
        self._wish = task.wish
        self._plan = task.plan
        self._tally = tally
        self.twins = Twins(root, self._tell, task.wish.quiet_s)
        compresses = task.wish.way == "compress"
        self._suffix = JSON_SUFFIX if compresses else GZIP_SUFFIX

    def at_owner(self, owner: bytes) -> None:
        """Look at the histories of one owner."""
        path = b"%b/%b" % (HISTORIES, owner)
        try:
            folder = open_folder(self._root, path)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self._unlisted(path, error)
            return
        try:
            names = [os.fsencode(name) for name in os.listdir(folder)]
            if not self._plan and tidy(folder, path, names, self._tell):
                names = [os.fsencode(name) for name in os.listdir(folder)]
            there = set(names)
            for name in sorted(names):
                if self._is_wanted(name):
                    try:
                        self._at_document(folder, path, name, there)
                    except FileNotFoundError:
                        continue  # somebody removed it
                    except OSError as error:
                        self._tell(Outcome(b"%b/%b" % (path, name), "failed", 0, 0, error))
        except OSError as error:
            self._unlisted(path, error)
        finally:
            os.close(folder)

    def _is_wanted(self, name: bytes) -> bool:
        if not name.endswith(self._suffix) or is_archive_name(name):
            return False
        if kind_of(Place.IN_HISTORY_FOLDER, name) != "history":
            return False
        key = self._wish.history
        return key is None or name == key + self._suffix

    def _at_document(self, folder: int, path: bytes, name: bytes, there: set[bytes]) -> None:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode):
            return
        wish, full = self._wish, b"%b/%b" % (path, name)
        if wish.older_than_ns is not None and found.st_mtime_ns > wish.older_than_ns:
            self._tally.recent += 1
            return
        guarded = wish.way == "compress" and not wish.offline
        if guarded and (name.removesuffix(JSON_SUFFIX) in APPLICATION_KEYS):
            self._read_by_application(full)
            return
        if self._plan:
            if guarded and not _is_one_chat(_beginning(folder, name)):
                self._read_by_application(full)
                return
            self._tally.documents += 1
            self._tally.before_bytes += found.st_size
            if len(self._tally.items) < MOST_ITEMS:
                self._tally.items.append(Item(path=printable(full), size_bytes=found.st_size))
            return
        live = read_live(folder, name, "history")
        if live is None:
            return
        if live.data is None:
            self._refuse(too_large_finding(full, found.st_size))
        elif not live.whole:
            self._refuse(torn_finding(full))
        elif guarded and not _is_one_chat(live.data):
            self._read_by_application(full)
        elif live.stat.st_nlink > 1:
            self._refuse(several_names_finding(full, live.stat.st_nlink))
        else:
            self._exchange(folder, path, Source(name, live.stat, live.data), there)

    def _exchange(self, folder: int, path: bytes, source: Source, there: set[bytes]) -> None:
        name, data = source.name, source.data
        target = twin_of(name)
        full = b"%b/%b" % (path, name)
        if len(target) > MOST_NAME_BYTES:
            self._refuse(long_name_finding(full, GZIP_SUFFIX))
            return
        content = plain(name, data)
        if content is None:
            self._refuse(too_large_finding(full, len(data)))
        elif target in there:
            other = read_live(folder, target, "history")
            if other is not None and plain(target, other.data or b"") == content:
                self.twins.adopt(folder, path, source, watched=self._is_watched(target, content))
            else:
                self._refuse(twin_finding(full))
        else:
            made = pack(data, self._wish.level) if self._wish.way == "compress" else content
            if plain(target, made) != content:
                raise OSError(errno.EIO, "what was compressed does not unpack to the same")
            watched = self._is_watched(target, content)
            self.twins.add(folder, path, source, made, watched=watched)

    def _is_watched(self, target: bytes, content: bytes) -> bool:
        """Whether the application, which may be running, reads what is made."""
        if self._wish.way == "compress" or self._wish.offline:
            return False
        return target.removesuffix(JSON_SUFFIX) in APPLICATION_KEYS or not _is_one_chat(content)

    def _tell(self, outcome: Outcome) -> None:
        tally = self._tally
        if outcome.result == "done":
            tally.documents += 1
            tally.before_bytes += outcome.before_bytes
            tally.after_bytes += outcome.after_bytes
        elif outcome.result == "failed":
            tally.failed += 1
            tally.findings.append(not_exchanged_finding(outcome.path, outcome.error))
        elif outcome.result == "kept":
            self._refuse(kept_finding(outcome.path, outcome.kept or b""))
        elif outcome.result == "taken":
            self._refuse(twin_finding(outcome.path))
        else:
            self._refuse(written_finding(outcome.path))

    def _refuse(self, finding: Finding) -> None:
        self._tally.refused += 1
        self._tally.findings.append(finding)

    def _read_by_application(self, path: bytes) -> None:
        self._tally.in_use += 1
        if self._wish.history is not None:  # who names it should be told
            self._tally.findings.append(read_by_application_finding(path))

    def _unlisted(self, path: bytes, error: OSError) -> None:
        self._tally.failed += 1
        self._tally.findings.append(unreadable_folder(path, error))


def _beginning(folder: int, name: bytes) -> bytes:
    with suppress(OSError):
        descriptor = os.open(name, FILE_FLAGS, dir_fd=folder)
        try:
            return os.read(descriptor, _PEEK_BYTES)
        finally:
            os.close(descriptor)
    return b""


def _is_one_chat(data: bytes) -> bool:
    """Whether a document is one chat, as the guide has them: the application reads arrays."""
    return data[:_PEEK_BYTES].lstrip(_BLANKS)[:1] == b"{"
