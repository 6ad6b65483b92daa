"""Unpacking archives that mean harm: nothing is written outside, no link followed, no bit kept."""

from __future__ import annotations

import fcntl
import io
import os
import stat
import tarfile
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.datadir import tar_stream, unpack
from shenyu_data.datadir.scratch import PREFIX, YOUNG_S, remove_stale, scratch_folder
from shenyu_data.datadir.tar import TarReader
from shenyu_data.datadir.tar_stream import ArchiveStream
from shenyu_data.datadir.unpack import MAX_DEPTH, Unpacked, Unpacker, safe_path
from shenyu_data.datadir.unpacked import find_data_directory, remove_users
from shenyu_data.model.errors import ArchiveDamaged, ArchiveError
from tests.unit.test_tar import info, made


class Outcome(NamedTuple):
    tree: Path
    done: Unpacked
    refused: dict[str, str]
    skipped: list[str]


def unpacked(base: Path, data: bytes) -> Outcome:
    tree = base / "scratch/tree"
    tree.mkdir(parents=True)
    refused: dict[str, str] = {}
    skipped: list[str] = []
    root = os.open(tree, os.O_RDONLY)
    try:
        with open(base / "notes", "w+b") as notes:
            unpacker = Unpacker(
                root,
                notes,
                refuse=lambda name, why: refused.__setitem__(name.rstrip("/"), why),
                skip=skipped.append,
            )
            unpacker.take_all(TarReader(ArchiveStream(io.BytesIO(data))))
    finally:
        os.close(root)
    return Outcome(tree, unpacker.done, refused, skipped)


def names(tree: Path) -> set[str]:
    return {str(path.relative_to(tree)) for path in tree.rglob("*")}


@pytest.mark.parametrize(
    "name", ["../out", "a/../../out", "..", "a/..", "/../out", "a/" * (MAX_DEPTH + 1) + "x"]
)
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    found = unpacked(tmp_path, made((info(name), b"harm"), (info("good"), b"x")))
    assert list(found.refused) == [name]
    assert names(found.tree) == {"good"}
    assert names(tmp_path) == {"scratch", "scratch/tree", "scratch/tree/good", "notes"}


def test_an_absolute_name_lands_inside_as_with_tar_itself(tmp_path: Path) -> None:
    target = tmp_path / "outside"
    found = unpacked(tmp_path, made((info(str(target)), b"x")))
    assert not target.exists()
    assert (found.tree / str(target)[1:]).read_bytes() == b"x"


@pytest.mark.parametrize("target", ["..", "/", "inside", "."])
def test_nothing_is_written_through_a_link(tmp_path: Path, target: str) -> None:
    data = made(
        (info("inside", tarfile.DIRTYPE), b""),
        (info("link", tarfile.SYMTYPE, linkname=target), b""),
        (info("link/file"), b"harm"),
        (info("link/deep/file"), b"harm"),
        (info("link/more", tarfile.DIRTYPE), b""),
        (info("hard", tarfile.LNKTYPE, linkname="link/file"), b""),
        (info("link/hard", tarfile.LNKTYPE, linkname="inside/x"), b""),
        (info("link", tarfile.DIRTYPE, mode=0o777), b""),
    )
    found = unpacked(tmp_path, data)
    assert set(found.refused) == {
        "link/file",
        "link/deep/file",
        "link/more",
        "hard",
        "link/hard",
        "link",
    }
    assert names(found.tree) == {"inside", "link"}
    assert os.readlink(found.tree / "link") == target


def test_a_file_takes_the_place_of_a_link_and_does_not_follow_it(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    link = info("a", tarfile.SYMTYPE, linkname=str(victim))
    found = unpacked(tmp_path, made((link, b""), (info("a"), b"new")))
    assert victim.read_bytes() == b"mine"
    assert not (found.tree / "a").is_symlink()
    assert (found.tree / "a").read_bytes() == b"new"


@pytest.mark.parametrize("target", ["../../victim", "/etc/passwd", "nowhere", "link", "folder", ""])
def test_a_hard_link_to_anything_but_a_file_of_the_archive_is_refused(
    tmp_path: Path, target: str
) -> None:
    (tmp_path / "victim").write_bytes(b"mine")
    data = made(
        (info("link", tarfile.SYMTYPE, linkname="../../victim"), b""),
        (info("folder", tarfile.DIRTYPE), b""),
        (info("old"), b"x"),
        (info("old", tarfile.LNKTYPE, linkname=target), b""),
    )
    found = unpacked(tmp_path, data)
    assert list(found.refused) == ["old"]
    assert (found.tree / "old").read_bytes() == b"x"
    assert (tmp_path / "victim").stat().st_nlink == 1


def test_hard_links_within_the_archive_are_joined(tmp_path: Path) -> None:
    data = made(
        (info("a/one"), b"x"),
        (info("b/two", tarfile.LNKTYPE, linkname="./a/one"), b""),
        (info("a/one", tarfile.LNKTYPE, linkname="a/one"), b""),
        (info("a/one"), b"new"),
    )
    found = unpacked(tmp_path, data)
    assert found.refused == {}
    assert (found.tree / "b/two").read_bytes() == b"x"  # as tar has it: the old file lives on
    assert (found.tree / "a/one").read_bytes() == b"new"


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_fifos_are_skipped(tmp_path: Path, kind: bytes) -> None:
    found = unpacked(tmp_path, made((info("x", kind, devmajor=1, devminor=3), b"")))
    assert (names(found.tree), found.skipped, found.refused) == (set(), ["x"], {})


def test_set_id_bits_are_dropped_and_our_own_right_to_read_is_kept(tmp_path: Path) -> None:
    data = made(
        (info("a", mode=0o6755, mtime=1_700_000_000), b"x"),
        (info("b", mode=0), b"x"),
        (info("d", tarfile.DIRTYPE, mode=0o7055, mtime=1_600_000_000), b""),
        (info("d/file"), b"x"),
    )
    tree = unpacked(tmp_path, data).tree
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tree.rglob("*")}
    assert (modes["a"], modes["b"], modes["d"]) == (0o755, 0o400, 0o755)
    assert (tree / "a").stat().st_mtime == 1_700_000_000
    assert (tree / "d").stat().st_mtime == 1_600_000_000  # though something was written into it


