"""``shenyu-data schedule install`` and ``schedule remove``."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, TypeVar

import click

from shenyu_data.cli.audited import audited
from shenyu_data.cli.common import Call, common
from shenyu_data.cli.confirm import confirm, yes_option
from shenyu_data.cli.own_program import lasting_flags
from shenyu_data.health.crontab import lines_for
from shenyu_data.health.install import (
    CronPlan,
    Scope,
    UnitPlan,
    apply_crontab,
    apply_units,
    plan_crontab,
    plan_units,
    read_crontab,
    unit_folder,
)
from shenyu_data.health.schedule import Schedule, leapt_over, moment, open_schedule
from shenyu_data.health.units import UnitOptions, units
from shenyu_data.model.errors import ConfigError, UsageError
from shenyu_data.model.findings import Finding
from shenyu_data.operations.places import state_folder, state_of
from shenyu_data.storage.atomic import make_private
from shenyu_data.storage.open import is_remote, usual_cache

F = TypeVar("F", bound=Callable[..., Any])

Method = Literal["systemd", "cron"]

_SYSTEMD_RUNS = "/run/systemd/system"
_KEPT_VARIABLES = ("XDG_STATE_HOME", "XDG_CACHE_HOME", "TZ")


def _place_options(verb: F) -> F:
    """Give a verb the flags that say where; it receives ``method``, None if nobody said."""

    @click.option("--systemd", is_flag=True, help="Timers of systemd.")
    @click.option("--cron", is_flag=True, help="Lines of this user's crontab.")
    @click.option(
        "--scope",
        type=click.Choice(["system", "user"]),
        metavar="WHOSE",
        help="Whose timers: system or user. Default: the system's for root, else the user's.",
    )
    @click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")
    @wraps(verb)
    def with_place(
        call: Call, *, systemd: bool, cron: bool, scope: Scope | None, **rest: Any
    ) -> Any:
        if systemd and cron:
            raise UsageError("--systemd and --cron are two ways", hint="Give one of them.")
        method = "systemd" if systemd else "cron" if cron else None
        chosen = scope or ("system" if os.geteuid() == 0 else "user")
        return verb(call, method=method, scope=chosen, **rest)

    return with_place  # type: ignore[return-value]


@click.command("install")
@click.option(
    "--prefix",
    default="shenyu-data",
    show_default=True,
    metavar="NAME",
    help="What the names of the timers begin with.",
)
@common
@yes_option
@_place_options
@audited
def install_command(
    call: Call, method: Method | None, scope: Scope, prefix: str, dry_run: bool
) -> None:
    """Have the system run the jobs, by systemd timers or a crontab: without a daemon of ours.

    What was installed before is brought up to date, and jobs that are no more are removed. Nothing
    that is not ours is touched. Exits with 1 if something about the jobs is to be known.
    """
    if not prefix.replace("-", "").isalnum() or not prefix.isascii() or len(prefix) > 64:
        raise UsageError("--prefix takes letters, digits and dashes", hint="Such as shenyu-data.")
    state = state_folder(os.environ)
    schedule = open_schedule(call.settings.schedule, state_of(state, call.data), os.environ)
    method = method or _usual_method()
    plan = _plan(call, schedule, method, scope, prefix)
    _report_doubts(call, schedule, method)
    if not dry_run:
        if not plan.empty:
            _ask(call, plan, f"Install {len(schedule.jobs)} jobs?")
        make_private(state)  # what shuts units out of the rest cannot make it
        _apply(plan)
    done = "Installed" if not dry_run else "Would install"
    text = _describe(plan) + (
        f"{done} {len(schedule.jobs)} jobs." if not plan.empty else "All jobs are installed."
    )
    if scope == "user" and method == "systemd":
        text += "\nThey run while you are logged in; `loginctl enable-linger` has them run always."
    call.finish(
        {"method": method, "dry_run": dry_run, **_document(plan)},
        text,
        findings=bool(call.monitor.count("warning")),
    )


@click.command("remove")
@common
@yes_option
@_place_options
@audited
def remove_command(call: Call, method: Method | None, scope: Scope, dry_run: bool) -> None:
    """Take away what ``schedule install`` made for this data directory, and nothing else.

    Without --systemd and --cron, both.
    """
    plans: list[UnitPlan | CronPlan] = []
    if method != "cron":
        plans.append(plan_units({}, unit_folder(scope, os.environ), scope, call.data))
    if method == "cron" or (method is None and shutil.which("crontab") is not None):
        plans.append(plan_crontab(read_crontab(), [], call.data))
    changes = [plan for plan in plans if not plan.empty]
    for plan in changes if not dry_run else []:
        _ask(call, plan, "Remove them?")
        _apply(plan)
    documents = [_document(plan) for plan in plans]
    document = {
        "files": [item for one in documents for item in one["files"]],
        "lines": [item for one in documents for item in one["lines"]],
        "changed": bool(changes),
    }
    done = "Would be removed." if dry_run else "Removed."
    text = "".join(map(_describe, changes)) + (done if changes else "Nothing is installed.")
    call.finish({"method": method, "dry_run": dry_run, **document}, text)


def _plan(
    call: Call, schedule: Schedule, method: Method, scope: Scope, prefix: str
) -> UnitPlan | CronPlan:
    script = os.path.abspath(sys.argv[0])
    words = [sys.executable, "-P", "-m", "shenyu_data.cli.main"]
    if os.path.basename(script) == "shenyu-data" and os.access(script, os.X_OK):
        words = [script]
    command = [*words, "schedule", "run", *lasting_flags(call), "--quiet"]
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if os.environ.get(name)}
    own_zone = call.settings.schedule.timezone if call.settings.schedule is not None else None
    if method == "cron":
        if own_zone is not None and own_zone != open_schedule(None, "", os.environ).zone_name:
            raise ConfigError(
                f"cron knows only the system's time zone, and the jobs have {own_zone}",
                hint="Use --systemd or `shenyu-data serve`, or leave `schedule.timezone` out.",
            )
        wanted = lines_for(schedule.jobs, command, environment, call.data)
        return plan_crontab(read_crontab(), wanted, call.data)
    if scope == "system" and os.environ.get("HOME"):
        environment["HOME"] = os.environ["HOME"]  # systemd sets none, and the state may lie there
    options = UnitOptions(
        prefix=prefix,
        data=call.data,
        command=command,
        environment=environment,
        writable=_writable(call, schedule),
        zone=own_zone or "",
        jitter_s=schedule.jitter_ms // 1000,
        system=scope == "system",
    )
    return plan_units(
        units(schedule.jobs, options), unit_folder(scope, os.environ), scope, call.data
    )


def _writable(call: Call, schedule: Schedule) -> list[str]:
    """Return the folders that jobs write to."""
    places = [call.data, state_folder(os.environ)]
    if call.settings.metrics_textfile is not None:
        places.append(os.path.dirname(os.path.abspath(call.settings.metrics_textfile)))
    # What a job's flags name, such as a sandbox.
    values = (word.rpartition("=")[2] for job in schedule.jobs for word in job.words)
    places += [value for value in values if os.path.isabs(value)]
    repository = call.settings.repository
    if repository is not None and is_remote(repository):
        places.append(call.settings.storage.cache or usual_cache(os.environ))
    elif repository is not None:
        places.append(repository)
    return list(dict.fromkeys(os.path.abspath(place) for place in places))


def _usual_method() -> Method:
    if os.path.isdir(_SYSTEMD_RUNS):
        return "systemd"
    if shutil.which("crontab") is not None:
        return "cron"
    raise ConfigError(
        "neither systemd nor cron runs here",
        hint="`shenyu-data serve` runs the jobs without them; --systemd makes the timers anyway.",
    )


def _report_doubts(call: Call, schedule: Schedule, method: Method) -> None:
    settings = call.settings
    if settings.passphrase_file is None and not settings.passphrase_command:
        _warn(
            call,
            code="no-passphrase",
            message="jobs that the system starts will find no passphrase",
            hint="Set passphrase_file or passphrase_command in the configuration.",
        )
    if method != "systemd":
        return
    for job in schedule.jobs:
        leap_ms = leapt_over(job, schedule, time.time_ns() // 1_000_000)
        if leap_ms is not None:
            _warn(
                call,
                code="time-leapt-over",
                message=f"systemd makes no run of the job {job.name} when the clock leaps over its "
                f"time, next on {moment(leap_ms, schedule.zone)[:10]}",
                hint="Choose a later hour; cron and `shenyu-data serve` make it right after.",
            )


def _warn(call: Call, *, code: str, message: str, hint: str) -> None:
    call.monitor.report(Finding(code=code, severity="warning", path="", message=message, hint=hint))


def _ask(call: Call, plan: UnitPlan | CronPlan, question: str) -> None:
    if not call.yes and not call.as_json and not call.quiet:
        click.echo(_describe(plan), err=True)
    confirm(call, question)


def _apply(plan: UnitPlan | CronPlan) -> None:
    if isinstance(plan, UnitPlan):
        if not plan.empty or plan.timers:
            apply_units(plan)
    elif not plan.empty:
        apply_crontab(plan)


def _describe(plan: UnitPlan | CronPlan) -> str:
    if isinstance(plan, CronPlan):
        gone = [line for line in plan.takes if line not in plan.adds]
        lines = [*(f"- {line}" for line in gone), *(f"+ {line}" for line in plan.adds)]
    else:
        lines = [f"- {os.path.join(plan.folder, name)}" for name in plan.removes]
        for name, text in plan.writes.items():
            lines += [f"+ {os.path.join(plan.folder, name)}"]
            lines += [f"    {line}".rstrip() for line in text.splitlines()]
    return "\n".join([*lines, ""]) if lines else ""


def _document(plan: UnitPlan | CronPlan) -> dict[str, Any]:
    if isinstance(plan, CronPlan):
        return {"files": [], "lines": plan.adds, "changed": not plan.empty}
    files = [
        {"path": os.path.join(plan.folder, name), "action": "write", "text": text}
        for name, text in plan.writes.items()
    ] + [
        {"path": os.path.join(plan.folder, name), "action": "remove", "text": None}
        for name in plan.removes
    ]
    return {"files": files, "lines": [], "changed": not plan.empty}
