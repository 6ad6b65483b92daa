"""Adoption: archives that tar made become snapshots of their own time, wholly or not at all."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shenyu_data.datadir.scratch import PREFIX
from shenyu_data.model.archives import time_of_name
from shenyu_data.model.errors import ArchiveError, UsageError
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations import import_archive
from shenyu_data.operations.backup import BackupOptions, backup
from shenyu_data.operations.import_archive import (
    ArchiveStats,
    ImportArchiveOptions,
    import_archives,
    plan_import_archives,
)
from shenyu_data.repository.copies import mend_copies
from shenyu_data.repository.erasure import destroy_keys
from shenyu_data.repository.format import Snapshot
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat, rich_directory
from shenyu_data.testing.faulty import MOMENTS, Crash, FaultyStorage, Moment
from shenyu_data.testing.scenario import PASSPHRASE, bring_back, check_whole, look, take
from shenyu_data.testing.tree import read_tree
from tests.unit.test_tar import info, made


@pytest.fixture
def repository() -> Repository:
    return create_repository(MemoryStorage(), PASSPHRASE)[0]


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Give the folder that archives are unpacked in."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def run(
    repository: Repository, temporary: Path, paths: Sequence[Path | str], **options: object
) -> tuple[list[ArchiveStats], list[Finding]]:
    monitor = CollectingMonitor()
    chosen = ImportArchiveOptions(temporary=str(temporary), **options)  # type: ignore[arg-type]
    plans = plan_import_archives([str(path) for path in paths], repository, chosen, monitor)
    done = list(import_archives(plans, repository, chosen, monitor))
    assert list(temporary.iterdir()) == [], "what was unpacked must be gone"
    return done, monitor.findings


def archive(data: Application, name: str) -> Path:
    """Make an archive as the guide's script does, with tar, from two folders above."""
    base = data.folder.parents[2]
    command = ["tar", "-czf", name, "packages/backend/data"]
    subprocess.run(command, cwd=base, check=True, capture_output=True)
    return base / name


@pytest.fixture
def data(tmp_path: Path) -> Application:
    folder = tmp_path / "packages/backend/data"
    folder.parent.mkdir(parents=True)
    return rich_directory(folder)


def tags(snapshots: Sequence[Snapshot]) -> list[str | None]:
    return [item.tag for item in snapshots]


