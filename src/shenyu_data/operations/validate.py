"""Looking at a live data directory and saying everything that is wrong with it; changes nothing.

Owners are dealt into buckets, so that memory does not grow with their number, and go to workers in
parts; what those find is told in the order of the parts, whoever was done first.
"""

from __future__ import annotations

import os
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from shenyu_data.datadir.catalog_tables import CATALOG_NAME
from shenyu_data.datadir.folder import open_folder, open_root
from shenyu_data.datadir.survey import Survey, survey
from shenyu_data.model.errors import UsageError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import HISTORIES, USERS, owner_of_user_file
from shenyu_data.model.monitor import CollectingMonitor, Monitor
from shenyu_data.operations.validate_closely import Tally
from shenyu_data.operations.validate_task import ValidateTask, validate_owners
from shenyu_data.operations.workers import default_jobs, open_executor, run_tasks

if TYPE_CHECKING:
    from shenyu_data.operations.validate_known import CatalogUse

_BUCKETS = 256
_TASK_NAMES = 250  # large enough to be worth sending, small enough to share out evenly
_FEW_NAMES = 500  # done before another process would have started
_WAITING_A_JOB = 4
_COUNTS = [
    *["users", "histories", "chats", "messages", "documents", "document_bytes"],
    *["errors", "warnings", "infos"],
]


class ValidateOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a person may choose.

    ``jobs``: processes, None for one a core. ``all``: report findings of severity ``info`` too.
    ``path``: only this file or folder, relative to the data directory. ``state`` is the folder
    of what concerns the directory: if there is a catalog, only documents that changed since
    they were last judged are read, and it is told what they are; unless ``all`` or ``path``.
    """

    jobs: int | None = None
    all: bool = False
    path: str | None = None
    state: str | None = None


class ValidateStats(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at, and how many findings there are of each severity.

    ``documents`` and ``document_bytes`` count every file, of whatever kind. ``infos`` counts those
    that were met, reported or not; hard links are looked for only if infos are wanted.
    """

    users: int
    histories: int
    chats: int
    messages: int
    documents: int
    document_bytes: int
    errors: int
    warnings: int
    infos: int
    elapsed_s: float

    @property
    def sound(self) -> bool:
        """Whether there is neither an error nor a warning."""
        return not self.errors and not self.warnings

    def plus(self, *, warnings: int, infos: int) -> ValidateStats:
        """Return the same with findings that somebody else saw."""
        return msgspec.structs.replace(
            self, warnings=self.warnings + warnings, infos=self.infos + infos
        )


def validate(data: str, options: ValidateOptions, monitor: Monitor) -> ValidateStats:
    """Look at the data directory ``data``; report every finding to ``monitor``, in a fixed order.

    Raise DataDirectoryError if it cannot be listed, UsageError if ``options.path`` is not in it.
    """
    begun = time.monotonic()
    scope = _scope(data, options.path)
    total = Tally(infos_wanted=options.all)
    with Survey(_BUCKETS) as found:
        if scope.owner is None:
            _tell(_survey(data, found, scope, infos=options.all), total, monitor)
        jobs = default_jobs() if options.jobs is None else options.jobs
        if found.names < _FEW_NAMES:
            jobs = 1
        with (
            _catalog(data, options) as catalog,
            open_executor(jobs) as executor,
            monitor.task("Validating", found.names, "users") as progress,
        ):
            waiting = _WAITING_A_JOB * max(jobs, 1)
            tasks = _tasks(data, found, scope, catalog, infos=options.all)
            for part in run_tasks(executor, validate_owners, tasks, waiting=waiting, in_order=True):
                _tell(part, total, monitor)
                if catalog is not None:
                    catalog.note(part.changes)
                progress.advance(part.owners)
            if catalog is not None:
                catalog.finish()
    counts = {name: getattr(total, name) for name in _COUNTS}
    return ValidateStats(**counts, elapsed_s=time.monotonic() - begun)


def _catalog(data: str, options: ValidateOptions) -> AbstractContextManager[CatalogUse | None]:
    state = options.state
    if state is None or options.all or options.path is not None:
        return nullcontext()
    if not os.path.exists(os.path.join(state, CATALOG_NAME)):
        return nullcontext()
    from shenyu_data.operations.validate_known import catalog_in_use  # late: SQLite takes 10 ms

    return catalog_in_use(state, data)


