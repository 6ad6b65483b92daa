"""What a watch says of what it noticed, and of itself."""

from __future__ import annotations

from collections.abc import Sequence

from shenyu_data.datadir.touches import Watching
from shenyu_data.model.alert_watch import noticed_text
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import Monitor
from shenyu_data.model.watch_terms import BULK, STRANGERS, Cause, Noticed

_WHO = "`shenyu-data audit show` lists what was noticed; docs/watch.md says what to do."
_HINTS: dict[Cause, str] = {
    "dropped": "Raise fs.fanotify.max_queued_events, or fs.inotify.max_queued_events, with sysctl.",
    "part": "Raise fs.inotify.max_user_watches with sysctl, or let it have CAP_SYS_ADMIN.",
    "killed": "See who killed it: of a service, journalctl tells.",
    "blind": "See who moved, removed or unmounted the data directory.",
}


def begins_text(data: str, watching: Watching, reasons: Sequence[str]) -> str:
    """Return what is said when a watch begins; ``reasons``: why nothing better can be had."""
    line = f"watching {data} with {watching.name}"
    if not watching.tells_process:
        line += f", {watching.folders:,} folders, and not told who it is that touches it"
        line += f" ({'; '.join(reasons)})" if reasons else ""
    return line


def report_noticed(monitor: Monitor, item: Noticed) -> None:
    """Report one thing that was noticed."""
    text = noticed_text(item)
    if item.cause in BULK:
        finding = Finding(code="access-bulk", severity="error", path="", message=text, hint=_WHO)
    elif item.cause in STRANGERS:
        finding = Finding(
            code="access-stranger", severity="warning", path="", message=text, hint=_WHO
        )
    else:
        hint = _HINTS.get(item.cause, "")
        finding = Finding(code="watch-missed", severity="warning", path="", message=text, hint=hint)
    monitor.report(finding)


def report_blind(monitor: Monitor, data: str, why: str) -> None:
    """Report that nothing is seen any more."""
    monitor.report(
        Finding(
            code="watch-blind",
            severity="error",
            path="",
            message=f"{data} is not seen any more: {why}",
            hint="Was it moved, removed or unmounted? It is tried again every ten seconds.",
        )
    )


def report_no_process(monitor: Monitor) -> None:
    """Report that what the configuration says about processes cannot be judged."""
    monitor.report(
        Finding(
            code="watch-no-process",
            severity="warning",
            path="",
            message="the configuration says who may touch the data, and inotify does not tell who "
            "does: only bulk reads, removals and odd hours are noticed",
            hint="Let it have the capabilities that fanotify takes: docs/watch.md.",
        )
    )
