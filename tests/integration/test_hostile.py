"""Names, trees, races and repositories made to harm: no verb crashes, nothing leaves its place."""

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shenyu_data.model.layout import Place
from shenyu_data.repository.crypto import OwnerKeys
from shenyu_data.repository.format import (
    Entry,
    FileEntry,
    FolderEntry,
    LinkEntry,
    OwnerRecord,
    Segment,
    new_id,
)
from shenyu_data.repository.keyring import write_keyring
from shenyu_data.repository.manifest import Layer, ManifestWriter, RootBuckets, SectionBuilder
from shenyu_data.repository.packs import PackWriter
from shenyu_data.repository.repository import Repository, create_repository, open_repository
from shenyu_data.repository.snapshots import write_root
from shenyu_data.storage.local import LocalStorage
from shenyu_data.testing.strategies import HOSTILE_NAMES, chats
from shenyu_data.testing.tree import Item, Node, Tree, build_tree, read_tree
from tests.cli.conftest import Said, call_shenyu

AS_ROOT = os.geteuid() == 0
NOBODY = 65534
OLD_NS = 1_700_000_000_000_000_000
HISTORY = b"histories/anna/chat-history.json"
USER = b'{"id": "anna", "created_at": "2025-02-10T03:28:00.000Z"}'


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    base = tmp_path_factory.mktemp("made")
    storage = LocalStorage(str(base / "repo"))
    storage.create()
    _, recovery = create_repository(storage, "passphrase")
    return base, recovery


