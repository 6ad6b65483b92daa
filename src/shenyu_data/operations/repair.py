"""``repair``: makes documents whole again that do not parse, and brings back chats that vanished
from others, beside the running application.

First a plan of every such document; then a safety snapshot of the users concerned, or without a
repository a copy of each document; then the changes, journaled.
"""

from __future__ import annotations

import os
import time
from collections import Counter

from shenyu_data.datadir.folder import open_root
from shenyu_data.datadir.replace import Live
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.monitor import Monitor, SilentMonitor
from shenyu_data.operations.backup import BackupOptions, backup
from shenyu_data.operations.erased import check_tombstones
from shenyu_data.operations.interrupted import finish_interrupted
from shenyu_data.operations.journal import (
    Began,
    Digests,
    Ended,
    Journal,
    Journals,
    Step,
    open_journals,
)
from shenyu_data.operations.journal import (
    Saved as SavedIn,
)
from shenyu_data.operations.live_document import Change, Edit, Refused, kept_attributes
from shenyu_data.operations.live_writer import LiveWriter
from shenyu_data.operations.looked import Looked
from shenyu_data.operations.named_users import check_folders, check_users
from shenyu_data.operations.quarantine import Quarantine
from shenyu_data.operations.repair_document import Target
from shenyu_data.operations.repair_edits import Decision, decide
from shenyu_data.operations.repair_gone import GoneSeen, attributes_of
from shenyu_data.operations.repair_past import LastGoods
from shenyu_data.operations.repair_targets import find_targets
from shenyu_data.operations.repair_values import MOST_ITEMS as MOST_ITEMS
from shenyu_data.operations.repair_values import RepairItem as RepairItem
from shenyu_data.operations.repair_values import RepairOptions as RepairOptions
from shenyu_data.operations.repair_values import RepairPlan as RepairPlan
from shenyu_data.operations.repair_values import RepairStats as RepairStats
from shenyu_data.operations.restore_wanted import Saved
from shenyu_data.operations.shrunken import SHRUNKEN, read_target
from shenyu_data.repository.repository import Repository

_SAVE_ROUNDS = 3
_TAG = "before-repair"


def plan_repair(
    repository: Repository | None,
    data: str,
    options: RepairOptions,
    monitor: Monitor,
    *,
    looked: Looked | None = None,
) -> RepairPlan:
    """Say what :func:`repair` would do now. Writes nothing. ``looked`` is what somebody saw who
    looked at all of the directory just now.

    Raise UsageError if the path is not there, OwnerNotFound if neither the directory nor the
    repository knows the user, DataDirectoryError if users or histories cannot be listed,
    RepositoryError if it cannot be told who was erased.
    """
    _check(repository, data, options)
    items = []
    with open_root(data) as root:
        goods = LastGoods(
            repository, root, Journals(options.state), monitor, every=options.every_chat
        )
        gone = GoneSeen(options, goods)
        for target in _targets(repository, data, options, gone, monitor, looked):
            live = read_target(root, target)
            wanted, normalising = target in gone.wanted, options.normalise
            decision = decide(target, live, goods, normalising=normalising, gone=wanted)
            if decision.code:
                items.append(_item(target, live, decision))
    actions = Counter(item.action for item in items)
    return RepairPlan(
        items=items[:MOST_ITEMS],
        actions=dict(sorted(actions.items())),
        changes=len(items) - actions["none"],
        left=actions["none"],
        damaged=goods.damaged,
        gone=gone.count,
        gone_documents=gone.first,
    )


def _check(repository: Repository | None, data: str, options: RepairOptions) -> None:
    """See that what there is to be looked at can be seen: who finds nothing, says all is well."""
    if repository is not None:
        check_tombstones(repository)
    if options.path is None:
        check_folders(data)
    if options.user is not None:
        check_users(data, [options.user], repository)


def _targets(
    repository: Repository | None,
    data: str,
    options: RepairOptions,
    gone: GoneSeen,
    monitor: Monitor,
    looked: Looked | None,
) -> list[Target]:
    found = find_targets(
        repository,
        data,
        monitor,
        path=options.path,
        user=options.user,
        every=options.every_chat,
        jobs=options.jobs,
        tell_gone=gone,
        looked=looked,
    )
    if looked is not None:
        gone.count = looked.gone
    return sorted({*found, *gone.wanted})


