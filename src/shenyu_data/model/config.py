"""The configuration: what the TOML file may say, what each key means, and where values come from.
Pure.

The one source for validation, for the sample that ``init`` writes, and for the documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shenyu_data.model.ages import parse_age
from shenyu_data.model.config_alerts import ALERTS_DESCRIPTIONS, AlertsTable
from shenyu_data.model.config_metrics import METRICS_DESCRIPTIONS, MetricsTable
from shenyu_data.model.config_notifications import (
    NOTIFICATIONS_DESCRIPTIONS,
    NotificationsTable,
)
from shenyu_data.model.config_schedule import SCHEDULE_DESCRIPTIONS, ScheduleTable
from shenyu_data.model.config_tripwires import TRIPWIRES_DESCRIPTIONS, TripwiresTable
from shenyu_data.model.config_watch import WATCH_DESCRIPTIONS, WatchTable
from shenyu_data.model.errors import ConfigError, UsageError
from shenyu_data.model.expiry import Count as Chats
from shenyu_data.model.expiry import Policy, Rule
from shenyu_data.model.permissions import parse_mode
from shenyu_data.model.rates import parse_rate
from shenyu_data.model.retention import Count, Retention
from shenyu_data.model.sizes import parse_size

CONFIG_NAME = "shenyu-data.toml"

ENVIRONMENT = {
    "SHENYU_DATA_CONFIG": "the configuration file",
    "SHENYU_DATA_DIR": "the data directory; beats `data`",
    "SHENYU_DATA_REPO": "the repository; beats `repository`",
    "SHENYU_DATA_PASSPHRASE": "the passphrase or recovery key; beats the keys that name one",
    "SHENYU_DATA_NEW_PASSPHRASE": "the passphrase that `key add` adds, or `key rotate` changes to",
    "SHENYU_DATA_TO_PASSPHRASE": "the passphrase or recovery key of what `copy` copies to",
    "SHENYU_DATA_LOG_FORMAT": "set by `serve --log-format json` for its jobs",
    "SHENYU_DATA_RUN": "set by a job for the verb it runs: which run in the log it is",
}
"""Every environment variable the program reads, and what it means."""


Name = Annotated[str, Meta(min_length=1)]


def _check_age(age: str | None) -> None:
    try:
        parse_age(age) if age is not None else None
    except UsageError as error:
        raise ValueError(f"{error.message}. {error.hint}") from None


class RetentionTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[retention]``: what ``prune`` keeps. Ages are texts such as ``30d``."""

    keep_last: Count | None = None
    keep_hourly: Count | None = None
    keep_daily: Count | None = None
    keep_weekly: Count | None = None
    keep_monthly: Count | None = None
    keep_yearly: Count | None = None
    keep_within: Name | None = None
    keep_tagged: list[Name] | None = None
    keep_verified: Count | None = None
    grace: Name | None = None

    def __post_init__(self) -> None:
        for age in (self.keep_within, self.grace):
            _check_age(age)

    def policy(self) -> Retention | None:
        """Return the policy it describes, or None if it has no ``keep_`` key."""
        values = {
            name: value
            for name, value in msgspec.structs.asdict(self).items()
            if name != "grace" and value is not None
        }
        if self.keep_within is not None:
            values["keep_within"] = parse_age(self.keep_within)
        return Retention(**values) if values else None

    def grace_s(self) -> int | None:
        """Return the grace in seconds, or None if it is not said."""
        return parse_age(self.grace) if self.grace is not None else None


class PermissionsTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[permissions]``: what ``permissions`` wants. Modes are octal digits as text."""

    file_mode: Name | None = None
    folder_mode: Name | None = None
    owner: Name | None = None
    group: Name | None = None

    def __post_init__(self) -> None:
        for mode, folder in ((self.file_mode, False), (self.folder_mode, True)):
            try:
                parse_mode(mode, folder=folder) if mode is not None else None
            except UsageError as error:
                raise ValueError(f"{error.message}. {error.hint}") from None


class ExpiryTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[cleanup.histories.KEY]``: what expires of the histories of one storage key."""

    older_than: Name | None = None
    keep_newest: Chats | None = None
    max_size: Name | None = None

    def __post_init__(self) -> None:
        _check_age(self.older_than)
        try:
            self.rule()
        except UsageError as error:
            raise ValueError(f"{error.message}. {error.hint}") from None

    def rule(self) -> Rule:
        """Return the rule it describes."""
        return Rule(
            older_than_s=parse_age(self.older_than) if self.older_than is not None else None,
            keep_newest=self.keep_newest,
            max_bytes=parse_size(self.max_size) if self.max_size is not None else None,
        )


