"""The audit log: whatever is done to its files is noticed, and whatever happens to a writer is not
taken for that.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from shenyu_data.health import audit, audit_files
from shenyu_data.health.audit import append, entries, head
from shenyu_data.health.audit_check import CheckStats, anchor, check
from shenyu_data.health.audit_lines import Entry, as_line, parse
from shenyu_data.health.audit_lost import accept, lost_lines
from shenyu_data.model.errors import StateUnusable, StorageError
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.repository.acceptances import (
    Acceptance,
    forget_in_acceptances,
    read_acceptances,
)
from shenyu_data.repository.anchors import read_anchors
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.faulty import Crash, FaultyStorage
from shenyu_data.testing.killed import STEPS, dies_at

NOW = 1_700_000_000_000


@pytest.fixture(scope="module")
def made() -> Repository:
    return create_repository(MemoryStorage(), "correct horse")[0]


@pytest.fixture
def repository(made: Repository) -> Repository:
    for folder in ("anchors", "acceptances"):
        for info in made.storage.list(folder):
            made.storage.delete(info.name)
    return made


@pytest.fixture
def state(tmp_path: Path) -> str:
    return str(tmp_path / "state")


def run(state: str, number: int = 0) -> None:
    """Note a run from its beginning to its end."""
    append(state, NOW + number, "begun", verb="cleanup", run=f"{number:016x}")
    append(state, NOW + number, "ended", verb="cleanup", run=f"{number:016x}", outcome="good")


def verify(state: str, repository: Repository | None = None) -> tuple[CheckStats, list[str]]:
    anchors = None
    if repository is not None:
        anchors = read_anchors(repository.storage, repository.keys)
    monitor = CollectingMonitor()
    stats = check(state, anchors, monitor)
    return stats, [finding.code for finding in monitor.findings]


def file_of(state: str, first: int = 1) -> Path:
    return Path(state) / "audit" / f"{first:012}.jsonl"


def test_a_log_that_nobody_touched_is_whole(state: str, repository: Repository) -> None:
    for number in range(3):
        run(state, number)
    assert anchor(state, repository, NOW)
    assert not anchor(state, repository, NOW), "it is noted already"
    stats, codes = verify(state, repository)
    assert (stats.entries, stats.anchored, stats.altered, codes) == (7, 7, 0, [])
    newest = [entry.sequence for entry in entries(state) if entry is not None]
    assert newest == [7, 6, 5, 4, 3, 2, 1]
    assert file_of(state).stat().st_mode & 0o777 == 0o600


def test_without_a_log_nothing_is_wrong_and_nothing_is_noted(
    state: str, repository: Repository
) -> None:
    assert not anchor(state, repository, NOW)
    assert verify(state, repository)[1] == []
    assert list(entries(state)) == []


def test_only_the_newest_anchor_stays(state: str, repository: Repository) -> None:
    for number in range(4):
        run(state, number)
        assert anchor(state, repository, NOW)
    (one,) = read_anchors(repository.storage, repository.keys)
    assert one.sequence == 9


class Keeping(MemoryStorage):
    """Storage that lets nobody delete, and counts what is read."""

    reads = 0

    def destroy(self, name: str) -> None:
        raise StorageError("it is locked")

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.reads += 1
        return super().read(name, offset, length)


def test_where_no_anchor_can_be_removed_adding_one_takes_no_longer(state: str) -> None:
    storage = Keeping()
    locked = create_repository(storage, "correct horse")[0]
    for number in range(20):
        storage.reads = 0
        run(state, number)
        assert anchor(state, locked, NOW)
        assert storage.reads <= 8
    stats, codes = verify(state, locked)
    assert (stats.anchors, stats.anchored, codes) == (20, 41, [])


@pytest.fixture
def rotating(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have files of a few lines."""
    monkeypatch.setattr(audit, "SEGMENT_BYTES", 1500)


EDITS = 250


