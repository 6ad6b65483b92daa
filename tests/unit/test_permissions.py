"""Modes and owners: what is found, what is changed, and what is never touched."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.datadir import permissions as walking
from shenyu_data.datadir.folder import open_root
from shenyu_data.model.errors import UsageError
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.model.permissions import Node, Policy, judge, mending, parse_id, parse_mode
from shenyu_data.operations.permissions import (
    check_permissions,
    mend_permissions,
    owner_policy,
    plan_permissions,
)
from shenyu_data.testing.application import Application, chat

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with the modes it should have."""
    made = Application(tmp_path / "data")
    made.add_user("anna", [chat(1)])
    made.write("notes.txt", b"kept")
    for folder, _, names in os.walk(made.folder):
        os.chmod(folder, 0o700)
        for name in names:
            os.chmod(os.path.join(folder, name), 0o600)
    return made.folder


def codes(data: Path, **policy: int) -> list[tuple[str, str]]:
    monitor = CollectingMonitor()
    stats = check_permissions(str(data), owner_policy(str(data), Policy(**policy)), monitor)
    errors = sum(finding.severity == "error" for finding in monitor.findings)
    assert (stats.errors, stats.warnings) == (errors, len(monitor.findings) - errors)
    inside = [one for one in monitor.findings if one.code != "replaceable-folder"]
    return sorted((finding.path, finding.code) for finding in inside)


def mend(data: Path, **policy: int) -> tuple[int, list[str]]:
    monitor = CollectingMonitor()
    stats = mend_permissions(str(data), owner_policy(str(data), Policy(**policy)), monitor)
    return stats.changed, [finding.code for finding in monitor.findings]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


NOTES = "notes.txt"


@pytest.mark.parametrize(
    ("bits", "found"),
    [
        (0o600, []),
        (0o604, ["world-readable"]),
        (0o602, ["world-writable"]),
        (0o606, ["world-writable"]),
        (0o640, ["group-access"]),
        (0o620, ["group-access"]),
        (0o644, ["group-access", "world-readable"]),
        (0o700, ["executable-file"]),
        (0o400, ["owner-shut-out"]),
        (0o4600, ["set-user-id"]),
        (0o2600, ["set-user-id"]),
    ],
)
def test_a_file_that_others_can_use_is_found_and_mended(
    data: Path, bits: int, found: list[str]
) -> None:
    os.chmod(data / NOTES, bits)
    assert codes(data) == [(NOTES, code) for code in found]
    assert mend(data) == (bool(found), [])
    assert mode(data / NOTES) == 0o600
    assert codes(data) == []


@pytest.mark.parametrize(
    ("bits", "found"),
    [
        (0o755, ["group-access", "world-readable"]),
        (0o701, ["world-readable"]),
        (0o777, ["group-access", "world-writable"]),
        (0o710, ["group-access"]),
        (0o2700, []),
        (0o1700, []),
        (0o600, ["owner-shut-out"]),
    ],
)
def test_a_folder_that_others_can_use_is_found_and_mended(
    data: Path, bits: int, found: list[str]
) -> None:
    os.chmod(data / "users", bits)
    if os.geteuid() == 0 or bits & 0o500 == 0o500:
        assert codes(data) == [("users", code) for code in found]
    mend(data)
    assert mode(data / "users") == 0o700 | bits & 0o7000
    assert codes(data) == []


def test_the_policy_may_allow_a_group(data: Path) -> None:
    os.chmod(data / NOTES, 0o640)
    os.chmod(data / "users", 0o2750)
    assert codes(data, file_mode=0o640, folder_mode=0o750) == []
    mend(data, file_mode=0o640, folder_mode=0o750)
    assert (mode(data / "users/anna.json"), mode(data / "histories")) == (0o640, 0o750)


