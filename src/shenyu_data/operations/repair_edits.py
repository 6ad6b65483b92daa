"""What a repair makes of one live document, from what is there and its last good version. Called by
the plan, to show it, and by the repair, at the moment of the exchange.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from shenyu_data.datadir.replace import Live
from shenyu_data.model.errors import OwnerErased, RepositoryError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import Kind, kind_of, path_of
from shenyu_data.model.mend import UNPARSABLE, Mended, mend_history, mend_user, normalise, trouble
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.past import PastOwner, files, list_moments, past_user
from shenyu_data.repository.format import FileEntry, FileState, LastGood, OwnerRecord
from shenyu_data.repository.repository import Repository

RepairAction = Literal["restore", "merge", "salvage", "normalise", "quarantine", "none"]


class Target(NamedTuple):
    """A document that is in trouble."""

    user: bytes
    place: int
    name: bytes

    @property
    def path(self) -> bytes:
        """Where it is in the data directory."""
        return path_of(self.user, self.place, self.name)

    @property
    def kind(self) -> Kind:
        """What it is."""
        return kind_of(self.place, self.name)

    @property
    def file_name(self) -> bytes:
        """Its own name, as the rules know it."""
        return self.path.rpartition(b"/")[2]

    def trouble(self, data: bytes) -> str | None:
        """Return the code of what is wrong with these bytes in its place, as far as repair is
        concerned.
        """
        return trouble(self.kind, self.user, self.file_name, data)


class Good(NamedTuple):
    """The last good version of a document, and a snapshot that holds it."""

    data: bytes
    snapshot: bytes
    mtime_ns: int


class Decision(NamedTuple):
    """What is done about a document, and what it becomes; None: it is taken away or left alone."""

    code: str
    action: RepairAction
    data: bytes | None
    good: Good | None
    salvaged: int = 0
    partial: int = 0
    restored: int = 0


def decide(target: Target, live: Live | None, goods: LastGoods, *, normalising: bool) -> Decision:
    """Say what is to be done about a document as it is now. ``none`` if it is whole, too large, or
    not there.
    """
    nothing = Decision("", "none", None, None)
    if live is None or live.data is None:
        return nothing
    code = target.trouble(live.data)
    if code is None:
        return nothing
    if normalising:
        data = normalise(live.data)
        if data is not None and target.trouble(data) is None:
            return Decision(code, "normalise", data, None)
    good = goods.find(target)
    decision = _decide(target, code, live.data, good)
    if decision.data is not None and target.trouble(decision.data) is not None:
        decision = Decision(code, "none", None, None)  # what came out is no better
    if decision.action == "none" and code in UNPARSABLE:
        return Decision(code, "quarantine", None, None)
    return decision


def _decide(target: Target, code: str, data: bytes, good: Good | None) -> Decision:
    if target.kind == "user":
        if (found := mend_user(target.user, target.file_name, data)) is not None:
            return Decision(code, "salvage", found, None)
        if good is not None:
            return Decision(code, "restore", good.data, good)
        return Decision(code, "none", None, None)
    mended = mend_history(target.file_name, data, good.data if good is not None else None)
    if mended is None:
        return Decision(code, "none", None, None)
    return Decision(code, _named(mended, good), mended.data, good, *mended[1:])


def _named(mended: Mended, good: Good | None) -> RepairAction:
    if good is None:
        return "salvage"
    return "restore" if mended.data == good.data else "merge"


class LastGoods:
    """Finds last good versions in a repository; without one there are none."""

    def __init__(self, repository: Repository | None, monitor: Monitor) -> None:
        self._repository = repository
        self._monitor = monitor
        self._user: bytes | None = None
        self._records: list[tuple[bytes, OwnerRecord]] = []
        self._past: PastOwner | None = None
        self._found: dict[Target, Good | None] = {}
        self.damaged = 0

    def find(self, target: Target) -> Good | None:
        """Return the newest version without trouble that any snapshot holds, pinned ones included.

        What the repository cannot give back is reported, and an older version is looked for.
        """
        if self._repository is None:
            return None
        if target.user != self._user:
            self._open(self._repository, target.user)
            self._found = {}
        if target not in self._found:
            self._found[target] = self._find(target)
        return self._found[target]

    def _open(self, repository: Repository, user: bytes) -> None:
        past = past_user(repository, user)
        failures: list[RepositoryError] = []
        self._records, self._past, self._user = [], past, user
        for moment in reversed(list_moments(repository, past.bucket, failures)):
            try:
                row = past.row(moment.layers)
                if row is not None:
                    self._records.append((moment.snapshot, past.record(row, moment.sequence)))
            except OwnerErased:
                break  # what was before is not to come back
            except RepositoryError as error:
                failures.append(error)
        for failure in failures:
            self._damage(user, failure)

    def _find(self, target: Target) -> Good | None:
        tried: set[bytes] = set()
        for snapshot, record in self._records:
            for entry in files(record):
                if (entry.place, entry.name) != (target.place, target.name):
                    continue
                for version in (entry, entry.good):
                    if version is None or version.digest in tried or _is_torn(version):
                        continue
                    tried.add(version.digest)
                    data = self._read(target, record, version)
                    if data is not None and target.trouble(data) is None:
                        held_by = version.snapshot if isinstance(version, LastGood) else snapshot
                        return Good(data, held_by, version.mtime_ns)
        return None

    def _read(
        self, target: Target, record: OwnerRecord, version: FileEntry | LastGood
    ) -> bytes | None:
        assert self._past is not None  # noqa: S101 - records come from there
        try:
            return self._past.read(record, version)
        except RepositoryError as error:
            self._damage(target.path, error)
            return None

    def _damage(self, what: bytes, error: RepositoryError) -> None:
        self.damaged += 1
        self._monitor.report(
            Finding(
                code=error.code,
                severity="error",
                path=printable(what),
                message=f"a version of it cannot be read: {error.message}",
                hint="An older version is looked for; `shenyu-data verify --read-data` names all "
                "that is affected.",
            )
        )


def _is_torn(version: FileEntry | LastGood) -> bool:
    return isinstance(version, FileEntry) and version.state >= FileState.TORN