@pytest.fixture
def base(made_once: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with an empty repository, and a data directory with the user anna."""
    made, recovery = made_once
    shutil.copytree(made / "repo", tmp_path / "repo")
    build(
        tmp_path,
        {
            b"users/anna.json": Item("file", USER, mtime_ns=OLD_NS),
            HISTORY: Item("file", chats(2, "precious", array=True), mtime_ns=OLD_NS),
        },
    )
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret.json").write_text('["secret"]')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", recovery)
    monkeypatch.setenv("SHENYU_DATA_DIR", "data")
    monkeypatch.setenv("SHENYU_DATA_REPO", "repo")
    return tmp_path


def build(base: Path, plan: dict[bytes, Item]) -> None:
    build_tree(base / "data", plan)


@pytest.fixture
def shenyu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Call the command line; whatever it prints must be safe to print."""

    def call(*words: str) -> Said:
        said = call_shenyu(monkeypatch, *words, "--jobs", "1")
        assert "Traceback" not in said.err
        assert_printable(said.err)
        if "--json" in words:
            json.loads(said.out)
        assert_printable(said.out)
        return said

    return call


def assert_printable(text: str) -> None:
    for line in text.split("\n"):
        assert line.isprintable(), repr(line)


def assert_restores(shenyu: Callable[..., Said], wanted: Tree, status: int = 0) -> None:
    target = Path(tempfile.mkdtemp(dir=".")) / "target"
    assert shenyu("restore", "latest", "--to", str(target)).status == status
    found = read_tree(target)
    assert found.nodes == wanted.nodes
    assert found.hard_links == wanted.hard_links


# Names


def hostile_tree() -> dict[bytes, Item]:
    plan = {}
    for name in HOSTILE_NAMES:
        for folder in (b"", b"users/", b"histories/anna/", b"histories/" + name + b"/"):
            plan[folder + name] = Item("file", content_of(name), mtime_ns=OLD_NS)
    return plan


def content_of(name: bytes) -> bytes:
    return gzip.compress(b"[]", mtime=0) if name.endswith(b".gz") else b"[]"


def test_hostile_names_neither_crash_a_verb_nor_get_lost(
    base: Path, shenyu: Callable[..., Said]
) -> None:
    build(base, hostile_tree())
    wanted = read_tree("data")
    for flags in ([], ["--json"], ["--verbose"]):
        assert shenyu("backup", *flags).status == 0
        assert shenyu("validate", "--all", *flags).status in (0, 1)
        assert shenyu("snapshots", *flags).status == 0
        assert shenyu("show", "latest", *flags).status == 0
        assert shenyu("verify", "--read-data", *flags).status == 0
    assert_restores(shenyu, wanted)


def test_every_hostile_user_can_be_shown_and_restored_alone(
    base: Path, shenyu: Callable[..., Said]
) -> None:
    build(base, hostile_tree())
    shenyu("backup")
    for number, name in enumerate(HOSTILE_NAMES):
        user = os.fsdecode(name)
        said = shenyu("show", "latest", f"--user={user}", "--json")
        assert said.status == 0
        assert len(said.json["documents"]) >= 1
        assert shenyu("show", "latest", f"--user={user}").status == 0
        target = f"target{number}"
        said = shenyu("restore", "latest", f"--user={user}", "--to", target, "--json")
        assert said.status == 0
        path = os.fsencode(target) + b"/histories/" + name + b"/" + name
        assert Path(os.fsdecode(path)).read_bytes() == content_of(name)


@pytest.mark.parametrize("json_flag", [[], ["--json"]])
def test_hostile_names_of_torn_documents_are_printed_with_escapes(
    json_flag: list[str], base: Path, shenyu: Callable[..., Said]
) -> None:
    plan = {
        b"histories/anna/" + name: Item("file", b"[", mtime_ns=OLD_NS)
        for name in HOSTILE_NAMES
        if name.endswith(b".json") and not name.startswith(b".")
    }
    build(base, plan)
    said = shenyu("backup", *json_flag)
    assert said.status == 1
    assert "\\x1b[31mred" in said.err + said.out
    assert shenyu("show", "latest", *json_flag).status == 1
    assert shenyu("validate", *json_flag).status == 1
    said = shenyu("restore", "latest", "--to", "target", *json_flag)
    assert said.status == 1


# Special files, links, depth


def test_fifos_sockets_and_devices_are_left_out_with_a_warning(
    base: Path, shenyu: Callable[..., Said]
) -> None:
    places = (b"users/pipe.json", b"histories/pipe", b"histories/anna/pipe.json", b"pipe")
    wanted = read_tree("data")
    times = {path: node.mtime_ns for path, node in wanted.nodes.items() if node.kind == "folder"}
    build(base, {place: Item("fifo", mode=0o600) for place in places})
    build(base, {place + b".sock": Item("socket", mode=0o600) for place in places})
    expected = {os.fsdecode(place) + end for place in places for end in ("", ".sock")}
    if AS_ROOT:
        try:
            os.mknod("data/histories/anna/zero.json", 0o600 | 0o020000, os.makedev(1, 5))
            expected.add("histories/anna/zero.json")
        except PermissionError:
            pass  # a container without the right to
    for path, time_ns in times.items():
        os.utime(os.path.join(b"data", path), ns=(time_ns, time_ns))
    for _ in range(2):
        said = shenyu("backup", "--json")
        assert said.status == 0
        findings = said.json["findings"]
        assert {one["code"] for one in findings} == {"special-file"}
        assert sorted(one["path"] for one in findings) == sorted(expected)
    assert shenyu("validate", "--json").status in (0, 1)
    assert_restores(shenyu, wanted)


def test_folders_deeper_than_any_program_makes_are_named_and_the_rest_is_kept(
    base: Path, shenyu: Callable[..., Said]
) -> None:
    deep = b"/".join([b"d"] * 70)
    build(base, {deep + b"/file": Item("file", b"deep"), b"notes.txt": Item("file", b"here")})
    build(base, {b"histories/anna/" + deep + b"/file": Item("file", b"deep")})
    said = shenyu("backup", "--json")
    assert said.status == 1
    assert said.json["degraded"] is True
    assert len({one["path"] for one in said.json["findings"]}) == 2
    assert shenyu("restore", "latest", "--to", "target").status in (0, 1)
    assert Path("target/notes.txt").read_text() == "here"
    assert (Path("target") / os.fsdecode(HISTORY)).exists()
    assert shenyu("verify", "--read-data").status == 0
    shenyu("validate")


def test_a_deep_path_of_long_names_is_restored_beyond_the_longest_path(
    base: Path, shenyu: Callable[..., Said]
) -> None:
    folder = os.open("data", os.O_RDONLY)
    for _ in range(30):  # 30 times 200 bytes is more than the 4,096 a path may have
        os.mkdir("d" * 200, dir_fd=folder)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    descriptor = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=folder)
    os.write(descriptor, b"far down")
    os.close(descriptor)
    os.close(folder)
    wanted = read_tree("data")
    assert shenyu("backup").status == 0
    assert_restores(shenyu, wanted)


def test_a_data_directory_may_be_a_link(base: Path, shenyu: Callable[..., Said]) -> None:
    (base / "data").rename(base / "real")
    (base / "data").symlink_to("real")
    assert shenyu("backup").status == 0
    assert_restores(shenyu, read_tree("real"))


@pytest.mark.parametrize("top", ["users", "histories"])
def test_a_top_folder_that_became_a_link_is_not_followed_and_loses_nothing(
    top: str, base: Path, shenyu: Callable[..., Said]
) -> None:
    wanted = read_tree("data")
    assert shenyu("backup").status == 0
    (base / "data" / top).rename(base / "moved")
    (base / "data" / top).symlink_to(base / "outside")
    for flags in ([], ["--full"]):
        said = shenyu("backup", "--json", *flags)
        assert said.status == 1
        assert said.json["degraded"] is True
        assert "not-a-folder" in {one["code"] for one in said.json["findings"]}
        target = f"target{len(flags)}"
        status = shenyu("restore", "latest", "--to", target).status
        assert status == 3  # the link itself has no place beside what is kept
        found = read_tree(target)
        assert {path: node for path, node in found.nodes.items() if node.kind == "file"} == {
            path: node for path, node in wanted.nodes.items() if node.kind == "file"
        }


# Races


