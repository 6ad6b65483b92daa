"""A drill proves what can be restored, notices every damage, and cleans up behind itself."""

from __future__ import annotations

import gzip
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.health import drill as drill_module
from shenyu_data.health import drill_check, drill_control, drill_damage, drill_live, drill_tasks
from shenyu_data.health.drill import (
    EVERYONE,
    DrillOptions,
    DrillStats,
    drill,
)
from shenyu_data.health.drill_ledger import LedgerSummary, Share, forget_user, ledgers
from shenyu_data.health.drill_sandbox import KEPT_PREFIX, tidy
from shenyu_data.health.drill_tasks import DrillResult, DrillTask
from shenyu_data.health.store import STORE_NAME, open_store
from shenyu_data.model.errors import DrillBlind, OwnerErased, OwnerNotFound, UsageError
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations import restore_files, restore_tasks
from shenyu_data.operations.erase import EraseOptions, erase, plan_erase
from shenyu_data.repository.crypto import OwnerKeys
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.local import LocalStorage
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.storage.open import open_storage
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.damage import delete, flip
from shenyu_data.testing.killed import dies_at
from shenyu_data.testing.s3 import S3Server
from shenyu_data.testing.scenario import PASSPHRASE, Past, rich_past, take

NOW_MS = 1_800_000_000_000
NOTICED = {
    "flipped-byte",
    "truncated-history",
    "dropped-chat",
    "missing-file",
    "stray-file",
    "swapped-documents",
    "rotten-live-document",
    "damaged-pack",
    "missing-pack",
    "damaged-manifest",
}


class Drilled:
    """What a drill said."""

    def __init__(self, stats: DrillStats, findings: list[Finding]) -> None:
        self.stats = stats
        self.findings = findings

    @property
    def codes(self) -> set[str]:
        return {finding.code for finding in self.findings}

    @property
    def noticed(self) -> set[str]:
        return {control.name for control in self.stats.controls if control.result == "noticed"}


class Place:
    """A past, a state folder and a place for sandboxes, which must be empty after each drill."""

    def __init__(self, past: Past, folder: Path) -> None:
        self.past = past
        self.data = past.data
        self.state = folder / "state"
        self.sandboxes = folder / "sandboxes"
        self.sandboxes.mkdir()

    def drill(
        self,
        repository: Repository | None = None,
        *,
        now_ms: int = NOW_MS,
        snapshot: str = "latest",
        **options: Any,
    ) -> Drilled:
        repository = repository or self.past.repository
        monitor = CollectingMonitor()
        given: dict[str, Any] = {
            "share": EVERYONE,
            "sandbox": str(self.sandboxes),
            "live": str(self.data.folder),
        }
        chosen = DrillOptions(**{**given, **options})
        with open_store(str(self.state)) as store:
            stats = drill(repository, repository.find(snapshot), store, chosen, monitor, now_ms)
        assert list(self.sandboxes.glob("shenyu-data-drill-*")) == []
        return Drilled(stats, monitor.findings)

    def ledger(self, now_ms: int = NOW_MS) -> LedgerSummary:
        with open_store(str(self.state)) as store:
            return ledgers(store, now_ms)[0]

    def erase(self, user: bytes) -> None:
        plan = plan_erase(str(self.data.folder), self.past.repository, user)
        with open_store(str(self.state)) as store:
            forget_user(store, plan.pseudonym)
        receipt = str(self.state / f"receipt-{user.hex()}")
        options = EraseOptions(receipt=receipt, state=str(self.state))
        erase(str(self.data.folder), self.past.repository, plan, options, CollectingMonitor())


@pytest.fixture(scope="module")
def shared_past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    """A past that nobody changes: damaged copies of its repository are."""
    return rich_past(tmp_path_factory.mktemp("past") / "data")


@pytest.fixture
def place(shared_past: Past, tmp_path: Path) -> Place:
    return Place(shared_past, tmp_path)


@pytest.fixture
def own(tmp_path: Path) -> Place:
    """A past of one's own, to be changed."""
    return Place(rich_past(tmp_path / "data"), tmp_path)


# ------------------------------------------------------------------------ what is sound


