"""Compressing histories and back: the same bytes, and at every moment a whole copy on the disk."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shenyu_data.datadir import twins
from shenyu_data.datadir.gzipped import pack
from shenyu_data.model.errors import DataDirectoryError, ShenyuDataError, UsageError
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.compress import (
    CompressOptions,
    CompressStats,
    compress,
    plan_compress,
)
from shenyu_data.operations.compress_task import Way, Wish
from shenyu_data.operations.history_owners import owners_in_parts
from shenyu_data.operations.journal import Journal, Journals, open_journals
from shenyu_data.operations.repair import RepairOptions, repair
from shenyu_data.testing.killed import dies_at
from shenyu_data.testing.tree import Item, build_tree, read_tree
from tests.integration.test_full_disk import fill, small_disk

__all__ = ["small_disk"]  # a fixture

NS = 1_700_000_000_123_456_789
ONE = b'{"messages": [{"role": "user", "content": "%s"}]}'
USER = b'{"id": "anna", "created_at": "2025-02-10T03:28:00.000Z"}'
APPLICATION = "ab" * 32


class Place:
    """A data directory of both layouts, and the folder of its journals."""

    def __init__(self, base: Path, *, make: bool = True) -> None:
        self.data = base / "data"
        self.state = str(base / "state")
        self.monitor = CollectingMonitor()
        if not make:
            return
        build_tree(
            self.data,
            {
                b"users/anna.json": Item("file", USER),
                b"histories/anna/a.json": Item("file", ONE % "你好".encode(), 0o640, NS),
                b"histories/anna/b.json": Item("file", ONE % b"b" * 1, 0o600, NS + 5),
                b"histories/ben/c.json": Item("file", b"\n " + ONE % b"c", 0o600, NS),
                b"histories/ben/notes.txt": Item("file", b"unknown"),
                f"histories/{APPLICATION}/chat-history.json".encode(): Item("file", b"[]"),
                f"histories/{APPLICATION}/other.json".encode(): Item("file", b'[{"id":1}]'),
            },
        )

    def path(self, name: str) -> Path:
        return self.data / "histories" / name

    def run(self, way: Way, **more: Any) -> CompressStats:
        return compress(str(self.data), self.options(way, **more), self.monitor)

    def options(self, way: Way, *, user: bytes | None = None, **more: Any) -> CompressOptions:
        wish = Wish(**{"way": way, "quiet_s": 0.01, **more})
        return CompressOptions(wish=wish, user=user, state=self.state)

    @property
    def codes(self) -> list[str]:
        return [finding.code for finding in self.monitor.findings]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_histories_become_gzip_and_come_back_to_the_byte(place: Place) -> None:
    before = read_tree(place.data)
    stats = place.run("compress")
    assert (stats.documents, stats.in_use, stats.refused, stats.failed) == (3, 2, 0, 0)
    packed = place.path("anna/a.json.gz")
    assert not place.path("anna/a.json").exists()
    assert gzip.decompress(packed.read_bytes()) == ONE % "你好".encode()
    assert packed.stat().st_mtime_ns == NS
    assert packed.stat().st_mode & 0o7777 == 0o640
    assert stats.after_bytes == sum(p.stat().st_size for p in place.data.rglob("*.gz"))
    back = place.run("decompress")
    assert back.documents == 3
    assert files(read_tree(place.data)) == files(before)
    assert place.codes == []


def test_a_second_run_finds_nothing_to_do(place: Place) -> None:
    place.run("compress")
    there = read_tree(place.data)
    assert place.run("compress").documents == 0
    assert read_tree(place.data) == there


def test_what_the_application_reads_stays_unless_it_is_stopped(place: Place) -> None:
    place.run("compress", user=APPLICATION.encode())
    assert place.path(f"{APPLICATION}/chat-history.json").exists()
    assert place.path(f"{APPLICATION}/other.json").exists()
    stats = place.run("compress", user=APPLICATION.encode(), offline=True)
    assert stats.documents == 2
    assert place.path(f"{APPLICATION}/chat-history.json.gz").exists()


def test_who_names_a_history_that_the_application_reads_is_told(place: Place) -> None:
    assert place.run("compress", history=b"chat-history").in_use == 1
    assert place.codes == ["read-by-application"]


def test_users_and_unknown_files_are_never_compressed(place: Place) -> None:
    place.run("compress", offline=True)
    assert (place.data / "users/anna.json").read_bytes() == USER
    assert place.path("ben/notes.txt").read_bytes() == b"unknown"


def test_only_what_is_old_enough_is_compressed(place: Place) -> None:
    stats = place.run("compress", user=b"anna", older_than_ns=NS)
    assert (stats.documents, stats.recent) == (1, 1)
    assert place.path("anna/b.json").exists()


def test_a_plan_says_what_is_done_and_changes_nothing(place: Place) -> None:
    there = read_tree(place.data)
    plan = plan_compress(str(place.data), place.options("compress"), place.monitor)
    assert read_tree(place.data) == there
    stats = place.run("compress")
    assert (plan.documents, plan.before_bytes) == (stats.documents, stats.before_bytes)
    assert plan.in_use == stats.in_use == 2
    assert [item.path for item in plan.items] == [
        "histories/anna/a.json",
        "histories/anna/b.json",
        "histories/ben/c.json",
    ]


@pytest.mark.parametrize("user", [b"nobody", b"../users", b"", b"anna/../ben"])
def test_an_unknown_user_is_an_error(place: Place, user: bytes) -> None:
    with pytest.raises(UsageError):
        place.run("compress", user=user)


def test_one_operation_at_a_time(place: Place) -> None:
    with open_journals(place.state), pytest.raises(UsageError):
        place.run("compress")


def test_twins_that_hold_the_same_become_one_with_the_documents_time(place: Place) -> None:
    packed = place.path("anna/a.json.gz")
    packed.write_bytes(gzip.compress(ONE % "你好".encode()))
    assert place.run("compress", user=b"anna").documents == 2
    assert not place.path("anna/a.json").exists()
    assert packed.stat().st_mtime_ns == NS
    place.path("anna/a.json").write_bytes(ONE % "你好".encode())
    assert place.run("decompress", user=b"anna").documents == 2
    assert not packed.exists()


@pytest.mark.parametrize("way", ["compress", "decompress"])
def test_twins_that_differ_are_reported_and_left(place: Place, way: Way) -> None:
    other = gzip.compress(ONE % b"something else")
    place.path("anna/a.json.gz").write_bytes(other)
    stats = place.run(way, user=b"anna")
    assert stats.refused == 1
    assert place.codes == ["compressed-twin"]
    assert place.path("anna/a.json.gz").read_bytes() == other
    assert place.path("anna/a.json").read_bytes() == ONE % "你好".encode()


@pytest.mark.parametrize(
    ("content", "code"),
    [(b'{"messages": [', "torn-document"), (b"", "torn-document"), (b"\0" * 30, "torn-document")],
)
def test_a_torn_history_is_left(place: Place, content: bytes, code: str) -> None:
    torn = place.path("anna/a.json")
    torn.write_bytes(content)
    os.utime(torn, ns=(NS, NS))
    assert place.run("compress", user=b"anna", offline=True).documents == 1
    assert place.codes == [code]
    assert torn.read_bytes() == content


def test_a_damaged_gzip_is_left(place: Place) -> None:
    damaged = place.path("anna/x.json.gz")
    damaged.write_bytes(gzip.compress(ONE)[:-3])
    os.utime(damaged, ns=(NS, NS))
    assert place.run("decompress").refused == 1
    assert place.codes == ["torn-document"]
    assert damaged.exists()


def test_links_are_not_followed_and_files_with_two_names_are_left(place: Place) -> None:
    outside = place.data.parent / "outside.json"
    outside.write_bytes(ONE)
    place.path("anna/link.json").symlink_to(outside)
    (place.data / "histories/away").symlink_to(place.data.parent)
    os.link(place.path("anna/a.json"), place.path("anna/a2.json"))
    stats = place.run("compress")
    assert (stats.documents, stats.refused) == (2, 2)
    assert set(place.codes) == {"hard-link"}
    assert outside.read_bytes() == ONE
    assert place.path("anna/link.json").is_symlink()


def test_a_name_without_room_for_the_suffix_is_left(place: Place) -> None:
    name = "x" * 248 + ".json"
    place.path(f"anna/{name}").write_bytes(ONE)
    place.run("compress", user=b"anna")
    assert place.codes == ["hostile-name"]
    assert place.path(f"anna/{name}").read_bytes() == ONE


def test_an_open_writer_keeps_its_history_plain(place: Place) -> None:
    history = place.path("anna/a.json")
    with history.open("r+b", buffering=0) as file:
        stats = place.run("compress", user=b"anna")
        file.write(b'{"new": 1}   ')
    assert (stats.documents, stats.refused) == (1, 1)
    assert place.codes == ["changing-file"]
    assert history.read_bytes().startswith(b'{"new": 1}')
    assert not place.path("anna/a.json.gz").exists()


@pytest.mark.parametrize("call", ["sync_all", "rename_new", "_displace", "is_open_for_writing"])
@pytest.mark.parametrize("how", ["in place", "anew", "removed"])
def test_what_is_written_meanwhile_is_never_lost(
    place: Place, monkeypatch: pytest.MonkeyPatch, call: str, how: str
) -> None:
    """The application comes in right before a step of ours."""
    history = place.path("anna/a.json")
    words = ONE % b"written meanwhile"
    inner: Callable[..., Any] = getattr(twins, call)
    left = [1]

    def step(*arguments: Any) -> Any:
        if left:
            left.clear()
            if how == "anew":
                new = history.with_name("tmp")
                new.write_bytes(words)
                new.rename(history)
            elif how == "in place":
                history.write_bytes(words)
            else:
                history.unlink(missing_ok=True)
        return inner(*arguments)

    monkeypatch.setattr(twins, call, step)
    place.run("compress", user=b"anna", history=b"a")
    monkeypatch.undo()
    left_behind = [path for path in place.path("anna").iterdir() if path.name.startswith(".")]
    if how != "removed":
        contents = [path.read_bytes() for path in [history, *left_behind]]
        assert words in contents
    assert all("kept" in path.name for path in left_behind)
    assert bool(left_behind) == ("displaced-kept" in place.codes)


@pytest.mark.parametrize("way", ["compress", "decompress"])
def test_killed_at_every_write_the_next_run_finishes(tmp_path: Path, way: Way) -> None:
    """A whole copy of every history is there after every kill; then all is as without one."""
    done = Place(tmp_path / "done")
    begun = read_tree(done.data)
    if way == "decompress":
        done.run("compress")
        begun = read_tree(done.data)
    done.run(way)
    wanted = read_tree(done.data)
    for at in range(200):
        place = Place(tmp_path / str(at))
        if way == "decompress":
            place.run("compress")
        killed = dies_at(at, partial(place.run, way))
        for name in ("anna/a", "anna/b", "ben/c"):
            assert holds_whole(place, name, done), (at, name)
        place.run(way)
        assert files(read_tree(place.data)) == files(wanted), at
        assert place.codes == []
        shutil.rmtree(tmp_path / str(at))
        if not killed:
            break
    assert not killed
    assert at > 15
    assert files(wanted) != files(begun)


@pytest.mark.parametrize("way", ["compress", "decompress"])
def test_killed_at_every_write_any_other_operation_finishes(tmp_path: Path, way: Way) -> None:
    """Each history is there once then, plain or compressed, and nothing of ours is beside it."""
    done = Place(tmp_path / "done")
    begun = Place(tmp_path / "begun")
    if way == "decompress":
        done.run("compress")
        begun.run("compress")
    done.run(way)
    twice = 0
    for at in range(200):
        shutil.copytree(tmp_path / "begun", tmp_path / str(at))
        place = Place(tmp_path / str(at), make=False)
        killed = dies_at(at, partial(place.run, way))
        twice += any(len(kinds(place, name)) == 2 for name in NAMES)
        repair(None, str(place.data), RepairOptions(state=place.state), place.monitor)
        for name in NAMES:
            assert holds_whole(place, name, done), (at, name)
            assert len(kinds(place, name)) == 1, (at, name)
        assert [path for path in place.data.rglob(".*")] == [], at
        assert all(journal.is_ended() for journal in Journals(place.state).newest_first())
        assert place.codes == []
        shutil.rmtree(tmp_path / str(at))
        if not killed:
            break
    assert not killed
    assert twice > 5


def test_who_finishes_may_be_killed_at_every_write_too(tmp_path: Path) -> None:
    done, begun = Place(tmp_path / "done"), Place(tmp_path / "begun")
    done.run("compress")
    at = next(at for at in range(100) if leaves_twins(tmp_path, at))
    dies_at(at, partial(begun.run, "compress"))
    for number in range(200):
        shutil.copytree(tmp_path / "begun", tmp_path / "again")
        place = Place(tmp_path / "again", make=False)
        options = RepairOptions(state=place.state)
        finish = partial(repair, None, str(place.data), options, place.monitor)
        killed = dies_at(number, finish)
        for name in NAMES:
            assert holds_whole(place, name, done), (number, name)
        finish()
        assert all(len(kinds(place, name)) == 1 for name in NAMES), number
        assert [path for path in place.data.rglob(".*")] == [], number
        shutil.rmtree(tmp_path / "again")
        if not killed:
            break
    assert not killed
    assert number > 5


def leaves_twins(base: Path, at: int) -> bool:
    """Whether a compression killed there leaves a history that is there twice."""
    place = Place(base / f"try{at}")
    dies_at(at, partial(place.run, "compress"))
    return all(len(kinds(place, name)) == 2 for name in NAMES)


NAMES = ("anna/a", "anna/b", "ben/c")


def kinds(place: Place, name: str) -> list[Path]:
    found = [place.path(name + ".json"), place.path(name + ".json.gz")]
    return [path for path in found if path.exists()]


def test_a_pair_that_no_killed_run_made_is_left(place: Place) -> None:
    """One of another time or content is none of ours, nor is an archive's."""
    dies_at(10, partial(place.run, "compress", user=b"ben"))
    plain, other = place.path("anna/a.json"), place.path("anna/b.json")
    for path, data, time_ns in ((plain, ONE % b"another", NS), (other, ONE % b"b", NS + 6)):
        twin = path.with_name(path.name + ".gz")
        twin.write_bytes(pack(data))
        os.utime(twin, ns=(time_ns, time_ns))
    for name in ("k.archive.json", "k.archive.json.gz"):
        archive = place.path(f"anna/{name}")
        archive.write_bytes(pack(b"[]") if name.endswith("gz") else b"[]")
        os.utime(archive, ns=(NS, NS))
    before = {item: node for item, node in files(read_tree(place.data)).items() if b"anna" in item}
    repair(None, str(place.data), RepairOptions(state=place.state), place.monitor)
    after = files(read_tree(place.data))
    assert {item: node for item, node in after.items() if b"anna" in item} == before


