"""Names, headers and plain structures of format version 1; docs/format.md says the same in prose.

Only the rooms repository/ and testing/ import this. Integers in structures are little-endian.
"""

from __future__ import annotations

import os
import struct
from datetime import UTC, datetime
from enum import IntEnum
from typing import Annotated

import msgspec

from shenyu_data.model.errors import ObjectDamaged, UnsupportedFormat
from shenyu_data.model.tripwires import Evidence, Trip

FORMAT_VERSION = 1
BUCKETS = 256
"""Owners are dealt into this many buckets by the first byte of their pseudonym."""

MAGIC = b"SHENYU"
HEADER_BYTES = 8

DESCRIPTOR = "repository"
DICTIONARY = "dictionary-1"
SLOTS = "slots"
KEYRINGS = "keys"
PACKS = "packs"
MANIFESTS = "manifests"
SNAPSHOTS = "snapshots"
TOMBSTONES = "tombstones"
PROOFS = "proofs"
PRUNES = "prunes"
MOVED = "moved"
GENERATIONS = "generations"
ACKNOWLEDGEMENTS = "acknowledgements"
ANCHORS = "anchors"
ACCEPTANCES = "acceptances"
COPY_SUFFIX = ".copy"
"""What is small and everything hangs on is stored twice."""

TWICE = (KEYRINGS, SNAPSHOTS, TOMBSTONES, GENERATIONS)
"""The folders of such objects."""


class ObjectKind(IntEnum):
    """The last byte of a binary object's header."""

    KEYRING = 1
    PACK = 2
    MANIFEST = 3
    SNAPSHOT = 4
    TOMBSTONE = 5
    PROOF = 6
    PRUNE = 7
    MOVED = 8
    GENERATION = 9
    ACKNOWLEDGEMENT = 10
    ANCHOR = 11
    ACCEPTANCE = 12


_FOLDERS = {
    ObjectKind.KEYRING: KEYRINGS,
    ObjectKind.PACK: PACKS,
    ObjectKind.MANIFEST: MANIFESTS,
    ObjectKind.SNAPSHOT: SNAPSHOTS,
    ObjectKind.TOMBSTONE: TOMBSTONES,
    ObjectKind.PROOF: PROOFS,
    ObjectKind.PRUNE: PRUNES,
    ObjectKind.MOVED: MOVED,
    ObjectKind.GENERATION: GENERATIONS,
    ObjectKind.ACKNOWLEDGEMENT: ACKNOWLEDGEMENTS,
    ObjectKind.ANCHOR: ANCHORS,
    ObjectKind.ACCEPTANCE: ACCEPTANCES,
}


def new_id() -> bytes:
    """Return 16 random bytes that name an object."""
    return os.urandom(16)


def object_name(kind: ObjectKind, object_id: bytes) -> str:
    """Given an object's kind and id, return its name in the storage."""
    return f"{_FOLDERS[kind]}/{object_id.hex()}"


def parse_object_name(name: str) -> tuple[str, bytes] | None:
    """Given a name from a listing, return folder and id if an object is named so, else None.

    The name of a second copy is not one; anything else in a listing is a stranger's file.
    """
    folder, _, base = name.partition("/")
    if len(base) != 32 or not set(base) <= _HEX_DIGITS:
        return None
    return folder, bytes.fromhex(base)


_HEX_DIGITS = frozenset("0123456789abcdef")


def header(kind: ObjectKind) -> bytes:
    """Return the eight bytes that every binary object of this kind begins with."""
    return MAGIC + bytes((FORMAT_VERSION, kind))


def check_header(kind: ObjectKind, name: str, start: bytes) -> None:
    """Given an object's first bytes, raise ObjectDamaged or UnsupportedFormat if they are not its
    header.
    """
    if start[:HEADER_BYTES] == header(kind):
        return
    if start[:6] == MAGIC and len(start) >= HEADER_BYTES and start[6] > FORMAT_VERSION:
        raise UnsupportedFormat(
            f"{name} says it is of format version {start[6]}; this program knows {FORMAT_VERSION}",
            hint="Use a newer shenyu-data; if there is none, the object is damaged: run verify.",
        )
    raise damaged(name, "its header is not that of such an object")


def damaged(name: str, why: str) -> ObjectDamaged:
    """Return the error for an object that does not hold what it should."""
    return ObjectDamaged(
        f"{name} is damaged: {why}",
        hint="Run `shenyu-data verify --read-data` to see what it affects; the rest restores.",
    )


# What these allow is checked wherever a structure is read: they are the format, not a hint.
ObjectId = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Nonce = Annotated[bytes, msgspec.Meta(min_length=12, max_length=12)]
Count = Annotated[int, msgspec.Meta(ge=0)]
PlaceNumber = Annotated[int, msgspec.Meta(ge=0, le=4)]
StateNumber = Annotated[int, msgspec.Meta(ge=0, le=3)]
SegmentSize = Annotated[int, msgspec.Meta(ge=0, le=1 << 30)]
"""Programs write segments of a few MiB; a forged one must not make us set aside more than this."""
TimeMs = Annotated[int, msgspec.Meta(ge=-62_135_596_800_000, le=253_402_300_799_999)]
"""The years 1 to 9999."""


class Segment(msgspec.Struct, array_like=True, frozen=True):
    """Documents of one owner, compressed and sealed together: where they lie.

    ``offset`` and ``stored_bytes`` locate the sealed bytes (ciphertext and tag) in the pack;
    ``plain_bytes`` is the size before compression; ``nonce`` pins the very ciphertext.
    """

    pack: ObjectId
    offset: Count
    stored_bytes: SegmentSize
    plain_bytes: SegmentSize
    nonce: Nonce


