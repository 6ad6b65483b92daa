"""Snapshots copied into another repository: whole, shared, sealed anew, and resumed."""

import os
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import pytest

from shenyu_data.model.errors import ShenyuDataError, StorageFull, UsageError
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations import copy_snapshot
from shenyu_data.operations.copy import CopyOptions, CopyStats, copy, plan_copy
from shenyu_data.repository import packs
from shenyu_data.repository.crypto import KEY_BYTES
from shenyu_data.repository.erasure import destroy_keys
from shenyu_data.repository.format import BUCKETS, OwnerRecord, Root, Segment
from shenyu_data.repository.keyring import write_keyring
from shenyu_data.repository.manifest import SectionReader, layers_of
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.local import LocalStorage
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.storage.protocol import Storage
from shenyu_data.testing.application import Application, chat, settle
from shenyu_data.testing.damage import delete, flip
from shenyu_data.testing.faulty import MOMENTS, Crash, FaultyStorage, Moment
from shenyu_data.testing.recording import RecordingStorage
from shenyu_data.testing.scenario import (
    PASSPHRASE,
    Past,
    Taken,
    bring_back,
    check_whole,
    look,
    rich_past,
    take,
)
from shenyu_data.testing.tree import read_tree

MOST_PUTS = 120


class There(MemoryStorage):
    """Another place than the source's."""

    @property
    def location(self) -> str:
        return f"memory:{id(self)}"


class Done(NamedTuple):
    """What a copy did and said."""

    stats: CopyStats
    findings: list[Finding]


def new_repository(storage: Storage | None = None) -> Repository:
    return create_repository(storage if storage is not None else There(), PASSPHRASE)[0]


def emptied(repository: Repository) -> Repository:
    """Give the repository as it was made: deriving a key from a passphrase takes 0.1 s."""
    assert isinstance(repository.storage, There)
    storage = There()
    for name, data in repository.storage.objects.items():
        if name.partition("/")[0] in ("repository", "dictionary-1", "slots"):
            storage.objects[name] = data
    return Repository(storage, repository.keys)


def bring(
    source: Repository,
    destination: Repository,
    state: Path,
    *wanted: str,
    damaged_too: bool = False,
    jobs: int = 1,
) -> Done:
    monitor = CollectingMonitor()
    plan = plan_copy(source, destination, wanted or None)
    options = CopyOptions(state=str(state), damaged_too=damaged_too, jobs=jobs)
    return Done(copy(source, destination, plan, options, monitor), monitor.findings)


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return rich_past(tmp_path / "data")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def journals(state: Path) -> list[Path]:
    return [path for path in state.rglob("copy-*") if path.is_file()]


def cut_off(past: Past, made: Repository, state: Path) -> None:
    """Let a copy die at its first write after something was noted in its journal."""

    def die_once_noted(name: str) -> None:
        if any(path.stat().st_size for path in journals(state)):
            raise Crash(name)

    with pytest.raises(Crash):
        faulty = FaultyStorage(made.storage, before_put=die_once_noted)
        bring(past.repository, Repository(faulty, made.keys), state)


def test_every_snapshot_restores_from_the_copy_as_from_the_original(
    past: Past, state: Path
) -> None:
    destination = new_repository()
    done = bring(past.repository, destination, state)
    assert done.findings == []
    assert done.stats.copied == [taken.snapshot for taken in past.taken]
    assert look(destination).errors == {}
    kept = ("id", "parent", "sequence", "time_ms", "kind", "tag", "data", "program", "totals")
    for taken in past.taken:
        check_whole(destination, taken)
        ours, theirs = destination.root(taken.snapshot), past.repository.root(taken.snapshot)
        for name in (*kept, "changes", "read_bytes", "elapsed_ms", "incomplete"):
            assert getattr(ours, name) == getattr(theirs, name), name
    assert journals(state) == []


def test_copying_again_copies_nothing(past: Past, state: Path) -> None:
    destination = new_repository()
    first = bring(past.repository, destination, state)
    again = bring(past.repository, destination, state)
    assert again.stats.copied == []
    assert again.stats.present == first.stats.copied
    assert (again.stats.documents, again.stats.stored_bytes) == (0, 0)


