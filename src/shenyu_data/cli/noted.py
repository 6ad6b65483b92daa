"""Remembering what a repository holds while it is open: ``status`` and alerts open none."""

from __future__ import annotations

import os
import time

from shenyu_data.cli.common import Call
from shenyu_data.model.errors import RepositoryError, StateUnusable, StorageError
from shenyu_data.model.findings import Finding
from shenyu_data.operations.last_use import remembered_uses
from shenyu_data.operations.places import state_folder, state_of
from shenyu_data.repository.repository import Repository


def note_repository(
    call: Call, repository: Repository, *, always: bool = True, size_bytes: int | None = None
) -> None:
    """Remember what the repository holds; unless ``always``, only if that was not done lately.

    ``size_bytes`` is how large it is, if that is known. What was done before is done: that this
    fails is a finding, and of the state folder's troubles cli/recorded.py tells.
    """
    if call.settings.data is None:
        return
    from shenyu_data.health.known import bring_up_to_date, is_stale
    from shenyu_data.health.store import open_store

    root = state_folder(os.environ)
    now_ms = time.time_ns() // 1_000_000
    try:
        with open_store(state_of(root, call.data)) as store:
            if always or is_stale(store, now_ms):
                uses = remembered_uses(root, repository)
                bring_up_to_date(store, repository, uses, now_ms, size_bytes=size_bytes)
    except StateUnusable:
        return
    except (RepositoryError, StorageError) as error:
        call.monitor.report(
            Finding(
                code="repository-not-noted",
                severity="info",
                path="",
                message=f"what the repository holds is not noted for `status`: {error.message}",
                hint=error.hint,
            )
        )
