"""A validation with a catalog reads only what changed, and never trusts what may have."""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shenyu_data.datadir import catalog_notes, catalog_read
from shenyu_data.datadir.catalog_files import open_catalog
from shenyu_data.datadir.catalog_pages import Listing
from shenyu_data.datadir.catalog_tables import CATALOG_NAME
from shenyu_data.model.expiry import Policy, Rule
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import CollectingMonitor, Task
from shenyu_data.operations import catalog as catalog_operation
from shenyu_data.operations import validate as operation
from shenyu_data.operations import validate_known, workers
from shenyu_data.operations.catalog import CatalogOptions, ask, forget_user
from shenyu_data.operations.cleanup_plan import plan_cleanup
from shenyu_data.operations.cleanup_values import CleanupOptions, CleanupPlan
from shenyu_data.operations.listings import PageOptions, list_chats, list_users
from shenyu_data.operations.validate import ValidateOptions, ValidateStats, validate
from shenyu_data.repository.repository import create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat, settle
from shenyu_data.testing.catalogs import said, said_anew

HEX = "c7" * 32
SEEN = "2026-01-02T03:04:05Z"


@pytest.fixture
def data(tmp_path: Path) -> Application:
    """Give a directory of three sound users and one with findings."""
    data = Application(tmp_path / "data")
    for user in ("anna", "ben", "用户"):
        data.write(f"users/{user}.json", {"id": user, "created_at": SEEN})
        data.write(f"histories/{user}/chat-history.json", [chat(1), chat(2)])
    data.write(f"users/{HEX}.json", {"id": HEX, "fingerprint": {}, "firstSeen": SEEN})
    data.write(f"histories/{HEX}/0.json", [chat(1), chat(1)])
    settle(data.folder)
    return data


@pytest.fixture
def state(tmp_path: Path, data: Application) -> Path:
    """Give the folder of a catalog that knows all of it."""
    state = tmp_path / "state"
    ask(
        CatalogOptions(data=str(data.folder), state=str(state), jobs=1), len_of, CollectingMonitor()
    )
    return state


def len_of(_: object) -> int:
    return 0


