"""When this machine last used each key slot: empty files in its state folder, dated by the use.

A help for whoever wants to know whether a slot is still needed, and no more: what cannot be written
or read is passed over.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from shenyu_data.repository.repository import Repository
from shenyu_data.storage.atomic import make_private

_AGAIN_AFTER_S = 3600


def remember_use(state: str, repository: Repository) -> None:
    """Note that the slot which opened the repository was used now, at most once an hour."""
    if repository.slot is None or not os.path.isabs(state):
        return
    path = os.path.join(_folder(state, repository), repository.slot.hex())
    with suppress(OSError):
        try:
            if 0 <= time.time() - os.stat(path).st_mtime < _AGAIN_AFTER_S:
                return
        except FileNotFoundError:
            make_private(os.path.dirname(path))
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        os.utime(path)


def remembered_uses(state: str, repository: Repository) -> dict[str, int]:
    """Return when each slot was used from here, in ms since 1970, by the slot's id."""
    found = {}
    with suppress(OSError), os.scandir(_folder(state, repository)) as entries:
        for entry in entries:
            with suppress(OSError):
                found[entry.name] = entry.stat(follow_symlinks=False).st_mtime_ns // 1_000_000
    return found


def _folder(state: str, repository: Repository) -> str:
    return os.path.join(state, repository.keys.repository_id.hex(), "slots")