def test_snapshots_copied_one_by_one_in_any_order_are_whole(past: Past, state: Path) -> None:
    destination = new_repository()
    for number in (3, 0, 4, 1, 2):
        done = bring(past.repository, destination, state, past.taken[number].snapshot.hex())
        assert done.findings == []
        assert done.stats.copied == [past.taken[number].snapshot]
    assert [item.id for item in destination.snapshots()] == [t.snapshot for t in past.taken]
    for taken in past.taken:
        check_whole(destination, taken)
    assert destination.root(past.taken[3].snapshot).parent is None, "it was not there then"


def test_a_backup_into_the_copy_builds_upon_it_and_reads_only_what_changed(
    past: Past, state: Path
) -> None:
    destination = new_repository()
    bring(past.repository, destination, state)
    taken = take(destination, past.data)
    check_whole(destination, taken)
    assert taken.stats.parent == past.taken[-1].snapshot
    assert taken.stats.read_documents == 0
    changes = taken.stats.changes
    assert (changes.new, changes.changed, changes.gone) == (0, 0, 0)
    assert taken.stats.totals == past.taken[-1].stats.totals


def test_there_and_back_again_is_the_same(past: Past, state: Path) -> None:
    there = new_repository()
    bring(past.repository, there, state)
    back = new_repository()
    done = bring(there, back, state)
    assert done.findings == []
    for taken in past.taken:
        check_whole(back, taken)
    assert bring(back, past.repository, state).stats.copied == [], "the ids are the same"


def test_a_destination_that_has_snapshots_of_its_own_keeps_them(
    past: Past, state: Path, tmp_path: Path
) -> None:
    destination = new_repository()
    own = Application(tmp_path / "own")
    own.add_user("somebody", [chat(1)])
    mine = take(destination, own)
    bring(past.repository, destination, state)
    for taken in (mine, *past.taken):
        check_whole(destination, taken)
    following = take(destination, past.data)
    check_whole(destination, following)
    assert look(destination).errors == {}


def test_a_repository_is_not_copied_into_itself(past: Past, state: Path) -> None:
    with pytest.raises(UsageError):
        bring(past.repository, past.repository, state)


# ------------------------------------------------------------------ what it costs


def test_thirty_incrementals_grow_the_copy_as_they_grew_the_original(
    tmp_path: Path, state: Path
) -> None:
    source = new_repository(MemoryStorage())
    data = Application(tmp_path / "data")
    for number in range(120):
        data.add_user(f"{number:064x}", [chat(number * 10 + n, messages=20) for n in range(5)])
    taken = [take(source, data)]
    destination = new_repository(RecordingStorage(There()))
    recording = destination.storage
    assert isinstance(recording, RecordingStorage)
    bring(source, destination, state)
    grew = []
    for day in range(30):
        for number in range(3):
            user = f"{(day * 7 + number * 31) % 120:064x}"
            data.prepend_chat(user, chat(10_000 + day * 10 + number))
        taken.append(take(source, data))
    recording.forget()
    done = bring(source, destination, state)
    assert done.findings == []
    grew = [item.stats.stored_bytes for item in taken[1:]]
    assert done.stats.documents == 90, "only what changed is read"
    assert recording.put_bytes == done.stats.stored_bytes
    assert done.stats.stored_bytes < 1.3 * sum(grew)
    assert recording.of("read", "packs") == [], "nothing is read back from there"
    for item in (taken[0], taken[15], taken[30]):
        check_whole(destination, item)


def test_a_full_snapshot_of_what_is_known_stores_no_documents_again(
    past: Past, state: Path
) -> None:
    destination = new_repository()
    for taken in past.taken[:3]:
        bring(past.repository, destination, state, taken.snapshot.hex())
    done = bring(past.repository, destination, state, past.taken[3].snapshot.hex())
    assert done.stats.documents == 0


# ------------------------------------------------------------------ degraded and damaged


def test_torn_and_unreadable_documents_and_their_last_good_versions_are_copied(
    past: Past, state: Path
) -> None:
    history = past.data.folder / "histories/bob/chat-history.json"
    whole = history.read_bytes()
    history.write_bytes(whole[:-9])
    past.data.write("histories/newcomer/chat-history.json", b"[{")
    taken = [*past.taken, take(past.repository, past.data)]
    history.write_bytes(whole[:-5])
    taken.append(take(past.repository, past.data))
    assert taken[-1].stats.degraded
    destination = new_repository()
    assert bring(past.repository, destination, state).findings == []
    for item in taken:
        there, here = (
            bring_back(past.repository, item.snapshot),
            bring_back(destination, item.snapshot),
        )
        assert here.tree == there.tree
        by_path = attrgetter("path")  # they come bucket by bucket, and those differ
        assert sorted(here.findings, key=by_path) == sorted(there.findings, key=by_path)
    assert look(destination).errors == {}
    assert destination.root(taken[-1].snapshot).totals == taken[-1].stats.totals