def test_a_sound_snapshot_is_proven_and_every_damage_made_on_purpose_noticed(place: Place) -> None:
    said = place.drill()
    assert said.findings == []
    assert said.noticed == NOTICED
    totals = place.past.repository.find("latest").totals
    assert said.stats.totals == totals
    assert said.stats.proven == said.stats.chosen == said.stats.users == 11
    assert said.stats.counts.same == said.stats.counts.documents == totals.documents
    assert said.stats.ledger is not None
    assert (said.stats.ledger.users, said.stats.ledger.never_proven) == (11, 0)


def test_several_processes_prove_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorage(str(tmp_path / "repository"))
    storage.create()
    place = Place(rich_past(tmp_path / "data", storage), tmp_path)
    monkeypatch.setattr(drill_module, "_SMALL", 0)
    monkeypatch.setattr(drill_module, "_LEAST_OWNERS", 3)
    one, two = place.drill(), place.drill(jobs=2)
    assert two.stats.totals == one.stats.totals
    assert two.stats.counts == one.stats.counts
    assert two.stats.proven == 11


def test_every_kind_of_entry_is_proven(own: Place) -> None:
    data = own.data
    data.write("users/guide.json", {"id": "guide", "created_at": "2025-02-10T03:28:00.000Z"})
    cold = json.dumps([chat(1), chat(2)]).encode()
    data.write("histories/guide/chat-history.json.gz", gzip.compress(cold))
    data.write("histories/guide/old.archive.json.gz", gzip.compress(cold))
    data.write("users/packed.json.gz", gzip.compress(b"{}"))
    data.write("histories/\x1b[31m\u202e/$(x) '\".json", [chat(3)])
    data.write("histories/deep/" + "/".join("abcdefgh") + "/x.json", b"[")
    data.write("histories/huge/large.json", b"[" + b" " * (33 << 20) + b"]")
    os.link(data.folder / "notes.txt", data.folder / "histories/guide/same.txt")
    os.symlink("/etc/passwd", data.folder / "histories/guide/led-out.json")
    os.symlink("..", data.folder / "users/up.json")
    (data.folder / "histories/empty").mkdir(mode=0o500)
    (data.folder / "histories/guide/locked.json").write_text("[]")
    (data.folder / "histories/guide/locked.json").chmod(0)
    take(own.past.repository, data)
    said = own.drill()
    assert said.findings == []
    assert said.noticed == NOTICED
    assert said.stats.totals == own.past.repository.find("latest").totals
    assert said.stats.proven == said.stats.users


def test_a_torn_document_is_told_and_its_last_good_version_proven(own: Place) -> None:
    history = own.data.folder / "histories/bob/chat-history.json"
    history.write_bytes(history.read_bytes()[:-5])
    os.utime(history, (1, 1))
    own.data.write("histories/alice/new.json", b"[{")
    os.utime(own.data.folder / "histories/alice/new.json", (1, 1))
    take(own.past.repository, own.data)
    said = own.drill()
    assert said.codes == {"restored-degraded"}
    assert said.stats.counts.degraded == 2
    assert said.stats.counts.damaged == 0
    assert said.stats.proven == said.stats.users - 1  # of alice's new history nothing is whole
    assert own.ledger().failing == 1


def test_a_last_good_version_that_cannot_be_restored_is_damage(own: Place) -> None:
    """Its bytes lie in a pack that the torn version has no need of."""
    storage = own.past.repository.storage
    before = {info.name for info in storage.list("packs")}
    own.data.write("histories/bob/own.json", [chat(77)])
    take(own.past.repository, own.data)
    (good,) = {info.name for info in storage.list("packs")} - before
    own.data.write("histories/bob/own.json", b'{"another": ["thing')
    os.utime(own.data.folder / "histories/bob/own.json", (1, 1))
    take(own.past.repository, own.data)
    flip(good, 100).apply(storage)
    said = own.drill()
    assert "object-damaged" in said.codes
    assert said.stats.counts.damaged > 0


def test_a_snapshot_without_a_document_proves_nothing_and_says_so(
    tmp_path: Path, place: Place
) -> None:
    repository = Repository(MemoryStorage(), place.past.repository.keys)
    take(repository, Application(tmp_path / "nothing"))
    said = place.drill(repository)
    assert said.codes == {"nothing-proven"}
    assert {control.result for control in said.stats.controls} == {"impossible"}


