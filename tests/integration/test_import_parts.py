"""Imports in several processes: written aside, named in the export's order, gone after a kill."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shenyu_data.datadir import aside
from shenyu_data.datadir.aside import name_of
from shenyu_data.exchange.native import Line, signed
from shenyu_data.model.errors import ArchiveError
from shenyu_data.model.monitor import CollectingMonitor, SilentMonitor
from shenyu_data.operations import import_place
from shenyu_data.operations.export import ExportOptions, export
from shenyu_data.operations.import_data import ImportStats, import_data
from shenyu_data.operations.import_plan import ImportOptions, open_export, plan_import
from shenyu_data.operations.interrupted import sweep_imports
from shenyu_data.operations.journal import open_journals
from shenyu_data.testing.tree import Item, Tree, build_tree, read_tree

NS = 1_700_000_000_123_456_789
USERS = 40


def history(user: int, number: int) -> bytes:
    messages = [{"role": "user", "content": "你好 " * 1500}]
    return json.dumps({"id": user * 100 + number, "messages": messages}, indent=2).encode()


def build(data: Path) -> Tree:
    """Make a data directory of a few megabytes, which are some parts of an export."""
    plan: dict[bytes, Item] = {b"notes.txt": Item("file", b"mine", 0o644, NS)}
    for user in range(USERS):
        name = b"user%d" % user
        plan[b"users/%b.json" % name] = Item("file", b'{"id": "%b"}' % name, 0o600, NS + user)
        plan[b"histories/" + name] = Item("folder", mode=0o750, mtime_ns=NS - user)
        for number in range(8):
            path = b"histories/%b/%d.json" % (name, number)
            plan[path] = Item("file", history(user, number), 0o640, NS + number)
    first = b"histories/user7/0.json"
    plan[b"histories/user7/large.json"] = Item("file", b"[" + b" " * (3 << 20) + b"]", 0o600, NS)
    plan[b"histories/user7/same.json"] = plan[first]._replace(same_as=first)
    plan[b"histories/user9/deep"] = Item("folder", mode=0o700, mtime_ns=NS)
    plan[b"histories/user9/deep/kept.bin"] = Item("file", bytes(range(256)), 0o600, NS)
    plan[b"histories/user9/link.json"] = Item("link", b"0.json", mtime_ns=NS)
    plan[b"histories/locked"] = Item("folder", mode=0o500, mtime_ns=NS)
    build_tree(data, plan)
    return read_tree(data)


def exported(data: Path, file: Path, **options: Any) -> Path:
    export(str(data), str(file), io.BytesIO(), ExportOptions(**options), SilentMonitor())
    return file


def bring_in(file: Path, data: Path, **options: Any) -> tuple[ImportStats, list[str]]:
    monitor = CollectingMonitor()
    given = ImportOptions(state=str(data) + "-state", quiet_s=0.02, **options)
    words = (lambda: open_export(str(file)), str(data), None, given, monitor)
    plan = plan_import(*words)
    done = import_data(*words, plan=plan)
    return done, [finding.code for finding in monitor.findings]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tree, Path]:
    """Return what a data directory holds, and its export."""
    base = tmp_path_factory.mktemp("made")
    tree = build(base / "data")
    return tree, exported(base / "data", base / "all.jsonl")


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.zst"])
@pytest.mark.parametrize("jobs", [1, 3])
def test_however_many_processes_the_directory_is_the_same(
    made: tuple[Tree, Path], tmp_path: Path, jobs: int, suffix: str
) -> None:
    tree, file = made
    if suffix != file.suffix:
        tree = build(tmp_path / "data")
        file = exported(tmp_path / "data", tmp_path / f"all{suffix}", jobs=jobs)
    done, codes = bring_in(file, tmp_path / "new", jobs=jobs, exact=True)
    assert (done.failed, done.refused, codes) == (0, 0, [])
    found = read_tree(tmp_path / "new")
    assert found.nodes == tree.nodes
    assert found.hard_links == tree.hard_links
    again, codes = bring_in(file, tmp_path / "new", jobs=jobs, exact=True)
    assert (again.created, again.links, codes) == (0, 0, [])
    assert again.unchanged == done.created + done.links
    assert read_tree(tmp_path / "new") == found


@pytest.mark.parametrize("jobs", [1, 3])
def test_the_guides_format_too(made: tuple[Tree, Path], tmp_path: Path, jobs: int) -> None:
    build(tmp_path / "data")
    file = exported(tmp_path / "data", tmp_path / "export.json", form="guide", jobs=jobs)
    done, codes = bring_in(file, tmp_path / "new", jobs=jobs)
    assert (done.failed, done.refused, codes) == (0, 0, [])
    found = read_tree(tmp_path / "new").nodes
    for user in range(USERS):
        for number in range(7):
            path = b"histories/user%d/%d.json" % (user, number)
            assert found[path].content == made[0].nodes[path].content


def test_killed_at_any_moment_the_next_import_goes_on(
    made: tuple[Tree, Path], tmp_path: Path
) -> None:
    """A real process with workers, killed when something is aside: nothing half is to be seen."""
    tree, file = made
    data, state = tmp_path / "data", {"XDG_STATE_HOME": str(tmp_path / "state")}
    command = ("import", str(file), "--data", str(data), "--yes", "--exact", "--jobs", "2")
    words = [sys.executable, "-m", "shenyu_data.cli.main", *command]
    with subprocess.Popen(words, env=os.environ | state, stdout=subprocess.DEVNULL) as child:
        while child.poll() is None and not list(data.glob(".shenyu-data-new-*")):
            time.sleep(0.001)
        child.send_signal(signal.SIGKILL)
    for path, node in read_tree(data).nodes.items():
        if node.kind == "file" and b".shenyu-data-new-" not in path:
            assert node.content == tree.nodes[path].content
    while True:  # the workers of the killed one keep its lock until they are gone
        done = subprocess.run(words, env=os.environ | state, capture_output=True, text=True)
        if done.returncode != 2:
            break
    assert done.returncode == 0, done.stderr
    found = read_tree(data)
    assert found.nodes == tree.nodes
    assert found.hard_links == tree.hard_links


def test_what_a_worker_of_a_killed_import_leaves_later_is_removed_too(tmp_path: Path) -> None:
    """Even after the next operation has ended the killed one's journal."""
    build_tree(tmp_path / "data", {b"users/anna.json": Item("file", b"{}")})
    bring_in(exported(tmp_path / "data", tmp_path / "all.jsonl"), tmp_path / "new")
    with open_journals(str(tmp_path / "new") + "-state") as journals:
        run = next(journals.newest_first()).run
        left = tmp_path / "new" / name_of(run, 5).decode()
        (left / "0").mkdir(parents=True)
        (left / "0" / "0.json").write_bytes(b"{}")
        (left / "1").write_bytes(b"{}")
        stranger = tmp_path / "new" / name_of("0" * 8, 5).decode()
        stranger.mkdir()
        root = os.open(tmp_path / "new", os.O_RDONLY)
        try:
            sweep_imports(root, journals)
        finally:
            os.close(root)
    assert not left.exists()
    assert stranger.exists(), "an import of somebody else's may be at it"


