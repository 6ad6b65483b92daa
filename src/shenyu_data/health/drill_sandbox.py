"""Where a drill restores: a private folder, gone afterwards, and after a kill at the next drill.

Where one was made is remembered until nothing is left there: what lies in it is not sealed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress

from shenyu_data.datadir.scratch import Purpose, remove_stale
from shenyu_data.health.drill_ledger import forget_place, note_place, places
from shenyu_data.health.store import Store
from shenyu_data.model.errors import SandboxUnusable, StateUnusable, UsageError
from shenyu_data.operations.past import OwnerDocuments
from shenyu_data.repository.format import FileEntry

SANDBOX = Purpose("shenyu-data-drill-", SandboxUnusable, "--sandbox", "restored documents")
KEPT_PREFIX = "shenyu-data-drilled-"

_FILE_BYTES = 4096  # what a file or a folder takes beside its contents, rounded up
_SPARE_BYTES = 1 << 20


def sandbox_place(wanted: str | None, live: str | None) -> str:
    """Return the folder in which to make a sandbox. Raise UsageError if it lies in ``live``."""
    place = os.path.abspath(wanted or tempfile.gettempdir())
    if live is not None:
        above = os.path.realpath(live)
        if os.path.commonpath([above, os.path.realpath(place)]) == above:
            raise UsageError(
                f"the sandbox {place} would lie inside the data directory",
                hint="Name a folder outside it with --sandbox.",
            )
    return place


def tidy(store: Store | None, place: str) -> None:
    """Remove what drills that were killed left, wherever they had their sandboxes, and remember
    where this one will have its own.
    """
    remove_stale(place, SANDBOX)
    if store is None:
        return
    with suppress(StateUnusable):  # the ledger tells that
        note_place(store, place)
        for other in places(store):
            remove_stale(other, SANDBOX)
            if other != place and not _has_sandbox(other):
                forget_place(store, other)


def leave(store: Store | None, place: str) -> None:
    """Forget a place if nothing of ours is left there."""
    if store is not None and not _has_sandbox(place):
        with suppress(StateUnusable):
            forget_place(store, place)


def make_kept(place: str) -> str:
    """Make a folder for what is to be kept; return its path. Raise SandboxUnusable."""
    try:
        return tempfile.mkdtemp(prefix=KEPT_PREFIX, dir=place)
    except OSError as error:
        raise SandboxUnusable(
            f"cannot make a folder in {place}: {error.strerror}",
            hint="Name another place with --sandbox.",
        ) from error


def _has_sandbox(place: str) -> bool:
    """Whether there may be a sandbox, of this drill or of another."""
    try:
        return any(name.startswith(SANDBOX.prefix) for name in os.listdir(place))
    except OSError:
        return True


def check_room(folder: str, owners: Mapping[bytes, OwnerDocuments]) -> None:
    """Make ``folder``. Raise SandboxUnusable if there is no room in it for these owners."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    needed = _SPARE_BYTES + sum(
        _FILE_BYTES + (entry.size if isinstance(entry, FileEntry) else 0)
        for owner in owners.values()
        for entry in owner.record.entries
    )
    free = os.statvfs(folder)
    if free.f_bavail * free.f_frsize < needed:
        raise no_room(folder, needed)


def no_room(folder: str, needed: int | None = None) -> SandboxUnusable:
    """Return the error that says that the sandbox is full."""
    place = os.path.dirname(folder)
    told = f": {needed:,} bytes are needed at once" if needed is not None else ""
    return SandboxUnusable(
        f"there is no room to restore into {place}{told}",
        hint="Make room, or name another place with --sandbox. The repository is not to blame.",
    )


def unusable(folder: str, error: OSError) -> SandboxUnusable:
    """Return the error that says that the sandbox fails."""
    return SandboxUnusable(
        f"cannot restore into {os.path.dirname(folder)}: {error.strerror}",
        hint="See what is wrong with its disk, or name another place with --sandbox.",
    )
