"""Compressed documents: the same bytes for gzip, for Node and for us, whoever packed them."""

from __future__ import annotations

import gzip
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.datadir.gzipped import FASTEST, SMALLEST, pack
from shenyu_data.model.records import gunzip
from shenyu_data.testing.strategies import contents

LEVELS = range(FASTEST, SMALLEST + 1)
NODE_UNPACKS = "process.stdout.write(require('zlib').gunzipSync(require('fs').readFileSync(0)))"
NODE_PACKS = "process.stdout.write(require('zlib').gzipSync(require('fs').readFileSync(0)))"
SOME = '{"id": 1, "messages": [{"role": "user", "content": "你好 \\ud83d"}]}'.encode() * 50


@given(data=contents() | st.binary(max_size=3000), level=st.sampled_from(LEVELS))
def test_what_is_packed_unpacks_to_the_same_bytes(data: bytes, level: int) -> None:
    packed = pack(data, level)
    assert gunzip(packed, len(data)) == gzip.decompress(packed) == data
    assert pack(data, level) == packed


@pytest.mark.parametrize("level", LEVELS)
def test_the_header_says_nothing_of_time_and_name(level: int) -> None:
    assert pack(SOME, level)[:10].hex() == "1f8b08000000000000ff"


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("data", [b"", SOME])
def test_gzip_and_node_unpack_ours(level: int, data: bytes) -> None:
    packed = pack(data, level)
    assert run("gzip", "-dc", given=packed) == data
    assert run("node", "-e", NODE_UNPACKS, given=packed) == data


def test_ours_unpacks_theirs() -> None:
    for packed in (
        run("gzip", "-9", "-c", given=SOME),
        run("node", "-e", NODE_PACKS, given=SOME),
    ):
        assert gunzip(packed, len(SOME)) == SOME


def test_several_members_and_zeros_at_the_end_are_one_document() -> None:
    packed = gzip.compress(SOME[:100]) + gzip.compress(b"") + gzip.compress(SOME[100:])
    assert gunzip(packed + bytes(512), len(SOME)) == SOME
    assert run("gzip", "-dc", given=packed) == SOME


@pytest.mark.parametrize("damage", ["cut", "followed", "checksum", "members"])
def test_what_is_damaged_is_no_document(damage: str) -> None:
    packed = gzip.compress(SOME)
    wrong = {
        "cut": packed[:-1],
        "followed": packed + b"more",
        "checksum": packed[:-5] + bytes([packed[-5] ^ 1]) + packed[-4:],
        "members": gzip.compress(b"") * 100_000,
    }
    assert gunzip(wrong[damage], 1 << 20) is None


def test_no_more_is_unpacked_than_was_asked_for() -> None:
    bomb = pack(bytes(1 << 22)) + pack(bytes(1 << 22))
    unpacked = gunzip(bomb, (1 << 22) + 10)
    assert unpacked is not None
    assert len(unpacked) == (1 << 22) + 11


def run(program: str, *words: str, given: bytes) -> bytes:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed here: what it reads and writes is not compared")
    return subprocess.run([path, *words], input=given, capture_output=True, check=True).stdout
