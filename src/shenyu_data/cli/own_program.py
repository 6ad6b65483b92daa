"""How this program is called again, for the same data directory and configuration."""

from __future__ import annotations

import os
import sys

from shenyu_data.cli.common import Call
from shenyu_data.health.jobs import Program
from shenyu_data.storage.open import is_remote


def own_program(call: Call) -> Program:
    """Return how a child of this process calls it; the environment is the same."""
    # -P: a module that lies in the current folder must not stand in for one of ours.
    return Program(
        words=[sys.executable, "-P", "-m", "shenyu_data.cli.main"],
        flags=common_flags(call, keep_environment=False),
    )


def common_flags(call: Call, *, keep_environment: bool) -> list[str]:
    """Return the common flags of a call, with whole paths; with ``keep_environment`` also for what
    the environment says now and will not say then.
    """
    flags = []
    values = dict(call.flags)
    values["config"] = call.settings.config_file
    if keep_environment:
        for name, key in (("data", "data"), ("repo", "repository")):
            if call.settings.sources.get(key) == "environment":
                values[name] = getattr(call.settings, key)
    for name, value in values.items():
        if value is not None:
            flags += [f"--{name}", value if is_remote(value) else os.path.abspath(value)]
    if call.jobs_flag is not None:
        flags += ["--jobs", str(call.jobs_flag)]
    return flags
