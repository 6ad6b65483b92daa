"""What each verb does with a damaged repository, and what it must never do.

The outcome is one cell of the table: the exit status and, unless everything was done, a word.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.model.findings import printable
from shenyu_data.operations import erase
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.format import COPY_SUFFIX
from shenyu_data.repository.repository import open_repository
from shenyu_data.storage.local import LocalStorage
from shenyu_data.testing.tree import Node, Tree, read_tree
from tests.cli.conftest import Said, call_shenyu
from tests.damage.years import USER, Years

VOLATILE = {"elapsed_s", "findings", "last_used", "target", "repository", "location", "checks"}
"""Members of JSON that are not compared with what an undamaged repository gives."""

KEEP = ("--keep-last", "2", "--grace", "0h")

WHOLE, MORE, FEWER, PART, NONE, UNSEEN = "", " more", " fewer", " part", " none", " unseen"

UNKNOWABLE = {("another key slot", "missing"), ("latest snapshot, both copies", "missing")}
"""By kind and damage, what nothing in the repository tells: as if it had never been."""


class Trial:
    """One damaged repository, to be tried with every verb. ``sound`` is what the verbs that only
    read say of an undamaged one.
    """

    def __init__(
        self,
        years: Years,
        hurt: Path,
        objects: tuple[str, ...],
        unknowable: bool,
        sound: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self._years = years
        self._hurt = hurt
        self._objects = objects
        self._unknowable = unknowable
        self._sound = sound
        self._monkeypatch = monkeypatch
        self._keys = years.repository.keys
        self._live = read_tree(years.folder / "data")
        self._cells: dict[str, str] = {}

    @property
    def latest(self) -> str:
        """The id of the newest snapshot."""
        return self._years.latest

    @property
    def older(self) -> str:
        """The id of the oldest, which holds a torn document."""
        return self._years.older

    def run(self) -> dict[str, str]:
        """Return the cells, by their column."""
        before = _contents(self._hurt)
        for column, judge in COLUMNS.items():
            self._cells[column] = judge(self)
            assert _contents(self._hurt) == before, f"{column} wrote something"
        return self._cells

    # ------------------------------------------------------------------------ verbs that read

    def compare(self, *words: str) -> str:
        """Try a verb that only reads: it tells all, or exits with a status that says it did not."""
        said = self._call(*words)
        document = _steady(said.json)
        sound = self._sound.setdefault(" ".join(words), document)
        if document == sound:
            return f"{said.status}{WHOLE}"
        if "error" in document:
            assert said.status in (2, 3, 4)
            return f"{said.status}{NONE}"
        if _holds(document, sound):
            return f"{said.status}{MORE}"
        if self._unknowable and said.status == 0:
            return f"0{FEWER}"
        assert said.status in (1, 4), f"{words}: something is missing without a word"
        return f"{said.status}{PART}"

    def restore(self, snapshot: str, *, user: bool = False) -> str:
        """Try to restore: every document is right, or missing and named."""
        words = ["restore", snapshot, "--last-good", *(["--user", USER] * user)]
        name = self._years.latest if snapshot == "latest" else snapshot
        return self._restore(self._hurt, words, self._years.trees[name], user=user)

    def verify(self, *words: str) -> str:
        """Try to verify: whatever is damaged is named, unless nobody can know."""
        said = self._call("verify", *words, repo=self._copy())
        if "error" in said.json:
            return f"{said.status}{NONE}"
        named = {item["path"].removesuffix(COPY_SUFFIX) for item in said.json["findings"]}
        if all(_names(name) & named for name in self._objects):
            return f"{said.status}{WHOLE}"
        return f"{said.status}{UNSEEN}"

    def drill(self) -> str:
        """Try to prove that all can be restored: it says so if a restore does it, and only then."""
        said = self._call("drill", "--all")
        restored = self._cells["`restore` latest"]
        if "error" in said.json:
            assert not restored.startswith("0")
            return f"{said.status}{NONE}"
        if said.status == 4:
            assert not restored.startswith("0")
            return f"4{PART}"
        assert said.status == 0
        assert restored in ("0", f"0{FEWER}"), "it proved what cannot be restored"
        assert {control["result"] for control in said.json["controls"]} == {"noticed"}
        fewer = self._unknowable and said.json["snapshot"] != self.latest
        return f"0{FEWER if fewer else WHOLE}"

    # ----------------------------------------------------------------------- verbs that write

    def backup(self, *words: str) -> str:
        """Try to back up: the snapshot restores to exactly what is live, or says what it lacks."""
        repo = self._copy()
        said = self._call("backup", *words, repo=repo)
        if "error" in said.json:
            return f"{said.status}{NONE}"
        restored = self._restore(repo, ["restore", said.json["id"]], self._live)
        if restored == "0":
            return f"{said.status}{WHOLE}"
        return f"{said.status}{PART}"

    def plan_prune(self) -> str:
        """Ask what a prune would do. What there is to delete may differ: the status tells."""
        said = self._call("prune", *KEEP, "--dry-run")
        blocked = said.status == 3 and said.json["error"]["code"] == "prune-blocked"
        assert blocked or said.status in (0, 4)
        return f"{said.status}{NONE if said.status else WHOLE}"

    def prune(self) -> str:
        """Try to prune: it deletes what nothing needs, or nothing at all."""
        repo = self._copy()
        before = _contents(repo)
        said = self._call("prune", *KEEP, "--yes", repo=repo)
        if said.status not in (0, 1):
            assert _contents(repo) == before, "it refused, and did something all the same"
            return f"{said.status}{NONE}"
        tree = self._years.trees[self._years.latest]
        words = ["restore", self._years.latest, "--last-good"]
        assert self._restore(repo, words, tree) == self._restore(self._hurt, words, tree)
        return f"{said.status}{WHOLE}"

    def copy(self) -> str:
        """Try to copy all: what arrives is right."""
        other = self._copy("other")
        said = self._call("copy", "--all", "--to-repo", str(other))
        if "error" in said.json:
            return f"{said.status}{NONE}"
        secret = self._years.other_secret
        found = open_repository(LocalStorage(str(other)), secret).snapshots()
        for item in found:
            tree = self._years.trees[item.id.hex()]
            words = ["restore", item.id.hex(), "--last-good"]
            assert self._restore(other, words, tree, secret=secret) in ("0", "1")
        if self._unknowable and said.status == 0 and len(found) < len(self._years.trees):
            return f"0{FEWER}"
        if len(found) == len(self._years.trees):
            return f"{said.status}{WHOLE}"
        assert said.status in (1, 4)
        return f"{said.status}{PART if found else NONE}"

    def erase(self) -> str:
        """Try to erase the user: who is told that it is done is gone from everywhere."""
        repo = self._copy()
        data = self._hurt.parent / "data"
        shutil.copytree(self._years.folder / "data", data, symlinks=True)
        receipt = self._hurt.parent / "receipt.json"
        words = ("erase-user", USER, "--yes", "--receipt", str(receipt), "--data", str(data))
        with self._monkeypatch.context() as patch:
            patch.setattr(erase, "LOOK_S", 0.0)
            patch.setattr(erase, "LONG_LOOK_S", 0.0)
            said = self._call(*words, repo=repo)
        live = {path for path in read_tree(data).nodes if owner_of(path) == USER.encode()}
        shutil.rmtree(data)
        if not receipt.exists():
            assert said.status in (3, 4)
            return f"{said.status}{NONE if live else PART}"
        for file in self._hurt.parent.glob("receipt.json*"):
            file.unlink()
        assert not live
        gone = self._call("restore", self._years.latest, "--to", "gone", "--user", USER, repo=repo)
        shutil.rmtree(self._years.folder / "gone", ignore_errors=True)
        assert gone.status in (2, 4)
        return f"{said.status}{WHOLE}"

    # -------------------------------------------------------------------------------- helpers

    def _call(self, *words: str, repo: Path | None = None) -> Said:
        flags = ("--json", "--repo", str(repo or self._hurt))
        said = call_shenyu(self._monkeypatch, *words, *flags)
        assert "unexpected" not in said.out + said.err, said
        assert said.status in (0, 1, 2, 3, 4)
        assert "findings" in said.json or said.json.keys() == {"error"}
        return said

    def _copy(self, what: str = "") -> Path:
        """Return a copy of the damaged repository (or of the empty one ``other``)."""
        copy = self._hurt.parent / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self._years.folder / what if what else self._hurt, copy)
        return copy

    def _restore(
        self, repo: Path, words: list[str], tree: Tree, *, user: bool = False, secret: str = ""
    ) -> str:
        """Restore; assert that nothing is wrong, and that what is missing is named."""
        target = self._hurt.parent / "restored"
        with self._monkeypatch.context() as patch:
            if secret:
                patch.setenv("SHENYU_DATA_PASSPHRASE", secret)
            said = self._call(*words, "--to", str(target), repo=repo)
        if not target.exists():
            assert "error" in said.json
            return f"{said.status}{NONE}"
        restored = read_tree(target)
        shutil.rmtree(target)
        if "error" in said.json:
            assert not _documents(restored)
            return f"{said.status}{NONE}"
        fewer = words[1] == "latest" and self._unknowable and said.json["snapshot"] != self.latest
        if fewer:
            tree = self._years.trees[said.json["snapshot"]]
        wanted = {
            path: node
            for path, node in _documents(tree).items()
            if not user or owner_of(path) == USER.encode()
        }
        got = _documents(restored)
        for path, node in got.items():
            assert wanted.get(path) == node, f"{path!r} is not what it was"
        for path in wanted.keys() - got.keys():
            said_of = {item["path"] for item in said.json["findings"]}
            assert explanations(self._keys, path) & said_of, f"{path!r} is missing without a word"
        if len(got) == len(wanted):
            return f"{said.status}{FEWER if fewer else WHOLE}"
        assert said.status in (1, 4)
        return f"{said.status}{PART if got else NONE}"


def owner_of(path: bytes) -> bytes | None:
    """Return the user a path belongs to, or None: the application's own layout only."""
    parts = path.split(b"/")
    if parts[0] == b"users" and len(parts) == 2:
        return parts[1].removesuffix(b".json")
    if parts[0] == b"histories" and len(parts) > 2:
        return parts[1]
    return None


