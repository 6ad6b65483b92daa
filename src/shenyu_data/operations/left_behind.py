"""Journals of a data directory that was moved: they lie under its old path's name, and what they
tell is not known under the new one. For whoever goes by journals.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.journal import Began, Journals
from shenyu_data.repository.repository import Repository


class LeftBehind(NamedTuple):
    """A folder with journals, and the directory they are about, which is not there any more."""

    folder: str
    data: str


def left_behind(repository: Repository | None, state: str) -> list[LeftBehind]:
    """Return the folders of journals that may be about the directory whose folder is ``state``,
    from before it was moved. None if that has journals of its own: then its past is known.

    Of operations with the same repository, or without one if there is none now.
    """
    if next(Journals(state).newest_first(), None) is not None:
        return []
    wanted = b"" if repository is None else repository.keys.repository_id
    above = os.path.dirname(state)
    found = []
    with suppress(OSError):
        for name in sorted(os.listdir(above)):
            folder = os.path.join(above, name)
            began = next(_beginnings(folder), None) if folder != state else None
            if began is not None and began.repository == wanted and not os.path.isdir(began.data):
                found.append(LeftBehind(folder, began.data))
    return found


def _beginnings(folder: str) -> Iterator[Began]:
    """Yield what the journals in a folder began with, newest first; nothing of what is none."""
    with suppress(OSError):
        for journal in Journals(folder).newest_first():
            began = journal.began()
            if began is not None:
                yield began


def report_left_behind(repository: Repository | None, state: str, monitor: Monitor) -> None:
    """Say of each such folder where it is, and what to do."""
    for one in left_behind(repository, state):
        monitor.report(
            Finding(
                code="journals-left-behind",
                severity="warning",
                path="",
                message=f"{one.folder} has the journals of {one.data}, which is not there any "
                "more; if it was moved here, what was done to it before is not known",
                hint=taking_over(one, state),
            )
        )


def taking_over(one: LeftBehind, state: str) -> str:
    """Return the sentence that says how what was left behind is taken over."""
    old, new = shlex.quote(one.folder), shlex.quote(state)
    return f"If it was moved: `mkdir -p {new} && cp -a {old}/. {new}/` takes it over."
