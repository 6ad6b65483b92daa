"""The page about validating shows what the program says, and names the fields it gives."""

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.validate import ValidateOptions, ValidateStats, validate

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "validate.md").read_text(encoding="utf-8")
CHAT = {
    "id": 1739100649794,
    "title": "你好",
    "messages": [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "Hi"}],
    "timestamp": "2025-02-09T11:30:49.794Z",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the folder in which the page's example begins."""
    torn = json.dumps([CHAT], indent=2)[:90]
    contents = {
        "users/anna.json": json.dumps({"id": "anna", "created_at": "2025-02-10T03:28:00.000Z"}),
        "histories/anna/chat-history.json": json.dumps([CHAT, {**CHAT, "id": "1739100649794"}]),
        "histories/anna/sn43-history.json": torn,
        "histories/bob/chat1.json": json.dumps(CHAT),
    }
    for name, text in contents.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        os.utime(path, (1_740_000_000, 1_740_000_000))
    packed = gzip.compress(json.dumps(CHAT).encode(), mtime=0)
    (tmp_path / "data/histories/anna/chat2.json.gz").write_bytes(packed)
    return tmp_path


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "shenyu_data.cli.main", "validate", *arguments]
    environment = {**os.environ, "PYTHONUTF8": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def without_measures(text: str) -> list[str]:
    """Give the lines of an output without the sizes and times, which may differ."""
    return re.sub(r"[\d.,]+ (k?B|s)\b", "…", text).strip().splitlines()


def test_the_example_shows_what_the_program_says(folder: Path) -> None:
    (block,) = re.findall(r"^```console\n\$ shenyu-data validate data\n(.*?)```", PAGE, re.M | re.S)
    result = call(folder, "data")
    assert without_measures(block) == without_measures(result.stderr + result.stdout)
    assert result.returncode == 1


def test_the_json_on_the_page_has_the_fields_the_program_gives(folder: Path) -> None:
    (block,) = re.findall(r"^```json\n(.*?)```", PAGE, re.M | re.S)
    shown = json.loads(block)
    given = json.loads(call(folder, "data", "--json").stdout)
    assert list(shown) == list(given)
    ignored = ("findings", "elapsed_s", "document_bytes")
    assert {**shown, **dict.fromkeys(ignored)} == {**given, **dict.fromkeys(ignored)}
    assert shown["findings"][0] in given["findings"]
    assert set(ValidateStats.__struct_fields__) <= set(given)


def test_the_python_on_the_page_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"^```python\n(.*?)```", PAGE, re.M | re.S)
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    exec(compile(block.replace("print(", "shown = ("), "validate.md", "exec"), names)
    monitor = CollectingMonitor()
    validate("data", ValidateOptions(), monitor)
    assert names["shown"] == (False, [finding.code for finding in monitor.findings])
