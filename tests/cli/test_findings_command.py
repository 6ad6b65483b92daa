"""``findings``: what is missing and was meant, as a person says so."""

import json
import os
from pathlib import Path

from shenyu_data.operations.places import state_folder, state_of
from tests.cli.conftest import ACKNOWLEDGED, Shenyu

HISTORY = "data/histories/ben/chat-history.json"


def clear(place: Path) -> None:
    """Replace a history by one new chat."""
    new = {"id": 1_800_000_000_009, "title": "t", "messages": []}
    (place / HISTORY).write_text(json.dumps([new]))


def test_the_command_that_a_finding_names_acknowledges_it(backed_up: Path, shenyu: Shenyu) -> None:
    clear(backed_up)
    said = shenyu("validate", "--against-snapshots", "--json")
    (finding,) = [one for one in said.json["findings"] if one["code"] == "shrunken-history"]
    words = finding["hint"].split("`")[3].replace("WHY", "asked").split()
    assert shenyu(*words[1:]).out.startswith("Acknowledged: ")
    assert shenyu("validate", "--against-snapshots").status == 0
    assert shenyu("repair", "--yes").out.startswith("Nothing to mend.")
    everything = shenyu("validate", "--against-snapshots", "--all", "--json").json
    assert "acknowledged-loss" in {one["code"] for one in everything["findings"]}
    assert everything["infos"] == len(
        [one for one in everything["findings"] if one["severity"] == "info"]
    )


def test_what_is_revoked_is_named_again(backed_up: Path, shenyu: Shenyu) -> None:
    clear(backed_up)
    (kept,) = shenyu("findings", "ack", "ben", "--reason", "x", "--json").json["acknowledged"]
    assert shenyu("findings", "revoke", kept["id"], "--json").json["revoked"] == kept
    assert shenyu("validate", "--against-snapshots").status == 1
    assert shenyu("findings", "revoke", kept["id"]).status == 2


def test_the_list_is_of_all_or_of_one_user(backed_up: Path, shenyu: Shenyu) -> None:
    clear(backed_up)
    shenyu("findings", "ack", "ben", "--history", "chat-history", "--reason", "fresh\x1bstart")
    listed = shenyu("findings", "list", "--json").json["acknowledged"]
    assert [one["user"] for one in listed] == ["held", "ben"]
    (mine,) = shenyu("findings", "list", "--user", "ben", "--json").json["acknowledged"]
    assert mine["path"] == "histories/ben/chat-history.json"
    text = shenyu("findings", "list").out
    assert mine["id"] in text
    assert "\x1b" not in text


def test_a_reason_must_be_given(backed_up: Path, shenyu: Shenyu) -> None:
    assert shenyu("findings", "ack", "ben").status == 2


def test_what_can_be_no_name_is_refused(backed_up: Path, shenyu: Shenyu) -> None:
    said = shenyu("findings", "ack", "ben", "--history", "../users/x", "--reason", "x")
    assert said.status == 2
    assert shenyu("findings", "ack", "nobody", "--reason", "x").status == 2


def test_an_erasure_forgets_what_was_acknowledged_of_the_user(
    backed_up: Path, shenyu: Shenyu
) -> None:
    clear(backed_up)
    shenyu("findings", "ack", "ben", "--reason", "x")
    assert shenyu("erase-user", "ben", "--yes").status == 0
    (left,) = shenyu("findings", "list", "--json").json["acknowledged"]
    assert left["id"] == ACKNOWLEDGED.id


def test_an_acknowledgement_that_cannot_be_forgotten_leaves_no_receipt(
    backed_up: Path, shenyu: Shenyu
) -> None:
    clear(backed_up)
    shenyu("findings", "ack", "ben", "--reason", "x")
    path = Path(state_of(state_folder(os.environ), str(backed_up / "data")), "acknowledged.json")
    aside = path.with_name("aside")
    path.rename(aside)
    path.symlink_to(aside)  # it is read, but nothing is written through a link
    said = shenyu("erase-user", "ben", "--yes", "--json")
    assert said.status == 3
    assert "acknowledgements-not-forgotten" in {one["code"] for one in said.json["findings"]}
    assert said.json["receipt"] is None
    aside.rename(path)
    assert shenyu("erase-user", "ben", "--yes").status == 0
