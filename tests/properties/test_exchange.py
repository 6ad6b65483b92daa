"""Whatever a data directory holds, an export and an import of it give the same directory again."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shenyu_data.exchange.items import WHOLE_BYTES, Item, Piece, PiecesEnd, pieces_of
from shenyu_data.exchange.native import item_lines
from shenyu_data.exchange.native_reader import NativeReader
from shenyu_data.exchange.streams import Input
from shenyu_data.model.errors import ArchiveError
from shenyu_data.model.monitor import CollectingMonitor, SilentMonitor
from shenyu_data.operations.export import ExportOptions, ExportStats, export
from shenyu_data.operations.import_data import ImportStats, import_data
from shenyu_data.operations.import_plan import ImportOptions, plan_import
from shenyu_data.testing.strategies import trees
from shenyu_data.testing.tree import Item as Planned
from shenyu_data.testing.tree import Tree, build_tree, read_tree, tree_folder

OURS = {"torn-document", "special-file"}


def export_of(data: Path, **options: object) -> tuple[bytes, ExportStats, set[str]]:
    """Export a directory; return the export, its numbers and the codes of what was found."""
    monitor, out = CollectingMonitor(), io.BytesIO()
    stats = export(str(data), "-", out, ExportOptions(**options), monitor)  # type: ignore[arg-type]
    return out.getvalue(), stats, {finding.code for finding in monitor.findings}


def opener(text: bytes) -> Callable[[], BinaryIO]:
    return lambda: io.BytesIO(text)


def bring_in(text: bytes, data: Path, state: Path, **options: object) -> ImportStats:
    given = ImportOptions(state=str(state), quiet_s=0.01, **options)  # type: ignore[arg-type]
    plan = plan_import(opener(text), str(data), None, given, SilentMonitor())
    return import_data(opener(text), str(data), None, given, SilentMonitor(), plan=plan)


def without_special(tree: Tree) -> Tree:
    """Return a tree without what no export carries, and without the time that a removal sets."""
    return tree.without(tree.special())


@given(plan=trees())
def test_an_export_imported_into_an_empty_directory_is_the_same_directory(
    plan: dict[bytes, Planned],
) -> None:
    with tree_folder() as base:
        build_tree(base / "data", plan)
        before = read_tree(base / "data")
        text, stats, codes = export_of(base / "data")
        assert read_tree(base / "data") == before, "an export changes nothing"
        assert codes <= OURS
        assert stats.whole == (not codes)
        (base / "new").mkdir()
        done = bring_in(text, base / "new", base / "state", exact=True)
        assert (done.refused, done.failed, done.busy, done.damaged) == (0, 0, 0, 0)
        found, wanted = read_tree(base / "new"), without_special(before)
        assert found.nodes == wanted.nodes
        assert found.hard_links == wanted.hard_links
        again = bring_in(text, base / "new", base / "state", exact=True, policy="overwrite")
        assert (again.created, again.replaced, again.links, again.folders) == (0, 0, 0, 0)
        assert read_tree(base / "new") == found, "imported twice is imported once"


@given(plan=trees(special=False))
def test_without_exact_nothing_gets_rights_or_leads_out(plan: dict[bytes, Planned]) -> None:
    with tree_folder() as base:
        build_tree(base / "data", plan)
        text, _, _ = export_of(base / "data")
        done = bring_in(text, base / "new", base / "state")
        assert (done.failed, done.busy) == (0, 0)
        for path, node in read_tree(base / "new").nodes.items():
            if node.kind != "folder":
                assert node.mode & 0o6000 == 0
            if node.kind == "link":
                target = os.path.normpath(os.path.join(os.path.dirname(path), node.content))
                assert not target.startswith((b"/", b".."))


@given(
    data=st.binary(max_size=40)
    | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_pieces_together_are_the_contents(data: bytes) -> None:
    repeated = data * (2 * WHOLE_BYTES // max(len(data), 1) + 1)
    pieces = list(pieces_of(repeated))
    assert b"".join(pieces) == repeated
    assert all(0 < len(piece) <= WHOLE_BYTES for piece in pieces)


@settings(max_examples=100)
@given(text=st.binary(max_size=300), head=st.sampled_from((b"", b"\x1f\x8b", b"\x28\xb5\x2f\xfd")))
def test_a_reader_of_anything_ends_with_an_error_of_ours(text: bytes, head: bytes) -> None:
    with pytest.raises(ArchiveError):
        list(NativeReader(Input(io.BytesIO(head + text)).read))


@st.composite
def damaged_exports(draw: st.DrawFn) -> tuple[bytes, bytes]:
    with tree_folder() as base:
        build_tree(
            base,
            {
                b"users/anna.json": Planned("file", b'{"id": "anna"}'),
                b"histories/anna/chat-history.json": Planned("file", b"[]"),
                b"x": Planned("link", b"users"),
            },
        )
        text, _, _ = export_of(base)
    at = draw(st.integers(0, len(text) - 1))
    kind = draw(st.sampled_from(("cut", "flip", "drop line", "twice")))
    lines = text.splitlines(keepends=True)
    line = draw(st.integers(0, len(lines) - 1))
    if kind == "cut":
        return text, text[:at]
    if kind == "flip":
        return text, text[:at] + bytes([text[at] ^ draw(st.integers(1, 255))]) + text[at + 1 :]
    if kind == "drop line":
        return text, b"".join(lines[:line] + lines[line + 1 :])
    return text, b"".join([*lines[: line + 1], lines[line], *lines[line + 1 :]])


@settings(max_examples=100)
@given(both=damaged_exports())
def test_every_damage_to_an_export_is_noticed_before_anything_is_written(
    both: tuple[bytes, bytes],
) -> None:
    _, damaged = both
    with tree_folder() as base:
        with pytest.raises(ArchiveError):
            bring_in(damaged, base / "new", base / "state")
        assert not (base / "new").exists()


def test_a_file_in_pieces_comes_back() -> None:
    text = ("好" * WHOLE_BYTES).encode()
    lines = b"".join(item_lines(Item(kind="file", path=b"a", data=text)))
    pieces, size = [], 0
    from blake3 import blake3

    from shenyu_data.exchange.native import Closing, closing_line, header_line

    body = header_line(None, None) + lines
    closing = closing_line(Closing(files=1, file_bytes=len(text)), blake3(body).digest(16))
    for record in NativeReader(io.BytesIO(body + closing).read):
        if isinstance(record, Piece):
            pieces.append(record.data)
        elif isinstance(record, PiecesEnd):
            size = record.size
    assert b"".join(pieces) == text
    assert size == len(text)