Extent = tuple[int, int, int]
"""(index into the record's segments, offset in the plain segment, length): a piece of a document.
"""


class FileState(IntEnum):
    """How well a file was captured."""

    WHOLE = 0
    UNPARSED = 1  # too large or too deep to look into, kept byte for byte
    TORN = 2  # changed at every try, or does not parse
    UNREADABLE = 3  # could not be read; nothing of it but its last good version, if any


class LastGood(msgspec.Struct, array_like=True, frozen=True):
    """The newest whole version of a file that is torn or unreadable now."""

    snapshot: ObjectId
    mode: int
    mtime_ns: int
    size: int
    digest: bytes
    chats: int
    messages: int
    extents: list[Extent]


class FileEntry(msgspec.Struct, array_like=True, tag=0, frozen=True):
    """A regular file. ``ctime_ns`` 0 says: not settled, to be read again next time."""

    place: PlaceNumber
    name: bytes
    state: StateNumber
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    links: int
    size: int
    digest: bytes
    chats: int
    messages: int
    extents: list[Extent]
    good: LastGood | None


class FolderEntry(msgspec.Struct, array_like=True, tag=1, frozen=True):
    """A folder."""

    place: PlaceNumber
    name: bytes
    mode: int
    uid: int
    gid: int
    mtime_ns: int


class LinkEntry(msgspec.Struct, array_like=True, tag=2, frozen=True):
    """A symbolic link, never followed."""

    place: PlaceNumber
    name: bytes
    uid: int
    gid: int
    mtime_ns: int
    target: bytes


Entry = FileEntry | FolderEntry | LinkEntry


class OwnerRecord(msgspec.Struct, array_like=True, frozen=True):
    """All of one owner in one snapshot. ``shared`` records have an empty owner."""

    owner: bytes
    shared: bool
    segments: list[Segment]
    entries: list[Entry]


class SectionRef(msgspec.Struct, array_like=True, frozen=True):
    """Where one bucket's section lies: indexes into the root's lists, and a range of the object."""

    origin: Count
    manifest: Count
    offset: Count
    records_bytes: Count
    index_bytes: Count


class Totals(msgspec.Struct, frozen=True, array_like=True):
    """What a snapshot, or one bucket of it, holds. ``documents`` counts regular files of every
    kind.
    """

    users: int = 0
    histories: int = 0
    chats: int = 0
    messages: int = 0
    documents: int = 0
    document_bytes: int = 0
    torn: int = 0
    unreadable: int = 0

    def plus(self, other: Totals) -> Totals:
        """Return the sum."""
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return Totals(*(mine + others for mine, others in pairs))


class BucketRef(msgspec.Struct, array_like=True, frozen=True):
    """One bucket in a root: its sections, oldest first, and what it holds."""

    sections: list[SectionRef]
    totals: Totals


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """How a snapshot differs from its parent, in documents."""

    new: int = 0
    changed: int = 0
    gone: int = 0


class Adopted(msgspec.Struct, frozen=True, kw_only=True):
    """The archive that a snapshot was made of: its file's name, and the BLAKE3 of its bytes."""

    name: str
    blake3: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot without its lists of sections: what listings need.

    ``sequence`` is one more than the parent's, so that order survives a clock set back; one that
    was ``adopted`` has that of the snapshot it stands behind. ``incomplete`` says that a folder
    could not be listed, or that an archive was damaged. ``partial``: only some users were looked
    at, everything else is as in the parent. ``safety``: the program took it of its own accord,
    before it changed live data.

    ``evidence`` is what vanished since the parent (None: nobody compared them), ``trips`` the
    tripwires that this broke, and ``pinned`` snapshots that hold what was there before, the best
    one first. ``overwritten`` are the pseudonyms of those whose histories lost chats by accident,
    one of each history, as far as they were looked at.
    """

    id: ObjectId
    parent: ObjectId | None
    sequence: int
    time_ms: TimeMs
    kind: str
    tag: str | None
    data: str
    program: str
    totals: Totals
    changes: Changes
    incomplete: bool
    read_bytes: int
    stored_bytes: int
    elapsed_ms: int
    partial: bool = False
    safety: bool = False
    slot: ObjectId | None = None
    """The key slot that opened the repository for this backup: so the slot's last use is known."""
    adopted: Adopted | None = None
    evidence: Evidence | None = None
    trips: list[Trip] = []
    pinned: list[ObjectId] = []
    overwritten: list[ObjectId] = []

    @property
    def alarmed(self) -> bool:
        """Whether a tripwire noticed something that somebody must acknowledge."""
        return any(trip.is_alarm for trip in self.trips)

    @property
    def degraded(self) -> bool:
        """Whether some document could not be read whole."""
        return bool(self.incomplete or self.totals.torn or self.totals.unreadable)

    @property
    def time(self) -> datetime:
        """When the backup began, in UTC."""
        return datetime.fromtimestamp(self.time_ms / 1000, UTC)


class Root(Snapshot, frozen=True, kw_only=True):
    """The plaintext of a snapshot object: written last, it names everything the snapshot needs."""

    origins: list[ObjectId]
    manifests: list[ObjectId]
    buckets: dict[Annotated[int, msgspec.Meta(ge=0, le=BUCKETS - 1)], BucketRef]


INDEX_ROW = struct.Struct("<16s16sII")
"""Pseudonym, signature, offset and length of the sealed record; length 0: the owner is gone."""

KEYRING_ROW = struct.Struct("<16s32s")
"""Pseudonym and owner key."""

MAX_SECTION_BYTES = 1 << 32
"""Offsets in an index row are 32 bits wide."""