def damage_last_pack(past: Past) -> Repository:
    """Give the repository with a pack flipped that only the last snapshot needs."""
    before = {
        segment.pack
        for taken in past.taken[:-1]
        for segment in segments(past.repository, past.repository.root(taken.snapshot))
    }
    last = past.repository.root(past.taken[-1].snapshot)
    new = {segment.pack for segment in segments(past.repository, last)} - before
    source = past.copy()
    for pack in new:
        flip(f"packs/{pack.hex()}", -40).apply(source.storage)
    return source


def records(repository: Repository, root: Root) -> Iterator[tuple[bytes, OwnerRecord]]:
    keyring = repository.keyring()
    for bucket in root.buckets:
        layers = layers_of(root, bucket)
        reader = SectionReader(repository.storage, repository.keys, bucket, layers)
        keys = keyring.bucket(bucket)
        for pseudonym, row in reader.rows().items():
            yield pseudonym, reader.record(pseudonym, row, keys[pseudonym])


def segments(repository: Repository, root: Root) -> Iterator[Segment]:
    for _, record in records(repository, root):
        yield from record.segments


def test_a_damaged_snapshot_is_named_and_not_copied_and_the_others_are(
    past: Past, state: Path
) -> None:
    source, destination = damage_last_pack(past), new_repository()
    done = bring(source, destination, state)
    assert done.stats.damaged == [past.taken[-1].snapshot]
    assert done.stats.copied == [taken.snapshot for taken in past.taken[:-1]]
    assert {item.code for item in done.findings} == {"object-damaged"}
    assert all(item.severity == "error" for item in done.findings)
    for taken in past.taken[:-1]:
        check_whole(destination, taken)
    assert look(destination).errors == {}


def test_what_is_known_to_be_damaged_is_not_stored_in_vain_again(past: Past, state: Path) -> None:
    source, destination = past.copy(), new_repository()
    first = past.repository.root(past.taken[0].snapshot)
    # Every segment: of one alone the owner, dealt anew in each run, may be in no later snapshot.
    places = {(segment.pack, segment.offset) for segment in segments(past.repository, first)}
    for pack, offset in places:
        flip(f"packs/{pack.hex()}", offset + 4).apply(source.storage)
    recording = RecordingStorage(destination.storage)
    into = Repository(recording, destination.keys)
    bring(source, into, state, past.taken[0].snapshot.hex())
    attempts = len(recording.of("put"))
    done = bring(source, into, state)
    assert done.stats.damaged == [taken.snapshot for taken in past.taken]
    assert done.stats.copied == []
    assert len(recording.of("put")) <= 2 * attempts, "one attempt a call"
    assert destination.snapshots() == []


def test_a_damaged_snapshot_can_be_copied_without_what_is_damaged_and_says_so(
    past: Past, state: Path
) -> None:
    source, destination = damage_last_pack(past), new_repository()
    done = bring(source, destination, state, damaged_too=True)
    assert done.stats.damaged == []
    lost = {item.path.encode() for item in done.findings}
    assert lost
    last = past.taken[-1]
    root = destination.root(last.snapshot)
    assert root.degraded
    assert root.totals.unreadable == len(lost)
    restored = bring_back(destination, last.snapshot)
    files = restored.tree.nodes
    for path, node in last.tree.nodes.items():
        assert path in lost or files[path] == node
    for taken in past.taken[:-1]:
        check_whole(destination, taken)
    assert look(destination).errors == {}
    following = take(destination, past.data)
    check_whole(destination, following)


