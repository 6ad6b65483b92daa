"""``shenyu-data recover``: shows the plan, asks, takes the six steps; says what is down."""

from __future__ import annotations

import os
from typing import Any

import click

from shenyu_data.cli.audited import audited
from shenyu_data.cli.common import Call, common
from shenyu_data.cli.confirm import confirm, yes_option
from shenyu_data.cli.offline import offline_option, quiet_s
from shenyu_data.cli.open import open_for
from shenyu_data.cli.render import fields, table
from shenyu_data.cli.repair import describe, describe_gone
from shenyu_data.cli.signals import signals_interrupt
from shenyu_data.cli.terminal import say, say_error
from shenyu_data.model.amounts import counted
from shenyu_data.model.config import ServiceTable
from shenyu_data.model.errors import (
    EXIT_DAMAGED,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    ConfigError,
    ShenyuDataError,
)
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import Monitor, Task
from shenyu_data.operations.places import state_folder, state_of
from shenyu_data.operations.recover import (
    RecoverOptions,
    RecoverPlan,
    RecoverStats,
    plan_recover,
    recover,
)
from shenyu_data.operations.recover_record import (
    Found,
    Mended,
    Records,
    StepTaken,
    down_line,
    left_down,
)
from shenyu_data.operations.recover_report import text_name, undo_lines

_TITLES = {
    "stop": "stop the service",
    "snapshot": "safety snapshot",
    "validate": "validate",
    "repair": "repair",
    "validate-again": "validate again",
    "start": "start the service",
}


@click.command("recover")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")
@click.option(
    "--no-service",
    is_flag=True,
    help="Neither stop nor start the application: it is stopped, or may go on running.",
)
@offline_option
@click.option(
    "--leave-stopped", is_flag=True, help="If a step fails, do not start the service again."
)
@click.option(
    "--report",
    metavar="FILE",
    help="Where the report goes, as JSON, with a .txt beside it. Default: the state folder.",
)
@common
@yes_option
@audited
def recover_command(
    call: Call,
    dry_run: bool,
    no_service: bool,
    offline: bool,
    leave_stopped: bool,
    report: str | None,
) -> None:
    """Recover the data directory: stop the service, save, validate, repair, validate, start it.

    How the service is stopped and started stands in the table [service] of the configuration. If a
    step fails, it is started again. A run that was killed is gone on with by the next one. Exits
    with 1 if an error remains, with 3 if a step failed or the service is down.
    """
    state = state_of(state_folder(os.environ), call.data)
    options = RecoverOptions(
        service=None if no_service else _service(call, state),
        state=state,
        report=report,
        leave_stopped=leave_stopped,
        quiet_s=quiet_s(offline),
        jobs=call.jobs,
    )
    try:
        with signals_interrupt():
            _recover(call, options, dry_run=dry_run)
    except click.exceptions.Exit:
        raise  # all is told
    except BaseException:
        _tell_if_down(state)
        raise


def _service(call: Call, state: str) -> ServiceTable:
    """Return how to stop and start the service. Raise ConfigError if nobody says."""
    if call.settings.service is not None:
        return call.settings.service
    last = Records(state).load()
    if last is not None and last.service is not None:
        return last.service  # the configuration may be another one now; that it is down remains
    raise ConfigError(
        "nothing says how to stop and start the service",
        hint="Set the commands `stop` and `start` in the table [service] of the configuration; or "
        "give --no-service if the application is stopped, or may go on running.",
    )


def _recover(call: Call, options: RecoverOptions, *, dry_run: bool) -> None:
    repository = open_for(call)
    held = _Holding(call.monitor)
    plan = plan_recover(repository, call.data, options, held)
    if dry_run or not plan.needed:
        for finding in held.findings:
            call.monitor.report(finding)
        call.finish(
            _plan_json(call.data, plan, dry_run=dry_run),
            _plan_text(call.data, plan),
            findings=_is_left(plan, dry_run=dry_run),
            damaged=bool(plan.repair.damaged),
        )
        return
    if not call.yes:
        if not call.as_json and not call.quiet:
            say(_plan_text(call.data, plan))
        confirm(call, "Go ahead?")
    stats = recover(repository, call.data, options, call.monitor)
    _finish(call, stats, untouched=options.service is None)


def _is_left(plan: RecoverPlan, *, dry_run: bool) -> bool:
    """Whether something is wrong that nothing would be done about."""
    return bool(plan.repair.left) or (not dry_run and not plan.before.is_mended)