def holds_whole(place: Place, name: str, done: Place) -> bool:
    plain, packed = place.path(name + ".json"), place.path(name + ".json.gz")
    same = [done.path(name + ".json"), done.path(name + ".json.gz")]
    wanted = next(content(path) for path in same if path.exists())
    return any(path.exists() and content(path) == wanted for path in (plain, packed))


def content(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


def test_what_was_written_to_a_displaced_history_before_a_kill_comes_back(place: Place) -> None:
    history, words = place.path("anna/a.json"), ONE % b"after all"
    displaced = history.with_name(f".shenyu-data-displaced-{twins.token_of(b'a.json')}")
    history.with_name("a.json.gz").write_bytes(pack(ONE))
    history.rename(displaced)
    displaced.write_bytes(words)
    place.run("compress", user=b"anna", history=b"a")
    assert place.codes == ["compressed-twin"]
    assert history.read_bytes() == words
    assert not displaced.exists()


def test_passing_files_of_other_operations_are_left_alone(place: Place) -> None:
    other = place.path("anna/.shenyu-data-displaced-0123456789abcdef")
    other.write_bytes(ONE)
    place.run("compress", user=b"anna")
    assert other.read_bytes() == ONE


def test_on_a_full_disk_all_stays_as_it_is(small_disk: Path, tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.data = small_disk / "data"
    plan = {b"users": Item("folder")}
    for number in range(20):
        noise = (ONE % os.urandom(8000).hex().encode(),)
        plan[b"histories/anna/%d.json" % number] = Item("file", *noise, 0o600, NS)
    build_tree(place.data, plan)
    there = files(read_tree(place.data))
    ballast = fill(small_disk, 30_000)
    stats = place.run("compress")
    assert stats.failed
    assert set(place.codes) == {"not-written"}
    assert not list(place.path("anna").glob(".*"))
    ballast.unlink()
    place.run("compress")
    assert place.run("decompress").failed == 0
    assert files(read_tree(place.data)) == there


def test_the_guides_way_and_ours_read_each_other(place: Place) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed here: the guide's way is not compared")
    there = files(read_tree(place.data))
    script = Path(__file__).parents[2] / "benchmarks/guide_compress.js"
    for name in ("notes.txt",):
        place.path(f"ben/{name}").unlink()
    subprocess.run([node, script, place.data], check=True, capture_output=True)
    place.run("decompress")
    back = files(read_tree(place.data))
    assert {path: node.content for path, node in back.items()} == {
        path: node.content for path, node in there.items() if not path.endswith(b".txt")
    }


TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)


@settings(max_examples=30, deadline=None)
@given(
    names=st.lists(
        st.binary(min_size=1, max_size=40).filter(
            lambda name: not {0, 47} & set(name) and not name.startswith(b".")
        ),
        min_size=1,
        max_size=6,
        unique=True,
    ),
    words=TEXTS,
    mtime_ns=st.integers(0, 2**61),
    mode=st.sampled_from([0o600, 0o644, 0o4640]),
)
def test_hostile_names_and_contents_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[bytes],
    words: str,
    mtime_ns: int,
    mode: int,
) -> None:
    place = Place(tmp_path_factory.mktemp("hostile"))
    data = json.dumps({"messages": [], "words": words}).encode()
    plan = {b"histories/eve/%b.json" % name: Item("file", data, mode, mtime_ns) for name in names}
    build_tree(place.data, plan)
    there = files(read_tree(place.data))
    place.run("compress", offline=True)
    place.run("decompress")
    assert files(read_tree(place.data)) == there


