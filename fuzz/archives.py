"""Oracles of what reads archives: tar in all its forms, and unpacking into a folder."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fuzz.parts import first
from shenyu_data.datadir.folder import FOLDER_FLAGS
from shenyu_data.datadir.tar import BLOCK, Member, TarReader
from shenyu_data.datadir.tar_stream import ArchiveStream
from shenyu_data.datadir.unpack import Unpacker, safe_path
from shenyu_data.model.errors import ArchiveError

MOST_BYTES = 4 << 20
_SPECIAL = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.LNKTYPE: "hard link",
    tarfile.SYMTYPE: "link",
    tarfile.DIRTYPE: "folder",
}


def tar(data: bytes) -> None:
    """An archive is read or damaged, whatever its bytes; one without long names and the like is
    read as Python's own reader reads it.
    """
    text = _prepared(data)
    found = _found(text)
    if found is not None and not any(_is_special(header) for header in _headers(data[1:])):
        _compare(text, found)


def made_tar(data: bytes) -> None:
    """What is an archive without damage is read as Python's own reader reads it, long names,
    times and all.
    """
    found = _found(data)
    if found is not None:
        _compare(data, found)


def _found(text: bytes) -> list[tuple[Member, bytes]] | None:
    try:
        return _read(text)
    except ArchiveError:
        return None


def _compare(text: bytes, found: list[tuple[Member, bytes]]) -> None:
    wanted = _read_by_python(text)
    # After its first empty block nothing is an archive any more; Python's looks no further.
    assert wanted is None or len(found) >= len(wanted)
    for (member, body), (name, kind, content) in zip(found, wanted or (), strict=False):
        if member.kind in ("file", "folder", "link", "hard link"):
            # Python's takes for a prefix what in GNU's headers is something else.
            ours, theirs = member.name.rstrip(b"/"), name.rstrip(b"/")
            assert ours == theirs or theirs.endswith(b"/" + ours) or b"\0" in ours or not ours
            assert member.kind == kind or member.name.endswith(b"/")
            assert body == content or kind != "file"


def _prepared(data: bytes) -> bytes:
    """By the first byte: the rest as it is, or with right checksums; the rest compressed."""
    choice, text = first(data)
    if choice & 1:
        text = with_checksums(text)
    return gzip.compress(text, 1, mtime=0) if choice & 2 else text


def with_checksums(text: bytes) -> bytes:
    """Give what lies where headers belong the checksum that it should have: else whatever is
    changed in one is refused for that alone.
    """
    made = bytearray(text)
    for at in _places(text):
        header = made[at : at + BLOCK]
        header[148:156] = b" " * 8
        made[at + 148 : at + 156] = b"%06o\0 " % sum(header)
    return bytes(made)


def _places(text: bytes) -> Iterator[int]:
    """Yield where headers lie, by the sizes that they state."""
    at = 0
    while at + BLOCK <= len(text):
        header = text[at : at + BLOCK]
        if header.strip(b"\0"):
            yield at
            digits = header[124:136].strip(b" \0")
            with suppress(ValueError):
                at += -(-int(digits or b"0", 8) // BLOCK) * BLOCK
        at += BLOCK


def _headers(text: bytes) -> Iterator[bytes]:
    return (text[at : at + BLOCK] for at in _places(text))


def _is_special(header: bytes) -> bool:
    """Whether it belongs to another, or has a number that begins with a NUL byte, which GNU's tar
    passes over and Python's does not.
    """
    return header[156:157] in tuple(b"LKxXg"[at : at + 1] for at in range(5)) or not header[124]


def _read(text: bytes) -> list[tuple[Member, bytes]]:
    reader = TarReader(ArchiveStream(io.BytesIO(text), max_bytes=MOST_BYTES))
    found = []
    for member in reader:
        safe_path(member.name)
        assert member.kind == "file" or member.size == 0
        body = b"".join(reader.body())
        assert member.kind != "file" or len(body) == member.size
        found.append((member, body))
    return found


def _read_by_python(text: bytes) -> list[tuple[bytes, str, bytes]] | None:
    found = []
    try:
        with tarfile.open(
            fileobj=io.BytesIO(text), mode="r", encoding="utf-8", errors="surrogateescape"
        ) as archive:
            for info in archive:
                if info.sparse is not None or info.size < 0:
                    return None
                name = info.name.encode("utf-8", "surrogateescape")
                file = archive.extractfile(info) if info.isreg() else None
                body = b"" if file is None else file.read()
                found.append((name, _SPECIAL.get(info.type, "special"), body))
    except (tarfile.TarError, ValueError, OSError, EOFError, KeyError, RecursionError):
        return None
    return found


def unpack(data: bytes) -> None:
    """Whatever the archive, nothing outside the folder is made, changed or removed, and in it are
    only files without set-id bits, folders and links.
    """
    text = _prepared(data)
    base = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        outside = base / "outside"
        outside.mkdir()
        (outside / "kept").write_bytes(b"kept")
        (base / "tree").mkdir()
        before = _seen(base, outside)
        _unpack(base, text)
        assert _seen(base, outside) == before
        for path in (base / "tree").rglob("*"):
            mode = path.lstat().st_mode
            assert stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)
            assert stat.S_ISLNK(mode) or not mode & (stat.S_ISUID | stat.S_ISGID)
    finally:
        shutil.rmtree(base)


def _unpack(base: Path, text: bytes) -> None:
    root = os.open(base / "tree", FOLDER_FLAGS)
    try:
        with open(base / "notes", "w+b") as notes:
            unpacker = Unpacker(root, notes, refuse=_ignore, skip=_skip)
            stream = ArchiveStream(io.BytesIO(text), max_bytes=MOST_BYTES)
            unpacker.take_all(TarReader(stream))
    except ArchiveError:
        pass
    finally:
        os.close(root)


def _skip(name: str) -> None:
    assert name.isprintable(), name


def _ignore(name: str, why: str) -> None:
    assert name.isprintable(), name
    assert why


def _seen(base: Path, outside: Path) -> object:
    names = set(os.listdir(base)) - {"notes"}
    kept = outside / "kept"
    found = kept.stat()
    return (
        names,
        os.listdir(outside),
        kept.read_bytes(),
        (found.st_mode, found.st_nlink, found.st_mtime_ns, outside.stat().st_mode),
    )
