"""Where the program keeps what it must remember between calls. For operations that change live
data.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

_WITHOUT_HOME = "/var/lib/shenyu-data"


def state_folder(environment: Mapping[str, str], configured: str | None = None) -> str:
    """Return the folder of what must survive: ``configured``, or the usual place of this user."""
    if configured:
        return configured
    if home := environment.get("XDG_STATE_HOME"):
        return os.path.join(home, "shenyu-data")
    if home := environment.get("HOME"):
        return os.path.join(home, ".local", "state", "shenyu-data")
    return _WITHOUT_HOME


def state_of(state: str, data: str) -> str:
    """Return the folder, within the state folder, of what concerns one data directory."""
    path = os.fsencode(os.path.realpath(data))
    import hashlib  # late: it takes 5 ms

    return os.path.join(state, hashlib.blake2b(path, digest_size=12).hexdigest())
