"""``drill``: proof by restoring. Restores users into a sandbox, checks them, removes them.

What is restored is restored by the code of ``restore``, and checked by code that believes nothing
of what that says (drill_check.py). Before it, the drill proves that it notices damage
(drill_control.py); after it, the ledger knows who was proven (drill_ledger.py).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress

import msgspec

from shenyu_data.datadir.scratch import remove_tree, scratch_folder
from shenyu_data.health.drill_control import Control, run_control
from shenyu_data.health.drill_ledger import (
    Ledger,
    LedgerSummary,
    Share,
    ledgers,
    passing_ledger,
)
from shenyu_data.health.drill_sandbox import SANDBOX, leave, make_kept, sandbox_place, tidy
from shenyu_data.health.drill_tasks import DrillCounts, DrillResult, DrillTask, drill_owners
from shenyu_data.health.store import Store
from shenyu_data.model.errors import (
    RepositoryError,
    StateUnusable,
)
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.erased import unreadable_tombstones
from shenyu_data.operations.past import owner_erased, owner_not_found
from shenyu_data.operations.workers import open_executor, run_tasks
from shenyu_data.repository.format import Root, Totals
from shenyu_data.repository.keyring import Keyring
from shenyu_data.repository.manifest import Layer, SectionReader, layers_of
from shenyu_data.repository.repository import Repository
from shenyu_data.storage.cache import fetched_anew

DEFAULT_SHARE = Share(percent=10.0, least=50)
"""What a drill chooses if nobody says how much: everybody has a turn in 10 drills, so with one a
week within 90 days.
"""

EVERYONE = Share()

_SMALL = 1000  # documents: below, starting processes costs more than it saves
_BATCH_OWNERS = 500
_LEAST_OWNERS = 50  # for fewer, to open the keyring once more costs more than it saves
_BATCH_BYTES = 32 << 20
_NOTED = 5000  # owners: so many wait to be noted at most


class DrillOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What to drill: a ``share`` of the users, or the one ``user``; ``sandbox`` is the folder in
    which to make one, ``keep`` leaves what was restored.

    ``live`` is the live directory to compare with, if any. ``noted`` says that the snapshot is the
    newest, of which the ledger tells.
    """

    share: Share = DEFAULT_SHARE
    user: bytes | None = None
    sandbox: str | None = None
    keep: bool = False
    live: str | None = None
    noted: bool = True
    jobs: int = 1


class DrillStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a drill did. ``users`` are those of the snapshot, of which some were ``chosen``, and of
    those some ``proven``: everything that the snapshot holds of them came back, byte for byte, and
    is whole. ``counts`` and ``totals`` are what was restored and found on disk.

    ``kept`` is the folder that was left, ``ledger`` what the ledger says now.
    """

    snapshot: bytes
    users: int
    chosen: int
    proven: int
    totals: Totals
    counts: DrillCounts
    controls: list[Control]
    ledger: LedgerSummary | None
    kept: str | None
    elapsed_s: float


def drill(
    repository: Repository,
    root: Root,
    store: Store | None,
    options: DrillOptions,
    monitor: Monitor,
    now_ms: int,
) -> DrillStats:
    """Drill the snapshot ``root``; ``store`` is where the ledger lies, None: nowhere.

    What is wrong is reported. Raise DrillBlind if damage made on purpose was not noticed,
    SandboxUnusable if there is no place or no room, OwnerNotFound or OwnerErased if the one user
    cannot be drilled, UsageError if the sandbox would lie in the live directory.
    """
    with fetched_anew(repository.storage) as storage:
        fresh = Repository(storage, repository.keys, repository.slot)
        return _Drill(fresh, root, store, options, monitor, now_ms).run()


class _Drill:
    def __init__(
        self,
        repository: Repository,
        root: Root,
        store: Store | None,
        options: DrillOptions,
        monitor: Monitor,
        now_ms: int,
    ) -> None:
        self._repository = repository
        self._root = root
        self._store = store
        self._options = options
        self._monitor = monitor
        self._now_ms = now_ms
        self._counts = DrillCounts()
        self._totals: dict[int, Totals] = {}
        self._doubtful: set[int] = set()
        """Buckets of which not all is restored: their sums say nothing."""
        self._proven = 0
        self._attributes = ""
        self._waiting: list[tuple[bytes, bool | None]] = []
        self._ledger = self._open_ledger()

    def run(self) -> DrillStats:
        started = time.monotonic()
        place = sandbox_place(self._options.sandbox, self._options.live)
        for finding in unreadable_tombstones(self._repository):
            self._monitor.report(finding)
            self._counts.damaged += 1
        self._choose()
        chosen = self._ledger.count()
        tidy(self._store, place)
        with scratch_folder(place, SANDBOX) as sandbox:
            controls = run_control(self._repository, self._root, self._ledger.chosen(), sandbox)
            kept = make_kept(place) if self._options.keep else None
            try:
                self._restore(kept or sandbox, chosen.chosen_owners)
            except BaseException:
                if kept is not None:  # nobody would be told where it lies, and it is not sealed
                    remove_tree(kept)
                raise
        leave(self._store, place)
        if self._options.user is None and chosen.chosen_owners == chosen.owners:
            self._compare_totals()
        self._report_rest()
        return DrillStats(
            snapshot=self._root.id,
            users=chosen.users,
            chosen=chosen.chosen_users,
            proven=self._proven,
            totals=self._sum(),
            counts=self._counts,
            controls=controls,
            ledger=self._summary(),
            kept=kept,
            elapsed_s=time.monotonic() - started,
        )

    # ------------------------------------------------------------------------ whose turn it is

    def _open_ledger(self) -> Ledger:
        repository, location = (
            self._repository.keys.repository_id,
            self._repository.storage.location,
        )
        if self._store is not None:
            try:
                return Ledger(self._store, repository, location)
            except StateUnusable as error:
                self._not_kept(error)
        return passing_ledger(repository, location)

    def _choose(self) -> None:
        user = self._options.user
        if user is None:
            self._ledger.meet(self._owners())
        else:
            self._ledger.meet([(self._find(user), False)])
        if self._options.noted:
            whole = user is None and not self._counts.damaged
            try:
                self._ledger.settle(self._now_ms, whole=whole)
            except StateUnusable as error:
                self._not_kept(error)
        if user is not None or self._options.share == EVERYONE:
            self._ledger.choose_all()
        else:
            self._ledger.choose(self._options.share, self._now_ms)

    def _owners(self) -> Iterator[tuple[bytes, bool]]:
        """Yield the snapshot's owners by pseudonym, and whether they are nobody; without those who
        were erased.
        """
        keyring = self._repository.keyring()
        keys = self._repository.keys
        for bucket in self._root.buckets:
            shared = keys.shared_pseudonym(bucket)
            try:
                for pseudonym in self._reader(bucket).rows():
                    if self._is_erased(pseudonym, keyring):
                        self._counts.erased += 1
                        self._doubtful.add(bucket)
                        continue
                    yield pseudonym, pseudonym == shared
            except RepositoryError as error:
                self._damaged(f"bucket {bucket} of the snapshot", error)
                self._doubtful.add(bucket)

    def _find(self, user: bytes) -> bytes:
        keys = self._repository.keys
        pseudonym = keys.user_pseudonym(user)
        rows = self._reader(pseudonym[0]).rows()
        if pseudonym not in rows:
            raise owner_not_found(user, self._root)
        if self._is_erased(pseudonym, self._repository.keyring()):
            raise owner_erased(user)
        return pseudonym

    def _is_erased(self, pseudonym: bytes, keyring: Keyring) -> bool:
        covered = keyring.tombstones.covers(pseudonym, self._root.sequence)
        return covered and not keyring.owner(pseudonym)

    def _reader(self, bucket: int) -> SectionReader:
        layers = layers_of(self._root, bucket)
        return SectionReader(self._repository.storage, self._repository.keys, bucket, layers)

    # ------------------------------------------------------------------ restoring and checking

    def _restore(self, folder: str, owners: int) -> None:
        documents = self._root.totals.documents
        jobs = self._options.jobs if documents > _SMALL and owners > _LEAST_OWNERS else 1
        try:
            with (
                open_executor(jobs) as executor,
                self._monitor.task("Drilling", owners, "users") as progress,
            ):
                tasks = self._tasks(folder, jobs, owners)
                for result in run_tasks(executor, drill_owners, tasks, waiting=jobs + 1):
                    progress.advance(len(result.owners))
                    self._take(result)
        finally:
            self._note()

    def _tasks(self, folder: str, jobs: int, owners: int) -> Iterator[DrillTask]:
        """Deal what was chosen into tasks of about equal work, none with much at once."""
        most = max(_LEAST_OWNERS, min(_BATCH_OWNERS, owners // (4 * jobs)))
        batch: set[bytes] = set()
        expected = 0.0
        for number, pseudonym in enumerate(self._ledger.chosen()):
            batch.add(pseudonym)
            expected += self._expected_bytes(pseudonym[0])
            if len(batch) >= most or expected >= _BATCH_BYTES:
                yield self._task(folder, number, batch)
                batch, expected = set(), 0.0
        if batch:
            yield self._task(folder, owners, batch)

    def _expected_bytes(self, bucket: int) -> float:
        """Return what an owner of a bucket takes on average, which only its records say exactly."""
        totals = self._root.buckets[bucket].totals
        return totals.document_bytes / max(1, totals.users)

    def _task(self, folder: str, number: int, batch: set[bytes]) -> DrillTask:
        work: dict[int, list[Layer]] = {
            bucket: layers_of(self._root, bucket)
            for bucket in sorted({pseudonym[0] for pseudonym in batch})
        }
        return DrillTask(
            self._repository,
            self._root.id,
            self._root.sequence,
            work,
            frozenset(batch),
            os.path.join(folder, f"batch-{number}"),
            self._options.live,
            self._options.keep,
        )

    def _take(self, result: DrillResult) -> None:
        self._counts.add(result.counts)
        self._attributes = result.attributes or self._attributes
        for finding in result.findings:
            self._monitor.report(finding)
        keys = self._repository.keys
        for pseudonym, proven in result.owners.items():
            self._proven += bool(proven) and pseudonym != keys.shared_pseudonym(pseudonym[0])
            if not proven:
                self._doubtful.add(pseudonym[0])
            self._waiting.append((pseudonym, proven))
        if result.counts.degraded:
            self._doubtful |= {pseudonym[0] for pseudonym in result.owners}
        for bucket, totals in result.totals.items():
            self._totals[bucket] = self._totals.get(bucket, Totals()).plus(totals)
        if len(self._waiting) >= _NOTED:
            self._note()

    def _compare_totals(self) -> None:
        """Compare what came back of whole buckets with what the snapshot says they hold."""
        for bucket, ref in self._root.buckets.items():
            found = self._totals.get(bucket, Totals())
            if bucket not in self._doubtful and found != ref.totals:
                self._counts.damaged += 1
                self._monitor.report(
                    Finding(
                        code="drill-mismatch",
                        severity="error",
                        path="",
                        message=f"in bucket {bucket} the snapshot counts {_told(ref.totals)}; "
                        f"{_told(found)} came back",
                        hint="Keep the repository as it is, and report it.",
                    )
                )

    def _sum(self) -> Totals:
        total = Totals()
        for totals in self._totals.values():
            total = total.plus(totals)
        return total

    # ------------------------------------------------------------------------- what is noted

    def _note(self) -> None:
        if self._options.noted and self._waiting:
            try:
                self._ledger.note(self._waiting, self._now_ms)
            except StateUnusable as error:
                self._not_kept(error)
        self._waiting = []

    def _summary(self) -> LedgerSummary | None:
        if self._store is None:
            return None
        mine = self._repository.keys.repository_id
        with suppress(StateUnusable):
            found = [item for item in ledgers(self._store, self._now_ms) if item.repository == mine]
            return found[0] if found else None
        return None

    def _not_kept(self, error: StateUnusable) -> None:
        self._monitor.report(
            Finding(
                code="ledger-not-kept",
                severity="warning",
                path="",
                message=f"who was proven could not be noted: {error.message}",
                hint=error.hint,
            )
        )

    def _report_rest(self) -> None:
        counts = self._counts
        if counts.attributes:
            self._monitor.report(
                Finding(
                    code="drill-attributes",
                    severity="warning",
                    path=self._attributes,
                    message=f"{counts.attributes} files or folders, this one among them, came back "
                    "with another mode, owner or time",
                    hint="The file system of the sandbox may not hold them: drill again with "
                    "--sandbox on one like that of the data directory.",
                )
            )
        if counts.unread:
            self._monitor.report(
                Finding(
                    code="live-unread",
                    severity="warning",
                    path="",
                    message=f"{counts.unread} live documents cannot be read, and so not be "
                    "compared",
                    hint="Drill as a user who may read the data directory; if it may, check the "
                    "disk.",
                )
            )
        if not self._root.totals.documents:
            self._monitor.report(
                Finding(
                    code="nothing-proven",
                    severity="warning",
                    path="",
                    message="the snapshot holds no document that could be restored",
                    hint="See that --data names the right directory, and back up.",
                )
            )

    def _damaged(self, what: str, error: RepositoryError) -> None:
        self._counts.damaged += 1
        self._monitor.report(
            Finding(
                code=error.code,
                severity="error",
                path=what,
                message=f"it cannot be restored: {error.message}",
                hint=error.hint,
            )
        )


def _told(totals: Totals) -> str:
    return (
        f"{totals.users} users, {totals.histories} histories, {totals.chats} chats, "
        f"{totals.messages} messages, {totals.documents} documents, {totals.document_bytes} bytes"
    )