@pytest.mark.usefixtures("rotating")
def test_any_single_edit_of_the_files_is_noticed(state: str, repository: Repository) -> None:
    for number in range(6):
        run(state, number)
    anchor(state, repository, NOW)
    folder = Path(state) / "audit"
    good = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(good) > 2
    assert verify(state, repository)[1] == []
    for seed in range(EDITS):
        chance = random.Random(seed)
        name = chance.choice(sorted(good))
        data = good[name]
        kinds = [flip, insert, delete, truncate, swap_lines, repeat_line, drop_line, extend]
        kind = chance.choice([*kinds, None, None])
        if kind is None:
            path = folder / name
            if chance.random() < 0.5:
                path.unlink()
            else:
                path.rename(folder / f"{chance.randrange(1, 99):012}.jsonl.x")
        else:
            changed = kind(chance, data)
            if changed == data:
                continue
            (folder / name).write_bytes(changed)
        assert verify(state, repository)[1] != [], f"seed {seed}: {kind}"
        for path in folder.iterdir():
            path.unlink()
        for old, text in good.items():
            (folder / old).write_bytes(text)
    assert verify(state, repository)[1] == []


def flip(chance: random.Random, data: bytes) -> bytes:
    place = chance.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]


def insert(chance: random.Random, data: bytes) -> bytes:
    place = chance.randrange(len(data) + 1)
    return data[:place] + chance.choice([b"\n", b" ", b"\0", b"{}\n", b'"x"']) + data[place:]


def delete(chance: random.Random, data: bytes) -> bytes:
    place = chance.randrange(len(data))
    return data[:place] + data[place + chance.randrange(1, 40) :]


def truncate(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data))]


