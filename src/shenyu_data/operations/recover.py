"""``recover``: the six steps of the guide as one: stop the service, save, validate, repair from the
last good versions, validate again, start the service. Killed anywhere, the next run goes on.
"""

from __future__ import annotations

import os
import time

import msgspec

from shenyu_data import __version__
from shenyu_data.datadir.folder import open_root
from shenyu_data.model.config import ServiceTable
from shenyu_data.model.findings import printable
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.erased import check_tombstones
from shenyu_data.operations.journal import open_journals
from shenyu_data.operations.live_document import QUIET_S
from shenyu_data.operations.recover_record import (
    STEPS,
    Found,
    Records,
    Recovery,
    StepName,
    now,
)
from shenyu_data.operations.recover_report import check_report
from shenyu_data.operations.recover_seen import look
from shenyu_data.operations.recover_steps import Run, repair_options
from shenyu_data.operations.repair import RepairPlan, plan_repair
from shenyu_data.operations.service import Service, shown
from shenyu_data.repository.repository import Repository


class RecoverOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``service``: how to stop and start the application; None: it is neither stopped nor started.

    ``report``: where the report goes, None: into ``state``, the folder of journals.
    ``leave_stopped``: if a step fails, the service is not started again.
    """

    service: ServiceTable | None
    state: str
    report: str | None = None
    leave_stopped: bool = False
    quiet_s: float = QUIET_S
    jobs: int = 1


class StepPlanned(msgspec.Struct, frozen=True, kw_only=True):
    """A step, and the command it runs, if it does."""

    name: StepName
    command: str | None


class RecoverPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a recovery would do now. ``resumes`` is when the one began that it would go on with;
    ``down``: a recovery stopped the service and did not start it.
    """

    steps: list[StepPlanned]
    resumes: str | None
    down: bool
    before: Found
    repair: RepairPlan

    @property
    def needed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.repair.changes) or self.resumes is not None or self.down


class RecoverStats(msgspec.Struct, frozen=True, kw_only=True):
    """How a recovery went, and where its report is; None: it could not be written."""

    recovery: Recovery
    report: str | None
    elapsed_s: float


def plan_recover(
    repository: Repository, data: str, options: RecoverOptions, monitor: Monitor
) -> RecoverPlan:
    """Say what :func:`recover` would do now. Stops nothing and writes nothing.

    Raise UsageError if another recovery is under way, ConfigError if a command of the service is
    not there, and as ``plan_repair`` does.
    """
    records = Records(options.state)
    records.check_alone()
    before = records.load()
    if options.service is not None:
        Service(options.service, options.state).check()
    commands: dict[StepName, str] = {}
    if (table := options.service) is not None:
        commands = {"stop": shown(table.stop), "start": shown(table.start)}
    found, looked = look(repository, data, options.state, options.jobs, monitor, telling=False)
    return RecoverPlan(
        steps=[StepPlanned(name=name, command=commands.get(name)) for name in STEPS],
        resumes=before.began if before is not None and before.is_cut_off else None,
        down=before is not None and before.is_down,
        before=found,
        repair=plan_repair(repository, data, repair_options(options), monitor, looked=looked),
    )


def recover(
    repository: Repository, data: str, options: RecoverOptions, monitor: Monitor
) -> RecoverStats:
    """Take the six steps, or those that are left of a recovery that was killed.

    A step that fails is told in what is returned. Raise ShenyuDataError if nothing was begun:
    UsageError if another recovery or another change of the directory is under way, ConfigError if a
    command of the service is not there.
    """
    started = time.monotonic()
    records = Records(options.state)
    with records.alone():
        last = records.load()
        service = None
        if options.service is not None:
            service = Service(options.service, records.folder)
            service.check()
        if options.report is not None:
            check_report(options.report, data)
        check_tombstones(repository)
        with open_root(data), open_journals(options.state):
            pass  # nobody else is at work, and there is a directory to work on
        recovery = _begin(last, repository, data, options.service)
        run = Run(repository, data, options, records, recovery, service, monitor)
        try:
            run.prepare()
            run.run()
        finally:
            if service is not None:
                service.close()
        return RecoverStats(
            recovery=run.recovery, report=run.report, elapsed_s=time.monotonic() - started
        )


def _begin(
    last: Recovery | None, repository: Repository, data: str, table: ServiceTable | None
) -> Recovery:
    """Go on with the last recovery if it was killed; else begin one, which starts the service if
    the last one left it down.
    """
    if last is not None and last.is_cut_off:
        return msgspec.structs.replace(
            last, runs=last.runs + 1, service=table or last.service, failure=None
        )
    down = last is not None and last.is_down
    return Recovery(
        id=f"{now().replace('-', '').replace(':', '')}-{os.urandom(2).hex()}",
        began=now(),
        program=__version__,
        data=printable(os.path.abspath(data)),
        repository=printable(repository.storage.location),
        service=table or (last.service if last is not None and down else None),
        service_state="down" if down else "untouched",
        ours=down,
    )
