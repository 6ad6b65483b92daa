"""The six steps of one recovery, each written down before and after it. Called by ``recover``.

That the service was stopped is durable before it is. Whatever step fails, the service is started
again: what a repair left half done is whole documents, old or new, and no worse than before.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from shenyu_data.model.errors import EXIT_FAILED, EXIT_INTERRUPTED, ServiceError, ShenyuDataError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.monitor import Monitor, Task
from shenyu_data.operations.backup import BackupOptions, backup
from shenyu_data.operations.looked import Looked
from shenyu_data.operations.recover_record import (
    STEPS,
    Failure,
    Found,
    Mended,
    Outcome,
    Records,
    Recovery,
    StepName,
    StepTaken,
    boot_id,
    now,
)
from shenyu_data.operations.recover_report import write_report
from shenyu_data.operations.recover_seen import MOST_DOCUMENTS, Seeing, documents_cut_off, look
from shenyu_data.operations.repair import RepairOptions, repair
from shenyu_data.operations.service import Service
from shenyu_data.operations.tripwires import Watch
from shenyu_data.repository.repository import Repository
from shenyu_data.repository.snapshots import snapshot_ids

if TYPE_CHECKING:
    from shenyu_data.operations.recover import RecoverOptions

_TAG = "before-recover"


def repair_options(options: RecoverOptions) -> RepairOptions:
    """Return what the step ``repair`` is called with."""
    return RepairOptions(state=options.state, quiet_s=options.quiet_s, jobs=options.jobs)


class _Over(Exception):
    """A step failed, and no other is to be taken but the last."""


class Run:
    """One run of a recovery."""

    def __init__(
        self,
        repository: Repository,
        data: str,
        options: RecoverOptions,
        records: Records,
        recovery: Recovery,
        service: Service | None,
        monitor: Monitor,
    ) -> None:
        self.recovery = recovery
        self.report: str | None = None
        self._repository = repository
        self._data = data
        self._options = options
        self._records = records
        self._service = service
        self._monitor = monitor
        self._output = ""
        self._looked: Looked | None = None  # what the step before the repair saw

    def prepare(self) -> None:
        """See that all can be written down. Raise ShenyuDataError if not, before anything is done;
        unless the service is down: then it is started whatever else fails.
        """
        try:
            if self._service is not None:
                self._service.reserve()
            self._records.store(self.recovery)
        except ShenyuDataError:
            if not self.recovery.is_down:
                raise

    def run(self) -> None:
        """Take the steps, start the service, write the report."""
        try:
            if not self._only_start_is_left():
                self._take("stop", self._stop)
                self._take("snapshot", self._snapshot)
                self._take("validate", self._validate)
                self._take("repair", self._mend)
                self._take("validate-again", self._validate_again)
        except _Over:
            pass
        except KeyboardInterrupt as error:  # between two steps
            taken = self.recovery.steps
            failure = _failure(taken[-1].name if taken else "stop", error, "interrupted")
            self._set(failure=failure, durable=False)
        with suppress(_Over):
            self._take("start", self._start)
        self._finish()

    def _only_start_is_left(self) -> bool:
        """Whether a run was killed while it started the service, with all else done."""
        done = set(STEPS[:-1]) <= set(self.recovery.done)
        return done and self.recovery.service_state == "starting" and self._service is not None

    def _take(self, name: StepName, work: Callable[[], str]) -> None:
        """Take a step and write down how it went. Raise _Over if it failed, or that did."""
        began, clock = now(), time.monotonic()
        self._output = ""

        def steps(outcome: Outcome, message: str) -> list[StepTaken]:
            taken = StepTaken(
                name=name,
                began=began,
                elapsed_s=round(time.monotonic() - clock, 3),
                outcome=outcome,
                message=printable(message),
                output=self._output,
            )
            return [*self.recovery.steps, taken]

        try:
            message = work()
            taken = steps("skipped" if isinstance(message, _Skipped) else "done", str(message))
            if name == "start":
                self._keep(steps=taken)
            else:
                self._set(steps=taken, done=[*self.recovery.done, name])
            return
        except KeyboardInterrupt as interrupt:
            failure = _failure(name, interrupt, "interrupted")
            taken = steps("interrupted", "interrupted")
        except Exception as raised:
            if isinstance(raised, ServiceError):
                self._output = raised.output
            elif not isinstance(raised, ShenyuDataError | OSError):
                self._output = traceback.format_exc(limit=-8)  # nobody foresaw it
            message = raised.message if isinstance(raised, ShenyuDataError) else repr(raised)
            failure = _failure(name, raised, message)
            taken = steps("failed", message)
        self._set(steps=taken, failure=self.recovery.failure or failure, durable=False)
        raise _Over

    def _set(self, *, durable: bool = True, **values: Any) -> None:
        """Change the record. Raise ShenyuDataError if it cannot be written."""
        self.recovery = msgspec.structs.replace(self.recovery, **values)
        if durable:
            self._records.store(self.recovery)

    def _stop(self) -> str:
        service, state = self._service, self.recovery.service_state
        if service is None:
            self._set(done=[])  # who knows what happened since
            return _Skipped("the service is not stopped, as told")
        running = service.running()
        killed = self.recovery.runs > 1
        if killed and state != "untouched":
            same = state == "stopped" and self.recovery.boot == boot_id()
            if running is False or (running is None and same):
                return _Skipped("it is stopped since before the last run was cut off")
        if running is False:
            self._set(service_state="down", done=[])
            return _Skipped("it did not run")
        # Durable before the command: whoever comes after a kill must know who stopped it. If that
        # fails, nothing is stopped, and nothing to be started.
        stopping = msgspec.structs.replace(
            self.recovery, service_state="stopping", ours=True, boot=boot_id(), done=[]
        )
        self._records.store(stopping)
        self.recovery = stopping
        try:
            with self._telling("Stopping the service"):
                self._output = service.stop()
            message = "stopped"
        except ServiceError as error:
            if service.has_status or state == "untouched":
                raise
            # Stopped by a run before this one, perhaps; repairs need not be told.
            self._output = error.output
            message = f"{error.message}; a run before this one may have stopped it already"
        self._set(service_state="stopped")
        return message

    def _snapshot(self) -> str:
        if self._holds("snapshot") and self.recovery.safety_snapshots:
            last = self.recovery.safety_snapshots[-1]
            if bytes.fromhex(last) in set(snapshot_ids(self._repository.storage)):
                return _Skipped(f"snapshot {last[:8]} holds what is there since it was stopped")
        # What is torn is told by the next step.
        seen = Seeing(self._monitor, telling=False, wrong=set())
        watch = Watch(state=self._options.state)
        options = BackupOptions(safety=True, tag=_TAG, jobs=self._options.jobs, watch=watch)
        stats = backup(self._data, self._repository, options, seen)
        taken = stats.snapshot.hex()
        self._set(safety_snapshots=[*self.recovery.safety_snapshots, taken])
        torn = " (torn documents are in it as they are)" if stats.degraded else ""
        return f"saved in snapshot {taken[:8]}{torn}"

    def _validate(self) -> str:
        if self._holds("validate") and self.recovery.before is not None:
            return _Skipped("done before the run was cut off")
        found, self._looked = self._look(telling=False)
        self._set(before=found)
        return _counted(found)

    def _mend(self) -> str:
        if self._holds("repair") and self.recovery.repair is not None:
            return _Skipped("done before the run was cut off")
        if self.recovery.runs > 1:
            self._set(cut_off=documents_cut_off(self._options.state, self.recovery))
        options = repair_options(self._options)
        stats = repair(self._repository, self._data, options, self._monitor, looked=self._looked)
        mended = Mended(
            safety_snapshot=stats.safety.hex() if stats.safety is not None else None,
            documents=stats.items[:MOST_DOCUMENTS],
            changed=stats.changed,
            removed=stats.removed,
            left=stats.left,
            refused=stats.refused,
            busy=stats.busy,
            failed=stats.failed,
            damaged=stats.damaged,
        )
        self._set(repair=mended)
        parts = [f"{stats.changed:,} mended", f"{stats.removed:,} taken away"]
        not_done = stats.left + stats.refused + stats.busy + stats.failed
        return ", ".join([*parts, f"{not_done:,} left as they are"])

    def _validate_again(self) -> str:
        found, _ = self._look(telling=True)
        self._set(after=found)
        return _counted(found)

    def _look(self, *, telling: bool) -> tuple[Found, Looked]:
        state, jobs = self._options.state, self._options.jobs
        return look(self._repository, self._data, state, jobs, self._monitor, telling=telling)

    def _holds(self, name: StepName) -> bool:
        """Whether a run before this one took a step, with the service stopped since."""
        return name in self.recovery.done

    def _start(self) -> str:
        service, recovery = self._service, self.recovery
        if service is None:
            if recovery.is_down and recovery.service is not None:
                if _runs(Service(recovery.service, self._records.folder)):
                    self._keep(service_state="running")
                    return _Skipped("it runs")
                self._keep(service_state="down")
                return _Skipped("a recovery before this one left it stopped")
            return _Skipped("the service is not started, as told")
        if recovery.service_state == "untouched":
            return _Skipped("it was not stopped")
        if recovery.failure is not None:
            if not recovery.ours:
                return _Skipped("it did not run before, and is left so")
            if self._options.leave_stopped:
                self._keep(service_state="down")
                return _Skipped("left stopped, as told")
        if _runs(service):
            self._keep(service_state="running")
            return _Skipped("it runs")
        self._keep(service_state="starting")
        try:
            with self._telling("Starting the service"):
                self._output = service.start()
        except BaseException:
            self._keep(service_state="down", ours=True)
            raise
        self._keep(service_state="running")
        return "started"

    def _keep(self, **values: Any) -> None:
        """Change the record; what it was to be written down for happens even if it cannot be."""
        with suppress(Exception):
            self._set(**values)

    def _finish(self) -> None:
        recovery = msgspec.structs.replace(self.recovery, ended=now())
        self.recovery = recovery
        places = [self._options.report, None] if self._options.report is not None else [None]
        for place in places:
            try:
                self.report = write_report(recovery, self._options.state, place)
                break
            except ShenyuDataError as error:
                self._monitor.report(
                    Finding(
                        code="report-not-written",
                        severity="error",
                        path="",
                        message=f"the report of the recovery: {error.message}",
                        hint=error.hint,
                    )
                )
        try:
            if recovery.is_down:
                self._records.store(recovery)
            else:
                self._records.remove()
        except ShenyuDataError:
            # Left as it was written last, under way: the next recovery begins with what it says.
            return

    @contextmanager
    def _telling(self, title: str) -> Iterator[None]:
        """Show what goes on; that nobody is left to see it must not keep the service down."""
        task: Task | None = None
        with suppress(OSError):
            task = self._monitor.task(title, None, "steps")
            task.__enter__()
        try:
            yield
        finally:
            if task is not None:
                with suppress(OSError):
                    task.__exit__(None, None, None)


class _Skipped(str):
    """Why a step did nothing."""


def _failure(name: StepName, error: BaseException, message: str) -> Failure:
    if isinstance(error, KeyboardInterrupt):
        return Failure(
            step=name,
            error="interrupted",
            message="interrupted",
            hint="Nothing is lost. Run `shenyu-data recover` again.",
            exit_status=EXIT_INTERRUPTED,
        )
    if not isinstance(error, ShenyuDataError):
        return Failure(
            step=name,
            error="failed",
            message=printable(message),
            hint="Nothing is lost. Run it again with --verbose, and report it.",
            exit_status=EXIT_FAILED,
        )
    return Failure(
        step=name,
        error=error.code,
        message=printable(message),
        hint=printable(error.hint),
        # Something was done, if only a stop: never the status of a wrong call.
        exit_status=max(error.exit_status, EXIT_FAILED),
    )


def _counted(found: Found) -> str:
    if not found.errors and not found.warnings:
        return "nothing is wrong"
    return found.text


def _runs(service: Service) -> bool:
    """Whether the service is known to run; if that cannot be told, it is to be started."""
    try:
        return service.running() is True
    except ServiceError:
        return False
