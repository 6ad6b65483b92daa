"""Compression: what goes in comes out, what is not ours does not, and the dictionary stays."""

import contextlib
import json
import os
import re
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import blake3
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from shenyu_data.model.errors import ObjectDamaged
from shenyu_data.repository import compression
from shenyu_data.repository.compression import (
    DICTIONARY_BLAKE3,
    DICTIONARY_ID,
    Compressor,
    Decompressor,
    load_dictionary,
)

COMPRESSOR, DECOMPRESSOR = Compressor(), Decompressor()

SEGMENT = json.dumps(
    [
        {
            "id": 1735689600000 + number,
            "title": f"第 {number} 个问题",
            "messages": [
                {"role": "user", "content": f"请解释一下 {number} 的意思，并举例说明。"},
                {"role": "assistant", "content": f"Sure! Here is example {number}:\n\n- 好的"},
            ],
        }
        for number in range(40)
    ],
    ensure_ascii=False,
    indent=2,
).encode()


SMALL_GOLDEN = """[
  {
    "id": 1735689600000,
    "title": "你好",
    "messages": [
      {
        "role": "user",
        "content": "请帮我写一篇关于海洋的文章 \\n谢谢"
      },
      {
        "role": "assistant",
        "content": "好的，以下是一些建议：\\n\\n1. **明确目标**"
      }
    ],
    "timestamp": "2025-01-01T00:00:00.000Z"
  }
]""".encode()


def raw_frame(content: bytes) -> bytes:
    """A frame as a stranger would write it: level 19, checksum, no dictionary."""
    return zstandard.ZstdCompressor(level=19, write_checksum=True).compress(content)


@given(st.binary(max_size=5000) | st.text(max_size=2000).map(lambda text: text.encode()))
@example(b"")
@example(b"\0")
@example(b"a" * 200_000)
@example(SEGMENT)
def test_what_is_compressed_comes_back(segment: bytes) -> None:
    assert DECOMPRESSOR.decompress(COMPRESSOR.compress(segment), len(segment)) == segment


@pytest.mark.parametrize(
    "size", [1, 255, 256, 65_791, 65_792, (112 << 10), (112 << 10) + 1, 1 << 22]
)
def test_noise_and_repetition_of_every_size_come_back_and_noise_hardly_grows(size: int) -> None:
    noise = os.urandom(size)
    frame = COMPRESSOR.compress(noise)
    assert len(frame) <= size + 16 + 3 * (size >> 17)
    assert DECOMPRESSOR.decompress(frame, size) == noise
    repeated = (SEGMENT * (size // len(SEGMENT) + 1))[:size]
    assert DECOMPRESSOR.decompress(COMPRESSOR.compress(repeated), size) == repeated


def test_the_same_segment_always_gives_the_same_frame() -> None:
    first = COMPRESSOR.compress(SEGMENT)
    COMPRESSOR.compress(os.urandom(300_000))
    assert COMPRESSOR.compress(SEGMENT) == first == Compressor().compress(SEGMENT)


def test_the_dictionary_makes_a_short_chat_much_smaller() -> None:
    chat = SEGMENT[:600]
    assert len(COMPRESSOR.compress(chat)) < 0.75 * len(zstandard.ZstdCompressor(3).compress(chat))


def test_several_threads_may_work_at_once_each_with_its_own() -> None:
    def work(number: int) -> bool:
        compressor, decompressor = Compressor(), Decompressor()
        segments = [SEGMENT[number * 7 + n :] for n in range(50)]
        return all(
            decompressor.decompress(compressor.compress(segment), len(segment)) == segment
            for segment in segments
        )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(8)))


# ---------------------------------------------------------------------------- what is not ours


@pytest.mark.parametrize("wrong", [-1, 0, 1, len(SEGMENT) - 1, len(SEGMENT) + 1, 1 << 40])
def test_a_frame_of_another_size_is_damage(wrong: int) -> None:
    with pytest.raises(ObjectDamaged):
        DECOMPRESSOR.decompress(COMPRESSOR.compress(SEGMENT), wrong)


@pytest.mark.parametrize("size", [0, 1, 100])
@pytest.mark.parametrize(
    "frame",
    [
        b"not a frame at all",
        b"\x28\xb5\x2f\xfd",
        raw_frame(b""),
        b"\x50\x2a\x4d\x18\x04\0\0\0abcd",  # a skippable frame
        zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 100),
        raw_frame(b"x" * 99),
    ],
)
def test_what_is_no_frame_of_that_size_is_damage(frame: bytes, size: int) -> None:
    with pytest.raises(ObjectDamaged):
        DECOMPRESSOR.decompress(frame, size)


def test_an_empty_frame_holds_only_the_empty_segment() -> None:
    assert DECOMPRESSOR.decompress(b"", 0) == b""
    for size in (-1, 1, 100):
        with pytest.raises(ObjectDamaged):
            DECOMPRESSOR.decompress(b"", size)