def test_the_last_of_several_members_of_one_name_wins(tmp_path: Path) -> None:
    data = made(
        (info("a", mode=0o400), b"first"),
        (info("a"), b"last"),
        (info("b", tarfile.SYMTYPE, linkname="x"), b""),
        (info("b", tarfile.SYMTYPE, linkname="y"), b""),
    )
    found = unpacked(tmp_path, data)
    assert (found.tree / "a").read_bytes() == b"last"
    assert os.readlink(found.tree / "b") == "y"


@pytest.mark.parametrize("kinds", [(tarfile.DIRTYPE, tarfile.REGTYPE), (b"0", tarfile.DIRTYPE)])
def test_a_file_and_a_folder_do_not_take_each_others_place(
    tmp_path: Path, kinds: tuple[bytes, bytes]
) -> None:
    found = unpacked(tmp_path, made(*((info("a", kind), b"") for kind in kinds)))
    assert list(found.refused) == ["a"]
    assert (found.tree / "a").is_dir() == (kinds[0] == tarfile.DIRTYPE)


def test_names_the_file_system_cannot_have_are_refused(tmp_path: Path) -> None:
    found = unpacked(tmp_path, made((info("n" * 256), b"x"), (info("ok"), b"x")))
    assert (list(found.refused), names(found.tree)) == (["n" * 256], {"ok"})


def test_names_that_are_not_utf8_are_kept(tmp_path: Path) -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    tree = unpacked(tmp_path, made((info(name), b"x"))).tree
    assert os.listdir(os.fsencode(tree)) == [b"caf\xe9"]


def test_the_half_of_a_file_that_was_cut_off_is_not_left(tmp_path: Path) -> None:
    plain = made((info("a"), b"a"), (info("b"), b"b" * 3000), packed=False)
    with pytest.raises(ArchiveDamaged):
        unpacked(tmp_path, plain[: 1024 + 512 + 2000])
    assert names(tmp_path / "scratch/tree") == {"a"}


def test_unpacking_stops_before_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack, "_CHECK_EVERY", 1 << 20)
    monkeypatch.setattr(unpack, "MIN_FREE_BYTES", 1 << 60)
    with pytest.raises(ArchiveError, match="fill the disk"):
        unpacked(tmp_path, made((info("a"), bytes(3 << 20))))
    assert names(tmp_path / "scratch/tree") == set()


@given(st.binary(max_size=60))
def test_a_safe_path_has_only_plain_names(name: bytes) -> None:
    path = safe_path(name)
    if path:
        assert not {b"", b".", b".."} & set(path.split(b"/"))
        assert b"\0" not in path


# ------------------------------------------------------------------- what was unpacked


def tree_of(base: Path, *folders: str) -> bytes:
    for folder in folders:
        (base / folder).mkdir(parents=True)
    return os.fsencode(base)


@pytest.mark.parametrize("inside", ["", "data/", "packages/backend/data/", "srv/a b/数据/"])
def test_the_data_directory_is_found_where_users_and_histories_are(
    tmp_path: Path, inside: str
) -> None:
    tree = tree_of(tmp_path, f"{inside}users", f"{inside}histories/ben/users")
    wanted = os.path.join(tree, os.fsencode(inside.rstrip("/"))) if inside else tree
    assert find_data_directory(tree) == (wanted, [])
    assert find_data_directory(tree, os.fsencode(inside or ".")) == (wanted, [])


def test_what_lies_beside_the_data_directory_is_told(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, "a/data/users", "a/logs", "b")
    assert find_data_directory(tree) == (os.path.join(tree, b"a/data"), ["b", "a/logs"])


