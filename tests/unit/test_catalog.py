"""The catalog: what it says is what the documents say, whatever happened to either."""

import fcntl
import gzip
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.datadir import catalog_read
from shenyu_data.datadir.catalog import Catalog
from shenyu_data.datadir.catalog_files import CATALOG_NAME, open_catalog
from shenyu_data.datadir.catalog_known import KnownUsers
from shenyu_data.datadir.catalog_pages import Listing, chats_page, users_page
from shenyu_data.datadir.catalog_tables import APPLICATION_ID, VERSION
from shenyu_data.model.errors import DataDirectoryError
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations import catalog as operation
from shenyu_data.operations.catalog import CatalogOptions, ask, refresh
from shenyu_data.testing.application import Application, chat, rich_directory, settle
from shenyu_data.testing.catalogs import said, said_anew


@pytest.fixture
def data(tmp_path: Path) -> Application:
    return rich_directory(tmp_path / "data")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state" / "of-data"


def asking(
    data: Application, state: Path, *, stale: bool = False, jobs: int = 1
) -> tuple[list[list[tuple[Any, ...]]], list[str]]:
    """Give all that the catalog says, and the codes of what was reported."""
    monitor = CollectingMonitor()
    options = CatalogOptions(data=str(data.folder), state=str(state), stale=stale, jobs=jobs)
    answer = ask(options, said, monitor)
    return answer, [finding.code for finding in monitor.findings]


def titles(data: Application, state: Path, user: bytes) -> list[str]:
    options = CatalogOptions(data=str(data.folder), state=str(state), jobs=1)
    listing = Listing(user=user, order="name")
    page = ask(options, lambda found: chats_page(found, listing, 100, None), CollectingMonitor())
    return [entry.title for entry in page.entries]


def refreshed(data: Application, state: Path) -> int:
    """Bring the catalog up to date; give of how many users something was noted."""
    path = os.path.realpath(data.folder)
    with open_catalog(str(state), os.fsencode(path)) as catalog:
        options = CatalogOptions(data=path, state=str(state), jobs=1)
        return refresh(catalog, options, CollectingMonitor())


def test_it_lists_users_and_chats_of_both_layouts(data: Application, state: Path) -> None:
    (users, _, chats), findings = asking(data, state)
    assert findings == []
    names = {row[0] for row in users}
    assert {b"alice", b"bob", b"carol", b"%064x" % 5} <= names
    assert "a b\u202ec".encode() in names
    assert len([row for row in chats if row[0] == b"%064x" % 5]) == 6
    assert len([row for row in chats if row[0] == b"alice"]) == 2


def test_its_files_are_for_their_owner_alone(data: Application, state: Path) -> None:
    asking(data, state)
    assert state.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in state.iterdir()} == {0o600}


def test_a_chat_lies_where_it_says(data: Application, state: Path) -> None:
    (_, _, chats), _ = asking(data, state)
    for row in chats:
        path = data.folder / "histories" / os.fsdecode(row[0]) / os.fsdecode(row[2])
        start, length = row[12:14]
        found = json.loads(path.read_bytes()[start : start + length])
        assert str(found["id"]) == row[4]


def test_nothing_is_read_again_that_did_not_change(data: Application, state: Path) -> None:
    settle(data.folder)
    asking(data, state)
    assert refreshed(data, state) == 0


def test_a_file_written_a_moment_ago_is_read_again_though_its_stat_is_the_same(
    data: Application, state: Path
) -> None:
    settle(data.folder)
    asking(data, state)
    history = data.folder / "histories/bob/chat-history.json"
    old = history.read_bytes()
    moment = os.stat(history).st_mtime_ns + 7_000_000_000_000  # later than now: never settled
    for text in (old.replace(b"200", b"201"), old.replace(b"200", b"202")):
        history.write_bytes(text)
        os.utime(history, ns=(moment, moment))
        assert asking(data, state)[0] == said_anew(data.folder)


def test_chats_that_did_not_change_keep_their_numbers(data: Application, state: Path) -> None:
    def numbers(catalog: Catalog) -> set[int]:
        return {row[0] for row in catalog.connection.execute("SELECT id FROM chats")}

    options = CatalogOptions(data=str(data.folder), state=str(state), jobs=1)
    before = ask(options, numbers, CollectingMonitor())
    data.prepend_chat("bob", chat(999))
    after = ask(options, numbers, CollectingMonitor())
    assert before < after
    assert len(after - before) == 1


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_changed_comes_and_what_went_goes(
    data: Application, state: Path, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation, "_FEW_NAMES", 1)
    asking(data, state, jobs=jobs)
    data.prepend_chat("bob", chat(999))
    data.add_user("dora", [chat(1)])
    data.remove("histories/alice/7.json")
    data.remove("users/carol.json")
    (users, documents, chats), findings = asking(data, state, jobs=jobs)
    assert findings == []
    assert [users, documents, chats] == said_anew(data.folder)
    assert b"dora" in {row[0] for row in users}
    assert b"carol" not in {row[0] for row in users}


