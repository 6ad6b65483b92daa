"""The rules of alerts about who touches the data, and about watching that. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shenyu_data.model.alert_terms import Seen, ago
from shenyu_data.model.alerts import DAY_MS, MINUTE_MS, Facts, span
from shenyu_data.model.amounts import counted
from shenyu_data.model.config_alerts import AlertsTable
from shenyu_data.model.watch_terms import BULK, MISSED, STRANGERS, Cause, Noticed

STANDS_MS = 3 * DAY_MS
"""What was noticed stands for so long after it was noticed last."""

SILENT_MS = 15 * MINUTE_MS
"""Whoever watches says each minute that it does; silence for so long is an alert."""

_BLIND_MS = 2 * MINUTE_MS


def access_bulk(facts: Facts, _: AlertsTable) -> Iterator[Seen]:
    """See whether somebody read or removed documents of many users."""
    return _noticed(facts, BULK)


def access_stranger(facts: Facts, _: AlertsTable) -> Iterator[Seen]:
    """See whether somebody touched the data who may not."""
    return _noticed(facts, STRANGERS)


def watch_missed(facts: Facts, _: AlertsTable) -> Iterator[Seen]:
    """See whether watching missed something."""
    return _noticed(facts, MISSED)


def _noticed(facts: Facts, causes: Iterable[Cause]) -> Iterator[Seen]:
    for item in facts.noticed:
        if item.cause in causes and facts.now_ms - item.last_ms < STANDS_MS:
            yield Seen(
                item.first_ms,
                noticed_text(item),
                "shenyu-data audit show",
                item.figures(),
                subject=f"{item.cause}/{item.who}" if item.cause not in MISSED else item.cause,
            )


def watch_stopped(facts: Facts, _: AlertsTable) -> Iterator[Seen]:
    """See whether nothing watches who touches the data, or what watches is blind."""
    watch = facts.watch
    if watch is None:
        return
    silent = watch.beat_ms is None or facts.now_ms - watch.beat_ms > SILENT_MS
    if watch.blind_ms is not None and not watch.ended and not silent:
        if facts.now_ms - watch.blind_ms > _BLIND_MS:
            yield Seen(
                watch.blind_ms,
                "What watches who touches the data has seen nothing since "
                f"{ago(facts, watch.blind_ms)}: the directory was moved, removed or unmounted, or "
                "cannot be watched.",
                "shenyu-data watch --check",
            )
        return
    forgotten = watch.beat_ms is None or facts.now_ms - watch.beat_ms > STANDS_MS
    if not (silent or watch.ended) or (not watch.wanted and (watch.ended or forgotten)):
        return
    # What begins with the machine, or right after a stop, gets its time.
    known_ms = [time for time in (watch.beat_ms, facts.awake_ms) if time is not None]
    last_ms = max(known_ms, default=facts.since_ms)
    if facts.now_ms - last_ms > SILENT_MS:
        since_ms = watch.beat_ms if watch.beat_ms is not None else last_ms
        yield Seen(
            since_ms,
            "Nothing watches who touches the data"
            + (": it never has." if watch.beat_ms is None else f" since {ago(facts, since_ms)}."),
            "shenyu-data watch",
        )


def noticed_text(item: Noticed) -> str:
    """Return what was noticed, as people say it; no name of a user of the application is in it."""
    by = f" with {', '.join(item.programs)}" if item.programs else ""
    who = _who(item)
    length = span(item.last_ms - item.first_ms)
    times = counted(item.accesses, "access", "accesses")
    said: dict[Cause, str] = {
        "bulk-read": f"{who} opened or wrote documents of {counted(item.users, 'user')} within "
        f"{length}{by}.",
        "bulk-read-day": f"{who} opened or wrote documents of {counted(item.users, 'user')} "
        f"within a day{by}.",
        "bulk-removed": f"{who} removed {counted(item.documents, 'document')}, or moved them away, "
        f"within {length}{by}.",
        "writer": f"{who} wrote to the data{by}, and only the application may: {times}.",
        "program": f"{who} touched the data{by or ' with a program that could not be seen'}, and "
        f"no such program is on the list: {times}.",
        "account": f"{who} touched the data{by}, and no such account is on the list: {times}.",
        "hours": f"{who} touched the data{by}, outside of the hours: {times}.",
        "dropped": "The system dropped accesses before they were looked at, "
        f"{counted(item.dropped, 'time')}: nobody knows how many, and whose.",
        "part": f"{counted(item.dropped, 'folder')} cannot be watched: the system's limit is "
        "reached (fs.inotify.max_user_watches).",
        "killed": f"What watched was killed; for {span(item.blind_s * 1000)} nothing watched.",
        "blind": f"For {span(item.blind_s * 1000)} nothing was seen of who touched the data.",
    }
    return said[item.cause]


def _who(item: Noticed) -> str:
    if item.who == "application":
        return "The application"
    if item.who == "gone":
        return "Processes that were gone before they could be looked at"
    if item.who == "unseen":
        return "Somebody"
    if item.account is None or item.who == "others":
        return "Several others"
    logged = f" (logged in as {item.login})" if item.login is not None else ""
    return f"Account {item.account}{logged}"
