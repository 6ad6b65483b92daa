"""``erase-user``: erases a user for good: live documents, and by its keys every backup.

In this order. The live documents go first, lest the next backup take them up again under a new key;
then the tombstone and the keys (repository/erasure.py); then everything is looked at again, because
the application may have had a history in memory and written it back. Only when nothing is left
there is a receipt. Killed anywhere, running it again finishes.
"""

from __future__ import annotations

import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable

import msgspec

from shenyu_data import __version__
from shenyu_data.datadir.folder import open_root
from shenyu_data.datadir.remove import Remover
from shenyu_data.datadir.replace import replacement_names
from shenyu_data.datadir.scan import DataFolders, Found, scan_user
from shenyu_data.model.errors import (
    OwnerNotFound,
    RepositoryError,
    ShenyuDataError,
    UsageError,
)
from shenyu_data.model.expiry_holds import Hold
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import USERS, is_path_of, is_plain_name, path_of
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.acknowledged import forget_acknowledgements
from shenyu_data.operations.erase_dates import good_ms_of, iso, versions_unknown
from shenyu_data.operations.erase_tags import tags_naming
from shenyu_data.operations.holds import HoldFiles, forget_holds, holds_of, refuse_held
from shenyu_data.operations.interrupted import sweep_imports
from shenyu_data.operations.journal import Journals, Swap, open_journals
from shenyu_data.operations.quarantine import Quarantine
from shenyu_data.operations.receipts import check_place, write_receipt
from shenyu_data.operations.recover_record import Records
from shenyu_data.operations.recover_report import forget_user as forget_in_reports
from shenyu_data.repository.acceptances import forget_in_acceptances
from shenyu_data.repository.acknowledgements import forget_in_reasons
from shenyu_data.repository.erasure import (
    DestroyedKeys,
    destroy_keys,
    find_holdings,
    sweep_dead_keys,
)
from shenyu_data.repository.format import KEYRINGS
from shenyu_data.repository.receipts import (
    RECEIPT_FORMAT,
    RECEIPT_VERSION,
    BackupsErased,
    LiveErased,
    Receipt,
    Reservation,
    StorageTold,
    public_key_pem,
    sign_receipt,
)
from shenyu_data.repository.repository import Repository
from shenyu_data.repository.tombstones import read_tombstones
from shenyu_data.storage.protocol import OldVersions

LOOK_S = 0.25
"""How long nothing may come back, of a user who was not active lately."""

LONG_LOOK_S = 2.0
"""The same, of one who was, or of whom something came back."""

LONGEST_LOOK_S = 30.0
"""After this it is given up: the application goes on writing."""

_ACTIVE_S = 3600.0
_PAUSE_S = 0.05
_MAX_NAME_BYTES = 255


class EraseOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``receipt`` is the path of the receipt; its signature and public key come beside it.
    ``state`` is the folder of the journals of what was done to the data directory.

    ``versions_kept_s`` says for how long the storage keeps what is deleted, None: not known.
    ``hold_files`` is where it stands what is held; ``held_too``: erase the user all the same.
    """

    receipt: str
    state: str
    reason: str | None = None
    versions_kept_s: int | None = None
    hold_files: HoldFiles | None = None
    held_too: bool = False


class ErasePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What there is of a user. ``documents`` are the live ones' paths, links and the like included;
    ``erased_ms`` is when it was erased before, if it was; ``holds`` are the user's.
    """

    user: bytes
    pseudonym: bytes
    documents: list[bytes]
    document_bytes: int
    last_written_s: float
    snapshots: int
    keys: int
    keyring_objects: int
    erased_ms: int | None
    failures: list[RepositoryError]
    holds: list[Hold] = []

    def held(self, now_ms: int) -> list[Hold]:
        """Return the holds that are in force."""
        return [hold for hold in self.holds if not hold.is_over(now_ms)]


class EraseStats(msgspec.Struct, frozen=True, kw_only=True):
    """What an erasure did. If not ``complete``, something is left and there is no ``receipt``.

    Of what was live, ``came_back`` had been written by the application since the first look.
    ``keys`` counts those destroyed, now or by an earlier run that was cut off.
    """

    complete: bool
    receipt: Receipt | None
    live: LiveErased
    came_back: int
    keys: int
    destroyed_objects: list[str]
    elapsed_s: float