def test_a_folder_swapped_for_a_link_meanwhile_leads_nowhere(
    base: Path, shenyu: Callable[..., Said]
) -> None:
    (base / "outside/chat-history.json").write_text('["secret"]')
    for number in range(40):
        build(base, {b"histories/u%d/chat-history.json" % number: Item("file", b"[]")})
    stop = threading.Event()

    def swap() -> None:
        number = 0
        while not stop.is_set():
            number = (number + 1) % 40
            folder = base / f"data/histories/u{number}"
            folder.rename(base / "aside")
            folder.symlink_to(base / "outside")
            folder.unlink()
            (base / "aside").rename(folder)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for number in range(8):
            status = shenyu("backup", *(["--full"] if number % 2 else [])).status
            assert status in (0, 1)
    finally:
        stop.set()
        thread.join()
    for item in shenyu("snapshots", "--json").json["snapshots"]:
        assert shenyu("restore", item["id"], "--to", item["id"]).status in (0, 1)
        for path in Path(item["id"]).rglob("*.json"):
            assert path.is_symlink() or b"secret" not in path.read_bytes()


def test_a_file_that_grows_while_it_is_read_does_not_hold_up_the_backup(
    base: Path, shenyu: Callable[..., Said]
) -> None:
    growing = base / "data" / os.fsdecode(HISTORY)
    large = base / "data/large.log"
    with open(large, "wb") as file:
        file.truncate(40 << 20)
    begun, stop = threading.Event(), threading.Event()

    def grow() -> None:
        piece = b"[" + b"0," * (1 << 15)
        with open(growing, "ab") as one, open(large, "ab") as other:
            while not stop.is_set() and one.tell() < 400 << 20:
                one.write(piece)
                one.flush()
                other.write(piece)
                other.flush()
                begun.set()

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        begun.wait()
        said = shenyu("backup", "--json")
    finally:
        stop.set()
        thread.join()
    assert said.status == 1
    assert "histories/anna/chat-history.json" in {one["path"] for one in said.json["findings"]}
    assert shenyu("restore", "latest", "--to", "target").status == 1


def test_files_that_come_and_go_do_not_stop_a_backup(
    base: Path, shenyu: Callable[..., Said]
) -> None:
    stop = threading.Event()

    def churn() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            folder = base / f"data/histories/v{number % 7}"
            folder.mkdir(exist_ok=True)
            (folder / "chat-history.json").write_text("[]")
            (base / f"data/users/v{number % 5}.json").write_text("{}")
            shutil.rmtree(base / f"data/histories/v{(number + 3) % 7}", ignore_errors=True)
            (base / f"data/users/v{(number + 2) % 5}.json").unlink(missing_ok=True)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for number in range(6):
            assert shenyu("backup", *(["--full"] if number % 3 == 2 else [])).status in (0, 1)
    finally:
        stop.set()
        thread.join()
    said = shenyu("backup", "--full", "--json")
    assert said.status in (0, 1)  # a tripwire may have something to say of so much that went
    assert said.json["degraded"] is False
    assert shenyu("verify", "--read-data").status == 0
    assert_restores(shenyu, read_tree("data"))


# What is gone


def test_a_data_directory_that_vanished_is_no_empty_one(
    base: Path, shenyu: Callable[..., Said]
) -> None:
    wanted = read_tree("data")
    shenyu("backup")
    (base / "data").rename(base / "away")
    said = shenyu("backup", "--json")
    assert (said.status, said.json["error"]["code"]) == (3, "data-directory")
    assert_restores(shenyu, wanted)


def test_users_that_vanished_are_told_and_the_earlier_snapshot_keeps_them(
    base: Path, shenyu: Callable[..., Said]
) -> None:
    wanted = read_tree("data")
    first = shenyu("backup", "--json").json["id"]
    shutil.rmtree(base / "data/users")
    shutil.rmtree(base / "data/histories")
    (base / "data/users").mkdir()
    said = shenyu("backup", "--json")
    assert said.json["changes"]["gone"] == 2
    assert said.json["totals"]["documents"] == 0
    assert shenyu("restore", first, "--to", "target").status == 0
    assert read_tree("target").nodes == wanted.nodes


def test_a_repository_whose_disk_is_not_mounted_is_not_made_anew(
    base: Path, shenyu: Callable[..., Said]
) -> None:
    shenyu("backup")
    (base / "repo").rename(base / "unmounted")
    for words in (["backup"], ["snapshots"], ["verify"], ["restore", "latest", "--to", "target"]):
        assert shenyu(*words).status == 3
    assert not (base / "repo").exists()


# Contents


BOMBS = {
    "deep": b"[" * 1_000_000,
    "deep and closed": b"[" * 500_000 + b"]" * 500_000,
    "deep objects": b'{"a":' * 300_000,
    "many": b"[" + b"0," * 2_000_000 + b"0]",
    "long number": b"[" + b"9" * 1_000_000 + b"]",
    "long exponent": b"[1e999999999]",
    "long string": b'["' + b"a" * 5_000_000 + b'"]',
    "many keys": b"{" + b",".join(b'"%d":0' % n for n in range(200_000)) + b"}",
    "half a character": b'["\\ud800"]',
    "blanks": b" " * 5_000_000,
    "zeros": b"\0" * 1_000_000,
}