def test_nobody_exports_or_backs_up_what_is_aside(tmp_path: Path) -> None:
    data = tmp_path / "data"
    build_tree(data, {b"users/anna.json": Item("file", b"{}")})
    before = exported(data, tmp_path / "before.jsonl").read_bytes()
    build_tree(data, {name_of("0" * 8, 1) + b"/0/0.json": Item("file", b"[]")})
    after = exported(data, tmp_path / "after.jsonl").read_bytes()
    assert len(after) == len(before)
    assert b"0.json" not in after


@pytest.mark.parametrize("policy", ["skip", "overwrite"])
def test_a_folder_that_comes_to_be_there_meanwhile_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    """The application makes the user right before the folder gets its name."""
    theirs = {b"users/anna.json": Item("file", b'{"id": 1}', 0o600, NS)}
    for name in (b"0", b"1"):
        theirs[b"histories/anna/%b.json" % name] = Item("file", b'{"id": 1}', 0o600, NS)
    build_tree(tmp_path / "data", theirs)
    file = exported(tmp_path / "data", tmp_path / "all.jsonl")
    new = tmp_path / "new"

    def place(*words: Any) -> Any:
        (new / "histories/anna").mkdir(parents=True)
        (new / "histories/anna/0.json").write_bytes(b'{"id": 2}')
        (new / "users/anna.json").write_bytes(b'{"id": 2}')
        return aside.place(*words)

    (new / "users").mkdir(parents=True)
    monkeypatch.setattr(import_place, "place", place)
    done, codes = bring_in(file, new, policy=policy, unsaved_too=True)
    assert (done.created, done.failed, codes) == (1, 0, [])
    wanted = b'{"id": 2}' if policy == "skip" else b'{"id": 1}'
    assert (new / "histories/anna/0.json").read_bytes() == wanted
    assert (new / "users/anna.json").read_bytes() == wanted
    assert (new / "histories/anna/1.json").read_bytes() == b'{"id": 1}'
    assert (new / "histories/anna/1.json").stat().st_mtime_ns == NS
    assert list(new.glob(".shenyu-data-new-*")) == []


