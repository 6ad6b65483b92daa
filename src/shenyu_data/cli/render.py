"""Values as people and programs read them: numbers, sizes, times, tables, snapshots. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from shenyu_data.model.amounts import bytes_text, counted
from shenyu_data.model.findings import printable
from shenyu_data.model.messages import Message
from shenyu_data.repository.format import Snapshot

size = bytes_text
number = counted


def iso(time_ms: int) -> str:
    """Return a time in ms since 1970 as ISO 8601 UTC, to the second."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def local(time_ms: int) -> str:
    """Return a time in ms since 1970 as people here read it."""
    return datetime.fromtimestamp(time_ms / 1000).strftime("%Y-%m-%d %H:%M:%S")


def brief(text: str | None, width: int = 60) -> str:
    """Return a user's words on one line, printable, and cut at ``width`` characters."""
    shown = printable((text or "")[: width + 1])
    return shown if len(shown) <= width else shown[: width - 1] + "…"


def more(shown: int, found: int, one: str, many: str | None = None) -> str:
    """Return the line that says what a limit left out; empty if nothing."""
    if shown >= found:
        return ""
    return f"… and {number(found - shown, one, many)} more: --limit 0 shows all"


def message_lines(messages: Sequence[Message]) -> list[str]:
    """Return messages as lines, each below its role."""
    lines = []
    for message in messages:
        lines += ["", f"{brief(message.role, 20)}:"]
        lines += [f"  {printable(line)}" for line in message.content.expandtabs(4).splitlines()]
    return lines


_AMOUNT = re.compile(r"[0-9][0-9,.]*( [kMGT]?B)?")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows in aligned columns; those of numbers and sizes stand to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    right = [
        bool(rows) and all(_AMOUNT.fullmatch(row[index]) and index > 1 for row in rows)
        for index in range(len(header))
    ]
    lines = []
    for row in (header, *rows):
        cells = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def kind_of_snapshot(item: Snapshot) -> str:
    """Return what a list says of how a snapshot was made: ``incremental DEGRADED``."""
    words = [item.kind]
    if item.partial:
        words.append("partial")
    if item.safety:
        words.append("safety")
    if item.degraded:
        words.append("DEGRADED")
    return " ".join(words)


def snapshot_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return a snapshot as ``--json`` shows it."""
    return {
        "id": snapshot.id.hex(),
        "time": iso(snapshot.time_ms),
        "kind": snapshot.kind,
        "parent": snapshot.parent.hex() if snapshot.parent is not None else None,
        "tag": snapshot.tag,
        "degraded": snapshot.degraded,
        "partial": snapshot.partial,
        "safety": snapshot.safety,
        "data": snapshot.data,
        "program": snapshot.program,
        "totals": fields(snapshot.totals),
        "changes": fields(snapshot.changes),
        "read_bytes": snapshot.read_bytes,
        "stored_bytes": snapshot.stored_bytes,
        "elapsed_s": snapshot.elapsed_ms / 1000,
    }


def fields(struct: msgspec.Struct) -> dict[str, Any]:
    """Return a flat struct's fields by name."""
    return {name: getattr(struct, name) for name in struct.__struct_fields__}
