"""``shenyu-data serve``."""

from __future__ import annotations

import os
import time

import click
import msgspec

from shenyu_data.cli.common import Call, common
from shenyu_data.cli.log_lines import json_log, log_event, log_format_option, logs_json
from shenyu_data.cli.own_program import own_program
from shenyu_data.cli.render import number
from shenyu_data.cli.schedule import asked_repository
from shenyu_data.cli.terminal import mention
from shenyu_data.health.metrics_out import metrics_page
from shenyu_data.health.schedule import open_schedule
from shenyu_data.health.scheduler import Scheduler, Work
from shenyu_data.health.serve import ServeOptions, only_one, serve
from shenyu_data.health.systemd import Manager
from shenyu_data.health.wakeups import Wakeups
from shenyu_data.health.watch_keeper import WatchKeeper
from shenyu_data.model.errors import ConfigError
from shenyu_data.operations.places import state_folder, state_of

_DEFAULTS = ServeOptions()

MOST_FINDINGS = 1000
"""So many findings of years are kept for ``--json``."""


@click.command("serve")
@click.option(
    "--host",
    metavar="HOST",
    default=_DEFAULTS.host,
    show_default=True,
    help="The address to listen at.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    metavar="PORT",
    default=_DEFAULTS.port,
    show_default=True,
    help="The port; 0 for any that is free.",
)
@click.option("--once", is_flag=True, help="Run what is due, one after another, and end.")
@log_format_option
@common
def serve_command(call: Call, host: str, port: int, once: bool, log_format: str) -> None:
    """Run the jobs of the data directory, in the foreground, until it is told to stop.

    SIGTERM and SIGINT stop it; a job that runs is interrupted, and run again at the next start.
    SIGHUP has it read the configuration again. Exits with 1 if a run failed, with 3 if another
    serve is at work.
    """
    data = call.data
    state = state_of(state_folder(os.environ), data)
    options = ServeOptions(host=host, port=port, once=once)

    def work() -> Work:
        call.forget_settings()
        if call.data != data:
            raise ConfigError(
                f"`data` has changed, and this serve goes on with {data}",
                hint="To watch another data directory, stop serve and start it again.",
            )
        schedule = open_schedule(call.settings.schedule, state, os.environ)
        if once:  # whoever calls it says that now is the time
            schedule = msgspec.structs.replace(schedule, jitter_ms=0)
        return Work(settings=call.settings, schedule=schedule, program=own_program(call))

    def tell(line: str, event: str, /, **fields: str | int | float | None) -> None:
        if logs_json():
            log_event("info", event, line, **fields)
        elif not call.quiet and not call.as_json:
            mention(line)

    started_ms = _now_ms()
    first = work()
    call.monitor.keep_at_most(MOST_FINDINGS)
    with (
        json_log(log_format == "json"),
        only_one(state, call.monitor),
        Wakeups(reloads_on_hangup=True) as wakeups,
    ):
        scheduler = Scheduler(
            state,
            first,
            call.monitor,
            asked_repository(call),
            tell,
            started_ms=started_ms,
            once=once,
        )
        manager = Manager(os.environ)
        stats = serve(
            *(scheduler, options, wakeups, manager, call.monitor, work, tell, _now_ms),
            pages={"/metrics": lambda: metrics_page(state, scheduler.work, _now_ms())},
            keeper=None if once else WatchKeeper(call.monitor, tell),
        )
        text = f"stopped after {number(stats.runs, 'run')}, {stats.failed} of them failed"
        tell(text, "serve-ends", runs=stats.runs, failed_runs=stats.failed)
    call.finish(
        {
            "runs": stats.runs,
            "failed_runs": stats.failed,
            "left_out_findings": call.monitor.left_out,
            "elapsed_s": round(stats.elapsed_s, 3),
        },
        "",
        findings=bool(stats.failed),
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