def test_a_compressed_history_is_looked_into_as_a_plain_one(data: Application, state: Path) -> None:
    packed = gzip.compress(json.dumps([chat(7, about="packed")]).encode())
    data.write("histories/zoe/chat-history.json.gz", packed)
    assert titles(data, state, b"zoe") == ["关于 packed 的对话"]


@pytest.mark.parametrize("text", [b"", b"[", b"\0\0", b'[{"id": 1}', b'{"id', b"\xff"])
def test_of_a_torn_history_no_chat_is_listed_and_it_is_counted(
    data: Application, state: Path, text: bytes
) -> None:
    data.write("histories/bob/chat-history.json", text)
    (_, documents, chats), _ = asking(data, state)
    assert not [row for row in chats if row[0] == b"bob"]
    assert {row[6] for row in documents if row[:3] == (b"bob", 3, b"chat-history.json")} == {"torn"}


def test_a_history_of_another_shape_is_told_from_an_empty_one(
    data: Application, state: Path
) -> None:
    data.write("histories/bob/chat-history.json", b'"text"')
    data.write("histories/bob/sn43-history.json", b"[]")
    (_, documents, _), _ = asking(data, state)
    states = {row[2]: row[6] for row in documents if row[0] == b"bob"}
    assert states[b"chat-history.json"] == "unparsed"
    assert states[b"sn43-history.json"] == "whole"


