"""``shenyu-data init``."""

from __future__ import annotations

import os

import click

from shenyu_data.cli.common import Call, common
from shenyu_data.cli.terminal import say
from shenyu_data.operations.initialize import InitializeOptions, initialize


@click.command("init")
@common
def init_command(call: Call) -> None:
    """Write the configuration and create the repository.

    The configuration goes to --config, else ./shenyu-data.toml; a file that is there is left as it
    is. The recovery key is shown once, with --quiet too: it opens the repository when the
    passphrase is lost.
    """
    call.config_may_be_missing = True
    named = call.flags["config"] or os.environ.get("SHENYU_DATA_CONFIG")
    options = InitializeOptions(config_file=named)
    stats = initialize(
        call.data, call.repository_location, call.passphrase(confirm=True), options, call.monitor
    )
    failed = call.monitor.count("error")
    config = "Wrote" if stats.config_written else "Could not write" if failed else "Left as it is:"
    text = (
        f"Created the repository {stats.repository}.\n"
        f"{config} {stats.config_file}.\n\n"
        f"Recovery key, shown only now; keep it away from this machine:\n\n"
        f"    {stats.recovery_key}\n"
    )
    if call.quiet and not call.as_json:
        say(stats.recovery_key)
    call.finish(
        {
            "repository": stats.repository,
            "repository_id": stats.repository_id,
            "config_file": stats.config_file,
            "config_written": stats.config_written,
            "recovery_key": stats.recovery_key,
        },
        text,
        findings=bool(failed),
    )
