"""Saying that what is missing of a user was meant to go: ``findings ack``. It is kept, and heeded
by validations against snapshots, repairs and recoveries.
"""

from __future__ import annotations

from shenyu_data.model.acknowledgements import Acknowledgement
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.acknowledged import (
    Acknowledged,
    read_acknowledgements,
    write_acknowledgements,
)
from shenyu_data.operations.gone import GONE, Gone
from shenyu_data.operations.journal import open_journals
from shenyu_data.operations.named_users import check_users
from shenyu_data.operations.past import read_roots
from shenyu_data.operations.repair_document import Target
from shenyu_data.operations.repair_past import WHOLE, chat_thing
from shenyu_data.operations.shrunken import SHRUNKEN, Scope, find_losses
from shenyu_data.repository.repository import Repository


def acknowledge(
    repository: Repository,
    data: str,
    user: bytes,
    *,
    path: bytes,
    by: str,
    reason: str,
    state: str,
    monitor: Monitor,
) -> list[Acknowledgement]:
    """Acknowledge every loss that is named of a user, or of the document at ``path``; return what
    is kept of it: nothing if nothing is missing.

    Raise OwnerNotFound if neither the directory nor the repository knows the user, UsageError if
    another operation is at work, AcknowledgementsDamaged, RepositoryError, ShenyuDataError if it
    cannot be written.
    """
    check_users(data, [user], repository)
    with open_journals(state):
        kept = read_acknowledgements(state)
        acknowledged = Acknowledged(repository, state, monitor)
        # Before anything is looked at: what a backup saves meanwhile came after it.
        sequence = max((root.sequence for root in read_roots(repository, [])), default=0)
        found: list[Acknowledgement] = []

        def add(code: str, target: Target, things: list[str]) -> None:
            one = acknowledged.new(
                code, user, target.path, things, sequence=sequence, by=by, reason=reason
            )
            found.append(one)

        def add_gone(gone: Gone, meant: bool) -> None:
            if not meant:
                add(GONE, gone.target, [WHOLE])

        scope = Scope(path, user)
        for target, lost in find_losses(repository, data, scope, state, monitor, add_gone):
            if lost.vanished:
                add(SHRUNKEN, target, [chat_thing(one.chat.identity) for one in lost.vanished])
        if found:
            write_acknowledgements(state, [*kept, *found])
    return found
