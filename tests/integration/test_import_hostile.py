"""Exports that were made to do harm: bombs, forged lines, names that lead elsewhere."""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from blake3 import blake3

from shenyu_data.exchange.json_text import indented
from shenyu_data.exchange.native import Closing, Line, closing_line, header_line, signed
from shenyu_data.model.errors import ArchiveDamaged, ArchiveError
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.import_checks import MOST_TOLD
from shenyu_data.operations.import_data import ImportStats, import_data
from shenyu_data.operations.import_plan import ImportOptions, plan_import

HEADER = header_line(None, None)
MEMORY_BYTES = 400 << 20
"""More than an import takes: a document of the guide's format may have 64 MiB, and is copied."""


def line(**members: Any) -> bytes:
    return signed(msgspec.json.encode(Line(**members)))


def export_of(*lines: bytes, **counts: Any) -> bytes:
    """Return a whole export with these lines; its numbers and digests are as they should be."""
    before = HEADER + b"".join(lines)
    return before + closing_line(Closing(**counts), blake3(before).digest(length=16))


def bring_in(text: bytes, base: Path, **options: Any) -> tuple[ImportStats, list[str]]:
    monitor = CollectingMonitor()
    given = ImportOptions(state=str(base / "state"), quiet_s=0.01, **options)
    words = (lambda: io.BytesIO(text), str(base / "new"), None, given, monitor)
    plan = plan_import(*words)
    return import_data(*words, plan=plan), [finding.code for finding in monitor.findings]


