"""Reading a tar archive as a stream, in bounded memory, whoever made it.

Written out here because an archive may be hostile: Python's tarfile keeps every member in memory
and reads headers of any size. Knows what GNU tar, bsdtar, busybox and Python write: ustar, GNU long
names and PAX headers. Names are bytes, as the archive has them; nothing is judged here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from shenyu_data.datadir.tar_stream import ArchiveStream, damaged

Kind = Literal["file", "folder", "link", "hard link", "special", "sparse"]

BLOCK = 512
MAX_EXTENSION_BYTES = 1 << 20
"""Of one PAX header or long name: real ones have a few hundred bytes."""

_PIECE_BYTES = 1 << 20
_MAX_NS = (1 << 63) - 1
_NOBODY = (1 << 32) - 1

_KINDS: dict[bytes, Kind] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"1": "hard link",
    b"2": "link",
    b"5": "folder",
    b"S": "sparse",
}
_WITH_DATA = ("file", "sparse")
_EXTENSIONS = b"LKxXg"


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One entry. ``target`` is what a link leads to; ``uid`` and ``gid`` None: not a number that an
    owner can have. ``size`` is 0 unless it is a file.
    """

    name: bytes
    kind: Kind
    mode: int
    uid: int | None
    gid: int | None
    mtime_ns: int
    size: int
    target: bytes = b""


class TarReader:
    """Iterates over the members, in order; :meth:`body` gives the contents of the one at hand.

    Raises ArchiveDamaged where the archive is cut off or is none.
    """

    def __init__(self, stream: ArchiveStream) -> None:
        self._stream = stream
        self._left = 0  # of the body at hand
        self._padding = 0
        self._globals: dict[bytes, bytes] = {}

    def __iter__(self) -> Iterator[Member]:
        """Yield every member; then check that nothing but zeros follows."""
        while (member := self._next()) is not None:
            yield member
        self._stream.finish()

    def body(self) -> Iterator[bytes]:
        """Yield the contents of the member that came last, in pieces."""
        while self._left:
            piece = self._stream.read(min(self._left, _PIECE_BYTES))
            self._left -= len(piece)
            yield piece

    def count(self, size: int) -> None:
        """Count the bytes of a file that got one more name: whoever reads all names reads them
        once more. Raise ArchiveError if an archive of its size cannot mean that.
        """
        self._stream.count(size)

    def _next(self) -> Member | None:
        extended: dict[bytes, bytes] = {}
        while True:
            self._stream.skip(self._left + self._padding)
            self._left = self._padding = 0
            header = self._stream.read(BLOCK)
            if not header.strip(b"\0"):
                return None
            _check(header)
            type_flag = header[156:157]
            size = _number(header[124:136])
            if type_flag not in _EXTENSIONS:
                return self._member(header, type_flag, size, self._globals | extended)
            if not 0 <= size <= MAX_EXTENSION_BYTES:
                raise damaged("it has a header of unreasonable size")
            content = self._stream.read(size)
            self._stream.skip(-size % BLOCK)
            if type_flag == b"L":
                extended[b"path"] = content.rstrip(b"\0")
            elif type_flag == b"K":
                extended[b"linkpath"] = content.rstrip(b"\0")
            else:
                (self._globals if type_flag == b"g" else extended).update(_pax(content))

    def _member(
        self, header: bytes, type_flag: bytes, size: int, extended: dict[bytes, bytes]
    ) -> Member:
        name = extended.get(b"path") or _full_name(header)
        kind = _KINDS.get(type_flag, "special")
        if kind == "file" and name.endswith(b"/"):
            kind = "folder"  # as before POSIX
        if type_flag == b"S":
            self._skip_map(header)
        if any(key.startswith(_SPARSE) for key in extended):
            kind, name = "sparse", extended.get(_SPARSE + b"name", name)
        if b"size" in extended:
            size = _decimal(extended[b"size"])
        if not 0 <= size <= _MAX_NS:
            raise damaged("it has a member of impossible size")
        self._left = size if kind in _WITH_DATA or type_flag not in b"123456" else 0
        self._padding = -self._left % BLOCK
        return Member(
            name=name,
            kind=kind,
            mode=_number(header[100:108]) & 0o7777,
            uid=_owner(header[108:116], extended.get(b"uid")),
            gid=_owner(header[116:124], extended.get(b"gid")),
            mtime_ns=_time_ns(header[136:148], extended.get(b"mtime")),
            size=size if kind == "file" else 0,
            target=(extended.get(b"linkpath") or _text(header[157:257]))
            if kind in ("link", "hard link")
            else b"",
        )

    def _skip_map(self, header: bytes) -> None:
        more = header[482:483] != b"\0"
        while more:
            more = self._stream.read(BLOCK)[504:505] != b"\0"


