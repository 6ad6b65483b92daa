"""Old repositories stay readable, by the program and by a reader written from docs/format.md."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mnemonic import Mnemonic

from shenyu_data.model.monitor import CollectingMonitor, SilentMonitor
from shenyu_data.model.retention import Retention
from shenyu_data.operations.backup import BackupOptions, backup
from shenyu_data.operations.key_rotation import begin_rotation, finish_rotation, plan_rotation
from shenyu_data.operations.keys import export_key
from shenyu_data.operations.prune import prune
from shenyu_data.operations.prune_plan import PruneOptions, plan_prune
from shenyu_data.operations.restore import RestoreOptions, restore
from shenyu_data.operations.verify import VerifyOptions, verify
from shenyu_data.repository.erasure import destroy_keys
from shenyu_data.repository.repository import Repository, create_repository, open_repository
from shenyu_data.storage.local import LocalStorage
from tests.compat import reader
from tests.compat.make_frozen import HEX, describe_folder, make, make_with_a_past, printable

HERE = Path(__file__).parent
FROZEN = HERE / "frozen" / "v1"
EXPECTED: dict[str, Any] = json.loads((FROZEN / "expected.json").read_text(encoding="utf-8"))
SNAPSHOTS: list[dict[str, Any]] = EXPECTED["snapshots"]
EACH_SNAPSHOT = pytest.mark.parametrize("number", range(len(SNAPSHOTS)))


def describe_tree(tree: reader.Tree) -> dict[str, Any]:
    """Say what the independent reader restored, as describe_folder does of a folder."""
    assert tree.damaged == []
    found: dict[str, Any] = {}
    first: dict[object, str] = {}
    for path, node in sorted(tree.nodes.items(), key=lambda item: printable(item[0])):
        name = printable(path) or "."
        one: dict[str, Any] = {"kind": node.kind, "mtime_ms": node.mtime_ns // 1_000_000}
        if node.kind == "link":
            one["target"] = printable(node.target)
        else:
            one["mode"] = f"{node.mode:o}"
        if node.kind == "file":
            one["sha256"] = hashlib.sha256(node.data).hexdigest()
        if node.same_file is not None:
            one["same_file"] = first.setdefault(node.same_file, name)
        found[name] = one
    return found


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    folder = tmp_path_factory.mktemp("frozen") / "repository"
    shutil.copytree(FROZEN / "repository", folder)  # verifying writes a proof
    return open_repository(LocalStorage(str(folder)), EXPECTED["passphrase"])


@pytest.fixture(scope="module")
def independent() -> reader.Repository:
    return reader.Repository(FROZEN / "repository", EXPECTED["recovery_key"])


# ------------------------------------------------------------------------- the frozen repository


def test_the_frozen_repository_is_small_and_holds_what_it_should() -> None:
    size = sum(path.stat().st_size for path in FROZEN.rglob("*") if path.is_file())
    assert size < 400_000
    assert [(one["kind"], one["degraded"]) for one in SNAPSHOTS] == [
        ("full", False),
        ("incremental", False),
        *[("incremental", True)] * 3,
        ("full", True),
        ("incremental", True),
    ]
    paths = SNAPSHOTS[0]["paths"]
    assert {one["kind"] for one in paths.values()} == {"file", "folder", "link"}
    assert "users/caf\\xe9.json" in paths
    assert "users/小明.json" in paths
    assert sum("same_file" in one for one in paths.values()) == 4


def test_the_independent_reader_uses_nothing_of_the_program() -> None:
    tree = ast.parse((HERE / "reader.py").read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(f"{'.' * node.level}{node.module}")
    roots = {name.partition(".")[0] for name in imported}
    assert roots - sys.stdlib_module_names == {"blake3", "cryptography", "msgspec", "zstandard"}
    code = "import sys, reader; sys.exit(any('shenyu' in name for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=HERE, check=False).returncode == 0


def test_the_independent_reader_reads_a_recovery_key_as_words() -> None:
    words = Mnemonic("english").wordlist
    page = (HERE.parents[1] / "docs" / "format.md").read_text(encoding="utf-8")
    text = page.split("```words\n")[1].split("```")[0]
    shortened = " ".join(f"{number}. {word[:4]}" for number, word in enumerate(text.split(), 1))
    assert reader.parse_words(text, words) == bytes(range(32))
    assert reader.parse_words(shortened.upper(), words) == bytes(range(32))
    assert reader.parse_words(text.replace("liar", "lion"), words) is None


def test_the_independent_reader_lists_the_snapshots_in_order(
    independent: reader.Repository,
) -> None:
    roots = independent.snapshots()
    assert [root["id"].hex() for root in roots] == [one["id"] for one in SNAPSHOTS]
    assert [root["tag"] for root in roots] == [one["tag"] for one in SNAPSHOTS]
    assert [root["sequence"] for root in roots] == [1, 2, 3, 4, 4, 5, 6]


@EACH_SNAPSHOT
def test_the_independent_reader_restores_a_frozen_snapshot(
    independent: reader.Repository, number: int
) -> None:
    root = independent.snapshots()[number]
    assert describe_tree(independent.restore(root)) == SNAPSHOTS[number]["paths"]


@EACH_SNAPSHOT
def test_the_program_restores_a_frozen_snapshot(
    program: Repository, number: int, tmp_path: Path
) -> None:
    expected = SNAPSHOTS[number]
    root = program.find(expected["id"])
    assert (root.kind, root.tag, root.degraded, root.totals.chats, root.totals.messages) == tuple(
        expected[name] for name in ("kind", "tag", "degraded", "chats", "messages")
    )
    target = tmp_path / "restored"
    stats = restore(program, root, str(target), RestoreOptions(), SilentMonitor())
    assert (stats.failed, stats.damaged) == (0, 0)
    assert describe_folder(target) == expected["paths"]


def test_the_program_verifies_every_byte_of_the_frozen_repository(program: Repository) -> None:
    monitor = CollectingMonitor()
    stats = verify(program, VerifyOptions(read_percent=100), monitor)
    assert [finding for finding in monitor.findings if finding.severity != "info"] == []
    assert stats.snapshots == len(SNAPSHOTS)
    assert stats.damaged_objects == 0


def test_each_secret_opens_the_frozen_repository_in_both_readers() -> None:
    for secret in (EXPECTED["passphrase"], EXPECTED["recovery_key"].lower().replace("-", " ")):
        opened = open_repository(LocalStorage(str(FROZEN / "repository")), secret)
        assert len(opened.snapshots()) == len(SNAPSHOTS)
        assert len(reader.Repository(FROZEN / "repository", secret).snapshots()) == len(SNAPSHOTS)
    with pytest.raises(reader.WrongKey):
        reader.Repository(FROZEN / "repository", "another")


def test_both_readers_restore_the_last_good_version_of_a_torn_history(
    program: Repository, independent: reader.Repository, tmp_path: Path
) -> None:
    path = f"histories/{HEX}/chat-history.json"
    good = SNAPSHOTS[1]["paths"][path]
    for number in (2, 5):  # when it was torn, and after a full backup
        tree = independent.restore(independent.snapshots()[number], HEX.encode(), last_good=True)
        assert describe_tree(tree)[path] == good
        root, target = program.find(SNAPSHOTS[number]["id"]), tmp_path / str(number)
        options = RestoreOptions(last_good=True, user=HEX.encode())
        restore(program, root, str(target), options, SilentMonitor())
        assert describe_folder(target)[path] == good


def test_a_frozen_repository_can_be_backed_up_into(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    shutil.copytree(FROZEN / "repository", folder)
    repository = open_repository(LocalStorage(str(folder)), EXPECTED["passphrase"])
    data = tmp_path / "data"
    restore(repository, repository.find("latest"), str(data), RestoreOptions(), SilentMonitor())
    (data / "users/new.json").write_bytes(b'{"id": "changed"}')
    stats = backup(str(data), repository, BackupOptions(), SilentMonitor())
    assert (stats.kind, stats.changes.new, stats.changes.gone) == ("incremental", 0, 0)
    independent = reader.Repository(folder, EXPECTED["passphrase"])
    roots = independent.snapshots()
    assert describe_tree(independent.restore(roots[-1])) == describe_folder(data)
    assert describe_tree(independent.restore(roots[0])) == SNAPSHOTS[0]["paths"]


def test_the_script_that_made_the_frozen_repository_still_makes_such_ones(tmp_path: Path) -> None:
    make(tmp_path)
    made = json.loads((tmp_path / "expected.json").read_text(encoding="utf-8"))
    kept = [[{**one, "id": ""} for one in side["snapshots"]] for side in (made, EXPECTED)]
    assert kept[0] == kept[1]


# ------------------------------------------------------- one that was pruned, erased from, rotated

PAST = HERE / "frozen" / "v1-with-a-past"
PAST_EXPECTED: dict[str, Any] = json.loads((PAST / "expected.json").read_text(encoding="utf-8"))


def without_erased(paths: dict[str, Any]) -> dict[str, Any]:
    return {path: node for path, node in paths.items() if path not in PAST_EXPECTED["erased"]}


def test_the_frozen_past_has_every_kind_of_object() -> None:
    folders = {path.name for path in (PAST / "repository").iterdir() if path.is_dir()}
    assert folders == {
        *("slots", "keys", "generations", "tombstones", "snapshots", "manifests", "packs"),
        *("moved", "prunes", "proofs"),
    }
    size = sum(path.stat().st_size for path in PAST.rglob("*") if path.is_file())
    assert size < 400_000


@pytest.mark.parametrize("secret", ["passphrase", "recovery_key"])
def test_the_independent_reader_restores_the_frozen_past(secret: str) -> None:
    independent = reader.Repository(PAST / "repository", PAST_EXPECTED[secret])
    roots = independent.snapshots()
    assert [root["id"].hex() for root in roots] == [one["id"] for one in PAST_EXPECTED["snapshots"]]
    for root, one in zip(roots, PAST_EXPECTED["snapshots"], strict=True):
        assert describe_tree(independent.restore(root)) == without_erased(one["paths"])


def test_the_program_restores_verifies_and_prunes_the_frozen_past(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    shutil.copytree(PAST / "repository", folder)
    repository = open_repository(LocalStorage(str(folder)), PAST_EXPECTED["passphrase"])
    for one in PAST_EXPECTED["snapshots"]:
        monitor = CollectingMonitor()
        target = tmp_path / one["id"]
        root = repository.root(bytes.fromhex(one["id"]))
        restore(repository, root, str(target), RestoreOptions(), monitor)
        assert monitor.findings == []
        assert describe_folder(target) == without_erased(one["paths"])
    monitor = CollectingMonitor()
    stats = verify(repository, VerifyOptions(read_percent=100), monitor)
    assert stats.damaged_objects == 0
    assert {item.severity for item in monitor.findings} <= {"info"}
    options = PruneOptions(retention=Retention(keep_last=1), grace_s=0)
    for _ in range(2):
        plan = plan_prune(repository, options, SilentMonitor(), now_ms=1_950_000_000_000)
        prune(repository, plan, options, SilentMonitor())
    assert describe_tree(
        reader.Repository(folder, PAST_EXPECTED["passphrase"]).restore(
            reader.Repository(folder, PAST_EXPECTED["passphrase"]).snapshots()[0]
        )
    ) == without_erased(PAST_EXPECTED["snapshots"][-1]["paths"])


def test_the_script_that_made_the_frozen_past_still_makes_such_ones(tmp_path: Path) -> None:
    make_with_a_past(tmp_path)
    made = json.loads((tmp_path / "expected.json").read_text(encoding="utf-8"))
    kept = [[{**one, "id": ""} for one in side["snapshots"]] for side in (made, PAST_EXPECTED)]
    assert kept[0] == kept[1]


# ------------------------------------------------------------------- what the program writes now


@pytest.fixture(scope="module")
def workshop() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@contextmanager
def new_repository(folder: Path) -> Iterator[tuple[Repository, str]]:
    shutil.rmtree(folder, ignore_errors=True)
    storage = LocalStorage(str(folder))
    storage.create()
    yield create_repository(storage, "passphrase")


NAMES = st.one_of(
    st.sampled_from([b"chat-history.json", b"a.json", b"a.json.gz", b".json", b"a", b"user"]),
    st.binary(min_size=1, max_size=8).filter(
        lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
    ),
)
FOLDERS = st.sampled_from([b"", b"users/", b"histories/", b"histories/a/", b"histories/\xff/b/"])
CONTENTS = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([b"[]", b'[{"messages": []}]', b'{"messages": [', b"{}"]),
    st.integers(1, 300).map(lambda n: b"".join(b"%d a line of text\n" % i for i in range(n * 40))),
)
WHAT = st.one_of(
    CONTENTS.map(lambda data: ("file", data)),
    st.just(("folder", b"")),
    NAMES.map(lambda name: ("link", name)),
)
TREES = st.dictionaries(st.tuples(FOLDERS, NAMES).map(b"".join), WHAT, max_size=8)


def lay_out(data: bytes, tree: dict[bytes, tuple[str, bytes]]) -> None:
    """Make the data directory hold ``tree``; what does not fit beside the rest is left out."""
    shutil.rmtree(data, ignore_errors=True)
    os.mkdir(data)
    for path, (kind, content) in tree.items():
        full = os.path.join(data, path)
        try:
            os.makedirs(os.path.dirname(full), exist_ok=True)
            if kind == "folder":
                os.mkdir(full)
            elif kind == "link":
                os.symlink(content, full)
            else:
                with open(full, "xb") as file:
                    file.write(content)
                os.utime(full, ns=(10**18, 10**18 + len(content)))
        except (FileExistsError, NotADirectoryError):
            continue


@settings(max_examples=15)
@given(st.lists(TREES, min_size=1, max_size=3), st.booleans())
def test_the_independent_reader_restores_what_the_program_backs_up_now(
    workshop: Path, trees: list[dict[bytes, tuple[str, bytes]]], full: bool
) -> None:
    data, folder = workshop / "data", workshop / "repository"
    with new_repository(folder) as (repository, recovery_key):
        expected = []
        for tree in trees:
            lay_out(os.fsencode(data), tree)
            backup(str(data), repository, BackupOptions(full=full), SilentMonitor())
            expected.append(describe_folder(data))
        independent = reader.Repository(folder, recovery_key)
        for root, wanted in zip(independent.snapshots(), expected, strict=True):
            assert describe_tree(independent.restore(root)) == wanted


def test_the_independent_reader_leaves_out_who_was_erased(tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "repository"
    lay_out(
        os.fsencode(data),
        {b"users/a.json": ("file", b"{}"), b"users/b.json": ("file", b"[]")},
    )
    with new_repository(folder) as (repository, recovery_key):
        backup(str(data), repository, BackupOptions(), SilentMonitor())
        keyrings = {path: path.read_bytes() for path in (folder / "keys").iterdir()}
        pseudonym = repository.keys.user_pseudonym(b"a")
        destroy_keys(repository.storage, repository.keys, pseudonym, 1)
        backup(str(data), repository, BackupOptions(), SilentMonitor())  # a came back
        for again in (False, True):
            if again:
                for path, content in keyrings.items():
                    path.write_bytes(content)
            independent = reader.Repository(folder, recovery_key)
            before, after = map(independent.restore, independent.snapshots())
            assert sorted(before.nodes) == [b"", b"users", b"users/b.json"]
            assert (before.erased, before.damaged) == ([pseudonym], [])
            assert b"users/a.json" in after.nodes
            assert (after.erased, after.damaged) == ([], [])


def test_the_independent_reader_restores_across_rotations(tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "repository"
    lay_out(os.fsencode(data), {b"users/a.json": ("file", b"{}")})
    with new_repository(folder) as (_, recovery_key):
        expected, old = [], []
        for name in (b"b", b"c", b"d"):
            repository = open_repository(LocalStorage(str(folder)), recovery_key)
            backup(str(data), repository, BackupOptions(), SilentMonitor())
            expected.append(describe_folder(data))
            old.append(export_key(repository, None))
            begun = begin_rotation(repository, plan_rotation(repository), recovery_key, "in use")
            finish_rotation(begun.repository, SilentMonitor())
            lay_out(os.fsencode(data), {b"users/%b.json" % name: ("file", b"[]")})
        exported = export_key(open_repository(LocalStorage(str(folder)), recovery_key), None)
        for secret in (recovery_key, begun.recovery_key, exported):
            assert secret is not None
            independent = reader.Repository(folder, secret)
            for root, wanted in zip(independent.snapshots(), expected, strict=True):
                assert describe_tree(independent.restore(root)) == wanted
        stolen = reader.Repository(folder, old[0])
        with pytest.raises(reader.Damaged):
            stolen.snapshots()
        assert not any(opens(stolen, name) for name in stolen._names("keys"))
        assert all(opens(independent, name) for name in independent._names("keys"))


def opens(independent: reader.Repository, keyring: str) -> bool:
    """Say whether a reader can open a keyring object."""
    bound_to = b"keyring directory" + bytes.fromhex(keyring.removeprefix("keys/"))
    try:
        independent._open_either(keyring, independent._keyring_keys, bound_to, 8, 1052)
    except reader.Damaged:
        return False
    return True


def test_the_independent_reader_restores_one_user(tmp_path: Path) -> None:
    data = tmp_path / "data"
    lay_out(
        os.fsencode(data),
        {b"users/a.json": ("file", b"{}"), b"users/b.json": ("file", b"[]")},
    )
    with new_repository(tmp_path / "repository") as (repository, recovery_key):
        backup(str(data), repository, BackupOptions(), SilentMonitor())
        independent = reader.Repository(tmp_path / "repository", recovery_key)
        (root,) = independent.snapshots()
        assert list(independent.restore(root, b"a").nodes) == [b"users/a.json"]
        assert independent.restore(root, b"c").nodes == {}
