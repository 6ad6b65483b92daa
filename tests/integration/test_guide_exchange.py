"""Exports of the guide's: its own scripts, in Node, on our files and ours on theirs."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.data import DataSet, make
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.compress import CompressOptions, compress
from shenyu_data.operations.compress_task import Wish
from shenyu_data.operations.export import ExportOptions, ExportStats, export
from shenyu_data.operations.import_data import ImportStats, import_data
from shenyu_data.operations.import_plan import ImportOptions, open_export, plan_import
from shenyu_data.operations.validate import ValidateOptions, validate
from shenyu_data.testing.tree import read_tree

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(
    NODE is None, reason="there is no node, which runs the guide's scripts: NOT TESTED AGAINST THEM"
)
CHAT = {"id": 1, "messages": [{"role": "user", "content": '你好 \u2028 \\ " \n'}], "n": 1.5}
ARRAY = [CHAT, {"id": "2", "messages": []}]


def node(script: str, *arguments: Path) -> None:
    assert NODE is not None
    subprocess.run([NODE, SCRIPTS / script, *arguments], check=True)


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2), encoding="utf-8")
    path.chmod(0o600)


def export_guide(data: Path, file: Path) -> tuple[ExportStats, list[tuple[str, str]]]:
    monitor = CollectingMonitor()
    stats = export(str(data), str(file), io.BytesIO(), ExportOptions(form="guide"), monitor)
    return stats, [(finding.code, finding.path) for finding in monitor.findings]


def bring_in(file: Path, data: Path, **options: Any) -> tuple[ImportStats, list[str]]:
    monitor = CollectingMonitor()
    given = ImportOptions(state=str(data) + "-state", quiet_s=0.01, **options)
    plan = plan_import(lambda: open_export(str(file)), str(data), None, given, monitor)
    done = import_data(lambda: open_export(str(file)), str(data), None, given, monitor, plan=plan)
    return done, [finding.code for finding in monitor.findings]


def contents(data: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(data)): path.read_bytes()
        for path in sorted(data.rglob("*"))
        if path.is_file()
    }


def lines(file: Path) -> list[bytes]:
    """Return an export's lines, without the commas at their ends, sorted."""
    text = file.read_bytes().splitlines()
    return sorted(line.rstrip(b",") for line in text if b"exportDate" not in line)


def both_layouts(data: Path) -> None:
    write(data / "users/anna.json", {"id": "anna", "created_at": "2025-02-10T03:28:00.000Z"})
    write(data / "histories/anna/chat1.json", CHAT)
    write(data / "histories/anna/chat2.json", {"messages": [], "settings": {}})
    user = "c7" * 32
    write(data / f"users/{user}.json", {"id": user, "fingerprint": {"fonts": []}})
    write(data / f"histories/{user}/chat-history.json", ARRAY)
    write(data / f"histories/{user}/sn43-history.json", [])
    (data / "histories/nobody").mkdir()