def test_mending_changes_neither_bytes_nor_times(data: Path) -> None:
    os.chmod(data / NOTES, 0o644)
    before = (data / NOTES).read_bytes(), (data / NOTES).stat().st_mtime_ns
    mend(data)
    assert ((data / NOTES).read_bytes(), (data / NOTES).stat().st_mtime_ns) == before


def test_a_plan_says_what_becomes_of_what_and_changes_nothing(data: Path) -> None:
    os.chmod(data / NOTES, 0o644)
    policy = owner_policy(str(data), Policy())
    plan = plan_permissions(str(data), policy)
    assert [(item.path, item.mode, item.new_mode, item.new_owner) for item in plan.items] == [
        (NOTES, "0644", "0600", None)
    ]
    assert (plan.changes, plan.refused) == (1, 0)
    assert mode(data / NOTES) == 0o644


def test_a_link_is_found_if_it_leads_out_and_what_it_leads_to_is_never_changed(
    data: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    (outside / "passwd").write_bytes(b"secret")
    os.chmod(outside / "passwd", 0o644)
    (data / "users/evil.json").symlink_to(outside / "passwd")
    (data / "histories/evil").symlink_to(outside)
    (data / "users/inside.json").symlink_to("anna.json")
    assert codes(data) == [("histories/evil", "link-outside"), ("users/evil.json", "link-outside")]
    assert mend(data) == (0, [])
    assert (mode(outside), mode(outside / "passwd")) == (0o755, 0o644)


def test_what_is_no_file_is_found(data: Path) -> None:
    os.mkfifo(data / "users/pipe.json", 0o600)
    assert codes(data) == [("users/pipe.json", "special-file")]


def test_a_folder_above_that_all_may_change_is_found(data: Path) -> None:
    os.chmod(data.parent, 0o777)
    monitor = CollectingMonitor()
    check_permissions(str(data), owner_policy(str(data), Policy()), monitor)
    found = [one for one in monitor.findings if one.code == "replaceable-folder"]
    assert [one.path for one in found] == [str(data.parent)]
    os.chmod(data.parent, 0o1777)
    monitor = CollectingMonitor()
    check_permissions(str(data), owner_policy(str(data), Policy()), monitor)
    assert str(data.parent) not in [one.path for one in monitor.findings]


@as_root
def test_a_foreign_owner_is_found_and_gets_it_back(data: Path) -> None:
    os.chown(data / NOTES, 12345, 54321)
    assert codes(data) == [(NOTES, "foreign-group"), (NOTES, "foreign-owner")]
    assert mend(data) == (1, [])
    assert ((data / NOTES).stat().st_uid, (data / NOTES).stat().st_gid) == (
        data.stat().st_uid,
        data.stat().st_gid,
    )


@as_root
def test_a_file_with_another_owner_and_another_name_is_left_alone(
    data: Path, tmp_path: Path
) -> None:
    """Who may write here could link a file of root's or another's, and have it given away."""
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"secret")
    os.chmod(theirs, 0o644)
    os.chown(theirs, 12345, 12345)
    os.link(theirs, data / "users/mine.json")
    assert mend(data) == (0, ["shared-file"])
    assert (theirs.stat().st_uid, mode(theirs)) == (12345, 0o644)
    assert plan_permissions(str(data), owner_policy(str(data), Policy())).refused == 1


@as_root
def test_an_access_list_is_found(data: Path) -> None:
    user = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\x39\x30\0\0"
    rest = b"\x04\0\0\0\xff\xff\xff\xff\x10\0\x04\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff"
    try:
        os.setxattr(data / NOTES, "system.posix_acl_access", user + rest)
    except OSError:
        pytest.skip("this file system has no access lists")
    assert ("notes.txt", "access-list") in codes(data)


