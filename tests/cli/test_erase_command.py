"""``erase-user`` and ``receipt verify`` as people call them."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shenyu_data.cli.common import run
from shenyu_data.cli.main import shenyu_data
from shenyu_data.model.expiry_holds import Hold
from shenyu_data.operations.holds import HoldFiles, read_holds, write_holds
from tests.cli.conftest import Shenyu


def ben(place: Path) -> list[str]:
    return sorted(
        str(path.relative_to(place / "data"))
        for path in (place / "data").rglob("*")
        if "ben" in str(path.relative_to(place / "data"))
    )


def test_it_erases_and_tells_what(backed_up: Path, shenyu: Shenyu) -> None:
    said = shenyu("erase-user", "ben", "--yes", "--reason", "asked for", "--json")
    assert said.status == 0
    told = said.json
    assert told["documents"] == ["users/ben.json", "histories/ben/chat-history.json"]
    assert told["live"]["documents"] == told["live"]["overwritten"] == 2
    assert (told["snapshots_count"], told["keys_destroyed"]) == (1, 1)
    assert told["complete"] is True
    assert ben(backed_up) == []
    receipt = json.loads(Path(told["receipt"]).read_text())
    assert (receipt["user"], receipt["reason"]) == ("ben", "asked for")
    assert receipt["erased_for_good_at"] == receipt["completed_at"]
    assert shenyu("restore", "latest", "--to", "target", "--user", "ben").status == 2
    assert shenyu("restore", "latest", "--to", "target").status == 0
    assert (backed_up / "target/users/anna.json").exists()
    assert not (backed_up / "target/users/ben.json").exists()
    assert shenyu("verify", "--read-data").status == 0


def test_a_dry_run_changes_nothing(backed_up: Path, shenyu: Shenyu) -> None:
    before = sorted(backed_up.rglob("*"))
    said = shenyu("erase-user", "ben", "--dry-run")
    assert said.status == 0
    assert "histories/ben/chat-history.json" in said.out
    assert sorted(backed_up.rglob("*")) == before


def test_without_yes_nothing_is_done(backed_up: Path, shenyu: Shenyu) -> None:
    before = sorted(backed_up.rglob("*"))
    said = shenyu("erase-user", "ben")
    assert said.status == 2
    assert "--yes" in said.err
    assert sorted(backed_up.rglob("*")) == before


@pytest.mark.parametrize(("typed", "status"), [("ben", 0), ("anna", 2), ("y", 2), ("", 2)])
def test_at_a_terminal_the_name_must_be_typed(
    backed_up: Path, monkeypatch: pytest.MonkeyPatch, typed: str, status: int
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(typed + "\n"))
    monkeypatch.setattr(sys, "argv", ["shenyu-data", "erase-user", "ben"])
    assert run(shenyu_data) == status
    assert (ben(backed_up) == []) == (status == 0)


@pytest.mark.parametrize("name", ["nobody", "..", ".", "a/b", "", "x" * 300, "ben.json", "BEN"])
def test_a_user_that_never_was_is_refused(backed_up: Path, shenyu: Shenyu, name: str) -> None:
    before = sorted(backed_up.rglob("*"))
    said = shenyu("erase-user", name, "--yes")
    assert said.status == 2
    assert sorted(backed_up.rglob("*")) == before


def test_a_user_in_old_snapshots_alone_and_one_never_backed_up_are_erased(
    backed_up: Path, shenyu: Shenyu
) -> None:
    (backed_up / "data/users/ben.json").unlink()
    shutil.rmtree(backed_up / "data/histories/ben")
    (backed_up / "data/users/new.json").write_text("{}")
    assert shenyu("backup", "--data", "data").status == 0
    (backed_up / "data/users/newer.json").write_text("{}")
    for name, snapshots in (("ben", 1), ("new", 1), ("newer", 0)):
        said = shenyu("erase-user", name, "--yes", "--json")
        assert (said.status, said.json["snapshots_count"]) == (0, snapshots), name
    assert shenyu("verify", "--read-data").status == 0


def test_again_it_finds_nothing_left_and_issues_another_receipt(
    backed_up: Path, shenyu: Shenyu
) -> None:
    first = shenyu("erase-user", "ben", "--yes", "--receipt", "one.json", "--json").json
    second = shenyu("erase-user", "ben", "--yes", "--receipt", "two.json", "--json").json
    assert second["erased_before"] is not None
    assert second["documents"] == second["destroyed_objects"] == []
    one, two = (json.loads(Path(item["receipt"]).read_text()) for item in (first, second))
    assert one["backups"] == two["backups"]
    assert one["erased_at"] == two["erased_at"]


@pytest.mark.parametrize("taken", ["r.json", "r.json.sig", "r.json.pem"])
def test_a_receipt_replaces_nothing_and_is_looked_at_first(
    backed_up: Path, shenyu: Shenyu, taken: str
) -> None:
    (backed_up / taken).write_text("mine")
    assert shenyu("erase-user", "ben", "--yes", "--receipt", "r.json").status == 2
    assert (backed_up / taken).read_text() == "mine"
    assert ben(backed_up)
    assert shenyu("erase-user", "ben", "--yes", "--receipt", "no/such/r.json").status == 2
    assert ben(backed_up)


@pytest.mark.parametrize(
    ("kept", "status", "days"), [("30d", 0, 30), ("0d", 0, 0), ("1w", 0, 7), ("3m", 2, None)]
)
def test_what_the_storage_keeps_moves_the_date(
    backed_up: Path, shenyu: Shenyu, kept: str, status: int, days: int | None
) -> None:
    from datetime import datetime, timedelta

    with (backed_up / "shenyu-data.toml").open("a") as file:
        file.write(f'versions_kept = "{kept}"\n')
    assert shenyu("erase-user", "ben", "--yes", "--receipt", "r.json").status == status
    if days is not None:
        told = json.loads((backed_up / "r.json").read_text())
        done, good = (
            datetime.fromisoformat(told[key]) for key in ("completed_at", "erased_for_good_at")
        )
        assert good - done == timedelta(days=days)


@pytest.mark.parametrize("chat", [(), ("--chat", "17")], ids=["user", "chat"])
def test_whoever_is_held_is_not_erased(
    backed_up: Path, shenyu: Shenyu, chat: tuple[str, ...]
) -> None:
    shenyu("cleanup", "hold", "add", "ben", *chat, "--reason", "court")
    before = ben(backed_up)
    said = shenyu("erase-user", "ben", "--yes", "--json")
    assert (said.status, said.json["error"]["code"]) == (2, "user-held")
    assert "court" in said.json["error"]["message"]
    planned = shenyu("erase-user", "ben", "--dry-run")
    assert planned.status == 1
    assert "refuse" in planned.out
    assert "court" in planned.out
    assert ben(backed_up) == before
    assert shenyu("erase-user", "anna", "--yes").status == 0


def test_held_too_erases_the_user_and_the_holds(backed_up: Path, shenyu: Shenyu) -> None:
    shenyu("cleanup", "hold", "add", "ben", "--reason", "court")
    shenyu("cleanup", "hold", "add", "ben", "--chat", "17")
    shenyu("cleanup", "hold", "add", "anna")
    listed = shenyu("cleanup", "hold", "list", "--json").json
    old = [os.open(path, os.O_RDONLY) for path in listed["files"]]
    assert shenyu("erase-user", "ben", "--dry-run", "--held-too").status == 0
    said = shenyu("erase-user", "ben", "--yes", "--held-too", "--json")
    assert said.status == 0
    assert [hold["chat"] for hold in said.json["holds"]] == [None, "17"]
    left = shenyu("cleanup", "hold", "list", "--json")
    assert left.status == 0
    assert [hold["user"] for hold in left.json["holds"]] == ["anna", "held"]
    assert all(b"ben" not in Path(path).read_bytes() for path in listed["files"])
    for descriptor in old:
        assert not os.read(descriptor, 1 << 20).strip(b"\0"), "the old file is overwritten"
        os.close(descriptor)


def test_a_hold_that_is_over_holds_nobody_and_leaves_no_name(
    backed_up: Path, shenyu: Shenyu
) -> None:
    shenyu("cleanup", "hold", "add", "anna")
    files = shenyu("cleanup", "hold", "list", "--json").json["files"]
    both = HoldFiles(*files)
    write_holds(both, [*read_holds(both), Hold(user="ben", until_ms=1)])
    assert shenyu("erase-user", "ben", "--yes").status == 0
    assert [hold.user for hold in read_holds(both)] == ["anna", "held"]


def test_a_damaged_file_of_holds_stops_the_erasure_before_it_begins(
    backed_up: Path, shenyu: Shenyu
) -> None:
    shenyu("cleanup", "hold", "add", "anna")
    path = Path(shenyu("cleanup", "hold", "list", "--json").json["files"][0])
    path.write_bytes(path.read_bytes().replace(b"anna", b"bnna"))
    before = ben(backed_up)
    for flags in ((), ("--held-too",)):
        said = shenyu("erase-user", "ben", "--yes", "--json", *flags)
        assert (said.status, said.json["error"]["code"]) == (3, "holds-damaged")
    path.unlink()
    assert shenyu("erase-user", "ben", "--yes").status == 3
    assert ben(backed_up) == before
    assert shenyu("erase-user", "ben", "--yes", "--held-too").status == 0


def test_holds_that_cannot_be_written_leave_the_erasure_without_a_receipt(
    backed_up: Path, shenyu: Shenyu
) -> None:
    shenyu("cleanup", "hold", "add", "ben")
    path = Path(shenyu("cleanup", "hold", "list", "--json").json["files"][1])
    aside = path.with_name("aside.json")
    path.rename(aside)
    path.symlink_to(aside)  # it is read, but nothing is written through a link
    said = shenyu("erase-user", "ben", "--yes", "--held-too", "--json")
    assert said.status == 3
    assert "holds-not-forgotten" in {finding["code"] for finding in said.json["findings"]}
    assert said.json["receipt"] is None
    aside.rename(path)
    assert shenyu("erase-user", "ben", "--yes", "--held-too").status == 0


def test_a_hard_link_and_a_link_are_told_and_their_other_ends_kept(
    backed_up: Path, shenyu: Shenyu
) -> None:
    other, outside = backed_up / "data/other.txt", backed_up / "outside.txt"
    outside.write_text("not the user's")
    other.hardlink_to(backed_up / "data/users/ben.json")
    (backed_up / "data/histories/ben/link.json").symlink_to(outside)
    content = other.read_bytes()
    said = shenyu("erase-user", "ben", "--yes", "--receipt", "r.json", "--json")
    assert said.status == 1
    codes = sorted(item["code"] for item in said.json["findings"])
    assert codes == ["hard-link-remains", "link-target-remains"]
    assert other.read_bytes() == content
    assert outside.read_text() == "not the user's"
    assert ben(backed_up) == []
    told = json.loads((backed_up / "r.json").read_text())
    assert [item["code"] for item in told["reservations"]] == codes
    assert told["live"]["links"] == 1


# ------------------------------------------------------------------------------- receipt verify


def test_a_receipt_of_the_repository_holds(place: Path, shenyu: Shenyu) -> None:
    said = shenyu("receipt", "verify", "receipt.json", "--repo", "repo", "--json")
    assert (said.status, said.json["issuer_checked"]) == (0, True)
    assert said.json["receipt"]["user"] == "carol 莲"
    assert shenyu("receipt", "verify", "receipt.json", "--repo", "repo").out.count("carol 莲") == 1


def test_neither_repository_nor_passphrase_is_needed(
    place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SHENYU_DATA_PASSPHRASE")
    monkeypatch.chdir(tmp_path)
    assert shenyu("receipt", "verify", f"{place}/receipt.json").status == 1
    pem = f"{place}/receipt.json.pem"
    assert shenyu("receipt", "verify", f"{place}/receipt.json", "--public-key", pem).status == 0


def test_another_repositorys_key_does_not_fit(
    place: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", (place / "other-recovery").read_text())
    said = shenyu("receipt", "verify", "receipt.json", "--repo", "other", "--json")
    assert (said.status, said.json["error"]["code"]) == (3, "invalid-receipt")


@pytest.mark.parametrize("file", ["receipt.json", "receipt.json.sig"])
def test_a_single_changed_byte_is_noticed(place: Path, shenyu: Shenyu, file: str) -> None:
    content = (place / file).read_bytes()
    for at in range(0, len(content), 37):
        changed = bytearray(content)
        changed[at] ^= 1
        (place / file).write_bytes(changed)
        said = shenyu("receipt", "verify", "receipt.json", "--public-key", "receipt.json.pem")
        assert said.status == 3, at


@pytest.mark.parametrize(
    "arguments",
    [
        ["nosuch.json"],
        ["."],
        ["receipt.json", "--public-key", "nosuch.pem"],
        ["receipt.json", "--public-key", "0" * 63],
        ["receipt.json", "--public-key", "shenyu-data.toml"],
        ["receipt.json", "--public-key", "0" * 64, "--repo", "repo"],
    ],
)
def test_a_wrong_call_is_a_wrong_call(place: Path, shenyu: Shenyu, arguments: list[str]) -> None:
    said = shenyu("receipt", "verify", *arguments)
    assert said.status in (2, 3)
    assert "unexpected" not in said.err


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_alone_verifies_a_receipt_and_refuses_an_altered_one(place: Path) -> None:
    command = "openssl pkeyutl -verify -pubin -inkey receipt.json.pem -rawin -in receipt.json"
    words = [*command.split(), "-sigfile", "receipt.json.sig"]
    assert subprocess.run(words, cwd=place, capture_output=True).returncode == 0
    text = (place / "receipt.json").read_text()
    (place / "receipt.json").write_text(text.replace("carol", "karol"))
    assert subprocess.run(words, cwd=place, capture_output=True).returncode != 0