def test_without_a_data_directory_or_with_two_it_must_be_named(tmp_path: Path) -> None:
    none = tree_of(tmp_path / "none", "a/b")
    two = tree_of(tmp_path / "two", "a/users", "b/histories")
    for tree in (none, two):
        with pytest.raises(ArchiveError) as caught:
            find_data_directory(tree)
        assert "--inside" in caught.value.hint
        assert find_data_directory(tree, b"./a")[0] == os.path.join(tree, b"a")
    (tmp_path / "none/link").symlink_to("a")
    for inside in (b"nowhere", b"..", b"a/../..", b"link"):
        with pytest.raises(ArchiveError):
            find_data_directory(none, inside)


def test_a_link_named_users_is_no_users_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "ben.json").write_text("{}")
    tree = tree_of(tmp_path / "tree", "histories")
    (tmp_path / "tree/users").symlink_to(outside)
    assert remove_users(tree, lambda user: True) == 0
    assert (outside / "ben.json").exists()


def test_users_are_removed_with_their_histories(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, "users", "histories/ben", "histories/anna", "histories/eve")
    for name in ("users/ben.json", "users/ben.json.gz", "users/anna.json", "users/readme"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "histories/ben/chat.json").write_text("[]")
    assert remove_users(tree, {b"ben", b"eve", b"readme"}.__contains__) == 2
    assert names(tmp_path) == {"users", "users/anna.json", "users/readme", "histories"} | {
        "histories/anna"
    }


# ------------------------------------------------------------------- private folders


def test_a_scratch_folder_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    with scratch_folder(str(tmp_path)) as path:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
        (Path(path) / "below").mkdir()
        (Path(path) / "below/secret").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_a_killed_run_left_is_removed_when_it_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / f"{PREFIX}left"
    left.mkdir(mode=0o700)
    assert remove_stale(str(tmp_path)) == []  # it may have been made just now, to be locked next
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + YOUNG_S + 1)
    assert remove_stale(str(tmp_path)) == [str(left)]
    assert not left.exists()


def test_a_folder_that_a_killed_run_filled_is_removed_however_young(tmp_path: Path) -> None:
    """Nothing is put into one that is not locked; below it, modes forbid nothing."""
    left = tmp_path / f"{PREFIX}left"
    (left / "below" / "deeper").mkdir(parents=True)
    (left / "below/secret").write_text("x")
    (left / "below").chmod(0)
    left.chmod(0o700)
    assert remove_stale(str(tmp_path)) == [str(left)]
    assert not left.exists()


def test_folders_in_use_of_others_or_merely_named_alike_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{PREFIX}open").mkdir(mode=0o755)
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / f"{PREFIX}link").symlink_to("elsewhere")
    (tmp_path / f"{PREFIX}file").write_text("x")
    before = names(tmp_path)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + YOUNG_S + 1)
    with scratch_folder(str(tmp_path)) as used:
        assert remove_stale(str(tmp_path)) == []
        assert os.path.isdir(used)
    used_by_another = tmp_path / f"{PREFIX}locked"
    used_by_another.mkdir(mode=0o700)
    lock = os.open(used_by_another, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert remove_stale(str(tmp_path)) == []
    os.close(lock)
    assert remove_stale(str(tmp_path)) == [str(used_by_another)]
    assert names(tmp_path) == before


def test_a_place_that_is_not_there_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError) as caught, scratch_folder(str(tmp_path / "nowhere")):
        pass
    assert "--temp" in caught.value.hint


def test_a_link_to_a_name_with_a_nul_byte_is_refused(tmp_path: Path) -> None:
    link = info("link", tarfile.SYMTYPE, pax_headers={"linkpath": "a\0b"})
    found = unpacked(tmp_path, made((link, b""), (info("good"), b"x"), form=tarfile.PAX_FORMAT))
    assert list(found.refused) == ["link"]
    assert names(found.tree) == {"good"}


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.FIFOTYPE])
def test_a_name_of_a_megabyte_is_told_by_its_beginning(tmp_path: Path, kind: bytes) -> None:
    name = "\x07" * 900_000 if kind == tarfile.REGTYPE else "n" * 900_000
    found = unpacked(tmp_path, made((info(name, kind), b""), form=tarfile.PAX_FORMAT))
    (told,) = [*found.refused, *found.skipped]
    assert len(told) < 2000
    assert told.endswith("…")


def test_hard_links_count_as_what_has_to_be_read_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tar_stream, "FREE_BYTES", 1 << 20)
    links = [(info(str(n), tarfile.LNKTYPE, linkname="file"), b"") for n in range(500)]
    small = made((info("file"), b"x"), *links)
    assert unpacked(tmp_path / "small", small).done.files == 501
    large = made((info("file"), b"x" * 100_000), *links)
    with pytest.raises(ArchiveError, match="times its size"):
        unpacked(tmp_path / "large", large)