def swap_lines(chance: random.Random, data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    one, two = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[two] = lines[two], lines[one]
    return b"".join(lines)


def repeat_line(chance: random.Random, data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    lines.insert(chance.randrange(len(lines) + 1), chance.choice(lines))
    return b"".join(lines)


def drop_line(chance: random.Random, data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    del lines[chance.randrange(len(lines))]
    return b"".join(lines)


def extend(chance: random.Random, data: bytes) -> bytes:
    return data + chance.choice([b"\n", b"x", b"{}\n", bytes(40), b"x" * 70_000])


def made_anew(state: str, change: Callable[[list[Entry]], list[Entry]]) -> None:
    """Change a log of one file, and make all its hashes anew, as somebody who knows how would."""
    previous, text = "0" * 64, b""
    old = [parse(line)[0] for line in file_of(state).read_bytes().splitlines()]
    for number, entry in enumerate(change(old), 1):
        facts = {name: getattr(entry, name) for name in entry.__struct_fields__}
        line, previous = as_line(Entry(**{**facts, "sequence": number, "previous": previous}))
        text += line
    file_of(state).write_bytes(text)


@pytest.mark.parametrize(
    "change",
    [
        lambda old: [*old[:1], *old[3:]],
        lambda old: old[:-2],
        lambda old: [*old[:-1], Entry(sequence=0, time_ms=1, kind="ended", previous="")],
        lambda old: old[2:],
        lambda old: [old[0], old[2], old[1], *old[3:]],
    ],
    ids=["removed", "truncated", "edited", "first removed", "reordered"],
)
def test_hashes_made_anew_do_not_help_against_an_anchor(
    state: str, repository: Repository, change: Callable[[list[Entry]], list[Entry]]
) -> None:
    run(state, 1)
    run(state, 2)
    anchor(state, repository, NOW)
    made_anew(state, change)
    assert "audit-altered" not in verify(state)[1], "the chain alone cannot tell"
    assert "audit-altered" in verify(state, repository)[1]
    run(state, 3)
    run(state, 4)
    anchor(state, repository, NOW)
    assert "audit-altered" in verify(state, repository)[1], "a later anchor does not hide it"


def test_a_log_that_was_removed_is_missed_also_when_there_is_a_new_one(
    state: str, repository: Repository
) -> None:
    run(state)
    anchor(state, repository, NOW)
    file_of(state).unlink()
    assert verify(state, repository)[1] == ["audit-altered"]
    run(state)
    anchor(state, repository, NOW)
    assert verify(state, repository)[1] == ["audit-altered"]


def test_the_log_of_another_data_directory_in_the_same_repository_is_another_one(
    state: str, repository: Repository, tmp_path: Path
) -> None:
    run(state)
    anchor(state, repository, NOW)
    assert verify(str(tmp_path / "other"), repository)[1] == []


@pytest.mark.parametrize("left", [1, 100])
def test_a_line_that_a_power_cut_tore_is_named_and_the_log_goes_on(
    state: str, repository: Repository, left: int
) -> None:
    run(state)
    anchor(state, repository, NOW)
    whole = file_of(state).read_bytes()
    append(state, NOW, "begun", verb="prune", run="1" * 16)
    file_of(state).write_bytes(file_of(state).read_bytes()[: len(whole) + left])
    stats, codes = verify(state, repository)
    assert (codes, stats.altered) == (["audit-mended"], 0)
    append(state, NOW, "begun", verb="prune", run="2" * 16, born=audit._who()["born"])
    assert file_of(state).read_bytes().startswith(whole)
    kinds = [entry.kind for entry in entries(state) if entry is not None]
    assert kinds == ["begun", "mended", "ended", "begun", "log"]
    stats, codes = verify(state, repository)
    assert (codes, stats.altered, stats.mended) == (["audit-mended"], 0, 1)


@pytest.mark.usefixtures("rotating")
def test_a_process_killed_at_any_step_leaves_a_log_that_goes_on(
    state: str, repository: Repository, tmp_path: Path
) -> None:
    steps = (*STEPS, "pwrite", "ftruncate")
    done = 0
    for before in range(5):  # with each number of lines a new file may be due
        number = 0
        while True:
            place = str(tmp_path / f"{before}-{number}")
            for one in range(before):
                append(place, NOW, "ended", verb="prune", run=str(one))
            write = partial(append, place, NOW, "ended", verb="x")
            if not dies_at(number, write, steps=steps):
                break
            assert verify(place)[0].altered == 0
            append(place, NOW, "ended", verb="prune")
            assert verify(place)[1] == []
            number += 1
            done += 1
    assert done > 15


def test_a_run_that_was_killed_has_no_end_and_is_not_taken_for_tampering(state: str) -> None:
    code = (
        "import os, sys; from shenyu_data.health.audit import append; "
        "append(sys.argv[1], 1, 'begun', verb='cleanup', run='1'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, state]).returncode == -9
    stats, codes = verify(state)
    assert (stats.unfinished, stats.altered, codes) == (1, 0, ["audit-unfinished"])


def test_a_run_that_goes_on_is_not_unfinished(state: str) -> None:
    append(state, NOW, "begun", verb="cleanup", run="1")
    assert verify(state)[1] == []


def test_on_a_full_disk_nothing_half_stays_and_the_log_goes_on_with_room(state: str) -> None:
    run(state)
    size = file_of(state).stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    child = os.fork()
    if child == 0:
        # The limit of a file's size fails in the midst of a line, as a full disk does.
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, before[1]))
        try:
            append(state, NOW, "begun", verb="prune", run="1")
        except StateUnusable:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert file_of(state).stat().st_size == size
    run(state, 1)
    assert verify(state)[1] == []


def test_processes_that_write_at_once_make_one_chain(state: str) -> None:
    code = (
        "import sys; from shenyu_data.health.audit import append\n"
        "for number in range(25): append(sys.argv[1], 1, 'ended', verb=sys.argv[2])"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, state, str(n)]) for n in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    stats, codes = verify(state)
    assert (stats.entries, codes) == (76, [])


def test_who_holds_the_lock_for_ever_stops_nobody(
    state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(state)
    monkeypatch.setattr(audit_files, "LOCK_WAIT_S", 0.05)
    with audit_files.reading(state), pytest.raises(StateUnusable, match="another process holds it"):
        run(state)
    run(state, 1)
    assert verify(state)[1] == []


def test_a_log_whose_end_was_altered_is_set_aside_and_that_is_told(state: str) -> None:
    run(state)
    data = file_of(state).read_bytes()
    file_of(state).write_bytes(data[:-9] + b"x" + data[-8:])
    run(state, 1)
    assert [entry.verb for entry in entries(state) if entry is not None] == ["cleanup"] * 2 + [""]
    assert verify(state)[1] == ["audit-altered"]
    (aside,) = Path(state).glob("audit.damaged-*")
    assert b"x" in (aside / file_of(state).name).read_bytes()


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_what_is_no_file_is_never_followed_nor_waited_for(
    state: str, tmp_path: Path, kind: str
) -> None:
    run(state)
    moved = file_of(state).rename(tmp_path / "elsewhere")
    if kind == "link":
        file_of(state).symlink_to(moved)
    elif kind == "fifo":
        os.mkfifo(file_of(state))
    else:
        file_of(state).mkdir()
    before = moved.read_bytes()
    assert list(entries(state)) == [None]
    assert "audit-altered" in verify(state)[1]
    run(state, 1)
    assert moved.read_bytes() == before
    assert "audit-altered" in verify(state)[1]


@pytest.mark.usefixtures("rotating")
def test_pages_go_through_all_files(state: str) -> None:
    for number in range(10):
        run(state, number)
    assert len(list((Path(state) / "audit").iterdir())) > 3
    seen: list[int] = []
    before = None
    while page := [one.sequence for one in entries(state, before=before) if one is not None][:3]:
        seen += page
        before = page[-1]
    end = head(state)
    assert end is not None
    assert seen == list(range(end.sequence, 0, -1))


def said(state: str, repository: Repository) -> tuple[CheckStats, list[Finding]]:
    """Check a log beside all that the repository knows of it."""
    storage, keys = repository.storage, repository.keys
    monitor = CollectingMonitor()
    anchors, acceptances = read_anchors(storage, keys), read_acceptances(storage, keys)
    return check(state, anchors, monitor, acceptances), monitor.findings


def accept_all(
    state: str, repository: Repository, reason: str = "the disk died", now_ms: int = NOW
) -> Acceptance:
    storage, keys = repository.storage, repository.keys
    anchors = read_anchors(storage, keys)
    lost = lost_lines(state, anchors, read_acceptances(storage, keys))
    return accept(state, repository, anchors, lost, reason, now_ms)


def copied(repository: Repository, into: MemoryStorage) -> MemoryStorage:
    for info in repository.storage.list(""):
        into.put(info.name, [repository.storage.read(info.name)])
    return into


@pytest.fixture
def lost(state: str, repository: Repository) -> str:
    """A state folder that was lost, and a new one in which a run was noted and anchored."""
    for number in range(3):
        run(state, number)
    anchor(state, repository, NOW)
    shutil.rmtree(state)
    run(state, 9)
    anchor(state, repository, NOW)
    return state


def test_a_loss_that_was_accepted_is_told_at_every_check_and_is_no_alteration(
    lost: str, repository: Repository
) -> None:
    assert said(lost, repository)[0].altered == 1
    accept_all(lost, repository)
    for number in range(3):
        run(lost, 20 + number)
        anchor(lost, repository, NOW)
        stats, (finding,) = said(lost, repository)
        assert (stats.altered, finding.code, finding.severity) == (0, "audit-lost", "info")
        assert "lines 1 to 7" in finding.message
        assert "accepted on 2023-11-14: the disk died" in finding.message
    newest = [entry.kind for entry in entries(lost) if entry is not None]
    assert newest[-4] == "accepted"
    assert lost_lines(lost, read_anchors(repository.storage, repository.keys), []) != []


def test_with_no_log_at_all_the_acceptance_begins_one(state: str, repository: Repository) -> None:
    run(state)
    anchor(state, repository, NOW)
    shutil.rmtree(state)
    accept_all(state, repository)
    stats, (finding,) = said(state, repository)
    assert (stats.altered, stats.anchored, finding.code) == (0, 2, "audit-lost")


@pytest.mark.parametrize("again", ["cut off", "made anew", "removed"])
def test_what_is_done_to_the_log_after_an_acceptance_is_noticed(
    lost: str, repository: Repository, again: str
) -> None:
    accept_all(lost, repository)
    if again == "cut off":
        made_anew(lost, lambda old: old[:-1])
    elif again == "made anew":
        made_anew(lost, lambda old: [*old[:1], *old[2:]])
    else:
        shutil.rmtree(lost)
    run(lost, 30)
    run(lost, 31)
    anchor(lost, repository, NOW)
    assert "audit-altered" in [finding.code for finding in said(lost, repository)[1]]


def test_the_lost_log_brought_back_does_not_hide_the_one_that_went_on(
    state: str, repository: Repository, tmp_path: Path
) -> None:
    run(state)
    anchor(state, repository, NOW)
    shutil.move(state, tmp_path / "old")
    accept_all(state, repository)
    shutil.rmtree(state)
    shutil.move(tmp_path / "old", state)
    assert "audit-altered" in [finding.code for finding in said(state, repository)[1]]


@pytest.mark.parametrize("more", [1, 2, 3, 4, 30])
def test_an_older_state_of_the_log_that_was_put_back_can_be_accepted(
    state: str, repository: Repository, tmp_path: Path, more: int
) -> None:
    """As from a machine's backup. The lines that are noted then have numbers that lost ones had."""
    run(state)
    anchor(state, repository, NOW)
    kept = Repository(copied(repository, Keeping()), repository.keys)
    shutil.copytree(state, tmp_path / "old")
    for number in range(more):
        append(state, NOW, "ended", verb="prune", run=str(number))
        anchor(state, kept, NOW)
    shutil.rmtree(state)
    shutil.move(tmp_path / "old", state)
    assert said(state, kept)[0].altered == more
    item = accept_all(state, kept)
    assert item.stretches == [(4, 3 + more)]
    for number in range(6):
        run(state, 40 + number)
        anchor(state, kept, NOW)
        stats, findings = said(state, kept)
        assert [finding.code for finding in findings] == ["audit-lost"]
        assert stats.anchored == stats.entries, "each command is proven, whatever had its number"
    file_of(state).write_bytes(b"".join(file_of(state).read_bytes().splitlines(True)[:-2]))
    assert "audit-altered" in [finding.code for finding in said(state, kept)[1]]


def test_who_has_no_key_cannot_explain_away_what_is_lost(lost: str, repository: Repository) -> None:
    """Neither with a line in the log, nor with an object of another repository."""
    append(lost, NOW, "accepted", verb="audit accept", figures={"anchors": 1})
    anchor(lost, repository, NOW)
    stranger = create_repository(MemoryStorage(), "another")[0]
    anchors = read_anchors(repository.storage, repository.keys)
    accept(lost, stranger, anchors, lost_lines(lost, anchors, []), "nothing happened", NOW)
    for info in stranger.storage.list("acceptances"):
        repository.storage.put(info.name, [stranger.storage.read(info.name)])
    assert "audit-altered" in [finding.code for finding in said(lost, repository)[1]]


def test_an_acceptance_that_is_cut_off_anywhere_accepts_nothing_or_all(
    lost: str, repository: Repository
) -> None:
    done = 0
    for number in range(20):
        inner = copied(repository, MemoryStorage())
        storage = FaultyStorage(inner, at_change=number)
        with suppress(Crash):
            accept_all(lost, Repository(storage, repository.keys))
        done = said(lost, Repository(inner, repository.keys))[0].altered == 0
        if not storage.dead:
            break
        assert not done
    assert done
    assert number > 1


def test_a_second_loss_is_accepted_beside_the_first(lost: str, repository: Repository) -> None:
    accept_all(lost, repository, "the disk died")
    shutil.rmtree(lost)
    assert said(lost, repository)[0].altered == 1
    accept_all(lost, repository, "and again", NOW + 1)
    stats, findings = said(lost, repository)
    assert stats.altered == 0
    assert [finding.message.rpartition(": ")[2] for finding in findings] == [
        "the disk died",
        "and again",
    ]


def test_the_reason_goes_with_the_user_whom_it_names_and_the_acceptance_stays(
    lost: str, repository: Repository
) -> None:
    accept_all(lost, repository, "anna pulled the plug")
    assert forget_in_acceptances(repository.storage, repository.keys, "anna") == 1
    stats, (finding,) = said(lost, repository)
    assert stats.altered == 0
    assert finding.message.endswith("accepted on 2023-11-14: the reason was taken away")
