"""``shenyu-data validate``: what makes it fail, and the formats it prints."""

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.cli.conftest import Said, Shenyu

LEVELS = ("error", "warning", "info")


def put(place: Path, *severities: str) -> None:
    """Put into a sound data directory what has a finding of each severity, and of no other."""
    if "error" in severities:
        history = place / "data/histories/anna/chat1.json"
        history.write_bytes(history.read_bytes()[:-2])
        os.utime(history, (1, 1))
    if "warning" in severities:
        (place / "data/users/x.tmp").write_bytes(b"{}")
    if "info" in severities:
        (place / "data/notes: 甲 #1?.txt").write_bytes(b"a")


@pytest.mark.parametrize("worst", range(3), ids=LEVELS)
@pytest.mark.parametrize("fail_on", range(3), ids=LEVELS)
def test_it_fails_on_findings_of_the_level_and_worse_ones(
    worst: int, fail_on: int, place: Path, shenyu: Shenyu
) -> None:
    put(place, LEVELS[worst])
    said = shenyu("validate", "--all", "--json")
    assert {finding["severity"] for finding in said.json["findings"]} == {LEVELS[worst]}
    status = shenyu("validate", "--fail-on", LEVELS[fail_on]).status
    assert status == (1 if worst <= fail_on else 0)


def test_nothing_fails_over_a_sound_directory(place: Path, shenyu: Shenyu) -> None:
    for level in LEVELS:
        assert shenyu("validate", "--fail-on", level).status == 0


def test_what_makes_it_fail_is_shown(place: Path, shenyu: Shenyu) -> None:
    put(place, "info")
    said = shenyu("validate", "--fail-on", "info")
    assert said.status == 1
    assert "[unknown-file]" in said.err


def test_format_json_is_the_same_as_json(place: Path, shenyu: Shenyu) -> None:
    put(place, *LEVELS)
    documents = [shenyu("validate", *words).json for words in (["--json"], ["--format", "json"])]
    for document in documents:
        del document["elapsed_s"]
    assert documents[0] == documents[1]


@pytest.mark.parametrize("words", [["--format", "json"], ["--format=json"]])
def test_an_error_is_json_too_where_the_format_is(
    words: list[str], place: Path, shenyu: Shenyu
) -> None:
    said = shenyu("validate", "nowhere", *words)
    assert said.status == 3
    assert said.json["error"]["code"] == "data-directory"


@pytest.mark.parametrize("form", ["text", "sarif"])
def test_formats_that_contradict_are_refused(form: str, place: Path, shenyu: Shenyu) -> None:
    assert shenyu("validate", "--json", "--format", form).status == 2


def test_text_is_the_default_format(place: Path, shenyu: Shenyu) -> None:
    said = shenyu("validate", "--format", "text")
    assert (said.status, said.out.split(",")[0]) == (0, "No errors")


def sarif(said: Said) -> dict[str, Any]:
    """Give the one run of a SARIF log that holds every member that its schema requires."""
    log = json.loads(said.out)
    assert set(log) == {"$schema", "version", "runs"}
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "shenyu-data"
    assert isinstance(driver["version"], str)
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(ids) == len(set(ids))
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"]
        assert rule.get("help", {"text": "-"})["text"]
    for result in run["results"]:
        assert result["message"]["text"]
        assert result["level"] in ("error", "warning", "note", "none")
        assert ids[result["ruleIndex"]] == result["ruleId"]
        (location,) = result["locations"]
        artifact = location["physicalLocation"]["artifactLocation"]
        assert artifact["uriBaseId"] in run["originalUriBaseIds"]
        parts = urlsplit(artifact["uri"])
        assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
        assert parts.path.isascii()
        for logical in location.get("logicalLocations", []):
            assert isinstance(logical["fullyQualifiedName"], str)
    for base in run["originalUriBaseIds"].values():
        assert base["uri"].endswith("/")
        assert urlsplit(base["uri"]).scheme == "file"
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is True
    assert invocation["exitCode"] == said.status
    found: dict[str, Any] = run
    return found


def test_sarif_holds_every_finding_and_what_its_schema_requires(
    place: Path, shenyu: Shenyu
) -> None:
    put(place, *LEVELS)
    (place / "data/histories/ben/chat-history.json").write_text('[{"id": 1}]')
    listed = shenyu("validate", "--all", "--json").json["findings"]
    said = shenyu("validate", "--all", "--format", "sarif")
    assert (said.status, said.err) == (1, "")
    run = sarif(said)
    levels = {"error": "error", "warning": "warning", "info": "note"}
    assert [
        (
            result["ruleId"],
            result["level"],
            result["message"]["text"],
            unquote(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]),
            result["locations"][0]
            .get("logicalLocations", [{"fullyQualifiedName": None}])[0]
            .get("fullyQualifiedName"),
        )
        for result in run["results"]
    ] == [
        (one["code"], levels[one["severity"]], one["message"], one["path"], one["pointer"])
        for one in listed
    ]
    assert len(listed) >= 4
    base = urlsplit(run["originalUriBaseIds"]["DATA"]["uri"]).path
    assert Path(unquote(base)).samefile(place / "data")


def test_sarif_of_a_sound_directory_has_no_result(place: Path, shenyu: Shenyu) -> None:
    said = shenyu("validate", "--format", "sarif")
    assert said.status == 0
    assert sarif(said)["results"] == []