def endless(head: bytes, piece: bytes) -> Callable[[], Iterator[bytes]]:
    """Return what gives ten gigabytes, as long as somebody takes them."""

    def pieces() -> Iterator[bytes]:
        yield head
        for _ in range(10_000_000_000 // len(piece)):
            yield piece

    return pieces


def packed_zstd(head: bytes, piece: bytes, times: int) -> bytes:
    out = io.BytesIO()
    with zstandard.ZstdCompressor(level=1).stream_writer(out, closefd=False) as writer:
        writer.write(head)
        for _ in range(times):
            writer.write(piece)
    return out.getvalue()


def tiny_members() -> bytes:
    return gzip.compress(HEADER) + gzip.compress(b"") * 60_000


MB = 1 << 20
BOMBS: dict[str, Callable[[], bytes] | Callable[[], Iterator[bytes]]] = {
    "a line without an end": endless(HEADER, b" " * MB),
    "nothing but line ends": endless(HEADER, b"\n" * MB),
    "lines of nothing": endless(HEADER, b"{}\n" * (MB // 3)),
    "a gzip of blanks": lambda: gzip.compress(HEADER + b" " * (64 * MB), 1),
    "a gzip in a gzip": lambda: gzip.compress(gzip.compress(HEADER + bytes(64 * MB), 1), 1),
    "a gzip of tiny members": tiny_members,
    "a zstd of two gigabytes": lambda: packed_zstd(HEADER, b" " * MB, 2000),
    "a zstd of line ends": lambda: packed_zstd(HEADER, b"\n" * MB, 2000),
    "a zstd with a window of terabytes": lambda: b"\x28\xb5\x2f\xfd\x00\xf8" + bytes(100),
    "a value as deep as it is long": endless(b'{"users": {"anna": ', b"[" * MB),
    "a string without an end": endless(b'{"users": {"anna": "', b"x" * MB),
    "a key without an end": endless(b'{"users": {"', b"x" * MB),
    "a number without an end": endless(b'{"users": {"anna": 1', b"1" * MB),
    "blanks without an end": endless(b'{"users":', b" " * MB),
    "members without an end": endless(b'{"x": 1', b', "x": 1' * (MB // 8)),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_in_little_memory(bomb: str, tmp_path: Path) -> None:
    made = BOMBS[bomb]()
    words = [sys.executable, "-m", "shenyu_data.cli.main", "import", "-", "--yes", "--quiet"]
    words += ["--data", str(tmp_path / "data"), "--jobs", "1"]
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100 * MB, 100 * MB))

    child = subprocess.Popen(
        words,
        env=os.environ | state,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=bound,
    )
    assert child.stdin is not None
    feeder = threading.Thread(target=feed, args=(child.stdin, made), daemon=True)
    feeder.start()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    feeder.join()
    assert child.returncode == 3
    assert usage.ru_maxrss * 1024 < MEMORY_BYTES
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]


def feed(stream: Any, made: bytes | Iterator[bytes]) -> None:
    try:
        with stream:
            for piece in [made] if isinstance(made, bytes) else made:
                stream.write(piece)
    except BrokenPipeError:
        return  # it has had enough


def test_a_great_many_damaged_places_are_counted_and_the_first_told(tmp_path: Path) -> None:
    places = 3 * MOST_TOLD
    whole = line(kind="file", path="users/anna.json", text="{}", size=2)
    text = HEADER + b'{"kind":"file"}\n' * places + whole
    with pytest.raises(ArchiveDamaged, match="more than 1,000 places"):
        bring_in(text, tmp_path)
    assert not (tmp_path / "new").exists()
    done, codes = bring_in(text, tmp_path, damaged_too=True)
    assert (done.created, done.damaged) == (1, places + 1)
    assert codes == ["damaged-export"] * 2 * MOST_TOLD, "by the plan and by the import"


FORGED: dict[str, dict[str, Any]] = {
    "a length that is another": {"text": "{}", "size": 1},
    "no contents": {"size": 2},
    "contents that are no base64": {"text_bytes": "!!"},
    "half a character": {"text": "\ud83d"},
    "a mode beyond all": {"text": "{}", "mode": "77777"},
    "a negative mode": {"text": "{}", "mode": "-1"},
    "a time beyond all": {"text": "{}", "mtime_ns": "9" * 40},
    "an owner beyond all": {"text": "{}", "uid": 1 << 40, "gid": 0},
    "pieces that do not follow": {"in_pieces": True},
}


@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_line_with_a_right_digest_imports_nothing(forged: str, tmp_path: Path) -> None:
    bad = signed(json.dumps({"kind": "file", "path": "users/b.json", **FORGED[forged]}).encode())
    good = line(kind="file", path="users/a.json", text="{}", size=2)
    text = export_of(good, bad, good, files=3, file_bytes=6)
    with pytest.raises(ArchiveError):
        bring_in(text, tmp_path)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("end", [{"size": 5}, {"size": -1}, {"size": 1 << 62}, {}])
def test_pieces_of_another_length_import_nothing(end: dict[str, int], tmp_path: Path) -> None:
    first = line(kind="file", path="users/a.json", in_pieces=True)
    text = export_of(first, line(kind="piece", text="1234"), line(kind="end", **end), files=1)
    with pytest.raises(ArchiveError):
        bring_in(text, tmp_path)
    assert not (tmp_path / "new").exists()


def test_the_members_of_a_line_may_not_hide_that_pieces_follow(tmp_path: Path) -> None:
    """It would be decoded by itself, as one that has its contents."""
    first = signed(b'{"in_pieces":true,"kind":"file","path":"users/a.json"}')
    text = export_of(first, line(kind="piece", text="1234"), line(kind="end", size=4), files=1)
    with pytest.raises(ArchiveDamaged):
        bring_in(text, tmp_path)
    assert not (tmp_path / "new").exists()


def test_of_entries_of_one_name_the_first_counts(tmp_path: Path) -> None:
    lines = []
    for path in ("users/a.json", "histories/a/0.json", "notes.txt"):
        lines += [line(kind="file", path=path, text=text, size=1) for text in "123"]
    text = export_of(*lines, files=9, file_bytes=9)
    done, codes = bring_in(text, tmp_path)
    assert (done.created, done.skipped, codes) == (3, 6, [])
    files = [path for path in (tmp_path / "new").rglob("*") if path.is_file()]
    assert [path.read_text() for path in files] == ["1"] * 3


NAMES = [
    "../evil",
    "users/../../evil",
    "/etc/evil",
    "users//evil",
    "users/./evil",
    "users/evil\0.json",
    "",
    ".",
    "..",
    "users",
    "histories",
    ".shenyu-data-new-0123456789abcdef",
    "users/.shenyu-data-new-0123456789abcdef",
    ".shenyu-data-new-0123456789abcdef/0/0.json",
    "histories/.shenyu-data-displaced-0123456789abcdef/0.json",
    "histories/" + "x" * 256 + "/0.json",
    "x/" * 70 + "x",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("exact", [False, True])
def test_a_name_that_leads_elsewhere_is_left_out(name: str, exact: bool, tmp_path: Path) -> None:
    bad = line(kind="file", path=name, text="{}", size=2)
    good = line(kind="file", path="users/a.json", text="{}", size=2)
    done, codes = bring_in(export_of(bad, good, files=2, file_bytes=4), tmp_path, exact=exact)
    assert (done.created, done.refused) == (1, 1)
    assert set(codes) == {"unsafe-entry"}
    found = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in found if path.parts[0] != "state"] == [Path("new/users/a.json")]


def test_a_document_that_is_deep_and_long_is_not_made_blanks() -> None:
    """Indented, each of its numbers would stand 1,800 blanks to the right."""
    bomb = b"[" * 900 + b",".join([b"1"] * 100_000) + b"]" * 900
    assert indented(bomb) == bomb
    assert len(indented(bomb.replace(b"1", b'"\\ud83d"', 1))) < 2 * len(bomb) + 100
    with pytest.raises(ValueError, match="cut off"):
        indented(bomb[:-1])
    plain = json.dumps({"a": [{"b": ["[,{" * 50] * 300}] * 9}).encode()
    assert indented(plain) == json.dumps(json.loads(plain), indent=2).encode()