def test_a_frame_cut_off_anywhere_or_followed_by_anything_is_damage() -> None:
    for segment in (SEGMENT[:400], SEGMENT * 20):
        frame = COMPRESSOR.compress(segment)
        for cut in range(0, len(frame), max(1, len(frame) // 100)):
            with pytest.raises(ObjectDamaged):
                DECOMPRESSOR.decompress(frame[:cut], len(segment))
        for tail in (b"\0", frame, raw_frame(b"more")):
            with pytest.raises(ObjectDamaged):
                DECOMPRESSOR.decompress(frame + tail, len(segment))


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_never_gives_another_size_nor_another_error(place: int, change: int) -> None:
    frame = bytearray(COMPRESSOR.compress(SEGMENT))
    frame[place % len(frame)] ^= change
    try:
        segment = DECOMPRESSOR.decompress(bytes(frame), len(SEGMENT))
    except ObjectDamaged:
        return
    assert len(segment) == len(SEGMENT)  # whether it is the right one, the seal around it tells


@given(st.binary(max_size=300), st.integers(-1, 5000))
def test_noise_behind_a_frame_header_never_gives_more_than_asked(noise: bytes, size: int) -> None:
    with contextlib.suppress(ObjectDamaged):
        assert len(DECOMPRESSOR.decompress(b"\x28\xb5\x2f\xfd" + noise, size)) == size


def test_a_bomb_is_refused_without_being_unpacked() -> None:
    bomb = raw_frame(bytes(64 << 20))
    assert len(bomb) < 10_000
    # The same bomb, saying that it holds 100 bytes: a one-byte size takes the place of the longer.
    header = zstandard.frame_header_size(bomb)
    liar = bomb[:4] + bytes([0b0010_0100, 100]) + bomb[header:]
    assert zstandard.frame_content_size(liar) == 100
    # And without its end, so that zstd would want a window of its own to go on with.
    cut_off = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=27)
    ).compress(bytes(64 << 20))[:-3]
    tracemalloc.start()
    try:
        for frame, size in ((bomb, 100), (liar, 100), (cut_off, 100)):
            with pytest.raises(ObjectDamaged):
                DECOMPRESSOR.decompress(frame, size)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    with pytest.raises(ObjectDamaged):
        DECOMPRESSOR.decompress(cut_off, 64 << 20)
    assert DECOMPRESSOR.decompress(bomb, 64 << 20) == bytes(64 << 20)  # large, but as expected


# ------------------------------------------------------------------------------- the dictionary


def test_the_dictionary_is_the_one_that_old_repositories_were_written_with() -> None:
    """If this fails, put the file back: a changed dictionary makes every backup unreadable."""
    assert blake3.blake3(load_dictionary()).hexdigest() == DICTIONARY_BLAKE3
    assert DICTIONARY_BLAKE3.startswith("86eae5a7")


def test_the_dictionary_is_text_of_a_size_worth_copying_for_every_frame() -> None:
    assert 24 << 10 <= len(load_dictionary()) <= 48 << 10
    assert b"\r" not in load_dictionary()
    load_dictionary().decode()


def test_the_dictionary_lies_beside_the_module() -> None:
    assert compression.__file__ is not None
    assert Path(compression.__file__).with_name(f"{DICTIONARY_ID}.txt").is_file()


def test_frames_written_by_the_first_version_can_still_be_read() -> None:
    """A frame as it lies in repositories, leaning on the dictionary for most of its bytes."""
    frame = bytes.fromhex(
        "28b52ffd606a00b50300e05b0a333536383936746c652c0a205c6e22222c9a2a2a0a20207d0a"
        "5d1b001eb1a1402167001c4c803f1464c1758421ae03c44556eef270872a600604c001caa851"
        "4055330c6636e3006828e11a5a946a46c01ec4c58533269c4e811d3f039cd301e1689c210058"
        "9cc119c600b2384be301f6cc3bb0"
    )
    assert DECOMPRESSOR.decompress(frame, len(SMALL_GOLDEN)) == SMALL_GOLDEN


def test_one_whole_user_file_of_each_layout_is_in_the_dictionary() -> None:
    text = load_dictionary().decode()
    for key in (
        "fingerprint userAgent language colorDepth screenResolution timezone cookiesEnabled"
        " localStorage sessionStorage fonts canvasFingerprint webglVendor webglRenderer"
        " firstSeen lastSeen id title messages role content timestamp created_at settings"
        " preferences name model"
    ).split():
        assert f'"{key}": ' in text, key


def test_nobody_is_named_in_the_dictionary() -> None:
    text = load_dictionary().decode()
    assert set(re.findall(r"[\w.]+@[\w.]+[.]\w+", text)) <= {"user@example.com"}
    assert not re.search(r"[0-9a-f]{32}", text)
