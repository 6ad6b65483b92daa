"""Putting back what a repair took away and kept."""

from __future__ import annotations

import os
import time

from shenyu_data.datadir.folder import open_root
from shenyu_data.datadir.replace import Attributes, Live
from shenyu_data.model.findings import printable
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.import_checks import whose
from shenyu_data.operations.interrupted import finish_interrupted
from shenyu_data.operations.journal import Began, Digests, Ended, open_journals
from shenyu_data.operations.live_document import Change, Refused, kept_attributes
from shenyu_data.operations.live_writer import LiveWriter
from shenyu_data.operations.quarantine import Quarantine, digest_of
from shenyu_data.operations.repair import RepairOptions, RepairStats
from shenyu_data.repository.repository import Repository


def put_back(
    repository: Repository | None, data: str, name: str, options: RepairOptions, monitor: Monitor
) -> RepairStats:
    """Put a document that is kept back where it was, if nothing else came there since.

    Raise UsageError if none is kept under that id, or if another operation is at work.
    """
    started = time.monotonic()
    kept, content = Quarantine(options.state).get(name)

    def edit(live: Live | None) -> Change | None:
        if live is None:
            return Change(content, Attributes(kept.mode, None, kept.mtime_ns))
        if live.data == content:
            return None
        if live.data is None or kept.wrote != digest_of(live.data):
            raise Refused(
                code="changed-since",
                message="something else is there since; what is kept is not put over it",
            )
        return Change(content, kept_attributes(live)._replace(mtime_ns=kept.mtime_ns))

    with open_journals(options.state) as journals, open_root(data) as root:
        finish_interrupted(repository or journals.key(), root, journals, options.quiet_s, monitor)
        journal = journals.begin(
            Began(
                operation="put-back",
                time_ms=time.time_ns() // 1_000_000,
                repository=b"",
                data=printable(os.path.abspath(data)),
                snapshot=None,
            )
        )
        digests = Digests(journals.key())
        with LiveWriter(root, journal, digests, options.quiet_s, monitor.report) as writer:
            writer.apply(kept.path_bytes, whose(kept.path_bytes)[1], edit)
            writer.drain()
        journal.write(Ended())
    return RepairStats(
        safety=None,
        items=[],
        changed=writer.changed,
        removed=writer.removed,
        unchanged=writer.unchanged,
        left=0,
        refused=writer.refused,
        busy=writer.busy,
        failed=writer.failed,
        damaged=0,
        elapsed_s=time.monotonic() - started,
    )