def explanations(keys: Secrets, path: bytes) -> set[str]:
    """Return what a finding may name if a path is missing: itself, its user, its bucket."""
    owner = owner_of(path)
    if owner is None:
        bucket = keys.shared_bucket(path)
        pseudonym = keys.shared_pseudonym(bucket)
    else:
        bucket, pseudonym = keys.user_bucket(owner), keys.user_pseudonym(owner)
    return {
        printable(path),
        f"one user (pseudonym {pseudonym.hex()})",
        f"bucket {bucket} of the snapshot",
    }


def _contents(folder: Path) -> dict[str, tuple[int, int]]:
    found = ((path, path.stat()) for path in folder.rglob("*") if path.is_file())
    return {str(path): (info.st_size, info.st_mtime_ns) for path, info in found}


def _documents(tree: Tree) -> dict[bytes, Node]:
    return {path: node for path, node in tree.nodes.items() if node.kind != "folder"}


def _steady(value: Any) -> Any:
    """Leave out what differs from call to call."""
    if isinstance(value, dict):
        return {key: _steady(item) for key, item in value.items() if key not in VOLATILE}
    return [_steady(item) for item in value] if isinstance(value, list) else value


def _names(name: str) -> set[str]:
    """Return what a finding may call an object: by its name, or all of its kind."""
    return {name.removesuffix(COPY_SUFFIX), name.partition("/")[0]}


