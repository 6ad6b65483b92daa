"""``shenyu-data timeline``."""

from __future__ import annotations

import os
from typing import Any

import click

from shenyu_data.cli.common import Call, common, limit_option
from shenyu_data.cli.open import open_for
from shenyu_data.cli.render import brief, fields, iso, local, more, number, size, table
from shenyu_data.model.errors import UsageError
from shenyu_data.model.findings import printable
from shenyu_data.operations.search import Match, SearchOptions, SearchStats, search
from shenyu_data.operations.timeline import TimelineOptions, TimelineStats, Version, timeline


@click.command("timeline")
@click.option("--user", metavar="U", required=True, help="Whose versions to list.")
@click.option("--history", metavar="KEY", help="The versions of this history.")
@click.option("--chat", metavar="ID", help="The versions of this chat.")
@click.option("--search", "words", metavar="WORDS", help="Find chats in which all words occur.")
@limit_option("versions or matches")
@common
def timeline_command(
    call: Call, user: str, history: str | None, chat: str | None, words: str | None, limit: int
) -> None:
    """List every version of a user, a history or a chat across the snapshots, oldest first.

    With --search, find the user's chats by their words instead, in all snapshots, newest first.
    Exits with 1 if something could not be searched, 4 if something is damaged.
    """
    if words is not None and chat is not None:
        raise UsageError(
            "--search and --chat do not go together",
            hint="Search finds chats; then --chat lists the versions of one.",
        )
    name = os.fsencode(user)
    key = os.fsencode(history) if history is not None else None
    result: dict[str, Any] = {
        "user": printable(name),
        "history": printable(key) if key is not None else None,
        "chat": chat,
        "search": words,
        "versions": [],
        "matches": [],
    }
    repository = open_for(call)
    if words is None:
        options = TimelineOptions(user=name, history=key, chat=chat)
        stats = timeline(repository, options, call.monitor)
        versions = stats.versions[-limit:] if limit else stats.versions
        result["versions"] = [_json(item) for item in versions]
        result |= {"found": len(stats.versions), "snapshots_count": stats.snapshots}
        call.finish(result, _describe(versions, stats), damaged=bool(stats.damaged))
        return
    searched = search(
        repository,
        SearchOptions(user=name, words=words, history=key, limit=limit or None),
        call.monitor,
    )
    result["matches"] = [_json(item) for item in searched.matches]
    result |= {"found": searched.found, "snapshots_count": searched.snapshots}
    call.finish(
        result,
        _describe_matches(searched),
        findings=bool(searched.unsearched),
        damaged=bool(searched.damaged),
    )


def _describe(versions: list[Version], stats: TimelineStats) -> str:
    header = ("version", "from", "to", "snapshots", "size", "chats", "messages", "")
    many = len({item.history for item in versions}) > 1
    rows = [
        (
            f"#{item.number}" if item.number is not None else "-",
            f"{item.first[:8]} {local(item.first_ms)}",
            f"{item.last[:8]} {local(item.last_ms)}",
            f"{item.snapshots:,}",
            size(item.size_bytes),
            f"{item.chats:,}",
            f"{item.messages:,}",
            "  ".join(filter(None, (_state(item), brief(item.history) * many, brief(item.title)))),
        )
        for item in versions
    ]
    lines = [table(header, rows)]
    lines.insert(0, more(len(versions), len(stats.versions), "earlier version"))
    return "\n".join(filter(None, lines))


def _state(item: Version) -> str:
    state = {
        "whole": "",
        "absent": "not there",
        "pinned": "kept as a last good version",
        "unparsed": "not looked into",
        "erased": "erased",
    }.get(item.state, item.state.upper())
    return state + (f", last good is #{item.good}" if item.good is not None else "")


def _describe_matches(stats: SearchStats) -> str:
    lines = []
    for item in stats.matches:
        title = f"  {brief(item.title)}" if item.title else ""
        where = f"{item.first[:8]} {local(item.first_ms)}"
        if item.last != item.first:
            where += f" to {item.last[:8]} {local(item.last_ms)}"
        lines += [
            f"{item.history}  {brief(item.id) if item.id is not None else '(no id)'}{title}",
            f"  in {where}, {number(item.messages, 'message')}"
            + ", of a last good version" * item.pinned,
            f"  {brief(item.excerpt, 160)}",
        ]
    lines.append(more(len(stats.matches), stats.found, "match", "matches"))
    lines.append(
        f"{number(stats.found, 'match', 'matches')} in {number(stats.snapshots, 'snapshot')}, "
        f"{number(stats.histories, 'version of histories', 'versions of histories')} searched"
    )
    return "\n".join(filter(None, lines))


def _json(item: Version | Match) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, value in fields(item).items():
        if name.endswith("_ms"):
            renamed = "time" if name == "time_ms" else name.removesuffix("_ms") + "_time"
            document[renamed] = iso(value) if value is not None else None
        else:
            document[name] = value
    return document
