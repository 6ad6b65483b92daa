"""The pages about the command line and the configuration name what there is, and nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from shenyu_data.cli.common import run
from shenyu_data.cli.main import VERBS, shenyu_data
from shenyu_data.model import errors
from shenyu_data.model.alert_rules import RULES
from shenyu_data.model.config import (
    DESCRIPTIONS,
    ENVIRONMENT,
    RETENTION_DESCRIPTIONS,
    SERVICE_DESCRIPTIONS,
    Config,
    RetentionTable,
    parse_config,
)
from shenyu_data.model.config_alerts import (
    ALERTS_DESCRIPTIONS,
    RULE_DESCRIPTIONS,
    AlertsTable,
)
from shenyu_data.model.config_notifications import (
    MAIL_DESCRIPTIONS,
    NOTIFICATIONS_DESCRIPTIONS,
    WEBHOOK_DESCRIPTIONS,
    MailTable,
    NotificationsTable,
    WebhookTable,
)
from shenyu_data.model.config_schedule import (
    JOB_DESCRIPTIONS,
    SCHEDULE_DESCRIPTIONS,
    ScheduleTable,
)
from shenyu_data.model.config_watch import WATCH_DESCRIPTIONS, WatchTable
from shenyu_data.model.errors import ShenyuDataError
from shenyu_data.model.findings import Finding
from shenyu_data.model.retention import DEFAULT_GRACE_S, DEFAULT_RETENTION
from shenyu_data.operations.acknowledged import write_acknowledgements
from shenyu_data.operations.configuration import _usual_places
from shenyu_data.operations.places import state_folder, state_of
from tests.cli.conftest import ACKNOWLEDGED

ROOT = Path(__file__).resolve().parents[2]
CLI = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
CONFIGURATION = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
CHAT = {"id": 1, "messages": [{"role": "user", "content": "你好"}]}


def sections(page: str, level: int) -> dict[str, str]:
    """Give the sections of a page at a level of heading, by their titles without backticks."""
    parts = re.split(rf"^#{{{level}}} (.+)\n", page, flags=re.MULTILINE)
    return {
        title.replace("`", ""): re.split(rf"^#{{1,{level}}} ", text, flags=re.MULTILINE)[0]
        for title, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def rows(text: str) -> list[list[str]]:
    """Give the cells of the tables' rows, without the headers."""
    table = [line for line in text.splitlines() if line.startswith("|")]
    split = [re.split(r"(?<!\\)\|", line.strip("|")) for line in table]
    rules = {number for number, line in enumerate(table) if not line.strip("|- ")}
    headers = {number - 1 for number in rules}
    return [
        [cell.strip() for cell in cells]
        for number, cells in enumerate(split)
        if number not in rules | headers
    ]


