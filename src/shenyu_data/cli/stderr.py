"""Standard error: nothing ends because nobody hears what is written there."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def write_stderr(line: str) -> None:
    """Write a line on standard error. If it cannot be (whoever read it has gone, as ``serve`` from
    a job of its; the disk with the log is full), it is lost: a backup is worth more than its words.
    """
    try:
        # One call for the whole line: jobs write to the same place.
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except OSError:
        _discard()


def _discard() -> None:
    """Take away what waits to be written: else the program would fail for it as it exits."""
    with suppress(OSError):
        number = sys.stderr.fileno()
        kept, nowhere = os.dup(number), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        sys.stderr.flush()
        os.dup2(kept, number)
        os.close(kept)
        os.close(nowhere)
