"""Versions of users, histories and chats across snapshots, and finding chats by their words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.errors import (
    ChatNotFound,
    HistoryNotFound,
    OwnerErased,
    OwnerNotFound,
    UsageError,
)
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.model.words import fold
from shenyu_data.operations.search import SearchOptions, SearchStats, search
from shenyu_data.operations.timeline import TimelineOptions, TimelineStats, timeline
from shenyu_data.repository.erasure import destroy_keys
from shenyu_data.repository.format import COPY_SUFFIX
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.damage import flip
from shenyu_data.testing.recording import RecordingStorage
from shenyu_data.testing.scenario import take

HISTORY = "histories/bob/chat-history.json"


class Story:
    """A repository in memory and the directory of one user, bob, and his neighbour."""

    def __init__(self, folder: Path) -> None:
        self.storage = MemoryStorage()
        self.repository, _ = create_repository(self.storage, "correct horse")
        self.data = Application(folder)
        self.data.add_user("anna", [chat(1)])
        self.data.add_user("bob", [chat(10)])
        self.ids: list[str] = []
        self.monitor = CollectingMonitor()

    def take(self, *, full: bool = False) -> str:
        self.ids.append(take(self.repository, self.data, full=full).snapshot.hex())
        return self.ids[-1]

    def drop(self, snapshot: str) -> None:
        for suffix in ("", COPY_SUFFIX):
            self.storage.delete(f"snapshots/{snapshot}{suffix}")

    def timeline(
        self, user: str = "bob", history: str | None = None, chat: str | None = None
    ) -> TimelineStats:
        options = TimelineOptions(
            user=user.encode(), history=history.encode() if history else None, chat=chat
        )
        return timeline(self.repository, options, self.monitor)

    def told(self, **what: Any) -> list[tuple[int | None, str, int, int]]:
        """Say version, state, and the first and last snapshot's number of each line."""
        return [
            (item.number, item.state, self.ids.index(item.first), self.ids.index(item.last))
            for item in self.timeline(**what).versions
        ]

    def search(self, words: str, **more: Any) -> SearchStats:
        options = SearchOptions(user=b"bob", words=words, **more)
        return search(self.repository, options, self.monitor)


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path / "data")


def test_what_stays_the_same_is_one_version_whatever_the_snapshots_kind(story: Story) -> None:
    for full in (True, False, True, False):
        story.take(full=full)
    assert story.told() == [(1, "whole", 0, 3)]
    assert story.told(history="chat-history") == [(1, "whole", 0, 3)]
    assert story.told(chat=str(chat(10)["id"])) == [(1, "whole", 0, 3)]


def test_every_change_is_a_version_with_its_counts(story: Story) -> None:
    story.take()
    story.data.prepend_chat("bob", chat(11, messages=6))
    story.take()
    story.data.prepend_chat("anna", chat(2))
    story.take()
    assert story.told(history="chat-history") == [(1, "whole", 0, 0), (2, "whole", 1, 2)]
    first, second = story.timeline().versions
    assert (first.chats, first.messages, first.documents) == (1, 4, 2)
    assert (second.chats, second.messages, second.snapshots) == (2, 10, 2)
    assert story.told(chat=str(chat(11)["id"])) == [(1, "whole", 1, 2)]


def test_a_gap_is_told_and_what_comes_back_keeps_its_number(story: Story) -> None:
    before = (story.data.folder / HISTORY).read_bytes()
    story.take()
    story.data.remove(HISTORY)
    story.take()
    story.data.write(HISTORY, before)
    story.take()
    story.data.remove(HISTORY)
    story.take()
    told = [(1, "whole", 0, 0), (None, "absent", 1, 1), (1, "whole", 2, 2), (None, "absent", 3, 3)]
    assert story.told(history="chat-history") == told
    assert story.told(chat=str(chat(10)["id"])) == told


def test_a_user_who_goes_and_comes_back_leaves_a_gap(story: Story) -> None:
    story.take()
    user = (story.data.folder / "users/bob.json").read_bytes()
    history = (story.data.folder / HISTORY).read_bytes()
    story.data.remove("users/bob.json")
    story.data.remove(HISTORY)
    (story.data.folder / "histories/bob").rmdir()
    story.take()
    story.take(full=True)
    story.data.write("users/bob.json", user)
    story.data.write(HISTORY, history)
    story.take()
    assert story.told() == [(1, "whole", 0, 0), (None, "absent", 1, 2), (1, "whole", 3, 3)]


def test_a_torn_history_names_its_last_good_version(story: Story) -> None:
    story.take()
    story.data.write(HISTORY, b'[{"id": 1, "mess')
    story.take()
    story.data.add_user("bob", [chat(12)])
    story.take()
    told = [(1, "whole", 0, 0), (2, "torn", 1, 1), (3, "whole", 2, 2)]
    assert story.told(history="chat-history") == told
    assert story.timeline(history="chat-history").versions[1].good == 1
    by_chat = story.timeline(chat=str(chat(10)["id"])).versions
    assert [(item.state, item.good) for item in by_chat] == [
        ("whole", None),
        ("torn", 1),
        ("absent", None),
    ]


