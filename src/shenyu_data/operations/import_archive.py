"""``import-archive``: the guide's archives become snapshots with dates of their own.

Each is unpacked into a private folder, backed up from there, and the folder is removed. A snapshot
takes its place by its date: behind the newest that is older, so that an old archive is never the
latest, nor the parent of the next backup. Killed at any moment, an import leaves no snapshot of the
archive at hand.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import BinaryIO, Literal

import msgspec
from blake3 import blake3

from shenyu_data.datadir.folder import FOLDER_FLAGS
from shenyu_data.datadir.scratch import remove_stale, scratch_folder
from shenyu_data.datadir.tar import TarReader
from shenyu_data.datadir.tar_stream import ArchiveStream, pieces, unreadable
from shenyu_data.datadir.unpack import Unpacked, Unpacker
from shenyu_data.datadir.unpacked import find_data_directory, remove_users
from shenyu_data.model.amounts import counted
from shenyu_data.model.archives import place_among, time_of_name
from shenyu_data.model.errors import ArchiveDamaged, ArchiveError, UsageError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.backup import Adoption, BackupOptions, BackupStats, backup
from shenyu_data.repository.format import Adopted, Snapshot
from shenyu_data.repository.repository import Repository

MAX_TOLD = 50
"""Findings about members of one archive; the rest is only counted."""

_DAY_MS = 86_400_000

Identity = tuple[bytes, int]
"""Digest and time: two archives of days without a change may have the same bytes."""

Status = Literal["planned", "imported", "known", "refused"]


class ImportArchiveOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``time_ms`` and ``tag`` instead of what the archive's name says. ``inside``: where in the
    archive the data directory is. ``damaged_too``: import what can be read of a damaged archive,
    and without its unsafe members, as a degraded snapshot. ``erased_too``: bring back users who
    were erased since. ``max_bytes``: how much it may unpack to. ``temporary``: the folder to unpack
    in.
    """

    time_ms: int | None = None
    tag: str | None = None
    inside: bytes | None = None
    damaged_too: bool = False
    erased_too: bool = False
    max_bytes: int | None = None
    temporary: str | None = None
    jobs: int = 1


class ArchivePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What will be done with one archive. ``snapshot``: the one it became already. ``refused``: why
    it cannot be imported.
    """

    path: str
    name: str
    tag: str
    size_bytes: int = 0
    digest: bytes = b""
    time_ms: int = 0
    snapshot: bytes | None = None
    refused: ArchiveError | None = None


class ArchiveStats(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one archive. ``left_out`` members were unsafe or of erased users."""

    plan: ArchivePlan
    status: Status
    backup: BackupStats | None = None
    left_out: int = 0


def plan_import_archives(
    paths: Sequence[str],
    repository: Repository,
    options: ImportArchiveOptions,
    monitor: Monitor,
) -> list[ArchivePlan]:
    """Say what each archive is: its date, and whether it was imported before. In order of date.

    What cannot be imported is reported. Raise UsageError if a date is given for several.
    """
    if options.time_ms is not None and len(paths) > 1:
        raise UsageError(
            "one date cannot be that of several archives", hint="Import them one by one."
        )
    known = {
        (item.adopted.blake3, item.time_ms): item.id
        for item in repository.snapshots()
        if item.adopted is not None
    }
    plans = []
    sizes = sum(os.path.getsize(path) for path in paths if os.path.isfile(path))
    with monitor.task("Looking at archives", sizes, "bytes") as progress:
        for path in paths:
            plan = _plan(path, options, known)
            if plan.refused is not None:
                monitor.report(_refused(plan, plan.refused))
            progress.advance(plan.size_bytes)
            plans.append(plan)
    return sorted(plans, key=lambda plan: (plan.time_ms, plan.name))


def _plan(path: str, options: ImportArchiveOptions, known: Mapping[Identity, bytes]) -> ArchivePlan:
    name = printable(os.path.basename(path))
    plan = ArchivePlan(path=path, name=name, tag=options.tag or _without_suffix(name))
    try:
        with _open(path) as file:
            digest = blake3()
            for piece in pieces(file):
                digest.update(piece)
            size = file.tell()
            time_ms = options.time_ms or time_of_name(name)
            if time_ms is None:
                file.seek(0)
                time_ms = _newest_member(file, options)
            _check_time(time_ms)
    except ArchiveError as error:
        return msgspec.structs.replace(plan, refused=error)
    return msgspec.structs.replace(
        plan,
        size_bytes=size,
        digest=digest.digest(),
        time_ms=time_ms,
        snapshot=known.get((digest.digest(), time_ms)),
    )


