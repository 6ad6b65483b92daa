"""What holds for every verb: exit statuses, JSON, quiet, help, and errors that a person can use."""

import io
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from shenyu_data.cli.main import VERBS, shenyu_data
from tests.cli.conftest import Said, Shenyu

COMMON = {"--config", "--data", "--repo", "--json", "--quiet", "--verbose", "--no-progress"}
COMMON |= {"--jobs"}

TIMERS = ["--systemd", "--scope", "user", "--config", "timers.toml"]

CALLS = {
    "backup": ["backup"],
    "snapshots": ["snapshots"],
    "show": ["show", "latest"],
    "show user": ["show", "latest", "--user", "ben"],
    "diff": ["diff", "latest", "live"],
    "timeline": ["timeline", "--user", "ben"],
    "restore": ["restore", "latest", "--to", "target"],
    "prune": ["prune", "--yes"],
    "alerts list": ["alerts", "list"],
    "alerts test": ["alerts", "test"],
    "alerts ack": ["alerts", "ack", "--all"],
    "alerts silence": ["alerts", "silence", "backup-old", "--until", "3d"],
    "status": ["status"],
    "verify": ["verify", "--read-data"],
    "drill": ["drill"],
    "drill show": ["drill", "show"],
    "copy": ["copy", "--all", "--to-repo", "other"],
    "export": ["export", "all.jsonl"],
    "import": ["import", "exported.jsonl", "--yes"],
    "import-archive": ["import-archive", "shenyu_data_20250210_030000.tar.gz"],
    "users list": ["users", "list"],
    "chats list": ["chats", "list"],
    "chats search": ["chats", "search", "hello"],
    "chats show": ["chats", "show", "1739100649795"],
    "validate": ["validate"],
    "findings ack": ["findings", "ack", "ben", "--reason", "asked to"],
    "findings list": ["findings", "list"],
    "findings revoke": ["findings", "revoke", "0a1b2c3d"],
    "repair": ["repair", "--yes"],
    "recover": ["recover", "--no-service", "--yes"],
    "compress": ["compress", "--yes"],
    "decompress": ["decompress", "--yes"],
    "permissions check": ["permissions", "check", "--folder-mode", "755"],
    "permissions fix": ["permissions", "fix", "--yes"],
    "cleanup": ["cleanup", "--older-than", "90d", "--dry-run"],
    "cleanup hold add": ["cleanup", "hold", "add", "ben"],
    "cleanup hold list": ["cleanup", "hold", "list"],
    "cleanup hold remove": ["cleanup", "hold", "remove", "held"],
    "erase-user": ["erase-user", "ben", "--yes"],
    "receipt verify": ["receipt", "verify", "receipt.json", "--public-key", "receipt.json.pem"],
    "key list": ["key", "list"],
    "key add": ["key", "add", "--label", "anna", "--new-passphrase-file", "new-passphrase"],
    "key remove": ["key", "remove", "passphrase given at init", "--yes"],
    "key rotate": ["key", "rotate", "--dry-run"],
    "key export": ["key", "export", "exported", "--yes"],
    "audit show": ["audit", "show"],
    "audit verify": ["audit", "verify"],
    "audit accept": ["audit", "accept", "--reason", "the disk died", "--yes"],
    "schedule show": ["schedule", "show"],
    "schedule run": ["schedule", "run", "validate"],
    "schedule install": ["schedule", "install", *TIMERS, "--dry-run"],
    "schedule remove": ["schedule", "remove", *TIMERS],
    "serve": ["serve", "--once"],
    "watch": ["watch", "--check"],
    "metrics": ["metrics"],
    "config show": ["config", "show"],
    "config check": ["config", "check"],
    "demo": ["demo"],
}
"""A call of each verb that succeeds after a backup."""

ANY_CALL = pytest.mark.parametrize("words", CALLS.values(), ids=CALLS)


def _commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(shenyu_data)
    for verb in VERBS:
        command = shenyu_data.get_command(context, verb)
        if command is not None:
            yield from _commands_of(verb, command)


