"""What every verb shares: its flags, settings, passphrase, output as text or JSON, errors."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from shenyu_data.cli.endings import explained
from shenyu_data.cli.terminal import TerminalMonitor, say, say_error
from shenyu_data.model.errors import (
    EXIT_DAMAGED,
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_FINDINGS,
    EXIT_USAGE,
    ConfigError,
    ShenyuDataError,
)
from shenyu_data.model.findings import printable
from shenyu_data.operations.configuration import Settings, find_passphrase, load_settings

if TYPE_CHECKING:
    from shenyu_data.repository.repository import Repository

F = TypeVar("F", bound=Callable[..., Any])


class Call:
    """One call of a verb: its common flags, and what follows from them."""

    def __init__(
        self,
        *,
        config: str | None,
        data: str | None,
        repo: str | None,
        as_json: bool,
        quiet: bool,
        verbose: bool,
        no_progress: bool,
        jobs: int | None,
    ) -> None:
        self.flags = {"config": config, "data": data, "repo": repo}
        self.jobs_flag = jobs
        self.as_json = as_json
        self.quiet = quiet
        self.verbose = verbose
        self.monitor = TerminalMonitor(
            quiet=quiet,
            silent=as_json,
            progress=not (quiet or no_progress),
            detailed=verbose,
        )
        self.config_may_be_missing = False
        self.yes = False
        """Whether ``--yes`` was given: see cli/confirm.py."""
        self.document: Mapping[str, Any] = {}
        """What the verb found or did, once it is known: see cli/recorded.py."""
        self.repository: Repository | None = None
        """The repository, once it is unlocked: see cli/audited.py."""
        self._settings: Settings | None = None
        self._secret: str | None = None

    def print_as_json(self) -> None:
        """Print one JSON document, as ``--json`` does: for verbs with a format of their own."""
        self.as_json = True
        self.monitor.mute()

    @property
    def settings(self) -> Settings:
        """Flags, environment and file, put together."""
        if self._settings is None:
            self._settings = load_settings(
                config_file=self.flags["config"],
                data=self.flags["data"],
                repository=self.flags["repo"],
                jobs=self.jobs_flag,
                environment=os.environ,
                may_be_missing=self.config_may_be_missing,
            )
        return self._settings

    def forget_settings(self) -> None:
        """Have the configuration read again when it is needed next."""
        self._settings = None

    @property
    def data(self) -> str:
        """The data directory. Raise ConfigError if none is set."""
        if self.settings.data is None:
            raise ConfigError(
                "no data directory is set",
                hint="Give --data DIR, or set SHENYU_DATA_DIR or `data` in the configuration.",
            )
        return self.settings.data

    @property
    def repository_location(self) -> str:
        """The repository's location. Raise ConfigError if none is set."""
        if self.settings.repository is None:
            raise ConfigError(
                "no repository is set",
                hint="Give --repo LOCATION, or set SHENYU_DATA_REPO or `repository` in the "
                "configuration; `shenyu-data init` makes a new one.",
            )
        return self.settings.repository

    @property
    def jobs(self) -> int:
        """How many processes may work at once."""
        if self.settings.jobs:
            return self.settings.jobs
        from shenyu_data.operations.workers import default_jobs  # late: it takes 10 ms

        return default_jobs()

    def passphrase(self, *, confirm: bool = False) -> str:
        """Return the passphrase; if none is set, ask at a terminal (twice with ``confirm``)."""
        if self._secret is None:
            self._secret = self._find_passphrase(confirm)
        return self._secret

    def _find_passphrase(self, confirm: bool) -> str:
        found = find_passphrase(self.settings, os.environ)
        if found is not None:
            return found
        if not sys.stdin.isatty():
            raise ConfigError(
                "no passphrase is set",
                hint="Set SHENYU_DATA_PASSPHRASE, or passphrase_file or passphrase_command in the "
                "configuration.",
            )
        asked: str = click.prompt(
            "Passphrase", hide_input=True, confirmation_prompt=confirm, err=True
        )
        return asked

    def finish(
        self,
        document: Mapping[str, Any],
        text: str,
        *,
        findings: bool = False,
        failed: bool = False,
        damaged: bool = False,
        lists: Sequence[Iterable[Mapping[str, Any]]] = (),
    ) -> None:
        """Print the result, as ``document`` or as ``text``, and exit. ``lists`` are what the last
        empty lists of the document hold.

        With 4 if something is damaged, else 3 if something failed, else 1 if there were findings.
        """
        self.document = document
        if self.as_json:
            seen = (msgspec.structs.asdict(item) for item in self.monitor.findings)
            print_json({**document, "findings": []}, *lists, seen)
        elif text and not self.quiet:
            say(text)
        if damaged or failed or findings:
            status = EXIT_DAMAGED if damaged else EXIT_FAILED if failed else EXIT_FINDINGS
            raise click.exceptions.Exit(status)


