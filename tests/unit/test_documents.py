"""Documents through segments and back, version after version, sharing with the one before."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.errors import ObjectDamaged, RepositoryError
from shenyu_data.repository import format as fmt
from shenyu_data.repository.crypto import OwnerKeys, Secrets
from shenyu_data.repository.documents import MAX_EXTENTS, DocumentReader, DocumentWriter, cut
from shenyu_data.repository.packs import SEGMENT_BYTES, PackWriter, SegmentReader
from shenyu_data.storage.memory import MemoryStorage

KEYS = OwnerKeys(b"a" * 32)
SECRETS = Secrets(b"m" * 32, b"r" * 16)


def entry(
    data: bytes, extents: list[fmt.Extent], name: bytes = b"a", good: fmt.LastGood | None = None
) -> fmt.FileEntry:
    digest = KEYS.digest(data)
    return fmt.FileEntry(
        3, name, 0, 0o600, 0, 0, 0, 0, 0, 1, len(data), digest, 0, 0, extents, good
    )


class Owner:
    """One owner's documents, backed up again and again."""

    def __init__(self) -> None:
        self.storage = MemoryStorage()
        self.record = fmt.OwnerRecord(b"o", False, [], [])

    def back_up(self, documents: dict[bytes, bytes]) -> None:
        before = {e.name: e for e in self.record.entries if isinstance(e, fmt.FileEntry)}
        packs = PackWriter(self.storage)
        reader = SegmentReader(self.storage, SECRETS)
        writer = DocumentWriter([KEYS], packs, self.record.segments, reader)
        entries: list[fmt.Entry] = [
            entry(data, writer.add(data, before.get(name)), name)
            for name, data in documents.items()
        ]
        self.record = writer.finish(b"o", False, entries)
        packs.finish()

    def restore(self) -> dict[bytes, bytes]:
        reader = DocumentReader(self.record.segments, [KEYS], SegmentReader(self.storage, SECRETS))
        files = [e for e in self.record.entries if isinstance(e, fmt.FileEntry)]
        return {file.name: reader.read(file) for file in files}

    def extents(self) -> int:
        files = [e for e in self.record.entries if isinstance(e, fmt.FileEntry)]
        return max(len(file.extents) for file in files)


LINE = st.integers(0, 5).map(lambda n: b"%d" % n * 150 + b"\n")
DOCUMENTS = st.dictionaries(
    st.sampled_from([b"a", b"b", b"c"]),
    st.lists(LINE, max_size=12).map(b"".join) | st.binary(max_size=400),
)


@given(st.lists(DOCUMENTS, min_size=1, max_size=5))
def test_every_version_comes_back_however_it_leans_on_the_one_before(
    versions: list[dict[bytes, bytes]],
) -> None:
    owner = Owner()
    for documents in versions:
        owner.back_up(documents)
        assert owner.restore() == documents


@given(st.lists(DOCUMENTS, min_size=1, max_size=5))
def test_a_record_lists_only_the_segments_that_it_uses(
    versions: list[dict[bytes, bytes]],
) -> None:
    owner = Owner()
    for documents in versions:
        owner.back_up(documents)
        files = [e for e in owner.record.entries if isinstance(e, fmt.FileEntry)]
        used = {index for file in files for index, _, _ in file.extents}
        assert used == set(range(len(owner.record.segments)))


def test_a_line_put_in_front_stores_little_more_than_the_line() -> None:
    owner = Owner()
    text = random.Random(1).randbytes(50_000)
    owner.back_up({b"a": text})
    before = sum(map(len, owner.storage.objects.values()))
    owner.back_up({b"a": b"a new line\n" + text})
    assert sum(map(len, owner.storage.objects.values())) - before < 100
    assert owner.restore() == {b"a": b"a new line\n" + text}


def test_a_document_in_too_many_pieces_is_stored_whole_again() -> None:
    owner = Owner()
    text = random.Random(1).randbytes(20_000)
    most = 0
    for number in range(3 * MAX_EXTENTS):
        owner.back_up({b"a": b"%d" % number + text})
        text = b"%d" % number + text
        most = max(most, owner.extents())
        assert owner.restore() == {b"a": text}
    assert 10 < most <= MAX_EXTENTS


