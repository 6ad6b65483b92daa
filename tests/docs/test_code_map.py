"""The map of the code, and every link between pages, leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "shenyu_data"
MAP = (ROOT / "docs" / "code-map.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])


def test_every_room_is_on_the_map_and_every_room_on_the_map_is_there() -> None:
    drawn = set(re.findall(r"^  (\w+)/ ", MAP, re.M))
    rooms = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert drawn == rooms


def test_every_module_the_map_names_is_there() -> None:
    names = re.findall(r"`((?:\w+/)+\w+\.py)`", MAP)
    assert len(names) > 20
    missing = [name for name in names if not (SOURCE / name).is_file()]
    assert missing == []


def test_every_folder_of_tests_is_on_the_map() -> None:
    line = next(line for line in MAP.splitlines() if line.startswith("tests/"))
    folders = {path.name for path in (ROOT / "tests").iterdir() if list(path.glob("test_*.py"))}
    assert folders == set(re.findall(r"(\w+)/", line.removeprefix("tests/")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_on_a_page_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    broken = [link for link in links if not (page.parent / link).exists()]
    assert broken == []
