"""What differs between two snapshots, or a snapshot and the live directory."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from shenyu_data.model.errors import OwnerErased, OwnerNotFound, UsageError
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.diff import DiffOptions, DiffStats, Target, diff
from shenyu_data.operations.diff_tasks import DiffTotals
from shenyu_data.operations.diff_user import UserDiffStats, diff_user
from shenyu_data.repository.crypto import KEY_BYTES
from shenyu_data.repository.erasure import destroy_keys
from shenyu_data.repository.keyring import write_keyring
from shenyu_data.repository.repository import Repository
from shenyu_data.testing.application import chat, settle
from shenyu_data.testing.damage import flip
from shenyu_data.testing.recording import RecordingStorage
from shenyu_data.testing.scenario import Past, rich_past, take

BOB = "histories/bob/chat-history.json"


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return rich_past(tmp_path / "data")


def side(past: Past, number: int | None) -> Target:
    if number is None:
        return str(past.data.folder)
    return past.repository.root(past.taken[number].snapshot)


def compared(
    past: Past, before: int | None, after: int | None, *, limit: int | None = None
) -> DiffStats:
    options = DiffOptions(limit=limit)
    return diff(
        past.repository, side(past, before), side(past, after), options, CollectingMonitor()
    )


def user(
    past: Past, name: str, before: int | None, after: int | None, monitor: CollectingMonitor
) -> UserDiffStats:
    sides = side(past, before), side(past, after)
    return diff_user(past.repository, *sides, name.encode(), monitor)


def mirrored(totals: DiffTotals) -> DiffTotals:
    """Say what the totals are with the sides exchanged."""
    swap = {"added": "removed", "removed": "added", "before": "after", "after": "before"}
    values = msgspec.structs.asdict(totals)
    turned = {}
    for name, value in values.items():
        what, _, kind = name.rpartition("_")
        turned[f"{what}_{swap[kind]}" if kind in swap else name] = value
    return DiffTotals(**turned)


def test_a_snapshot_differs_in_nothing_from_itself_or_its_full_twin(past: Past) -> None:
    assert past.taken[2].tree == past.taken[3].tree
    for one, other in ((0, 0), (2, 3), (3, 2)):
        stats = compared(past, one, other)
        assert stats.totals == DiffTotals()
        assert stats.owners == []


def test_users_are_told_with_their_documents_chats_and_messages(past: Past) -> None:
    stats = compared(past, 0, 1)
    by_name = {item.user: item for item in stats.owners}
    assert by_name.keys() == {"bob", "dave", "alice", None}  # notes.txt is nobody's
    bob, dave, alice = by_name["bob"], by_name["dave"], by_name["alice"]
    assert (bob.change, bob.documents_changed) == ("changed", 1)
    assert (bob.chats_before, bob.chats_after) == (1, 2)
    assert (bob.messages_before, bob.messages_after) == (40, 44)
    assert (dave.change, dave.documents_added, dave.chats_added) == ("added", 2, 2)
    assert (alice.documents_removed, alice.chats_removed) == (1, 1)
    totals = stats.totals
    assert (totals.users_added, totals.users_removed, totals.users_changed) == (1, 0, 2)
    assert (totals.chats_added, totals.chats_removed) == (3, 1)
    assert stats.owners[0].user == "alice"  # whoever lost most stands first


@pytest.mark.parametrize(("one", "other"), [(0, 1), (0, 4), (1, 3)])
def test_the_sides_exchanged_tell_the_opposite(one: int, other: int, past: Past) -> None:
    forth, back = compared(past, one, other).totals, compared(past, other, one).totals
    assert back == mirrored(forth)
    assert forth != DiffTotals()


def test_the_limit_keeps_the_first_and_counts_all(past: Past) -> None:
    everyone = compared(past, 0, 4)
    assert everyone.found == len(everyone.owners) > 3
    few = compared(past, 0, 4, limit=2)
    assert few.owners == everyone.owners[:2]
    assert (few.found, few.totals) == (everyone.found, everyone.totals)


def test_the_live_directory_is_a_side_like_a_snapshot(past: Past) -> None:
    assert compared(past, 4, None).totals == DiffTotals()
    assert compared(past, None, 4).totals == DiffTotals()
    for number in range(4):
        assert compared(past, number, None).totals == compared(past, number, 4).totals
        assert compared(past, None, number).totals == compared(past, 4, number).totals


def test_what_the_application_writes_now_shows_against_live(past: Past) -> None:
    past.data.prepend_chat("bob", chat(990))
    past.data.write("histories/dave/chat-history.json", [chat(300)])
    past.data.add_user("zoe", [chat(1)])
    settle(past.data.folder)
    stats = compared(past, 4, None)
    assert {item.user for item in stats.owners} == {"bob", "dave", "zoe", None}
    assert (stats.totals.chats_added, stats.totals.chats_removed) == (2, 1)
    assert stats.owners[0].user == "dave"


def test_two_live_sides_are_refused(past: Past) -> None:
    with pytest.raises(UsageError):
        compared(past, None, None)
    with pytest.raises(UsageError):
        user(past, "bob", None, None, CollectingMonitor())


def test_an_attribute_alone_is_another_difference(past: Past) -> None:
    os.chmod(past.data.folder / BOB, 0o600)
    taken = take(past.repository, past.data)
    past.taken.append(taken)
    stats = compared(past, 4, 5)
    assert stats.totals == DiffTotals(users_changed=1, other=1)
    found = user(past, "bob", 4, 5, CollectingMonitor())
    assert [(item.path, item.change) for item in found.documents] == [(BOB, "attributes")]
    assert found.chats == []


def test_one_users_chats_are_told_by_id(past: Past) -> None:
    monitor = CollectingMonitor()
    chats = past.data.chats("bob")
    chats[1]["messages"].append({"role": "user", "content": "more"})
    past.data.write(BOB, [chat(950), *chats[:2]])
    settle(past.data.folder)
    for number in (5, None):
        past.taken.append(take(past.repository, past.data))
        found = user(past, "bob", 4, number, monitor)
        told = {
            (item.id, item.change, item.messages_before, item.messages_after)
            for item in found.chats
        }
        assert told == {
            (str(chat(950)["id"]), "added", 0, 4),
            (str(chats[1]["id"]), "changed", 4, 5),
            (str(chat(200)["id"]), "removed", 40, 0),
        }
    back = user(past, "bob", None, 4, monitor)
    assert {item.change for item in back.chats} == {"added", "changed", "removed"}
    assert monitor.findings == []


def test_a_history_that_is_only_written_otherwise_has_no_chats_that_differ(past: Past) -> None:
    past.data.write(BOB, msgspec.json.encode(past.data.chats("bob")))
    past.taken.append(take(past.repository, past.data))
    found = user(past, "bob", 4, 5, CollectingMonitor())
    assert [item.change for item in found.documents] == ["changed"]
    assert found.chats == []


def test_a_user_who_is_on_one_side_only_is_told_whole(past: Past) -> None:
    found = user(past, "dave", 0, 1, CollectingMonitor())
    assert found.owner is not None
    assert found.owner.change == "added"
    assert [item.change for item in found.chats] == ["added", "added"]
    with pytest.raises(OwnerNotFound):
        user(past, "nobody", 0, None, CollectingMonitor())


def test_a_torn_history_is_named_and_its_chats_are_not_guessed(past: Past) -> None:
    past.data.write(BOB, b'[{"id": 17')
    os.utime(past.data.folder / BOB, ns=(10**18, 10**18))
    past.taken.append(take(past.repository, past.data))
    for number in (5, None):
        monitor = CollectingMonitor()
        found = user(past, "bob", 4, number, monitor)
        assert (found.degraded, found.uncompared, found.chats) == (True, 1, [])
        assert "torn-json" in {item.code for item in monitor.findings}


def test_an_owner_with_two_keys_is_compared_by_bytes(past: Past) -> None:
    """Two backups that meet a user at once make two keys: digests alone then say nothing."""
    keys = past.repository.keys
    pseudonym = keys.user_pseudonym(b"bob")
    bucket = pseudonym[0]
    first = past.repository.keyring().bucket(bucket)[pseudonym]
    while True:  # until the new key is the one that a backup takes
        write_keyring(past.repository.storage, keys, {bucket: [(pseudonym, os.urandom(KEY_BYTES))]})
        if past.repository.keyring().bucket(bucket)[pseudonym][0].key != first[0].key:
            break
    content = (past.data.folder / BOB).read_bytes()
    found = (past.data.folder / BOB).stat()
    past.data.remove(BOB)
    take(past.repository, past.data)
    past.data.write(BOB, content)
    os.utime(past.data.folder / BOB, ns=(found.st_atime_ns, found.st_mtime_ns))
    past.taken.append(take(past.repository, past.data))
    assert [item for item in compared(past, 4, 5).owners if item.documents_changed] == []
    assert [item for item in compared(past, 5, 4).owners if item.documents_changed] == []
    past.data.write(BOB, content.replace(b"fox", b"dog"))
    past.taken.append(take(past.repository, past.data))
    assert compared(past, 4, 6).totals.documents_changed == 1


def test_an_erased_user_is_counted_and_not_guessed(past: Past) -> None:
    keys = past.repository.keys
    destroy_keys(past.repository.storage, keys, keys.user_pseudonym(b"bob"), 1)
    stats = compared(past, 0, 1)
    assert (stats.totals.erased, stats.damaged) == (1, 0)
    assert "bob" not in {item.user for item in stats.owners}
    with pytest.raises(OwnerErased):
        user(past, "bob", 0, 1, CollectingMonitor())


def test_a_damaged_manifest_is_named_and_the_rest_is_compared(past: Past) -> None:
    storage = past.repository.storage
    root = past.repository.root(past.taken[4].snapshot)
    name = f"manifests/{root.manifests[-1].hex()}"
    monitor = CollectingMonitor()
    for position in range(8, len(storage.read(name)), 16):
        flip(name, position).apply(storage)
    stats = diff(past.repository, side(past, 0), side(past, 4), DiffOptions(), monitor)
    assert stats.damaged > 0
    assert len(monitor.findings) == stats.damaged
    assert all(item.severity == "error" for item in monitor.findings)


def test_damaged_packs_matter_only_to_a_users_chats(past: Past) -> None:
    storage = past.repository.storage
    for info in list(storage.list("packs")):
        for position in range(8, len(storage.read(info.name)), 16):
            flip(info.name, position).apply(storage)
    assert compared(past, 0, 4).damaged == 0
    monitor = CollectingMonitor()
    found = user(past, "bob", 0, 4, monitor)
    assert (found.damaged, found.uncompared) == (2, 1)
    assert found.documents != []


def test_what_two_snapshots_share_is_not_read(past: Past) -> None:
    recording = RecordingStorage(past.repository.storage)
    repository = Repository(recording, past.repository.keys)
    sides = side(past, 3), side(past, 3)
    diff(repository, *sides, DiffOptions(), CollectingMonitor())
    assert recording.of("read", "manifests") == []
    assert recording.of("read", "packs") == []


def test_folders_that_cannot_be_listed_make_nobody_look_gone(past: Past) -> None:
    users = past.data.folder / "users"
    users.rename(past.data.folder / "elsewhere")
    users.symlink_to("elsewhere")
    stats = compared(past, 4, None)
    assert not stats.complete
    assert stats.totals.users_removed == 0
