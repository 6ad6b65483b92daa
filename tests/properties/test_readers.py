"""Every reader holds to its oracle (fuzz/), whatever document, archive or object it is given."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz import archives, documents, exports, objects
from fuzz.targets import TARGETS, guides, led, natives, several
from shenyu_data.testing.archives import archives as any_archive
from shenyu_data.testing.archives import tars
from shenyu_data.testing.documents import documents as any_document
from shenyu_data.testing.documents import gzips, histories, users

BYTES = st.binary(max_size=200)
FEWER = settings(max_examples=settings().max_examples // 3)  # what takes long to draw


@given(led(any_document()))
def test_a_history_in_blocks_gives_its_chats_wherever_the_blocks_end(data: bytes) -> None:
    documents.chat_stream(data)


@given(any_document())
def test_every_whole_chat_is_salvaged(data: bytes) -> None:
    documents.salvaging(data)


@given(several(any_document(), histories()))
def test_what_is_mended_is_whole_and_has_every_chat(data: bytes) -> None:
    documents.mending(data)


@given(any_document())
def test_what_no_parser_reads_is_found_and_what_one_reads_is_not(data: bytes) -> None:
    documents.findings(data)


@FEWER
@given(several(histories(), histories()))
def test_a_chat_goes_in_and_out_and_all_others_stay(data: bytes) -> None:
    documents.chats(data)


@FEWER
@given(several(histories(), histories(), histories()))
def test_no_chat_is_lost_by_a_union_a_merge_or_an_archive(data: bytes) -> None:
    documents.together(data)


@given(histories() | users() | BYTES)
def test_a_clock_is_a_moment_that_can_be(data: bytes) -> None:
    documents.activity(data)


@given(gzips(any_document()))
def test_gzip_is_unpacked_as_gzip_itself_does(data: bytes) -> None:
    documents.gzipped(data)
    exports.streams(b"\x07" + data)


@FEWER
@given(led(guides()))
def test_an_export_of_the_guides_gives_documents_or_an_error(data: bytes) -> None:
    exports.json_stream(data)
    exports.guide(data)


@FEWER
@given(led(natives()))
def test_a_native_export_gives_sound_entries_or_an_error(data: bytes) -> None:
    exports.native(data)


@given(any_archive() | tars())
def test_an_archive_is_read_as_pythons_own_reader_does(data: bytes) -> None:
    archives.made_tar(data)
    archives.tar(b"\x01" + data)


@given(led(any_archive() | tars()))
def test_nothing_of_an_archive_comes_to_lie_outside_its_folder(data: bytes) -> None:
    archives.unpack(data)


@given(BYTES)
def test_a_changed_object_says_what_it_said_or_is_damaged(data: bytes) -> None:
    objects.changed_objects(data)


@given(st.sampled_from(TARGETS["sealed-objects"].seeds()), st.binary(max_size=8), st.data())
def test_an_authentic_object_of_anything_is_read_or_damaged(
    seed: bytes, noise: bytes, draw: st.DataObject
) -> None:
    at = draw.draw(st.integers(1, len(seed)))
    objects.sealed_objects(seed[:at] + noise + seed[at + len(noise) :])


@pytest.mark.parametrize(
    "name",
    "config typed cursors words journal audit-log copy-journal quarantine recovery holds profiles "
    "receipts keys s3-versions".split(),
)
@settings(max_examples=20)
@given(data=st.data())
def test_what_a_person_or_a_service_wrote_is_read_or_refused(
    name: str, data: st.DataObject
) -> None:
    target = TARGETS[name]
    seed = data.draw(st.sampled_from(target.seeds()))
    at = data.draw(st.integers(0, len(seed)))
    noise = data.draw(st.binary(max_size=10) | st.sampled_from(target.words or (b"9" * 500,)))
    target.check(seed[:at] + noise + seed[at + data.draw(st.integers(0, 10)) :])


@pytest.mark.parametrize("begin", [b"[", b'[{"id": 1, "messages": ', b'{"a":', b'[{"a":'])
def test_no_depth_lies_between_what_is_read_and_what_is_too_deep(begin: bytes) -> None:
    """Parsers, and what walks what they gave, give up at different depths."""
    for depth in [*range(192, 204), *range(300, 900, 100), *range(900, 1000, 3)]:
        end = {b"[": b"]", b"{": b"}"}
        nested = begin + b"[" * depth + b"]" * depth
        data = nested + b"".join(end[mark.to_bytes()] for mark in reversed(begin) if mark in b"[{")
        for check in (
            documents.findings,
            documents.chats,
            documents.salvaging,
            documents.mending,
            documents.activity,
        ):
            check(data)
        documents.mending(data[:-1] + b"\xfe" + data)
        documents.together(b"\xfe".join((data, data, data)))
        exports.guide(b"\xff" + b'{"users": {"a": %b}, "histories": {"a": [%b]}}' % (data, data))