def test_a_document_larger_than_a_segment_is_cut_into_several() -> None:
    owner = Owner()
    data = random.Random(1).randbytes(SEGMENT_BYTES + 1000)
    owner.back_up({b"a": b"small", b"b": data})
    assert [segment.plain_bytes for segment in owner.record.segments] == [SEGMENT_BYTES, 1005]
    assert owner.restore() == {b"a": b"small", b"b": data}


def test_a_new_version_does_not_lean_on_a_damaged_one() -> None:
    owner = Owner()
    text = random.Random(1).randbytes(5000)
    owner.back_up({b"a": text})
    (name,) = owner.storage.objects
    content = owner.storage.objects[name]
    owner.storage.objects[name] = content[:-1] + bytes([content[-1] ^ 1])
    owner.back_up({b"a": text + b"more"})
    assert owner.restore() == {b"a": text + b"more"}


def test_the_last_good_version_keeps_its_segments() -> None:
    owner = Owner()
    good, other = b"good" * 100, b"other" * 100
    owner.back_up({b"b": other, b"a": good})
    (before,) = [e for e in owner.record.entries if isinstance(e, fmt.FileEntry) and e.name == b"a"]
    packs = PackWriter(owner.storage)
    reader = SegmentReader(owner.storage, SECRETS)
    writer = DocumentWriter([KEYS], packs, owner.record.segments, reader)
    last = fmt.LastGood(b"s" * 16, 0o600, 0, len(good), before.digest, 0, 0, before.extents)
    record = writer.finish(b"o", False, [entry(b"torn", writer.append(b"torn"), b"a", last)])
    packs.finish()
    (file,) = record.entries
    assert isinstance(file, fmt.FileEntry) and file.good is not None
    documents = DocumentReader(record.segments, [KEYS], SegmentReader(owner.storage, SECRETS))
    assert (documents.read(file), documents.read(file.good)) == (b"torn", good)


@given(st.lists(st.integers(1, 9), max_size=6), st.integers(0, 50), st.integers(0, 50))
def test_cutting_extents_is_cutting_the_document(sizes: list[int], start: int, length: int) -> None:
    segments = [bytes(range(10 * number, 10 * number + size)) for number, size in enumerate(sizes)]
    extents = [(index, 0, size) for index, size in enumerate(sizes)]
    pieces = cut(extents, start, length)
    joined = b"".join(segments[i][offset : offset + size] for i, offset, size in pieces)
    assert joined == b"".join(segments)[start : start + length]
    assert all(size > 0 for _, _, size in pieces)


@given(
    st.lists(
        st.tuples(st.integers(-3, 5), st.integers(-5, 1 << 40), st.integers(-5, 1 << 40)),
        min_size=1,
        max_size=3,
    )
)
def test_extents_that_point_anywhere_are_damage(extents: list[fmt.Extent]) -> None:
    owner = Owner()
    owner.back_up({b"a": b"x" * 100})
    reader = DocumentReader(owner.record.segments, [KEYS], SegmentReader(owner.storage, SECRETS))
    with pytest.raises(RepositoryError):
        reader.read(entry(b"another document", extents))


def test_a_document_with_another_digest_is_damage() -> None:
    owner = Owner()
    owner.back_up({b"a": b"x" * 100})
    reader = DocumentReader(owner.record.segments, [KEYS], SegmentReader(owner.storage, SECRETS))
    (file,) = owner.record.entries
    assert isinstance(file, fmt.FileEntry)
    for forged in (bytes(16), b"", OwnerKeys(b"b" * 32).digest(b"x" * 100)):
        with pytest.raises(ObjectDamaged):
            reader.read(msgspec.structs.replace(file, digest=forged))


def test_an_empty_document_needs_no_segment() -> None:
    owner = Owner()
    owner.back_up({b"a": b""})
    assert owner.record.segments == []
    assert owner.storage.objects == {}
    assert owner.restore() == {b"a": b""}