def plan_erase(
    data: str, repository: Repository, user: bytes, holds: Iterable[Hold] = ()
) -> ErasePlan:
    """Look for everything of a user; change nothing. ``holds`` are all there are, of anybody.

    Raise OwnerNotFound if neither the data directory nor the repository ever held the user,
    UsageError if it cannot be a user's name.
    """
    if not is_plain_name(user):
        raise UsageError(
            f"{printable(user)!r} cannot be a user's name",
            hint="A user is named as in users/NAME.json.",
        )
    live = _scan(data, user)
    storage, keys = repository.storage, repository.keys
    pseudonym = keys.user_pseudonym(user)
    holdings = find_holdings(storage, keys, pseudonym)
    stones = read_tombstones(storage, keys, []).of(pseudonym)
    if not (live or holdings.snapshots or holdings.keys or stones or holdings.failures):
        raise OwnerNotFound(
            f"there is no user {printable(user)}: not in {data}, and in no snapshot",
            hint="A user is named as in users/NAME.json, every character of it.",
        )
    return ErasePlan(
        user=user,
        pseudonym=pseudonym,
        documents=[path_of(user, found.place, found.name) for found in live],
        document_bytes=sum(found.stat.st_size for found in live),
        last_written_s=max((found.stat.st_mtime for found in live), default=0.0),
        snapshots=holdings.snapshots,
        keys=holdings.keys,
        keyring_objects=holdings.keyring_objects,
        erased_ms=stones[-1].time_ms if stones else None,
        failures=holdings.failures,
        holds=holds_of(holds, user),
    )


def _scan(data: str, user: bytes) -> list[Found]:
    with open_root(data):
        if len(user) > _MAX_NAME_BYTES:
            return []
    with DataFolders(data) as folders:
        return [found for found in scan_user(folders, user).entries if not _is_folder(found)]


def _is_folder(found: Found) -> bool:
    return stat.S_ISDIR(found.stat.st_mode)


def erase(
    data: str, repository: Repository, plan: ErasePlan, options: EraseOptions, monitor: Monitor
) -> EraseStats:
    """Erase a user. What cannot be done is reported, and then there is no receipt.

    Raise UsageError if the receipt's place is taken, or if something else is just changing the data
    directory, OwnerHeld if the user is held, HoldsDamaged if that cannot be told, before anything
    is done; DataDirectoryError or StorageError if that fails on the way: running it again finishes.
    """
    check_place(options.receipt)
    # Beside which nobody can add a hold, nor a recovery write the user's name down again.
    with Records(options.state).alone(), open_journals(options.state) as journals:
        if options.hold_files is not None:
            now_ms = time.time_ns() // 1_000_000
            refuse_held(options.hold_files, plan.user, now_ms, held_too=options.held_too)
        with open_root(data) as root:
            sweep_imports(root, journals)
        return _Erasure(data, repository, plan, options, journals, monitor).run()