def codes(cell: str) -> list[str]:
    """Give what stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


PARTS = sections(CLI, 2)
VERB_PARTS = sections(PARTS["Verbs"], 3)


def commands() -> Iterator[tuple[str, click.Command]]:
    """Give every command that does something, by the words that call it."""
    context = click.Context(shenyu_data)
    for verb in VERBS:
        command = shenyu_data.get_command(context, verb)
        if command is not None:
            yield from commands_of(verb, command)


def commands_of(words: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """Give a command, if it does something by itself, and those below it."""
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield words, command
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from commands_of(f"{words} {name}", below)


COMMANDS = dict(commands())


def shown(option: click.Option) -> str:
    """Give an option as the help shows it: ``--jobs N``, ``--full``."""
    value = "" if option.is_flag else option.metavar or ""
    return " ".join(option.opts) + ("" if value[:1] in ("", "[") else " ") + value


def flags(command: click.Command) -> set[str]:
    return {shown(option) for option in command.params if isinstance(option, click.Option)}


COMMON = set.intersection(*map(flags, COMMANDS.values()))


def title(name: str, command: click.Command) -> str:
    """Give a verb with its arguments: ``restore SNAPSHOT``, ``validate [PATH]``."""
    words = [name]
    for argument in command.params:
        if isinstance(argument, click.Argument):
            word = str(argument.name).upper()
            words.append(word if argument.required else f"[{word}]")
    return " ".join(words)


TITLES = {name: title(name, command) for name, command in COMMANDS.items()}


def test_every_verb_has_a_section_and_every_section_a_verb() -> None:
    assert sorted(VERB_PARTS) == sorted(TITLES.values())


def test_the_list_of_verbs_leads_to_their_sections() -> None:
    listed = re.findall(r"^\| \[`([^`]+)`\]\(#([^)]+)\)", CLI, re.MULTILINE)
    anchors = {name: re.sub(r"[^\w -]", "", TITLES[name]).lower() for name in COMMANDS}
    assert dict(listed) == {name: anchor.replace(" ", "-") for name, anchor in anchors.items()}


def test_the_common_flags_are_documented() -> None:
    assert len(COMMON) >= 8
    assert {code for row in rows(PARTS["Common flags"]) for code in codes(row[0])} == COMMON


def test_the_flags_of_the_program_itself_are_documented() -> None:
    words = flags(shenyu_data) | set(shenyu_data.context_settings["help_option_names"])
    table = CLI[CLI.index("Without a verb") : CLI.index("## Common flags")]
    assert {code for row in rows(table) for code in codes(row[0])} == words


@pytest.mark.parametrize("name", COMMANDS)
def test_the_flags_of_a_verb_are_documented(name: str) -> None:
    listed = {
        code
        for row in rows(VERB_PARTS[TITLES[name]])
        for code in codes(row[0])
        if code.startswith("-")
    }
    own = flags(COMMANDS[name]) - COMMON
    assert listed == own
    assert ("It has no flags of its own." in VERB_PARTS[TITLES[name]]) == (not own)


@pytest.mark.parametrize("page", [CLI, CONFIGURATION], ids=["cli", "configuration"])
def test_every_flag_and_variable_that_is_mentioned_exists(page: str) -> None:
    known = {"--version", "--help"}
    for command in COMMANDS.values():
        known |= {word for option in command.params for word in option.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", page)) <= known
    assert set(re.findall(r"SHENYU_DATA_\w+", page)) <= set(ENVIRONMENT)


def kinds(kind: type[ShenyuDataError] = ShenyuDataError) -> Iterator[type[ShenyuDataError]]:
    """Give the program's errors; tests may make some of their own."""
    if kind.__module__.startswith("shenyu_data."):
        yield kind
    for below in kind.__subclasses__():
        yield from kinds(below)


def test_every_error_code_and_its_exit_status_is_documented() -> None:
    table = [(codes(row[0])[0], int(row[1])) for row in rows(PARTS["Error codes"])]
    assert table == sorted(table)
    assert dict(table) == {kind.code: kind.exit_status for kind in kinds()}
    assert len(dict(table)) == len(table)


def test_every_exit_status_is_documented() -> None:
    statuses = [value for name, value in vars(errors).items() if name.startswith("EXIT_")]
    assert [int(row[0]) for row in rows(PARTS["Exit status"])] == sorted(statuses)
    for text in VERB_PARTS.values():
        assert {int(word) for word in re.findall(r"\*\*(\d+)\*\*", text)} <= set(statuses)


def test_the_fields_of_a_finding_are_documented() -> None:
    fields = [codes(row[0])[0] for row in rows(PARTS["JSON"])]
    assert fields == list(Finding.__struct_fields__)


def test_every_configuration_key_is_documented() -> None:
    table = rows(sections(CONFIGURATION, 2)["The file"])
    listed = [codes(row[0])[0] for row in table]
    assert listed == list(DESCRIPTIONS) == list(Config.__struct_fields__)
    for key, (_, _, meaning) in zip(listed, table, strict=True):
        start = DESCRIPTIONS[key].split(".")[0]
        assert meaning.replace("`", "").startswith(start), key


