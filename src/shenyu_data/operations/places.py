"""Where a person's machine keeps what belongs to no repository and no data directory."""

from __future__ import annotations

import os
from collections.abc import Mapping


def state_folder(repository_id: bytes, environment: Mapping[str, str]) -> str:
    """Return the folder for what this machine remembers of a repository; it may not exist yet.

    It lies in ``XDG_STATE_HOME``, which is ``~/.local/state`` unless it is set.
    """
    home = environment.get("XDG_STATE_HOME") or os.path.join(
        environment.get("HOME", ""), ".local", "state"
    )
    return os.path.join(home, "shenyu-data", repository_id.hex())
