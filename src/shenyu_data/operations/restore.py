"""``restore``: puts a snapshot, or one user of it, into a folder.

Every document is authenticated and checked against its digest before it is written. What is damaged
is reported and left out; everything else is restored. Nothing is ever written outside the target:
names from the repository are checked, folders are opened without following links, and links are
made last.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import msgspec

from shenyu_data.datadir.folder import make_folder, open_folder
from shenyu_data.model.chats_edit import alone
from shenyu_data.model.errors import TargetNotEmpty, UsageError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import path_of
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.conversations import find_chat
from shenyu_data.operations.erased import check_tombstones, unreadable_tombstones
from shenyu_data.operations.past import (
    history_not_found,
    open_user,
    owner_erased,
    owner_not_found,
)
from shenyu_data.operations.restore_files import Attributes, restore_link, write_document
from shenyu_data.operations.restore_tasks import (
    NOT_WRITABLE,
    FolderAttributes,
    HardLink,
    RestoreCounts,
    RestoreResult,
    RestoreTask,
    is_no_room,
    not_written,
    restore_buckets,
)
from shenyu_data.operations.workers import open_executor, run_tasks
from shenyu_data.repository.format import LinkEntry, Root
from shenyu_data.repository.manifest import layers_of
from shenyu_data.repository.repository import Repository

_SMALL = 1000  # documents: below, starting processes costs more than it saves


class RestoreOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``user`` restores only that user, ``history`` only that history of the user, ``chat`` a
    history of that one chat.

    ``overwrite`` lets the target hold files: those in the way are replaced. ``last_good`` restores,
    of documents captured torn, the last good version instead.
    """

    user: bytes | None = None
    history: bytes | None = None
    chat: str | None = None
    overwrite: bool = False
    last_good: bool = False
    jobs: int = 1


class RestorePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore would do: into which folder, how many documents and bytes (of everything, or
    None for one user).
    """

    snapshot: bytes
    target: str
    user: bytes | None
    documents: int | None
    document_bytes: int | None


class RestoreStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore did. ``erased`` users are left out; ``failed`` entries were damaged, or could
    not be written.
    """

    snapshot: bytes
    documents: int
    document_bytes: int
    folders: int
    links: int
    torn: int
    failed: int
    damaged: int
    erased: int
    elapsed_s: float


def plan_restore(root: Root, target: str, options: RestoreOptions) -> RestorePlan:
    """Say what :func:`restore` would do. Raise TargetNotEmpty as it would."""
    _check_target(target, options)
    whole = options.user is None
    return RestorePlan(
        snapshot=root.id,
        target=os.path.abspath(target),
        user=options.user,
        documents=root.totals.documents if whole else None,
        document_bytes=root.totals.document_bytes if whole else None,
    )


def restore(
    repository: Repository, root: Root, target: str, options: RestoreOptions, monitor: Monitor
) -> RestoreStats:
    """Restore the snapshot ``root`` into the folder ``target``, which is made if it is missing.

    Raise TargetNotEmpty if it holds anything (unless ``options.overwrite``), OwnerNotFound,
    HistoryNotFound or ChatNotFound if the snapshot holds nothing of that name, OwnerErased if the
    user was erased since.
    """
    started = time.monotonic()
    if options.user is not None and options.chat is not None:
        return _restore_chat(repository, root, target, options.user, options.chat, options, monitor)
    _prepare(target, options)
    totals = RestoreCounts()
    for finding in unreadable_tombstones(repository):
        monitor.report(finding)
        totals.damaged += 1
    rest = RestoreResult(counts=totals)
    many = options.user is None and root.totals.documents > _SMALL
    jobs = options.jobs if many else 1
    with (
        open_executor(jobs) as executor,
        monitor.task("Restoring", root.totals.documents if many else None, "documents") as progress,
    ):
        tasks = _tasks(repository, root, target, options, jobs)
        for result in run_tasks(executor, restore_buckets, tasks, waiting=jobs + 1):
            progress.advance(result.counts.documents)
            totals.add(result.counts)
            rest.folders += result.folders
            rest.links += result.links
            rest.hard_links += result.hard_links
            for finding in result.findings:
                monitor.report(finding)
    if options.user is not None and totals.erased:
        raise owner_erased(options.user)
    if options.user is not None and not totals.owners and not totals.damaged:
        raise owner_not_found(options.user, root)
    if options.history is not None and not totals.met and not totals.damaged:
        raise history_not_found(options.history, options.user or b"", root)
    _finish(target, rest, monitor)
    return RestoreStats(
        snapshot=root.id,
        documents=totals.documents,
        document_bytes=totals.document_bytes,
        folders=totals.folders,
        links=totals.links,
        torn=totals.torn,
        failed=totals.failed,
        damaged=totals.damaged,
        erased=totals.erased,
        elapsed_s=time.monotonic() - started,
    )


def restore_owners(task: RestoreTask, monitor: Monitor) -> RestoreCounts:
    """Restore what a task names into its target, an empty folder of the caller's, in this process:
    for a drill, which must do what a restore does.
    """
    result = restore_buckets(task)
    for finding in result.findings:
        monitor.report(finding)
    _finish(task.target, result, monitor)
    return result.counts


def _finish(target: str, rest: RestoreResult, monitor: Monitor) -> None:
    """Do what is left for the end, and count it."""
    descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _make_links(descriptor, rest.links, rest.counts, monitor)
        _join_hard_links(descriptor, rest.hard_links, monitor)
        _set_folders(descriptor, rest.folders, rest.counts, monitor)
    finally:
        os.close(descriptor)


