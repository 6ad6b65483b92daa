"""``shenyu-data config check`` and ``shenyu-data config show``."""

from __future__ import annotations

import os
from typing import Any

import click

from shenyu_data.cli.common import Call, common
from shenyu_data.cli.open import open_for
from shenyu_data.cli.render import table
from shenyu_data.model.errors import DataDirectoryError


@click.group("config", context_settings={"help_option_names": ["-h", "--help"]})
def config_command() -> None:
    """Check or show the configuration."""


@config_command.command("show")
@common
def show(call: Call) -> None:
    """Show what is in force and where it comes from. Secrets are not shown."""
    document = _effective(call)
    rows = [
        (key, "(not set)" if item["value"] is None else str(item["value"]), item["source"])
        for key, item in document.items()
    ]
    call.finish({"settings": document}, table(("key", "value", "from"), rows))


@config_command.command("check")
@common
def check(call: Call) -> None:
    """Check the configuration: the data directory is there and the repository opens."""
    data = call.data
    if not os.path.isdir(data):
        raise DataDirectoryError(
            f"there is no data directory {data}", hint="Mend --data or `data` in the configuration."
        )
    repository = open_for(call)
    snapshots = len(repository.snapshots())
    call.finish(
        {"settings": _effective(call), "snapshots_count": snapshots},
        f"The configuration is right: {data} is there, and {repository.storage.location} opens "
        f"and holds {snapshots} snapshots.",
    )


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
        "passphrase": (passphrase, source),
    }
    return {key: {"value": value, "source": source} for key, (value, source) in values.items()}