def test_what_cannot_be_changed_is_told_and_the_rest_goes_on(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chmod(data / NOTES, 0o644)
    os.chmod(data / "users/anna.json", 0o644)
    chmod = os.chmod

    def not_the_first(path: str, bits: int) -> None:
        monkeypatch.setattr(os, "chmod", chmod)
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", not_the_first)
    assert mend(data) == (1, ["mode-not-changed"])


def test_a_file_that_was_put_there_meanwhile_is_not_changed(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chmod(data / NOTES, 0o644)
    opened = os.open

    def swapped(path: bytes, flags: int, *more: int, dir_fd: int | None = None) -> int:
        if path == NOTES.encode() and flags & os.O_PATH:
            os.rename(data / NOTES, data / "aside")
            os.symlink("/etc/passwd", data / NOTES)
        return opened(path, flags, *more, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", swapped)
    assert mend(data)[0] == 0
    assert mode(data / "aside") == 0o644


@given(st.integers(0, 0o7777), st.booleans(), st.integers(0, 0o777), st.integers(0, 0o777))
def test_what_was_mended_is_in_order_and_stays_so(
    bits: int, folder: bool, files: int, folders: int
) -> None:
    policy = Policy(file_mode=files, folder_mode=folders, uid=1, gid=1)
    node = Node((stat.S_IFDIR if folder else stat.S_IFREG) | bits, 2, 2, 1)
    change = mending(node, policy)
    assert change is not None
    assert change.owner == (1, 1)
    after = bits if change.mode is None else change.mode
    mended = Node(stat.S_IFMT(node.st_mode) | after, 1, 1, 1)
    assert judge(b"x", mended, policy) == []
    assert mending(mended, policy) is None


@pytest.mark.parametrize("text", ["", "8", "1000", "rwx", "-1", "0o9"])
def test_what_is_no_mode_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_mode(text)


def test_modes_are_octal() -> None:
    assert [parse_mode(text) for text in ("600", "0750", "0o640")] == [0o600, 0o750, 0o640]


@pytest.mark.parametrize(("text", "folder"), [("0", False), ("400", False), ("600", True)])
def test_a_mode_that_shuts_the_owner_out_is_refused(text: str, folder: bool) -> None:
    with pytest.raises(UsageError, match="shut the owner out"):
        parse_mode(text, folder=folder)


def test_a_number_that_is_no_users_is_refused() -> None:
    assert parse_id("4294967294") == (1 << 32) - 2
    for number in ("4294967295", "99999999999999999999"):
        with pytest.raises(UsageError):
            parse_id(number)


@as_root
def test_what_the_application_made_stays_its_own_in_a_directory_that_is_roots(data: Path) -> None:
    """A mount belongs to root: everything in it must not be given to root for that."""
    for path in data.rglob("*"):
        os.chown(path, 12_345, 23_456)
    policy = owner_policy(str(data), Policy())
    assert (policy.uid, policy.gid) == (12_345, 23_456)
    os.chown(data / "users", 1, 1)
    policy = owner_policy(str(data), Policy())
    assert (policy.uid, policy.gid) == (os.geteuid(), os.getegid())


def test_a_walk_holds_neither_all_names_nor_all_folders_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder is followed by what it holds, before the next one is even met."""
    monkeypatch.setattr(walking, "_SORTED_NAMES", 3)
    for number in range(10):
        (tmp_path / f"folder{number}/deep").mkdir(parents=True)
        (tmp_path / f"folder{number}/deep/file").touch()
    with open_root(str(tmp_path)) as root:
        paths = [met.path for met in walking.walk(root)]
    assert paths[0] == b""
    assert len(set(paths)) == len(paths) == 31
    for at in range(1, len(paths), 3):
        assert paths[at + 1 : at + 3] == [paths[at] + b"/deep", paths[at] + b"/deep/file"]


def test_a_folder_that_vanishes_while_it_is_walked_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").touch()
    with open_root(str(tmp_path)) as root:
        walk = walking.walk(root)
        assert [next(walk).path, next(walk).path] == [b"", b"folder"]
        (tmp_path / "folder/file").unlink()
        (tmp_path / "folder").rmdir()
        assert list(walk) == []
