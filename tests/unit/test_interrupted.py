"""What killed operations left: finished by the next one, even if something stands in its place."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.datadir.folder import open_root
from shenyu_data.datadir.replace import displaced_name
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.compress import CompressOptions, compress
from shenyu_data.operations.compress_task import Wish
from shenyu_data.operations.interrupted import finish_interrupted
from shenyu_data.operations.journal import Began, Digests, Journals, Swap, open_journals

TOKENS = ["a" * 16, "b" * 16]
USERS = "data/users"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Two documents that were displaced by an operation that was killed."""
    (tmp_path / USERS).mkdir(parents=True)
    with open_journals(str(tmp_path / "state")) as journals:
        journal = journals.begin(
            Began(operation="repair", time_ms=1, repository=b"", data="d", snapshot=None)
        )
        before = Digests(journals.key()).of(b"before")
        for token in TOKENS:
            path = b"users/%b.json" % token.encode()
            journal.write(Swap(path=path, token=token, before=before, wrote=b"w"))
            displaced(tmp_path, token).write_bytes(b"before")
    return tmp_path


def displaced(base: Path, token: str) -> Path:
    return base / USERS / os.fsdecode(displaced_name(token))


def finished(base: Path) -> list[Finding]:
    """Finish it; give what was reported."""
    monitor = CollectingMonitor()
    with open_journals(str(base / "state")) as journals, open_root(str(base / "data")) as root:
        finish_interrupted(journals.key(), root, journals, 0.01, monitor)
    return monitor.findings


def is_ended(base: Path) -> bool:
    return all(journal.is_ended() for journal in Journals(str(base / "state")).newest_first())


def link(path: Path) -> None:
    path.symlink_to(path.parent.parent.parent / "secret")


PLACED: list[Callable[[Path], None]] = [link, Path.mkdir, lambda path: os.mkfifo(path)]


@pytest.mark.parametrize("place", PLACED, ids=["a link", "a folder", "a FIFO"])
def test_what_stands_in_the_place_of_a_displaced_document_is_told_once(
    base: Path, place: Callable[[Path], None]
) -> None:
    (base / "secret").write_bytes(b"before")
    displaced(base, TOKENS[0]).unlink()
    place(displaced(base, TOKENS[0]))
    assert [found.code for found in finished(base)] == ["in-the-way"]
    assert not displaced(base, TOKENS[1]).exists(), "the other one is dealt with"
    assert os.path.lexists(displaced(base, TOKENS[0]))
    assert (base / "secret").read_bytes() == b"before"
    assert is_ended(base)
    assert finished(base) == []


def test_a_link_in_the_place_of_the_folder_is_told_once(base: Path) -> None:
    (base / USERS).rename(base / "elsewhere")
    (base / USERS).symlink_to(base / "elsewhere")
    assert [found.code for found in finished(base)] == ["in-the-way"] * 2
    assert len(list((base / "elsewhere").iterdir())) == 2
    assert finished(base) == []


def test_what_cannot_be_looked_at_is_told_until_it_can(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuses(path: Any, *words: Any, **more: Any) -> int:
        if path == displaced_name(TOKENS[0]):
            raise PermissionError(13, os.strerror(13))
        return real(path, *words, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuses)
        assert [found.code for found in finished(base)] == ["not-recovered"]
        assert [found.code for found in finished(base)] == ["not-recovered"]
    assert not is_ended(base)
    assert finished(base) == []
    assert not displaced(base, TOKENS[0]).exists()
    assert is_ended(base)


def test_a_compression_finishes_what_a_repair_left(base: Path) -> None:
    options = CompressOptions(wish=Wish(way="compress"), state=str(base / "state"))
    compress(str(base / "data"), options, CollectingMonitor())
    assert not list((base / USERS).iterdir())
    assert is_ended(base)


def test_one_that_was_killed_in_its_first_line_is_done(base: Path) -> None:
    (base / "state/00000000000000000009-abcdabcd.jsonl").write_bytes(b'\n{"type":"beg')
    assert finished(base) == []
    assert is_ended(base)