def test_a_manifest_that_is_missing_from_the_source_is_never_papered_over(
    past: Past, state: Path
) -> None:
    made = new_repository()
    manifests = [info.name for info in past.repository.storage.list("manifests")]
    for name in manifests:
        for damaged_too in (False, True):
            source, destination = past.copy(), emptied(made)
            delete(name).apply(source.storage)
            done = bring(source, destination, state, damaged_too=damaged_too)
            assert done.findings
            for taken in past.taken:
                if taken.snapshot not in done.stats.copied:
                    assert not damaged_too
                    continue
                restored = bring_back(destination, taken.snapshot)
                if not destination.root(taken.snapshot).degraded:
                    assert restored.tree == taken.tree
                for path, node in restored.tree.nodes.items():
                    if node.kind == "file":
                        assert node == taken.tree.nodes[path], "nothing of another time"


def test_a_reference_that_is_damaged_in_the_destination_only_costs_room(
    past: Past, state: Path
) -> None:
    destination = new_repository()
    for taken in past.taken[:4]:
        bring(past.repository, destination, state, taken.snapshot.hex())
    storage = destination.storage
    assert isinstance(storage, There)
    for name in [name for name in storage.objects if name.startswith("manifests/")]:
        del storage.objects[name]
    done = bring(past.repository, destination, state)
    assert {item.code for item in done.findings} == {"copy-not-shared"}
    check_whole(destination, past.taken[4])


def test_a_pack_that_is_missing_from_the_destination_is_not_leant_on(
    past: Past, state: Path
) -> None:
    destination = new_repository()
    for taken in past.taken[:2]:
        bring(past.repository, destination, state, taken.snapshot.hex())
    storage = destination.storage
    assert isinstance(storage, There)
    for name in [name for name in storage.objects if name.startswith("packs/")]:
        del storage.objects[name]
    changed = f"{5:064x}"
    bring(past.repository, destination, state, past.taken[2].snapshot.hex())
    tree = bring_back(destination, past.taken[2].snapshot).tree
    path = f"histories/{changed}/chat-history.json".encode()
    assert tree.nodes[path] == past.taken[2].tree.nodes[path]


# ------------------------------------------------------------------ keys and erasure


def test_nothing_of_the_sources_secrets_gets_into_the_destination(past: Past, state: Path) -> None:
    destination = new_repository()
    bring(past.repository, destination, state)
    theirs, ours = past.repository, destination
    secrets = {theirs.keys.master, theirs.keys.pseudonym_key, theirs.keys.signature_key}
    secrets.add(theirs.keys.repository_id)
    for bucket in range(BUCKETS):
        for pseudonym, keys in theirs.keyring().bucket(bucket).items():
            secrets |= {pseudonym, *(item.key for item in keys)}
        for pseudonym, keys in ours.keyring().bucket(bucket).items():
            assert secrets.isdisjoint({pseudonym, *(item.key for item in keys)})
    nonces: list[set[bytes]] = []
    digests: list[set[bytes]] = []
    for repository in (theirs, ours):
        found = [records(repository, repository.root(t.snapshot)) for t in past.taken]
        all_records = [record for some in found for _, record in some]
        nonces.append({s.nonce for record in all_records for s in record.segments})
        digests.append(
            {getattr(entry, "digest", b"") for record in all_records for entry in record.entries}
        )
    assert nonces[0].isdisjoint(nonces[1])
    assert digests[0] & digests[1] <= {b""}
    assert isinstance(ours.storage, There)
    for data in ours.storage.objects.values():
        assert not any(secret in data for secret in secrets)


def test_what_the_journal_holds_is_sealed_and_for_its_owner_alone(
    past: Past, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "PACK_BYTES", 1500)
    monkeypatch.setattr(copy_snapshot, "BATCH_BYTES", 2000)
    destination = new_repository()
    faulty = FaultyStorage(destination.storage, at_put=4)
    with pytest.raises(Crash):
        bring(past.repository, Repository(faulty, destination.keys), state)
    (journal,) = journals(state)
    assert journal.stat().st_mode & 0o777 == 0o600
    assert journal.parent.stat().st_mode & 0o777 == 0o700
    data = journal.read_bytes()
    assert data
    for repository in (past.repository, destination):
        assert repository.keys.master not in data
        for name in (b"bob", b"alice", f"{5:064x}".encode()):
            assert name not in data
            assert repository.keys.user_pseudonym(name) not in data


def test_a_user_with_two_keys_is_copied(past: Past, state: Path) -> None:
    source = past.copy()
    pseudonym = source.keys.user_pseudonym(b"bob")
    for _ in range(3):  # whichever object is read first
        rows = {pseudonym[0]: [(pseudonym, os.urandom(KEY_BYTES))]}
        write_keyring(source.storage, source.keys, rows)
    past.data.prepend_chat("bob", chat(5000))
    taken = [*past.taken, take(source, past.data)]
    destination = new_repository()
    assert bring(source, destination, state).findings == []
    for item in taken:
        check_whole(destination, item)


