"""The reader of archives: it agrees with Python's on sound ones, and survives all others."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import tracemalloc
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.datadir import tar_stream
from shenyu_data.datadir.tar import BLOCK, MAX_EXTENSION_BYTES, Member, TarReader
from shenyu_data.datadir.tar_stream import ArchiveStream
from shenyu_data.model.errors import ArchiveDamaged, ArchiveError

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def made(
    *members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.GNU_FORMAT, packed: bool = True
) -> bytes:
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=form, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for info, content in members:
            info.size = len(content) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(out.getvalue(), 1) if packed else out.getvalue()


def info(name: str, kind: bytes = tarfile.REGTYPE, **more: object) -> tarfile.TarInfo:
    made_info = tarfile.TarInfo(name)
    made_info.type = kind
    for key, value in more.items():
        setattr(made_info, key, value)
    return made_info


def read(data: bytes, *, max_bytes: int | None = None) -> list[tuple[Member, bytes]]:
    reader = TarReader(ArchiveStream(io.BytesIO(data), max_bytes=max_bytes))
    return [(member, b"".join(reader.body())) for member in reader]


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=120
).filter(lambda name: name not in (".", ".."))


@given(
    st.lists(st.tuples(NAMES, NAMES, st.binary(max_size=1500)), max_size=5),
    st.sampled_from(["gnu", "pax"]),
    st.booleans(),
    st.integers(0, 9_000_000_000),
)
def test_what_python_writes_is_read_as_it_was_written(
    files: list[tuple[str, str, bytes]], form: str, packed: bool, mtime: int
) -> None:
    members = [
        (info(f"{folder}/{name}", mode=0o640, mtime=mtime, uid=7, gid=8), content)
        for folder, name, content in files
    ]
    found = read(made(*members, form=FORMATS[form], packed=packed))
    assert [(m.name, body) for m, body in found] == [
        (f"{folder}/{name}".encode(), content) for folder, name, content in files
    ]
    for member, body in found:
        assert (member.kind, member.mode, member.uid, member.gid) == ("file", 0o640, 7, 8)
        assert (member.mtime_ns, member.size) == (mtime * 10**9, len(body))


@pytest.mark.parametrize("form", FORMATS)
def test_every_kind_is_told(form: str) -> None:
    kinds = {
        "folder": info("d", tarfile.DIRTYPE),
        "link": info("l", tarfile.SYMTYPE, linkname="../where"),
        "hard link": info("h", tarfile.LNKTYPE, linkname="d/file"),
        "special": info("f", tarfile.FIFOTYPE),
    }
    found = read(made(*((one, b"") for one in kinds.values()), form=FORMATS[form]))
    assert [member.kind for member, _ in found] == list(kinds)
    assert found[1][0].target == b"../where"
    assert found[2][0].target == b"d/file"


def test_long_names_and_targets_of_gnu_are_read_whole() -> None:
    name, target = "n" * 300, "t/" * 200 + "t"
    found = read(made((info(name, tarfile.SYMTYPE, linkname=target), b""), (info("next"), b"x")))
    assert (found[0][0].name, found[0][0].target) == (name.encode(), target.encode())
    assert (found[1][0].name, found[1][1]) == (b"next", b"x")


def test_times_of_pax_are_read_to_the_nanosecond() -> None:
    headers = {"mtime": "1700000000.123456789", "comment": "a=b\nc"}
    before = {"mtime": "-1.5"}
    found = read(
        made(
            (info("a", pax_headers=headers), b""),
            (info("b", pax_headers=before), b""),
            form=tarfile.PAX_FORMAT,
        )
    )
    assert [m.mtime_ns for m, _ in found] == [1_700_000_000_123_456_789, -1_500_000_000]


def test_names_that_are_not_utf8_stay_as_they_are() -> None:
    name = b"caf\xe9/\xff".decode("utf-8", "surrogateescape")
    for form in FORMATS.values():
        if form != tarfile.PAX_FORMAT:  # which Python writes as text only
            assert read(made((info(name), b"x"), form=form))[0][0].name == b"caf\xe9/\xff"


def test_numbers_beyond_octal_digits_are_read() -> None:
    found = read(made((info("a", uid=1 << 31, mtime=-5), b"x")))
    assert (found[0][0].uid, found[0][0].mtime_ns) == (1 << 31, -5_000_000_000)


def test_members_of_an_unknown_type_are_passed_over_with_their_data() -> None:
    data = bytearray(made((info("odd"), b"o" * 700), (info("next"), b"x"), packed=False))
    data[156:157] = b"V"
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    found = read(bytes(data))
    assert [(m.name, m.kind) for m, _ in found] == [(b"odd", "special"), (b"next", "file")]


def test_sparse_files_are_told_apart_and_passed_over() -> None:
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "real"}
    found = read(
        made(
            (info("x", pax_headers=headers), b"1\n0\n3\n".ljust(512, b"\0") + b"abc"),
            (info("next"), b"y"),
            form=tarfile.PAX_FORMAT,
        )
    )
    assert [(m.name, m.kind) for m, _ in found] == [(b"real", "sparse"), (b"next", "file")]


SOUND = made((info("data/users/a.json"), b'{"id": "a"}' * 90), (info("b" * 150), b"b" * 600))


def test_an_archive_that_is_cut_off_anywhere_is_damaged() -> None:
    plain = gzip.decompress(SOUND)
    content_ends = len(plain.rstrip(b"\0")) // BLOCK * BLOCK + BLOCK
    for end in range(1, content_ends, 7):
        with pytest.raises(ArchiveDamaged):
            read(plain[:end])
    for end in range(len(SOUND)):
        with pytest.raises(ArchiveDamaged):
            read(SOUND[:end])


def test_what_was_whole_before_the_damage_is_given() -> None:
    noise = random.Random(1).randbytes(300_000)
    data = made((info("a"), noise), (info("b"), noise))
    reader = TarReader(ArchiveStream(io.BytesIO(data[: len(data) * 3 // 4])))
    got = []
    with pytest.raises(ArchiveDamaged, match="cut off"):
        for member in reader:
            got.append((member.name, b"".join(reader.body())))
    assert got == [(b"a", noise)]


@given(st.data())
def test_an_altered_archive_is_damaged_or_read_but_nothing_else(data: st.DataObject) -> None:
    packed = data.draw(st.booleans())
    altered = bytearray(SOUND if packed else gzip.decompress(SOUND))
    for _ in range(data.draw(st.integers(1, 4))):
        altered[data.draw(st.integers(0, len(altered) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read(bytes(altered))
    except ArchiveError as error:
        assert error.hint
    else:
        assert not packed or bytes(altered[10:]) == SOUND[10:] or found == read(SOUND)


@given(st.binary(max_size=3000))
def test_noise_is_damaged_or_empty(noise: bytes) -> None:
    with suppress(ArchiveDamaged):
        assert read(noise) == []


def test_several_gzip_files_in_a_row_and_zeros_after_them_are_one() -> None:
    plain = gzip.decompress(SOUND)
    halves = gzip.compress(plain[:700]) + gzip.compress(plain[700:])
    assert read(halves + b"\0" * 5000) == read(SOUND)


@pytest.mark.parametrize("alter", [lambda d: d + b"rest", lambda d: d[:-8] + b"\0" * 8])
def test_a_tail_that_does_not_fit_is_damage(alter: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ArchiveDamaged):
        read(alter(SOUND))


def test_a_hole_of_zeros_does_not_hide_what_follows_it() -> None:
    plain = bytearray(made((info("a"), b"a"), (info("b"), b"b"), packed=False))
    plain[1024:1536] = bytes(512)
    with pytest.raises(ArchiveDamaged, match="follows its end"):
        read(bytes(plain))


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g"])
def test_a_header_that_claims_to_be_huge_is_refused_before_it_is_read(kind: bytes) -> None:
    header = info("x").tobuf(tarfile.GNU_FORMAT)
    changed = bytearray(header)
    changed[124:136] = b"%011o\0" % (MAX_EXTENSION_BYTES + 1)
    changed[156:157] = kind
    changed[148:156] = b" " * 8
    changed[148:156] = b"%06o\0 " % sum(changed)
    data = gzip.compress(bytes(changed) + bytes(50 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveDamaged, match="unreasonable size"):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "content", [b"9 a=b\n", b"x a=b\n", b"0 a=b\n", b"99999999999 a=b\n", b"6 a=bc", b"6 abc\n"]
)
def test_a_pax_header_that_is_none_is_damage(content: bytes) -> None:
    header = info("x", tarfile.XHDTYPE)
    header.size = len(content)
    padded = content.ljust(BLOCK, b"\0")
    with pytest.raises(ArchiveDamaged):
        read(header.tobuf(tarfile.USTAR_FORMAT) + padded + made((info("a"), b""), packed=False))


def test_a_bomb_is_refused_by_its_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_stream, "FREE_BYTES", 1 << 20)
    bomb = made((info("zeros"), bytes(20 << 20)))
    with pytest.raises(ArchiveError, match="times its size"):
        read(bomb)
    assert read(bomb, max_bytes=30 << 20)[0][0].size == 20 << 20


def test_no_more_than_was_allowed_is_unpacked() -> None:
    with pytest.raises(ArchiveError, match="more than 5,000 bytes"):
        read(SOUND, max_bytes=5000)
    assert read(SOUND, max_bytes=len(gzip.decompress(SOUND))) == read(SOUND)


@pytest.mark.parametrize("kind", [b"x", b"g"])
def test_headers_without_end_do_not_fill_memory(kind: bytes) -> None:
    def record(number: int) -> bytes:
        body = b" %06d=%b\n" % (number, b"v" * (MAX_EXTENSION_BYTES - 100))
        return b"%d%b" % (len(body) + 7, body)

    def header(size: int) -> bytes:
        made_info = info("pax", kind)
        made_info.size = size
        return made_info.tobuf(tarfile.USTAR_FORMAT)

    records = [record(number) for number in range(60)]
    blocks = [header(len(one)) + one.ljust(-(-len(one) // BLOCK) * BLOCK, b"\0") for one in records]
    data = gzip.compress(b"".join([*blocks, made((info("x"), b""), packed=False)]), 1)
    del records, blocks
    tracemalloc.start()
    try:
        assert [member.name for member, _ in read(data)] == [b"x"]
        assert tracemalloc.get_traced_memory()[1] < 16 * MAX_EXTENSION_BYTES
    finally:
        tracemalloc.stop()


def test_global_headers_that_are_said_anew_may_come_for_every_member() -> None:
    globals_ = tarfile.TarInfo.create_pax_global_header({"comment": "c" * 2000})
    data = b"".join(
        globals_ + made((info(str(number)), b"x"), packed=False)[: 2 * BLOCK]
        for number in range(1500)
    )
    assert len(read(data + bytes(2 * BLOCK))) == 1500
