"""``init``: creates a repository and writes a configuration that names it."""

from __future__ import annotations

import os

import msgspec

from shenyu_data.datadir.folder import check_outside
from shenyu_data.model.config import CONFIG_NAME, sample
from shenyu_data.model.errors import DataDirectoryError, UsageError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.monitor import Monitor
from shenyu_data.repository.repository import create_repository
from shenyu_data.storage.atomic import write_file
from shenyu_data.storage.local import LocalStorage
from shenyu_data.storage.open import open_storage


class InitializeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``config_file`` is written if it is not there; None: ``shenyu-data.toml`` where we are."""

    config_file: str | None = None


class InitializeStats(msgspec.Struct, frozen=True, kw_only=True):
    """What was made. ``recovery_key`` is in no other place: show it and forget it."""

    repository: str
    repository_id: str
    config_file: str
    config_written: bool
    recovery_key: str


def initialize(
    data: str, repository: str, passphrase: str, options: InitializeOptions, monitor: Monitor
) -> InitializeStats:
    """Create the repository, then write the configuration.

    That the configuration cannot be written is reported, not raised: the recovery key must reach
    the person. Raise DataDirectoryError if ``data`` is not a folder, UsageError if the repository
    would lie inside it or its location is taken.
    """
    if not os.path.isdir(data):
        raise DataDirectoryError(
            f"there is no data directory {data}",
            hint="Give the folder that holds users/ and histories/, with --data.",
        )
    storage = open_storage(repository)
    check_outside(data, storage.location)
    if not any(os.path.isdir(os.path.join(data, name)) for name in ("users", "histories")):
        monitor.report(
            Finding(
                code="no-users",
                severity="warning",
                path="",
                message=f"{data} holds neither users/ nor histories/",
                hint="Check --data: it should be the folder that holds them.",
            )
        )
    if isinstance(storage, LocalStorage):
        _make_folder(storage)
    created, recovery_key = create_repository(storage, passphrase)
    config_file = options.config_file or CONFIG_NAME
    values = {"data": os.path.abspath(data), "repository": storage.location}
    try:
        written = _write_config(config_file, values)
    except (OSError, UnicodeError) as error:
        written = False
        monitor.report(_not_written(config_file, error))
    return InitializeStats(
        repository=storage.location,
        repository_id=created.keys.repository_id.hex(),
        config_file=config_file,
        config_written=written,
        recovery_key=recovery_key,
    )


def _make_folder(storage: LocalStorage) -> None:
    if os.path.isdir(storage.folder) and os.listdir(storage.folder):
        raise UsageError(
            f"{storage.folder} is not empty",
            hint="Choose a new or empty folder for the repository, or use the one that is there.",
        )
    storage.create()


def _write_config(path: str, values: dict[str, str]) -> bool:
    text = sample(values)
    folder, name = os.path.split(os.path.abspath(path))
    os.makedirs(folder, mode=0o700, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        write_file(name, [text.encode()], folder=descriptor, replace=False)
    except FileExistsError:
        return False
    finally:
        os.close(descriptor)
    return True


def _not_written(path: str, error: OSError | UnicodeError) -> Finding:
    reason = error.strerror if isinstance(error, OSError) else "a name in it is not UTF-8"
    return Finding(
        code="config-not-written",
        severity="error",
        path=printable(path),
        message=f"the repository was created, but not the configuration: {reason}",
        hint="Give --data and --repo at every call, or write the file by hand.",
    )