def test_a_last_good_version_whose_snapshot_is_gone_is_a_version(story: Story) -> None:
    gone = story.take()
    story.data.write(HISTORY, b'[{"id": 1, "mess')
    story.take()
    story.take()
    story.drop(gone)
    for what in ({"history": "chat-history"}, {"chat": str(chat(10)["id"])}):
        pinned, torn = story.timeline(**what).versions
        assert (pinned.state, pinned.number, pinned.snapshots) == ("pinned", 1, 2)
        assert (torn.state, torn.good) == ("torn", 1)
        assert pinned.messages == 4


def test_a_chat_is_the_same_however_it_is_written(story: Story) -> None:
    story.take()
    story.data.write(HISTORY, json.dumps([chat(10)], sort_keys=True).encode())
    story.take()
    assert story.told(chat=str(chat(10)["id"])) == [(1, "whole", 0, 1)]
    assert len(story.told(history="chat-history")) == 2


def test_an_id_is_found_as_a_number_or_as_text(story: Story) -> None:
    story.data.write(HISTORY, [{"id": "77", "messages": []}, {"id": 78, "messages": []}])
    story.take()
    assert story.told(chat="77") == [(1, "whole", 0, 0)]
    assert story.told(chat="78") == [(1, "whole", 0, 0)]


def test_a_chat_without_id_goes_by_its_files_name(story: Story) -> None:
    story.data.write("histories/bob/talk.json", {"messages": [{"role": "user", "content": "x"}]})
    story.take()
    (version,) = story.timeline(chat="talk").versions
    assert (version.history, version.messages) == ("talk", 1)


def test_a_chat_in_two_histories_is_told_of_each(story: Story) -> None:
    story.data.write("histories/bob/sn43-history.json", [chat(10)])
    story.take()
    found = story.timeline(chat=str(chat(10)["id"])).versions
    assert [item.history for item in found] == ["chat-history", "sn43-history"]


def test_what_is_nowhere_is_a_usage_error(story: Story) -> None:
    story.take()
    with pytest.raises(OwnerNotFound):
        story.timeline(user="nobody")
    with pytest.raises(HistoryNotFound):
        story.timeline(history="nothing")
    with pytest.raises(ChatNotFound):
        story.timeline(chat="12")
    with pytest.raises(OwnerNotFound):
        search(story.repository, SearchOptions(user=b"no", words="x"), story.monitor)
    with pytest.raises(UsageError):
        story.search("  ")


def test_a_damaged_manifest_leaves_a_hole_and_the_rest_is_told(story: Story) -> None:
    story.take(full=True)
    before = set(story.storage.objects)
    story.data.prepend_chat("bob", chat(11))
    story.take(full=True)
    (manifest,) = (
        name for name in set(story.storage.objects) - before if name.startswith("manifests/")
    )
    story.data.prepend_chat("bob", chat(12))
    story.take(full=True)
    for position in range(8, len(story.storage.objects[manifest]), 16):
        flip(manifest, position).apply(story.storage)
    stats = story.timeline(history="chat-history")
    assert [item.state for item in stats.versions] == ["whole", "damaged", "whole"]
    assert stats.damaged == 1
    assert manifest in story.monitor.findings[0].message


def test_a_damaged_pack_hides_only_the_versions_that_lie_in_it(story: Story) -> None:
    story.take()
    before = set(story.storage.objects)
    story.data.write(HISTORY, [{"id": 1, "messages": [], "title": "quite another 苹果"}])
    story.take()
    (pack,) = (name for name in set(story.storage.objects) - before if name.startswith("packs/"))
    flip(pack, -1).apply(story.storage)
    assert [item.state for item in story.timeline(history="chat-history").versions] == [
        "whole",
        "whole",
    ]  # no document is read for that
    stats = story.timeline(chat=str(chat(10)["id"]))
    assert [item.state for item in stats.versions] == ["whole", "damaged"]
    assert stats.damaged == 1
    found = story.search("对话")
    assert (found.found, found.damaged) == (1, 1)


def test_a_damaged_snapshot_is_named_and_left_out(story: Story) -> None:
    first = story.take()
    story.take()
    for suffix in ("", COPY_SUFFIX):
        flip(f"snapshots/{first}{suffix}", -1).apply(story.storage)
    stats = story.timeline()
    assert (stats.snapshots, stats.damaged) == (1, 1)


def test_an_erased_user_is_told_and_what_came_since_too(story: Story) -> None:
    story.take()
    keys = story.repository.keys
    destroy_keys(story.storage, keys, keys.user_pseudonym(b"bob"), 1)
    with pytest.raises(OwnerErased):
        story.timeline()
    with pytest.raises(OwnerErased):
        story.search("对话")
    story.data.write(HISTORY, [chat(99)])
    story.take(full=True)
    assert story.told(history="chat-history") == [(1, "whole", 1, 1)]
    assert story.search("对话").found == 1
    assert story.monitor.findings == []


