"""Tags of snapshots that name a user who is erased: operators' own words, which stand in the
snapshot's root and go with it. Called by operations/erase.py.
"""

from __future__ import annotations

import re

from shenyu_data.model.findings import Finding, printable
from shenyu_data.repository.repository import Repository

_MOST_NAMED = 20


def tags_naming(repository: Repository, user: bytes) -> Finding | None:
    """Return what is to be told of snapshots whose tag holds the user's name; None of none."""
    name = re.compile(rf"(?<!\w){re.escape(printable(user))}(?!\w)")
    named = [
        item.id.hex()[:8]
        for item in repository.snapshots([])
        if item.tag is not None and name.search(item.tag)
    ]
    if not named:
        return None
    more = f" and {len(named) - _MOST_NAMED:,} more" if len(named) > _MOST_NAMED else ""
    return Finding(
        code="tag-remains",
        severity="warning",
        path="",
        message=f"the user's name stands in the tags of snapshots: {', '.join(named[:_MOST_NAMED])}"
        f"{more}",
        hint="A tag goes when `shenyu-data prune` drops its snapshot.",
    )