def import_archives(
    plans: Sequence[ArchivePlan],
    repository: Repository,
    options: ImportArchiveOptions,
    monitor: Monitor,
) -> Iterator[ArchiveStats]:
    """Carry out the plans, one after another; yield what became of each.

    An archive that is damaged or unsafe is reported and passed over. Raises as ``backup`` does.
    """
    for path in remove_stale(options.temporary):
        monitor.report(_stale(path))
    done: set[Identity] = set()
    for plan in plans:
        identity = (plan.digest, plan.time_ms)
        if plan.refused is not None:
            yield ArchiveStats(plan=plan, status="refused")
        elif plan.snapshot is not None or identity in done:
            yield ArchiveStats(plan=plan, status="known")
        else:
            try:
                yield _Import(plan, repository, options, monitor).run()
                done.add(identity)
            except ArchiveError as error:
                monitor.report(_refused(plan, error))
                yield ArchiveStats(plan=plan, status="refused")


class _Import:
    """One archive becoming a snapshot."""

    def __init__(
        self,
        plan: ArchivePlan,
        repository: Repository,
        options: ImportArchiveOptions,
        monitor: Monitor,
    ) -> None:
        self._plan = plan
        self._repository = repository
        self._options = options
        self._monitor = monitor
        self._damaged = False
        self._told = 0

    def run(self) -> ArchiveStats:
        with scratch_folder(self._options.temporary) as folder:
            tree = os.path.join(folder, "tree")
            os.mkdir(tree, 0o700)
            done = self._unpack(tree, os.path.join(folder, "folders"))
            data, others = find_data_directory(os.fsencode(tree), self._options.inside)
            if others:
                self._report("archive-outside", "warning", others[0], _left_out(others))
            before = self._repository.snapshots()
            adoption = self._place(before)
            erased = self._remove_erased(data, adoption)
            stats = backup(
                os.fsdecode(data),
                self._repository,
                BackupOptions(
                    full=True, tag=self._plan.tag, jobs=self._options.jobs, adoption=adoption
                ),
                self._monitor,
            )
        left_out = done.refused + erased
        return ArchiveStats(plan=self._plan, status="imported", backup=stats, left_out=left_out)

    def _unpack(self, tree: str, notes: str) -> Unpacked:
        digest = blake3()
        title = f"Unpacking {self._plan.name}"
        root = os.open(tree, FOLDER_FLAGS)
        try:
            with (
                _open(self._plan.path) as file,
                open(notes, "w+b") as noted,
                self._monitor.task(title, self._plan.size_bytes, "bytes") as progress,
            ):

                def watch(piece: bytes) -> None:
                    digest.update(piece)
                    progress.advance(len(piece))

                unpacker = Unpacker(root, noted, refuse=self._refuse, skip=self._skip)
                try:
                    stream = ArchiveStream(file, watch=watch, max_bytes=self._options.max_bytes)
                    unpacker.take_all(TarReader(stream))
                except ArchiveDamaged as error:
                    self._take_damage(error, unpacker.done)
                for piece in pieces(file):  # behind the damage, for the digest
                    watch(piece)
        finally:
            os.close(root)
        if digest.digest() != self._plan.digest:
            raise ArchiveError(
                "the archive changed while it was read", hint="Import it when it is complete."
            )
        if self._told > MAX_TOLD:
            more = f"{self._told - MAX_TOLD:,} more like these"
            self._monitor.report(self._finding("archive-member", "error", "", more))
        return unpacker.done

    def _take_damage(self, error: ArchiveDamaged, done: Unpacked) -> None:
        read = f"{error.message}; {done.files:,} files, {done.file_bytes:,} bytes before that"
        if not self._options.damaged_too or not done.files:
            raise ArchiveDamaged(read, hint=error.hint) from error
        self._damaged = True
        self._report("archive-damaged", "error", "", f"{read} are imported")

    def _refuse(self, name: str, why: str) -> None:
        if not self._options.damaged_too:
            raise ArchiveError(
                f"it has an unsafe member {name}: {why}",
                hint="If it is to be trusted, --damaged-too imports the rest, as degraded.",
            )
        self._damaged = True
        self._report("archive-member", "error", name, f"it is left out: {why}")

    def _skip(self, name: str) -> None:
        self._report("special-file", "warning", name, "a FIFO, socket or device is skipped")

    def _report(
        self, code: str, severity: Literal["error", "warning"], path: str, message: str
    ) -> None:
        self._told += 1
        if self._told <= MAX_TOLD:
            self._monitor.report(self._finding(code, severity, path, message))

    def _finding(
        self, code: str, severity: Literal["error", "warning"], path: str, message: str
    ) -> Finding:
        where = f"{self._plan.name}: {path}" if path else self._plan.name
        return Finding(code=code, severity=severity, path=where, message=message)

    def _place(self, before: list[Snapshot]) -> Adoption:
        place = place_among([item.time_ms for item in before], self._plan.time_ms)
        parent = before[place - 1] if place else None
        sequence = parent.sequence if parent is not None else 0
        if place == len(before):
            sequence += 1  # the newest of all, as any backup
        return Adoption(
            archive=Adopted(name=self._plan.name, blake3=self._plan.digest),
            time_ms=self._plan.time_ms,
            sequence=sequence,
            parent=parent.id if parent is not None else None,
            damaged=self._damaged,
        )

    def _remove_erased(self, data: bytes, adoption: Adoption) -> int:
        """Remove users who were erased since the archive was made; return how many there were."""
        stones = self._repository.keyring().tombstones
        if not len(stones) or self._options.erased_too:
            return 0

        def erased(user: bytes) -> bool:
            pseudonym = self._repository.keys.user_pseudonym(user)
            return stones.covers(pseudonym, adoption.sequence) or any(
                stone.time_ms >= adoption.time_ms for stone in stones.of(pseudonym)
            )

        removed = remove_users(data, erased)
        if removed:
            message = f"left out, as they were erased since: {counted(removed, 'user')}"
            self._monitor.report(
                Finding(code="user-erased", severity="info", path=self._plan.name, message=message)
            )
        return removed


