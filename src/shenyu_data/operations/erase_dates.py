"""When an erasure is for good: as soon as the storage has dropped what was destroyed. For erase."""

from __future__ import annotations

from datetime import UTC, datetime

from shenyu_data.model.findings import Finding
from shenyu_data.storage.protocol import OldVersions


def good_ms_of(
    now_ms: int, kept_s: int | None, keeps: bool | None, old: OldVersions | None
) -> int | None:
    """Return when the storage will have dropped the keys, None if nobody knows.

    What the configuration says of it counts, but for locks, which nothing shortens.
    """
    if keeps is not False and (old is None or old.left):
        if old is not None and old.held:
            return None
        expires_ms = int(1000 * old.expires_s) if old is not None and old.expires_s else None
        dropped_ms = expires_ms if kept_s is None else now_ms + 1000 * kept_s
        locked_ms = int(1000 * old.locked_s) if old is not None and old.locked_s else 0
        return None if dropped_ms is None else max(dropped_ms, locked_ms)
    return now_ms + 1000 * (kept_s or 0)


def versions_unknown(keeps: bool | None, old: OldVersions | None) -> Finding:
    """Return the finding that says why nobody knows."""
    may = "keeps" if keeps else "may keep"
    what = f"the storage {may} old versions of what is deleted, and nobody said for how long"
    hint = 'Set `versions_kept` in the configuration ("30d", or "0d" if it keeps none).'
    if old is not None and old.held:
        what = "the storage locks old versions of keys, and does not say until when"
        hint = "Lift the legal hold, or allow s3:GetObjectRetention: see docs/erasure.md."
    elif old is not None and old.locked_s is not None:
        until = iso(int(1000 * old.locked_s))
        what = (
            f"the storage locks old versions of keys until {until}, and nothing removes them then"
        )
        hint = "Set a lifecycle rule that expires noncurrent versions: see docs/erasure.md."
    return Finding(
        code="versions-kept-unknown",
        severity="warning",
        path="",
        message=f"{what}: until it drops them, whoever has the repository key can read the "
        "user's backups there",
        hint=hint,
    )


def iso(time_ms: int) -> str:
    """Return a time as receipts have it: ISO 8601, UTC, seconds."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
