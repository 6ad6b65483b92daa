"""Finding and reading the configuration, and getting the passphrase from where it says. Flags beat
environment beat file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Literal

import msgspec

from shenyu_data.model.config import (
    CONFIG_NAME,
    Config,
    PermissionsTable,
    ServiceTable,
    parse_config,
)
from shenyu_data.model.config_alerts import AlertsTable
from shenyu_data.model.config_notifications import NotificationsTable
from shenyu_data.model.config_schedule import ScheduleTable
from shenyu_data.model.config_watch import WatchTable
from shenyu_data.model.errors import ConfigError
from shenyu_data.model.expiry import Policy
from shenyu_data.model.rates import parse_rate
from shenyu_data.model.retention import DEFAULT_GRACE_S, DEFAULT_RETENTION, Retention
from shenyu_data.model.tripwires import Limits
from shenyu_data.storage.open import StorageOptions, is_remote

Source = Literal["flag", "environment", "file", "default"]

_MAX_CONFIG_BYTES = 1 << 20
_MAX_PASSPHRASE_BYTES = 1 << 16
_COMMAND_TIMEOUT_S = 60


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force, and where each value came from. Holds no secret."""

    config_file: str | None
    data: str | None
    repository: str | None
    jobs: int | None
    passphrase_file: str | None
    passphrase_command: list[str] | None
    versions_kept_s: int | None
    retention: Retention
    grace_s: int
    cleanup: Policy
    permissions: PermissionsTable
    service: ServiceTable | None
    schedule: ScheduleTable | None
    tripwires: Limits
    metrics_textfile: str | None
    notifications: NotificationsTable | None
    pings: dict[str, str]
    alerts: AlertsTable | None
    watch: WatchTable
    storage: StorageOptions
    sources: dict[str, Source]


def load_settings(
    *,
    config_file: str | None,
    data: str | None,
    repository: str | None,
    jobs: int | None,
    environment: Mapping[str, str],
    may_be_missing: bool = False,
) -> Settings:
    """Given the flags and the environment, read the configuration file, if there is one, and say
    what is in force.

    With ``may_be_missing`` a file that was named need not be there: ``init`` is about to write it.
    Relative paths in the file count from the file's folder. Raise ConfigError if a file that was
    named is missing, or if it cannot be read.
    """
    named = config_file or environment.get("SHENYU_DATA_CONFIG")
    if named and may_be_missing and not os.path.exists(named):
        path, config = None, Config()
    else:
        path, config = _read(named, environment)
    base = os.path.dirname(os.path.abspath(path)) if path else ""
    sources: dict[str, Source] = {}

    def choose(key: str, flag: str | None, variable: str, value: str | None) -> str | None:
        for source, candidate in (("flag", flag), ("environment", environment.get(variable))):
            if candidate:
                sources[key] = source  # type: ignore[assignment]
                return candidate
        if value is not None:
            sources[key] = "file"
            return value if is_remote(value) else os.path.join(base, value)
        return None

    if config_file:
        sources["config_file"] = "flag"
    else:
        sources["config_file"] = "environment" if named else "default"
    sources["versions_kept"] = "file" if config.versions_kept else "default"
    sources["jobs"] = "flag" if jobs is not None else "file" if config.jobs else "default"
    retention = config.retention.policy() if config.retention else None
    sources["retention"] = "file" if retention is not None else "default"
    grace_s = config.retention.grace_s() if config.retention else None
    sources["grace"] = "file" if grace_s is not None else "default"
    sources["permissions"] = "file" if config.permissions is not None else "default"
    sources["cleanup"] = "file" if config.cleanup else "default"
    sources["tripwires"] = "file" if config.tripwires else "default"
    sources["watch"] = "file" if config.watch else "default"
    sources["alerts"] = "file" if config.alerts else "default"
    sources["service"] = "file" if config.service else "default"
    sources["schedule"] = "file" if config.schedule else "default"
    textfile = config.metrics.textfile if config.metrics else None
    sources["metrics"] = "file" if textfile else "default"
    sources["notifications"] = "file" if config.notifications else "default"
    return Settings(
        config_file=path,
        data=choose("data", data, "SHENYU_DATA_DIR", config.data),
        repository=choose("repository", repository, "SHENYU_DATA_REPO", config.repository),
        jobs=jobs if jobs is not None else config.jobs,
        passphrase_file=os.path.join(base, config.passphrase_file)
        if config.passphrase_file
        else None,
        passphrase_command=config.passphrase_command,
        versions_kept_s=config.versions_kept_s(),
        retention=retention if retention is not None else DEFAULT_RETENTION,
        grace_s=grace_s if grace_s is not None else DEFAULT_GRACE_S,
        permissions=config.permissions or PermissionsTable(),
        cleanup=config.cleanup.policy() if config.cleanup else Policy(),
        service=config.service,
        schedule=config.schedule,
        tripwires=config.tripwires.limits() if config.tripwires else Limits(),
        metrics_textfile=os.path.join(base, textfile) if textfile else None,
        notifications=config.notifications.within(base) if config.notifications else None,
        pings=_pings(config.schedule, base),
        alerts=config.alerts,
        watch=config.watch or WatchTable(),
        storage=StorageOptions(
            cache=os.path.join(base, config.cache) if config.cache else None,
            upload_limit=parse_rate(config.upload_limit) if config.upload_limit else None,
            download_limit=parse_rate(config.download_limit) if config.download_limit else None,
        ),
        sources=sources,
    )