def found(
    data: Application, state: Path | None, *, everything: bool = False, jobs: int = 1
) -> tuple[list[Finding], ValidateStats]:
    monitor = CollectingMonitor()
    place = None if state is None else str(state)
    options = ValidateOptions(jobs=jobs, state=place, all=everything)
    stats = validate(str(data.folder), options, monitor)
    return monitor.findings, msgspec.structs.replace(stats, elapsed_s=0.0)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Note the documents that are opened."""
    names: list[str] = []
    real = os.open

    def noting(path: bytes | str, flags: int, *rest: int, dir_fd: int | None = None) -> int:
        descriptor = real(path, flags, *rest, dir_fd=dir_fd)
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        if name.endswith((".json", ".gz")):
            names.append("/".join(name.split("/")[-2:]))
        return descriptor

    monkeypatch.setattr(os, "open", noting)
    yield names


def test_what_did_not_change_is_not_read_but_told(
    data: Application, state: Path, opened: list[str]
) -> None:
    assert found(data, state) == found(data, None)
    opened.clear()
    findings, stats = found(data, state)
    assert opened == []
    assert {finding.code for finding in findings} == {"missing-field", "duplicate-chat-id"}
    assert (stats.users, stats.chats, stats.documents) == (4, 8, 8)


def test_what_changed_is_read_and_nothing_else(
    data: Application, state: Path, opened: list[str]
) -> None:
    data.write("users/anna.json", {"id": "nobody"})
    data.write("histories/ben/chat-history.json", [{"id": 1}])
    settle(data.folder)
    opened.clear()
    first = found(data, state)
    assert sorted(set(opened)) == ["ben/chat-history.json", "users/anna.json"]
    opened.clear()
    assert found(data, state) == first
    assert opened == []
    assert first == found(data, None)


def test_all_reads_everything(data: Application, state: Path, opened: list[str]) -> None:
    opened.clear()
    findings, _ = found(data, state, everything=True)
    assert len(set(opened)) == 8
    assert found(data, state)[0] == [item for item in findings if item.severity != "info"]


def by_writing(path: Path, text: bytes) -> None:
    path.write_bytes(text)


def by_renaming(path: Path, text: bytes) -> None:
    aside = path.parents[3] / "aside"
    aside.write_bytes(text)
    aside.rename(path)


@pytest.mark.parametrize("change", [by_writing, by_renaming])
def test_a_change_that_leaves_size_and_time_is_seen(
    data: Application, state: Path, change: Callable[[Path, bytes], None]
) -> None:
    path = data.folder / "histories/anna/chat-history.json"
    found_at, text = path.stat(), path.read_bytes()
    change(path, text.replace(b'"role": "user"', b'"role": "gast"'))
    os.utime(path, ns=(found_at.st_atime_ns, found_at.st_mtime_ns))
    assert path.stat().st_size == found_at.st_size
    findings, _ = found(data, state)
    assert "unknown-role" in {finding.code for finding in findings}
    assert findings == found(data, None)[0]


@pytest.mark.parametrize(
    "place", ["users/anna.json", "histories/anna", "histories/anna/chat-history.json"]
)
def test_who_was_written_to_a_moment_ago_is_looked_at_again(
    data: Application, state: Path, place: str, opened: list[str]
) -> None:
    """A later write may hide behind the same stat; a time that is to come tells of no write."""
    path = data.folder / place
    moment = path.stat().st_mtime_ns + 10**16
    os.utime(path, ns=(moment, moment))
    found(data, state)
    with sqlite3.connect(state / CATALOG_NAME) as connection:
        rows = connection.execute("SELECT name FROM users WHERE signature IS NULL").fetchall()
    connection.close()
    assert rows == [(b"anna",)]
    opened.clear()
    found(data, state)
    assert opened == ([] if place == "histories/anna" else [place.removeprefix("histories/")] * 2)


def test_a_torn_document_is_read_again_each_time(
    data: Application, state: Path, opened: list[str]
) -> None:
    path = data.folder / "histories/anna/chat-history.json"
    path.write_bytes(b'[{"id": 1, "mess')
    os.utime(path, (1, 1))  # nobody is writing it
    settle(data.folder)
    found(data, state)
    for _ in range(2):
        opened.clear()
        asked = CatalogOptions(data=str(data.folder), state=str(state), jobs=1)
        ask(asked, len_of, CollectingMonitor())
        assert set(opened) == {"anna/chat-history.json"}


def test_findings_that_hang_on_others_are_told_of_unchanged_documents(
    data: Application, state: Path
) -> None:
    found(data, state)
    (data.folder / "users/anna.json").unlink()
    data.write("users/ben.json.gz", b"")
    (data.folder / "histories/用户/chat-history.json").rename(data.folder / "x.json")
    (data.folder / "histories/用户").rmdir()
    findings, stats = found(data, state)
    assert (findings, stats) == found(data, None)
    codes = {finding.code for finding in findings}
    assert {"history-without-user", "compressed-twin", "damaged-gzip"} <= codes


def test_what_other_rules_found_counts_for_nothing(
    data: Application, state: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found(data, state)
    for module in (catalog_notes, validate_known):
        monkeypatch.setattr(module, "RULES", "others")
    opened.clear()
    assert found(data, state) == found(data, None)
    assert len(set(opened)) == 8
    opened.clear()
    found(data, state)
    assert opened == []


def test_while_another_process_changes_the_catalog_it_is_asked_and_not_written(
    data: Application, state: Path, opened: list[str]
) -> None:
    found(data, state)
    data.write("histories/ben/chat-history.json", [chat(5)])
    settle(data.folder)
    before = (state / CATALOG_NAME).read_bytes()
    with (state / "catalog.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        opened.clear()
        assert found(data, state) == found(data, None)
        assert "users/anna.json" in opened  # by the one without
    assert (state / CATALOG_NAME).read_bytes() == before


def test_a_large_history_is_judged_once(
    data: Application, state: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_read, "STREAMED_BYTES", 100)
    data.write("histories/ben/chat-history.json", [chat(5), chat(5)])
    settle(data.folder)
    first = found(data, state)
    assert first == found(data, None)
    opened.clear()
    assert found(data, state) == first
    assert opened == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_gone_is_forgotten(
    data: Application, state: Path, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation, "_FEW_NAMES", 1)
    (data.folder / "users/ben.json").unlink()
    (data.folder / "histories/ben/chat-history.json").unlink()
    (data.folder / "histories/ben").rmdir()
    assert found(data, state, jobs=jobs) == found(data, None)
    with sqlite3.connect(state / CATALOG_NAME) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM users")}
    connection.close()
    assert names == {b"anna", "用户".encode(), HEX.encode()}


def test_a_validation_makes_no_catalog(data: Application, tmp_path: Path) -> None:
    found(data, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("place", range(0, 100, 4))
def test_a_flipped_byte_of_the_catalog_ends_no_validation(
    data: Application, state: Path, place: int
) -> None:
    found(data, state)
    path = state / CATALOG_NAME
    text = bytearray(path.read_bytes())
    text[place * len(text) // 100 + place] ^= 0xFF
    path.write_bytes(text)
    _, stats = found(data, state)
    assert stats.documents == 8


class Beside(CollectingMonitor):
    """Does something else once a validation is under way."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self._act = act

    def task(self, title: str, total: int | None, unit: str) -> Task:
        if title == "Validating":
            self._act()
        return super().task(title, total, unit)