def test_an_archive_of_tar_restores_to_what_was_archived(
    repository: Repository, temporary: Path, data: Application
) -> None:
    for special in read_tree(data.folder).special():
        os.unlink(data.folder / os.fsdecode(special))
    before = read_tree(data.folder)
    (done,), findings = run(
        repository, temporary, [archive(data, "shenyu_data_20250210_030000.tar.gz")]
    )
    assert done.status == "imported"
    assert done.backup is not None
    restored = bring_back(repository, done.backup.snapshot)
    assert restored.error is None
    whole_seconds = {
        path: node._replace(mtime_ns=node.mtime_ns // 10**9 * 10**9)
        for path, node in before.nodes.items()
    }  # which is all that tar keeps, unless told
    assert restored.tree.nodes == whole_seconds
    assert restored.tree.hard_links == before.hard_links
    assert not [item for item in findings if item.code.startswith("archive")]
    assert look(repository).errors == {}


def test_an_archive_takes_its_place_by_its_date(
    repository: Repository, temporary: Path, data: Application
) -> None:
    names = ["x_20250211_030000.tar.gz", "x_20250210_030000.tar.gz", "x_20250212_030000.tar.gz"]
    archives = []
    for number, name in enumerate(names):
        data.prepend_chat("bob", chat(700 + number))
        archives.append(archive(data, name))
    taken = take(repository, data)
    done, _ = run(repository, temporary, archives[:2])
    assert [item.plan.name for item in done] == [names[1], names[0]]
    snapshots = repository.snapshots()
    assert snapshots[-1].id == taken.snapshot
    assert tags(snapshots) == ["x_20250210_030000", "x_20250211_030000", None]
    assert [item.sequence for item in snapshots] == [0, 0, 1]
    assert snapshots[1].parent == snapshots[0].id
    run(repository, temporary, archives[2:])
    assert tags(repository.snapshots())[2:] == ["x_20250212_030000", None]
    after = take(repository, data)
    assert after.stats.parent == taken.snapshot
    assert after.stats.changes.changed == after.stats.changes.new == 0
    check_whole(repository, taken)


def test_snapshots_of_archives_share_what_they_have_in_common(
    repository: Repository, temporary: Path, data: Application
) -> None:
    first = archive(data, "x_20250210.tar.gz")
    data.prepend_chat("bob", chat(900))
    second = archive(data, "x_20250211.tar.gz")
    done, _ = run(repository, temporary, [first, second])
    stored = [item.backup.stored_bytes for item in done if item.backup]
    assert len(stored) == 2
    before = packed_bytes(repository)
    run(repository, temporary, [shutil.copy(second, second.with_name("x_20250212.tar.gz"))])
    assert packed_bytes(repository) - before < before / 4


def packed_bytes(repository: Repository) -> int:
    return sum(item.size for item in repository.storage.list("packs"))


def test_an_archive_that_is_newer_than_all_becomes_the_latest(
    repository: Repository, temporary: Path, data: Application
) -> None:
    run(repository, temporary, [archive(data, "x_20250210.tar.gz")])
    run(repository, temporary, [archive(data, "x_20250211.tar.gz")])
    assert [item.sequence for item in repository.snapshots()] == [1, 2]
    taken = take(repository, data)
    assert taken.stats.parent == repository.snapshots()[1].id
    check_whole(repository, taken)


def test_the_same_archive_is_imported_once(
    repository: Repository, temporary: Path, data: Application
) -> None:
    path = archive(data, "x_20250210.tar.gz")
    twin = Path(shutil.copy(path, path.with_name("renamed_20250210.tar.gz")))
    other_day = Path(shutil.copy(path, path.with_name("x_20250211.tar.gz")))
    done, _ = run(repository, temporary, [path, twin, path])
    assert sorted(item.status for item in done) == ["imported", "known", "known"]
    done, _ = run(repository, temporary, [path, other_day])
    assert [item.status for item in done] == ["known", "imported"]
    assert len(repository.snapshots()) == 2


def test_where_the_name_has_no_date_the_newest_member_has(
    repository: Repository, temporary: Path, tmp_path: Path
) -> None:
    path = tmp_path / "backup.tar.gz"
    members = [
        (info(f"data/users/{n}.json", mtime=1_700_000_000 + n), b'{"id":"x"}') for n in (5, 9, 2)
    ]
    path.write_bytes(made(*members))
    (done,), _ = run(repository, temporary, [path])
    assert done.plan.time_ms == 1_700_000_009_000
    (done,), _ = run(repository, temporary, [path], time_ms=1_600_000_000_000, tag="old")
    assert [item.time_ms for item in repository.snapshots()] == [
        1_600_000_000_000,
        1_700_000_009_000,
    ]
    assert repository.snapshots()[0].tag == "old"
    with pytest.raises(UsageError):
        run(repository, temporary, [path, path], time_ms=1)


def test_a_date_in_the_future_is_refused(
    repository: Repository, temporary: Path, data: Application
) -> None:
    (done,), findings = run(repository, temporary, [archive(data, "x_20990101.tar.gz")])
    assert done.status == "refused"
    assert "future" in findings[0].message
    assert repository.snapshots() == []


CUT = "is cut off"


def test_a_damaged_archive_is_refused_and_with_damaged_too_a_degraded_snapshot(
    repository: Repository, temporary: Path, data: Application
) -> None:
    whole = archive(data, "x_20250210.tar.gz")
    cut = whole.with_name("x_20250211.tar.gz")
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    (done,), findings = run(repository, temporary, [cut])
    assert (done.status, findings[0].code) == ("refused", "archive-refused")
    assert CUT in findings[0].message
    assert "files" in findings[0].message
    assert repository.snapshots() == []
    (done,), findings = run(repository, temporary, [cut], damaged_too=True)
    assert done.status == "imported"
    assert done.backup is not None
    assert done.backup.degraded
    errors = [item.code for item in findings if item.severity == "error"]
    assert errors[0] == "archive-damaged"
    tree = bring_back(repository, done.backup.snapshot).tree
    (whole_done,), _ = run(repository, temporary, [whole])
    assert whole_done.backup is not None
    assert not whole_done.backup.degraded
    all_of_it = bring_back(repository, whole_done.backup.snapshot).tree
    files = {path: node.content for path, node in tree.nodes.items() if node.kind == "file"}
    assert 0 < len(files) < len(all_of_it.nodes)
    assert all(all_of_it.nodes[path].content == content for path, content in files.items())


def test_an_unsafe_member_refuses_the_archive_and_with_damaged_too_only_itself(
    repository: Repository, temporary: Path, tmp_path: Path
) -> None:
    path = tmp_path / "x_20250210.tar.gz"
    path.write_bytes(
        made(
            (info("data/users/ben.json"), b'{"id": "ben", "created_at": "2025-02-10"}'),
            (info("data/users/../../../../evil"), b"harm"),
            (info("data/fifo", tarfile.FIFOTYPE), b""),
        )
    )
    (done,), findings = run(repository, temporary, [path])
    assert done.status == "refused"
    assert "unsafe" in findings[-1].message
    (done,), findings = run(repository, temporary, [path], damaged_too=True)
    assert (done.status, done.left_out) == ("imported", 1)
    assert {item.code for item in findings} == {"archive-member", "special-file"}
    assert repository.snapshots()[0].degraded
    assert not (tmp_path / "evil").exists()


def test_findings_about_members_are_bounded(
    repository: Repository, temporary: Path, tmp_path: Path
) -> None:
    path = tmp_path / "x_20250210.tar.gz"
    good = (info("data/users/ben.json"), b"{}")
    path.write_bytes(made(good, *((info(f"../{number}"), b"") for number in range(200))))
    _, findings = run(repository, temporary, [path], damaged_too=True)
    told = [item for item in findings if item.code == "archive-member"]
    assert len(told) == import_archive.MAX_TOLD + 1
    assert told[-1].message.startswith("150 more")


def test_a_torn_document_in_an_archive_makes_its_snapshot_degraded(
    repository: Repository, temporary: Path, tmp_path: Path
) -> None:
    path = tmp_path / "x_20250210.tar.gz"
    path.write_bytes(made((info("data/histories/ben/chat-history.json"), b'[{"id": 1')))
    (done,), findings = run(repository, temporary, [path])
    assert done.backup is not None
    assert done.backup.degraded
    assert [item.code for item in findings] == ["torn-document"]


def test_what_is_no_archive_of_a_data_directory_is_refused_and_the_next_is_imported(
    repository: Repository, temporary: Path, tmp_path: Path, data: Application
) -> None:
    good = archive(data, "x_20250210.tar.gz")
    (tmp_path / "a_20250101.tar.gz").write_bytes(gzip.compress(b"no tar" * 1000))
    (tmp_path / "b_20250101.tar.gz").write_bytes(made((info("etc/motd"), b"x")))
    (tmp_path / "c_20250101").mkdir()
    os.mkfifo(tmp_path / "d_20250101")
    names = ["a_20250101.tar.gz", "b_20250101.tar.gz", "c_20250101", "d_20250101", "nowhere"]
    done, findings = run(repository, temporary, [*(tmp_path / name for name in names), good])
    assert [item.status for item in done] == ["refused"] * 5 + ["imported"]
    assert [item.code for item in findings if item.severity == "error"] == ["archive-refused"] * 5
    assert all(item.hint for item in findings if item.severity == "error")


def test_an_archive_that_grows_while_it_is_read_is_refused(
    repository: Repository, temporary: Path, data: Application
) -> None:
    path = archive(data, "x_20250210.tar.gz")
    options = ImportArchiveOptions(temporary=str(temporary))
    plans = plan_import_archives([str(path)], repository, options, CollectingMonitor())
    with path.open("ab") as file:
        file.write(b"\0" * 100)
    monitor = CollectingMonitor()
    (done,) = import_archives(plans, repository, options, monitor)
    assert done.status == "refused"
    assert "changed while" in monitor.findings[-1].message
    assert repository.snapshots() == []


def test_a_user_who_was_erased_since_does_not_come_back(
    repository: Repository, temporary: Path, data: Application
) -> None:
    path = archive(data, "x_20250210.tar.gz")
    take(repository, data)
    pseudonym = repository.keys.user_pseudonym(b"bob")
    destroy_keys(repository.storage, repository.keys, pseudonym, int(time.time() * 1000))
    (done,), findings = run(repository, temporary, [path])
    assert done.backup is not None
    assert done.left_out == 1
    assert "user-erased" in [item.code for item in findings]
    tree = bring_back(repository, done.backup.snapshot).tree
    assert not [name for name in tree.nodes if b"bob" in name]
    assert not repository.keyring().bucket(pseudonym[0]).get(pseudonym)


def test_a_user_who_was_erased_comes_back_if_that_is_asked_for(
    repository: Repository, temporary: Path, data: Application
) -> None:
    path = archive(data, "x_20250210.tar.gz")
    take(repository, data)
    pseudonym = repository.keys.user_pseudonym(b"bob")
    destroy_keys(repository.storage, repository.keys, pseudonym, int(time.time() * 1000))
    options = ImportArchiveOptions(temporary=str(temporary), erased_too=True)
    plans = plan_import_archives([str(path)], repository, options, CollectingMonitor())
    (done,) = import_archives(plans, repository, options, CollectingMonitor())
    assert done.backup is not None
    restored = bring_back(repository, done.backup.snapshot)
    assert [name for name in restored.tree.nodes if b"bob" in name]
    assert restored.findings == []


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_import_that_dies_at_any_write_leaves_no_snapshot_of_that_archive(
    temporary: Path, data: Application, moment: Moment
) -> None:
    repository, _ = create_repository(MemoryStorage(), PASSPHRASE)
    assert isinstance(repository.storage, MemoryStorage)
    paths = [archive(data, "x_20250210.tar.gz")]
    data.prepend_chat("bob", chat(900))
    paths.append(archive(data, "x_20250211.tar.gz"))
    for at_put in range(60):
        storage = MemoryStorage()
        storage.objects.update(repository.storage.objects)
        faulty = FaultyStorage(storage, at_put=at_put, moment=moment)
        try:
            run(Repository(faulty, repository.keys), temporary, paths)
        except Crash:
            pass
        else:
            assert at_put >= 8
            return
        after = Repository(storage, repository.keys)
        assert list(temporary.iterdir()) == []
        for snapshot in after.snapshots():
            assert not snapshot.degraded
        done, _ = run(after, temporary, paths)
        assert {item.status for item in done} <= {"imported", "known"}
        assert tags(after.snapshots()) == ["x_20250210", "x_20250211"]
        mend_copies(after.storage)  # as the next backup does
        assert look(after).errors == {}
    raise AssertionError("an import made more than 60 puts")


def test_a_killed_import_leaves_no_snapshot_and_the_next_removes_what_it_unpacked(
    tmp_path: Path, temporary: Path, data: Application
) -> None:
    path = archive(data, "x_20250210.tar.gz")
    program = textwrap.dedent("""
        import os, sys, signal
        from shenyu_data.model.monitor import CollectingMonitor
        from shenyu_data.operations import import_archive
        from shenyu_data.operations.import_archive import *
        from shenyu_data.repository.repository import create_repository
        from shenyu_data.storage.memory import MemoryStorage
        repository, _ = create_repository(MemoryStorage(), "passphrase")
        options = ImportArchiveOptions(temporary=sys.argv[2])
        monitor = CollectingMonitor()
        import_archive.backup = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        plans = plan_import_archives([sys.argv[1]], repository, options, monitor)
        list(import_archives(plans, repository, options, monitor))
    """)
    died = subprocess.run([sys.executable, "-c", program, str(path), str(temporary)], check=False)
    assert died.returncode == -signal.SIGKILL
    (left,) = temporary.iterdir()
    assert left.name.startswith(PREFIX)
    assert list(left.rglob("*.json"))
    repository, _ = create_repository(MemoryStorage(), PASSPHRASE)
    clock = time.time
    try:
        time.time = lambda: clock() + 3600
        (done,), findings = run(repository, temporary, [path])
    finally:
        time.time = clock
    assert done.status == "imported"
    assert findings[0].code == "archive-remains"


def test_a_full_disk_refuses_the_archive(
    repository: Repository, temporary: Path, data: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(data, "x_20250210.tar.gz")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shenyu_data.datadir.unpack.write_all", full)
    (done,), findings = run(repository, temporary, [path])
    assert done.status == "refused"
    assert "No space left" in findings[0].message
    assert "--temp" in findings[0].hint


@given(st.data())
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_whatever_the_bytes_are_an_import_ends_in_order(
    repository: Repository, temporary: Path, tmp_path: Path, data: st.DataObject
) -> None:
    plain = bytearray(
        made(
            (info("data", tarfile.DIRTYPE), b""),
            (info("data/users/ben.json"), b'{"id": "ben", "created_at": "2025-02-10"}'),
            (info("data/histories/ben/c.json"), b"[]"),
            (info("data/link", tarfile.SYMTYPE, linkname="users"), b""),
            (info("data/two", tarfile.LNKTYPE, linkname="data/users/ben.json"), b""),
            packed=False,
        )
    )
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, 5119))
        plain[at] = data.draw(st.sampled_from([*b"/.0125LKxgS", 0, 255]))
        block = at // 512 * 512
        if plain[block + 257 : block + 262] == b"ustar":  # let it get past the checksum
            plain[block + 148 : block + 156] = b" " * 8
            plain[block + 148 : block + 156] = b"%06o\0 " % sum(plain[block : block + 512])
    path = tmp_path / "x_20250210.tar"
    path.write_bytes(plain)
    assert isinstance(repository.storage, MemoryStorage)
    for name in [name for name in repository.storage.objects if name.startswith("snapshots/")]:
        repository.storage.delete(name)  # of the examples before
    before = {entry.name for entry in tmp_path.iterdir()}
    (done,), findings = run(repository, temporary, [path], damaged_too=data.draw(st.booleans()))
    assert done.status in ("imported", "refused")
    assert (done.status == "refused") == any(item.code == "archive-refused" for item in findings)
    assert {entry.name for entry in tmp_path.iterdir()} == before
    if done.backup is not None:
        assert bring_back(repository, done.backup.snapshot).error is None


def test_a_backup_of_the_same_moment_and_an_archive_do_not_disturb_each_other(
    repository: Repository, temporary: Path, data: Application
) -> None:
    moment = time_of_name("20250210_030000")
    assert moment is not None
    backup(str(data.folder), repository, BackupOptions(), CollectingMonitor())
    run(repository, temporary, [archive(data, "x_20250210_030000.tar.gz")])
    assert repository.snapshots()[0].time_ms == moment
    with pytest.raises(ArchiveError):
        import_archive._check_time(int(time.time() * 1000) + 2 * 86_400_000)
