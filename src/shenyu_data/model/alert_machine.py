"""The rules of alerts about the live data, the disks, the keys and the clock. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from shenyu_data.model.ages import parse_age
from shenyu_data.model.alert_terms import Seen, ago
from shenyu_data.model.alerts import DAY_MS, HOUR_MS, Facts, span
from shenyu_data.model.amounts import bytes_text, counted
from shenyu_data.model.config_alerts import AlertsTable
from shenyu_data.model.sizes import parse_size
from shenyu_data.model.trend import full_in_ms

SCARCE_FILES = 20
"""One of so many files that a disk has room for must be free."""

UNHEARD_MS = 6 * HOUR_MS
"""So long messages may fail on one way before others are told of it."""


def data_size(facts: Facts, table: AlertsTable) -> Iterator[Seen]:
    """See whether the data directory is larger than it may be."""
    most = table.data_size.most
    if most is not None and facts.data_points and facts.data_points[-1][1] > parse_size(most):
        limit = parse_size(most)
        since_ms = facts.data_points[-1][0]
        for time_ms, size in reversed(facts.data_points):
            if size <= limit:
                break
            since_ms = time_ms
        size = facts.data_points[-1][1]
        yield Seen(
            since_ms,
            f"The data directory holds {bytes_text(size)}; {bytes_text(limit)} are allowed.",
            "shenyu-data cleanup --dry-run",
            {"data_bytes": size},
        )


def data_growth(facts: Facts, table: AlertsTable) -> Iterator[Seen]:
    """See whether the data directory grew very fast."""
    rule = table.data_growth
    from_ms = facts.now_ms - parse_age(rule.within) * 1000
    points = [item for item in facts.data_points if item[0] >= from_ms]
    before = [item for item in facts.data_points if item[0] < from_ms][-1:]
    points = before + points
    if len(points) < 2:
        return
    first, last = points[0][1], points[-1][1]
    grown = last - first
    if grown >= parse_size(rule.least) and grown * 100 >= first * rule.percent:
        yield Seen(
            points[-1][0],
            f"The data directory grew from {bytes_text(first)} to {bytes_text(last)} within "
            f"{span(points[-1][0] - points[0][0])}.",
            "shenyu-data users list --sort size",
            {"grown_bytes": grown, "data_bytes": last},
        )


def disk_free(facts: Facts, table: AlertsTable) -> Iterator[Seen]:
    """See whether little room is left on a disk."""
    rule = table.disk_free
    for disk in facts.disks:
        limit = min(disk.total_bytes * rule.percent // 100, parse_size(rule.free))
        scarce = disk.total_files // SCARCE_FILES
        if f"disk-free:{disk.name}" in facts.standing:  # it must be clearly over
            limit, scarce = limit * 11 // 10, scarce * 11 // 10
        few = disk.free_files < scarce
        if disk.free_bytes < limit or few:
            what = ", ".join(disk.holds)
            room = f"{bytes_text(disk.free_bytes)} of {bytes_text(disk.total_bytes)} are free"
            if few:
                room += f", and room for {counted(disk.free_files, 'more file')}"
            yield Seen(
                facts.now_ms,
                f"The disk of {what} is nearly full: {room}.",
                "shenyu-data prune" if "the repository" in disk.holds else "",
                {"free_bytes": disk.free_bytes, "free_files": disk.free_files},
                subject=disk.name,
            )


def disk_full_soon(facts: Facts, table: AlertsTable) -> Iterator[Seen]:
    """See whether a disk will be full soon, by the trend."""
    within = parse_age(table.disk_full_soon.within) * 1000
    for disk in facts.disks:
        left_ms = full_in_ms(disk.points, facts.now_ms, disk.free_bytes)
        standing = f"disk-full-soon:{disk.name}" in facts.standing
        if left_ms is not None and left_ms < (within * 5 // 4 if standing else within):
            yield Seen(
                facts.now_ms,
                f"The disk of {', '.join(disk.holds)} will be full in about {span(left_ms)}, as it "
                f"went in the last days: {bytes_text(disk.free_bytes)} are free.",
                "shenyu-data prune --dry-run" if "the repository" in disk.holds else "",
                {"free_bytes": disk.free_bytes, "days_left": left_ms // DAY_MS},
                subject=disk.name,
            )


def documents_invalid(facts: Facts, _: AlertsTable) -> Iterator[Seen]:
    """See whether the last validation found errors."""
    if facts.invalid is not None:
        yield Seen(
            facts.invalid.since_ms,
            f"The last validation found {counted(facts.invalid.count, 'error')}: documents that "
            "the application cannot read, or overwrites.",
            "shenyu-data validate",
            {"errors": facts.invalid.count},
        )


def permissions_drifted(facts: Facts, _: AlertsTable) -> Iterator[Seen]:
    """See whether modes or owners are not as they should be."""
    if facts.drifted is not None:
        yield Seen(
            facts.drifted.since_ms,
            f"{counted(facts.drifted.count, 'mode or owner', 'modes or owners')} of the data "
            "directory are not as they should be.",
            "shenyu-data permissions fix",
            {"files": facts.drifted.count},
        )


def key_untested(facts: Facts, table: AlertsTable) -> Iterator[Seen]:
    """See whether nobody tried a key for long."""
    rule = table.key_untested
    never_ms, old_ms = parse_age(rule.never) * 1000, parse_age(rule.older_than) * 1000
    for slot in facts.slots:
        what = "recovery key" if slot.kind == "recovery" else "passphrase"
        if slot.used_ms is None:
            since_ms = slot.created_ms + never_ms
            said = f"never used since it was made {ago(facts, slot.created_ms)}"
        elif slot.kind == "recovery":
            since_ms = slot.used_ms + old_ms
            said = f"last used {ago(facts, slot.used_ms)}"
        else:
            continue
        if facts.now_ms > since_ms:
            yield Seen(
                since_ms,
                f"The {what} of the key slot {slot.id[:8]} was {said}: nobody knows whether it is "
                "still at hand. List the keys with it, once.",
                "shenyu-data key list",
                subject=slot.id[:8],
            )


def clock_wrong(facts: Facts, table: AlertsTable) -> Iterator[Seen]:
    """See whether the clock is behind of what was noted."""
    future_ms = facts.future_ms
    if (
        future_ms is not None
        and future_ms > facts.now_ms + parse_age(table.clock_wrong.behind) * 1000
    ):
        yield Seen(
            facts.now_ms,
            "The clock is wrong, or was: something was noted that lies "
            f"{span(future_ms - facts.now_ms)} ahead of it.",
            "date",
            {"behind_s": (future_ms - facts.now_ms) // 1000},
        )


def notifier_down(facts: Facts, _: AlertsTable) -> Iterator[Seen]:
    """See whether messages on a way do not get through."""
    for way in facts.ways:
        if way.failing_ms <= facts.now_ms - UNHEARD_MS:
            yield Seen(
                way.failing_ms,
                f"Messages on {way.name} do not get through: {way.error}.",
                "shenyu-data alerts test",
                {"failing_s": (facts.now_ms - way.failing_ms) // 1000},
                subject=way.name,
            )
