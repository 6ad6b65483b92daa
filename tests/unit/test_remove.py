"""Removing a user's live documents: everything of the user, nothing else, through no link."""

import os
import stat
from pathlib import Path

import pytest

from shenyu_data.datadir import remove
from shenyu_data.datadir.remove import Remover
from shenyu_data.model.errors import DataDirectoryError
from shenyu_data.model.findings import Finding
from shenyu_data.testing.faulty import Crash


class Made:
    """A data directory with a user and a neighbour, and what a Remover says about the user."""

    def __init__(self, folder: Path, user: bytes = b"ben") -> None:
        self.data = os.fsencode(folder / "data")
        self.user = user
        self.findings: list[Finding] = []
        self.write(b"users/%b.json" % user)
        self.write(b"users/%b.json.gz" % user)
        self.write(b"histories/%b/chat-history.json" % user)
        self.write(b"histories/%b/old/deep/0.json" % user)
        self.write(b"histories/%b/.shenyu-data-displaced-0" % user)
        self.neighbours = [b"users/ben2.json", b"users/be.json", b"histories/be/n.json", b"x.txt"]
        for path in self.neighbours:
            self.write(path)

    def write(self, path: bytes, content: bytes = b"content") -> bytes:
        full = os.path.join(self.data, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as file:
            file.write(content)
        return full

    def remover(self) -> Remover:
        return Remover(os.fsdecode(self.data), self.user, self.findings.append)

    def files(self) -> set[bytes]:
        found = set()
        for folder, _, names in os.walk(self.data):
            found |= {os.path.relpath(os.path.join(folder, name), self.data) for name in names}
        return found

    def check_gone(self) -> None:
        assert self.files() == set(self.neighbours)
        assert not os.path.lexists(os.path.join(self.data, b"histories", self.user))


def is_complete(remover: Remover) -> bool:
    """Ask anew: mypy takes a property that was looked at for constant."""
    return remover.complete


NAMES = [
    b"ben",
    b"a b",
    "莲 \u202e".encode(),
    b"\xff\xfe",
    b"\x1b[2J\n",
    b"-rf",
    b"~",
    b"*",
    b"...",
]
NAMES += [b"x" * 247, b".hidden", b"$(reboot)"]


@pytest.mark.parametrize("name", NAMES)
def test_everything_of_the_user_goes_and_nothing_else(tmp_path: Path, name: bytes) -> None:
    made = Made(tmp_path, name)
    remover = made.remover()
    assert remover.remove() == 5
    made.check_gone()
    assert (remover.documents, remover.overwritten, remover.document_bytes) == (5, 5, 35)
    assert is_complete(remover)
    assert made.findings == []
    assert remover.remove() == 0


def test_what_was_written_is_overwritten_before_it_goes(tmp_path: Path) -> None:
    made = Made(tmp_path)
    held = os.open(os.path.join(made.data, b"users/ben.json"), os.O_RDONLY)
    made.remover().remove()
    assert os.pread(held, 100, 0) == bytes(7)
    os.close(held)


def test_a_user_file_that_is_a_folder_and_a_history_that_is_a_file_are_nobodys(
    tmp_path: Path,
) -> None:
    made = Made(tmp_path, b"other")
    made.write(b"users/ben.json/inside")
    made.write(b"histories/ben")
    made.user = b"ben"
    before = made.files()
    assert made.remover().remove() == 0
    assert made.files() == before


@pytest.mark.parametrize("path", [b"users/ben.json", b"histories/ben", b"histories/ben/l.json"])
def test_a_link_goes_and_what_it_leads_to_stays(tmp_path: Path, path: bytes) -> None:
    made = Made(tmp_path)
    made.remover().remove()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.json").write_text("kept")
    os.makedirs(os.path.dirname(os.path.join(made.data, path)), exist_ok=True)
    os.symlink(outside, os.path.join(made.data, path))
    remover = made.remover()
    assert remover.remove() == 1
    assert (remover.links, remover.documents) == (1, 0)
    assert (outside / "kept.json").read_text() == "kept"
    assert [item.code for item in made.findings] == ["link-target-remains"]
    made.check_gone()


@pytest.mark.parametrize("folder", [b"users", b"histories"])
def test_nothing_is_removed_through_a_folder_that_is_a_link(tmp_path: Path, folder: bytes) -> None:
    made = Made(tmp_path)
    os.rename(os.path.join(made.data, folder), os.path.join(made.data, b"elsewhere"))
    os.symlink(b"elsewhere", os.path.join(made.data, folder))
    before = made.files()
    with pytest.raises(DataDirectoryError):
        made.remover().remove()
    assert made.files() == before


def test_the_second_name_of_a_file_is_told_and_its_content_kept(tmp_path: Path) -> None:
    made = Made(tmp_path)
    os.link(os.path.join(made.data, b"users/ben.json"), os.path.join(made.data, b"twin"))
    remover = made.remover()
    remover.remove()
    remover.report_links()
    assert [item.code for item in made.findings] == ["hard-link-remains"]
    with open(os.path.join(made.data, b"twin"), "rb") as file:
        assert file.read() == b"content"


def test_two_names_of_one_file_that_are_both_the_users_are_no_matter(tmp_path: Path) -> None:
    made = Made(tmp_path)
    one = os.path.join(made.data, b"users/ben.json")
    os.link(one, os.path.join(made.data, b"histories/ben/twin.json"))
    held = os.open(one, os.O_RDONLY)
    remover = made.remover()
    remover.remove()
    remover.report_links()
    assert made.findings == []
    assert os.pread(held, 100, 0) == bytes(7)
    os.close(held)
    made.check_gone()


def test_fifos_sockets_and_holes_do_not_hold_it_up(tmp_path: Path) -> None:
    made = Made(tmp_path)
    os.mkfifo(os.path.join(made.data, b"histories/ben/fifo.json"))
    huge = made.write(b"histories/ben/huge.json", b"")
    os.truncate(huge, 1 << 40)
    remover = made.remover()
    assert remover.remove() == 7
    assert remover.documents - remover.overwritten == 1  # a terabyte of holes is not filled
    made.check_gone()


def test_folders_nested_a_thousand_deep_go(tmp_path: Path) -> None:
    made = Made(tmp_path)
    here = os.open(os.path.join(made.data, b"histories/ben"), os.O_RDONLY)
    for _ in range(1000):
        os.mkdir(b"d", dir_fd=here)
        below = os.open(b"d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open(b"bottom.json", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)
    remover = made.remover()
    assert remover.remove() == 6
    assert is_complete(remover)
    made.check_gone()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may remove everything")
def test_what_cannot_be_removed_is_told_once_and_is_not_complete(tmp_path: Path) -> None:
    made = Made(tmp_path)
    folder = os.path.join(made.data, b"histories/ben/old/deep")
    os.chmod(folder, stat.S_IRUSR | stat.S_IXUSR)
    remover = made.remover()
    remover.remove()
    remover.remove()
    assert not is_complete(remover)
    assert [item.code for item in made.findings].count("not-removed") >= 1
    os.chmod(folder, 0o700)
    remover.remove()
    assert is_complete(remover)
    made.check_gone()


def test_a_system_that_refuses_makes_it_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made(tmp_path)
    unlink = os.unlink

    def refuse(name: bytes, *, dir_fd: int) -> None:
        if name == b"0.json":
            raise PermissionError(1, "Operation not permitted")
        unlink(name, dir_fd=dir_fd)

    remover = made.remover()
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        remover.remove()
    assert not is_complete(remover)
    paths = [item.path for item in made.findings if item.code == "not-removed"]
    assert "histories/ben/old/deep/0.json" in paths
    assert len(paths) == len(set(paths))
    remover.remove()
    assert is_complete(remover)
    made.check_gone()


@pytest.mark.parametrize("call", ["unlink", "rmdir", "overwrite", "fsync"])
def test_killed_at_any_step_a_second_run_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    where = remove if call == "overwrite" else os
    real = getattr(where, call)
    for at in range(50):
        made = Made(tmp_path / str(at))
        left = [at]

        def die(*arguments: object, left: list[int] = left, **named: object) -> object:
            if not left[0]:
                raise Crash
            left[0] -= 1
            return real(*arguments, **named)

        with monkeypatch.context() as patch:
            patch.setattr(where, call, die)
            try:
                made.remover().remove()
            except Crash:
                pass
            else:
                break
        made.remover().remove()
        made.check_gone()
    assert 2 < at < 49