def _item(target: Target, live: Live | None, decision: Decision) -> RepairItem:
    return RepairItem(
        path=printable(target.path),
        code=decision.code,
        action=decision.action,
        snapshot=decision.good.snapshot.hex() if decision.good is not None else None,
        size_bytes=live.stat.st_size if live is not None else 0,
        salvaged=decision.salvaged,
        partial=decision.partial,
        restored=decision.restored,
    )


def repair(
    repository: Repository | None,
    data: str,
    options: RepairOptions,
    monitor: Monitor,
    *,
    looked: Looked | None = None,
) -> RepairStats:
    """Mend what can be mended in ``data`` and take away what cannot; a document that became whole
    meanwhile is left alone. ``looked`` is as for :func:`plan_repair`.

    Raises as :func:`plan_repair` does, UsageError if another operation is changing the directory,
    and what a backup raises: then nothing was changed.
    """
    started = time.monotonic()
    _check(repository, data, options)
    with open_journals(options.state) as journals, open_root(data) as root:
        finish_interrupted(repository or journals.key(), root, journals, options.quiet_s, monitor)
        run = _Repair(repository, data, options, journals, root, monitor)
        run.run(looked)
        writer = run.writer
        return RepairStats(
            safety=run.safety,
            items=list(run.items.values()),
            changed=writer.changed if writer else 0,
            removed=writer.removed if writer else 0,
            unchanged=writer.unchanged if writer else 0,
            left=run.left,
            refused=writer.refused if writer else 0,
            busy=writer.busy if writer else 0,
            failed=writer.failed if writer else 0,
            damaged=run.goods.damaged,
            elapsed_s=time.monotonic() - started,
            gone=run.gone.count,
            gone_documents=run.gone.first,
        )