def test_every_retention_key_is_documented() -> None:
    part = sections(CONFIGURATION, 2)["What is kept"]
    listed = {codes(row[0])[0]: row[2].replace("`", "") for row in rows(part)}
    described = {key: about.replace("`", "") for key, about in RETENTION_DESCRIPTIONS.items()}
    assert listed == described
    assert list(listed) == list(described) == list(RetentionTable.__struct_fields__)


def test_every_service_key_is_documented() -> None:
    part = sections(CONFIGURATION, 2)["The service"]
    listed = {codes(row[0])[0]: row[2] for row in rows(part)}
    assert listed == SERVICE_DESCRIPTIONS


def test_every_schedule_key_is_documented() -> None:
    part = sections(CONFIGURATION, 2)["The schedule"]
    listed = {codes(row[0])[0]: row[2].replace("`", "") for row in rows(part)}
    described = SCHEDULE_DESCRIPTIONS | JOB_DESCRIPTIONS
    assert listed == described


def test_every_key_of_notifications_is_documented() -> None:
    part = sections(CONFIGURATION, 2)["Notifications"]
    listed = {codes(row[0])[0]: row[2].replace("`", "") for row in rows(part)}
    assert listed == NOTIFICATIONS_DESCRIPTIONS | WEBHOOK_DESCRIPTIONS | MAIL_DESCRIPTIONS
    for described, table in (
        (NOTIFICATIONS_DESCRIPTIONS, NotificationsTable),
        (WEBHOOK_DESCRIPTIONS, WebhookTable),
        (MAIL_DESCRIPTIONS, MailTable),
    ):
        assert set(described) == {field.encode_name for field in msgspec.structs.fields(table)}


def test_every_alerts_key_is_documented() -> None:
    part = sections(CONFIGURATION, 2)["Alerts"]
    listed = {codes(row[0])[0]: row[2] for row in rows(part)}
    assert listed == ALERTS_DESCRIPTIONS | RULE_DESCRIPTIONS | {
        "repeat": RULE_DESCRIPTIONS["repeat"]  # the table of all rules has it first
    }
    own = {name for rule in RULES for name in AlertsTable().rule(rule.code).__struct_fields__}
    assert set(RULE_DESCRIPTIONS) == own


def test_every_watch_key_is_documented() -> None:
    part = sections(CONFIGURATION, 2)["Who may touch the data"]
    listed = {codes(row[0])[0]: row[2].replace("`", "") for row in rows(part)}
    assert listed == WATCH_DESCRIPTIONS
    assert list(WATCH_DESCRIPTIONS) == list(WatchTable.__struct_fields__)


def test_every_rule_of_alerts_is_documented() -> None:
    part = sections((ROOT / "docs/status.md").read_text(encoding="utf-8"), 2)["The rules"]
    listed = [(codes(row[0])[0], row[1], row[2]) for row in rows(part)]
    assert listed == [(rule.code, rule.level, rule.about) for rule in RULES]


def test_the_usual_jobs_are_listed() -> None:
    part = sections((ROOT / "docs/schedule.md").read_text(encoding="utf-8"), 2)["Jobs"]
    listed = {codes(row[0])[0]: (codes(row[1]), codes(row[2])) for row in rows(part)}
    usual = {
        job.name: ([" ".join(job.words)], [job.cron.text]) for job in ScheduleTable().all_jobs()
    }
    assert listed == usual


def test_the_retention_that_is_shown_is_the_default() -> None:
    part = sections(CONFIGURATION, 2)["What is kept"]
    (example,) = re.findall(r"^```toml\n(.*?)```", part, re.MULTILINE | re.DOTALL)
    table = parse_config(example, "example").retention
    assert table is not None
    assert table.policy() == DEFAULT_RETENTION
    assert table.grace_s() == DEFAULT_GRACE_S


def test_every_environment_variable_is_documented() -> None:
    table = rows(sections(CONFIGURATION, 2)["The environment"])
    assert [codes(row[0])[0] for row in table] == list(ENVIRONMENT)


