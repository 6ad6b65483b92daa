"""What a drill checks: whether restored owners are, on disk, exactly what the snapshot's records
say.

It believes nothing of what the restore says of itself. Called by the workers of a drill, and by its
negative control, which must see it fail.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from shenyu_data.health.drill_live import Likeness, Live
from shenyu_data.health.drill_tree import Tree, blocks, read_all
from shenyu_data.model.layout import Kind, is_plain_path, kind_of, path_of
from shenyu_data.model.records import outline
from shenyu_data.operations.past import OwnerDocuments, chosen
from shenyu_data.repository.crypto import DIGEST_BYTES, OwnerKeys
from shenyu_data.repository.documents import LARGE_BYTES
from shenyu_data.repository.format import (
    Entry,
    FileEntry,
    FileState,
    FolderEntry,
    LastGood,
    LinkEntry,
    Totals,
)

Wrong = Literal["missing", "other", "bytes", "torn", "counts", "extra", "attributes", "live"]
"""In which way something is not as it should be: not there; something else, such as a link;
of other bytes; not to be parsed; of another number of chats or messages; there though nobody saved
it; of another mode, owner or time; not what the live directory has."""


class Trouble(NamedTuple):
    """Something that is not as it should be. ``user`` None: it is nobody's."""

    wrong: Wrong
    path: bytes
    message: str
    user: bytes | None = None


class Checked(msgspec.Struct):
    """What a check of some owners found: ``whole`` says of each, by its pseudonym, whether all
    that was saved of it came back and is whole.

    ``totals`` count, bucket by bucket, what is on disk. ``same`` documents are the same in the live
    directory, ``changed`` ones were changed there since, ``unread`` ones cannot be read there.
    """

    troubles: list[Trouble] = []
    whole: dict[bytes, bool] = {}
    totals: dict[int, Totals] = {}
    same: int = 0
    changed: int = 0
    unread: int = 0


def check_owners(
    target: str,
    owners: dict[bytes, OwnerDocuments],
    live: Live | None = None,
    *,
    last_good: bool = False,
) -> Checked:
    """Check what was restored of some owners, by their pseudonyms, into the folder ``target``,
    which holds nothing else. ``last_good``: of torn documents the last good version was wanted.
    """
    with Tree(target, ours=True) as tree:
        return _Check(tree, live, last_good=last_good).run(owners)


