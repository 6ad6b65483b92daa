"""What of the configuration would fail later, when nobody looks: files of secrets, programs, where
metrics go, jobs that cannot run. For ``config check``. Nothing is sent or changed.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from shenyu_data.health.metrics_out import check_textfile
from shenyu_data.health.notify_errors import NotSent
from shenyu_data.health.notify_http import check_url
from shenyu_data.health.schedule import open_schedule
from shenyu_data.model.config_notifications import NotificationsTable
from shenyu_data.model.errors import ConfigError, ShenyuDataError, UsageError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.schedule import Job
from shenyu_data.operations.configuration import Settings, read_private_lines

ParseWords = Callable[[tuple[str, ...]], Mapping[str, Any]]
"""Returns the values of the flags of a verb's words. Raises UsageError if they are wrong."""

_RULES = (
    *("older_than", "keep_newest", "max_size", "max_total_size", "idle_users"),
    *("empty", "orphans"),
)


def later_failures(
    settings: Settings,
    state: str,
    environment: Mapping[str, str],
    parse: ParseWords,
) -> Iterator[Finding]:
    """Yield what would fail. ``state`` is the data directory's state folder. Raise ConfigError if
    the schedule's time zone is not known here.
    """
    schedule = open_schedule(settings.schedule, state, environment)
    yield from _passphrase(settings, environment)
    yield from _state(state)
    if settings.notifications is not None:
        yield from _notifications(settings.notifications)
    for name, path in settings.pings.items():
        yield from _secret(path, f"the file of the URL of the job {name}", url=True)
    if settings.metrics_textfile is not None:
        try:
            check_textfile(settings.metrics_textfile, settings.data)
        except ShenyuDataError as error:
            yield _finding(code="metrics-unusable", error=error)
    for job in schedule.jobs:
        yield from _words(job, settings, parse)


def _passphrase(settings: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    named = settings.passphrase_file or settings.passphrase_command
    if settings.passphrase_file is not None:
        yield from _secret(settings.passphrase_file, "the passphrase file")
    if settings.passphrase_command:
        yield from _program(settings.passphrase_command, "passphrase_command")
    if not named and not environment.get("SHENYU_DATA_PASSPHRASE"):
        wrong = ConfigError(
            "jobs have nobody to ask for the passphrase",
            hint="Set passphrase_file or passphrase_command in the configuration.",
        )
        yield _finding(code="secret-unusable", error=wrong)


def _state(state: str) -> Iterator[Finding]:
    path = state
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    if not (os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)):
        wrong = ConfigError(
            f"the state folder {state} cannot be written",
            hint="See who may write there; XDG_STATE_HOME names another place.",
        )
        yield _finding(code="state-unusable", error=wrong)


def _notifications(table: NotificationsTable) -> Iterator[Finding]:
    if table.urls_file is not None:
        yield from _secret(table.urls_file, "the file of URLs")
    if table.urls_command is not None:
        yield from _program(table.urls_command, "urls_command")
    if (table.urls_file or table.urls_command) and find_spec("apprise") is None:
        wrong = ConfigError(
            "the package apprise is not installed, and nothing reaches its URLs",
            hint="Install shenyu-data[notify].",
        )
        yield _finding(code="program-missing", error=wrong)
    for name, webhook in table.webhooks.items():
        yield from _secret(webhook.url_file, f"the file of the URL of the webhook {name}", url=True)
        if webhook.secret_file is not None:
            yield from _secret(webhook.secret_file, f"the file of the secret of the webhook {name}")
    for name, mail in table.mail.items():
        if mail.password_file is not None:
            yield from _secret(mail.password_file, f"the file of the password of the mail {name}")


def _secret(path: str, what: str, *, url: bool = False) -> Iterator[Finding]:
    try:
        if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
            return  # a pipe gives what it holds once
        line = read_private_lines(path, what)[0]
        if url:
            check_url(line)
    except NotSent as error:
        reason = ConfigError(f"{what} {path}: {error}", hint="Its first line is the URL.")
        yield _finding(code="secret-unusable", error=reason)
    except ConfigError as error:
        yield _finding(code="secret-unusable", error=error)


def _program(command: list[str], key: str) -> Iterator[Finding]:
    if shutil.which(command[0]) is None:
        wrong = ConfigError(
            f"there is no program {printable(command[0])}, which `{key}` names",
            hint="Mend it in the configuration, best with the program's whole path.",
        )
        yield _finding(code="program-missing", error=wrong)


def _words(job: Job, settings: Settings, parse: ParseWords) -> Iterator[Finding]:
    try:
        values = parse(job.words)
    except UsageError as error:
        wrong = ConfigError(f"the job {job.name} cannot run: {error.message}", hint=error.hint)
        yield _finding(code="job-wrong", error=wrong)
        return
    if job.verb == "cleanup" and not (
        settings.cleanup.expires or any(values.get(name) for name in _RULES)
    ):
        wrong = ConfigError(
            f"the job {job.name} cannot run: no rule says what expires",
            hint="Give its `run` a rule such as --older-than 90d, or set [cleanup].",
        )
        yield _finding(code="job-wrong", error=wrong)


def _finding(*, code: str, error: ShenyuDataError) -> Finding:
    return Finding(code=code, severity="error", path="", message=error.message, hint=error.hint)
