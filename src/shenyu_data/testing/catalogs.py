"""What a catalog says, so that two can be compared. For tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from shenyu_data.datadir.catalog import Catalog
from shenyu_data.datadir.catalog_files import building_for_once, finish
from shenyu_data.model.monitor import SilentMonitor
from shenyu_data.operations.catalog import CatalogOptions, refresh

_QUESTIONS = (
    "SELECT name, tie, bucket, documents, document_bytes, histories, chats, messages, began_ms,"
    " age_ms, activity_ms, activity_source FROM users",
    "SELECT u.name, d.place, d.name, d.kind, d.size, d.mtime_ms, d.state, d.chats, d.messages,"
    " d.began_ms, d.activity_ms, d.activity_source"
    " FROM documents d LEFT JOIN users u ON u.id = d.user",
    "SELECT u.name, d.place, d.name, c.tie, c.key, c.title, c.model, c.messages, c.began_ms,"
    " c.age_ms, c.activity_ms, c.activity_source, c.start, c.length, c.digest FROM chats c"
    " LEFT JOIN users u ON u.id = c.user LEFT JOIN documents d ON d.id = c.document",
)


def said(catalog: Catalog) -> list[list[tuple[Any, ...]]]:
    """Return all that a catalog says of a directory, but for when to read a document again."""
    return [sorted(catalog.connection.execute(question), key=repr) for question in _QUESTIONS]


def said_anew(data: str | Path) -> list[list[tuple[Any, ...]]]:
    """Return what a catalog says that is built now."""
    path = os.path.realpath(data)
    with building_for_once(os.fsencode(path)) as catalog:
        refresh(catalog, CatalogOptions(data=path, state="", jobs=1), SilentMonitor())
        finish(catalog)
        return said(catalog)
