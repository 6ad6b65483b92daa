"""What a repair makes of one live document, from what is there and what snapshots say. Called by
the plan, to show it, and by the repair, at the moment of the exchange.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from shenyu_data.datadir.replace import Live
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.mend import UNPARSABLE, Mended, mend_history, mend_user, normalise
from shenyu_data.model.vanished import newest_of, with_chats
from shenyu_data.operations.conversations import read_chats
from shenyu_data.operations.repair_past import Good, LastGoods, Target
from shenyu_data.operations.shrunken import SHRUNKEN

RepairAction = Literal["restore", "merge", "salvage", "normalise", "quarantine", "none"]


class Decision(NamedTuple):
    """What is done about a document, and what it becomes; None: it is taken away or left alone."""

    code: str
    action: RepairAction
    data: bytes | None
    good: Good | None
    salvaged: int = 0
    partial: int = 0
    restored: int = 0


def decide(target: Target, live: Live | None, goods: LastGoods, *, normalising: bool) -> Decision:
    """Say what is to be done about a document as it is now. ``none`` if it is whole and lost
    nothing, too large, or not there.
    """
    nothing = Decision("", "none", None, None)
    if live is None or live.data is None:
        return nothing
    code = target.trouble(live.data)
    if code is None:
        return _fill_up(target, live.data, goods) or nothing
    if normalising:
        data = normalise(live.data)
        if data is not None and target.trouble(data) is None:
            filled = _fill_up(target, data, goods)
            return filled._replace(code=code) if filled else Decision(code, "normalise", data, None)
    good = goods.find(target)
    decision = _decide(target, code, live.data, good)
    if decision.data is not None and target.trouble(decision.data) is not None:
        decision = Decision(code, "none", None, None)  # what came out is no better
    if decision.action == "none" and code in UNPARSABLE:
        return Decision(code, "quarantine", None, None)
    return decision


def _decide(target: Target, code: str, data: bytes, good: Good | None) -> Decision:
    if target.kind == "user":
        if (found := mend_user(target.user, target.file_name, data)) is not None:
            return Decision(code, "salvage", found, None)
        if good is not None:
            return Decision(code, "restore", good.data, good)
        return Decision(code, "none", None, None)
    mended = mend_history(target.file_name, data, good.data if good is not None else None)
    if mended is None:
        return Decision(code, "none", None, None)
    return Decision(code, _named(mended, good), mended.data, good, *mended[1:])


def _fill_up(target: Target, data: bytes, goods: LastGoods) -> Decision | None:
    """Return what a history becomes that is whole and that lost chats by accident."""
    try:
        live = read_chats(target.name, data)
    except Unparsable:
        return None
    vanished = goods.vanished(target, live)
    if not vanished:
        return None
    good = Good(b"", newest_of(vanished), 0, composed=True)
    mended = with_chats(live, vanished)
    return Decision(SHRUNKEN, "merge", mended, good, len(live.chats), 0, len(vanished))


def _named(mended: Mended, good: Good | None) -> RepairAction:
    if good is None:
        return "salvage"
    return "restore" if mended.data == good.data and not good.composed else "merge"