def test_documents_that_would_blow_up_a_parser_are_kept_as_they_are(
    base: Path, shenyu: Callable[..., Said]
) -> None:
    plan = {
        b"histories/bombs/%b.json" % name.replace(" ", "-").encode(): Item("file", content)
        for name, content in BOMBS.items()
    }
    plan[b"histories/bombs/gzip.json.gz"] = Item("file", gzip.compress(b"\0" * (256 << 20), 1))
    plan[b"users/bomb.json"] = Item("file", BOMBS["deep"])
    build(base, {path: item._replace(mtime_ns=OLD_NS) for path, item in plan.items()})
    wanted = read_tree("data")
    said = shenyu("backup", "--json")
    assert said.status in (0, 1)
    assert_restores(shenyu, wanted, status=said.status)
    assert shenyu("validate", "--json").status == 1


PEAK = """
import re, sys
from shenyu_data.cli.common import run
from shenyu_data.cli.main import shenyu_data
status = run(shenyu_data)
peak_kb = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]
sys.stderr.write(f"{int(peak_kb) // 1024} {status}")
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux's /proc")
def test_a_file_larger_than_memory_is_backed_up_verified_and_restored_in_little_of_it(
    base: Path,
) -> None:
    large = base / "data/large.log"
    with open(large, "wb") as file:
        file.write(b"the beginning")
        file.truncate(400 << 20)
        file.seek(399 << 20)
        file.write(b"near the end")
    for words in (
        ["backup"],
        ["verify", "--read-data"],
        ["restore", "latest", "--to", "target"],
        ["restore", "latest", "--to", "target", "--overwrite"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *words, "--jobs", "1"], capture_output=True, text=True
        )
        peak_mb, status = map(int, done.stderr.split())
        assert status == 0
        assert peak_mb < 200, words
    with open(large, "rb") as one, open(base / "target/large.log", "rb") as other:
        while piece := one.read(1 << 20):
            assert other.read(1 << 20) == piece
        assert not other.read(1)
    assert sorted(os.listdir("target")) == sorted(os.listdir("data"))
    large.write_bytes(b"the beginning and no more")
    done = subprocess.run([sys.executable, "-c", PEAK, "backup"], capture_output=True, text=True)
    peak_mb, status = map(int, done.stderr.split())
    assert (status, peak_mb < 200) == (0, True)


def test_damage_in_a_large_file_is_found_before_the_file_gets_its_name(
    base: Path, shenyu: Callable[..., Said]
) -> None:
    (base / "data/large.log").write_bytes(os.urandom(33 << 20))
    (base / "target").mkdir()
    (base / "target/large.log").write_text("what was there")
    shenyu("backup")
    (largest,) = sorted((base / "repo/packs").iterdir(), key=lambda path: path.stat().st_size)[-1:]
    content = bytearray(largest.read_bytes())
    content[-20] ^= 1
    largest.write_bytes(content)
    said = shenyu("restore", "latest", "--to", "target", "--overwrite", "--json")
    assert said.status == 4
    assert (base / "target/large.log").read_bytes() == b"what was there"
    assert not [name for name in os.listdir("target") if name.startswith(".tmp-")]


def test_a_user_may_have_thousands_of_files(base: Path, shenyu: Callable[..., Said]) -> None:
    build(base, {b"histories/anna/%d.json" % n: Item("file", b"[%d]" % n) for n in range(5000)})
    wanted = read_tree("data")
    assert shenyu("backup").status == 0
    assert_restores(shenyu, wanted)
    assert len(shenyu("show", "latest", "--user", "anna", "--json").json["documents"]) == 5002
    (base / "data/histories/anna/17.json").write_text("[]")
    assert shenyu("backup").status == 0
    assert_restores(shenyu, read_tree("data"))


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="needs a file system in memory")
def test_times_that_no_calendar_has_do_not_stop_a_backup(
    base: Path, shenyu: Callable[..., Said]
) -> None:
    """A file system in memory keeps any time; ext4 ends in 2446, Python's dates in 9999."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        build_tree(folder, {b"users/anna.json": Item("file", b"{}"), HISTORY: Item("file", b"[]")})
        for year in (-9000, 1000, 2554, 3000, 20_000):
            seconds = (year - 1970) * 31_556_952
            for path in (b"users/anna.json", HISTORY, b"users", b"histories/anna"):
                os.utime(os.path.join(os.fsencode(folder), path), ns=(0, seconds * 10**9))
            for _ in range(2):
                assert shenyu("backup", "--data", folder).status == 0
            assert shenyu("show", "latest", "--user", "anna").status == 0
            assert shenyu("show", "latest", "--user", "anna", "--json").status == 0
            assert shenyu("restore", "latest", "--to", f"target{year}").status == 0
            assert Path(f"target{year}", os.fsdecode(HISTORY)).read_text() == "[]"


