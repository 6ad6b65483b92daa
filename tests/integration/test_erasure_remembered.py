"""Erasure and what recoveries and repairs remember beside the live data: nothing of the user stays
there, and whatever cannot be told keeps the erasure from being complete.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.erase import EraseOptions, EraseStats, erase, plan_erase
from shenyu_data.operations.quarantine import MANIFEST, Quarantine
from shenyu_data.operations.recover_record import Failure, Records, Recovery, StepTaken
from shenyu_data.operations.recover_report import write_report
from shenyu_data.testing.scenario import Past, rich_past, take

HISTORY = "histories/bob/chat-history.json"


@pytest.fixture
def past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Past:
    monkeypatch.setattr("shenyu_data.operations.erase.LONG_LOOK_S", 0.0)  # nobody writes here
    past = rich_past(tmp_path / "data")
    past.data.add_user("bob", [])
    take(past.repository, past.data)
    return past


def recovery(text: str = "nothing is wrong") -> Recovery:
    step = StepTaken(
        name="validate", began="x", elapsed_s=0, outcome="failed", message=text, output=text
    )
    failure = Failure(step="validate", error="failed", message=text, hint=text, exit_status=3)
    return Recovery(
        id="20260102T030405Z-0000",
        began="2026-01-02T03:04:05Z",
        program="",
        data="data",
        repository="",
        service=None,
        steps=[step],
        failure=failure,
        cut_off=[HISTORY],
    )


def erase_bob(past: Past, folder: Path) -> tuple[EraseStats, list[str]]:
    monitor = CollectingMonitor()
    data, state = str(past.data.folder), str(folder / "state")
    plan = plan_erase(data, past.repository, b"bob")
    options = EraseOptions(receipt=str(folder / "receipt.json"), state=state)
    stats = erase(data, past.repository, plan, options, monitor)
    return stats, [finding.code for finding in monitor.findings if finding.severity == "error"]


def naming_bob(folder: Path) -> list[str]:
    files = [path for path in (folder / "state").rglob("*") if path.is_file()]
    return [path.name for path in files if b"bob" in path.read_bytes()]


NAMES_BOB = [
    f"cannot read {HISTORY}",
    "PermissionError(13, 'no', 'bob.json')",
    "b'bob'",
    "the user bob",
    "bob: it is torn",
]


def test_what_errors_said_of_the_user_goes_from_record_and_reports(
    past: Past, tmp_path: Path
) -> None:
    state = str(tmp_path / "state")
    Records(state).store(recovery(NAMES_BOB[0]))
    for number, text in enumerate(NAMES_BOB):
        write_report(msgspec.structs.replace(recovery(text), id=str(number)), state, None)
    assert len(naming_bob(tmp_path)) == 1 + 2 * len(NAMES_BOB)
    stats, errors = erase_bob(past, tmp_path)
    assert (stats.complete, errors, naming_bob(tmp_path)) == (True, [], [])
    kept = Records(state).load()
    assert kept is not None
    assert kept.steps[0].outcome == "failed"


def test_what_is_said_of_others_stays(past: Past, tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    texts = ["users/bobby.json is torn", "bob-2", "histories/kabob/x"]
    Records(state).store(recovery(" ".join(texts)))
    erase_bob(past, tmp_path)
    kept = Records(state).load()
    assert kept is not None
    assert kept.steps[0].message == " ".join(texts)


def leave_a_text(state: Path) -> None:
    write_report(recovery(), str(state), None)
    next((state / "recoveries").glob("*.json")).unlink()


def leave_a_report(state: Path) -> None:
    write_report(recovery(), str(state), None)
    next((state / "recoveries").glob("*.txt")).unlink()


def leave_half_written(state: Path) -> None:
    for folder in (state, state / "recover", state / "recoveries"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".tmp-0123456789abcdef").write_text(HISTORY)


def leave_a_link(state: Path) -> None:
    state.mkdir()
    (state / ".tmp-0123456789abcdef").symlink_to(state.parent / "outside")


@pytest.mark.parametrize("leave", [leave_a_text, leave_a_report, leave_half_written, leave_a_link])
def test_what_a_kill_left_of_reports_names_nobody_after_an_erasure(
    past: Past, tmp_path: Path, leave: Callable[[Path], None]
) -> None:
    (tmp_path / "outside").write_text(HISTORY)
    leave(tmp_path / "state")
    stats, errors = erase_bob(past, tmp_path)
    assert (stats.complete, errors, naming_bob(tmp_path)) == (True, [], [])
    assert list((tmp_path / "state").rglob(".tmp-*")) == []
    assert (tmp_path / "outside").read_text() == HISTORY, "no link is followed"


@pytest.mark.parametrize("text", [b"{", b'{"id": "\xff"}'], ids=["cut off", "no UTF-8"])
@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("recoveries/20260101T000000Z-0000.json", "reports-not-forgotten"),
        ("recover/record.json", "reports-not-forgotten"),
        (f"quarantine/0123456789abcdef/{MANIFEST}", "kept-not-forgotten"),
    ],
)
def test_what_cannot_be_told_keeps_the_erasure_from_being_complete_and_the_rest_goes(
    past: Past, tmp_path: Path, place: str, code: str, text: bytes
) -> None:
    state = tmp_path / "state"
    assert Quarantine(str(state)).folder == str(state / "quarantine")
    write_report(recovery(), str(state), None)
    damaged = state / place
    damaged.parent.mkdir(parents=True, exist_ok=True)
    damaged.write_bytes(text)
    stats, errors = erase_bob(past, tmp_path)
    assert (stats.complete, stats.receipt, errors) == (False, None, [code])
    assert naming_bob(tmp_path) == []
    assert damaged.read_bytes() == text
    damaged.unlink()
    if damaged.name == MANIFEST:
        damaged.parent.rmdir()
    data = str(past.data.folder)
    again = plan_erase(data, past.repository, b"bob")
    options = EraseOptions(receipt=str(tmp_path / "receipt.json"), state=str(state))
    assert erase(data, past.repository, again, options, CollectingMonitor()).complete


def test_a_report_that_a_wrong_clock_makes_the_oldest_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shenyu_data.operations.recover_report.KEPT_REPORTS", 2)
    for year in ("2031", "2032", "2033"):
        write_report(msgspec.structs.replace(recovery(), id=f"{year}0102"), str(tmp_path), None)
    path = write_report(recovery(), str(tmp_path), None)
    assert json.loads(Path(path).read_bytes())["id"] == recovery().id
    names = sorted(one.name for one in (tmp_path / "recoveries").iterdir())
    assert names == [
        f"{stem}.{end}" for stem in (recovery().id, "20330102") for end in ("json", "txt")
    ]