def test_the_overview_names_every_key_and_variable() -> None:
    overview = CONFIGURATION.split("\n## ")[0]
    named = set(codes("".join(line for line in overview.splitlines() if line.startswith("|"))))
    assert named >= set(DESCRIPTIONS) | set(ENVIRONMENT)


def test_the_files_are_listed_in_the_order_in_which_they_are_looked_for() -> None:
    listed = re.findall(r"^\d\. `([^`]+\.toml)`", CONFIGURATION, re.MULTILINE)
    assert listed == _usual_places({"HOME": "~"})


def test_the_example_files_parse_and_set_every_key_between_them() -> None:
    examples = re.findall(r"^```toml\n(.*?)```", CONFIGURATION, re.MULTILINE | re.DOTALL)
    values = [msgspec.structs.asdict(parse_config(text, "example")) for text in examples]
    assert {key for one in values for key, value in one.items() if value} == set(DESCRIPTIONS)


def shape(shown: Any, given: Any, where: str) -> None:
    """Check that two JSON values have the same keys, in the same order, and the same types."""
    if isinstance(shown, dict) and isinstance(given, dict):
        assert list(shown) == list(given), where
        for key in shown:
            shape(shown[key], given[key], f"{where}.{key}")
    elif isinstance(shown, list) and isinstance(given, list):
        if shown and given:
            shape(shown[0], given[0], f"{where}[]")
    elif shown is not None and given is not None:
        assert type(shown) is type(given), where