def test_a_large_history_is_noted_as_a_small_one_is(
    data: Application, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats = [chat(number, messages=number, about='"]}{[\\') for number in range(9)]
    odd = json.dumps([*chats, {"messages": []}, {"title": "\ud800"}])
    data.write("histories/bob/chat-history.json", odd.encode())
    small = said_anew(data.folder)
    monkeypatch.setattr(catalog_read, "STREAMED_BYTES", 100)
    monkeypatch.setattr(catalog_read, "_BLOCK_BYTES", 64)
    assert said_anew(data.folder) == small


def test_chats_without_ids_and_odd_ones_are_noted(data: Application, state: Path) -> None:
    odd: list[Any] = [{"messages": [{"role": "user"}]}, {"id": True}, {"id": 1.5, "title": 3}]
    data.write("histories/bob/chat-history.json", [*odd, None, 7, [], {"id": "x" * 5000}])
    data.write("histories/bob/alone.json", {"messages": []})
    (_, _, chats), _ = asking(data, state)
    keys = [row[4] for row in chats if row[0] == b"bob"]
    assert len(keys) == 8
    assert "alone" in keys
    assert "x" * 200 in keys


def truncate(to: float) -> Callable[[Path], object]:
    def damage(path: Path) -> None:
        os.truncate(path, int(path.stat().st_size * to))

    return damage


def replace(text: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(text)


def run(statement: str) -> Callable[[Path], object]:
    def damage(path: Path) -> None:
        with sqlite3.connect(path) as connection:
            connection.executescript(statement)
        connection.close()

    return damage


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE = {
    "lost": Path.unlink,
    "empty": replace(b""),
    "half": truncate(0.5),
    "a page": truncate(0.1),
    "no database": replace(b"SQLite format 3\0" + bytes(4080)),
    "text": replace(b"no database at all" * 100),
    "another version": run("PRAGMA user_version = 99"),
    "another program": run("PRAGMA application_id = 7"),
    "another directory": run("UPDATE about SET data = X'00'"),
    "no directory": run("DELETE FROM about"),
    "no table": run("DROP TABLE chats"),
    "no column": run("ALTER TABLE users DROP COLUMN messages"),
    "wrong types": run("UPDATE users SET name = id"),
    "no blobs": run("UPDATE users SET name = CAST(name AS TEXT) || X'FF'"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_catalog_is_built_anew(
    data: Application, state: Path, damage: Callable[[Path], object]
) -> None:
    asking(data, state)
    damage(state / CATALOG_NAME)
    data.prepend_chat("bob", chat(999))
    answer, findings = asking(data, state)
    assert answer == said_anew(data.folder)
    assert findings in ([], ["catalog-rebuilt"])
    assert asking(data, state) == (answer, [])


def test_a_damaged_catalog_is_built_anew_also_if_only_its_state_is_asked_for(
    data: Application, state: Path
) -> None:
    asking(data, state)
    (state / CATALOG_NAME).write_bytes(b"no database")
    assert asking(data, state, stale=True)[0] == said_anew(data.folder)


def test_a_flipped_byte_anywhere_keeps_no_question_from_an_answer(
    data: Application, state: Path
) -> None:
    asking(data, state)
    whole = (state / CATALOG_NAME).read_bytes()
    for at in range(0, len(whole), 997):
        flipped = bytearray(whole)
        flipped[at] ^= 0xFF
        (state / CATALOG_NAME).write_bytes(flipped)
        options = CatalogOptions(data=str(data.folder), state=str(state), jobs=1)
        page = ask(
            options, lambda found: users_page(found, Listing(), 5, None), CollectingMonitor()
        )
        assert page.entries


def test_without_a_place_for_a_catalog_questions_are_answered(
    data: Application, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    answer, findings = asking(data, tmp_path / "file" / "state")
    assert answer == said_anew(data.folder)
    assert findings == ["catalog-not-kept"]


def test_a_folder_in_the_catalogs_place_keeps_no_question_from_an_answer(
    data: Application, state: Path
) -> None:
    (state / CATALOG_NAME).mkdir(parents=True)
    answer, findings = asking(data, state)
    assert answer == said_anew(data.folder)
    assert findings == ["catalog-not-kept"]


def test_while_another_process_changes_it_the_state_before_is_told(
    data: Application, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation, "WAIT_S", 0.0)
    before, _ = asking(data, state)
    data.prepend_chat("bob", chat(999))
    with open(state / "catalog.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert asking(data, state) == (before, ["catalog-busy"])
        (state / CATALOG_NAME).unlink()
        assert asking(data, state) == (said_anew(data.folder), ["catalog-not-kept"])
    assert asking(data, state)[0] != before


def test_a_stale_answer_does_not_look_at_the_directory(data: Application, state: Path) -> None:
    before, _ = asking(data, state)
    data.prepend_chat("bob", chat(999))
    assert asking(data, state, stale=True) == (before, [])
    assert asking(data, state)[0] != before


def test_users_stay_whose_folder_cannot_be_listed(data: Application, state: Path) -> None:
    before, _ = asking(data, state)
    (data.folder / "histories").rename(data.folder / "elsewhere")
    (data.folder / "histories").symlink_to("elsewhere")
    answer, findings = asking(data, state)
    assert "not-a-folder" in findings
    assert answer == before


def test_a_missing_directory_is_an_error_and_the_catalog_stays(
    data: Application, state: Path
) -> None:
    before, _ = asking(data, state)
    data.folder.rename(data.folder.with_name("away"))
    with pytest.raises(DataDirectoryError):
        asking(data, state)
    assert asking(data, state, stale=True)[0] == before


def killed_at(statement: int, data: Application, state: Path) -> bool:
    """Ask in a process that is killed before one of its statements; say whether it was."""
    child = os.fork()
    if child == 0:
        count = 0

        def kill_at(_: str) -> None:
            nonlocal count
            count += 1
            if count == statement:
                os._exit(9)

        real = sqlite3.connect

        def connect(*words: Any, **named: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = real(*words, **named)
            connection.set_trace_callback(kill_at)
            return connection

        sqlite3.connect = connect  # type: ignore[assignment]
        try:
            asking(data, state)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("built", [False, True], ids=["building", "refreshing"])
def test_killed_at_any_statement_the_next_answer_is_right(
    tmp_path: Path, state: Path, built: bool
) -> None:
    data = Application(tmp_path / "data")
    data.add_user("anna", [chat(1), chat(2)])
    data.add_user("ben", [chat(3)])
    settle(data.folder)
    if built:
        asking(data, state)
    statement, round_ = 1, 0
    while True:
        data.prepend_chat("anna", chat(100 + statement))
        if not built and (state / CATALOG_NAME).exists():
            (state / CATALOG_NAME).unlink()
        if not killed_at(statement, data, state):
            break
        answer, findings = asking(data, state)
        assert answer == said_anew(data.folder), statement
        assert findings == []
        statement += 1 if statement < 40 else 7
        round_ += 1
    assert round_ > 20


def test_a_catalog_is_read_whatever_the_folder_is_called(tmp_path: Path) -> None:
    path = tmp_path / "100%41?mode=rw#字 &.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
    KnownUsers(str(path)).close()
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
