"""``init``: creates a repository and writes a configuration that names it."""

from __future__ import annotations

import os

import msgspec

from shenyu_data.model.config import CONFIG_NAME, sample
from shenyu_data.model.errors import ConfigError, DataDirectoryError, UsageError
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import Monitor
from shenyu_data.repository.repository import create_repository
from shenyu_data.storage.atomic import write_file
from shenyu_data.storage.local import LocalStorage


class InitializeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``config_file`` is written if it is not there; None: ``shenyu-data.toml`` in the current folder."""

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

    Raise DataDirectoryError if ``data`` is not a folder, UsageError if the repository would lie inside it
    or its location is taken, ConfigError if the configuration cannot be written.
    """
    if not os.path.isdir(data):
        raise DataDirectoryError(
            f"there is no data directory {data}",
            hint="Give the folder that holds users/ and histories/, with --data.",
        )
    storage = LocalStorage(repository)
    inside = os.path.commonpath([os.path.realpath(data), os.path.realpath(storage.folder)])
    if inside == os.path.realpath(data):
        raise UsageError(
            f"the repository {storage.folder} would lie inside the data directory",
            hint="Choose a place outside it, best on another disk.",
        )
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
    storage.create()
    created, recovery_key = create_repository(storage, passphrase)
    config_file = options.config_file or CONFIG_NAME
    values = {"data": os.path.abspath(data), "repository": storage.folder}
    return InitializeStats(
        repository=storage.folder,
        repository_id=created.keys.repository_id.hex(),
        config_file=config_file,
        config_written=_write_config(config_file, sample(values)),
        recovery_key=recovery_key,
    )


def _write_config(path: str, text: str) -> bool:
    folder, name = os.path.split(os.path.abspath(path))
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            write_file(name, [text.encode()], folder=descriptor, replace=False)
        finally:
            os.close(descriptor)
    except FileExistsError:
        return False
    except OSError as error:
        raise ConfigError(
            f"cannot write the configuration {path}: {error.strerror}; the repository was created",
            hint="Give --data and --repo at every call, or write the file by hand.",
        ) from error
    return True