class _Repair:
    """One repair under way."""

    def __init__(
        self,
        repository: Repository | None,
        data: str,
        options: RepairOptions,
        journals: Journals,
        root: int,
        monitor: Monitor,
    ) -> None:
        self._repository = repository
        self._data = data
        self._options = options
        self._journals = journals
        self._root = root
        self._monitor = monitor
        self._quarantine = Quarantine(options.state)
        self.goods = LastGoods(repository, root, journals, monitor, every=options.every_chat)
        self._since = LastGoods(
            repository, root, journals, SilentMonitor(), every=options.every_chat
        )
        self.gone = GoneSeen(options, self.goods)
        self.items: dict[Target, RepairItem] = {}
        self.safety: bytes | None = None
        self.left = 0
        self.writer: LiveWriter | None = None

    def run(self, looked: Looked | None) -> None:
        """Mend every document that can be mended now."""
        found = _targets(
            self._repository, self._data, self._options, self.gone, self._monitor, looked
        )
        targets = [target for target in found if self._is(target)]
        if not targets:
            return
        repository = self._repository
        digests = Digests(self._journals.key() if repository is None else repository)
        journal = self._journals.begin(
            Began(
                operation="repair",
                time_ms=time.time_ns() // 1_000_000,
                repository=b"" if repository is None else repository.keys.repository_id,
                data=printable(os.path.abspath(self._data)),
                snapshot=None,
            )
        )
        self.writer = LiveWriter(
            self._root, journal, digests, self._options.quiet_s, self._monitor.report
        )
        with self.writer as writer:
            for number in range(_SAVE_ROUNDS):
                last = number + 1 == _SAVE_ROUNDS
                saved = self._save(journal, targets)
                unsaved: set[bytes] = set()
                for target in targets:
                    edit = self._edit(target, digests, saved)
                    done = writer.changed + writer.removed
                    writer.apply(
                        target.path,
                        target.kind,
                        edit,
                        make=target in self.gone.wanted,
                        later=None if last else unsaved,
                    )
                    if writer.changed + writer.removed == done:
                        self.items.pop(target, None)
                writer.drain()
                targets = [target for target in targets if target.path in unsaved]
                if not targets:
                    break
        journal.write(Ended())
        for item in self.items.values():
            self._tell(item)

    def _tell(self, item: RepairItem) -> None:
        """Report what of a document could not be had back."""
        if item.action == "quarantine":
            finding = Finding(
                code="quarantined",
                severity="warning",
                path=item.path,
                message=f"nothing could be had from it ({item.code}), and no snapshot holds a good "
                "version: it was taken away",
                hint="It is kept: `shenyu-data repair --kept` lists it, --put-back puts it back.",
            )
            self._monitor.report(finding)
        if item.partial:
            finding = Finding(
                code="partial-chat",
                severity="warning",
                path=item.path,
                message=f"{item.partial} of its chats were cut off; they hold the messages that "
                "were whole",
                hint="What was there before is in the safety snapshot or among the documents kept.",
            )
            self._monitor.report(finding)

    def _is(self, target: Target) -> bool:
        """Whether something is to be done about a document; if nothing can be, say so."""
        live = read_target(self._root, target)
        decision = self._decide(target, live)
        if decision.code and decision.action == "none":
            self.left += 1
            self._monitor.report(_left(target, decision))
        return decision.action != "none"

    def _decide(self, target: Target, live: Live | None) -> Decision:
        normalising, gone = self._options.normalise, target in self.gone.wanted
        decision = decide(target, live, self.goods, normalising=normalising, gone=gone)
        if self.safety is not None and decision.code in ("", SHRUNKEN):
            # It was torn a moment ago, maybe, and the safety snapshot has what it was.
            return decide(target, live, self._since, normalising=normalising)
        return decision

    def _save(self, journal: Journal, targets: list[Target]) -> Saved | None:
        if self._repository is None:
            return None
        users = frozenset(target.user for target in targets)
        # What is about to be repaired needs no alarm.
        options = BackupOptions(
            only_users=users, safety=True, tag=_TAG, jobs=self._options.jobs, watch=None
        )
        stats = backup(self._data, self._repository, options, SilentMonitor())
        self.safety = stats.snapshot
        journal.write(SavedIn(stats.snapshot))
        self._since.look_again()  # it may hold the only fragment that is left by now
        return Saved(self._repository, stats.snapshot)

    def _edit(self, target: Target, digests: Digests, saved: Saved | None) -> Edit:
        def edit(live: Live | None) -> Change | None:
            decision = self._decide(target, live)
            if decision.action == "none":
                return None
            step = _step(target, live, decision, digests, saved)
            if live is None:
                self.items[target] = _item(target, live, decision)
                attributes = attributes_of(decision.good)
                return Change(decision.data, attributes, fill=decision.fill, step=step)
            if saved is not None and not _is_saved(saved, target, live):
                raise Refused(
                    code="not-saved", message="the safety snapshot does not hold what is there now"
                )
            if live.data is not None and (saved is None or decision.removes):
                self._quarantine.add(
                    target.path,
                    target.user,
                    live.data,
                    live.stat,
                    code=decision.code,
                    action=decision.action,
                    wrote=decision.data,
                )
            self.items[target] = _item(target, live, decision)
            if decision.removes:
                return Change(None, None, step=step)
            attributes = kept_attributes(live)
            if decision.action == "restore" and decision.good is not None:
                attributes = attributes._replace(mtime_ns=decision.good.mtime_ns)
            return Change(decision.data, attributes, fill=decision.fill, step=step, in_use=True)

        return edit


def _is_saved(saved: Saved, target: Target, live: Live) -> bool:
    if live.data is None:
        return saved.has_same_stat(target.user, target.path, live.stat)
    return saved.holds(target.user, target.path, live.data)


def _step(
    target: Target, live: Live | None, decision: Decision, digests: Digests, saved: Saved | None
) -> Step | None:
    if saved is None:
        return None
    restored = decision.action == "restore" and decision.good is not None
    return Step(
        path=target.path,
        user=target.user,
        chat=None,
        snapshot=decision.good.snapshot if restored and decision.good is not None else None,
        before=saved.snapshot if live is not None else None,
        wrote=digests.of(decision.data) if decision.data is not None else None,
    )


def _left(target: Target, decision: Decision) -> Finding:
    return Finding(
        code="not-mended",
        severity="error",
        path=printable(target.path),
        message=f"no good version of it is known, and it is left as it is: {decision.code}",
        hint="Mend it by hand; `shenyu-data validate` says what is wrong with it.",
    )