# ------------------------------------------------------------------------ what is damaged


def test_a_flipped_bit_anywhere_in_a_pack_is_noticed(place: Place) -> None:
    names = [info for info in place.past.repository.storage.list("packs")]
    needed = 0
    for info in names:
        for position in (8, info.size // 2, info.size - 1):
            repository = place.past.copy()
            flip(info.name, position).apply(repository.storage)
            said = place.drill(repository)
            if said.stats.counts.damaged:
                needed += 1
                assert "object-damaged" in said.codes
                assert place.ledger().failing == said.stats.users - said.stats.proven
            else:  # what no document of the latest snapshot lies in
                assert said.stats.proven == said.stats.users
    assert needed >= 2


@pytest.mark.parametrize("folder", ["packs", "manifests"])
def test_missing_objects_are_noticed_and_the_rest_is_proven(folder: str, place: Place) -> None:
    repository = place.past.copy()
    newest = place.past.repository.find("latest")
    names = [info.name for info in repository.storage.list(folder)]
    if folder == "manifests":
        names = [f"manifests/{newest.manifests[-1].hex()}"]
    delete(*names[-1:]).apply(repository.storage)
    said = place.drill(repository)
    assert "object-missing" in said.codes
    assert said.stats.counts.damaged > 0
    assert said.stats.proven > 0
    assert said.noticed


def test_all_packs_gone_leaves_nobody_to_damage_on_purpose_and_is_damage(place: Place) -> None:
    repository = place.past.copy()
    delete(*(info.name for info in repository.storage.list("packs"))).apply(repository.storage)
    said = place.drill(repository)
    assert said.noticed == set()
    assert said.stats.counts.damaged > 0
    # Who is nothing but names, or empty documents, needs no pack.
    assert said.stats.proven < 2


def test_a_document_with_a_wrong_digest_is_noticed(
    own: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = OwnerKeys.digest

    def wrong(keys: OwnerKeys, data: bytes) -> bytes:
        return bytes(16) if b"xyzzy" in data else digest(keys, data)

    with monkeypatch.context() as patch:
        patch.setattr(OwnerKeys, "digest", wrong)
        own.data.write("histories/bob/odd.json", [chat(5, about="xyzzy")])
        take(own.past.repository, own.data)
    said = own.drill()
    assert said.stats.counts.damaged == 1
    assert [item.path for item in said.findings] == ["histories/bob/odd.json"]


Write = Callable[..., None]


def _cuts(write: Write) -> Write:
    return lambda folder, name, data, attributes: write(folder, name, data[:-1], attributes)


def _mixes_up(write: Write) -> Write:
    last = [b"{}"]

    def mixed(folder: int, name: bytes, data: bytes, attributes: Any) -> None:
        write(folder, name, last[0], attributes)
        last[0] = data

    return mixed


def _forgets(write: Write) -> Write:
    return lambda *_: None


def _leaves_more(write: Write) -> Write:
    def both(folder: int, name: bytes, data: bytes, attributes: Any) -> None:
        write(folder, name, data, attributes)
        write(folder, name[:200] + b"~", data, attributes)

    return both


def _forgets_times(write: Write) -> Write:
    return lambda folder, name, data, attributes: write(
        folder, name, data, attributes._replace(mtime_ns=1)
    )


@pytest.mark.parametrize("bug", [_cuts, _mixes_up, _forgets, _leaves_more])
def test_a_restore_that_restores_wrong_without_a_word_is_noticed(
    bug: Callable[[Write], Write], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no such bug at hand, so one is put in."""
    monkeypatch.setattr(restore_tasks, "write_document", bug(restore_files.write_document))
    said = place.drill()
    assert said.codes - {"not-joined"} == {"drill-mismatch"}
    assert said.stats.counts.damaged > 0
    if bug is not _leaves_more:
        assert said.stats.proven < said.stats.users
        assert place.ledger().failing > 0


def test_a_restore_that_loses_times_is_told_and_proves_the_contents(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    bug = _forgets_times(restore_files.write_document)
    monkeypatch.setattr(restore_tasks, "write_document", bug)
    said = place.drill()
    assert said.codes == {"drill-attributes"}
    assert said.stats.proven == said.stats.users


# ---------------------------------------------------------------------- the negative control

BLIND: dict[str, tuple[type, str, Callable[..., object]]] = {
    "bytes": (drill_check._Check, "_check_bytes", lambda *_: None),
    "contents": (drill_check._Check, "_check_contents", lambda *_: (0, 0)),
    "strays": (drill_check._Check, "_look_for_more", lambda _: None),
    "all": (drill_check._Check, "_note", lambda *_: None),
    "live": (drill_live.Live, "_told", lambda *_: "same"),
}


@pytest.mark.parametrize("what", BLIND)
def test_a_drill_that_does_not_see_is_no_drill(
    what: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its eyes are put out: there is no other way to have it miss anything."""
    with monkeypatch.context() as patch:
        patch.setattr(*BLIND[what])
        with pytest.raises(DrillBlind) as caught:
            place.drill()
    assert "did not notice" in caught.value.message
    assert place.ledger().never_proven == 11
    assert list(place.sandboxes.iterdir()) == []


def test_a_repository_that_gives_out_anything_is_not_trusted(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reading path that takes damaged packs for whole would be noticed: nothing is restored."""

    class Sound(drill_damage.DamagedReads):
        def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
            return self._inner.read(name, offset, length)

    monkeypatch.setattr(drill_control, "DamagedReads", Sound)
    with pytest.raises(DrillBlind) as caught:
        place.drill()
    assert "damaged-pack, missing-pack, damaged-manifest" in caught.value.message


# ------------------------------------------------------------------------ the live directory


def test_a_live_document_that_rotted_is_named_with_the_way_back(own: Place) -> None:
    history = own.data.folder / "histories/bob/chat-history.json"
    before = history.stat()
    data = bytearray(history.read_bytes())
    data[len(data) // 2] ^= 1
    history.write_bytes(data)
    os.utime(history, ns=(before.st_atime_ns, before.st_mtime_ns))
    said = own.drill()
    (finding,) = said.findings
    assert (finding.code, finding.path) == ("live-differs", "histories/bob/chat-history.json")
    root = own.past.repository.find("latest").id.hex()[:8]
    assert f"restore {root} --user bob --history chat-history --in-place" in finding.hint
    assert said.stats.counts.differing == 1
    assert said.stats.proven == said.stats.users  # the backup is sound


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("histories/dave/chat-history.json", "--user dave --history chat-history --in-place"),
        ("users/dave.json", "--user dave --to DIR"),
        ("histories/bob/old/deep/kept.bin", "--user bob --to DIR"),
        ("notes.txt", "--to DIR"),
    ],
)
def test_the_way_back_takes_nothing_newer_away(path: str, command: str, own: Place) -> None:
    """In place comes a history by itself; with anything else, others would go back as well."""
    document = own.data.folder / path
    before = document.stat()
    document.write_bytes(bytes(reversed(document.read_bytes())))
    os.utime(document, ns=(before.st_atime_ns, before.st_mtime_ns))
    findings = {item.path: item.hint for item in own.drill().findings}
    snapshot = own.past.repository.find("latest").id.hex()[:8]
    assert f"`shenyu-data restore {snapshot} {command}`" in findings[path]


def test_what_the_application_changed_since_is_passed_over(own: Place) -> None:
    own.data.prepend_chat("bob", chat(999))
    own.data.remove("notes.txt")
    own.data.write("users/carla.json", b"{}")
    said = own.drill()
    assert said.findings == []
    totals = own.past.repository.find("latest").totals
    assert said.stats.counts.changed == 2
    assert said.stats.counts.same == totals.documents - 2


def test_a_link_in_the_place_of_a_live_document_is_not_followed(own: Place) -> None:
    own.data.remove("notes.txt")
    os.symlink("/etc/passwd", own.data.folder / "notes.txt")
    folder = own.data.folder / "histories/bob"
    folder.rename(own.data.folder.parent / "bob")
    os.symlink(own.data.folder.parent / "bob", folder)
    said = own.drill()
    assert said.stats.counts.differing == 0
    assert said.stats.counts.changed + said.stats.counts.unread == 3


def test_without_a_live_directory_the_rest_is_proven(place: Place) -> None:
    said = place.drill(live=None)
    assert said.findings == []
    assert said.stats.counts.same == 0
    assert said.stats.proven == 11


# -------------------------------------------------------------------------------- the ledger


def test_all_users_are_proven_in_as_many_drills_as_the_share_says(place: Place) -> None:
    for run in range(4):
        said = place.drill(share=Share(percent=25.0), now_ms=NOW_MS + run)
        assert 3 <= said.stats.chosen <= 4
        assert said.noticed == NOTICED
    assert place.ledger(NOW_MS + 4).never_proven == 0


def test_all_users_without_all_that_is_nobodys_are_compared_with_no_sums(place: Place) -> None:
    place.drill()
    with open_store(str(place.state)) as store:
        store.connection.execute("UPDATE drilled SET failing = 1 WHERE NOT shared")
    said = place.drill(share=Share(users=6))
    assert said.stats.chosen == said.stats.users
    assert said.findings == []
    assert place.ledger().failing == 0


def test_an_erased_user_is_gone_from_the_ledger_and_stays_so(own: Place) -> None:
    own.drill()
    own.erase(b"bob")
    assert own.ledger().users == 10
    said = own.drill()  # of a snapshot that holds what nobody can read any more
    assert said.findings == []
    assert (said.stats.users, said.stats.counts.erased) == (10, 1)
    assert own.ledger().users == 10
    with pytest.raises(OwnerErased):
        own.drill(user=b"bob")
    pseudonym = own.past.repository.keys.user_pseudonym(b"bob")
    for path in own.state.rglob("*"):
        assert not path.is_file() or pseudonym not in path.read_bytes() or "receipt" in path.name


def test_one_user_is_proven_and_noted(place: Place) -> None:
    said = place.drill(user=b"bob")
    assert (said.stats.chosen, said.stats.proven) == (1, 1)
    assert place.ledger().users == 1
    with pytest.raises(OwnerNotFound):
        place.drill(user=b"nobody")


def test_a_drill_of_an_older_snapshot_is_not_noted(place: Place) -> None:
    said = place.drill(snapshot="latest~2", noted=False)
    assert said.stats.proven == said.stats.users
    assert said.stats.ledger is None


def test_a_ledger_that_cannot_be_written_takes_no_proof_away(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = CollectingMonitor()
    options = DrillOptions(share=Share(users=3), sandbox=str(place.sandboxes))
    with open_store(str(place.state)) as store:
        store.connection.execute("PRAGMA query_only = ON")  # as on a disk mounted read-only
        repository = place.past.repository
        stats = drill(repository, repository.find("latest"), store, options, monitor, NOW_MS)
    assert {item.code for item in monitor.findings} == {"ledger-not-kept"}
    assert 3 <= stats.proven <= 4
    stats = drill(repository, repository.find("latest"), None, options, monitor, NOW_MS)
    assert 3 <= stats.proven <= 4


# ------------------------------------------------------------------------------- the sandbox


def test_the_sandbox_is_private_and_small(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    modes, most = set(), 0
    check = drill_tasks.drill_owners

    def watched(task: Any) -> Any:
        nonlocal most
        (sandbox,) = place.sandboxes.iterdir()
        modes.add(stat.S_IMODE(sandbox.stat().st_mode))
        most = max(most, sum(path.is_file() for path in sandbox.rglob("*")))
        return check(task)

    monkeypatch.setattr(drill_module, "_LEAST_OWNERS", 1)
    monkeypatch.setattr(drill_module, "_BATCH_OWNERS", 1)
    monkeypatch.setattr(drill_module, "drill_owners", watched)
    place.drill()
    assert modes == {0o700}
    assert most == 0  # each batch is gone before the next one is restored


def test_what_is_kept_stays(place: Place) -> None:
    said = place.drill(keep=True)
    assert said.stats.kept is not None
    assert os.path.basename(said.stats.kept).startswith(KEPT_PREFIX)
    found = {path.name for path in Path(said.stats.kept).rglob("*")}
    assert {"dave.json", "notes.txt"} <= found
    assert stat.S_IMODE(os.stat(said.stats.kept).st_mode) == 0o700
    place.drill()
    assert os.path.isdir(said.stats.kept)


def test_of_a_drill_that_is_cut_off_nothing_is_kept(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would be told where it lies, and it is not sealed."""
    work = drill_tasks.drill_owners

    def cut_off(task: DrillTask) -> DrillResult:
        work(task)
        assert list(place.sandboxes.glob(f"{KEPT_PREFIX}*/**/dave.json"))
        raise KeyboardInterrupt

    monkeypatch.setattr(drill_module, "drill_owners", cut_off)
    with pytest.raises(KeyboardInterrupt):
        place.drill(keep=True)
    assert list(place.sandboxes.iterdir()) == []


def test_a_sandbox_in_the_live_directory_is_refused(place: Place) -> None:
    with pytest.raises(UsageError, match="inside the data directory"):
        place.drill(sandbox=str(place.data.folder / "users"))


def test_killed_at_any_step_it_leaves_no_sandbox_after_the_next_drill(tmp_path: Path) -> None:
    data = Application(tmp_path / "data")
    data.add_user("anna", [chat(1)])
    storage = LocalStorage(str(tmp_path / "repository"))
    storage.create()
    repository, _ = create_repository(storage, PASSPHRASE)
    taken = take(repository, data)
    place = Place(Past(repository, "", data, [taken]), tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    number, left = 0, 0
    while dies_at(number, lambda: place.drill(sandbox=str(elsewhere))):
        left += any(path.is_file() for path in elsewhere.rglob("*"))
        with open_store(str(place.state)) as store:
            tidy(store, str(place.sandboxes))  # as the next drill does, whose place is another
        assert [path for path in elsewhere.rglob("*") if path.is_file()] == []
        number += 7  # of some hundred steps, most of them the same again and again
    assert left > 5, number
    assert place.drill().findings == []
    assert (place.state / STORE_NAME).is_file()


CODE = """
import os, sys, time
from pathlib import Path
from shenyu_data.health import drill, drill_control, drill_tasks

def hangs(*_, **__):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(1000)

drill._SMALL, drill._LEAST_OWNERS = 0, 3
drill_tasks.check_owners = hangs
at_work, words = sys.argv[1], sys.argv[2:]
from shenyu_data.cli.common import _run
from shenyu_data.cli.main import shenyu_data
sys.exit(_run(shenyu_data, words))
"""
PATIENCE_S = 240.0


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(
    ("number", "jobs"), [(signal.SIGINT, 1), (signal.SIGTERM, 2), (signal.SIGKILL, 2)]
)
def test_interrupted_or_killed_it_leaves_nothing_restored(
    number: signal.Signals, jobs: int, tmp_path: Path
) -> None:
    storage = LocalStorage(str(tmp_path / "repository"))
    storage.create()
    past = rich_past(tmp_path / "data", storage)
    at_work, place = tmp_path / "at work", tmp_path / "place"
    at_work.mkdir()
    place.mkdir()
    words = ["drill", "--repo", storage.folder, "--data", str(past.data.folder), "--all"]
    words += ["--sandbox", str(place), "--jobs", str(jobs)]
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, str(at_work), *words],
        env={**os.environ, "SHENYU_DATA_PASSPHRASE": past.recovery_key},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + PATIENCE_S
    while len(list(at_work.iterdir())) < jobs:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    assert [path for path in place.rglob("*") if path.is_file()], "it is in the midst of it"
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE_S)
    if number == signal.SIGKILL:
        while list(place.iterdir()):  # its workers hold it until they see that they are alone
            assert time.monotonic() < deadline
            tidy(None, str(place))
            time.sleep(0.05)
    else:
        assert process.returncode == 130, errors
    assert list(place.iterdir()) == []


def test_a_repository_in_a_bucket_is_proven(s3: S3Server, tmp_path: Path) -> None:
    past = rich_past(tmp_path / "data", open_storage(s3.fresh()))
    said = Place(past, tmp_path).drill()
    assert said.findings == []
    assert said.noticed == NOTICED
    assert said.stats.proven == 11
