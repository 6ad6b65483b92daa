"""Accepting that lines of the audit log are lost, as with a state folder that was lost by accident.

It explains the anchors that contradict the log by then, and no later one: what is cut off or made
anew afterwards is noticed as before. It stays, and every check tells of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shenyu_data.health.audit import append, digests, head
from shenyu_data.health.audit_check import anchor, place_of
from shenyu_data.health.audit_lines import Altered
from shenyu_data.model.errors import StateUnusable, UsageError
from shenyu_data.repository.acceptances import (
    MOST_REASON,
    Acceptance,
    Line,
    write_acceptance,
)
from shenyu_data.repository.anchors import Anchor
from shenyu_data.repository.repository import Repository

VERB = "audit accept"


def lost_lines(
    state: str, anchors: Iterable[Anchor], acceptances: Iterable[Acceptance]
) -> list[Line]:
    """Return the lines that ``anchors`` know of this log, or of one that was here, and that are not
    in it, without those that somebody accepted. Raise StateUnusable.
    """
    stands = _standing(state, anchors)
    accepted = {line for item in acceptances for line in item.lost}
    lines = [line for line, is_there in stands.items() if not is_there and line not in accepted]
    return sorted(lines, key=lambda line: (line.log, line.sequence))


def _standing(state: str, anchors: Iterable[Anchor]) -> dict[Line, bool]:
    """Return the lines that anchors know of here, and whether each stands in the log as it was."""
    place = place_of(state)
    lines = {Line(one.log, one.sequence, one.digest) for one in anchors if one.place == place}
    try:
        end = head(state)
    except Altered:
        raise _altered() from None
    log = bytes.fromhex(end.log) if end is not None else b""
    found = digests(state, {line.sequence for line in lines if line.log == log})
    return {
        line: line.log == log and found.get(line.sequence) == line.digest.hex() for line in lines
    }


def accept(
    state: str,
    repository: Repository,
    anchors: Sequence[Anchor],
    lost: Sequence[Line],
    reason: str,
    now_ms: int,
) -> Acceptance:
    """Say of lines that they are lost: in a line of the log, which is anchored, and in the
    repository, in this order. Killed before the last of these, nothing is accepted.

    Raise UsageError if the reason is none; StateUnusable or StorageError, with nothing accepted.
    """
    if not reason or len(reason) > MOST_REASON or not reason.isprintable():
        raise UsageError(
            "the reason must be printable text, of one line",
            hint=f"At most {MOST_REASON} characters.",
        )
    stands = _standing(state, anchors)
    append(
        state,
        now_ms,
        "accepted",
        verb=VERB,
        figures={"anchors": len(lost), "logs": len({line.log for line in lost})},
        repository=repository.keys.repository_id.hex(),
    )
    anchor(state, repository, now_ms)
    try:
        end = head(state)
    except Altered:
        raise _altered() from None
    if end is None:
        raise StateUnusable("the audit log is gone again", hint="See who writes there.")
    line = Line(bytes.fromhex(end.log), end.sequence, bytes.fromhex(end.digest))
    kept = [one.sequence for one, there in stands.items() if there and one.log == line.log]
    item = Acceptance(place_of(state), list(lost), max(kept, default=0), line, now_ms, reason)
    write_acceptance(repository.storage, repository.keys, item)
    return item


def _altered() -> StateUnusable:
    return StateUnusable(
        "the end of the audit log was altered: only what is lost can be accepted",
        hint="Move the folder audit out of the state folder, keep it, and accept that it is lost.",
    )