class _Erasure:
    def __init__(
        self,
        data: str,
        repository: Repository,
        plan: ErasePlan,
        options: EraseOptions,
        journals: Journals,
        monitor: Monitor,
    ) -> None:
        self._journals = list(journals.newest_first())
        self._data = data
        self._repository = repository
        self._plan = plan
        self._options = options
        self._monitor = monitor
        self._reservations: Counter[str] = Counter()
        self._remover = Remover(data, plan.user, self._report, self._leftovers())
        self._came_back = 0

    def run(self) -> EraseStats:
        started = time.monotonic()
        storage, keys = self._repository.storage, self._repository.keys
        self._report_failures(self._plan.failures)
        self._remover.remove()
        now_ms = time.time_ns() // 1_000_000
        destroyed = destroy_keys(storage, keys, self._plan.pseudonym, now_ms)
        self._report_failures(destroyed.failures)
        quiet = self._wait_until_quiet()
        swept = sweep_dead_keys(storage, keys)
        self._remover.report_links()
        for journal in self._journals:
            journal.forget(self._plan.user)
        forgotten = self._forget()
        if (tagged := tags_naming(self._repository, self._plan.user)) is not None:
            self._report(tagged)
        complete = quiet and self._remover.complete and forgotten and not destroyed.failures
        return EraseStats(
            complete=complete,
            receipt=self._issue(destroyed) if complete else None,
            live=self._live(),
            came_back=self._came_back,
            keys=len(destroyed.tombstone.keys),
            destroyed_objects=[*destroyed.objects, *swept],
            elapsed_s=time.monotonic() - started,
        )

    def _forget(self) -> bool:
        """Take the user out of all that is remembered beside the live data; return whether that was
        done. Where it cannot be, the rest is done all the same.
        """
        from shenyu_data.operations.catalog import forget_user  # late: SQLite takes 10 ms

        state, user, holds = self._options.state, self._plan.user, self._options.hold_files
        storage, keys = self._repository.storage, self._repository.keys
        return all(
            [
                self._done(code="kept-not-forgotten", work=lambda: Quarantine(state).forget(user)),
                self._done(
                    code="reports-not-forgotten", work=lambda: forget_in_reports(state, user)
                ),
                self._done(
                    code="catalog-not-forgotten", work=lambda: forget_user(self._data, state, user)
                ),
                self._done(
                    code="acknowledgements-not-forgotten",
                    work=lambda: forget_acknowledgements(state, user),
                ),
                self._done(
                    code="reasons-not-forgotten",
                    work=lambda: (
                        forget_in_reasons(storage, keys, printable(user)),
                        forget_in_acceptances(storage, keys, printable(user)),
                    ),
                ),
                self._done(
                    code="holds-not-forgotten",
                    work=lambda: holds is not None and forget_holds(holds, user),
                ),
            ]
        )

    def _done(self, *, code: str, work: Callable[[], object]) -> bool:
        """Do something; return whether it was done, and report if not."""
        try:
            work()
        except ShenyuDataError as error:
            self._report(
                Finding(
                    code=code, severity="error", path="", message=error.message, hint=error.hint
                )
            )
            return False
        return True

    def _leftovers(self) -> list[bytes]:
        """Return the names that replacements of the user's file may have left in ``users/``."""
        found: list[bytes] = []
        for journal in self._journals:
            for line in journal.read():
                if isinstance(line, Swap) and is_path_of(self._plan.user, line.path):
                    folder, _, name = line.path.rpartition(b"/")
                    found += replacement_names(line.token, name) if folder == USERS else []
        return found

    def _wait_until_quiet(self) -> bool:
        """Remove what the application writes back until it no longer does; return whether it
        stopped.
        """
        look_s = LONG_LOOK_S if time.time() - self._plan.last_written_s < _ACTIVE_S else LOOK_S
        started = quiet_since = time.monotonic()
        while (now := time.monotonic()) - quiet_since < look_s:
            if now - started > LONGEST_LOOK_S:
                self._report(_keeps_coming_back())
                return False
            if back := self._remover.remove():
                self._came_back += back
                quiet_since, look_s = time.monotonic(), LONG_LOOK_S
            time.sleep(_PAUSE_S)
        return True

    def _issue(self, destroyed: DestroyedKeys) -> Receipt:
        keys = self._repository.keys
        storage, good_ms = self._storage(now_ms := time.time_ns() // 1_000_000)
        receipt = Receipt(
            format=RECEIPT_FORMAT,
            version=RECEIPT_VERSION,
            user=printable(self._plan.user),
            user_bytes_hex=self._plan.user.hex(),
            repository=keys.repository_id.hex(),
            pseudonym=self._plan.pseudonym.hex(),
            erased_at=iso(destroyed.tombstone.time_ms),
            completed_at=iso(now_ms),
            erased_for_good_at=iso(good_ms) if good_ms is not None else None,
            live=self._live(),
            backups=BackupsErased(
                snapshots=self._plan.snapshots,
                keys=[item.hex() for item in destroyed.tombstone.keys],
            ),
            storage=storage,
            reservations=[
                Reservation(code=code, count=count)
                for code, count in sorted(self._reservations.items())
            ],
            reason=self._options.reason,
            program=f"shenyu-data {__version__}",
            public_key=public_key_pem(keys),
        )
        write_receipt(self._options.receipt, sign_receipt(keys, receipt))
        return receipt

    def _storage(self, now_ms: int) -> tuple[StorageTold, int | None]:
        """Return what is known of the storage, and when it will have dropped what was destroyed."""
        kept_s = self._options.versions_kept_s
        storage = self._repository.storage
        keeps = storage.keeps_versions()
        old = storage.old_versions(KEYRINGS) if keeps is not False else OldVersions(0)
        locked_ms = None if old is None or old.locked_s is None else int(1000 * old.locked_s)
        told = StorageTold(
            keeps_versions=keeps,
            versions_kept_s=kept_s,
            old_versions=None if old is None else old.left,
            locked_until=iso(locked_ms) if locked_ms is not None else None,
        )
        good_ms = good_ms_of(now_ms, kept_s, keeps, old)
        if good_ms is None:
            self._report(versions_unknown(keeps, old))
        return told, good_ms

    def _live(self) -> LiveErased:
        remover = self._remover
        return LiveErased(
            documents=remover.documents,
            document_bytes=remover.document_bytes,
            overwritten=remover.overwritten,
            links=remover.links,
        )

    def _report(self, finding: Finding) -> None:
        self._reservations[finding.code] += 1
        self._monitor.report(finding)

    def _report_failures(self, errors: list[RepositoryError]) -> None:
        for error in errors:
            self._report(
                Finding(
                    code=error.code,
                    severity="error",
                    path="",
                    message=error.message,
                    hint="If it holds keys, they may still be in it: run "
                    "`shenyu-data verify` to see what is damaged.",
                )
            )


def _keeps_coming_back() -> Finding:
    return Finding(
        code="keeps-coming-back",
        severity="error",
        path="",
        message=f"the application went on writing documents of the user for {LONGEST_LOOK_S:.0f} s",
        hint="Sign the user out, or stop the application, then run it again.",
    )
