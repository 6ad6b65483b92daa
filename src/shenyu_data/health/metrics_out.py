"""Where metrics go: a page of ``serve``, and a file that node_exporter reads."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from shenyu_data.health.hooks import Occasion
from shenyu_data.health.http import Page
from shenyu_data.health.store import Store, open_store
from shenyu_data.model.errors import ConfigError, ShenyuDataError, StateUnusable
from shenyu_data.model.findings import Finding

if TYPE_CHECKING:
    from shenyu_data.health.scheduler import Work

TEXTFILE_MODE = 0o644
"""The file is for everybody: node_exporter runs as a user of its own, and it holds no names."""


def metrics_page(state: str, work: Work, now_ms: int) -> Page:
    """Return what ``/metrics`` answers: also if the log cannot be opened, which it says then."""
    from shenyu_data.health.metrics import KIND, measure, text_of

    store: Store | None = None
    with suppress(StateUnusable):
        store = open_store(state)
    try:
        samples = measure(store, work.schedule, work.settings, state, now_ms)
    finally:
        if store is not None:
            store.close()
    return Page(200, KIND, text_of(samples))


def write_after(occasion: Occasion) -> None:
    """Write the file that ``[metrics]`` names, if it names one: after each run, and at each tick.

    That it cannot be written is a finding.
    """
    path = occasion.settings.metrics_textfile
    if path is None or occasion.event == "begin":
        return
    from shenyu_data.health.metrics import measure, text_of
    from shenyu_data.health.schedule import open_schedule

    state = os.path.dirname(occasion.store.path)
    try:
        schedule = open_schedule(occasion.settings.schedule, state, os.environ)
        samples = measure(occasion.store, schedule, occasion.settings, state, occasion.now_ms)
        write_textfile(path, text_of(samples), occasion.settings.data)
    except ShenyuDataError as error:
        occasion.monitor.report(
            Finding(
                code="metrics-not-written",
                severity="warning",
                path="",
                message=error.message,
                hint=error.hint,
            )
        )


def write_textfile(path: str, text: bytes, data: str | None) -> None:
    """Write the file at once and durably, for everybody to read. Raise ConfigError if it would lie
    in the data directory, or ShenyuDataError if it cannot be written.
    """
    from shenyu_data.storage.atomic import write_file

    folder, name = _outside(path, data)
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            write_file(name, [text], folder=descriptor, replace=True, mode=TEXTFILE_MODE)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ShenyuDataError(
            f"cannot write the file for metrics {path}: {error.strerror}",
            hint="Its folder must be there, and be writable for whoever runs this.",
        ) from None


def check_textfile(path: str, data: str | None) -> None:
    """See whether the file could be written. Raise as :func:`write_textfile`."""
    folder, _ = _outside(path, data)
    if os.path.isdir(path) or not os.access(folder, os.W_OK | os.X_OK):
        raise ShenyuDataError(
            f"the file for metrics {path} cannot be written",
            hint="Its folder must be there, and be writable for whoever runs this.",
        )


def _outside(path: str, data: str | None) -> tuple[str, str]:
    """Return the folder and the name of the file."""
    folder, name = os.path.split(os.path.abspath(path))
    if data is not None:
        inside = os.path.join(os.path.realpath(data), "")
        if os.path.join(os.path.realpath(folder), "").startswith(inside):
            raise ConfigError(
                f"the file for metrics {path} lies in the data directory",
                hint="Name a folder that node_exporter reads.",
            )
    return folder, name
