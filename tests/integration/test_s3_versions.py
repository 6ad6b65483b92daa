"""Erasing in buckets that keep old versions or lock objects: they go, or the receipt says when."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.erase import EraseOptions, EraseStats, erase, plan_erase
from shenyu_data.repository.receipts import Receipt
from shenyu_data.repository.repository import create_repository
from shenyu_data.storage.objectstore import ObjectStorage
from shenyu_data.storage.open import open_storage
from shenyu_data.storage.protocol import OldVersions, Storage
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.scenario import PASSPHRASE, take
from shenyu_data.testing.storage_suite import StorageSuite
from shenyu_data.testing.versions import VersioningServer

LOCATION = "s3://bucket/prefix"
LOCKED_UNTIL = "2999-01-02T03:04:05Z"
DAY_S = 86400


def rule(days: int, inside: str = "<Filter><Prefix></Prefix></Filter>") -> str:
    return (
        '<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule>'
        f"<Status>Enabled</Status>{inside}<NoncurrentVersionExpiration><NoncurrentDays>{days}"
        "</NoncurrentDays></NoncurrentVersionExpiration></Rule></LifecycleConfiguration>"
    )


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[VersioningServer]:
    with VersioningServer() as server:
        for variable, value in server.environment().items():
            monkeypatch.setenv(variable, value)
        yield server


class TestABucketThatKeepsVersions(StorageSuite):
    keeps_versions = True

    @pytest.fixture
    def storage(self, server: VersioningServer) -> Storage:
        return open_storage(LOCATION)


def erased(server: VersioningServer, folder: Path, kept_s: int | None = None) -> Receipt:
    """Erase one of two users in a new repository; return the receipt."""
    data = Application(folder / "data")
    data.add_user("anna", [chat(1)])
    data.add_user("ben", [chat(2)])
    for path in data.folder.rglob("*.json"):
        os.utime(path, (0, 0))  # ben was not active lately: nobody waits for more to come
    repository, _ = create_repository(open_storage(LOCATION), PASSPHRASE)
    take(repository, data)
    plan = plan_erase(str(data.folder), repository, b"ben")
    options = EraseOptions(
        receipt=str(folder / "receipt.json"), state=str(folder / "state"), versions_kept_s=kept_s
    )
    stats: EraseStats = erase(str(data.folder), repository, plan, options, CollectingMonitor())
    assert stats.receipt is not None
    assert not any(
        item.key.removeprefix("prefix/") in stats.destroyed_objects and item.data is not None
        for item in server.current().values()
    )
    return stats.receipt


def seconds(date: str | None) -> float:
    assert date is not None
    return datetime.fromisoformat(date).timestamp()


def test_old_versions_of_keys_go_at_once_where_that_is_allowed(
    server: VersioningServer, tmp_path: Path
) -> None:
    receipt = erased(server, tmp_path)
    assert server.remaining("prefix/keys/") == []
    assert (receipt.storage.keeps_versions, receipt.storage.old_versions) == (True, 0)
    assert receipt.erased_for_good_at == receipt.completed_at
    assert receipt.reservations == []


def test_locked_versions_are_told_with_the_end_of_the_lock(
    server: VersioningServer, tmp_path: Path
) -> None:
    server.lock_until = LOCKED_UNTIL
    receipt = erased(server, tmp_path)
    assert len(server.remaining("prefix/keys/")) == receipt.storage.old_versions == 2
    assert receipt.storage.locked_until == LOCKED_UNTIL
    assert receipt.erased_for_good_at is None  # nothing removes them when the lock ends
    assert [item.code for item in receipt.reservations] == ["versions-kept-unknown"]


@pytest.mark.parametrize("kept_s", [None, 0, 30 * DAY_S])
def test_what_removes_versions_has_to_wait_for_the_lock(
    server: VersioningServer, tmp_path: Path, kept_s: int | None
) -> None:
    server.lock_until = LOCKED_UNTIL
    server.lifecycle = rule(3)
    assert erased(server, tmp_path, kept_s).erased_for_good_at == LOCKED_UNTIL


def test_a_lifecycle_rule_gives_the_date_of_what_we_may_not_destroy(
    server: VersioningServer, tmp_path: Path
) -> None:
    server.forbidden = {"destroy"}
    server.lifecycle = rule(3)
    receipt = erased(server, tmp_path)
    assert receipt.storage.old_versions == 2
    good_s = seconds(receipt.erased_for_good_at)
    assert good_s % DAY_S == 0
    assert 3 * DAY_S <= good_s - seconds(receipt.completed_at) <= 4 * DAY_S


def test_nobody_knows_the_end_of_a_legal_hold(server: VersioningServer, tmp_path: Path) -> None:
    server.lifecycle = rule(3)
    storage = ObjectStorage(LOCATION)
    storage.put("keys/a", [b"x"])
    server.kept[0].held = True
    storage.destroy("keys/a")
    old = storage.old_versions("keys")
    assert old is not None
    assert (old.left, old.held) == (1, True)
    assert erased(server, tmp_path, 30 * DAY_S).erased_for_good_at is None


def test_a_bucket_that_does_not_show_its_versions_gives_no_date(
    server: VersioningServer, tmp_path: Path
) -> None:
    server.forbidden = {"versions"}
    server.lifecycle = rule(3)
    receipt = erased(server, tmp_path)
    assert receipt.storage.old_versions is None
    assert receipt.erased_for_good_at is None
    assert len(server.remaining("prefix/keys/")) == 2


@pytest.mark.parametrize(
    "inside",
    [
        "<Filter><Prefix>other/</Prefix></Filter>",
        "<Filter><Tag><Key>a</Key><Value>b</Value></Tag></Filter>",
        "<Filter><And><Prefix></Prefix></And></Filter>",
        "<Prefix>prefix/packs</Prefix>",
    ],
)
def test_a_rule_for_other_objects_gives_no_date(server: VersioningServer, inside: str) -> None:
    server.forbidden = {"destroy"}
    storage = ObjectStorage(LOCATION)
    storage.put("keys/a", [b"x"])
    storage.destroy("keys/a")
    server.lifecycle = rule(3, inside)
    assert storage.old_versions("keys") == OldVersions(1)
    server.lifecycle = rule(3, "<Prefix>prefix/keys</Prefix>")
    old = storage.old_versions("keys")
    assert old is not None
    assert old.expires_s is not None
    assert old.expires_s > time.time() + 3 * DAY_S


def test_destroying_takes_all_versions_of_that_object_and_of_no_other(
    server: VersioningServer,
) -> None:
    storage = ObjectStorage(LOCATION)
    for name in ("keys/a", "keys/a.copy", "packs/a"):
        for content in (b"1", b"2", b"3"):
            storage.put(name, [content])
            storage.delete(name)
        storage.put(name, [b"4"])
    storage.destroy("keys/a")
    assert storage.old_versions("keys") == OldVersions(3)  # of the copy
    assert {item.key for item in server.kept} == {"prefix/keys/a.copy", "prefix/packs/a"}
    assert storage.read("keys/a.copy") == storage.read("packs/a") == b"4"


def test_an_older_version_that_is_locked_does_not_come_back_to_light(
    server: VersioningServer,
) -> None:
    storage = ObjectStorage(LOCATION)
    storage.put("keys/a", [b"old"])
    server.kept[0].locked_until = LOCKED_UNTIL
    storage.delete("keys/a")
    storage.put("keys/a", [b"new"])
    storage.destroy("keys/a")
    assert list(storage.list("keys")) == []
    old = storage.old_versions("keys")
    assert old is not None
    assert old.locked_s == datetime(2999, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()


def test_without_keys_at_hand_it_says_that_it_does_not_know(
    server: VersioningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = ObjectStorage(LOCATION)
    storage.put("keys/a", [os.urandom(10)])
    assert storage.old_versions("keys") == OldVersions(0)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "")
    assert storage.old_versions("keys") is None
