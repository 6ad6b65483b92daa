"""The command ``shenyu-data``: finds the verb, turns every error into a line and an exit status.

A verb's module is imported only when the verb is called: the others' libraries cost start-up time.
"""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module

import click

from shenyu_data import __version__
from shenyu_data.model.errors import EXIT_INTERRUPTED

VERBS = {
    "demo": "demo",
    "init": "init",
    "backup": "backup",
    "snapshots": "snapshots",
    "show": "show",
    "diff": "diff",
    "timeline": "timeline",
    "restore": "restore",
    "prune": "prune",
    "status": "status",
    "alerts": "alerts",
    "verify": "verify",
    "drill": "drill",
    "copy": "copy",
    "export": "export",
    "import": "import_",
    "import-archive": "import_archive",
    "users": "users",
    "chats": "chats",
    "validate": "validate",
    "findings": "findings",
    "repair": "repair",
    "recover": "recover",
    "compress": "compress",
    "decompress": "decompress",
    "permissions": "permissions",
    "cleanup": "cleanup",
    "erase-user": "erase",
    "receipt": "receipt",
    "key": "key",
    "audit": "audit",
    "schedule": "schedule",
    "serve": "serve",
    "watch": "watch",
    "metrics": "metrics",
    "config": "config",
}
"""Every verb, in the order of the help, and the module of this package it lives in."""

_ABOUT = {
    "demo": "Tour the main job on a small data directory in a temporary folder.",
    "init": "Write the configuration and create the repository.",
    "backup": "Take a snapshot of the data directory.",
    "snapshots": "List the snapshots, oldest first.",
    "show": "Show what a snapshot holds: users' documents, chats, messages.",
    "diff": "Tell what differs between two snapshots, or a snapshot and the live directory.",
    "timeline": "List the versions of a user, a history or a chat; find chats by their words.",
    "restore": "Put a snapshot, or one user, history or chat of it, back.",
    "prune": "Drop old snapshots and give back the space of what none needs.",
    "status": "Show how it stands: data, backups, proofs, jobs, alerts.",
    "alerts": "List what somebody has to look at; silence it, say that it is seen.",
    "verify": "Check that everything the snapshots need is there and unaltered.",
    "drill": "Prove that users can be restored: restore some, check them, remove them.",
    "copy": "Copy snapshots into another repository.",
    "export": "Write users, histories and all else into a file, to be imported elsewhere.",
    "import": "Bring an export into the data directory, beside what is there.",
    "import-archive": "Make snapshots of the archives of a data directory that tar made.",
    "users": "List the users of the data directory, page by page.",
    "chats": "List, show and search the chats of the data directory.",
    "validate": "Check the documents of the data directory.",
    "findings": "Say of what checks find missing that it was meant.",
    "repair": "Make documents that are torn or overwritten whole again.",
    "recover": "Stop the service, save, validate, repair, validate again, start it.",
    "compress": "Compress histories to .json.gz, which every verb reads.",
    "decompress": "Make plain histories of .json.gz again.",
    "permissions": "Check or mend who may read and change the files of the data directory.",
    "cleanup": "Remove expired chats from the live data; hold what must stay.",
    "erase-user": "Erase a user for good: live documents and, by key, every backup.",
    "receipt": "Verify the receipt of an erasure.",
    "key": "List, add, remove, rotate and export the keys that open the repository.",
    "audit": "Show what the program changed, and check the log of that.",
    "schedule": "Show which jobs run when, run one that is due, install timers.",
    "serve": "Run the jobs of the data directory until it is told to stop.",
    "watch": "Watch who touches the data directory until it is told to stop.",
    "metrics": "Print figures for Prometheus, or write them into a file for node_exporter.",
    "config": "Check or show the configuration.",
}


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = import_module(f"shenyu_data.cli.{VERBS[cmd_name]}")
        command: click.Command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, _ABOUT[verb]) for verb in VERBS])


@click.command(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 done, 1 done with findings or a degraded result, 2 usage or "
    "configuration, 3 failed and nothing lost, 4 the repository is damaged or the key is "
    "wrong, 130 interrupted.",
)
@click.version_option(__version__, prog_name="shenyu-data", message="%(prog)s %(version)s")
def shenyu_data() -> None:
    """Keep a chat application's data directory safe, portable, small and provably erasable."""


def main() -> None:
    """Run the command line and exit. The entry point of the ``shenyu-data`` script."""
    if sys.argv[1:] == ["--version"]:  # answered without building the commands
        sys.stdout.write(f"shenyu-data {__version__}\n")
        return
    gc.set_threshold(50_000)  # as in workers: importing makes many objects and no garbage
    try:
        # Late, for --version's sake.
        from shenyu_data.cli.common import run

        status = run(shenyu_data)
    except KeyboardInterrupt:  # before there was anything to interrupt
        status = EXIT_INTERRUPTED
    sys.exit(status)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUTF8", "1")
    main()
