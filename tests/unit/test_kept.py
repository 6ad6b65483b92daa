"""Values that are kept for a JSON document, however many; the document in pieces."""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shenyu_data.cli.common import json_pieces
from shenyu_data.model.findings import Finding
from shenyu_data.operations.kept import MOST_IN_MEMORY, Kept

MANY = 5 * MOST_IN_MEMORY


def finding(number: int, message: str = "it is so") -> Finding:
    return Finding(code="torn-json", severity="error", path=f"用户/{number}", message=message)


def kept(count: int) -> Kept[Finding]:
    found = Kept(Finding)
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


@pytest.mark.parametrize("count", [0, 1, MOST_IN_MEMORY, MOST_IN_MEMORY + 1, MANY])
def test_with_a_key_they_are_sorted_and_equal_ones_stay_in_their_order(count: int) -> None:
    found = Kept(Finding, key=lambda item: item.message)
    expected = [finding(number, f"{number * 7919 % 1000:04}") for number in range(count)]
    for one in expected:
        found.append(one)
    expected.sort(key=lambda item: item.message)
    assert len(found) == count
    assert list(found) == expected
    assert list(found) == expected


def test_sorted_ones_stay_in_memory_on_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    full = open("/dev/full", "r+b", buffering=0)  # noqa: SIM115
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full)
    found = Kept(Finding, key=lambda item: item.path)
    for number in range(MANY, 0, -1):
        found.append(finding(number))
    assert [one.path for one in found] == sorted(f"用户/{one}" for one in range(1, MANY + 1))


@pytest.mark.parametrize("key", [None, lambda item: item.message])
def test_one_larger_than_what_is_read_at_once_comes_back(key: Any) -> None:
    found = Kept(Finding, key)
    expected = [finding(number, "x" * 50_000 + f"{number:05}") for number in range(100)]
    for one in expected:
        found.append(one)
    assert list(found) == expected


@pytest.mark.parametrize("key", [None, lambda item: item.path])
def test_memory_does_not_grow_with_their_number(key: Any) -> None:
    tracemalloc.start()
    try:
        found = Kept(Finding, key)
        for number in range(30_000):
            found.append(finding(number))
        held, peak = tracemalloc.get_traced_memory()
        assert sum(1 for _ in found) == 30_000
        _, read = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 << 20
    assert peak < 2 << 20
    assert read < 3 << 20


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


def test_several_lists_are_put_into_their_places() -> None:
    document = {"none": [], "users": [], "chats": [], "text": "[]", "in": {"x": 1}, "findings": []}
    lists: list[list[dict[str, Any]]] = [ITEMS, [], ITEMS[:1]]
    text = b"".join(json_pieces(document, *map(iter, lists)))
    filled = {**document, "users": lists[0], "chats": lists[1], "findings": lists[2]}
    assert text == b"".join(json_pieces(filled))
    assert msgspec.json.decode(text) == filled
