"""The main job on a repository in a bucket, of a real S3 server, with worker processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.open import open_storage
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.s3 import S3Server
from shenyu_data.testing.scenario import PASSPHRASE, bring_back, check_whole, look, rich_past, take
from shenyu_data.testing.tree import read_tree

USERS = 450  # enough for worker processes


def shenyu(*words: str, secret: str = PASSPHRASE) -> Any:
    """Call the command line in a process of its own; return its JSON document."""
    done = subprocess.run(
        [sys.executable, "-m", "shenyu_data.cli.main", *words, "--json"],
        env={**os.environ, "SHENYU_DATA_PASSPHRASE": secret},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_init_backup_restore_and_verify_in_a_bucket_with_several_jobs(
    s3: S3Server, tmp_path: Path
) -> None:
    location = s3.fresh()
    data = Application(tmp_path / "data")
    for number in range(USERS):
        data.add_user(f"{number:064x}", [chat(number)])
    config = tmp_path / "config.toml"
    where = ("--config", str(config), "--jobs", "2")
    made = shenyu("init", *where, "--data", str(data.folder), "--repo", location)
    assert made["repository"] == location
    assert f'repository = "{location}"' in config.read_text()
    assert s3.secret not in config.read_text()

    first = shenyu("backup", *where)
    for number in range(0, USERS, 3):
        data.prepend_chat(f"{number:064x}", chat(9000 + number))
    second = shenyu("backup", *where)
    assert (first["kind"], second["kind"]) == ("full", "incremental")
    assert shenyu("verify", *where, "--read-data")["verified"] is True
    restored = tmp_path / "restored"
    shenyu("restore", "latest", *where, "--to", str(restored))
    assert read_tree(restored) == read_tree(data.folder)
    assert shenyu("config", "check", *where)["snapshots_count"] == 2


def test_a_rich_past_in_a_bucket_restores_whole(s3: S3Server, tmp_path: Path) -> None:
    past = rich_past(tmp_path / "data", open_storage(s3.fresh()))
    for taken in past.taken:
        check_whole(past.repository, taken)
    assert look(past.repository).errors == {}


def test_damage_in_a_bucket_is_named_and_the_rest_restores(s3: S3Server, tmp_path: Path) -> None:
    location = s3.fresh()
    data = Application(tmp_path / "data")
    data.add_user("anna", [chat(1)])
    repository, _ = create_repository(open_storage(location), PASSPHRASE)
    first = take(repository, data)
    data.add_user("ben", [chat(2)])
    second = take(repository, data)
    packs = sorted(
        (s3.objects(location) / "packs").iterdir(), key=lambda path: path.stat().st_ctime
    )
    content = bytearray(packs[-1].read_bytes())
    content[len(content) // 2] ^= 1
    packs[-1].write_bytes(content)

    assert set(look(repository).errors) == {f"packs/{packs[-1].name}"}
    check_whole(repository, first)
    restored = bring_back(repository, second.snapshot)
    assert restored.findings
    assert b"users/anna.json" in restored.tree.nodes


def test_an_unchanged_backup_costs_a_handful_of_requests_however_long_the_past(
    s3: S3Server, tmp_path: Path
) -> None:
    location = s3.fresh()
    data = Application(tmp_path / "data")
    for number in range(30):
        data.add_user(f"user{number}", [chat(number)])
    repository, _ = create_repository(open_storage(location), PASSPHRASE)

    def requests() -> int:
        """Back up as a new process would, which knows only what the cache holds."""
        s3.proxy.forget()
        take(Repository(open_storage(location), repository.keys), data)
        return len(s3.proxy.requests)

    requests()
    second = requests()
    for number in range(10):
        data.prepend_chat("user7", chat(100 + number))
        requests()
    assert requests() == second <= 13  # of which two look whether S3 would overwrite; AWS refuses