def erase(repository: Repository, user: bytes) -> None:
    destroy_keys(repository.storage, repository.keys, repository.keys.user_pseudonym(user), 1)


def test_users_erased_in_the_source_are_left_out_and_counted(past: Past, state: Path) -> None:
    source, destination = past.copy(), new_repository()
    erase(source, b"bob")
    done = bring(source, destination, state)
    assert done.findings == []
    assert done.stats.erased_users == 1
    bobs = {path for path in past.taken[0].tree.nodes if b"/bob" in path}
    for taken in past.taken:
        restored = bring_back(destination, taken.snapshot)
        assert restored.tree.nodes == taken.tree.without(bobs).nodes
    assert look(destination).errors == {}


def test_users_erased_in_the_destination_are_not_brought_back(past: Past, state: Path) -> None:
    destination = new_repository()
    for taken in past.taken[:2]:
        bring(past.repository, destination, state, taken.snapshot.hex())
    erase(destination, b"bob")
    done = bring(past.repository, destination, state)
    assert done.stats.erased_users == 1
    for taken in past.taken:
        restored = bring_back(destination, taken.snapshot)
        assert not any(b"/bob" in path for path in restored.tree.nodes)
    assert look(destination).errors == {}
    totals = destination.root(past.taken[2].snapshot).totals
    assert totals.documents == past.taken[2].stats.totals.documents - 2


def test_a_copy_without_changes_after_an_erasure_in_the_destination_is_whole(
    past: Past, state: Path
) -> None:
    """Nothing changed in that user's bucket: it is gone through all the same."""
    source, destination = past.copy(), new_repository()
    bring(source, destination, state)
    erase(destination, b"bob")
    taken = take(source, past.data)
    bring(source, destination, state)
    restored = bring_back(destination, taken.snapshot)
    assert restored.findings == []
    assert not any(b"/bob" in path for path in restored.tree.nodes)
    assert look(destination).errors == {}
    totals = destination.root(taken.snapshot).totals
    assert totals.documents == taken.stats.totals.documents - 2


def test_a_user_who_came_back_after_an_erasure_in_both_is_copied_again(
    past: Past, state: Path
) -> None:
    source, destination = past.copy(), new_repository()
    bring(source, destination, state)
    erase(source, b"bob")
    erase(destination, b"bob")
    past.data.prepend_chat("bob", chat(7000))
    taken = take(source, past.data)
    done = bring(source, destination, state)
    assert done.stats.copied == [taken.snapshot]
    check_whole(destination, taken)


def test_who_came_back_and_was_erased_in_the_destination_again_is_not_copied_from_before_that(
    past: Past, state: Path
) -> None:
    source, destination = past.copy(), new_repository()
    bring(source, destination, state)
    erase(source, b"bob")
    erase(destination, b"bob")
    past.data.prepend_chat("bob", chat(7000))
    take(source, past.data)
    past.data.prepend_chat("bob", chat(7001))
    later = take(source, past.data)
    bring(source, destination, state, "latest~1")
    pseudonym = destination.keys.user_pseudonym(b"bob")
    time_ms = source.root(later.snapshot).time_ms
    assert destroy_keys(destination.storage, destination.keys, pseudonym, time_ms).objects
    done = bring(source, destination, state)
    assert done.stats.copied == [later.snapshot]
    assert done.stats.erased_users == 1
    tree = bring_back(destination, later.snapshot).tree
    assert not any(b"/bob" in path for path in tree.nodes)
    assert look(destination).errors == {}


def test_a_user_erased_in_the_source_alone_is_told_of_while_the_copy_holds_him(
    past: Past, state: Path
) -> None:
    source, destination = past.copy(), new_repository()
    bring(source, destination, state)
    erase(source, b"bob")
    for path in ("histories/bob/chat-history.json", "histories/bob/old/deep/kept.bin"):
        past.data.remove(path)
    take(source, past.data)
    done = bring(source, destination, state)
    assert {item.code for item in done.findings} == {"erased-in-source"}