def common(verb: F) -> F:
    """Give a verb the common flags; it receives a :class:`Call` as its first argument."""

    @click.option("--config", metavar="FILE", help="The configuration file.")
    @click.option("--data", metavar="DIR", help="The data directory.")
    @click.option(
        "--repo",
        metavar="LOCATION",
        help="The repository: a local folder, or a bucket: s3://, gs://, az://.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    @click.option("--quiet", is_flag=True, help="Print errors and nothing else.")
    @click.option("--verbose", is_flag=True, help="Print more, and tracebacks.")
    @click.option("--no-progress", is_flag=True, help="Show no progress bars.")
    @click.option(
        "--jobs", type=click.IntRange(1, 64), metavar="N", help="How many processes work at once."
    )
    @wraps(verb)
    def with_call(
        config: str | None,
        data: str | None,
        repo: str | None,
        as_json: bool,
        quiet: bool,
        verbose: bool,
        no_progress: bool,
        jobs: int | None,
        **rest: Any,
    ) -> Any:
        call = Call(
            config=config,
            data=data,
            repo=repo,
            as_json=as_json,
            quiet=quiet,
            verbose=verbose,
            no_progress=no_progress,
            jobs=jobs,
        )
        return verb(call, **rest)

    return with_call  # type: ignore[return-value]


def limit_option(things: str, default: int = 100) -> Callable[[F], F]:
    """Give a verb the flag ``--limit``: at most so many lines of ``things``; 0 means all."""
    return click.option(
        "--limit",
        type=click.IntRange(0),
        metavar="N",
        default=default,
        show_default=True,
        help=f"Show at most N {things}; 0 shows all.",
    )


def run(command: click.Command) -> int:
    """Run the command line; return the exit status.

    Every error becomes a line on standard error and, with ``--json``, a JSON document.
    """
    try:
        return _run(command, sys.argv[1:])
    except BrokenPipeError:
        # The reader of our output (head, less) has gone: that is its right.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FINDINGS


def _run(command: click.Command, words: list[str]) -> int:
    try:
        status = command.main(list(words), standalone_mode=False, prog_name="shenyu-data")
        sys.stdout.flush()
        return status if isinstance(status, int) else EXIT_DONE
    except BrokenPipeError:
        raise
    except click.exceptions.NoArgsIsHelpError as wrong:
        sys.stderr.write(wrong.format_message() + "\n")
        return EXIT_USAGE
    except (Exception, KeyboardInterrupt) as raised:
        if "--verbose" in words and isinstance(raised, Exception):
            import traceback

            traceback.print_exc()
        error = explained(raised) or ShenyuDataError(
            f"unexpected {type(raised).__name__}: {raised}",
            hint="Nothing is lost. Run it again with --verbose to see where it was, and report it.",
        )
    say_error(error.message, error.hint)
    if _wants_json(words):
        details = {"code": error.code, "message": printable(error.message), "hint": error.hint}
        print_json({"error": details})
    return error.exit_status


def _wants_json(words: list[str]) -> bool:
    if "--json" in words or "--format=json" in words:
        return True
    return "--format" in words and words[words.index("--format") + 1 :][:1] == ["json"]


def print_json(document: Mapping[str, Any], *lists: Iterable[Mapping[str, Any]]) -> None:
    """Print one JSON document on standard output. A name that is no text comes out with escapes.

    ``lists`` are what the last lists of the document hold, which are empty in it: their items are
    printed one after the other, as there may be millions.
    """
    for piece in json_pieces(document, *lists):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


# Text that ends like this, too, is followed by its quotation mark.
_empty_lists = re.compile(rb"^( *).*\[(?=\],?$)", re.MULTILINE).finditer


def json_pieces(
    document: Mapping[str, Any], *lists: Iterable[Mapping[str, Any]]
) -> Iterator[bytes]:
    """Yield the text of a JSON document piece by piece, as :func:`print_json` prints it."""
    text = _json_text(document)
    places = list(_empty_lists(text))[-len(lists) :]
    done = 0
    for place, items in zip(places, lists, strict=False):
        indent = b"\n" + place[1]
        yield text[done : place.end()]
        done = place.end()
        separator = b""
        for item in items:
            yield separator + indent + b"  " + _json_text(item).replace(b"\n", indent + b"  ")
            separator = b","
        if separator:
            yield indent
    yield text[done:] + b"\n"


def _json_text(value: Mapping[str, Any]) -> bytes:
    try:
        encoded = msgspec.json.encode(value)
    except UnicodeEncodeError:
        encoded = msgspec.json.encode(_encodable(value))
    return _UNSEEN.sub(_escaped, msgspec.json.format(encoded, indent=2).decode()).encode()


# Users' words may hold what moves a terminal's cursor or turns its writing round. They can only
# stand inside of strings, where an escape means the same.
_UNSEEN = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")


def _escaped(character: re.Match[str]) -> str:
    return f"\\u{ord(character[0]):04x}"


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value
