"""``shenyu-data config check`` and ``shenyu-data config show``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import Any

import click

from shenyu_data.cli.common import Call, common
from shenyu_data.cli.open import open_for
from shenyu_data.cli.render import fields, table
from shenyu_data.health.config_check import later_failures
from shenyu_data.model.ages import format_age
from shenyu_data.model.amounts import counted
from shenyu_data.model.config import PermissionsTable, ServiceTable
from shenyu_data.model.config_alerts import AlertsTable, RuleTable
from shenyu_data.model.config_notifications import NotificationsTable
from shenyu_data.model.config_schedule import ScheduleTable
from shenyu_data.model.config_watch import WatchTable
from shenyu_data.model.errors import DataDirectoryError, RepositoryError, UsageError
from shenyu_data.model.expiry import describe
from shenyu_data.model.findings import Finding
from shenyu_data.model.retention import Retention
from shenyu_data.model.schedule import verb_of
from shenyu_data.model.tripwires import Limits
from shenyu_data.operations.configuration import Settings
from shenyu_data.operations.places import state_folder, state_of
from shenyu_data.operations.service import Service
from shenyu_data.storage.open import usual_cache


@click.group("config", context_settings={"help_option_names": ["-h", "--help"]})
def config_command() -> None:
    """Check or show the configuration."""


@config_command.command("show")
@common
def show(call: Call) -> None:
    """Show what is in force and where it comes from. Secrets are not shown."""
    document = _effective(call)
    rows = [(key, _as_text(item["value"]), item["source"]) for key, item in document.items()]
    call.finish({"settings": document}, table(("key", "value", "from"), rows))


@config_command.command("check")
@common
def check(call: Call) -> None:
    """Check the configuration: the data directory and programs are there, the repository opens, and
    what jobs, notifications and metrics need later is as it must be.
    """
    data = call.data
    if not os.path.isdir(data):
        raise DataDirectoryError(
            f"there is no data directory {data}", hint="Mend --data or `data` in the configuration."
        )
    repository = open_for(call)
    failures: list[RepositoryError] = []
    snapshots = len(repository.snapshots(failures))
    for error in failures:
        call.monitor.report(
            Finding(
                code=error.code, severity="error", path="", message=error.message, hint=error.hint
            )
        )
    state = state_of(state_folder(os.environ), data)
    later = [*later_failures(call.settings, state, os.environ, _parsed)]
    for finding in later:
        call.monitor.report(finding)
    if call.settings.service is not None:
        Service(call.settings.service, "").check()
    down = _service_down(data)
    if down is not None:
        call.monitor.report(down)
    verdict = "Not all of it will work" if later else "The configuration is right"
    call.finish(
        {"settings": _effective(call), "snapshots_count": snapshots},
        f"{verdict}: {data} is there, and {repository.storage.location} opens "
        f"and holds {counted(snapshots, 'snapshot')} that can be read.",
        findings=bool(failures or later) or down is not None,
    )


def _parsed(words: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the values of the flags of a verb's words. Raise UsageError if they are wrong."""
    from shenyu_data.cli.main import shenyu_data  # late: that imports what it calls

    if not {"--help", "-h"}.isdisjoint(words):
        raise UsageError("it would only print its help")
    context = click.Context(shenyu_data, **shenyu_data.context_settings)
    command: click.Command | None = shenyu_data
    names = verb_of(words).split()
    for name in names:
        command = command.get_command(context, name) if isinstance(command, click.Group) else None
    if command is None:
        raise UsageError(f"there is no verb {verb_of(words)}")
    try:
        # With its parent: a command remembers the names of its help flag from the first call.
        return command.make_context(names[-1], list(words[len(names) :]), parent=context).params
    except click.ClickException as error:
        raise UsageError(error.format_message()) from None


def _service_down(data: str) -> Finding | None:
    """Return what to tell of a service that a recovery stopped, and none is known to have started.

    It must not be forgotten; so the one who asks whether all is well is told.
    """
    from shenyu_data.operations.recover_record import (  # late: `show` needs none of it
        Records,
        left_down,
    )

    records = Records(state_of(state_folder(os.environ), data))
    return left_down(records.load(), under_way=records.is_under_way)