def beside(data: Application, state: Path, act: Callable[[], None]) -> list[Finding]:
    """Validate, and do something else while it is under way; give what validating found."""
    monitor = Beside(act)
    validate(str(data.folder), ValidateOptions(jobs=1, state=str(state)), monitor)
    return monitor.findings


def names_in(state: Path) -> set[bytes]:
    with closing(sqlite3.connect(state / CATALOG_NAME)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM users")}


def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_operation, "WAIT_S", 0.0)


def test_lists_answer_beside_a_validation_with_what_is_there_now(
    data: Application, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody_waits(monkeypatch)
    told = CollectingMonitor()
    users: list[object] = []
    chats: list[object] = []

    def look() -> None:
        data.write("users/carla.json", {"id": "carla", "created_at": SEEN})
        options = CatalogOptions(data=str(data.folder), state=str(state), jobs=1)
        users.extend(list_users(options, Listing(), PageOptions(), told).entries)
        chats.extend(list_chats(options, Listing(), PageOptions(), told).entries)

    beside(data, state, look)
    assert told.findings == []
    assert len(users) == 5
    assert len(chats) == 8
    assert b"carla" in names_in(state)


def test_a_cleanup_is_planned_beside_a_validation(data: Application, state: Path) -> None:
    plans: list[CleanupPlan] = []
    repository = create_repository(MemoryStorage(), "correct horse")[0]
    options = CleanupOptions(
        policy=Policy(rule=Rule(keep_newest=1)),
        unsaved_too=True,
        now_ms=2**41,
        state=str(state),
    )
    told = CollectingMonitor()

    def plan() -> None:
        plans.append(plan_cleanup(repository, str(data.folder), options, told))

    beside(data, state, plan)
    assert plans[0].total.chats == 4


def test_what_a_validation_read_is_not_noted_if_somebody_else_noted_meanwhile(
    data: Application, state: Path, opened: list[str]
) -> None:
    data.write("histories/ben/chat-history.json", [chat(5)])
    settle(data.folder)
    options = CatalogOptions(data=str(data.folder), state=str(state), jobs=1)
    beside(data, state, lambda: ask(options, lambda _: None, CollectingMonitor()))
    assert said_now(data, state) == said_anew(data.folder)


def test_who_is_erased_beside_a_validation_does_not_come_back_into_the_catalog(
    data: Application, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody_waits(monkeypatch)
    data.write("histories/ben/chat-history.json", [chat(5)])
    settle(data.folder)
    path = data.folder / "histories/ben/chat-history.json"
    real = workers.run_tasks

    def run_tasks(*given: Any, **more: Any) -> Iterator[Any]:
        """Let the workers read the user; then it is erased, and then it would be noted."""
        parts = list(real(*given, **more))
        path.unlink()
        path.parent.rmdir()
        (data.folder / "users/ben.json").unlink()
        forget_user(str(data.folder), str(state), b"ben")
        yield from parts

    monkeypatch.setattr(operation, "run_tasks", run_tasks)
    found(data, state)
    assert b"ben" not in names_in(state)
    assert b"ben" not in (state / CATALOG_NAME).read_bytes()


def test_a_catalog_that_was_built_anew_beside_a_validation_stays_as_it_is(
    data: Application, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody_waits(monkeypatch)
    data.write("histories/ben/chat-history.json", [chat(5)])
    settle(data.folder)
    options = CatalogOptions(data=str(data.folder), state=str(state), jobs=1)

    def build() -> None:
        (state / CATALOG_NAME).unlink()
        ask(options, lambda _: None, CollectingMonitor())

    beside(data, state, build)
    assert said_now(data, state) == said_anew(data.folder)


def said_now(data: Application, state: Path) -> object:
    with open_catalog(str(state), os.fsencode(os.path.realpath(data.folder))) as catalog:
        return said(catalog)