def test_the_json_of_every_verb_has_the_shape_that_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("CONFIG", "DIR", "REPO"):
        monkeypatch.delenv(f"SHENYU_DATA_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", "correct horse")
    history = tmp_path / "data/histories/ben/chat-history.json"
    user = tmp_path / "data/users/ben.json"
    for path, document in ((history, [CHAT]), (user, {"id": "ben", "created_at": "2025-02-10"})):
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(document), encoding="utf-8")

    def call(*words: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["shenyu-data", *words, "--json"])
        run(shenyu_data)
        return json.loads(capsys.readouterr().out)

    given = {"init": call("init", "--data", "data", "--repo", "repo")}
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", given["init"]["recovery_key"])  # opens faster
    call("backup")
    given["chats search"] = call("chats", "search", "你")
    given["chats show"] = call("chats", "show", "1")
    history.write_text("[")  # torn: every list of findings has something to compare
    given["backup"] = call("backup")
    given["show"] = call("show", "latest", "--user", "ben")
    given["diff"] = call("diff", "latest~1", "live")
    given["timeline"] = call("timeline", "--user", "ben", "--history", "chat-history")
    given["restore"] = call("restore", "latest", "--to", "target")
    os.utime(history, (1, 1))
    given["repair"] = call("repair", "--yes")
    history.write_text("[")
    os.utime(history, (1, 1))
    given["recover"] = call("recover", "--no-service", "--yes")
    monkeypatch.setenv("SHENYU_DATA_NEW_PASSPHRASE", "another")
    for name in ("users list", "chats list"):
        given[name] = call(*name.split())
    given["key list"] = call("key", "list")
    given["key add"] = call("key", "add", "--label", "anna")
    given["key remove"] = call("key", "remove", "anna", "--yes")
    given["key export"] = call("key", "export", "--yes")
    given["key rotate"] = call("key", "rotate", "--yes")
    monkeypatch.setenv("SHENYU_DATA_TO_PASSPHRASE", "another horse")
    with monkeypatch.context() as patch:
        patch.setenv("SHENYU_DATA_PASSPHRASE", "another horse")
        call("init", "--data", "data", "--repo", "second", "--config", "other.toml")
    with tarfile.open("shenyu_data_20250210.tar.gz", "w:gz") as archive:
        archive.add("data")
    given["export"] = call("export", "all.jsonl")
    call("export", "export.json", "--format", "guide")
    given["import"] = call("import", "export.json", "--yes")
    given["import-archive"] = call("import-archive", "shenyu_data_20250210.tar.gz")
    given["copy"] = call("copy", "latest", "--to-repo", "second")
    history.write_text(json.dumps([CHAT, {**CHAT, "id": 2}]), encoding="utf-8")
    call("backup")
    history.write_text(json.dumps([{**CHAT, "id": 3}]), encoding="utf-8")  # as when it was torn
    given["backup"] = call("backup")
    given["alerts list"] = call("alerts", "list")
    given["alerts test"] = call("alerts", "test")
    given["status"] = call("status")
    given["alerts silence"] = call("alerts", "silence", "backup-degraded", "--until", "3d")
    given["alerts ack"] = call("alerts", "ack", "--all", "--reason", "x")
    given["prune"] = call("prune", "--keep-last", "1", "--yes")
    given["schedule run"] = call("schedule", "run", "validate")
    for name in ("drill", "drill show"):
        given[name] = call(*name.split())
    for name in ("demo", "snapshots", "verify", "validate", "config show", "config check"):
        given[name] = call(*name.split())
    given["audit show"] = call("audit", "show", "--limit", "1")
    shutil.rmtree(Path(state_of(state_folder(os.environ), "data")) / "audit")
    given["audit accept"] = call("audit", "accept", "--reason", "x", "--yes")
    given["audit verify"] = call("audit", "verify")
    given["schedule show"] = call("schedule", "show")
    given["serve"] = call("serve", "--once")
    given["watch"] = call("watch", "--check")
    given["metrics"] = call("metrics")
    given["metrics"]["metrics"].sort(key=lambda metric: len(metric["labels"]))
    for name in ("schedule install", "schedule remove"):
        given[name] = call(*name.split(), "--systemd", "--scope", "user", "--dry-run")
    given["schedule show"]["jobs"].sort(key=lambda job: job["last"] is None)
    user.chmod(0o604)
    given["permissions check"] = call("permissions", "check")
    given["permissions fix"] = call("permissions", "fix", "--yes")
    given["cleanup hold add"] = call(
        *["cleanup", "hold", "add", "ben", "--chat", "1", "--until", "2999-01-01", "--reason", "x"]
    )
    given["cleanup hold list"] = call("cleanup", "hold", "list")
    given["cleanup hold remove"] = call("cleanup", "hold", "remove", "ben", "--chat", "1")
    write_acknowledgements(state_of(state_folder(os.environ), "data"), [ACKNOWLEDGED])
    given["findings ack"] = call("findings", "ack", "ben", "--reason", "x")
    given["findings list"] = call("findings", "list")
    given["findings revoke"] = call("findings", "revoke", ACKNOWLEDGED.id)
    history.write_text(json.dumps([CHAT, {**CHAT, "id": 2}]), encoding="utf-8")
    given["cleanup"] = call("cleanup", "--keep-newest", "1", "--unsaved-too", "--yes")
    given["compress"] = call("compress", "--offline", "--yes")
    given["decompress"] = call("decompress", "--yes")
    given["erase-user"] = call("erase-user", "ben", "--yes", "--receipt", "receipt.json")
    given["receipt verify"] = call("receipt", "verify", "receipt.json")
    assert set(given) == set(COMMANDS)
    for name, document in given.items():
        (block,) = re.findall(r"^```json\n(.*?)```", VERB_PARTS[TITLES[name]], re.M | re.DOTALL)
        shape(json.loads(block), document, name)
    (block,) = re.findall(r"^```json\n(.*?)```", PARTS["JSON"], re.M | re.DOTALL)
    shape(json.loads(block), call("show", "nosuch"), "error")
    dry_run = call("restore", "latest", "--to", "other", "--dry-run")
    sentence = CLI[CLI.index("With `--dry-run` there are only") :].split(", and with")[0]
    assert set(codes(sentence)[1:]) == set(dry_run)