# What may not be read


AS_NOBODY = """
import contextlib, importlib, io, json, os, pkgutil, sys
import encodings.ascii, shenyu_data, rich.progress
for package in pkgutil.walk_packages(shenyu_data.__path__, "shenyu_data."):
    if ".testing" not in package.name:
        importlib.import_module(package.name)
from shenyu_data.cli.common import run
from shenyu_data.cli.main import shenyu_data as command
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
os.chdir(sys.argv[1])
said = []
for words in json.loads(sys.argv[2]):
    if words[0] == "chmod":
        os.chmod(words[1], words[2])
        continue
    sys.argv = ["shenyu-data", *words, "--jobs", "1"]
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in "oe")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run(command)
    said.append([status, out.buffer.getvalue().decode(), err.buffer.getvalue().decode()])
print(json.dumps(said))
"""


@pytest.fixture
def unprivileged(base: Path) -> Iterator[Path]:
    """Give a copy of ``base`` that belongs to a user who is not root."""
    with tempfile.TemporaryDirectory(prefix="nobody-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        shutil.copytree(base, folder, symlinks=True, dirs_exist_ok=True)
        if AS_ROOT:
            for path in [folder, *folder.rglob("*")]:
                os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        yield folder
        for path in folder.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)


def as_nobody(folder: Path, *steps: list[Any]) -> list[Said]:
    """Do the steps, calls of the program and changes of modes, as a user who is not root."""
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(folder), json.dumps(steps)],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env={
            **os.environ,
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
        },
    )
    assert done.returncode == 0, done.stderr
    said = [Said(*one) for one in json.loads(done.stdout)]
    assert not any("Traceback" in one.err for one in said)
    return said


@pytest.mark.parametrize(
    ("locked", "mode"),
    [
        ("histories/anna/chat-history.json", 0),
        ("users/anna.json", 0o200),
        ("histories/anna", 0),
        ("histories/anna", 0o400),
        ("histories/anna", 0o100),
        ("histories", 0),
        ("histories", 0o400),
        ("histories", 0o100),
        ("users", 0),
        ("users", 0o400),
        ("users", 0o100),
        ("other", 0),
        ("other", 0o400),
    ],
)
def test_what_may_not_be_read_makes_the_snapshot_degraded_and_its_last_good_version_is_kept(
    locked: str, mode: int, unprivileged: Path
) -> None:
    (unprivileged / "data/other").mkdir(exist_ok=True)
    (unprivileged / "data/other/file").write_text("other")
    if AS_ROOT:
        for path in ("data/other", "data/other/file"):
            os.chown(unprivileged / path, NOBODY, NOBODY)
    contents = {path: node.content for path, node in files(unprivileged / "data").items()}
    assert len(contents) == 3
    first, *later, last = as_nobody(
        unprivileged,
        ["backup"],
        ["chmod", f"data/{locked}", mode],
        ["backup", "--json"],
        ["restore", "latest", "--to", "target0"],
        ["backup", "--json", "--full"],
        ["restore", "latest", "--to", "target1"],
        ["chmod", f"data/{locked}", 0o700],
        ["backup"],
    )
    assert (first.status, last.status) == (0, 0)
    for number in (0, 1):
        said, restored = later[2 * number : 2 * number + 2]
        assert said.status == 1
        assert said.json["degraded"] is True
        codes = {one["code"] for one in said.json["findings"]}
        assert codes <= {"unreadable-document", "unreadable-folder"}
        assert all(one["path"].startswith(locked) for one in said.json["findings"])
        assert restored.status in (0, 1)
        found = files(unprivileged / f"target{number}")
        assert {path: node.content for path, node in found.items()} == contents


def files(folder: Path) -> dict[bytes, Node]:
    """Read a tree as root, or after unlocking everything in it."""
    if not AS_ROOT:
        for top, folders, names in os.walk(folder):
            for name in [*folders, *names]:
                os.chmod(os.path.join(top, name), 0o700)
    return {p: n for p, n in read_tree(folder).nodes.items() if n.kind == "file"}


def test_a_data_directory_that_may_not_be_read_is_refused(unprivileged: Path) -> None:
    (unprivileged / "data").chmod(0)
    (said,) = as_nobody(unprivileged, ["backup", "--json"])
    assert (said.status, said.json["error"]["code"]) == (3, "data-directory")


def test_a_repository_that_may_not_be_written_is_an_error_with_a_hint(unprivileged: Path) -> None:
    for path in (unprivileged / "repo", *(unprivileged / "repo").iterdir()):
        if path.is_dir():
            path.chmod(0o500)
    (said,) = as_nobody(unprivileged, ["backup", "--json"])
    assert (said.status, said.json["error"]["code"]) == (3, "storage")
    assert "owner and mode" in said.json["error"]["hint"]