@needs_node
@pytest.mark.parametrize("layout", ["guide", "application"])
def test_what_we_export_is_what_their_script_exports(layout: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    make(DataSet(layout, 12), data, jobs=1)
    node("guide_export.js", data, tmp_path / "theirs.json")
    export_guide(data, tmp_path / "ours.json")
    theirs, ours = (
        json.loads((tmp_path / f"{who}.json").read_bytes()) for who in ("theirs", "ours")
    )
    assert list(ours) == list(theirs) == ["users", "histories", "exportDate", "version"]
    for part in ("users", "histories", "version"):
        assert ours[part] == theirs[part]


@needs_node
def test_their_script_imports_what_we_export(tmp_path: Path) -> None:
    both_layouts(tmp_path / "data")
    node("guide_export.js", tmp_path / "data", tmp_path / "theirs.json")
    node("guide_import.js", tmp_path / "theirs.json", tmp_path / "from-theirs")
    stats, _ = export_guide(tmp_path / "data", tmp_path / "ours.json")
    node("guide_import.js", tmp_path / "ours.json", tmp_path / "from-ours")
    assert contents(tmp_path / "from-ours") == contents(tmp_path / "from-theirs")
    assert stats.lost == {"times": 6, "file_names": 2}
    assert not stats.whole
    assert lines(tmp_path / "ours.json") == lines(tmp_path / "theirs.json"), "but for their order"


@needs_node
def test_we_import_what_their_script_exports_under_names_the_application_reads(
    tmp_path: Path,
) -> None:
    data, new = tmp_path / "data", tmp_path / "new"
    both_layouts(data)
    node("guide_export.js", data, tmp_path / "export.json")
    done, codes = bring_in(tmp_path / "export.json", new)
    found = contents(new)
    was = contents(data)
    was["histories/anna/0.json"] = was.pop("histories/anna/chat1.json")
    was["histories/anna/1.json"] = was.pop("histories/anna/chat2.json")
    assert found == was
    assert (new / "histories/nobody").is_dir()
    assert (done.created, done.refused, codes) == (6, 0, [])
    assert [(item.name, item.histories) for item in done.names] == [
        ("sn43-history.json", 1),
        ("chat-history.json", 1),
        ("0.json, 1.json, …", 2),
    ]
    before = read_tree(new)
    again, _ = bring_in(tmp_path / "export.json", new, policy="overwrite")
    assert (again.created, again.replaced, again.unchanged) == (0, 0, 6)
    assert read_tree(new) == before


def test_times_come_from_the_chats(tmp_path: Path) -> None:
    write(tmp_path / "data/histories/anna/0.json", {"id": 1_700_000_000_000, "messages": []})
    export_guide(tmp_path / "data", tmp_path / "export.json")
    bring_in(tmp_path / "export.json", tmp_path / "new")
    assert (tmp_path / "new/histories/anna/0.json").stat().st_mtime == 1_700_000_000


def test_what_the_format_cannot_carry_is_told(tmp_path: Path) -> None:
    data = tmp_path / "data"
    both_layouts(data)
    (data / "notes.txt").write_text("mine")
    (data / "histories/anna/torn.json").write_text('{"id": 1, "mess')
    (data / "histories/anna/notes.txt").write_text("mine")
    (data / "histories/anna/link.json").symlink_to("chat1.json")
    (data / "histories/anna/sub").mkdir()
    (data / "histories/anna/chat1.json").chmod(0o644)
    stats, findings = export_guide(data, tmp_path / "export.json")
    assert stats.lost == {
        "times": 6,
        "modes": 1,
        "file_names": 2,
        "unknown_files": 2,
        "links": 1,
        "folders": 1,
        "torn": 1,
    }
    assert sorted(path for code, path in findings if code == "not-carried") == [
        "histories/anna/link.json",
        "histories/anna/notes.txt",
        "histories/anna/sub",
        "histories/anna/torn.json",
        "notes.txt",
    ]
    assert not stats.whole
    json.loads((tmp_path / "export.json").read_bytes())


def test_only_times_and_modes_missing_is_no_loss(tmp_path: Path) -> None:
    write(tmp_path / "data/users/anna.json", {"id": "anna"})
    write(tmp_path / "data/histories/anna/chat-history.json", ARRAY)
    stats, findings = export_guide(tmp_path / "data", tmp_path / "export.json")
    assert stats.whole
    assert findings == []


@pytest.mark.parametrize("indent", [None, 0, 1, 2, 3, 8, "\t"])
def test_an_export_is_read_however_it_is_indented(indent: int | str | None, tmp_path: Path) -> None:
    value = {
        "users": {"anna": {"id": "anna", "name": '}{][\\"\n'}, "": {}},
        "histories": {"anna": [CHAT, ARRAY, [], {}, 12, "text", None], "ben": []},
        "exportDate": "now",
        "version": "1.0.0",
    }
    del value["users"][""]  # type: ignore[attr-defined]
    (tmp_path / "export.json").write_text(json.dumps(value, indent=indent), encoding="utf-8")
    done, codes = bring_in(tmp_path / "export.json", tmp_path / "new")
    assert (done.created, codes) == (8, [])
    names = ["0.json", "chat-history.json", "sn43-history.json"]
    names += [f"{number}.json" for number in (3, 4, 5, 6)]
    folder = tmp_path / "new/histories/anna"
    for name, history in zip(names, value["histories"]["anna"], strict=True):  # type: ignore[index]
        assert json.loads((folder / name).read_bytes()) == history
    assert json.loads((tmp_path / "new/users/anna.json").read_bytes()) == value["users"]["anna"]  # type: ignore[index]


@pytest.mark.parametrize(
    "key", ["../evil", "/etc/evil", "a/b", "..", ".", "", "a\0b", "x" * 300, "\ud83d"]
)
def test_names_that_lead_elsewhere_are_left_out(key: str, tmp_path: Path) -> None:
    value = {
        "users": {key: {"id": 1}, "anna": {"id": "anna"}},
        "histories": {key: [CHAT], "anna": [CHAT]},
        "version": "1.0.0",
    }
    (tmp_path / "export.json").write_text(json.dumps(value))
    done, codes = bring_in(tmp_path / "export.json", tmp_path / "new")
    inside = {"users/anna.json", "histories/anna/0.json"}
    if key in (".", ".."):
        inside.add(f"users/{key}.json")  # an odd name, but one in its place
    assert done.refused >= 1
    assert "unsafe-entry" in codes
    assert set(contents(tmp_path / "new")) == inside - (
        {f"users/{key}.json"} if key in (".", "..") else set()
    )
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "new/users/a").exists()


