"""How this program is called again, for the same data directory and configuration."""

from __future__ import annotations

import os
import sys

from shenyu_data.cli.common import Call
from shenyu_data.health.jobs import Program
from shenyu_data.storage.open import is_remote


def own_program(call: Call) -> Program:
    """Return how a child of this process calls it; the environment is the same.

    The data directory and the repository are named, though the configuration names them, too: it
    may be edited meanwhile, and a child must work on what its parent watches.
    """
    # -P: a module that lies in the current folder must not stand in for one of ours.
    return Program(
        words=[sys.executable, "-P", "-m", "shenyu_data.cli.main"],
        flags=common_flags(call, data=call.data, repo=call.settings.repository),
    )


def lasting_flags(call: Call) -> list[str]:
    """Return the common flags of a call for what is called by others, later: with what the
    environment says now and will not say then. What the configuration says is left to it.
    """
    said = {
        name: getattr(call.settings, key)
        for name, key in (("data", "data"), ("repo", "repository"))
        if call.settings.sources.get(key) == "environment"
    }
    return common_flags(call, **said)


def common_flags(call: Call, **values: str | None) -> list[str]:
    """Return the common flags of a call, with whole paths; those that are ``values`` as they are
    there.
    """
    flags = []
    values = {**call.flags, "config": call.settings.config_file, **values}
    for name, value in values.items():
        if value is not None:
            flags += [f"--{name}", value if is_remote(value) else os.path.abspath(value)]
    if call.jobs_flag is not None:
        flags += ["--jobs", str(call.jobs_flag)]
    return flags