def test_a_document_that_cannot_be_written_back_is_named(unprivileged: Path) -> None:
    assert as_nobody(unprivileged, ["backup"])[0].status == 0
    (unprivileged / "target/users").mkdir(parents=True)
    for path in ("target", "target/users"):
        if AS_ROOT:
            os.chown(unprivileged / path, NOBODY, NOBODY)
    (unprivileged / "target/users").chmod(0o500)
    flags = ["--to", "target", "--overwrite", "--json"]
    (said,) = as_nobody(unprivileged, ["restore", "latest", *flags])
    assert said.status == 3
    assert [one["path"] for one in said.json["findings"]] == ["users/anna.json"]
    assert (unprivileged / "target" / os.fsdecode(HISTORY)).exists()


# Where a restore writes


def test_links_in_the_target_are_not_followed(base: Path, shenyu: Callable[..., Said]) -> None:
    shenyu("backup")
    before = read_tree("outside")
    (base / "target/histories").mkdir(parents=True)
    (base / "target/users").symlink_to(base / "outside")
    (base / "target/histories/anna").symlink_to("../../outside")
    said = shenyu("restore", "latest", "--to", "target", "--overwrite", "--json")
    assert said.status == 3
    assert {one["code"] for one in said.json["findings"]} == {"not-written"}
    assert "users/anna.json" in {one["path"] for one in said.json["findings"]}
    assert read_tree("outside") == before


def test_a_link_in_a_documents_place_is_replaced_and_not_written_through(
    base: Path, shenyu: Callable[..., Said]
) -> None:
    shenyu("backup")
    before = read_tree("outside")
    (base / "target/users").mkdir(parents=True)
    (base / "target/users/anna.json").symlink_to(base / "outside/secret.json")
    (base / "target/histories/anna").mkdir(parents=True)
    os.link(base / "outside/secret.json", base / "target" / os.fsdecode(HISTORY))
    assert shenyu("restore", "latest", "--to", "target", "--overwrite").status == 0
    assert (base / "target/users/anna.json").read_bytes() == USER
    assert read_tree("outside").nodes == before.nodes
    assert read_tree("target").nodes == read_tree("data").nodes


def test_links_that_point_outside_are_restored_but_never_used(
    base: Path, shenyu: Callable[..., Said]
) -> None:
    plan = {
        b"histories/mallory": Item("link", os.fsencode(base / "outside")),
        b"users/mallory.json": Item("link", b"../../outside/secret.json"),
        b"histories/anna/out": Item("link", b"../../../outside"),
        b"loop": Item("link", b"loop"),
    }
    build(base, plan)
    wanted, before = read_tree("data"), read_tree("outside")
    assert shenyu("backup").status == 0
    assert_restores(shenyu, wanted)
    assert read_tree("outside") == before


# Forged repositories: whoever has the key can write what no backup would


class Forger:
    """Writes a snapshot that holds just the records it is given, properly sealed."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._packs = PackWriter(repository.storage)
        self.key = OwnerKeys(os.urandom(32))

    def segment(self, data: bytes) -> Segment:
        return self._packs.add(self.key, data)

    def file(self, place: int, name: bytes, data: bytes = b"forged", **changes: Any) -> FileEntry:
        digest = self.key.digest(data)
        entry = FileEntry(
            place, name, 0, 0o644, os.geteuid(), os.getegid(), OLD_NS, OLD_NS, 1, 1,
            len(data), digest, 0, 0, [(0, 0, len(data))], None,
        )  # fmt: skip
        return msgspec.structs.replace(entry, **changes)

    def write(self, *records: tuple[bytes, OwnerRecord]) -> None:
        """Store the records, each under a user's name or, if that is empty, as shared."""
        repository, keys = self._repository, self._repository.keys
        self._packs.finish()
        root = repository.find("latest")
        origin = new_id()
        manifests = ManifestWriter(repository.storage)
        buckets = RootBuckets()
        sections: dict[int, SectionBuilder] = {}
        rows: dict[int, list[tuple[bytes, bytes]]] = {}
        for name, record in records:
            bucket = keys.user_bucket(name) if name else keys.shared_bucket(b"")
            pseudonym = keys.user_pseudonym(name) if name else keys.shared_pseudonym(bucket)
            builder = sections.setdefault(bucket, SectionBuilder(keys, origin, bucket))
            builder.add(pseudonym, bytes(16), self.key, record)
            rows.setdefault(bucket, []).append((pseudonym, self.key.key))
        for bucket, builder in sorted(sections.items()):
            section = builder.finish()
            assert section is not None
            layer = Layer(origin, *manifests.add(section))
            buckets.add(bucket, [layer], root.totals)
        manifests.finish()
        write_keyring(repository.storage, keys, rows)
        forged = msgspec.structs.replace(
            root,
            id=origin,
            parent=root.id,
            sequence=root.sequence + 1,
            origins=buckets.origins,
            manifests=buckets.manifests,
            buckets=buckets.buckets,
        )
        write_root(repository.storage, keys, forged)


