"""Journals: durable to the last byte, of any length, and read without a copy in memory."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest

from shenyu_data.model.errors import ShenyuDataError
from shenyu_data.operations import journal as module
from shenyu_data.operations.journal import (
    CLEANUP,
    KEPT_JOURNALS,
    Began,
    Ended,
    Journal,
    Settled,
    Step,
    Swap,
    TakenBack,
    open_journals,
)

BEGAN = Began(operation="restore", time_ms=1, repository=b"r" * 16, data="d", snapshot=None)


def begun(folder: Path) -> Journal:
    with open_journals(str(folder)) as journals:
        return journals.begin(BEGAN)


def step(user: bytes) -> Step:
    path = b"histories/%b/chat-history.json" % user
    return Step(path=path, user=user, chat=None, snapshot=None, before=None, wrote=None)


def swap(token: str) -> Swap:
    return Swap(path=b"users/anna.json", token=token, before=b"b", wrote=b"w")


def test_a_line_of_which_the_disk_takes_only_a_part_is_not_taken_for_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is filling up takes what fits and says so only by the number of bytes."""
    journal = begun(tmp_path)
    room = [20]
    write = os.write

    def some(descriptor: int, data: bytes) -> int:
        if room[0] == 0:
            raise OSError(28, os.strerror(28))
        size = write(descriptor, bytes(data)[: room[0]])
        room[0] -= size
        return size

    monkeypatch.setattr(os, "write", some)
    monkeypatch.setattr(os, "writev", lambda descriptor, parts: some(descriptor, b"".join(parts)))
    with pytest.raises(ShenyuDataError, match="No space left"):
        journal.write(swap("0" * 16))
    monkeypatch.undo()
    journal.write(Ended())
    assert journal.lines() == [BEGAN, Ended()]


@pytest.mark.parametrize("last", [[Ended()], [Ended(), TakenBack()]])
def test_whether_it_ended_is_told_by_its_last_lines(
    tmp_path: Path, last: list[module.Line]
) -> None:
    journal = begun(tmp_path)
    assert not journal.is_ended()
    journal.write(*(swap(f"{number:016x}") for number in range(200)))
    assert not journal.is_ended()
    journal.write(*last)
    assert journal.is_ended()
    assert journal.began() == BEGAN


def test_a_journal_of_any_length_is_read_to_its_end_and_forgets_a_user(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    path = tmp_path / journal.name
    with path.open("ab") as file:  # larger than a process would want to hold
        for _ in range(300):
            file.seek(1 << 20, os.SEEK_CUR)  # a hole
            file.write(b"\n")
    journal.write(step(b"ben"), step(b"anna"), Settled("1" * 16), Ended())
    assert journal.forget(b"anna")
    assert [line for line in journal.read() if isinstance(line, Step)] == [step(b"ben")]
    assert journal.is_ended()
    assert not journal.forget(b"anna")


def test_a_journal_in_which_nothing_is_left_to_take_back_says_so(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.write(step(b"anna"), Ended())
    assert journal.forget(b"anna")
    assert journal.lines() == [BEGAN, Ended(), TakenBack()]


@pytest.mark.parametrize(
    "left",
    [b'{"type":"saved"', b"\0" * 512, b'{"type":"settled","token":"\xff"}', b'{"x":' + b"[" * 5000],
    ids=["cut off", "NUL bytes", "no UTF-8", "deep"],
)
def test_what_a_crash_left_in_a_line_takes_no_other_along(tmp_path: Path, left: bytes) -> None:
    journal = begun(tmp_path)
    with (tmp_path / journal.name).open("ab") as file:
        file.write(b"\n" + left)
    journal.write(Settled("1" * 16), Ended())
    assert journal.lines() == [BEGAN, Settled("1" * 16), Ended()]
    assert journal.is_ended()


def test_a_journal_of_an_operation_that_did_not_end_is_never_dropped(tmp_path: Path) -> None:
    cut_off = begun(tmp_path)
    cut_off.write(swap("0" * 16))
    for _ in range(KEPT_JOURNALS + 3):
        begun(tmp_path).write(Ended())
    with open_journals(str(tmp_path)) as journals:
        left = [journal.name for journal in journals.newest_first()]
    assert left[-1] == cut_off.name
    assert len(left) == KEPT_JOURNALS + 2


def test_journals_of_cleanups_are_kept_longer_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They say what was removed on purpose, and snapshots hold it for years."""
    monkeypatch.setattr(module, "KEPT_JOURNALS", 2)
    monkeypatch.setattr(module, "KEPT_CLEANUPS", 3)
    begun_first = []
    with open_journals(str(tmp_path)) as journals:
        for _ in range(5):
            begun_first.append(journals.begin(msgspec.structs.replace(BEGAN, operation=CLEANUP)))
            begun_first[-1].write(Ended())
        for _ in range(4):
            journals.begin(BEGAN).write(Ended())
        left = [journal.name for journal in journals.newest_first()]
    assert left[3:] == [journal.name for journal in begun_first[:1:-1]]
    assert len(left) == 3 + 3


@pytest.mark.parametrize("years", [-56, -1, 0, 1, 200])
def test_the_last_one_that_began_is_the_newest_whatever_the_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, years: int
) -> None:
    begun_ns = time.time_ns()
    names = [begun(tmp_path).name]
    monkeypatch.setattr(time, "time_ns", lambda: begun_ns + years * 365 * 86_400 * 10**9)
    names += [begun(tmp_path).name, begun(tmp_path).name]
    monkeypatch.undo()
    names.append(begun(tmp_path).name)
    with open_journals(str(tmp_path)) as journals:
        assert [journal.name for journal in journals.newest_first()] == names[::-1]


def test_what_several_processes_write_stays_whole_even_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is nearly full may take a line in two pieces, and another process comes in."""
    journal = begun(tmp_path)

    def write(descriptor: int, parts: list[bytes]) -> None:
        for piece in (parts[0][:5], parts[0][5:]):
            os.write(descriptor, piece)
            time.sleep(0.0001)

    monkeypatch.setattr(module, "write_all", write)
    children = []
    for name in "abc":
        child = os.fork()
        if child == 0:
            try:
                for number in range(50):
                    journal.write(swap(f"{name}{number}"), durable=False)
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    tokens = [line.token for line in journal.read() if isinstance(line, Swap)]
    assert sorted(tokens) == sorted(f"{name}{number}" for name in "abc" for number in range(50))


def test_a_step_is_read_as_older_versions_wrote_it(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    line = b'{"type":"step","path":"YQ==","user":null,"chat":null,"snapshot":null,'
    journal.write_encoded(b"\n" + line + b'"before":null,"wrote":"Yg==","removed":null}')
    assert journal.lines()[1:] == [Step(path=b"a", wrote=b"b")]