@pytest.mark.parametrize("form", ["native", "guide"])
def test_an_export_that_is_another_by_now_is_noticed(
    made: tuple[Tree, Path], tmp_path: Path, form: str
) -> None:
    """Workers read a plain file themselves, at the places that the main process saw."""
    file = made[1]
    if form == "guide":
        build(tmp_path / "data")
        file = exported(tmp_path / "data", tmp_path / "export.json", form=form)
    text = file.read_bytes()
    file = tmp_path / "all"
    file.write_bytes(text)
    opened = open_export(str(file))
    other = tmp_path / "other"
    other.write_bytes(text)
    other.replace(file)
    given = ImportOptions(state=str(tmp_path / "state"), jobs=2)
    with pytest.raises(ArchiveError, match="was changed"):
        plan_import(lambda: opened, str(tmp_path / "new"), None, given, SilentMonitor())


def test_a_user_in_two_parts_of_an_export_is_put_together(tmp_path: Path) -> None:
    """The entries come in any order, and a user's may be far apart."""
    lines: list[Line] = []
    for number in range(3):
        for user in range(USERS):
            text = history(user, number).decode()
            path = f"histories/user{user}/{number}.json"
            lines.append(Line(kind="file", path=path, mode="0600", text=text, size=len(text)))
    for user in range(USERS):
        folder = Line(kind="folder", path=f"histories/user{user}", mode="0750", mtime_ns=str(NS))
        lines.append(folder)
    file = tmp_path / "all.jsonl"
    build_tree(tmp_path / "data", {b"users": Item("folder")})
    head, _, _ = exported(tmp_path / "data", tmp_path / "x.jsonl").read_bytes().partition(b"\n")
    body = b"".join(signed(msgspec.json.encode(line)) for line in lines)
    file.write_bytes(head + b"\n" + body)
    done, codes = bring_in(file, tmp_path / "new", jobs=2, damaged_too=True)
    assert (done.created, done.failed) == (3 * USERS, 0)
    assert codes == ["damaged-export"] * 2, "it has no last line: told by the plan, and again"
    for user in range(USERS):
        folder_made = tmp_path / f"new/histories/user{user}"
        assert len(list(folder_made.iterdir())) == 3
        assert (folder_made.stat().st_mode & 0o777, folder_made.stat().st_mtime_ns) == (0o750, NS)