def _effective(call: Call) -> dict[str, Any]:
    settings = call.settings
    if os.environ.get("SHENYU_DATA_PASSPHRASE"):
        passphrase, source = "(set)", "environment"
    elif settings.passphrase_file or settings.passphrase_command:
        words = settings.passphrase_command or []
        passphrase, source = settings.passphrase_file or " ".join(words[:1]), "file"
    else:
        passphrase, source = "(not set)", "default"
    sources = settings.sources
    values = {
        "config_file": (settings.config_file, sources["config_file"]),
        "data": (settings.data, sources.get("data", "default")),
        "repository": (settings.repository, sources.get("repository", "default")),
        "jobs": (call.jobs, sources["jobs"]),
        **_storage(settings),
        "versions_kept": (_age(settings.versions_kept_s), sources["versions_kept"]),
        "retention": (_rules(settings.retention), sources["retention"]),
        "grace": (format_age(settings.grace_s), sources["grace"]),
        "permissions": (_said(settings.permissions), sources["permissions"]),
        "cleanup": (dict(describe(settings.cleanup)), sources["cleanup"]),
        "service": (_service(settings.service), sources["service"]),
        "schedule": (_schedule(settings.schedule), sources["schedule"]),
        "tripwires": (_changed(settings.tripwires), sources["tripwires"]),
        "metrics": (_metrics(settings.metrics_textfile), sources["metrics"]),
        "notifications": (_notifications(settings.notifications), sources["notifications"]),
        "alerts": (_alerts(settings.alerts), sources["alerts"]),
        "watch": (_watch(settings.watch), sources["watch"]),
        "passphrase": (passphrase, source),
    }
    return {key: {"value": value, "source": source} for key, (value, source) in values.items()}


def _storage(settings: Settings) -> dict[str, tuple[Any, str]]:
    """Return what is set about remote storages; the default of the cache is where it would be."""
    options = settings.storage
    values = {
        "cache": (options.cache, usual_cache(os.environ)),
        "upload_limit": (options.upload_limit, None),
        "download_limit": (options.download_limit, None),
    }
    return {
        key: (value, "file") if value is not None else (usual, "default")
        for key, (value, usual) in values.items()
    }


def _age(seconds: int | None) -> str | None:
    return format_age(seconds) if seconds is not None else None


def _rules(retention: Retention) -> dict[str, Any]:
    """Return the rules that are set, as the configuration file has them."""
    values = {name: value for name, value in fields(retention).items() if value}
    if retention.keep_within:
        values["keep_within"] = format_age(retention.keep_within)
    return values


def _changed(limits: Limits) -> dict[str, Any] | None:
    """Return the limits that are not those by default; None if all are."""
    usual = fields(Limits())
    changed = {name: value for name, value in fields(limits).items() if value != usual[name]}
    return changed or None


def _alerts(table: AlertsTable | None) -> dict[str, Any] | None:
    """Return what differs from the usual, by the codes of the rules."""
    usual = fields(AlertsTable())
    found: dict[str, Any] = {}
    for name, value in fields(table or AlertsTable()).items():
        if isinstance(value, RuleTable):
            common = fields(usual[name])
            said = {key: one for key, one in fields(value).items() if one != common[key]}
            if said:
                found[name.replace("_", "-")] = said
        elif value != usual[name]:
            found[name] = value
    return found or None


def _watch(table: WatchTable) -> dict[str, Any] | None:
    """Return what differs from the usual."""
    usual = fields(WatchTable())
    changed = {name: value for name, value in fields(table).items() if value != usual[name]}
    return changed or None


def _said(table: PermissionsTable) -> dict[str, Any]:
    return {name: value for name, value in fields(table).items() if value is not None}


def _schedule(table: ScheduleTable | None) -> dict[str, Any]:
    """Return the zone, if one is set, and what runs when."""
    table = table if table is not None else ScheduleTable()
    values = {"timezone": table.timezone, "jitter": table.jitter}
    shown = {name: value for name, value in values.items() if value is not None}
    return shown | {"jobs": [f"{job.name}: {job.cron.text}" for job in table.all_jobs()]}


def _notifications(table: NotificationsTable | None) -> dict[str, Any] | None:
    """Return which ways there are: files, whose secrets stay in them, and no more."""
    if table is None:
        return None
    command = table.urls_command
    values = {
        "urls_file": table.urls_file,
        "urls_command": command[0] if command else None,
        "give_up": table.give_up,
        "webhooks": sorted(table.webhooks) or None,
        "mail": sorted(table.mail) or None,
    }
    return {name: value for name, value in values.items() if value is not None}


def _metrics(textfile: str | None) -> dict[str, str] | None:
    return {"textfile": textfile} if textfile is not None else None


def _service(table: ServiceTable | None) -> dict[str, Any] | None:
    """Return the commands as a person would type them."""
    if table is None:
        return None
    return {
        name: shlex.join(value) if isinstance(value, list) else value
        for name, value in fields(table).items()
        if value is not None
    }


def _as_text(value: Any) -> str:
    if value is None:
        return "(not set)"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_as_text(one)}" for name, one in value.items()) or "(no rule)"
    if isinstance(value, list):
        return "; ".join(map(str, value)) or "(none)"
    return str(value)
