"""A process that dies at any system call of a write leaves the old state or the new one."""

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from shenyu_data.storage.atomic import make_private, write_file
from shenyu_data.storage.local import LocalStorage

# Runs in a process of its own, whose children die at the nth call of those that change anything.
DYING = textwrap.dedent(
    """
    import os, sys
    action, folder, when, most = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    from shenyu_data.storage.atomic import write_file
    from shenyu_data.storage.local import LocalStorage

    wanted = calls = 0

    def dying(real):
        def call(*args, **keywords):
            global calls
            calls += 1
            if calls == wanted and when == "before":
                os._exit(9)
            if calls == wanted and when == "halfway" and real is os_writev:
                os_writev(args[0], [bytes(args[1][0])[:3]])
                os._exit(9)
            result = real(*args, **keywords)
            if calls == wanted:
                os._exit(9)
            return result
        return call

    def act(folder):
        storage = LocalStorage(folder)
        descriptor = os.open(folder, os.O_RDONLY)
        for name in "open write writev fsync link rename unlink mkdir fchmod fchown utime".split():
            setattr(os, name, dying(getattr(os, name)))
        if action == "put":
            storage.put("packs/new", [b"new bytes, ", b"all of them"])
        elif action == "delete":
            storage.delete("packs/old")
        else:
            write_file(
                "old", [b"new bytes, ", b"all of them"], folder=descriptor,
                replace=action == "replace", mode=0o640, mtime_ns=10**18,
            )

    os_writev = os.writev
    for wanted in range(1, most):
        child = os.fork()
        if not child:
            act(f"{folder}/{wanted}")
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(status)
    """
)
NEW = b"new bytes, all of them"
OLD = b"old bytes"
MOST_CALLS = 20


def seen(folder: Path) -> dict[str, bytes]:
    """Return the files that anybody looks at, by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".tmp-")
    }


@pytest.mark.parametrize("when", ["before", "halfway", "after"])
@pytest.mark.parametrize("action", ["put", "replace", "new", "delete"])
def test_dying_at_any_call_leaves_the_old_state_or_the_new(
    tmp_path: Path, action: str, when: str
) -> None:
    old = {"put": {"packs/old": OLD}, "delete": {"packs/old": OLD}, "replace": {"old": OLD}}
    before = old.get(action, {})
    after = {"put": {"packs/old": OLD, "packs/new": NEW}, "delete": {}}.get(action, {"old": NEW})
    for call in range(1, MOST_CALLS):
        storage = LocalStorage(str(tmp_path / f"{call}"))
        storage.create()
        for name, content in before.items():
            storage.put(name, [content])
    arguments = [sys.executable, "-c", DYING, action, str(tmp_path), when, str(MOST_CALLS)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    deaths = [int(line) for line in done.stdout.split()]
    assert set(deaths) == {0, 9}
    outcomes = set()
    for call, status in enumerate(deaths, 1):
        folder = tmp_path / f"{call}"
        state = seen(folder)
        assert state in (before, after), call
        outcomes.add(state == after)
        if state == after and action in ("replace", "new"):
            found = (folder / "old").stat()
            assert (found.st_mode & 0o777, found.st_mtime_ns) == (0o640, 10**18)
        if status == 0:
            assert state == after
            assert not list(folder.rglob(".tmp-*"))
        elif action == "put" and state == before:  # what a dead process left stops nobody
            storage = LocalStorage(str(folder))
            storage.put("packs/new", [NEW])
            assert storage.read("packs/new") == NEW
    assert outcomes == {False, True} or action == "delete"  # one call, and it is done


def test_a_replaced_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(OLD)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "name").symlink_to(tmp_path / "elsewhere")
    descriptor = os.open(tmp_path / "folder", os.O_RDONLY)
    try:
        with pytest.raises(FileExistsError):
            write_file("name", [NEW], folder=descriptor, replace=False)
        assert write_file("name", [NEW], folder=descriptor, replace=True) == len(NEW)
    finally:
        os.close(descriptor)
    assert (tmp_path / "elsewhere").read_bytes() == OLD
    assert not (tmp_path / "folder" / "name").is_symlink()
    assert (tmp_path / "folder" / "name").read_bytes() == NEW


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal or a disk that fills up may make the system take less than it was given."""
    real_writev, real_write = os.writev, os.write
    monkeypatch.setattr(os, "writev", lambda fd, chunks: real_writev(fd, [bytes(chunks[0])[:2]]))
    monkeypatch.setattr(os, "write", lambda fd, data: real_write(fd, bytes(data)[:3]))
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        chunks = [b"abc", b"", b"defghi", b"j" * 50]
        write_file("name", chunks, folder=descriptor, replace=False)
    finally:
        os.close(descriptor)
    assert (tmp_path / "name").read_bytes() == b"".join(chunks)


def test_a_disk_that_fills_up_in_the_middle_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "name").write_bytes(OLD)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real_writev = os.writev
    monkeypatch.setattr(os, "writev", lambda fd, chunks: real_writev(fd, [bytes(chunks[0])[:2]]))
    monkeypatch.setattr(os, "write", full)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="No space"):
            write_file("name", [NEW], folder=descriptor, replace=True)
    finally:
        os.close(descriptor)
    assert os.listdir(tmp_path) == ["name"]
    assert (tmp_path / "name").read_bytes() == OLD


def test_folders_that_are_made_are_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a power cut takes what is durable in them along."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    make_private(str(tmp_path / "a/b/c"))
    named_in = [tmp_path, tmp_path / "a", tmp_path / "a/b"]
    assert synced == [folder.stat().st_ino for folder in named_in]
    make_private(str(tmp_path / "a/b/c"))
    assert len(synced) == 3
    assert all((tmp_path / name).stat().st_mode & 0o777 == 0o700 for name in ("a", "a/b/c"))