def locate(path: str, data: str | None = None) -> tuple[str, str | None]:
    """Given what a person named, return its data directory and its path in there, or None for all.

    A path in the configured directory ``data`` stays there. Otherwise the nearest folder, the path
    itself or one above, that holds ``users`` or ``histories`` is the data directory; failing that,
    the path is.
    """
    absolute = os.path.abspath(path)
    known = [os.path.abspath(data)] if data is not None else []
    above = absolute
    while not known:
        if any(os.path.isdir(os.path.join(above, name)) for name in ("users", "histories")):
            known = [above]
        elif above == os.path.dirname(above):
            return path, None
        else:
            above = os.path.dirname(above)
    inside = os.path.relpath(absolute, known[0])
    if inside == os.curdir:
        return path, None
    if inside.split(os.sep)[0] == os.pardir:
        return locate(path)
    return known[0], inside


class _Scope(NamedTuple):
    """What to keep to: a path (empty: everything), and the one owner it belongs to, if any."""

    path: bytes = b""
    owner: bytes | None = None


def _scope(data: str, path: str | None) -> _Scope:
    scope = os.path.normpath(os.fsencode(path)) if path is not None else b"."
    if scope == b".":
        return _Scope()
    folder, _, name = scope.rpartition(b"/")
    with open_root(data) as root:
        try:
            if os.path.isabs(scope) or scope.split(b"/")[0] == b"..":
                raise FileNotFoundError
            descriptor = open_folder(root, folder)
            try:
                mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
            finally:
                os.close(descriptor)
        except OSError:
            raise UsageError(
                f"there is no {printable(scope)} in the data directory {data}",
                hint="Name a file or a folder in it, like users/NAME.json; links are not followed.",
            ) from None
    if folder == USERS and not stat.S_ISDIR(mode):
        found = owner_of_user_file(name)
        return _Scope(scope, found[0] if found is not None else None)
    parts = scope.split(b"/")
    is_folder = len(parts) > 2 or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)
    if parts[0] == HISTORIES and len(parts) > 1 and is_folder:
        return _Scope(scope, parts[1])
    return _Scope(scope)


def _survey(data: str, found: Survey, scope: _Scope, *, infos: bool) -> Tally:
    """Deal the names into buckets; return what is wrong with the folders, in a fixed order."""
    seen = CollectingMonitor()
    survey(data, found, user_bucket=_bucket, shared_bucket=_bucket, monitor=seen)
    with open_root(data) as root:
        for name in (USERS, HISTORIES):
            try:
                os.stat(name, dir_fd=root, follow_symlinks=False)
            except FileNotFoundError:
                seen.report(_missing_folder(name))
    tally = Tally(infos_wanted=infos)
    inside = printable(scope.path)
    for finding in sorted(seen.findings, key=lambda finding: (finding.path, finding.code)):
        if not inside or finding.path == inside or finding.path.startswith(inside + "/"):
            tally.add([finding])
    return tally


def _bucket(name: bytes) -> int:
    """Deal users into the parts that the catalog has."""
    return zlib.crc32(name) % _BUCKETS


def _tasks(
    data: str, found: Survey, scope: _Scope, catalog: CatalogUse | None, *, infos: bool
) -> Iterator[ValidateTask]:
    """Cut the buckets into tasks of about the same number of names."""
    if scope.owner is not None:
        yield ValidateTask(data, [scope.owner], [], scope.path, infos)
        return
    users: list[bytes] = []
    shared: list[bytes] = []
    path = None if catalog is None else catalog.path
    compressed: frozenset[bytes] = frozenset()
    for number in range(_BUCKETS):
        bucket = found.bucket(number)
        users += bucket.users
        shared += bucket.shared
        compressed = bucket.compressed.union(compressed.intersection(users))
        if catalog is not None and found.users_complete:
            catalog.note_gone(number, bucket.users)
        while len(users) + len(shared) >= _TASK_NAMES:
            part = users[:_TASK_NAMES], shared[:_TASK_NAMES]
            yield ValidateTask(data, *part, scope.path, infos, path, compressed)
            del users[:_TASK_NAMES], shared[:_TASK_NAMES]
    # All there is, in a small directory: told in the order of the names.
    yield ValidateTask(data, sorted(users), sorted(shared), scope.path, infos, path, compressed)


def _tell(part: Tally, total: Tally, monitor: Monitor) -> None:
    for finding in part.findings:
        monitor.report(finding)
    for name in _COUNTS:
        setattr(total, name, getattr(total, name) + getattr(part, name))


def _missing_folder(name: bytes) -> Finding:
    return Finding(
        code="missing-folder",
        severity="warning",
        path=printable(name),
        message="the folder is not there",
        hint="The application makes it when it starts; see whether this is the data directory.",
    )