def _commands_of(words: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield words, command
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from _commands_of(f"{words} {name}", below)


COMMANDS = dict(_commands())
"""Every command that does something, by the words that call it."""


def test_every_verb_is_tried() -> None:
    names = {name.split(" user")[0] for name in CALLS} | {"init"}
    assert names == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_every_verb_takes_the_common_flags_after_it(command: click.Command) -> None:
    flags = {flag for parameter in command.params for flag in parameter.opts}
    assert flags >= COMMON
    for parameter in command.params:
        assert not isinstance(parameter, click.Option) or parameter.help, parameter.name


def snake_case(value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            assert re.fullmatch("[a-z][a-z0-9]*(_[a-z0-9]+)*", key), key
            snake_case(item)
    elif isinstance(value, list):
        for item in value:
            snake_case(item)


@ANY_CALL
def test_json_is_one_document_in_snake_case_and_nothing_else(
    words: list[str], backed_up: Path, shenyu: Shenyu
) -> None:
    said = shenyu(*words, "--json")
    assert said.status == 0
    assert said.err == ""
    assert isinstance(said.json, dict)
    assert isinstance(said.json["findings"], list)
    snake_case(said.json)


@ANY_CALL
def test_quiet_prints_nothing_when_all_is_well(
    words: list[str], backed_up: Path, shenyu: Shenyu
) -> None:
    assert shenyu(*words, "--quiet") == Said(0, "", "")


def test_quiet_still_prints_errors(backed_up: Path, shenyu: Shenyu) -> None:
    (backed_up / "data" / "users" / "cut.json").write_bytes(b'{"id": ')
    said = shenyu("validate", "--quiet")
    assert said.status == 1
    assert said.out == ""
    assert "users/cut.json" in said.err
    assert "warning" not in said.err


@ANY_CALL
def test_the_text_goes_to_standard_output_and_nothing_to_standard_error(
    words: list[str], backed_up: Path, shenyu: Shenyu
) -> None:
    said = shenyu(*words)
    assert said.status == 0
    assert said.out.strip()
    assert said.out.endswith("\n")
    assert said.err == ""


NEEDS_REPOSITORY = ["backup", "snapshots", "show", "restore", "verify", "config check"]
NEEDS_REPOSITORY += ["key list", "key add", "key remove", "key rotate", "key export"]


@pytest.mark.parametrize("name", NEEDS_REPOSITORY)
@pytest.mark.parametrize(
    ("wrong", "status", "codes"),
    [
        ("no repository", 4, {"object-missing"}),
        ("no folder", 3, {"storage"}),
        ("wrong key", 4, {"wrong-key"}),
        ("newer format", 4, {"unsupported-format"}),
        ("no location", 2, {"config"}),
    ],
)
def test_what_is_wrong_with_the_repository_has_its_exit_status_and_code(
    wrong: str,
    status: int,
    codes: set[str],
    name: str,
    backed_up: Path,
    shenyu: Shenyu,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flags = []
    if wrong == "no repository":
        (backed_up / "empty").mkdir()
        flags = ["--repo", "empty"]
    elif wrong == "no folder":
        flags = ["--repo", "nowhere"]
    elif wrong == "wrong key":
        monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", "wrong")
    elif wrong == "newer format":
        newer_format(backed_up / "repo/repository")
    else:
        (backed_up / "shenyu-data.toml").write_text('data = "data"\n')
    said = shenyu(*CALLS[name], *flags, "--json")
    assert said.status == status
    assert said.json.keys() == {"error"}
    assert said.json["error"].keys() == {"code", "message", "hint"}
    assert said.json["error"]["code"] in codes
    assert said.json["error"]["hint"]
    text = shenyu(*CALLS[name], *flags)
    assert (text.status, text.out) == (status, "")
    first, second = text.err.splitlines()
    assert first == f"shenyu-data: {said.json['error']['message']}"
    assert second == f"  {said.json['error']['hint']}"
    assert "Traceback" not in text.err


def newer_format(path: Path) -> None:
    from shenyu_data.repository.repository import Descriptor

    fields = json.loads(path.read_text())
    descriptor = Descriptor(format=fields["format"], version=fields["version"] + 1, id=fields["id"])
    fields.update(version=descriptor.version, check=descriptor.checksum())
    path.write_text(json.dumps(fields))


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["config"],
        ["nosuch"],
        ["backup", "--nosuch"],
        ["backup", "surplus"],
        ["show"],
        ["backup", "--tag"],
        ["config", "nosuch"],
        ["--nosuch"],
        ["\x1b[31m\udcff"],
    ],
    ids=repr,
)
def test_a_wrong_call_exits_with_2_and_says_where_help_is(
    words: list[str], place: Path, shenyu: Shenyu
) -> None:
    said = shenyu(*words)
    assert (said.status, said.out) == (2, "")
    assert "--help" in said.err
    assert "\x1b" not in said.err
    if words and words not in (["config"], ["backup", "--tag"]):  # which would take it for a tag
        said = shenyu(*words, "--json")
        assert said.json["error"]["code"] == "usage"


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("words", [[], *map(str.split, COMMANDS), ["config"]])
def test_help_is_printed(words: list[str], flag: str, place: Path, shenyu: Shenyu) -> None:
    said = shenyu(*words, flag)
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith(f"Usage: {' '.join(['shenyu-data', *words])}")
    if words and words != ["config"]:
        assert all(common in said.out for common in COMMON)
    if not words:
        assert all(verb in said.out for verb in VERBS)
        assert "130 interrupted" in said.out.replace("\n  ", " ")


def test_the_version_is_printed(shenyu: Shenyu) -> None:
    from shenyu_data import __version__

    assert shenyu("--version") == Said(0, f"shenyu-data {__version__}\n", "")


def test_an_error_nobody_thought_of_is_one_line_and_exits_with_3(
    backed_up: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that cannot be entered in a place no verb looks after: the current one is gone."""
    gone = backed_up / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    calls = ["show", "latest", "--config", str(backed_up / "shenyu-data.toml")]
    said = shenyu(*calls, "--repo", "relative", "--json")
    assert said.status == 3
    assert said.json["error"]["code"] == "failed"
    assert "FileNotFoundError" in said.json["error"]["message"]
    assert "--verbose" in said.json["error"]["hint"]
    assert "Traceback" not in said.err
    assert "Traceback" in shenyu(*calls, "--repo", "relative", "--verbose").err
    monkeypatch.chdir(backed_up)


def test_a_traceback_is_shown_only_if_asked_for(place: Path, shenyu: Shenyu) -> None:
    assert "Traceback" not in shenyu("show", "nosuch").err
    assert "Traceback" in shenyu("show", "nosuch", "--verbose").err


def test_an_interrupt_exits_with_130(
    backed_up: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "scandir", interrupt)
    said = shenyu("backup", "--json")
    assert said.status == 130
    assert said.json["error"]["code"] == "interrupted"


def test_what_the_encoding_of_the_terminal_lacks_is_escaped(
    place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shenyu_data.cli.terminal import say

    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, "ascii", write_through=True))
    say("用户\n\x1b[31m")
    assert buffer.getvalue() == b"\\u7528\\u6237\n\\x1b[31m\n"