def files(tree: Any) -> dict[bytes, Any]:
    """Return a tree's files: the times of folders change with what is put into them."""
    return {path: node for path, node in tree.nodes.items() if node.kind == "file"}


@pytest.mark.parametrize("way", ["compress", "decompress"])
def test_a_link_in_the_place_of_histories_is_an_error(place: Place, way: Way) -> None:
    (place.data / "histories").rename(place.data.parent / "elsewhere")
    (place.data / "histories").symlink_to(place.data.parent / "elsewhere")
    before = read_tree(place.data.parent / "elsewhere")
    for act in (lambda: place.run(way), lambda: list(owners_in_parts(str(place.data), None, 9))):
        with pytest.raises(DataDirectoryError, match="cannot list histories/"):
            act()
    assert read_tree(place.data.parent / "elsewhere") == before


def test_without_a_journal_nothing_is_changed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise ShenyuDataError("cannot write the journal")

    monkeypatch.setattr(Journal, "write", full)
    before = read_tree(place.data)
    with pytest.raises(ShenyuDataError):
        place.run("compress", offline=True)
    assert read_tree(place.data) == before


def test_what_the_application_writes_over_a_plain_history_takes_no_compressed_one_along(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{APPLICATION}/chat-history.json"
    plain, packed = place.path(name), place.path(name + ".gz")
    place.run("compress", user=APPLICATION.encode(), offline=True)
    was = packed.read_bytes()

    def passes(seconds: float) -> None:
        """Let the application write, which had found no history before."""
        assert (seconds, plain.read_bytes()) == (0.25, b"[]")
        plain.write_bytes(b'[{"id": 2}]')

    clock = SimpleNamespace(sleep=passes, time_ns=time.time_ns)
    monkeypatch.setattr(twins, "time", clock)
    stats = place.run("decompress", user=APPLICATION.encode(), quiet_s=0.25)
    assert (stats.documents, stats.refused, place.codes) == (1, 1, ["compressed-twin"])
    assert (plain.read_bytes(), packed.read_bytes()) == (b'[{"id": 2}]', was)


def test_what_the_application_does_not_read_comes_back_at_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[float] = []
    monkeypatch.setattr(twins, "time", SimpleNamespace(sleep=passed.append, time_ns=time.time_ns))
    place.run("compress", offline=True)
    assert place.run("decompress", user=b"anna").documents == 2
    assert place.run("decompress", user=APPLICATION.encode(), offline=True).documents == 2
    assert passed == []
    place.run("compress", user=APPLICATION.encode(), offline=True)
    assert place.run("decompress").documents == 3
    assert passed == [0.01]


def test_a_plain_history_that_was_written_is_not_removed_when_the_run_is_given_up(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = place.path(f"{APPLICATION}/chat-history.json")

    def interrupted(_: float) -> None:
        plain.write_bytes(b'[{"id": 2}]')
        raise KeyboardInterrupt

    place.run("compress", user=APPLICATION.encode(), offline=True)
    clock = SimpleNamespace(sleep=interrupted, time_ns=time.time_ns)
    monkeypatch.setattr(twins, "time", clock)
    with pytest.raises(KeyboardInterrupt):
        place.run("decompress", user=APPLICATION.encode())
    assert plain.read_bytes() == b'[{"id": 2}]'
    assert plain.with_name("chat-history.json.gz").exists()
    assert not place.path(f"{APPLICATION}/other.json").exists(), "it was not written, and goes"
