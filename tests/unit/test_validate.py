"""Validating whole directories: what is found, where, in which order, and what is not an error."""

import gzip
import json
import os
import shutil
import socket
from pathlib import Path

import pytest

from shenyu_data.model.errors import DataDirectoryError, UsageError
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.model.records import MAX_PARSED_BYTES
from shenyu_data.operations.validate import ValidateOptions, ValidateStats, locate, validate

HEX = "c77ef81665b1514013781e097fa566d3c879ca04be0c24d3fe6bc554a8810c5c"
CHAT = {
    "id": 1739100649794,
    "title": "你好",
    "messages": [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "Hi"}],
    "timestamp": "2025-02-09T11:30:49.794Z",
}


def write(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2), encoding="utf-8")
    return path


def add_guide_user(data: Path, name: str, chats: int = 2) -> None:
    write(data / f"users/{name}.json", {"id": name, "created_at": "2025-02-10T03:28:00.000Z"})
    for number in range(chats):
        chat = {**CHAT, "model": "deepseek", "settings": {"temperature": 0.7}}
        write(data / f"histories/{name}/chat{number}.json", chat)


def add_application_user(data: Path, name: str) -> None:
    user = {
        "id": name,
        "fingerprint": {"userAgent": "Mozilla/5.0", "fonts": []},
        "firstSeen": "2025-02-10T05:03:00.574Z",
        "lastSeen": "2025-03-21T05:57:09.199Z",
    }
    write(data / f"users/{name}.json", user)
    write(data / f"histories/{name}/chat-history.json", [CHAT, {**CHAT, "id": "1739100055413"}])
    write(data / f"histories/{name}/sn43-history.json", [])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Give an ordinary directory with both layouts and the guide's examples."""
    folder = tmp_path / "data"
    add_guide_user(folder, "anna")
    add_application_user(folder, HEX)
    example = {
        "id": "example-user-id",
        "name": "示例用户",
        "created_at": "2025-02-10T03:28:00.000Z",
    }
    write(folder / "example/user.json", example)
    chats = [{**CHAT, "id": f"example-chat-{number}"} for number in (1, 2)]
    write(folder / "example/history/chat_history.json", chats)
    return folder


def run(data: Path, **options: object) -> tuple[ValidateStats, list[Finding]]:
    monitor = CollectingMonitor()
    stats = validate(str(data), ValidateOptions(jobs=1, **options), monitor)  # type: ignore[arg-type]
    severities = [finding.severity for finding in monitor.findings]
    assert stats.errors == severities.count("error")
    assert stats.warnings == severities.count("warning")
    return stats, monitor.findings


def told(data: Path, *, all: bool = False) -> list[tuple[str, str, str]]:
    return [(one.code, one.severity, one.path) for one in run(data, all=all)[1]]


def test_an_ordinary_directory_of_both_layouts_has_no_finding(data: Path) -> None:
    stats, findings = run(data, all=True)
    assert findings == []
    assert stats.sound
    counted = (stats.users, stats.histories, stats.chats, stats.messages, stats.documents)
    assert counted == (2, 4, 4, 8, 8)
    files = [path for path in data.rglob("*") if path.is_file()]
    assert stats.document_bytes == sum(path.stat().st_size for path in files)


def test_the_close_look_finds_as_little_as_the_quick_one(data: Path) -> None:
    quick, _ = run(data)
    for owner in ("anna", HEX):  # the same two users, each at the slow pace of a scope
        assert run(data, path=f"histories/{owner}", all=True)[1] == []
    for folder in ("users", "histories", "example"):
        run(data, path=folder)
    parts = [run(data, path=folder)[0] for folder in ("users", "histories", "example")]
    for name in ("users", "histories", "chats", "messages", "documents", "document_bytes"):
        assert sum(getattr(part, name) for part in parts) == getattr(quick, name)


def test_findings_are_the_same_whatever_the_number_of_jobs(data: Path) -> None:
    for number in range(700):
        add_guide_user(data, f"user{number}", chats=1)
        if number % 7 == 0:
            (data / f"histories/user{number}/chat0.json").write_text("[{")
        if number % 11 == 0:
            (data / f"users/user{number}.json").unlink()
    results = []
    for jobs in (1, 2, 3):
        monitor = CollectingMonitor()
        stats = validate(str(data), ValidateOptions(jobs=jobs, all=True), monitor)
        counts = (stats.users, stats.documents, stats.errors, stats.warnings)
        results.append((monitor.findings, counts))
    assert len(results[0][0]) == 100 + 64
    assert results[0] == results[1] == results[2]


def test_infos_are_told_only_when_asked_for(data: Path) -> None:
    (data / "notes.txt").write_text("hello")
    stats, findings = run(data)
    assert (findings, stats.infos, stats.sound) == ([], 1, True)
    assert told(data, all=True) == [("unknown-file", "info", "notes.txt")]


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "empty-file"), (b"\0" * 64, "blank-file"), (b'[{"id": 1, "mess', "torn-json")],
)
def test_a_damaged_history_is_an_error(data: Path, content: bytes, code: str) -> None:
    path = data / f"histories/{HEX}/chat-history.json"
    path.write_bytes(content)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    assert told(data) == [(code, "error", f"histories/{HEX}/chat-history.json")]