def _restore_chat(
    repository: Repository,
    root: Root,
    target: str,
    user: bytes,
    chat: str,
    options: RestoreOptions,
    monitor: Monitor,
) -> RestoreStats:
    """Write a history that holds one chat."""
    started = time.monotonic()
    check_tombstones(repository)
    owner = open_user(repository, root, user)
    found = find_chat(owner, root, options.history, chat, last_good=options.last_good)
    _prepare(target, options)
    data = alone(found.history, found.chat)
    if found.compressed:
        import gzip  # late: it takes 2 ms, and such a history is rare

        data = gzip.compress(data, mtime=0)
    folder, _, name = path_of(user, found.entry.place, found.entry.name).rpartition(b"/")
    attributes = Attributes(
        found.version.mode,
        (found.entry.uid, found.entry.gid) if os.geteuid() == 0 else None,
        found.version.mtime_ns,
    )
    failed = 0
    descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        below = make_folder(descriptor, folder)
        try:
            write_document(below, name, data, attributes)
        finally:
            os.close(below)
    except NOT_WRITABLE as error:
        failed = 1
        monitor.report(not_written(folder + b"/" + name, error))
    finally:
        os.close(descriptor)
    return RestoreStats(
        snapshot=root.id,
        documents=1 - failed,
        document_bytes=0 if failed else len(data),
        folders=0,
        links=0,
        torn=int(found.version is not found.entry),
        failed=failed,
        damaged=0,
        erased=0,
        elapsed_s=time.monotonic() - started,
    )


def _prepare(target: str, options: RestoreOptions) -> None:
    try:
        os.makedirs(target, mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unusable(target, error) from error
    _check_target(target, options)


def _check_target(target: str, options: RestoreOptions) -> None:
    try:
        with os.scandir(target) as entries:
            occupied = next(entries, None) is not None
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unusable(target, error) from error
    if occupied and not options.overwrite:
        raise TargetNotEmpty(
            f"{target} is not empty",
            hint="Give a new or empty folder; with --overwrite, files in the way are replaced.",
        )


def _unusable(target: str, error: OSError) -> UsageError:
    return UsageError(
        f"cannot restore into {target}: {error.strerror}",
        hint="Give a folder that can be made, or an empty one, with --to.",
    )


def _tasks(
    repository: Repository, root: Root, target: str, options: RestoreOptions, jobs: int
) -> Iterator[RestoreTask]:
    """Deal the snapshot's buckets into tasks of about equal work."""
    if options.user is not None:
        bucket = repository.keys.user_bucket(options.user)
        work = {bucket: layers_of(root, bucket)}
        yield RestoreTask(
            repository,
            target,
            work,
            options.user,
            options.history,
            options.last_good,
            root.sequence,
        )
        return
    share = max(1, min(2000, root.totals.documents // (4 * jobs)))
    work, documents = {}, 0
    for bucket, ref in root.buckets.items():
        work[bucket] = layers_of(root, bucket)
        documents += ref.totals.documents
        if documents >= share:
            yield RestoreTask(
                repository, target, work, None, None, options.last_good, root.sequence
            )
            work, documents = {}, 0
    if work:
        yield RestoreTask(repository, target, work, None, None, options.last_good, root.sequence)


def _make_links(
    target: int, links: list[LinkEntry], totals: RestoreCounts, monitor: Monitor
) -> None:
    """Make the links that belong to nobody, where no user's document stands: documents come
    first.
    """
    for link in links:
        try:
            descriptor = open_folder(target, link.name.rpartition(b"/")[0])
            try:
                restore_link(link, link.name, descriptor)
            finally:
                os.close(descriptor)
            totals.links += 1
        except NOT_WRITABLE as error:
            totals.failed += 1
            totals.no_room += is_no_room(error)
            monitor.report(not_written(link.name, error))


def _join_hard_links(target: int, links: list[HardLink], monitor: Monitor) -> None:
    """Make one file again of those that were one: same inode, same bytes, same attributes."""
    first: dict[tuple[object, ...], bytes] = {}
    for link in links:
        same = first.setdefault(link.identity, link.path)
        if same == link.path:
            continue
        try:
            _join(target, same, link.path)
        except OSError as error:
            monitor.report(_not_joined(link.path, same, error))


def _join(target: int, source: bytes, path: bytes) -> None:
    source_folder, _, source_name = source.rpartition(b"/")
    folder, _, name = path.rpartition(b"/")
    descriptor = open_folder(target, folder)
    try:
        other = open_folder(target, source_folder)
        try:
            temporary = b".tmp-link-" + os.urandom(8).hex().encode()
            os.link(source_name, temporary, src_dir_fd=other, dst_dir_fd=descriptor)
            os.rename(temporary, name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
        finally:
            os.close(other)
    finally:
        os.close(descriptor)


def _not_joined(path: bytes, same: bytes, error: OSError) -> Finding:
    return Finding(
        code="not-joined",
        severity="warning",
        path=printable(path),
        message=f"it was one file with {printable(same)} and is now apart: {error.strerror}",
        hint="Its contents are right. A file system that has hard links keeps them one.",
    )


def _set_folders(
    target: int, folders: list[FolderAttributes], totals: RestoreCounts, monitor: Monitor
) -> None:
    """Give folders their modes and times, deepest first: a time changes when something is put into
    the folder.
    """
    for folder in sorted(folders, key=lambda item: item.path.count(b"/"), reverse=True):
        try:
            descriptor = open_folder(target, folder.path)
            try:
                folder.apply(descriptor)
            finally:
                os.close(descriptor)
        except NOT_WRITABLE as error:
            totals.failed += 1
            totals.no_room += is_no_room(error)
            monitor.report(not_written(folder.path, error))