@pytest.fixture
def forger(base: Path, shenyu: Callable[..., Said]) -> Forger:
    shenyu("backup")
    secret = os.environ["SHENYU_DATA_PASSPHRASE"]
    return Forger(open_repository(LocalStorage("repo"), secret))


def assert_harmless(base: Path, shenyu: Callable[..., Said], statuses: set[int]) -> Said:
    """Restore, verify and show the newest snapshot; nothing but the target may change."""
    before = read_tree(".").below(lambda path: path.split(b"/")[0] not in (b"", b"repo"))
    said = shenyu("restore", "latest", "--to", "target", "--json")
    assert said.status in statuses
    after = read_tree(".").below(lambda path: path.split(b"/")[0] not in (b"", b"repo", b"target"))
    assert after == before
    for words in (["verify", "--read-data"], ["show", "latest"], ["show", "latest", "--user", "x"]):
        assert shenyu(*words).status in (0, 1, 2, 3, 4)
        assert shenyu(*words, "--json").status in (0, 1, 2, 3, 4)
    assert shenyu("restore", "latest", "--to", "target", "--overwrite").status in statuses
    assert shenyu("backup").status in (0, 1)
    return said


BAD_NAMES = [
    b"../../../outside/x",
    b"..",
    b"../x",
    b"a/../../../../outside/x",
    b"/tmp/x",
    b"a\0b",
    b".",
    b"a//b",
    b"a/",
    b"./a",
]


@pytest.mark.parametrize(
    "owner", [b"../../outside/x", b"..", b".", b"", b"a/b", b"/tmp/x", b"a\0b"]
)
def test_a_forged_owner_is_refused(
    owner: bytes, base: Path, forger: Forger, shenyu: Callable[..., Said]
) -> None:
    entries: list[Entry] = [
        forger.file(Place.USER_FILE, b""),
        forger.file(Place.IN_HISTORY_FOLDER, b"chat-history.json"),
        FolderEntry(Place.HISTORY_FOLDER, b"", 0o777, 0, 0, OLD_NS),
        LinkEntry(Place.HISTORY_FOLDER, b"", 0, 0, OLD_NS, b"/"),
    ]
    forger.write((b"x", OwnerRecord(owner, False, [forger.segment(b"forged")], entries)))
    said = assert_harmless(base, shenyu, {3})
    assert [one["code"] for one in said.json["findings"]] == ["forged-name"]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("shared", [False, True])
def test_a_forged_name_is_refused(
    shared: bool, name: bytes, base: Path, forger: Forger, shenyu: Callable[..., Said]
) -> None:
    place = Place.ANYWHERE if shared else Place.IN_HISTORY_FOLDER
    entries: list[Entry] = [
        forger.file(place, name),
        FolderEntry(place, name, 0o777, 0, 0, OLD_NS),
        LinkEntry(place, name, 0, 0, OLD_NS, b"/"),
        forger.file(place, b"fine"),
    ]
    record = OwnerRecord(b"" if shared else b"x", shared, [forger.segment(b"forged")], entries)
    forger.write((b"" if shared else b"x", record))
    said = assert_harmless(base, shenyu, {3})
    assert [one["code"] for one in said.json["findings"]] == ["forged-name"] * 3
    assert (base / "target" / ("fine" if shared else "histories/x/fine")).read_text() == "forged"


@pytest.mark.parametrize("place", [99, -1])
def test_a_forged_place_is_refused(
    place: int, base: Path, forger: Forger, shenyu: Callable[..., Said]
) -> None:
    entries: list[Entry] = [forger.file(place, b"x")]
    forger.write((b"x", OwnerRecord(b"x", False, [forger.segment(b"forged")], entries)))
    assert_harmless(base, shenyu, {3, 4})


@pytest.mark.parametrize("shared", [False, True])
def test_a_forged_link_with_a_file_below_leads_nowhere(
    shared: bool, base: Path, forger: Forger, shenyu: Callable[..., Said]
) -> None:
    place = Place.ANYWHERE if shared else Place.IN_HISTORY_FOLDER
    outside = os.fsencode(base / "outside")
    entries: list[Entry] = [
        LinkEntry(place, b"way", 0, 0, OLD_NS, outside),
        forger.file(place, b"way/planted.json"),
        FolderEntry(place, b"way", 0o777, 0, 0, OLD_NS),
    ]
    record = OwnerRecord(b"" if shared else b"x", shared, [forger.segment(b"forged")], entries)
    forger.write((b"" if shared else b"x", record))
    assert_harmless(base, shenyu, {0, 3})
    assert not (base / "outside/planted.json").exists()


