"""Hypothesis strategies: archives of every kind of tar, sound, hostile and damaged. For tests."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable

from hypothesis import strategies as st

from shenyu_data.testing.strategies import HOSTILE_NAMES, link_targets

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)

_FOLDERS = ("", "users/", "histories/anna/", "./", "a/b/", "linked/", "l" * 90 + "/")
_NAMES = (
    "anna.json",
    "chat-history.json",
    "linked",
    "users",
    "n" * 101,
    "n" * 300,
    "用户.json",
    "two\nlines",
    ".",
    "",
)
_LEADING_OUT = ("../out", "/absolute", "users/../../out", "..", "a//b", "a/./b/", "~/x", "./../out")
_TYPES = (
    *(tarfile.REGTYPE,) * 6,
    *(tarfile.DIRTYPE,) * 2,
    *(tarfile.SYMTYPE, tarfile.LNKTYPE) * 2,
    *(tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.CONTTYPE, tarfile.AREGTYPE),
)
_PAX = (
    ("mtime", "1700000000.123456789"),
    ("mtime", "-1.5"),
    ("mtime", "99999999999999999999"),
    ("uid", "4294967296"),
    ("uid", "-1"),
    ("comment", "x" * 3000),
    ("path", "users/from-pax.json"),
    ("path", "../from-pax"),
    ("path", "with\0nul"),
    ("linkpath", "with\0nul"),
    ("linkpath", "/etc/passwd"),
    ("GNU.sparse.name", "sparse"),
    ("GNU.sparse.major", "1"),
)


@st.composite
def _members(draw: st.DrawFn) -> tuple[tarfile.TarInfo, bytes]:
    name = draw(
        st.builds(str.__add__, st.sampled_from(_FOLDERS), st.sampled_from(_NAMES))
        | st.sampled_from(_LEADING_OUT)
        | st.sampled_from(HOSTILE_NAMES).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
    )
    info = tarfile.TarInfo(name)
    info.type = draw(st.sampled_from(_TYPES))
    info.mode = draw(st.sampled_from((0o644, 0o755, 0o4777, 0, 0o1777)))
    info.mtime = draw(st.sampled_from((0, 1_700_000_000, 8**11 - 1)))
    info.uid, info.gid = draw(st.sampled_from(((0, 0), (1000, 1000), (2_000_000, 7))))
    data = b""
    if info.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE):
        data = draw(st.binary(max_size=40) | st.sampled_from((b"x" * 512, b"[]" * 700)))
        info.size = len(data)
    elif info.type == tarfile.LNKTYPE:
        info.linkname = draw(st.sampled_from(("users/anna.json", "linked", "../out", "/etc/hosts")))
    elif info.type == tarfile.SYMTYPE:
        info.linkname = draw(link_targets()).decode("utf-8", "surrogateescape")
    if draw(st.integers(0, 3)) == 0:
        info.pax_headers = dict(draw(st.lists(st.sampled_from(_PAX), max_size=3)))
    return info, data


@st.composite
def tars(draw: st.DrawFn) -> bytes:
    """Give a plain tar: names that lead out, links and what is written through them, devices,
    sparse files, long names, times and owners that nobody can have.
    """
    form = draw(st.sampled_from(FORMATS))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, errors="surrogateescape") as archive:
        for info, data in draw(st.lists(_members(), max_size=6)):
            try:
                archive.addfile(info, io.BytesIO(data))
            except ValueError:
                continue  # this form of tar cannot say it
    return buffer.getvalue()


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """Give an archive as it may lie on a disk: plain or gzip, in one member or several, cut off,
    altered, with something behind it.
    """
    plain = draw(tars())
    cut = draw(st.integers(0, len(plain)))
    data = draw(
        st.sampled_from(
            (
                plain,
                gzip.compress(plain, 6, mtime=0),
                gzip.compress(plain[:cut], 1, mtime=0) + gzip.compress(plain[cut:], 9, mtime=0),
            )
        )
    )
    at = draw(st.integers(0, max(0, len(data) - 1)))
    makes: tuple[Callable[[], bytes], ...] = (
        lambda: data,
        lambda: data,
        lambda: data,
        lambda: data[:at],
        lambda: data + b"\0" * 1024,
        lambda: data + b"something",
        lambda: data + data,
        lambda: data[:at] + bytes((draw(st.integers(0, 255)),)) + data[at + 1 :],
    )
    return draw(st.sampled_from(makes))()