def _check(header: bytes) -> None:
    plain = header[:148] + b" " * 8 + header[156:]
    stated = _number(header[148:156])
    if stated != sum(plain) and stated != _signed_sum(plain):
        raise damaged("a header's checksum is wrong")


def _signed_sum(plain: bytes) -> int:
    return sum(plain) - 256 * sum(byte > 127 for byte in plain)  # as some old programs do it


def _text(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _full_name(header: bytes) -> bytes:
    name, prefix = _text(header[:100]), _text(header[345:500])
    # GNU's own form, "ustar" and two blanks, has times where POSIX has the prefix.
    if prefix and header[257:263] == b"ustar\0":
        return prefix + b"/" + name
    return name


_OCTAL = re.compile(rb"[ \0]*([0-7]*)[ \0]*(?:\0.*)?", re.DOTALL)


def _number(field: bytes) -> int:
    if field[0] in (0x80, 0xFF):  # base 256, for what octal digits cannot say
        return int.from_bytes(field[1:], "big", signed=field[0] == 0xFF)
    matched = _OCTAL.fullmatch(field)
    if matched is None:
        raise damaged("a number in a header is none")
    return int(matched[1] or b"0", 8)


_DECIMAL = re.compile(rb"(-?)([0-9]{1,20})(?:\.([0-9]*))?")


def _decimal(text: bytes) -> int:
    matched = _DECIMAL.fullmatch(text)
    if matched is None:
        raise damaged("a number in a header is none")
    return -int(matched[2]) if matched[1] else int(matched[2])


def _owner(field: bytes, extended: bytes | None) -> int | None:
    number = _number(field) if extended is None else _decimal(extended)
    return number if 0 <= number < _NOBODY else None


def _time_ns(field: bytes, extended: bytes | None) -> int:
    if extended is None:
        time_ns = _number(field) * 1_000_000_000
    else:
        matched = _DECIMAL.fullmatch(extended)
        if matched is None:
            raise damaged("a time in a header is none")
        fraction = int((matched[3] or b"")[:9].ljust(9, b"0"))
        time_ns = int(matched[2]) * 1_000_000_000 + fraction
        time_ns = -time_ns if matched[1] else time_ns
    return max(-_MAX_NS, min(time_ns, _MAX_NS))


_RECORD = re.compile(rb"([0-9]{1,7}) ")
_SPARSE = b"GNU.sparse."
_KEPT = frozenset((b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime", _SPARSE + b"name"))
"""What is asked for; the rest is not remembered, however much of it an archive has."""


def _pax(content: bytes) -> dict[bytes, bytes]:
    """Return the records of a PAX header: ``LENGTH KEY=VALUE`` and a line feed, LENGTH with all.

    Only those that are asked for; what is said of a sparse file is one, without a value.
    """
    records = {}
    position = 0
    while position < len(content) and content[position]:
        matched = _RECORD.match(content, position)
        end = position + int(matched[1]) if matched else 0
        key, equals, value = content[matched.end() if matched else 0 : end - 1].partition(b"=")
        if not equals or end > len(content) or content[end - 1 : end] != b"\n":
            raise damaged("a PAX header is not one")
        if key in _KEPT:
            records[key] = value
        elif key.startswith(_SPARSE):
            records[_SPARSE] = b""
        position = end
    return records