def test_forged_links_in_place_of_other_owners_folders_lead_nowhere(
    base: Path, forger: Forger, shenyu: Callable[..., Said]
) -> None:
    outside = os.fsencode(base / "outside")
    links: list[Entry] = [
        LinkEntry(Place.ANYWHERE, b"users", 0, 0, OLD_NS, outside),
        LinkEntry(Place.ANYWHERE, b"histories", 0, 0, OLD_NS, outside),
        LinkEntry(Place.ANYWHERE, b"histories/x", 0, 0, OLD_NS, outside),
    ]
    files: list[Entry] = [
        forger.file(Place.USER_FILE, b""),
        forger.file(Place.IN_HISTORY_FOLDER, b"planted.json"),
    ]
    segment = forger.segment(b"forged")
    forger.write(
        (b"", OwnerRecord(b"", True, [], links)),
        (b"x", OwnerRecord(b"x", False, [segment], files)),
        (b"y", OwnerRecord(b"y", False, [], [LinkEntry(2, b"", 0, 0, OLD_NS, outside)])),
    )
    assert_harmless(base, shenyu, {0, 3})
    assert os.listdir(base / "outside") == ["secret.json"]


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": 0o7777777777},
        {"mode": -1},
        {"mtime_ns": (1 << 64) - 1},
        {"mtime_ns": -(1 << 63)},
        {"uid": 1 << 40},
        {"gid": -5},
        {"links": 1 << 40, "inode": -1},
        {"state": 99},
        {"state": 3},
        {"extents": [(7, 0, 6)]},
        {"extents": [(-1, 0, 6)]},
        {"extents": [(0, -1, 6)]},
        {"extents": [(0, 0, 1 << 60)]},
        {"extents": []},
        {"digest": b""},
    ],
    ids=str,
)
def test_forged_numbers_do_no_harm(
    changes: dict[str, Any], base: Path, forger: Forger, shenyu: Callable[..., Said]
) -> None:
    entries: list[Entry] = [
        forger.file(Place.IN_HISTORY_FOLDER, b"odd", **changes),
        forger.file(Place.IN_HISTORY_FOLDER, b"sound"),
    ]
    forger.write((b"x", OwnerRecord(b"x", False, [forger.segment(b"forged")], entries)))
    said = assert_harmless(base, shenyu, {0, 1, 3, 4})
    if "state" not in changes:  # of a record that makes no sense at all nothing is restored
        assert (base / "target/histories/x/sound").read_text() == "forged"
    assert said.status or (base / "target/histories/x/odd").read_text() == "forged"


def test_forged_folders_and_links_with_odd_numbers_do_no_harm(
    base: Path, forger: Forger, shenyu: Callable[..., Said]
) -> None:
    entries: list[Entry] = [
        FolderEntry(Place.HISTORY_FOLDER, b"", -1, 1 << 50, -7, 1 << 63),
        FolderEntry(Place.IN_HISTORY_FOLDER, b"a", 1 << 40, 0, 0, 0),
        LinkEntry(Place.IN_HISTORY_FOLDER, b"l", 1 << 50, 0, -(1 << 63), b"nul\0in it"),
        LinkEntry(Place.IN_HISTORY_FOLDER, b"m", 0, 0, 0, b""),
        LinkEntry(Place.IN_HISTORY_FOLDER, b"n", 0, 0, 0, b"x" * 5000),
        forger.file(Place.IN_HISTORY_FOLDER, b"sound"),
    ]
    forger.write((b"x", OwnerRecord(b"x", False, [forger.segment(b"forged")], entries)))
    assert_harmless(base, shenyu, {3})
    assert (base / "target/histories/x/sound").read_text() == "forged"


@pytest.mark.parametrize(
    "changes",
    [
        {"offset": -1},
        {"offset": 1 << 60},
        {"stored_bytes": -5},
        {"stored_bytes": 1 << 40},
        {"plain_bytes": 1 << 50},
        {"plain_bytes": -1},
        {"nonce": b""},
        {"pack": b""},
        {"pack": b"../../outside/secret.json"},
    ],
    ids=str,
)
def test_a_forged_segment_is_damage_and_everything_else_is_restored(
    changes: dict[str, Any], base: Path, forger: Forger, shenyu: Callable[..., Said]
) -> None:
    segment = forger.segment(b"forged")
    forged = msgspec.structs.replace(segment, **changes)
    entries: list[Entry] = [forger.file(Place.IN_HISTORY_FOLDER, b"odd")]
    sound: list[Entry] = [forger.file(Place.IN_HISTORY_FOLDER, b"sound")]
    forger.write(
        (b"x", OwnerRecord(b"x", False, [forged], entries)),
        (b"y", OwnerRecord(b"y", False, [segment], sound)),
    )
    assert_harmless(base, shenyu, {4})
    assert (base / "target/histories/y/sound").read_text() == "forged"


def test_set_id_bits_are_restored_as_they_were(
    base: Path, forger: Forger, shenyu: Callable[..., Said]
) -> None:
    """As with tar -p: who can forge a snapshot has the key, and could as well change programs."""
    entries: list[Entry] = [forger.file(Place.IN_HISTORY_FOLDER, b"run", mode=0o4755)]
    forger.write((b"x", OwnerRecord(b"x", False, [forger.segment(b"forged")], entries)))
    assert_harmless(base, shenyu, {0})
    assert (base / "target/histories/x/run").stat().st_mode & 0o7777 == 0o4755
