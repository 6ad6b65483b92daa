"""``shenyu-data audit``: what changed live data is noted, however it ended."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from shenyu_data.operations.places import state_folder, state_of
from tests.cli.conftest import Shenyu


def folder(place: Path) -> Path:
    return Path(state_of(state_folder(os.environ), str(place / "data"))) / "audit"


def noted(shenyu: Shenyu) -> list[tuple[str, str, str | None]]:
    """Return kind, verb and outcome, oldest first, without the first line."""
    entries = shenyu("audit", "show", "--json").json["entries"]
    return [(one["kind"], one["verb"], one["outcome"]) for one in reversed(entries)][1:]


def test_a_change_is_noted_before_and_after(backed_up: Path, shenyu: Shenyu) -> None:
    assert shenyu("restore", "latest", "--in-place", "--yes").status == 0
    assert (
        shenyu("key", "add", "--label", "x", "--new-passphrase-file", "new-passphrase").status == 0
    )
    assert noted(shenyu) == [
        ("begun", "restore", None),
        ("ended", "restore", "good"),
        ("begun", "key add", None),
        ("ended", "key add", "good"),
    ]
    entry = shenyu("audit", "show", "--json", "--limit", "1").json["entries"][0]
    assert (entry["uid"], entry["pid"]) == (os.getuid(), os.getpid())
    assert len(entry["repository"]) == 32


def test_what_changes_nothing_is_not_noted(backed_up: Path, shenyu: Shenyu) -> None:
    shenyu("backup")
    shenyu("validate")
    shenyu("cleanup", "--older-than", "1d", "--dry-run")
    assert shenyu("restore", "latest", "--to", "target").status == 0
    assert shenyu("audit", "show", "--json").json["entries"] == []
    assert "Nothing is noted" in shenyu("audit", "show").out


def test_an_error_is_noted_by_its_code(backed_up: Path, shenyu: Shenyu) -> None:
    assert shenyu("restore", "latest", "--in-place", "--user", "nobody", "--yes").status == 2
    (entry, *_) = shenyu("audit", "show", "--json").json["entries"]
    assert (entry["outcome"], entry["code"]) == ("failed", "user-not-found")
    assert "user-not-found" in shenyu("audit", "show").out


def test_no_name_of_a_user_is_in_it(backed_up: Path, shenyu: Shenyu) -> None:
    shenyu("restore", "latest", "--in-place", "--user", "anna", "--yes")
    shenyu("findings", "ack", "anna", "--reason", "anna asked to")
    shenyu("cleanup", "hold", "add", "anna", "--reason", "anna asked to")
    shenyu("cleanup", "hold", "remove", "anna")
    assert shenyu("erase-user", "anna", "--yes", "--receipt", "r").status == 0
    for path in folder(backed_up).iterdir():
        assert b"anna" not in path.read_bytes()
    assert len(noted(shenyu)) == 10


def test_a_backup_notes_where_the_log_ends(backed_up: Path, shenyu: Shenyu) -> None:
    assert shenyu("permissions", "fix", "--yes").status == 0  # which unlocks no repository
    assert shenyu("audit", "verify", "--json").json["anchors"] == 0
    assert shenyu("backup").status == 0
    said = shenyu("audit", "verify", "--json")
    assert (said.status, said.json["anchored"]) == (0, 3)
    (path,) = folder(backed_up).iterdir()
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:1]))
    said = shenyu("audit", "verify")
    assert said.status == 4
    assert "its end was removed" in said.err
    assert shenyu("verify", "--read-data").status == 0, "it is no damage of the repository"


def test_pages_and_times(backed_up: Path, shenyu: Shenyu) -> None:
    for _ in range(3):
        shenyu("permissions", "fix", "--yes")
    first = shenyu("audit", "show", "--limit", "3", "--json").json
    assert [one["sequence"] for one in first["entries"]] == [7, 6, 5]
    assert first["after"] == 5
    rest = shenyu("audit", "show", "--after", "5", "--json").json
    assert [one["sequence"] for one in rest["entries"]] == [4, 3, 2, 1]
    assert rest["after"] is None
    assert "more: --after 5" in shenyu("audit", "show", "--limit", "3").out
    assert shenyu("audit", "show", "--since", "2999-01-01", "--json").json["entries"] == []


def test_an_altered_line_is_not_shown_and_told(backed_up: Path, shenyu: Shenyu) -> None:
    shenyu("permissions", "fix", "--yes")
    (path,) = folder(backed_up).iterdir()
    path.write_bytes(path.read_bytes().replace(b'"verb":"perm', b'"verb":"term', 1))
    said = shenyu("audit", "show")
    assert said.status == 1
    assert "term" not in said.out
    assert "[audit-altered]" in said.err
    assert shenyu("audit", "verify").status == 4


def test_a_change_that_cannot_be_noted_is_made_all_the_same(
    backed_up: Path, shenyu: Shenyu
) -> None:
    folder(backed_up).rmdir()
    folder(backed_up).write_bytes(b"in the way")
    said = shenyu("cleanup", "hold", "add", "anna", "--json")
    assert said.status == 0
    assert "not-audited" in {one["code"] for one in said.json["findings"]}
    assert any(
        one["user"] == "anna" for one in shenyu("cleanup", "hold", "list", "--json").json["holds"]
    )


@pytest.mark.parametrize("words", [["prune", "--yes"], ["repair", "--yes"]])
def test_verbs_that_are_also_jobs_are_noted_in_both(
    backed_up: Path, shenyu: Shenyu, words: list[str]
) -> None:
    assert shenyu(*words).status == 0
    assert [kind for kind, _, _ in noted(shenyu)] == ["begun", "ended"]


def test_a_state_folder_that_was_lost_is_accepted_with_a_reason(
    backed_up: Path, shenyu: Shenyu
) -> None:
    shenyu("permissions", "fix", "--yes")
    shenyu("backup")
    shutil.rmtree(folder(backed_up).parent)
    said = shenyu("audit", "verify")
    assert said.status == 4
    assert "audit accept" in said.err
    words = ("audit", "accept", "--reason", "the disk died")
    assert shenyu(*words).status == 2, "nobody was asked"
    assert "up to line 3" in shenyu(*words, "--dry-run").out
    assert shenyu("audit", "verify").status == 4, "nothing was accepted yet"
    assert "Accepted as lost: lines 1 to 3" in shenyu(*words, "--yes").out
    said = shenyu("audit", "verify")
    assert said.status == 0
    assert "lines 1 to 3 of what was noted before: the disk died" in said.out
    assert shenyu("audit", "verify", "--json").json["accepted"][0]["lost"] == [
        {"first": 1, "last": 3}
    ]
    assert "accepted" in shenyu("audit", "show").out
    assert "Nothing is lost" in shenyu(*words, "--yes").out
    assert shenyu("verify", "--read-data").status == 0


@pytest.mark.parametrize("reason", ["", "two\nlines", "x" * 1001])
def test_a_reason_that_is_none_accepts_nothing(
    backed_up: Path, shenyu: Shenyu, reason: str
) -> None:
    shenyu("permissions", "fix", "--yes")
    shenyu("backup")
    shutil.rmtree(folder(backed_up).parent)
    assert shenyu("audit", "accept", "--reason", reason, "--yes").status == 2
    assert shenyu("audit", "verify").status == 4


def test_an_altered_end_cannot_be_accepted(backed_up: Path, shenyu: Shenyu) -> None:
    shenyu("permissions", "fix", "--yes")
    shenyu("backup")
    (path,) = folder(backed_up).iterdir()
    path.write_bytes(path.read_bytes()[:-9] + b"x" * 8 + b"\n")
    said = shenyu("audit", "accept", "--reason", "the disk died", "--yes")
    assert said.status == 3
    assert "Move the folder audit" in said.err


def test_an_erasure_takes_the_reason_that_names_the_user(backed_up: Path, shenyu: Shenyu) -> None:
    shenyu("permissions", "fix", "--yes")
    shenyu("backup")
    shutil.rmtree(folder(backed_up))
    shenyu("audit", "accept", "--reason", "anna pulled the plug", "--yes")
    assert shenyu("erase-user", "anna", "--yes", "--receipt", "r").status == 0
    said = shenyu("audit", "verify", "--json")
    assert (said.status, said.json["accepted"][0]["reason"]) == (0, None)