class CleanupTable(ExpiryTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[cleanup]``: what ``cleanup`` removes from the live data."""

    max_total_size: Name | None = None
    idle_users: Name | None = None
    empty: bool = False
    orphans: bool = False
    histories: dict[str, ExpiryTable] = {}

    def __post_init__(self) -> None:
        ExpiryTable.__post_init__(self)
        _check_age(self.idle_users)
        try:
            self.policy()
        except UsageError as error:
            raise ValueError(f"{error.message}. {error.hint}") from None

    def policy(self) -> Policy:
        """Return the policy it describes."""
        total = self.max_total_size
        return Policy(
            max_total_bytes=parse_size(total) if total is not None else None,
            rule=self.rule(),
            histories={key: table.rule() for key, table in self.histories.items()},
            idle_users_s=parse_age(self.idle_users) if self.idle_users is not None else None,
            empty=self.empty,
            orphans=self.orphans,
        )


Seconds = Annotated[int, Meta(ge=1, le=86_400)]


class ServiceTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[service]``: how ``recover`` stops and starts the application. Commands are lists
    of words, run without a shell.
    """

    stop: list[str]
    start: list[str]
    status: list[str] | None = None
    stop_timeout_s: Seconds = 120
    start_timeout_s: Seconds = 120

    def __post_init__(self) -> None:
        for name in ("stop", "start", "status"):
            words = getattr(self, name)
            if words is not None and (not words or not words[0] or "\0" in "".join(words)):
                raise ValueError(f"`{name}` is not a command: a list of words, a program first")


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the configuration file says; every key may be left out."""

    data: Name | None = None
    repository: Name | None = None
    passphrase_file: Name | None = None
    passphrase_command: list[str] | None = None
    jobs: Annotated[int, Meta(ge=1, le=64)] | None = None
    cache: Name | None = None
    upload_limit: Name | None = None
    download_limit: Name | None = None
    versions_kept: Name | None = None
    retention: RetentionTable | None = None
    permissions: PermissionsTable | None = None
    cleanup: CleanupTable | None = None
    service: ServiceTable | None = None
    schedule: ScheduleTable | None = None
    tripwires: TripwiresTable | None = None
    metrics: MetricsTable | None = None
    notifications: NotificationsTable | None = None
    alerts: AlertsTable | None = None
    watch: WatchTable | None = None

    def __post_init__(self) -> None:
        for rate in (self.upload_limit, self.download_limit):
            try:
                parse_rate(rate) if rate is not None else None
            except UsageError as error:
                raise ValueError(f"{error.message}. {error.hint}") from None
        _check_age(self.versions_kept)

    def versions_kept_s(self) -> int | None:
        """Return ``versions_kept`` in seconds, or None if it is not said."""
        return parse_age(self.versions_kept) if self.versions_kept is not None else None


DESCRIPTIONS = {
    "data": "The data directory: the folder that holds users/ and histories/.",
    "repository": "Where backups live: a local folder, or s3://, gs://, az:// with a bucket.",
    "passphrase_file": "A file whose first line is the passphrase or the recovery key.",
    "passphrase_command": "A command, as a list of words, that prints the passphrase; no shell.",
    "jobs": "How many processes work at once. Default: one for each core, at most 8.",
    "cache": "A folder for what is kept of a remote repository. Default: ~/.cache/shenyu-data.",
    "upload_limit": "How many bytes a second go to a remote repository at most, such as 2MB.",
    "download_limit": "The same for what comes from it.",
    "versions_kept": "How long the storage keeps what was deleted there; 0d: it keeps nothing.",
    "retention": "What prune keeps. With any keep_ key, only what these say.",
    "permissions": "Modes and owners that the files of the data directory should have.",
    "cleanup": "What cleanup removes. Nothing by default.",
    "service": "How recover stops and starts the application.",
    "schedule": "Which jobs run by themselves, and when. Without: a usual set of them.",
    "tripwires": "From when on a backup says that something is no ordinary use.",
    "metrics": "Where figures are written for node_exporter.",
    "notifications": "Who is told what is wrong, and how. Without: nobody.",
    "alerts": "Which rules watch, from when on, how loud. Without: all, as usual.",
    "watch": "Who may touch the data, and from when on it is no ordinary use.",
}
"""What each key of the configuration file means."""

RETENTION_DESCRIPTIONS = {
    "keep_last": "Keep this many of the newest.",
    "keep_hourly": "Keep the last one of each of this many hours that have one.",
    "keep_daily": "The same for days.",
    "keep_weekly": "The same for weeks, from Monday to Sunday.",
    "keep_monthly": "The same for months.",
    "keep_yearly": "The same for years.",
    "keep_within": "Keep everything that is no older than this age.",
    "keep_tagged": 'Keep those with one of these tags; "*" means any tag.',
    "keep_verified": "Keep at least this many that a full verify proved; never fewer than 1.",
    "grace": "How long what is to be deleted waits, so that no running backup misses it.",
}
"""What each key of the table ``[retention]`` means."""

PERMISSIONS_DESCRIPTIONS = {
    "file_mode": 'The mode of files, as octal digits in a text. Default: "600".',
    "folder_mode": 'The mode of folders. Default: "700".',
    "owner": "The user they belong to, by name or number. Default: the data directory's.",
    "group": "The group they belong to. Default: the data directory's.",
}
"""What each key of the table ``[permissions]`` means."""

CLEANUP_DESCRIPTIONS = {
    "older_than": "Chats that were not active for this age.",
    "keep_newest": "All but this many of a user's chats, the last active ones.",
    "max_size": "A user's oldest chats, until the others take up no more than this.",
    "max_total_size": "The oldest chats of all users, until the others take up no more than this.",
    "idle_users": "All chats of users who were not active for this age.",
    "empty": "Histories without chats, and folders without histories.",
    "orphans": "Chats of users of whom there is no user document.",
    "histories": "Rules for the histories of one storage key, instead of the first three.",
}
"""What each key of the table ``[cleanup]`` means."""

SERVICE_DESCRIPTIONS = {
    "stop": "The command that stops the application, as a list of words; no shell.",
    "start": "The command that starts it, and returns.",
    "status": "A command that exits with 0 if it runs, and with anything else if not.",
    "stop_timeout_s": "How many seconds it may take to stop. Default: 120.",
    "start_timeout_s": "How many seconds it may take to start. Default: 120.",
}
"""What each key of the table ``[service]`` means."""

_TABLES = {
    "retention": RETENTION_DESCRIPTIONS,
    "permissions": PERMISSIONS_DESCRIPTIONS,
    "cleanup": CLEANUP_DESCRIPTIONS,
    "service": SERVICE_DESCRIPTIONS,
    "schedule": SCHEDULE_DESCRIPTIONS,
    "tripwires": TRIPWIRES_DESCRIPTIONS,
    "metrics": METRICS_DESCRIPTIONS,
    "notifications": NOTIFICATIONS_DESCRIPTIONS,
    "alerts": ALERTS_DESCRIPTIONS,
    "watch": WATCH_DESCRIPTIONS,
}

_OF_TABLES = ("cleanup.histories", "schedule.jobs", "notifications.webhooks", "notifications.mail")
"""Keys that hold tables, each under a name of its own."""


def parse_config(text: str, name: str) -> Config:
    """Given a configuration file's text, return what it says. Raise ConfigError naming the file and
    the key.
    """
    try:
        return msgspec.toml.decode(text, type=Config)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"{name}: {error}",
            hint=f"The keys are {', '.join(DESCRIPTIONS)}; see docs/configuration.md.",
        ) from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"{name} is not TOML: {error}", hint="Mend the line it names.") from None
    except (ValueError, RecursionError):
        raise ConfigError(
            f"{name} is not TOML that anybody reads: brackets in brackets, or endless digits",
            hint="See what wrote it.",
        ) from None


def sample(values: Mapping[str, Any]) -> str:
    """Given values for some keys, return a configuration file with them, and the other keys as
    comments.
    """
    lines = ["# shenyu-data: see `shenyu-data config show` for what is in force.", ""]
    for name, about in DESCRIPTIONS.items():
        if name in _TABLES:  # everything after a table would belong to it
            continue
        lines.append(f"# {about}")
        value = values.get(name)
        if value is None:
            lines.append(f"# {name} =")
        else:
            lines.append(f"{name} = {_toml(value)}")
        lines.append("")
    for table, keys in _TABLES.items():
        lines += [f"# {DESCRIPTIONS[table]}", f"# [{table}]"]
        for name, about in keys.items():
            below = f"[{table}.{name}.KEY]" if f"{table}.{name}" in _OF_TABLES else f"{name} ="
            lines += [f"# {about}", f"# {below}"]
    return "\n".join([*lines, ""])


def _toml(value: str | int | list[str]) -> str:
    # A JSON string without \/, surrogates and DEL is a TOML basic string; so are arrays of them.
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
