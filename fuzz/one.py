"""Fuzzes one target until its time is over: `python -m fuzz.one TARGET`, then what libFuzzer takes.

Called by fuzz/run.py, in a process of its own: what is found ends it.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["shenyu_data"]):
    from fuzz.targets import TARGETS


def main() -> None:
    """Hand the target to libFuzzer; does not return."""
    name, *arguments = sys.argv[1:]
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name].check)
    atheris.Fuzz()


main()