def _holds(value: Any, sound: Any) -> bool:
    """Whether something has all that the sound one has, and more in a list or in a count."""
    if isinstance(value, dict) and isinstance(sound, dict):
        return value.keys() == sound.keys() and all(_holds(value[key], sound[key]) for key in value)
    if isinstance(value, list) and isinstance(sound, list):
        return [item for item in value if item in sound] == sound
    if isinstance(value, int) and isinstance(sound, int):
        return value >= sound
    return bool(value == sound)


COLUMNS: dict[str, Callable[[Trial], str]] = {
    "`snapshots`": lambda trial: trial.compare("snapshots"),
    "`show`": lambda trial: trial.compare("show", trial.latest, "--user", USER),
    "`diff`": lambda trial: trial.compare("diff", trial.older, trial.latest),
    "`timeline`": lambda trial: trial.compare("timeline", "--user", USER),
    "`restore` latest": lambda trial: trial.restore("latest"),
    "one user": lambda trial: trial.restore("latest", user=True),
    "older": lambda trial: trial.restore(trial.older),
    "in place": lambda trial: trial.compare("restore", trial.latest, "--in-place", "--dry-run"),
    "`backup`": lambda trial: trial.backup(),
    "full": lambda trial: trial.backup("--full"),
    "`verify`": lambda trial: trial.verify(),
    "read data": lambda trial: trial.verify("--read-data"),
    "`drill`": lambda trial: trial.drill(),
    "`prune` plan": lambda trial: trial.plan_prune(),
    "`prune`": lambda trial: trial.prune(),
    "`copy`": lambda trial: trial.copy(),
    "`erase-user`": lambda trial: trial.erase(),
    "`key list`": lambda trial: trial.compare("key", "list"),
    "`config check`": lambda trial: trial.compare("config", "check"),
}
"""The verbs, in the order of the table."""