def test_without_a_keyring_nothing_is_told_and_that_is_damage(story: Story) -> None:
    story.take()
    for name in [name for name in story.storage.objects if name.startswith("keys/")]:
        story.storage.delete(name)
    stats = story.timeline()
    assert (stats.versions, stats.damaged) == ([], 1)


def test_of_many_snapshots_only_the_users_bucket_is_read_and_each_layer_once(
    story: Story,
) -> None:
    story.take(full=True)
    for number in range(6):
        story.data.prepend_chat("bob", chat(20 + number))
        story.take()
    recording = RecordingStorage(story.storage)
    repository = Repository(recording, story.repository.keys)
    options = TimelineOptions(user=b"bob", history=b"chat-history")
    assert len(timeline(repository, options, story.monitor).versions) == 7
    assert len(recording.of("read", "manifests")) == 7 * 2  # an index and a record for each
    assert recording.of("read", "packs") == []


# --------------------------------------------------------------------------------------- search


def say(number: int, *words: str, title: str = "") -> dict[str, Any]:
    return {
        "id": number,
        "title": title,
        "messages": [{"role": "user", "content": word} for word in words],
    }


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("apple", [1]),
        ("APPLE", [1]),
        ("pear apple", [1]),  # all of them, in whatever messages
        ("apple nothing", []),
        ("喜欢吃苹", [2]),  # a part of a sentence without blanks
        ("strasse", [3]),
        ("ＷＩＤＥ", [3]),  # the same letters, wide
        ("title", [4]),
        ("café", [5]),
    ],
)
def test_words_are_found(words: str, found: list[int], story: Story) -> None:
    said = [
        say(1, "an Apple a day", "and a pear"),
        say(2, "我最喜欢吃苹果了"),
        say(3, "Hauptstraße wide"),
        say(4, "x", title="A Title"),
        say(5, "cafe\u0301"),
    ]
    story.data.write(HISTORY, said)
    story.take()
    stats = story.search(words)
    assert [item.id for item in stats.matches] == [str(number) for number in found]
    assert stats.found == len(found)


def test_a_version_of_a_chat_is_found_once_with_its_first_and_last_snapshot(story: Story) -> None:
    story.data.write(HISTORY, [say(1, "apple")])
    story.take()
    story.data.prepend_chat("bob", say(2, "pear"))
    story.take()
    story.data.write(HISTORY, [say(2, "pear"), say(1, "apple", "and more apple")])
    story.take()
    story.data.write(HISTORY, [say(2, "pear")])
    story.take()
    found = story.search("apple").matches
    assert [(item.messages, item.first, item.last) for item in found] == [
        (2, story.ids[2], story.ids[2]),
        (1, story.ids[0], story.ids[1]),
    ]


def test_a_deleted_chat_in_a_torn_historys_last_good_version_is_found(story: Story) -> None:
    story.data.write(HISTORY, [say(1, "apple")])
    gone = story.take()
    story.data.write(HISTORY, b"[{")
    story.take()
    story.drop(gone)
    stats = story.search("apple")
    assert [(item.pinned, item.first) for item in stats.matches] == [(True, story.ids[1])]
    assert stats.unsearched == 1
    assert "not searched" in story.monitor.findings[0].message


def test_beyond_the_limit_matches_are_only_counted(story: Story) -> None:
    story.data.write(HISTORY, [say(number, "apple") for number in range(9)])
    story.take()
    stats = story.search("apple", limit=4)
    assert ([item.id for item in stats.matches], stats.found) == (["0", "1", "2", "3"], 9)


def test_the_excerpt_shows_the_word_and_a_little_around_it(story: Story) -> None:
    story.data.write(HISTORY, [say(1, "wind " * 1000 + "Apple" + " rain" * 1000)])
    story.take()
    (match,) = story.search("apple").matches
    assert "Apple" in match.excerpt
    assert len(match.excerpt) < 200
    assert match.excerpt[0] == match.excerpt[-1] == "…"


def test_each_version_of_a_history_is_read_once(story: Story) -> None:
    for number in range(4):
        story.data.prepend_chat("bob", chat(20 + number))
        story.take()
        story.take(full=True)
    stats = story.search("nothing of the kind")
    assert (stats.histories, stats.found, stats.snapshots) == (4, 0, 8)


def test_odd_histories_do_no_harm_to_a_search(story: Story) -> None:
    story.data.write("histories/bob/0.json", b"null")
    story.data.write("histories/bob/1.json", [1, None, "apple", {"messages": [3, {"content": {}}]}])
    story.data.write(
        "histories/bob/2.json", b'[{"id": 5, "messages": [{"content": "apple \\ud83d"}]}]'
    )
    story.data.write("histories/bob/3.json.gz", b"no gzip")
    story.take()
    assert [item.id for item in story.search("apple").matches] == ["5"]


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_a_part_of_a_text_is_found_in_it(before: str, word: str, after: str) -> None:
    if word.isascii():
        assert fold(word) in fold(before.strip() + " " + word + " " + after.strip())
    assert fold(fold(word)) == fold(word)
