"""Findings that are kept for a JSON document, however many; the document in pieces."""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shenyu_data.cli.common import json_pieces
from shenyu_data.cli.kept import MOST_IN_MEMORY, KeptFindings
from shenyu_data.model.findings import Finding

MANY = 5 * MOST_IN_MEMORY


def finding(number: int, message: str = "it is so") -> Finding:
    return Finding(code="torn-json", severity="error", path=f"用户/{number}", message=message)


def kept(count: int) -> KeptFindings:
    found = KeptFindings()
    for number in range(count):
        found.append(finding(number))
    return found


@pytest.mark.parametrize("count", [0, 1, MOST_IN_MEMORY, MOST_IN_MEMORY + 1, MANY])
def test_all_are_kept_in_their_order_and_can_be_asked_for_again(count: int) -> None:
    found = kept(count)
    expected = [finding(number) for number in range(count)]
    assert len(found) == count
    assert list(found) == expected
    assert list(found) == expected
    found.append(finding(count))
    assert list(found) == [*expected, finding(count)]


def test_what_is_no_text_comes_out_with_escapes() -> None:
    found = kept(MOST_IN_MEMORY)
    for _ in range(MANY):
        found.append(finding(1, "half \udce6"))
    assert {one.message for one in found} == {"it is so", "half \\udce6"}


def test_without_a_place_for_a_file_they_stay_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert list(kept(MANY)) == [finding(number) for number in range(MANY)]


def test_on_a_full_disk_they_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        tempfile,
        "TemporaryFile",
        lambda **_: open("/dev/full", "r+b", buffering=0),  # noqa: SIM115
    )
    assert list(kept(MANY)) == [finding(number) for number in range(MANY)]


def test_memory_does_not_grow_with_their_number() -> None:
    tracemalloc.start()
    try:
        found = kept(30_000)
        held, peak = tracemalloc.get_traced_memory()
        assert len(found) == 30_000
    finally:
        tracemalloc.stop()
    assert held < 2 << 20
    assert peak < 2 << 20


ITEMS: list[dict[str, Any]] = [
    {"code": "a", "path": 'x "[]" \n', "pointer": None, "more": {"list": [], "deep": [1, {}]}},
    {"code": "b", "path": "\u202e\x7f用", "pointer": "/1", "more": {}},
]
DOCUMENTS: list[dict[str, Any]] = [
    {"findings": []},
    {"empty": [], "text": "[]", "number": 1, "findings": []},
    {"runs": [{"tool": {"rules": [{}]}, "results": []}]},
]


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_document_in_pieces_is_the_document_as_a_whole(
    document: dict[str, Any], count: int
) -> None:
    items = ITEMS[:count]

    def filled(value: Any) -> Any:
        """Put the items into the last list."""
        if isinstance(value, list):
            return [filled(one) for one in value] if value else items
        *others, last = value
        return {**{name: value[name] for name in others}, last: filled(value[last])}

    pieces = list(json_pieces(document, items))
    text = b"".join(pieces)
    assert msgspec.json.decode(text) == filled(document)
    whole = b"".join(json_pieces(filled(document), []))
    assert text == whole
    assert len(pieces) <= count + 3
