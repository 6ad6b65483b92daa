"""Writing what is told on the way: nothing ends because nobody reads it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO


def write_stderr(line: str) -> None:
    """Write a line on standard error, as :func:`write_anyway`."""
    write_anyway(sys.stderr, line)


def write_anyway(stream: TextIO, line: str) -> None:
    """Write a line. If it cannot be (whoever read it has gone, as ``serve`` from a job of its; the
    disk with the log is full), it is lost: a backup is worth more than its words.
    """
    try:
        # One call for the whole line: jobs write to the same place.
        stream.write(line + "\n")
        stream.flush()
    except OSError:
        _discard(stream)


def _discard(stream: TextIO) -> None:
    """Take away what waits to be written: else the program would fail for it as it exits."""
    with suppress(OSError):
        number = stream.fileno()
        kept, nowhere = os.dup(number), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        stream.flush()
        os.dup2(kept, number)
        os.close(kept)
        os.close(nowhere)