def _pings(schedule: ScheduleTable | None, base: str) -> dict[str, str]:
    """Return the files of the URLs that jobs ping, by the jobs' names."""
    jobs = (schedule.jobs if schedule is not None else None) or {}
    return {
        name: os.path.join(base, job.ping_file)
        for name, job in jobs.items()
        if job.ping_file is not None
    }


def _read(named: str | None, environment: Mapping[str, str]) -> tuple[str | None, Config]:
    for path in [named] if named else _usual_places(environment):
        try:
            with open(path, encoding="utf-8") as file:
                return path, parse_config(file.read(_MAX_CONFIG_BYTES), path)
        except FileNotFoundError:
            continue
        except UnicodeDecodeError:
            raise ConfigError(f"{path} is not UTF-8 text", hint="Write it anew.") from None
        except OSError as error:
            raise ConfigError(
                f"cannot read {path}: {error.strerror}", hint="Check its owner and mode."
            ) from error
    if named:
        raise ConfigError(
            f"there is no configuration file {named}",
            hint="Check --config or SHENYU_DATA_CONFIG; `shenyu-data init` writes one.",
        )
    return None, Config()


def _usual_places(environment: Mapping[str, str]) -> list[str]:
    home = environment.get("XDG_CONFIG_HOME") or os.path.join(
        environment.get("HOME", ""), ".config"
    )
    return [
        CONFIG_NAME,
        os.path.join(home, "shenyu-data", "config.toml"),
        "/etc/shenyu-data/config.toml",
    ]


def find_passphrase(settings: Settings, environment: Mapping[str, str]) -> str | None:
    """Return the passphrase or recovery key from the environment, the file or the command, in that
    order; None if none is set.

    Raise ConfigError if the file or command that is named fails; the secret is in no message.
    """
    if secret := environment.get("SHENYU_DATA_PASSPHRASE"):
        return secret
    if settings.passphrase_file is not None:
        return read_passphrase_file(settings.passphrase_file)
    if settings.passphrase_command:
        return _from_command(settings.passphrase_command)
    return None


def find_other_passphrase(file: str | None, environment: Mapping[str, str]) -> str | None:
    """Return the passphrase of the repository that a copy goes to: from the file that a flag named,
    else from the environment; None if neither is set. Raise ConfigError as above.
    """
    if file is not None:
        return read_passphrase_file(file)
    return environment.get("SHENYU_DATA_TO_PASSPHRASE") or None


def read_passphrase_file(path: str) -> str:
    """Return the first line of a file that only its owner may read. Raise ConfigError."""
    what = "the passphrase file"
    return _first_line(_read_private(path, what), f"{what} {path}")


def read_private_lines(path: str, what: str) -> list[str]:
    """Return the lines of a file that only its owner may read, the first of which is not blank;
    ``what`` is told of in errors. Raise ConfigError.
    """
    text = _read_private(path, what)
    _first_line(text, f"{what} {path}")
    return text.decode("utf-8", "surrogateescape").splitlines()


def read_lines_of(command: list[str], what: str) -> list[str]:
    """Return the lines that a command prints, as :func:`read_private_lines`."""
    text = _output_of(command, what)
    _first_line(text, f"{what} {command[0]}")
    return text.decode("utf-8", "surrogateescape").splitlines()


def _read_private(path: str, what: str) -> bytes:
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_MAX_PASSPHRASE_BYTES)
    except OSError as error:
        raise ConfigError(
            f"cannot read {what} {path}: {error.strerror}",
            hint="Check what names it, and the file's owner and mode.",
        ) from error
    if stat.S_ISREG(mode) and mode & 0o077:
        raise ConfigError(
            f"others than its owner may read {what} {path}",
            hint=f"chmod 600 {path}",
        )
    return text


def _from_command(command: list[str]) -> str:
    what = "the passphrase command"
    return _first_line(_output_of(command, what), f"{what} {command[0]}")


def _output_of(command: list[str], what: str) -> bytes:
    import subprocess  # late: it takes 7 ms

    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=_COMMAND_TIMEOUT_S,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or (
            f"it took longer than {_COMMAND_TIMEOUT_S} seconds"
            if isinstance(error, subprocess.TimeoutExpired)
            else type(error).__name__
        )
        raise ConfigError(
            f"{what} {command[0]} failed: {reason}",
            hint="Run it by hand; it must print what is asked for and exit with 0.",
        ) from None
    if done.returncode:
        raise ConfigError(
            f"{what} {command[0]} exited with {done.returncode}",
            hint="Run it by hand; it must print what is asked for and exit with 0.",
        )
    return done.stdout


def _first_line(text: bytes, name: str) -> str:
    line = text.split(b"\n", 1)[0].rstrip(b"\r").decode("utf-8", "surrogateescape")
    if not line.strip():
        raise ConfigError(f"{name} gives an empty first line", hint="The secret must stand there.")
    return line