@contextmanager
def _open(path: str) -> Iterator[BinaryIO]:
    try:  # not blocking: it may be a FIFO
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise unreadable(error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ArchiveError("it is not a file", hint="Give a .tar.gz or .tar file.")
    with open(descriptor, "rb") as file:
        yield file


def _newest_member(file: BinaryIO, options: ImportArchiveOptions) -> int:
    newest_ns: int | None = None
    with suppress(ArchiveDamaged):  # what is whole has a date, too
        for member in TarReader(ArchiveStream(file, max_bytes=options.max_bytes)):
            if member.kind == "file" and (newest_ns is None or member.mtime_ns > newest_ns):
                newest_ns = member.mtime_ns
    if newest_ns is None:
        raise ArchiveError(
            "neither its name nor its contents have a date", hint="Give one with --date."
        )
    return newest_ns // 1_000_000


def _check_time(time_ms: int) -> None:
    if not 0 <= time_ms <= time.time() * 1000 + _DAY_MS:
        raise ArchiveError(
            "its date is in the future, or before 1970", hint="Give another with --date."
        )


def _without_suffix(name: str) -> str:
    for suffix in (".tar.gz", ".tgz", ".tar"):
        if name.endswith(suffix) and name != suffix:
            return name[: -len(suffix)]
    return name


def _left_out(others: list[str]) -> str:
    more = f", as are {len(others) - 1:,} others" if len(others) > 1 else ""
    return f"it is outside the data directory and is left out{more}"


def _refused(plan: ArchivePlan, error: ArchiveError) -> Finding:
    return Finding(
        code="archive-refused",
        severity="error",
        path=printable(plan.path),
        message=f"not imported: {error.message}",
        hint=error.hint,
    )


def _stale(path: str) -> Finding:
    return Finding(
        code="archive-remains",
        severity="info",
        path=printable(path),
        message="what an import that was killed had unpacked is removed",
    )
