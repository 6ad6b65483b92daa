"""Recoveries: the six steps around real commands, each of which fails or hangs, or is where the
process dies or is interrupted.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from shenyu_data.datadir.exchange import exchange
from shenyu_data.model.config import ServiceTable
from shenyu_data.model.errors import ConfigError, ShenyuDataError, StorageFull, UsageError
from shenyu_data.model.monitor import CollectingMonitor, Task
from shenyu_data.operations.erase import EraseOptions, erase, plan_erase
from shenyu_data.operations.journal import open_journals
from shenyu_data.operations.recover import (
    RecoverOptions,
    RecoverStats,
    plan_recover,
    recover,
)
from shenyu_data.operations.recover_record import Records, Recovery
from shenyu_data.operations.restore_live import LiveOptions
from shenyu_data.operations.restore_undo import undo
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat, settle
from shenyu_data.testing.failing import Death, fill_up
from shenyu_data.testing.faulty import Crash, FaultyStorage
from shenyu_data.testing.scenario import PASSPHRASE, copy_in_memory, take

USER, OTHER = f"{7:064x}", f"{8:064x}"
PATH = f"histories/{USER}/chat-history.json"
EMPTIED = f"histories/{OTHER}/chat-history.json"
OLD = [chat(number, 2) for number in (3, 2, 1)]
WHOLE = json.dumps([chat(number, 2) for number in (5, 4, 3, 2)], ensure_ascii=False, indent=2)
TORN = WHOLE.encode()[:-300]
USER_DOCUMENT = {
    "fingerprint": {"userAgent": "x"},
    "firstSeen": "2026-01-02T03:04:05.678Z",
    "lastSeen": "2026-01-02T03:04:05.678Z",
}
STEPS = ["stop", "snapshot", "validate", "repair", "validate-again", "start"]


class Place(NamedTuple):
    """A data directory with a snapshot, a service that runs as long as there is a file ``up``, and
    where what is remembered goes.
    """

    repository: Repository
    data: Application
    folder: Path

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def service(self, *, asks: bool = True, **more: Any) -> ServiceTable:
        """Give commands that write down what is done to the service; ``asks``: it has a status."""
        up, calls = self.folder / "up", self.folder / "calls"
        words: dict[str, Any] = {
            "stop": ["/bin/sh", "-c", f"echo stop >> {calls}; rm -f {up}; echo stopping"],
            "start": ["/bin/sh", "-c", f"echo start >> {calls}; : > {up}; echo starting"],
            "status": ["test", "-e", str(up)] if asks else None,
            "stop_timeout_s": 20,
            "start_timeout_s": 20,
        }
        return ServiceTable(**{**words, **more})

    @property
    def up(self) -> bool:
        return (self.folder / "up").exists()

    def calls(self) -> list[str]:
        """Give what was done to the service since this was asked last."""
        calls = self.folder / "calls"
        found = calls.read_text().split() if calls.exists() else []
        calls.unlink(missing_ok=True)
        return found

    def spoil(self) -> None:
        """Tear one history and empty another, long ago; and let the service run."""
        for path, data in ((PATH, TORN), (EMPTIED, b"")):
            full = self.data.folder / path
            full.write_bytes(data)
            os.utime(full, (1_600_000_000, 1_600_000_000))
        (self.folder / "up").touch()
        self.calls()

    def anew(self) -> Place:
        """Give the same with a copy of the repository, which then does not grow, spoilt again."""
        place = self._replace(repository=copy_in_memory(self.repository))
        place.spoil()
        return place

    def recover(
        self, service: ServiceTable | None, repository: Repository | None = None, **more: Any
    ) -> RecoverStats:
        options = RecoverOptions(service=service, state=str(self.state), quiet_s=0.01, **more)
        return recover(
            repository or self.repository, str(self.data.folder), options, CollectingMonitor()
        )

    def record(self) -> Recovery | None:
        return Records(str(self.state)).load()

    def found(self, path: str = PATH) -> set[int]:
        """Give the numbers of the chats of a history."""
        document = json.loads((self.data.folder / path).read_bytes())
        return {one["id"] - 1_700_000_000_000 for one in document}

    def check_mended(self) -> None:
        assert self.found() == {5, 4, 3, 2, 1}
        assert self.found(EMPTIED) == {3, 2, 1}
        assert list(self.data.folder.rglob(".shenyu-data-*")) == []


def outcomes(stats: RecoverStats) -> dict[str, str]:
    return {step.name: step.outcome for step in stats.recovery.steps}


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("recover")
    repository, _ = create_repository(MemoryStorage(), PASSPHRASE)
    data = Application(folder / "data")
    for user in (USER, OTHER):
        data.write(f"users/{user}.json", {"id": user, **USER_DOCUMENT})
        data.write(f"histories/{user}/chat-history.json", OLD)
    take(repository, data)
    return Place(repository, data, folder)


@pytest.fixture
def place(made_once: Place, tmp_path: Path) -> Place:
    """Give a copy of it, spoilt: many tests, one key derivation."""
    shutil.copytree(made_once.data.folder, tmp_path / "data")
    return made_once._replace(data=Application(tmp_path / "data"), folder=tmp_path).anew()


ASKS = pytest.mark.parametrize("asks", [True, False], ids=["with a status", "without"])


@ASKS
def test_the_six_steps_are_taken_in_order_and_nothing_is_left(place: Place, asks: bool) -> None:
    stats = place.recover(place.service(asks=asks))
    assert [(step.name, step.outcome) for step in stats.recovery.steps] == [
        (name, "done") for name in STEPS
    ]
    assert stats.recovery.failure is None
    assert place.calls() == ["stop", "start"]
    assert place.up
    assert place.record() is None
    place.check_mended()


def test_the_safety_snapshot_is_taken_while_the_service_is_stopped(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shenyu_data.operations import recover_steps

    seen = []

    def watched(name: str) -> Callable[..., Any]:
        real = getattr(recover_steps, name)

        def call(*words: Any, **more: Any) -> Any:
            seen.append((name, place.up))
            return real(*words, **more)

        return call

    for name in ("backup", "look", "repair"):
        monkeypatch.setattr(recover_steps, name, watched(name))
    stats = place.recover(place.service())
    assert seen == [(name, False) for name in ("backup", "look", "repair", "look")]
    (safety,) = stats.recovery.safety_snapshots
    newest = {item.id.hex(): item for item in place.repository.snapshots()}[safety]
    assert (newest.safety, newest.tag) == (True, "before-recover")


def test_the_report_tells_each_step_findings_documents_and_how_to_take_it_back(
    place: Place,
) -> None:
    stats = place.recover(place.service(), report=str(place.folder / "said"))
    assert stats.report == str(place.folder / "said")
    for path in (place.folder / "said", place.folder / "said.txt"):
        assert path.stat().st_mode & 0o777 == 0o600
    report = json.loads((place.folder / "said").read_bytes())
    assert msgspec.convert(report, Recovery) == stats.recovery
    assert [step["name"] for step in report["steps"]] == STEPS
    assert report["steps"][0]["output"] == "stopping"
    assert report["before"]["errors"] == 2
    assert [one["code"] for one in report["before"]["codes"]] == ["empty-file", "torn-json"]
    assert report["after"]["errors"] == 0
    assert [one["path"] for one in report["repair"]["documents"]] == [PATH, EMPTIED]
    text = (place.folder / "said.txt").read_text()
    for said in (*STEPS, PATH, EMPTIED, "| starting", "restore --undo", "The service runs."):
        assert said in text
    assert report["safety_snapshots"][0][:8] in text
    assert "风雨夜行" not in text + json.dumps(report, ensure_ascii=False)  # nobody's words


def test_warnings_are_counted_and_errors_named_before_them(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shenyu_data.operations.recover_seen.MOST_FINDINGS", 2)
    place.data.write("histories/aaa/chat-history.json", [OLD[0], OLD[0], OLD[0]])
    place.data.write("users/zzz.json", {"name": "no id"})
    monitor = CollectingMonitor()
    options = RecoverOptions(service=None, state=str(place.state), quiet_s=0.01)
    after = recover(place.repository, str(place.data.folder), options, monitor).recovery.after
    assert after is not None
    assert (after.errors >= 1, after.warnings >= 2, len(after.first)) == (True, True, 2)
    assert (after.first[0].path, after.first[0].severity) == ("users/zzz.json", "error")
    assert {finding.severity for finding in monitor.findings} == {"error"}


def test_a_history_that_was_overwritten_is_found_and_filled_up(place: Place) -> None:
    """The application took what was torn for empty, and a backup ran since."""
    place.recover(None)
    take(place.repository, place.data)
    place.data.write(PATH, [chat(9, 2)])
    settle(place.data.folder)
    take(place.repository, place.data)
    stats = place.recover(place.service())
    before, after = stats.recovery.before, stats.recovery.after
    assert before is not None
    assert [(one.code, one.count) for one in before.codes] == [("shrunken-history", 1)]
    assert (before.is_mended, before.first[0].path) == (False, PATH)
    assert after is not None
    assert (after.is_mended, after.codes) == (True, [])
    assert place.found() == {9, 5, 4, 3, 2, 1}


def test_reports_go_into_the_state_folder_which_keeps_the_last_ones(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shenyu_data.operations.recover_report.KEPT_REPORTS", 2)
    reports = [place.recover(None).report for _ in range(3)]
    there = sorted(path.name for path in (place.state / "recoveries").iterdir())
    *older, last = (Path(str(report)).stem for report in reports)
    kept = [max(older), last]
    assert there == sorted(f"{name}.{end}" for name in kept for end in ("json", "txt"))


def test_a_report_has_its_place_before_anything_is_stopped(place: Place) -> None:
    for wrong in (place.folder / "nowhere/said", place.data.folder / "users/said"):
        with pytest.raises(UsageError, match="report"):
            place.recover(place.service(), report=str(wrong))
    assert place.calls() == []


def test_a_report_replaces_an_older_one_and_nothing_else(place: Place) -> None:
    (place.folder / "notes").write_text("precious")
    os.mkfifo(place.folder / "fifo")
    (place.folder / "a.txt").write_text("precious")
    for taken in ("notes", "fifo", "a.json"):
        with pytest.raises(UsageError, match="is no report"):
            place.recover(place.service(), report=str(place.folder / taken))
    assert place.calls() == []
    assert (place.folder / "notes").read_text() == "precious"
    for _ in range(2):
        assert place.recover(None, report=str(place.folder / "new")).recovery.failure is None


def test_a_report_whose_place_went_away_meanwhile_goes_into_the_state_folder(place: Place) -> None:
    (place.folder / "there").mkdir()
    gone = (
        f"rm -r {place.folder / 'there'}; touch {place.folder / 'there'}; rm {place.folder / 'up'}"
    )
    monitor = CollectingMonitor()
    options = RecoverOptions(
        service=place.service(stop=["/bin/sh", "-c", gone]),
        state=str(place.state),
        report=str(place.folder / "there/said"),
        quiet_s=0.01,
    )
    stats = recover(place.repository, str(place.data.folder), options, monitor)
    assert [finding.code for finding in monitor.findings] == ["report-not-written"]
    assert str(stats.report).startswith(str(place.state / "recoveries"))
    assert place.up


@pytest.mark.parametrize("text", [b"", b"{", b"[]", bytes(100), b'{"id": "x"}'])
def test_a_record_that_cannot_be_read_stops_nothing_and_says_what_to_do(
    place: Place, text: bytes
) -> None:
    path = Path(Records(str(place.state)).path)
    path.parent.mkdir(parents=True)
    path.write_bytes(text)
    with pytest.raises(ShenyuDataError, match="how far the last recovery came") as raised:
        place.recover(place.service())
    assert "remove that file" in raised.value.hint
    assert place.calls() == []


def test_the_repair_of_a_recovery_is_taken_back(place: Place) -> None:
    place.recover(place.service())
    options = LiveOptions(state=str(place.state), quiet_s=0.05)
    undo(place.repository, str(place.data.folder), options, CollectingMonitor())
    assert (place.data.folder / PATH).read_bytes() == TORN
    assert (place.data.folder / EMPTIED).read_bytes() == b""


def test_the_plan_names_the_commands_and_what_is_wrong_and_writes_nothing(place: Place) -> None:
    objects = dict(place.repository.storage.objects)  # type: ignore[attr-defined]
    options = RecoverOptions(service=place.service(), state=str(place.state))
    plan = plan_recover(place.repository, str(place.data.folder), options, CollectingMonitor())
    assert [step.name for step in plan.steps] == STEPS
    assert "echo stop" in str(plan.steps[0].command)
    assert (plan.before.errors, plan.repair.changes, plan.needed) == (2, 2, True)
    assert place.calls() == []
    assert not place.state.exists()
    assert place.repository.storage.objects == objects  # type: ignore[attr-defined]


def test_without_a_service_the_other_steps_are_taken(place: Place) -> None:
    stats = place.recover(None)
    assert outcomes(stats) == dict.fromkeys(STEPS, "done") | {"stop": "skipped", "start": "skipped"}
    assert place.calls() == []
    place.check_mended()


def test_a_service_that_does_not_run_is_not_stopped_but_started_in_the_end(place: Place) -> None:
    (place.folder / "up").unlink()
    stats = place.recover(place.service())
    assert outcomes(stats)["stop"] == "skipped"
    assert place.calls() == ["start"]
    assert place.up


def test_nothing_is_stopped_for_a_command_that_is_not_there(place: Place) -> None:
    with pytest.raises(ConfigError, match="/no/such"):
        place.recover(place.service(start=["/no/such"]))
    assert place.calls() == []


def test_two_recoveries_at_once_are_refused(place: Place) -> None:
    with (
        Records(str(place.state)).alone(),
        pytest.raises(UsageError, match="another recovery"),
    ):
        place.recover(place.service())
    with open_journals(str(place.state)), pytest.raises(UsageError, match="another operation"):
        place.recover(place.service())
    assert place.calls() == []
    assert place.up


FAILS = ["/bin/sh", "-c", "echo why >&2; exit 3"]
HANGS = ["/bin/sh", "-c", "sleep 1000"]


@ASKS
def test_a_service_is_not_started_whose_stop_could_not_be_written_down(
    place: Place, monkeypatch: pytest.MonkeyPatch, asks: bool
) -> None:
    """A second application on the same data would be the worst that a recovery can do."""
    real = Records.store

    def store(records: Records, recovery: Recovery) -> None:
        if recovery.service_state == "stopping":
            raise StorageFull("no space left", hint="Make room.")
        real(records, recovery)

    monkeypatch.setattr(Records, "store", store)
    stats = place.recover(place.service(asks=asks))
    assert outcomes(stats) == {"stop": "failed", "start": "skipped"}
    assert stats.recovery.service_state == "untouched"
    assert place.calls() == []
    assert (place.data.folder / PATH).read_bytes() == TORN


@ASKS
@pytest.mark.parametrize("stop", [FAILS, HANGS], ids=["fails", "hangs"])
def test_after_a_stop_that_fails_nothing_is_changed_and_the_service_runs(
    place: Place, asks: bool, stop: list[str]
) -> None:
    stats = place.recover(place.service(asks=asks, stop=stop, stop_timeout_s=1))
    failure = stats.recovery.failure
    assert failure is not None
    assert (failure.step, failure.error, failure.exit_status) == ("stop", "service", 3)
    assert outcomes(stats).keys() == {"stop", "start"}
    assert place.calls() == ([] if asks else ["start"])  # who is asked says that it runs
    assert place.up
    assert (place.data.folder / PATH).read_bytes() == TORN
    assert place.record() is None
    assert stats.report is not None


@pytest.mark.parametrize(
    "start", [FAILS, ["/bin/sh", "-c", "exec sleep 3"]], ids=["fails", "hangs"]
)
def test_after_a_start_that_fails_the_service_is_said_to_be_down_and_the_next_run_starts_it(
    place: Place, start: list[str]
) -> None:
    stats = place.recover(place.service(start=start, start_timeout_s=1))
    failure = stats.recovery.failure
    assert failure is not None
    assert (failure.step, failure.exit_status) == ("start", 3)
    assert stats.recovery.is_down
    report = Path(str(stats.report)).with_suffix(".txt").read_text()
    assert "THE SERVICE IS DOWN; start it: /bin/sh -c" in report
    place.check_mended()
    record = place.record()
    assert record is not None
    assert record.is_down
    again = place.recover(place.service())
    assert again.recovery.id != stats.recovery.id
    assert again.recovery.failure is None
    assert place.up
    assert place.record() is None


@ASKS
def test_that_the_service_is_down_is_remembered_by_a_run_that_leaves_it_alone(
    place: Place, asks: bool
) -> None:
    service = place.service(asks=asks, start=FAILS)
    place.recover(service)
    assert place.recover(None).recovery.is_down
    assert place.record() is not None
    (place.folder / "up").touch()  # by hand
    stats = place.recover(None)
    assert stats.recovery.is_down == (not asks)  # nobody can be asked
    place.recover(place.service(asks=asks))
    assert place.record() is None


def test_a_status_that_cannot_be_asked_for_stops_nothing(place: Place) -> None:
    stats = place.recover(place.service(status=HANGS, stop_timeout_s=1))
    assert outcomes(stats) == {"stop": "failed", "start": "skipped"}
    assert place.calls() == []
    assert place.record() is None


class Full(MemoryStorage):
    """A repository with no room."""

    def put(self, name: str, chunks: Any) -> int:
        raise StorageFull("no space left", hint="Make room.")


def spoil_step(name: str, error: BaseException, patches: pytest.MonkeyPatch) -> None:
    """Let a step fail, or be interrupted, where it begins."""
    calls = iter(range(100))
    words = {"snapshot": "backup", "validate": "look", "validate-again": "look"}
    word, number = words.get(name, name), int(name == "validate-again")
    from shenyu_data.operations import recover_steps

    real = getattr(recover_steps, word)

    def call(*words: Any, **more: Any) -> Any:
        if next(calls) == number:
            raise error
        return real(*words, **more)

    patches.setattr(recover_steps, word, call)


ERRORS = {
    "an error": (StorageFull("no space left", hint="Make room."), "storage-full", 3),
    "another": (UsageError("another operation is at work"), "usage", 3),
    "unforeseen": (ZeroDivisionError("oh"), "failed", 3),
    "an interrupt": (KeyboardInterrupt(), "interrupted", 130),
}


@pytest.mark.parametrize("step", STEPS[1:-1])
@pytest.mark.parametrize(("error", "code", "status"), ERRORS.values(), ids=ERRORS)
def test_whatever_step_fails_the_service_is_started_and_the_report_says_why(
    place: Place, step: str, error: BaseException, code: str, status: int
) -> None:
    with pytest.MonkeyPatch.context() as patches:
        spoil_step(step, error, patches)
        stats = place.recover(place.service())
    failure = stats.recovery.failure
    assert failure is not None
    assert (failure.step, failure.error, failure.exit_status) == (step, code, status)
    assert place.calls() == ["stop", "start"]
    assert place.up
    assert place.record() is None
    report = json.loads(Path(str(stats.report)).read_bytes())
    assert report["failure"]["step"] == step
    if STEPS.index(step) <= STEPS.index("repair"):
        assert (place.data.folder / PATH).read_bytes() == TORN
    place.recover(place.service())
    place.check_mended()


def test_where_the_safety_snapshot_cannot_be_taken_nothing_is_changed(place: Place) -> None:
    storage = FaultyStorage(place.repository.storage, room_bytes=0)
    stats = place.recover(place.service(), Repository(storage, place.repository.keys))
    assert outcomes(stats) == {"stop": "done", "snapshot": "failed", "start": "done"}
    assert stats.recovery.failure is not None
    assert stats.recovery.failure.error == "storage-full"
    assert (place.data.folder / PATH).read_bytes() == TORN
    assert place.up


def test_if_told_so_the_service_is_left_stopped_after_a_failure(place: Place) -> None:
    with pytest.MonkeyPatch.context() as patches:
        spoil_step("repair", StorageFull("full"), patches)
        stats = place.recover(place.service(), leave_stopped=True)
    assert place.calls() == ["stop"]
    assert stats.recovery.is_down
    assert place.record() is not None
    again = place.recover(place.service(), leave_stopped=True)
    assert again.recovery.failure is None
    assert place.up


def test_a_service_that_did_not_run_is_left_so_after_a_failure(place: Place) -> None:
    (place.folder / "up").unlink()
    with pytest.MonkeyPatch.context() as patches:
        spoil_step("repair", StorageFull("full"), patches)
        stats = place.recover(place.service())
    assert place.calls() == []
    assert not stats.recovery.is_down
    assert place.record() is None


def test_an_interrupt_while_it_is_started_says_that_it_is_down(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shenyu_data.operations.service import Service

    def interrupt(service: Service) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patches:
        patches.setattr(Service, "start", interrupt)
        stats = place.recover(place.service())
    assert stats.recovery.is_down
    assert stats.report is not None
    place.recover(place.service())
    assert place.up


def test_who_is_erased_is_in_no_report_any_more(place: Place) -> None:
    place.recover(place.service())
    with pytest.MonkeyPatch.context() as patches:
        place.spoil()
        spoil_step("validate-again", StorageFull("full"), patches)
        place.recover(place.service(), leave_stopped=True)
    assert place.record() is not None
    plan = plan_erase(str(place.data.folder), place.repository, USER.encode())
    options = EraseOptions(state=str(place.state), receipt=str(place.folder / "receipt.json"))
    erase(str(place.data.folder), place.repository, plan, options, CollectingMonitor())
    held = {
        path.name: path.read_bytes()
        for path in place.state.rglob("*")
        if path.is_file() and path.suffix != ".jsonl"
    }
    assert [name for name, text in held.items() if USER.encode() in text] == []
    assert sum(OTHER.encode() in text for text in held.values()) == 5


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no disk: it is the process that dies, hundreds of times, and not the system."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def test_killed_at_every_write_the_next_run_goes_on_and_starts_what_was_stopped(
    place: Place, unsynced: None
) -> None:
    first = place
    kills = downs = 0
    for at in range(10_000):
        asks = bool(at % 2)  # neither changes what is written
        place = first.anew()
        with pytest.MonkeyPatch.context() as patches:
            Death(at, patches)
            try:
                place.recover(place.service(asks=asks))
                done = True
            except Crash:
                done = False
                kills += 1
        if not place.up:
            downs += 1
            record = place.record()
            assert record is not None
            assert record.is_down
        there = (place.data.folder / PATH).read_bytes()
        assert there == TORN or place.found() >= {5, 4}
        stats = place.recover(place.service(asks=asks))
        assert stats.recovery.failure is None, stats.recovery.failure
        assert place.up
        assert place.record() is None
        place.check_mended()
        shutil.rmtree(place.state)
        if done:
            break
    assert kills > 50
    assert downs > 20


def test_a_run_that_was_killed_before_it_did_anything_is_not_gone_on_with(place: Place) -> None:
    with pytest.MonkeyPatch.context() as patches:
        spoil_step("snapshot", Crash(), patches)
        with pytest.raises(Crash):
            place.recover(None)
    assert place.record() is not None
    place.data.write(PATH, OLD)
    place.data.write(EMPTIED, OLD)
    options = RecoverOptions(service=place.service(), state=str(place.state))
    plan = plan_recover(place.repository, str(place.data.folder), options, CollectingMonitor())
    assert (plan.resumes, plan.needed) == (None, False)
    assert place.recover(place.service()).recovery.runs == 1


@ASKS
def test_steps_that_hold_are_not_taken_again(place: Place, asks: bool) -> None:
    with pytest.MonkeyPatch.context() as patches:
        spoil_step("validate-again", Crash(), patches)
        with pytest.raises(Crash):
            place.recover(place.service(asks=asks))
    assert not place.up
    snapshots = len(place.repository.snapshots())
    stats = place.recover(place.service(asks=asks))
    assert [(step.name, step.outcome) for step in stats.recovery.steps] == [
        *((name, "done") for name in STEPS[:4]),
        *((name, "skipped") for name in STEPS[:4]),
        *((name, "done") for name in STEPS[4:]),
    ]
    assert stats.recovery.runs == 2
    assert place.calls() == ["stop", "start"]
    assert len(place.repository.snapshots()) == snapshots
    assert [item.path for item in stats.recovery.repair.documents] == [PATH, EMPTIED]  # type: ignore[union-attr]


def test_a_service_that_runs_again_after_a_kill_is_stopped_again_and_all_is_done_anew(
    place: Place,
) -> None:
    with pytest.MonkeyPatch.context() as patches:
        spoil_step("validate-again", Crash(), patches)
        with pytest.raises(Crash):
            place.recover(place.service())
    place.spoil()  # the system was started anew, and the application with it
    stats = place.recover(place.service())
    assert place.calls() == ["stop", "start"]
    assert [step.outcome for step in stats.recovery.steps[4:]] == ["done"] * 6
    assert len(stats.recovery.safety_snapshots) == 2
    place.check_mended()


def test_after_a_new_start_of_the_system_a_service_without_status_is_stopped_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = place.service(asks=False)
    with pytest.MonkeyPatch.context() as patches:
        spoil_step("repair", Crash(), patches)
        with pytest.raises(Crash):
            place.recover(service)
    monkeypatch.setattr("shenyu_data.operations.recover_steps.boot_id", lambda: "another")
    place.recover(service)
    assert place.calls() == ["stop", "stop", "start"]
    place.check_mended()


def test_a_stop_that_fails_as_it_is_stopped_already_does_not_end_a_second_run(place: Place) -> None:
    service = place.service(asks=False, start=FAILS)
    place.recover(service)
    stats = place.recover(place.service(asks=False, stop=FAILS))
    assert stats.recovery.failure is None
    assert "may have stopped it already" in stats.recovery.steps[0].message
    assert place.up


def test_documents_that_a_killed_run_was_changing_are_in_the_report(place: Place) -> None:
    left = iter(range(1))

    def one(*words: Any) -> None:
        if next(left, None) is None:
            raise Crash
        exchange(*words)

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr("shenyu_data.datadir.replace.exchange", one)
        with pytest.raises(Crash):
            place.recover(place.service())
    stats = place.recover(place.service())
    assert stats.recovery.cut_off == sorted([PATH, EMPTIED])
    assert "before it was cut off" in Path(str(stats.report)).with_suffix(".txt").read_text()


def test_on_a_disk_that_is_full_the_service_is_never_left_down(
    place: Place, unsynced: None
) -> None:
    first = place
    failures = 0
    for room in range(1000):
        asks = bool(room % 2)
        place = first.anew()
        with pytest.MonkeyPatch.context() as patches:
            failed = fill_up(patches, room)
            with suppress(ShenyuDataError, OSError):
                place.recover(place.service(asks=asks))
        assert place.up
        there = (place.data.folder / PATH).read_bytes()
        assert there == TORN or place.found() >= {5, 4}
        stats = place.recover(place.service(asks=asks))
        assert stats.recovery.failure is None
        assert place.up
        assert place.record() is None
        place.check_mended()
        shutil.rmtree(place.state)
        if not failed:
            break
        failures += 1
    assert failures > 20


class Watching(CollectingMonitor):
    """Remembers what it was told of work that began."""

    def __init__(self) -> None:
        super().__init__()
        self.titles: list[str] = []

    def task(self, title: str, total: int | None, unit: str) -> Task:
        self.titles.append(title)
        return super().task(title, total, unit)

    def looks(self) -> tuple[int, int]:
        """Give how often all documents, and all snapshots, were looked at."""
        return self.titles.count("Validating"), self.titles.count("Comparing with snapshots")


def test_a_plan_looks_at_everything_once(place: Place) -> None:
    place.spoil()
    monitor = Watching()
    options = RecoverOptions(service=None, state=str(place.state))
    plan = plan_recover(place.repository, str(place.data.folder), options, monitor)
    assert monitor.looks() == (1, 1)
    assert (plan.before.errors, plan.repair.changes) == (2, 2)


def test_a_recovery_looks_at_everything_before_the_repair_and_after_it(place: Place) -> None:
    place.spoil()
    monitor = Watching()
    options = RecoverOptions(service=None, state=str(place.state), quiet_s=0.01)
    recover(place.repository, str(place.data.folder), options, monitor)
    assert monitor.looks() == (2, 2)
    place.check_mended()


def test_what_is_gone_is_counted_and_named_by_a_recovery(place: Place) -> None:
    place.spoil()
    (place.data.folder / EMPTIED).unlink()
    options = RecoverOptions(service=None, state=str(place.state), quiet_s=0.01)
    monitor = Watching()
    plan = plan_recover(place.repository, str(place.data.folder), options, monitor)
    assert (plan.repair.gone, plan.before.is_mended) == (1, False)
    stats = recover(place.repository, str(place.data.folder), options, monitor)
    assert stats.recovery.after is not None
    assert not stats.recovery.after.is_mended
    assert [one.path for one in monitor.findings if one.code == "gone-document"] == [EMPTIED]


def test_a_document_that_tears_between_the_look_and_the_repair_is_named_by_the_last_look(
    place: Place,
) -> None:
    """The application may go on: what was looked at is read again, what was not is told after."""
    place.spoil()
    (place.data.folder / EMPTIED).write_bytes(WHOLE.encode())

    class Tearing(Watching):
        def task(self, title: str, total: int | None, unit: str) -> Task:
            if title == "Comparing with snapshots" and title not in self.titles:
                path = place.data.folder / f"users/{USER}.json"
                path.write_bytes(b"{")
                os.utime(path, (1_600_000_000, 1_600_000_000))
            return super().task(title, total, unit)

    monitor = Tearing()
    options = RecoverOptions(service=None, state=str(place.state), quiet_s=0.01)
    recover(place.repository, str(place.data.folder), options, monitor)
    assert place.found() == {5, 4, 3, 2, 1}
    assert [one.path for one in monitor.findings if one.code == "torn-json"] == [
        f"users/{USER}.json"
    ]