def validated(data: Path) -> subprocess.CompletedProcess[str]:
    assert NODE is not None
    words = [NODE, str(SCRIPTS / "guide_validate.js"), str(data)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def guide_layout(data: Path) -> dict[str, bytes]:
    """Make a directory of the guide's layout; return what its documents hold."""
    make(DataSet("guide", 12), data, jobs=1)
    return contents(data)


@needs_node
def test_their_script_finds_whole_what_we_bring_back(tmp_path: Path) -> None:
    """Theirs exports, we import; ours exports, natively and not, and we import: both ways whole."""
    was = guide_layout(tmp_path / "data")
    assert validated(tmp_path / "data").returncode == 0
    node("guide_export.js", tmp_path / "data", tmp_path / "theirs.json")
    bring_in(tmp_path / "theirs.json", tmp_path / "from-theirs")
    export_guide(tmp_path / "data", tmp_path / "ours.json")
    bring_in(tmp_path / "ours.json", tmp_path / "from-ours")
    native = tmp_path / "all.jsonl.zst"
    options = ExportOptions(jobs=2)
    export(str(tmp_path / "data"), str(native), io.BytesIO(), options, CollectingMonitor())
    bring_in(native, tmp_path / "native")
    assert contents(tmp_path / "native") == was
    for name in ("from-theirs", "from-ours", "native"):
        done = validated(tmp_path / name)
        assert (done.returncode, done.stderr) == (0, "")
        node("guide_export.js", tmp_path / name, tmp_path / f"{name}.json")
    theirs = json.loads((tmp_path / "theirs.json").read_bytes())
    for name in ("from-theirs", "from-ours", "native"):
        again = json.loads((tmp_path / f"{name}.json").read_bytes())
        assert again["users"] == theirs["users"]
        assert {user: ordered(found) for user, found in again["histories"].items()} == {
            user: ordered(found) for user, found in theirs["histories"].items()
        }


def ordered(histories: list[Any]) -> list[str]:
    return sorted(json.dumps(history, sort_keys=True) for history in histories)


@needs_node
def test_what_their_script_compressed_we_validate_export_and_unpack(tmp_path: Path) -> None:
    """Their own export and validation fail on it, or say that all is invalid."""
    data = tmp_path / "data"
    was = guide_layout(data)
    node("guide_export.js", data, tmp_path / "before.json")
    node("guide_compress.js", data)
    assert validated(data).returncode == 1
    found = CollectingMonitor()
    assert validate(str(data), ValidateOptions(), found).errors == 0
    export_guide(data, tmp_path / "ours.json")
    before, ours = (
        json.loads((tmp_path / f"{name}.json").read_bytes()) for name in ("before", "ours")
    )
    assert (ours["users"], ours["histories"]) == (before["users"], before["histories"])
    options = CompressOptions(wish=Wish(way="decompress"), state=str(tmp_path / "state"))
    compress(str(data), options, found)
    assert contents(data) == was
    assert found.findings == []


@needs_node
def test_what_we_compressed_node_unpacks_to_the_same(tmp_path: Path) -> None:
    data = tmp_path / "data"
    was = guide_layout(data)
    options = CompressOptions(wish=Wish(way="compress"), state=str(tmp_path / "state"))
    compress(str(data), options, CollectingMonitor())
    script = (
        "const fs=require('node:fs'),zlib=require('node:zlib');"
        "for(const f of process.argv.slice(1)){"
        "fs.writeFileSync(f.slice(0,-3),zlib.gunzipSync(fs.readFileSync(f)));fs.unlinkSync(f)}"
    )
    packed = sorted(data.rglob("*.json.gz"))
    assert packed
    assert NODE is not None
    subprocess.run([NODE, "-e", script, *packed], check=True)
    assert contents(data) == was
    assert validated(data).returncode == 0
