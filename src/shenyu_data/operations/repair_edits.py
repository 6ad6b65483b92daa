"""What a repair makes of one live document, from what is there and what snapshots say. Called by
the plan, to show it, and by the repair, at the moment of the exchange.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Literal, NamedTuple

from shenyu_data.datadir.large import Blocks, file_blocks, memory_blocks, structure_trouble
from shenyu_data.datadir.replace import Fill, Live
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.mend import UNPARSABLE, Mended, mend_history, mend_user, normalise
from shenyu_data.model.records import MAX_PARSED_BYTES
from shenyu_data.model.vanished import newest_of, with_chats
from shenyu_data.operations.conversations import read_chats
from shenyu_data.operations.gone import GONE
from shenyu_data.operations.repair_document import Good, Target
from shenyu_data.operations.repair_large import holds_deep, mix
from shenyu_data.operations.repair_past import LastGoods
from shenyu_data.operations.shrunken import SHRUNKEN

RepairAction = Literal["restore", "merge", "salvage", "normalise", "quarantine", "none"]


class Decision(NamedTuple):
    """What is done about a document, and what it becomes; None: it is taken away or left alone, or
    ``fill`` writes it, as it is too large for memory.
    """

    code: str
    action: RepairAction
    data: bytes | None
    good: Good | None
    salvaged: int = 0
    partial: int = 0
    restored: int = 0
    fill: Fill | None = None

    @property
    def removes(self) -> bool:
        """Whether the document is taken away."""
        return self.action != "none" and self.data is None and self.fill is None


def decide(
    target: Target, live: Live | None, goods: LastGoods, *, normalising: bool, gone: bool = False
) -> Decision:
    """Say what is to be done about a document as it is now. ``none`` if it is whole and lost
    nothing, or not there; unless it is one that is ``gone``. Raise RepositoryError if a large
    version cannot be read.
    """
    nothing = Decision("", "none", None, None)
    if live is None:
        return _bring_back(target, goods) if gone else nothing
    if live.data is None or len(live.data) > MAX_PARSED_BYTES:
        return _decide_large(target, live, goods) or nothing
    code = target.trouble(live.data)
    if code is None:
        return _fill_up(target, live.data, goods) or nothing
    if normalising:
        data = normalise(live.data)
        if data is not None and target.trouble(data) is None:
            filled = _fill_up(target, data, goods)
            return filled._replace(code=code) if filled else Decision(code, "normalise", data, None)
    good = goods.find(target)
    if good is not None and good.blocks is not None:
        return _mixed(code, live.data, good)
    if target.is_of_the_application and (
        holds_deep(live.data) or (good is not None and holds_deep(good.data))
    ):
        return _mixed(code, live.data, good)
    decision = _decide(target, code, live.data, good)
    if decision.data is not None and target.trouble(decision.data) is not None:
        decision = Decision(code, "none", None, None)  # what came out is no better
    if decision.action == "none" and code in UNPARSABLE:
        return Decision(code, "quarantine", None, None)
    return decision


def _bring_back(target: Target, goods: LastGoods) -> Decision:
    """Return what a document becomes that is gone."""
    good = goods.find(target)
    if good is None:
        return Decision(GONE, "none", None, None)
    if good.blocks is not None:
        return Decision(GONE, "restore", None, good, fill=good.blocks)
    chats = 0
    if target.kind == "history":
        with suppress(Unparsable):
            chats = len(read_chats(target.name, good.data).chats)
    return Decision(GONE, "restore", good.data, good, restored=chats)


def _decide_large(target: Target, live: Live, goods: LastGoods) -> Decision | None:
    """Say what is to be done about a document that is too large to be looked into; None: nothing,
    it is whole, or nobody can tell.
    """
    if not target.is_of_the_application:
        return None
    if live.data is not None:
        blocks = memory_blocks(live.data)
    else:
        blocks = file_blocks(goods.root, target.path)
    try:
        why = structure_trouble(blocks)
        if why is None:
            return None
        if live.data is None and not goods.has_snapshots:
            return Decision(why.code, "none", None, None)  # what it was could not be kept
        return _mixed(why.code, blocks, goods.find(target))
    except OSError:
        return None  # it is there no more, or not ours to read: validate says so


def _mixed(code: str, live: Blocks | bytes, good: Good | None) -> Decision:
    old = None if good is None else good.blocks or memory_blocks(good.data)
    mixed = mix(live, old)
    if mixed is None:
        return Decision(code, "none", None, None)
    if not mixed.salvaged and good is not None and old is not None and not good.composed:
        return Decision(code, "restore", None, good, 0, 0, mixed.restored, fill=old)
    action: RepairAction = "salvage" if good is None else "merge"
    return Decision(code, action, None, good, mixed.salvaged, 0, mixed.restored, fill=mixed.fill)


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
    vanished = goods.lost(target, live).vanished
    if not vanished:
        return None
    good = Good(b"", newest_of(vanished), 0, composed=True)
    mended = with_chats(live, vanished)
    return Decision(SHRUNKEN, "merge", mended, good, len(live.chats), 0, len(vanished))


def _named(mended: Mended, good: Good | None) -> RepairAction:
    if good is None:
        return "salvage"
    return "restore" if mended.data == good.data and not good.composed else "merge"