def test_a_user_without_a_history_is_an_info(data: Path) -> None:
    shutil.rmtree(data / "histories/anna")
    assert told(data, all=True) == [("user-without-history", "info", "users/anna.json")]


def test_a_history_without_a_user_is_a_warning(data: Path) -> None:
    (data / "users/anna.json").unlink()
    assert told(data) == [("history-without-user", "warning", "histories/anna")]


def test_an_empty_folder_of_nobody_is_ordinary(data: Path) -> None:
    (data / "histories/nobody").mkdir()
    assert told(data, all=True) == []


def test_a_compressed_history_is_an_info_and_is_looked_into(data: Path) -> None:
    plain = data / "histories/anna/chat1.json"
    (data / "histories/anna/chat1.json.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    stats, _ = run(data)
    assert stats.messages == 8
    path = "histories/anna/chat1.json.gz"
    assert told(data, all=True) == [("compressed-document", "info", path)]
    (data / path).write_bytes(gzip.compress(b"[{]"))
    assert told(data) == [("not-json", "error", path)]


@pytest.mark.parametrize("path", ["users/anna.json", "histories/anna/chat1.json"])
def test_a_document_both_plain_and_compressed_is_a_warning(data: Path, path: str) -> None:
    (data / f"{path}.gz").write_bytes(gzip.compress((data / path).read_bytes()))
    assert told(data) == [("compressed-twin", "warning", f"{path}.gz")]


def test_an_imported_name_is_an_info_for_the_applications_user_only(data: Path) -> None:
    write(data / f"histories/{HEX}/0.json", [CHAT])
    write(data / "histories/anna/0.json", CHAT)
    assert told(data, all=True) == [("imported-name", "info", f"histories/{HEX}/0.json")]


@pytest.mark.parametrize("name", [".tmp-0a1b2c", "chat-history.json.tmp", "chat1.json~", ".#x"])
def test_what_a_writer_left_behind_is_a_warning(data: Path, name: str) -> None:
    path = data / "histories/anna" / name
    path.write_text("[")
    assert told(data) == [("leftover-file", "warning", f"histories/anna/{name}")]


def test_unknown_files_and_folders_are_infos(data: Path) -> None:
    (data / "histories/anna/old").mkdir()
    write(data / "histories/anna/old/chat1.json", "anything")
    (data / "histories/stray.json").write_text("{}")
    (data / "users/.gitkeep").touch()
    assert sorted(told(data, all=True)) == [
        ("unknown-file", "info", "histories/anna/old"),
        ("unknown-file", "info", "histories/anna/old/chat1.json"),
        ("unknown-file", "info", "histories/stray.json"),
        ("unknown-file", "info", "users/.gitkeep"),
    ]


def test_a_fifo_is_a_warning_and_nobody_waits_for_it(data: Path) -> None:
    os.mkfifo(data / "histories/anna/chat9.json")
    os.mkfifo(data / "users/pipe.json")
    assert sorted(told(data)) == [
        ("special-file", "warning", "histories/anna/chat9.json"),
        ("special-file", "warning", "users/pipe.json"),
    ]


def test_a_socket_is_a_warning(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
    assert told(data) == [("special-file", "warning", "s")]


def test_a_hard_link_is_an_info(data: Path, tmp_path: Path) -> None:
    os.link(data / "histories/anna/chat0.json", tmp_path / "copy.json")
    assert told(data, all=True) == [("hard-link", "info", "histories/anna/chat0.json")]
    assert told(data) == []


def test_links_are_told_by_where_they_lead_and_never_followed(data: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text("not JSON, and nobody should notice")
    folder = data / "histories/anna"
    (folder / "a.json").symlink_to(secret)
    (folder / "b.json").symlink_to("../../../secret.json")
    (folder / "c.json").symlink_to("chat0.json")
    (folder / "d.json").symlink_to(data / "users/nobody.json")
    (folder / "e.json").symlink_to("e.json")
    (data / "users/f.json").symlink_to("../histories/anna/chat0.json")
    assert [one for one in told(data, all=True) if one[0] != "user-without-history"] == [
        ("link-outside", "warning", "histories/anna/a.json"),
        ("link-outside", "warning", "histories/anna/b.json"),
        ("link", "info", "histories/anna/c.json"),
        ("dangling-link", "warning", "histories/anna/d.json"),
        ("link", "info", "histories/anna/e.json"),
        ("link", "info", "users/f.json"),
    ]


def test_a_history_folder_that_is_a_link_is_not_entered(data: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere / "chat0.json", "no history at all")
    shutil.rmtree(data / "histories/anna")
    (data / "histories/anna").symlink_to(elsewhere)
    assert told(data) == [("link-outside", "warning", "histories/anna")]


@pytest.mark.parametrize("name", ["users", "histories"])
def test_a_missing_folder_is_a_warning(data: Path, name: str) -> None:
    shutil.rmtree(data / name)
    assert ("missing-folder", "warning", name) in told(data)


@pytest.mark.parametrize("name", ["users", "histories"])
def test_a_link_in_the_place_of_a_folder_is_an_error(data: Path, name: str) -> None:
    (data / name).rename(data.parent / name)
    (data / name).symlink_to(data.parent / name)
    assert ("not-a-folder", "error", name) in told(data)


def test_an_empty_data_directory_misses_both_folders(tmp_path: Path) -> None:
    assert told(tmp_path) == [
        ("missing-folder", "warning", "histories"),
        ("missing-folder", "warning", "users"),
    ]


@pytest.mark.parametrize(
    ("name", "code", "shown"),
    [
        (b"bad\xff.json", "name-not-utf8", "users/bad\\xff.json"),
        (b"a\x1b[2J\n.json", "hostile-name", "users/a\\x1b[2J\\n.json"),
        ("x\u202egnp.json".encode(), "hostile-name", "users/x\\u202egnp.json"),
        (b"..json", "hostile-name", "users/..json"),
        (b"...json", "hostile-name", "users/...json"),
        (b"..\\..\\x.json", "hostile-name", "users/..\\..\\x.json"),
        (b"x" * 250 + b".json", "hostile-name", "users/" + "x" * 250 + ".json"),
    ],
)
def test_a_hostile_name_is_a_warning_and_is_printed_harmlessly(
    data: Path, name: bytes, code: str, shown: str
) -> None:
    user = {"id": "x", "created_at": "2025-02-10T03:28:00.000Z"}
    (data / "users" / os.fsdecode(name)).write_text(json.dumps(user))
    assert told(data) == [(code, "warning", shown)]


def test_a_chinese_name_is_ordinary(data: Path) -> None:
    add_guide_user(data, "王小明")
    write(data / "histories/王小明/旅行计划.json", CHAT)
    assert told(data, all=True) == []


def test_a_document_of_several_reads_is_read_whole(data: Path) -> None:
    long = {**CHAT, "messages": [{"role": "user", "content": "长" * 100_000}]}
    write(data / f"histories/{HEX}/chat-history.json", [long])
    assert told(data, all=True) == []


def test_a_very_large_document_is_a_warning_and_is_not_read(data: Path) -> None:
    path = data / "histories/anna/chat0.json"
    os.truncate(path, MAX_PARSED_BYTES + 1)
    assert told(data) == [("too-large", "warning", "histories/anna/chat0.json")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_an_error(data: Path) -> None:
    (data / "users/anna.json").chmod(0)
    assert told(data) == [("unreadable-file", "error", "users/anna.json")]


def test_pointers_lead_to_what_is_wrong(data: Path) -> None:
    chats = [CHAT, {**CHAT, "id": 2, "messages": [{"role": "user"}]}]
    write(data / f"histories/{HEX}/chat-history.json", chats)
    (found,) = run(data)[1]
    assert (found.code, found.pointer) == ("missing-field", "/1/messages/0")


# ------------------------------------------------------------------------------- one path


def test_one_file_can_be_validated(data: Path) -> None:
    (data / "users/anna.json").write_text("[")
    (data / "histories/anna/chat0.json").write_text("{")
    stats, findings = run(data, path="histories/anna/chat0.json")
    assert [one.path for one in findings] == ["histories/anna/chat0.json"]
    assert (stats.users, stats.histories, stats.documents) == (0, 1, 1)
    stats, findings = run(data, path="users/anna.json")
    assert [one.path for one in findings] == ["users/anna.json"]
    assert (stats.users, stats.documents) == (1, 1)


def test_one_example_can_be_validated(data: Path) -> None:
    (data / "example/user.json").write_text("[]")
    (found,) = run(data, path="example/user.json")[1]
    assert (found.code, found.path) == ("wrong-type", "example/user.json")


@pytest.mark.parametrize(
    "path", ["users/nobody.json", "../secret", "/etc/passwd", "histories/link/chat0.json"]
)
def test_a_path_that_is_not_in_the_data_directory_is_refused(data: Path, path: str) -> None:
    (data.parent / "secret").touch()
    (data / "histories/link").symlink_to("anna")
    with pytest.raises(UsageError, match="there is no"):
        run(data, path=path)


def test_a_missing_data_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataDirectoryError):
        run(tmp_path / "nowhere")


def test_locate_finds_the_data_directory_of_what_a_person_named(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"histories/{HEX}/chat-history.json"
    assert locate(str(data)) == (str(data), None)
    assert locate(str(data / path)) == (str(data), path)
    assert locate(str(data / path), str(data)) == (str(data), path)
    assert locate(str(data), str(data)) == (str(data), None)
    assert locate(str(data / "users"), str(data.parent / "other")) == (str(data), "users")
    monkeypatch.chdir(data / "users")
    assert locate("anna.json") == (str(data), "users/anna.json")
    monkeypatch.chdir("/")
    assert locate("somewhere") == ("somewhere", None)
