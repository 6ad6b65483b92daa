"""The guide's export in stretches: what comes is what comes of it one document at a time, or it is
told that it was cut within a user.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.exchange.guide_reader import GuideReader
from shenyu_data.exchange.guide_stretch import CutWithinError, GuideStretch
from shenyu_data.exchange.items import Item, Record
from shenyu_data.exchange.streams import Input
from shenyu_data.model.errors import ArchiveError
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.import_data import import_data
from shenyu_data.operations.import_plan import ImportOptions, ImportPlan, open_export, plan_import

NAMES = st.text(alphabet='abc"/.\n 字', max_size=4)
VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=8) | st.sampled_from(['},\n    "a": {', '",\n"']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
EXPORTS = st.fixed_dictionaries(
    {},
    optional={
        "users": st.dictionaries(NAMES, VALUES, max_size=6),
        "histories": st.dictionaries(NAMES, st.lists(VALUES, max_size=3) | VALUES, max_size=6),
        "exportDate": st.none(),
        "version": st.just("1.0.0"),
    },
)


def in_stretches(text: bytes, size: int) -> tuple[list[Record], dict[bytes, int], int]:
    """Return the records, the names that were given, and how many stretches there were."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(text)
        file.flush()
        with open(file.name, "rb") as opened:
            source = Input(opened)
            reader = GuideReader(source.read, source.plain_file, stretch_bytes=size)
            records: list[Record] = []
            stretches = 0
            for part in reader.parts():
                if isinstance(part, GuideStretch):
                    stretches += 1
                    taken: GuideStretch = pickle.loads(pickle.dumps(part))  # as a worker gets it
                    records += taken.records()
                    for name, count in taken.names.items():
                        reader.names[name] = reader.names.get(name, 0) + count
                elif isinstance(part, Record):
                    records.append(part)
                else:
                    records += part.records()
            return records, reader.names, stretches


def one_by_one(text: bytes) -> tuple[list[Record], dict[bytes, int]]:
    reader = GuideReader(io.BytesIO(text).read)
    return list(reader), reader.names


@given(export=EXPORTS, indent=st.sampled_from([None, 0, 1, 2, 4, "\t"]), size=st.integers(1, 300))
def test_stretches_hold_what_stands_in_the_export(
    export: dict[str, Any], indent: int | str | None, size: int
) -> None:
    text = json.dumps(export, indent=indent, ensure_ascii=False).encode()
    try:
        wanted = one_by_one(text)
    except ArchiveError:
        with pytest.raises(ArchiveError):
            in_stretches(text, size)
        return
    found = in_stretches(text, size)
    assert found[:2] == wanted


@given(
    pieces=st.lists(
        st.sampled_from(
            ['"a": {', "}", ',\n    "b": [', "]", ",", ' "c": 1', "\n  }", '"', "\\u12"]
        ),
        max_size=12,
    ),
    size=st.integers(1, 60),
)
def test_what_is_no_json_never_comes_as_documents(pieces: list[str], size: int) -> None:
    text = b'{\n  "users": {\n    "x": ' + "".join(pieces).encode()
    try:
        found = in_stretches(text, size)[0]
    except (CutWithinError, ArchiveError):
        return
    assert found == one_by_one(text)[0]


def test_of_two_members_of_one_name_both_come() -> None:
    members = b",\n    ".join(b'"same": [\n      {"n": %d}\n    ]' % number for number in range(9))
    text = b'{\n  "histories": {\n    %b\n  }\n}' % members
    found, names, stretches = in_stretches(text, 100)
    assert stretches > 1
    assert (found, names) == one_by_one(text)
    assert sum(isinstance(record, Item) and record.kind == "file" for record in found) == 9


ODDLY = b'{\n  "users": {\n    "a": {"x": {\n    "b": 1,\n    "c": 2,\n    "d": 3}}%b\n  }\n}'


def plan_of(base: Path, text: bytes) -> tuple[ImportPlan, list[str], ImportOptions]:
    (base / "export.json").write_bytes(text)
    options = ImportOptions(state=str(base / "state"), quiet_s=0.02)
    monitor = CollectingMonitor()
    source = str(base / "export.json")
    plan = plan_import(lambda: open_export(source), str(base / "data"), None, options, monitor)
    return plan, [finding.code for finding in monitor.findings], options


def test_an_oddly_indented_export_comes_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shenyu_data.operations.import_items.PART_BYTES", 40)
    text = ODDLY % (b',\n    "../e": {},\n    "f": {}')
    plan, codes, options = plan_of(tmp_path, text)
    assert (plan.documents, plan.stretches, codes) == (2, False, ["unsafe-entry"])
    import_data(
        lambda: open_export(str(tmp_path / "export.json")),
        str(tmp_path / "data"),
        None,
        options,
        CollectingMonitor(),
        plan=plan,
    )
    assert sorted(os.listdir(tmp_path / "data/users")) == ["a.json", "f.json"]


def test_an_export_that_was_changed_after_it_was_planned_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shenyu_data.operations.import_items.PART_BYTES", 40)
    even = json.dumps({"users": {f"u{n}": {"n": [n]} for n in range(9)}}, indent=2).encode()
    plan, codes, options = plan_of(tmp_path, even)
    assert (plan.documents, plan.stretches, codes) == (9, True, [])
    (tmp_path / "export.json").write_bytes(ODDLY % b"")
    with pytest.raises(ArchiveError, match="was changed while it was read"):
        import_data(
            lambda: open_export(str(tmp_path / "export.json")),
            str(tmp_path / "data"),
            None,
            options,
            CollectingMonitor(),
            plan=plan,
        )
    assert not list((tmp_path / "data").rglob("*.json"))
