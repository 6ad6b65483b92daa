"""What an export in the native format makes of each owner."""

from __future__ import annotations

import os
from collections.abc import Iterator

from shenyu_data.datadir.scan import Scan
from shenyu_data.exchange.items import Item
from shenyu_data.exchange.native import end_line, item_lines, piece_line
from shenyu_data.operations.export_source import Source


class NativeForm:
    """The native format."""

    separator = b""
    users_only = False
    histories_only = False

    def owner(self, source: Source, scan: Scan, owner: bytes) -> Iterator[bytes]:
        """Yield the lines of an owner's entries."""
        for found in scan.entries:
            item = source.item(found, owner)
            if item is None:
                continue
            if item.data is not None or item.kind != "file":
                yield from item_lines(item)
            elif (descriptor := source.open_large(item)) is not None:
                try:
                    yield from _in_pieces(source, item, descriptor)
                finally:
                    os.close(descriptor)


def _in_pieces(source: Source, item: Item, descriptor: int) -> Iterator[bytes]:
    yield from item_lines(item)
    size, torn = 0, source.counts.torn
    for piece in source.pieces(item.path, descriptor):
        size += len(piece)
        yield piece_line(piece)
    yield end_line(size, torn=source.counts.torn > torn)
