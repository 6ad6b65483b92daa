"""``shenyu-data init``."""

from __future__ import annotations

import os

import click

from shenyu_data.cli.common import Call, common
from shenyu_data.cli.keys_shown import recovery_key_text, show_qr
from shenyu_data.cli.terminal import say
from shenyu_data.operations.initialize import InitializeOptions, initialize
from shenyu_data.repository.keytext import recovery_words


@click.command("init")
@common
def init_command(call: Call) -> None:
    """Write the configuration and create the repository.

    The configuration goes to --config, else ./shenyu-data.toml; a file that is there, or that
    names both folders already, is left as it is. The recovery key is shown once, with --quiet too:
    it opens the repository when the passphrase is lost.
    """
    call.config_may_be_missing = True
    named = call.flags["config"] or os.environ.get("SHENYU_DATA_CONFIG")
    sources = call.settings.sources
    if not named and sources.get("data") == sources.get("repository") == "file":
        named = call.settings.config_file  # a new one here would hide it, and all it says
    options = InitializeOptions(config_file=named)
    stats = initialize(
        call.data, call.repository_location, call.passphrase(confirm=True), options, call.monitor
    )
    failed = call.monitor.count("error")
    config = "Wrote" if stats.config_written else "Could not write" if failed else "Left as it is:"
    text = (
        f"Created the repository {stats.repository}.\n"
        f"{config} {stats.config_file}.\n\n"
        "Recovery key, shown only now; keep it, as words or as letters, away from this machine:"
        f"\n\n{recovery_key_text(stats.recovery_key)}\n"
    )
    if call.quiet and not call.as_json:
        say(stats.recovery_key)
    elif not call.as_json:
        say(text)
        show_qr(stats.recovery_key)
    call.finish(
        {
            "repository": stats.repository,
            "repository_id": stats.repository_id,
            "config_file": stats.config_file,
            "config_written": stats.config_written,
            "recovery_key": stats.recovery_key,
            "recovery_words": recovery_words(stats.recovery_key),
        },
        "",
        findings=bool(failed),
    )
