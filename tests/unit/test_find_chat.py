"""One meaning of a chat's name: what is shown under it, restored under it, and put in place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.model.errors import (
    ChatNotFound,
    HistoryNotFound,
    ObjectDamaged,
    UsageError,
)
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.restore import RestoreOptions, restore
from shenyu_data.operations.restore_live import LiveOptions, plan_in_place
from shenyu_data.operations.show import show_chat, show_user
from shenyu_data.operations.timeline import TimelineOptions, timeline
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application
from shenyu_data.testing.damage import flip
from shenyu_data.testing.scenario import take

HISTORIES = "histories/bob"


def written(*items: dict[str, Any]) -> bytes:
    return json.dumps(items).encode()


def chat(identity: object, words: str) -> dict[str, Any]:
    return {"id": identity, "messages": [{"role": "user", "content": words}]}


class Place:
    """A data directory with one user, bob, and a repository in memory."""

    def __init__(self, folder: Path) -> None:
        self.storage = MemoryStorage()
        self.repository: Repository
        self.repository, _ = create_repository(self.storage, "correct horse")
        self.folder = folder
        self.data = Application(folder / "data")
        self.data.write("users/bob.json", {"id": "bob"})
        self.root = self.repository.root

    def write(self, name: str, data: bytes) -> None:
        self.data.write(f"{HISTORIES}/{name}", data)

    def take(self) -> bytes:
        self.snapshot = take(self.repository, self.data).snapshot
        return self.snapshot

    def restored(self, wanted: str | None, history: bytes | None = None) -> dict[str, bytes]:
        """Restore into a new folder; return the histories there."""
        target = self.folder / f"target-{len(list(self.folder.iterdir()))}"
        options = RestoreOptions(user=b"bob", chat=wanted, history=history)
        root = self.root(self.snapshot)
        restore(self.repository, root, str(target), options, CollectingMonitor())
        return {path.name: path.read_bytes() for path in (target / HISTORIES).iterdir()}

    def shown(self, wanted: str) -> list[str]:
        """Say in which histories the chat is shown."""
        root, monitor = self.root(self.snapshot), CollectingMonitor()
        found = show_chat(self.repository, root, b"bob", wanted, monitor)
        return [item.document.path.rpartition("/")[2] for item in found]

    def plan(self, **more: Any) -> list[tuple[str, str, str | None]]:
        """Say what an in-place restore would do: document, action, conflict."""
        options = LiveOptions(user=b"bob", state=str(self.folder / "state"), **more)
        root, monitor = self.root(self.snapshot), CollectingMonitor()
        data = str(self.data.folder)
        plan = plan_in_place(self.repository, root, data, options, monitor)
        return [(item.path.rpartition("/")[2], item.action, item.conflict) for item in plan.items]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("identity", [17, "17", 17.0])
def test_a_number_and_the_same_digits_in_a_string_are_one_name(
    place: Place, identity: object
) -> None:
    one = chat(identity, "hello")
    place.write("chat-history.json", written(chat(16, "before"), one))
    place.take()
    assert place.shown("17") == ["chat-history.json"]
    assert json.loads(place.restored("17")["chat-history.json"]) == [one]
    assert place.plan(chat="17") == [("chat-history.json", "unchanged", None)]
    options = TimelineOptions(user=b"bob", chat="17")
    assert len(timeline(place.repository, options, CollectingMonitor()).versions) == 1


def test_a_chat_without_an_id_alone_in_its_file_goes_by_the_files_name(place: Place) -> None:
    data = b'{"messages": [{"role": "user", "content": "alone"}]}'
    place.write("chat1.json", data)
    place.write("chat2.json.gz", gzip.compress(data))
    place.take()
    for wanted, name in (("chat1", "chat1.json"), ("chat2", "chat2.json.gz")):
        assert place.shown(wanted) == [name]
    assert place.restored("chat1") == {"chat1.json": data}
    assert place.plan(chat="chat1") == [("chat1.json", "unchanged", None)]


def test_a_chat_of_a_compressed_history_comes_back_compressed(place: Place) -> None:
    one = chat(2, "packed")
    place.write("old.json.gz", gzip.compress(written(chat(1, "other"), one)))
    place.take()
    found = place.restored("2")
    assert list(found) == ["old.json.gz"]
    assert json.loads(gzip.decompress(found["old.json.gz"])) == [one]


def test_a_chat_of_a_compressed_history_is_not_put_in_place_and_it_is_said_why(
    place: Place,
) -> None:
    place.write("old.json.gz", gzip.compress(written(chat(2, "packed"))))
    place.take()
    with pytest.raises(UsageError, match=r"compressed history old\.json\.gz") as raised:
        place.plan(chat="2")
    assert "--to" in raised.value.hint


def test_a_plain_history_comes_before_a_compressed_one_of_the_same_key(place: Place) -> None:
    place.write("h.json", written(chat(1, "plain")))
    place.write("h.json.gz", gzip.compress(written(chat(1, "packed"))))
    place.take()
    assert json.loads(place.restored("1")["h.json"]) == [chat(1, "plain")]
    assert place.plan(chat="1") == [("h.json", "unchanged", None)]


def test_a_compressed_history_is_restored_by_its_storage_key(place: Place) -> None:
    data = gzip.compress(written(chat(2, "packed")))
    place.write("old.json.gz", data)
    place.write("new.json", written(chat(3, "plain")))
    place.take()
    assert place.restored(None, b"old") == {"old.json.gz": data}
    (place.data.folder / HISTORIES / "old.json.gz").unlink()
    assert place.plan(history=b"old") == [("old.json.gz", "create", None)]
    with pytest.raises(HistoryNotFound, match="no history nosuch") as raised:
        place.restored("3", b"nosuch")
    assert raised.value.hint.endswith("There are: new, old.")


def test_a_chat_in_several_histories_must_be_told_apart(place: Place) -> None:
    for name in ("a.json", "b.json.gz"):
        data = written(chat(1, name))
        place.write(name, gzip.compress(data) if name.endswith("gz") else data)
    place.take()
    assert place.shown("1") == ["a.json", "b.json.gz"]
    with pytest.raises(UsageError, match=r"several histories have a chat 1: a, b$"):
        place.restored("1")
    assert json.loads(place.restored("1", b"a")["a.json"]) == [chat(1, "a.json")]


def test_histories_that_were_not_looked_into_are_named(place: Place) -> None:
    place.write("bomb.json.gz", gzip.compress(b"[" + b" " * (33 << 20) + b"]"))
    place.write("torn.json", b'[{"id": 1, "mess')
    place.take()
    with pytest.raises(ChatNotFound) as raised:
        place.restored("1")
    assert "bomb.json.gz: too large" in raised.value.hint
    assert "torn.json" in raised.value.hint


def test_a_damaged_history_does_not_hide_a_chat_of_a_sound_one(place: Place) -> None:
    place.write("a.json", written(chat(1, "sound")))
    place.take()
    pack = {info.name for info in place.storage.list("packs")}
    place.write("b.json", written(chat(2, "lost")))
    place.take()
    (new,) = {info.name for info in place.storage.list("packs")} - pack
    flip(new, -1).apply(place.storage)
    assert len(show_user(place.repository, place.root(place.snapshot), b"bob")) == 3
    assert json.loads(place.restored("1")["a.json"]) == [chat(1, "sound")]
    with pytest.raises(ObjectDamaged):
        place.restored("2")
