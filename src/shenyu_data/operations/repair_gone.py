"""Documents that are gone, as a repair takes them: those to be brought back, and what is said of
the others. Called by operations/repair.py.
"""

from __future__ import annotations

from shenyu_data.datadir.replace import Attributes
from shenyu_data.model.findings import printable
from shenyu_data.operations.gone import Gone
from shenyu_data.operations.repair_document import Good, Target
from shenyu_data.operations.repair_past import LastGoods
from shenyu_data.operations.repair_values import MOST_ITEMS, GoneItem, RepairOptions


class GoneSeen:
    """Is told of documents that are gone: ``wanted`` are those that are to be brought back; of the
    others it keeps the ``first``, and their ``count``.
    """

    def __init__(self, options: RepairOptions, goods: LastGoods) -> None:
        self.wanted: set[Target] = set()
        self.first: list[GoneItem] = []
        self.count = 0
        self._options = options
        self._goods = goods

    def __call__(self, gone: Gone) -> None:
        """Note a document, unless it is known why it is gone."""
        if self._goods.why_gone(gone) is not None:
            return
        if self._options.gone or self._options.every_chat:
            self.wanted.add(gone.target)
            return
        self.count += 1
        if len(self.first) < MOST_ITEMS:
            path, snapshot = printable(gone.target.path), gone.moment.snapshot.hex()
            self.first.append(GoneItem(path=path, snapshot=snapshot))


def attributes_of(good: Good | None) -> Attributes:
    """Return the attributes of a document that is brought back."""
    if good is None:
        return Attributes(0o600, None, None)
    return Attributes(good.mode, None, good.mtime_ns or None)
