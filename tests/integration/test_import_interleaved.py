"""Imports interleaved, call by call, with an application that rewrites and makes the same file."""

from __future__ import annotations

import io
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.model.monitor import CollectingMonitor, SilentMonitor
from shenyu_data.operations.export import ExportOptions, Format, export
from shenyu_data.operations.import_data import ImportStats, import_data
from shenyu_data.operations.import_plan import ImportOptions, plan_import
from shenyu_data.operations.import_watch import Watch
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.interleaving import T0, Interleaving

USER = f"{1:064x}"
PATH = f"histories/{USER}/chat-history.json"
CHATS = 30
SEEDS = int(os.environ.get("SHENYU_DATA_TEST_INTERLEAVINGS", "60"))


def _die(*_: object) -> None:
    raise KeyboardInterrupt


class Beside:
    """A data directory into which an export of thirty chats is brought while the writer writes."""

    def __init__(self, base: Path, seed: int, form: Format = "native") -> None:
        self.base = base
        self.chance = random.Random(seed)
        self.monitor = CollectingMonitor()
        other = Application(base / "other")
        self.exported = [chat(number, messages=2) for number in range(CHATS, 0, -1)]
        other.add_user(USER, self.exported)
        out = io.BytesIO()
        export(str(other.folder), "-", out, ExportOptions(form=form), SilentMonitor())
        self.export = out.getvalue()
        self.data = Application(base / "data")
        self.path = self.data.folder / PATH
        self.interleaving = Interleaving(self.path, self.chance)
        self.writer = self.interleaving.writer

    def bring_in(self, policy: Any, *, killed: bool = False) -> ImportStats:
        """Import it; ``killed``: a first import ends without a word once all has its name."""
        options = ImportOptions(
            policy=policy, unsaved_too=True, quiet_s=2.0, state=str(self.base / "state")
        )
        words = (lambda: io.BytesIO(self.export), str(self.data.folder), None, options)
        with pytest.MonkeyPatch.context() as patches:
            self.interleaving.patch(patches)
            with self.interleaving:
                if killed:
                    with pytest.MonkeyPatch.context() as kill, pytest.raises(KeyboardInterrupt):
                        kill.setattr(Watch, "written", _die)
                        import_data(*words, self.monitor, plan=None)
                plan = plan_import(*words, SilentMonitor())
                return import_data(*words, self.monitor, plan=plan)

    @property
    def codes(self) -> list[str]:
        return [finding.code for finding in self.monitor.findings]

    @property
    def live(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.path.read_bytes())
        return found

    def numbers(self) -> list[int]:
        """Return the chats that are live, each but once."""
        numbers = [int(item["id"]) - T0 for item in self.live]
        assert len(numbers) == len(set(numbers))
        return numbers

    def check_the_import(self, done: ImportStats, policy: str) -> None:
        """Whatever it brought is live, or it is told that it is not."""
        missing = set(range(1, CHATS + 1)) - set(self.numbers())
        if missing:
            assert policy != "merge" or done.busy or done.refused
            assert done.skipped or done.refused or done.busy
            assert done.skipped or set(self.codes) & {"written-since", "live-busy"}
            assert done.created < 2

    def check_the_writer(self) -> None:
        """Whatever it wrote is live, or kept beside it and told."""
        assert self.writer.met_torn == 0, "the writer met a torn file: one of ours"
        aside = list(self.data.folder.rglob(".shenyu-data*"))
        assert all(path.name.startswith(".shenyu-data-kept-") for path in aside)
        assert self.codes.count("displaced-kept") == len(aside)
        assert not aside or "live-busy" in self.codes
        text = self.path.read_text() + "".join(path.read_text() for path in aside)
        assert [words for words in self.writer.messages if words not in text] == [], self.codes
        assert [one for one in self.writer.chats if str(T0 + one) not in text] == [], self.codes


@pytest.mark.parametrize("seed", range(SEEDS // 3))
def test_merged_into_what_the_writer_rewrites_no_chat_is_lost(tmp_path: Path, seed: int) -> None:
    beside = Beside(tmp_path, seed)
    gone = beside.chance.sample(range(1, CHATS + 1), 5)
    kept = [item for item in beside.exported if item["id"] - T0 not in gone]
    beside.data.write(PATH, kept)
    done = beside.bring_in("merge")
    numbers = beside.numbers()
    assert {item["id"] - T0 for item in kept} - set(numbers) == set()
    if not (done.busy or done.refused):
        assert set(gone) - set(numbers) == set(), beside.codes
    assert set(beside.codes) <= {"live-busy", "displaced-kept", "live-torn", "changed-since"}
    beside.check_the_writer()


@pytest.mark.parametrize("policy", ["merge", "skip"])
@pytest.mark.parametrize("seed", sorted({*range(SEEDS // 3), 22, 36}))
def test_what_the_writer_makes_meanwhile_is_not_replaced(
    tmp_path: Path, seed: int, policy: str
) -> None:
    """Nothing was there; the writer makes the file, before the import does or after."""
    beside = Beside(tmp_path, seed)
    beside.check_the_import(beside.bring_in(policy), policy)
    beside.check_the_writer()


@pytest.mark.parametrize("policy", ["merge", "skip"])
@pytest.mark.parametrize("seed", sorted({*range(SEEDS // 6), 22, 36}))
def test_what_the_guides_format_brings_is_not_lost_to_the_writer(
    tmp_path: Path, seed: int, policy: str
) -> None:
    beside = Beside(tmp_path, seed, "guide")
    beside.check_the_import(beside.bring_in(policy), policy)
    beside.check_the_writer()


@pytest.mark.parametrize("policy", ["merge", "skip"])
@pytest.mark.parametrize("seed", sorted({*range(SEEDS // 6), 22, 36}))
def test_what_a_killed_import_had_made_is_watched_by_the_next(
    tmp_path: Path, seed: int, policy: str
) -> None:
    beside = Beside(tmp_path, seed)
    beside.check_the_import(beside.bring_in(policy, killed=True), policy)
    beside.check_the_writer()


@pytest.mark.parametrize("seed", sorted({*range(SEEDS // 6), 22, 36}))
def test_by_renaming_all_is_there_under_one_name_or_the_other(tmp_path: Path, seed: int) -> None:
    beside = Beside(tmp_path, seed)
    beside.bring_in("rename")
    folder = beside.path.parent
    files = [beside.path, *folder.glob("chat-history.imported-*.json")]
    ids = {item["id"] - T0 for file in files for item in json.loads(file.read_bytes())}
    assert set(range(1, CHATS + 1)) - ids == set(), beside.codes
    beside.check_the_writer()


@pytest.mark.parametrize("policy", ["overwrite", "newer"])
@pytest.mark.parametrize("seed", sorted({*range(SEEDS // 6), 22, 36}))
def test_what_is_overwritten_after_it_was_made_is_written_again_or_told(
    tmp_path: Path, seed: int, policy: str
) -> None:
    beside = Beside(tmp_path, seed)
    beside.check_the_import(beside.bring_in(policy), policy)
