"""The benchmarks' data: the same everywhere, and shaped like the directories it stands for."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.data import SETS, day_of_use, digest, main, make
from benchmarks.documents import json_text

USERS = {"M": 100, "G": 26}


def load(path: Path) -> Any:
    return json.loads(path.read_bytes())


def contents(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def small(name: str, directory: Path, seed: int = 1) -> Path:
    make(replace(SETS[name], users=USERS[name], seed=seed), directory, jobs=1)
    return directory


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory in the application's layout; not to be changed."""
    return small("M", tmp_path_factory.mktemp("application"))


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory in the guide's layout; not to be changed."""
    return small("G", tmp_path_factory.mktemp("guide"))


@pytest.fixture
def copy(application: Path, tmp_path: Path) -> Path:
    """A data directory in the application's layout, to be changed at will."""
    return shutil.copytree(application, tmp_path / "copy")


def test_a_seed_always_gives_the_same_bytes(application: Path, tmp_path: Path) -> None:
    assert digest(small("M", tmp_path / "again")) == digest(application)
    assert digest(small("M", tmp_path / "other", seed=2)) != digest(application)


def test_the_bytes_are_those_of_every_other_machine(application: Path, guide: Path) -> None:
    """Where a change means to alter the data, new digests belong here; old results are void."""
    assert digest(application)[:16] == "aa3b3bf830c2d950"
    assert digest(guide)[:16] == "b07b1b8d85dea951"


def test_processes_do_not_change_the_bytes(application: Path, tmp_path: Path) -> None:
    make(replace(SETS["M"], users=USERS["M"]), tmp_path, jobs=2)
    assert digest(tmp_path) == digest(application)


def test_the_application_layout_has_260_documents_for_100_users(application: Path) -> None:
    paths = contents(application)
    assert len([path for path in paths if path.startswith("users/")]) == 100
    assert len([path for path in paths if path.startswith("histories/")]) == 160
    assert {path.split("/")[-1] for path in paths if path.startswith("histories/")} == {
        "chat-history.json",
        "sn43-history.json",
        "notes-history.json",
    }


def test_an_application_user_is_what_the_application_writes(application: Path) -> None:
    for path in (application / "users").iterdir():
        user = load(path)
        assert list(user) == ["id", "fingerprint", "firstSeen", "lastSeen"]
        assert user["id"] == path.stem and len(path.stem) == 64 and int(path.stem, 16)
        assert user["firstSeen"] <= user["lastSeen"]
        canvas = user["fingerprint"]["canvasFingerprint"]
        assert canvas.startswith("data:image/png;base64,iVBORw0KGgo")


def test_an_application_history_is_an_array_of_chats_newest_first(application: Path) -> None:
    kinds = set()
    for path in (application / "histories").glob("*/*.json"):
        chats = load(path)
        moments = [int(chat["id"]) for chat in chats]
        assert moments == sorted(moments, reverse=True)
        for chat in chats:
            kinds.add(type(chat["id"]))
            assert set(chat) - {"timestamp"} == {"id", "title", "messages"}
            assert {message["role"] for message in chat["messages"]} >= {"user", "assistant"}
    assert kinds == {int, str}


def test_the_guide_layout_has_one_chat_in_each_file(guide: Path) -> None:
    assert len(list((guide / "users").iterdir())) == 26
    chats = [load(path) for path in (guide / "histories").glob("*/*.json")]
    assert len(chats) == 240
    assert all(isinstance(chat["messages"], list) for chat in chats)
    assert all({"id", "created_at"} <= set(load(path)) for path in (guide / "users").iterdir())


def test_documents_are_written_as_the_application_writes_them(
    application: Path, guide: Path
) -> None:
    for content in [*contents(application).values(), *contents(guide).values()]:
        text = content.decode()
        assert text == json.dumps(json.loads(text), ensure_ascii=False, indent=2)


def test_texts_are_both_chinese_and_english(application: Path) -> None:
    histories = contents(application / "histories").values()
    chinese = [content for content in histories if len(content) > 1.5 * len(content.decode())]
    assert 0.3 < len(chinese) / len(histories) < 0.7
    assert any(b"```python" in content for content in histories)


@pytest.mark.parametrize("value", [[], {}, [[]], {"a": {}}, [1, "é\n", None, True, 1.5, {"b": []}]])
def test_json_text_agrees_with_the_standard_library(value: object) -> None:
    assert json_text(value) == json.dumps(value, ensure_ascii=False, indent=2)


@pytest.mark.parametrize("layout", ["application", "guide"])
def test_a_day_of_use_touches_the_stated_fraction(
    layout: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    directory = shutil.copytree(request.getfixturevalue(layout), tmp_path / "copy")
    before = contents(directory)
    day = day_of_use(directory, seed=7, fraction=0.1)
    after = contents(directory)
    changed = {path for path in before if before[path] != after[path]}
    histories = [path for path in before if path.startswith("histories/")]
    assert len(day.histories) == round(0.1 * len(histories))
    assert changed == {*day.histories, *day.users}
    assert after.keys() == before.keys()
    assert day.written_bytes == sum(len(after[path]) for path in changed)
    for path in changed:
        json.loads(after[path])


def test_a_day_of_use_only_adds(copy: Path) -> None:
    before = {path: json.loads(content) for path, content in contents(copy).items()}
    day = day_of_use(copy, seed=3, fraction=0.2)
    chats_added = messages_added = 0
    for path in day.histories:
        old, new = before[path], load(copy / path)
        added = len(new) - len(old)
        assert new[added + 1 :] == old[1:]
        assert new[added]["messages"][: len(old[0]["messages"])] == old[0]["messages"]
        assert added or len(new[0]["messages"]) > len(old[0]["messages"])
        moments = [int(chat["id"]) for chat in new]
        assert moments == sorted(moments, reverse=True)
        chats_added += added
        messages_added += sum(len(chat["messages"]) for chat in new)
        messages_added -= sum(len(chat["messages"]) for chat in old)
    assert (day.chats_added, day.messages_added) == (chats_added, messages_added)
    assert {path.split("/")[1] for path in day.histories} == {Path(path).stem for path in day.users}
    for path in day.users:
        assert load(copy / path)["lastSeen"] > before[path]["lastSeen"]


def test_a_day_of_use_is_the_same_everywhere(application: Path, tmp_path: Path) -> None:
    copies = [shutil.copytree(application, tmp_path / name) for name in ("first", "again")]
    days = [day_of_use(directory, seed=5, fraction=0.1) for directory in copies]
    assert days[0] == days[1]
    assert digest(copies[0]) == digest(copies[1])


def test_files_keep_their_inode_on_a_day_of_use(copy: Path) -> None:
    inodes = {path: path.stat().st_ino for path in copy.rglob("*.json")}
    day_of_use(copy, seed=1, fraction=0.5)
    assert {path: path.stat().st_ino for path in copy.rglob("*.json")} == inodes


def test_a_directory_in_use_is_never_written_to(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(FileExistsError):
        make(SETS["S"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_the_command_line_makes_changes_and_digests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = str(tmp_path / "data")
    assert main(["make", "G", directory, "--users", "13", "--jobs", "1"]) == 0
    assert main(["day", directory, "--fraction", "0.1"]) == 0
    assert main(["digest", directory]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("133 documents")
    assert lines[1].startswith("12 histories")
    assert lines[2] == digest(tmp_path / "data")