def _finish(call: Call, stats: RecoverStats, *, untouched: bool) -> None:
    recovery = stats.recovery
    mended, failure = recovery.repair, recovery.failure
    found = left_down(recovery)
    if found is not None and call.as_json:  # else it is the last line, see below
        call.monitor.report(found)
    text = _text(stats, detailed=call.verbose)
    after, wrong = recovery.after, call.monitor.count("error", "warning") > 0
    left = after is None or not after.is_mended
    not_written = mended is not None and bool(mended.failed or mended.busy)
    damaged = (mended is not None and bool(mended.damaged)) or (
        failure is not None and failure.exit_status == EXIT_DAMAGED
    )
    down = recovery.is_down and not untouched
    status = EXIT_FAILED if failure is not None or not_written or down else 0
    if failure is not None and failure.exit_status == EXIT_INTERRUPTED and not down:
        status = EXIT_INTERRUPTED
    try:
        call.finish(
            _json(stats),
            text,
            findings=left or wrong or recovery.is_down or failure is not None,
            failed=status == EXIT_FAILED,
            damaged=damaged,
        )
    except click.exceptions.Exit:
        if failure is not None:
            say_error(f"{_TITLES[failure.step]}: {failure.message}", failure.hint)
        if found is not None:
            say_error(found.message if untouched else down_line(recovery))
        if status == EXIT_INTERRUPTED and not damaged:
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
        raise


def _tell_if_down(state: str) -> None:
    """Say that the service is down, if a recovery left it so, beside the error that is told."""
    records = Records(state)
    try:
        last = records.load()
    except ShenyuDataError:
        return  # which is the error, then
    if (found := left_down(last, under_way=records.is_under_way)) is not None:
        say_error(found.message)


class _Holding:
    """A Monitor that shows progress, and keeps findings until it is known whether they are told."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self.findings: list[Finding] = []

    def task(self, title: str, total: int | None, unit: str) -> Task:
        """As the monitor behind it."""
        return self._monitor.task(title, total, unit)

    def report(self, finding: Finding) -> None:
        """Keep a finding."""
        self.findings.append(finding)


def _plan_json(data: str, plan: RecoverPlan, *, dry_run: bool) -> dict[str, Any]:
    return {
        "data": data,
        "dry_run": dry_run,
        "resumes": plan.resumes,
        "down": plan.down,
        "steps": [fields(step) for step in plan.steps],
        "before": _found_json(plan.before),
        "documents": [fields(item) for item in plan.repair.items],
        "changes": plan.repair.changes,
        "left": plan.repair.left,
        "damaged": plan.repair.damaged,
    }


def _json(stats: RecoverStats) -> dict[str, Any]:
    recovery = stats.recovery
    return {
        "data": recovery.data,
        "dry_run": False,
        "id": recovery.id,
        "began": recovery.began,
        "ended": recovery.ended,
        "runs": recovery.runs,
        "steps": [_step_json(step) for step in recovery.steps],
        "service": recovery.service_state,
        "safety_snapshots": recovery.safety_snapshots,
        "before": _found_json(recovery.before),
        "repair": _mended_json(recovery.repair),
        "cut_off": recovery.cut_off,
        "after": _found_json(recovery.after),
        "failure": fields(recovery.failure) if recovery.failure is not None else None,
        "report": stats.report,
        "elapsed_s": round(stats.elapsed_s, 3),
    }


def _step_json(step: StepTaken) -> dict[str, Any]:
    return fields(step)


def _found_json(found: Found | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "errors": found.errors,
        "warnings": found.warnings,
        "codes": [fields(one) for one in found.codes],
        "first": [fields(one) for one in found.first],
    }


def _mended_json(mended: Mended | None) -> dict[str, Any] | None:
    if mended is None:
        return None
    return {**fields(mended), "documents": [fields(item) for item in mended.documents]}


def _plan_text(data: str, plan: RecoverPlan) -> str:
    repair = plan.repair
    wrong = plan.before.text
    gone = describe_gone(repair.gone, repair.gone_documents)
    if not plan.needed:
        return f"Nothing to recover in {data}: {wrong}, and nothing that can be mended{gone}"
    lines = [f"Would recover {data}:"]
    if plan.resumes is not None:
        lines.append(f"  goes on with the recovery that began {plan.resumes} and was cut off")
    if plan.down:
        lines.append("  the service is down: a recovery stopped it")
    today = {"validate": wrong, "repair": counted(repair.changes, "document")}
    rows = [
        (str(number), _TITLES[step.name], step.command or today.get(step.name, ""))
        for number, step in enumerate(plan.steps, 1)
    ]
    lines += [f"  {line}" for line in table(("", "step", ""), rows).split("\n")[1:]]
    return "\n".join([*lines, describe(repair.items, "What repair does:", repair.left)]) + gone


def _text(stats: RecoverStats, *, detailed: bool) -> str:
    recovery = stats.recovery
    after = recovery.after
    verdict = "Recovered {}" if recovery.failure is None else "DID NOT RECOVER {}"
    if recovery.failure is None and after is not None and not after.is_mended:
        verdict = "Recovered {} as far as it can be"
    lines = [f"{verdict.format(recovery.data)}, in {stats.elapsed_s:.1f} s:"]
    rows = [
        (str(number), _TITLES[step.name], step.outcome, step.message)
        for number, step in enumerate(recovery.steps, 1)
    ]
    shown = table(("", "", "", ""), rows).split("\n")[1:]
    for line, step in zip(shown, recovery.steps, strict=True):
        lines.append(f"  {line}")
        if detailed:
            lines += [f"       | {one}" for one in step.output.splitlines()]
    lines += [f"  {line}" for line in undo_lines(recovery)]
    if stats.report is not None:
        lines.append(f"  report: {text_name(stats.report)}, and as .json beside it")
    return "\n".join(lines)