class _Check:
    def __init__(self, tree: Tree, live: Live | None, *, last_good: bool) -> None:
        self._tree = tree
        self._live = live
        self._last_good = last_good
        self._found = Checked()
        self._expected: set[bytes] = set()
        self._files: dict[tuple[object, ...], int] = {}
        self._user: bytes | None = None

    def run(self, owners: dict[bytes, OwnerDocuments]) -> Checked:
        self._check_folders(owners)
        for pseudonym, owner in owners.items():
            self._user = None if owner.record.shared else owner.record.owner
            before = len(self._found.troubles)
            totals, whole = self._check_owner(owner)
            bucket = pseudonym[0]
            self._found.totals[bucket] = self._found.totals.get(bucket, Totals()).plus(totals)
            seen = self._found.troubles[before:]
            self._found.whole[pseudonym] = whole and all(
                item.wrong in ("attributes", "live") for item in seen
            )
        self._look_for_more()
        return self._found

    def _check_folders(self, owners: dict[bytes, OwnerDocuments]) -> None:
        """Look at all folders' attributes first, the upper ones before those below: some must be
        changed to look inside.
        """
        folders = [
            (path_of(owner.record.owner, entry.place, entry.name), entry)
            for owner in owners.values()
            for entry in owner.record.entries
            if isinstance(entry, FolderEntry)
        ]
        for path, entry in sorted(folders, key=lambda item: item[0].count(b"/")):
            if not _is_inside(path):
                continue
            self._expected.add(path)
            found = self._stat(path)
            if found is not None and self._is(stat.S_ISDIR(found.st_mode), path, "a folder"):
                self._check_attributes(path, found, entry.mode, entry.mtime_ns, entry)

    def _check_owner(self, owner: OwnerDocuments) -> tuple[Totals, bool]:
        sums = [0] * len(Totals.__struct_fields__)
        whole = True
        for entry in owner.record.entries:
            path = path_of(owner.record.owner, entry.place, entry.name)
            if not _is_inside(path):
                whole = False  # the restore refuses it, and says so
            elif isinstance(entry, LinkEntry):
                self._expected.add(path)
                self._check_link(path, entry)
            elif isinstance(entry, FileEntry):
                version = chosen(entry, self._last_good)
                whole &= entry.state <= FileState.UNPARSED or entry.good is not None
                if version is None:
                    continue
                self._expected.add(path)
                counts = self._check_file(path, entry, version, owner.keys)
                sums = [one + more for one, more in zip(sums, counts, strict=True)]
        return Totals(*sums), whole

    def _check_link(self, path: bytes, entry: LinkEntry) -> None:
        found = self._stat(path)
        if found is None or not self._is(stat.S_ISLNK(found.st_mode), path, "a link"):
            return
        if self._tree.link(path) != entry.target:
            self._note("other", path, "the link leads elsewhere")

    def _check_file(
        self,
        path: bytes,
        entry: FileEntry,
        version: FileEntry | LastGood,
        keys: list[OwnerKeys],
    ) -> Sequence[int]:
        """Check one document; return what it adds to the totals."""
        nothing = [0] * len(Totals.__struct_fields__)
        found = self._stat(path)
        if found is None or not self._is(stat.S_ISREG(found.st_mode), path, "a file"):
            return nothing
        self._check_attributes(path, found, version.mode, version.mtime_ns, entry)
        kind = kind_of(entry.place, entry.name)
        chats = messages = 0
        with self._tree.file(path) as descriptor:
            if version.size <= LARGE_BYTES:
                data = read_all(descriptor, version.size)
                self._check_bytes(path, version, len(data), [item.digest(data) for item in keys])
                if kind != "other":
                    chats, messages = self._check_contents(path, kind, data, entry, version)
                likeness = self._compare(path, version, data)
            else:
                self._check_large(path, descriptor, version, keys)
                likeness = self._compare_large(path, version, descriptor)
        self._take(path, likeness)
        if entry.links > 1:
            self._check_joined(path, found, entry, version)
        return (
            *(kind == "user", kind == "history", chats, messages),
            *(1, found.st_size, entry.state == FileState.TORN, 0),
        )

    def _check_bytes(
        self, path: bytes, version: FileEntry | LastGood, size: int, digests: list[bytes]
    ) -> None:
        if size != version.size or version.digest not in digests:
            self._note(
                "bytes", path, f"{size:,} bytes came back that are not the {version.size:,} saved"
            )

    def _check_large(
        self,
        path: bytes,
        descriptor: int,
        version: FileEntry | LastGood,
        keys: list[OwnerKeys],
    ) -> None:
        size, digests = 0, [item.new_digest() for item in keys]
        for block in blocks(descriptor):
            size += len(block)
            for digest in digests:
                digest.update(block)
        self._check_bytes(path, version, size, [one.digest(DIGEST_BYTES) for one in digests])

    def _check_contents(
        self,
        path: bytes,
        kind: Kind,
        data: bytes,
        entry: FileEntry,
        version: FileEntry | LastGood,
    ) -> tuple[int, int]:
        """Parse a document as the application would; return its chats and messages."""
        if version is entry and entry.state == FileState.TORN:
            return entry.chats, entry.messages  # it was torn when it was saved, and is no more
        found = outline(kind, entry.name or path, data)
        if version is entry and entry.state == FileState.UNPARSED:
            return found.chats, found.messages  # too large or too deep to be looked into
        if found.state == "torn":
            self._note("torn", path, "it cannot be parsed")
        if (found.chats, found.messages) != (version.chats, version.messages):
            self._note(
                "counts",
                path,
                f"it holds {found.chats} chats and {found.messages} messages, not the "
                f"{version.chats} and {version.messages} that were saved",
            )
        return found.chats, found.messages

    def _check_attributes(
        self, path: bytes, found: os.stat_result, mode: int, mtime_ns: int, entry: Entry
    ) -> None:
        wanted: tuple[int, ...] = (mode, mtime_ns)
        is_now: tuple[int, ...] = (stat.S_IMODE(found.st_mode), found.st_mtime_ns)
        if os.geteuid() == 0:
            wanted, is_now = (*wanted, entry.uid, entry.gid), (*is_now, found.st_uid, found.st_gid)
        if wanted != is_now:
            self._note("attributes", path, "it came back with another mode, owner or time")

    def _check_joined(
        self, path: bytes, found: os.stat_result, entry: FileEntry, version: FileEntry | LastGood
    ) -> None:
        """Note if names of one file came back as two files. Only what is the same in all that the
        restore goes by counts: the file may have been written to between the reading of two names.
        """
        same = (entry.inode, version.mode, version.mtime_ns, version.size, self._user)
        if self._files.setdefault((*same, version.digest), found.st_ino) != found.st_ino:
            self._note("attributes", path, "it was one file with another and came back apart")

    def _compare(self, path: bytes, version: FileEntry | LastGood, data: bytes) -> Likeness | None:
        if self._live is None or not isinstance(version, FileEntry):
            return None
        return self._live.compare(path, version, data)

    def _compare_large(
        self, path: bytes, version: FileEntry | LastGood, descriptor: int
    ) -> Likeness | None:
        if self._live is None or not isinstance(version, FileEntry):
            return None
        return self._live.compare_large(path, version, descriptor)

    def _take(self, path: bytes, likeness: Likeness | None) -> None:
        if likeness == "same":
            self._found.same += 1
        elif likeness == "changed":
            self._found.changed += 1
        elif likeness == "unread":
            self._found.unread += 1
        elif likeness is not None and not self._is_troubled(path):
            self._note("live", path, likeness)

    def _is_troubled(self, path: bytes) -> bool:
        """Whether what came back is itself not what was saved: then it says nothing of others."""
        return any(
            item.path == path and item.wrong != "attributes" for item in self._found.troubles[-4:]
        )

    def _look_for_more(self) -> None:
        """Note what came back though nobody saved it."""
        above = {
            b"/".join(parts[:length])
            for path in self._expected
            for parts in [path.split(b"/")]
            for length in range(1, len(parts))
        }
        for path, is_folder in self._tree.walk():
            if path not in self._expected and not (is_folder and path in above):
                self._user = None
                self._note("extra", path, "it came back though nobody saved it")

    def _stat(self, path: bytes) -> os.stat_result | None:
        found = self._tree.stat(path)
        if found is None:
            self._note("missing", path, "it did not come back")
        return found

    def _is(self, right: bool, path: bytes, what: str) -> bool:
        if not right:
            self._note("other", path, f"what came back is not {what}")
        return right

    def _note(self, wrong: Wrong, path: bytes, message: str) -> None:
        self._found.troubles.append(Trouble(wrong, path, message, self._user))


def _is_inside(path: bytes) -> bool:
    """Whether the restore writes there, into the data directory's folder itself if need be."""
    return not path or is_plain_path(path)