def test_a_user_erased_from_the_destination_meanwhile_is_not_brought_back(
    past: Past, state: Path
) -> None:
    made = new_repository()
    bring(past.repository, made, state, past.taken[0].snapshot.hex())
    destination = made

    def erase_now(name: str) -> None:
        if name.startswith("keys/") and not erased:
            erased.append(name)
            erase(made, b"dave")

    erased: list[str] = []
    faulty = FaultyStorage(destination.storage, before_put=erase_now)
    with pytest.raises(ShenyuDataError, match="erased"):
        bring(past.repository, Repository(faulty, made.keys), state)
    assert erased
    bring(past.repository, made, state)
    for taken in past.taken:
        restored = bring_back(made, taken.snapshot)
        assert not any(b"dave" in path for path in restored.tree.nodes)
    assert look(made).errors == {}


# ------------------------------------------------------------------ interrupted


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a small copy have many tasks and packs."""
    monkeypatch.setattr(packs, "PACK_BYTES", 1500)
    monkeypatch.setattr(copy_snapshot, "BATCH_BYTES", 3000)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_copy_may_die_at_any_write_and_goes_on_from_there(
    past: Past, tmp_path: Path, moment: Moment
) -> None:
    made = new_repository()
    wanted = past.taken[:2]
    names = [taken.snapshot.hex() for taken in wanted]
    plain = RecordingStorage(emptied(made).storage)
    bring(past.repository, Repository(plain, made.keys), tmp_path / "once", *names)
    once = sum(call.size_bytes for call in plain.of("put", "packs"))
    largest = max(call.size_bytes for call in plain.of("put", "packs"))
    for at_put in range(MOST_PUTS):
        state = tmp_path / str(at_put)
        storage = emptied(made).storage
        recording = RecordingStorage(storage)
        faulty = FaultyStorage(recording, at_put=at_put, moment=moment)
        try:
            bring(past.repository, Repository(faulty, made.keys), state, *names)
        except Crash:
            pass
        else:
            assert at_put >= 12
            return
        after = Repository(recording, made.keys)
        assert all(name.endswith(".copy") for name in look(after).errors)
        done = bring(past.repository, after, state, *names)
        assert done.findings == []
        assert len(done.stats.copied) + len(done.stats.present) == 2
        for taken in wanted:
            check_whole(after, taken)
        assert look(after).errors == {}
        assert journals(state) == []
        packed = sum(call.size_bytes for call in recording.of("put", "packs"))
        assert packed <= once + 3000 + 3 * largest, "once, and one batch"
    raise AssertionError("it never came to its end")


@pytest.mark.usefixtures("small")
def test_a_copy_to_a_full_disk_goes_on_when_there_is_room(past: Past, state: Path) -> None:
    made = new_repository()
    faulty = FaultyStorage(made.storage, room_bytes=9000)
    destination = Repository(faulty, made.keys)
    with pytest.raises(StorageFull):
        bring(past.repository, destination, state)
    assert journals(state)
    faulty.make_room(1 << 20)
    done = bring(past.repository, destination, state)
    assert done.findings == []
    for taken in past.taken:
        check_whole(destination, taken)
    assert look(destination).errors == {}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("where", ["source", "destination"])
def test_a_cut_off_copy_does_not_go_on_with_whom_somebody_erased_since(
    past: Past, tmp_path: Path, where: str
) -> None:
    made = new_repository()
    last = past.taken[-1].snapshot.hex()
    for at_put in range(2, MOST_PUTS, 3):
        state, source = tmp_path / str(at_put), past.copy()
        destination = emptied(made)
        faulty = FaultyStorage(destination.storage, at_put=at_put)
        try:
            bring(source, Repository(faulty, made.keys), state, last)
        except Crash:
            pass
        else:
            assert at_put > 6
            return
        if destination.snapshots():
            continue  # it died with the snapshot stored: what was copied before stays
        erase(source if where == "source" else destination, b"bob")
        bring(source, destination, state, last)
        restored = bring_back(destination, past.taken[-1].snapshot)
        assert restored.findings == []
        assert b"histories/bob" not in restored.tree.nodes
        assert look(destination).errors == {}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("harm", ["cut", "flip", "other"])
def test_a_journal_that_is_damaged_costs_time_and_nothing_else(
    past: Past, state: Path, harm: str
) -> None:
    made = new_repository()
    cut_off(past, made, state)
    (journal,) = journals(state)
    data = bytearray(journal.read_bytes())
    if harm == "cut":
        del data[-7:]
    elif harm == "flip":
        data[len(data) // 2] ^= 1
    else:
        data = bytearray(os.urandom(len(data)))
    journal.write_bytes(data)
    bring(past.repository, made, state)
    for taken in past.taken:
        check_whole(made, taken)
    assert look(made).errors == {}


@pytest.mark.usefixtures("small")
def test_what_was_deleted_since_the_interruption_is_copied_again(past: Past, state: Path) -> None:
    made = new_repository()
    cut_off(past, made, state)
    assert isinstance(made.storage, There)
    for name in [name for name in made.storage.objects if name.startswith("packs/")][::2]:
        del made.storage.objects[name]
    bring(past.repository, made, state)
    for taken in past.taken:
        check_whole(made, taken)
    assert look(made).errors == {}


def test_without_a_place_for_the_journal_it_copies_all_the_same(past: Past, state: Path) -> None:
    state.write_text("a file where a folder should be")
    destination = new_repository()
    done = bring(past.repository, destination, state)
    assert {item.code for item in done.findings} == {"copy-not-resumable"}
    check_whole(destination, past.taken[-1])


# ------------------------------------------------------------------ large and many


def test_a_document_larger_than_memory_is_copied_in_pieces(tmp_path: Path, state: Path) -> None:
    source, destination = new_repository(MemoryStorage()), new_repository()
    data = Application(tmp_path / "data")
    data.add_user("anna", [chat(1)])
    piece = b"0123456789abcdef" * 64
    content = b"".join(os.urandom(32) + piece for _ in range((33 << 20) // 1056 + 1))
    data.write("histories/anna/large.bin", content)
    taken = [take(source, data)]
    data.prepend_chat("anna", chat(2))
    taken.append(take(source, data))
    done = bring(source, destination, state)
    assert done.findings == []
    assert done.stats.documents == 4, "the large one once"
    for item in taken:
        check_whole(destination, item)


def test_several_processes_copy_what_one_does(tmp_path: Path, state: Path) -> None:
    folders = [tmp_path / "source", tmp_path / "destination"]
    repositories = []
    for folder in folders:
        storage = LocalStorage(str(folder))
        storage.create()
        repositories.append(new_repository(storage))
    source, destination = repositories
    data = Application(tmp_path / "data")
    for number in range(700):
        data.add_user(f"{number:064x}", [chat(number)])
    taken = [take(source, data, jobs=2)]
    data.prepend_chat(f"{3:064x}", chat(9999))
    taken.append(take(source, data))
    done = bring(source, destination, state, jobs=2)
    assert done.findings == []
    for item in taken:
        check_whole(destination, item)
    assert look(destination).errors == {}


def test_many_shared_documents_find_their_buckets(tmp_path: Path, state: Path) -> None:
    """The other repository deals shared paths into other buckets, one by one."""
    source, destination = new_repository(MemoryStorage()), new_repository()
    data = Application(tmp_path / "data")
    for number in range(500):
        data.write(f"other/{number % 7}/{number}.txt", b"shared %d " % number * 20)
    taken = [take(source, data)]
    data.write("other/3/3.txt", b"changed")
    data.remove("other/4/4.txt")
    taken.append(take(source, data))
    bring(source, destination, state, taken[0].snapshot.hex())
    done = bring(source, destination, state)
    assert done.findings == []
    assert done.stats.documents == 1
    for item in taken:
        check_whole(destination, item)
    following = take(destination, data)
    assert following.stats.read_documents == 0
    assert read_tree(data.folder) == bring_back(destination, following.snapshot).tree


def test_a_destination_that_is_backed_up_into_meanwhile_is_whole(
    past: Past, state: Path, tmp_path: Path
) -> None:
    made = new_repository()
    own = Application(tmp_path / "own")
    own.add_user("bob", [chat(1)])
    settle(own.folder)
    backups: list[Taken] = []

    def back_up(name: str) -> None:
        if name.startswith("snapshots/") and len(backups) < 3:
            own.prepend_chat("bob", chat(len(backups) + 10))
            backups.append(take(made, own))

    faulty = FaultyStorage(made.storage, before_put=back_up)
    done = bring(past.repository, Repository(faulty, made.keys), state)
    assert done.findings == []
    for taken in (*past.taken, *backups):
        check_whole(made, taken)
    assert look(made).errors == {}
