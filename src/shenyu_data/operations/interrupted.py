"""Finishing what killed operations left in the live data. Called by every operation that changes
it, before it begins.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from shenyu_data.datadir.aside import sweep_asides
from shenyu_data.datadir.capture import stream
from shenyu_data.datadir.folder import open_folder
from shenyu_data.datadir.new_files import sweep
from shenyu_data.datadir.replace import (
    Live,
    displaced_name,
    is_in_the_way,
    is_quiet,
    keep_for_owner,
    read_live,
)
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import NEW_PREFIX
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.compress_finish import TWIN_OPERATIONS, finish_twins
from shenyu_data.operations.journal import (
    IMPORT,
    IMPORT_FRESH,
    Digests,
    Ended,
    Journal,
    Journals,
    Settled,
    Swap,
)
from shenyu_data.operations.live_document import conflict_finding
from shenyu_data.repository.repository import Repository


def finish_interrupted(
    repository: Repository | bytes,
    root: int,
    journals: Journals,
    quiet_s: float,
    monitor: Monitor,
) -> None:
    """Finish what killed operations left beside documents: nothing of it is lost.

    A displaced document that is as it was when it was displaced is removed; in another one the
    application wrote, and it is kept for a person to look at. Of a document that is there plain and
    compressed, alike, the plain one stays. Without a repository, what operations with one left
    waits for the next that has it.
    """
    sweep_imports(root, journals)
    for journal in list(journals.newest_first()):
        if journal.is_ended():
            continue
        began = journal.began()
        unsettled = _unsettled(journal)
        # One that was cut off in its first line has done nothing.
        of_none = not unsettled if began is None else not began.repository
        if isinstance(repository, bytes) and not of_none:
            continue
        digests = Digests(journals.key() if of_none else repository)
        settled = [_finish_swap(root, swap, digests, quiet_s, monitor) for swap in unsettled]
        if began is not None and began.operation in TWIN_OPERATIONS:
            settled.append(finish_twins(root, quiet_s, monitor))
        if all(settled):
            journal.write(Ended())


def _unsettled(journal: Journal) -> list[Swap]:
    found: dict[str, Swap] = {}
    for line in journal.read():
        if isinstance(line, Swap):
            found[line.token] = line
        elif isinstance(line, Settled):
            found.pop(line.token, None)
    return list(found.values())


def sweep_imports(root: int, journals: Journals) -> None:
    """Remove what imports that were killed left under names that nobody reads."""
    runs, known = [], []
    for journal in journals.newest_first():
        known.append(journal.run)
        began = journal.began()
        imported = began is not None and began.operation in (IMPORT, IMPORT_FRESH)
        if imported and not journal.is_ended():
            runs.append(journal.run)
    if runs:
        sweep(root, runs)
    # A worker that outlives the killed import for a moment may come after the first look.
    sweep_asides(root, known)


def _finish_swap(root: int, swap: Swap, digests: Digests, quiet_s: float, monitor: Monitor) -> bool:
    """Settle what one exchange left; False if it could not be looked at, and is to be tried again.

    What cannot be dealt with is reported: whoever goes on has other documents to change.
    """
    try:
        folder = open_folder(root, swap.path.rpartition(b"/")[0])
    except FileNotFoundError:
        return True
    except OSError as error:
        return _unfinished(swap, error, monitor)
    try:
        with suppress(FileNotFoundError):
            os.unlink(NEW_PREFIX + swap.token.encode(), dir_fd=folder)
        quiet = _await_quiet(folder, swap.token, quiet_s)
        live = read_live(folder, displaced_name(swap.token), "other")
        if live is None:
            return True
        as_it_was = _digest_of(folder, swap, live, digests) in (swap.before, swap.wrote)
        if quiet and as_it_was:
            os.unlink(displaced_name(swap.token), dir_fd=folder)
            return True
        kept = keep_for_owner(root, folder, swap.token, swap.path)
        monitor.report(
            conflict_finding(
                "displaced-kept",
                swap.path,
                "the application wrote to it while an operation that was killed replaced it; what "
                f"it wrote is kept as {printable(kept)}",
            )
        )
        return True
    except OSError as error:
        return _unfinished(swap, error, monitor)
    finally:
        os.close(folder)


def _digest_of(folder: int, swap: Swap, live: Live, digests: Digests) -> bytes:
    """Return the digest of a displaced document, also of one that is never in memory whole."""
    if live.data is not None:
        return digests.of(live.data)
    hasher = digests.hasher()
    stream(folder, displaced_name(swap.token), hasher.update)
    return hasher.digest(16)


def _unfinished(swap: Swap, error: OSError, monitor: Monitor) -> bool:
    """Say that what an exchange left cannot be looked at; return whether nobody ever will."""
    name = printable(displaced_name(swap.token))
    above = swap.path.rpartition(b"/")[0]
    if is_in_the_way(error):
        message = (
            "what an operation that was killed displaced cannot be had back: a link or the like "
            f"stands in the place of {name} in {printable(above)}/"
        )
        monitor.report(conflict_finding("in-the-way", swap.path, message))
        return True
    monitor.report(
        Finding(
            code="not-recovered",
            severity="error",
            path=printable(swap.path),
            message=f"what an operation that was killed displaced cannot be looked at ({name}): "
            f"{error.strerror or error}",
            hint="Check the owner and mode of its folder; the next operation tries again.",
        )
    )
    return False


def _await_quiet(folder: int, token: str, quiet_s: float) -> bool:
    """Wait until nobody writes to a displaced document any more, but not for ever; whether nobody
    does.
    """
    until = time.monotonic() + 2 * quiet_s
    with suppress(FileNotFoundError):
        while not is_quiet(folder, displaced_name(token), int(quiet_s * 1e9), time.time_ns()):
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
    return True
