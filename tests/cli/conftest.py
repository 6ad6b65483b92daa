"""The command line in this process: fast, and exactly what ``main`` runs."""

import functools
import io
import json
import os
import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

from shenyu_data.cli.common import run
from shenyu_data.cli.main import shenyu_data
from shenyu_data.model.acknowledgements import Acknowledgement
from shenyu_data.model.expiry_holds import Hold
from shenyu_data.operations.acknowledged import write_acknowledgements
from shenyu_data.operations.holds import hold_files, write_holds
from shenyu_data.operations.places import state_folder, state_of
from shenyu_data.testing.strategies import chats
from shenyu_data.testing.tree import Item, build_tree

PASSPHRASE = "correct horse"
ACKNOWLEDGED = Acknowledgement(
    id="0a1b2c3d",
    code="shrunken-history",
    user="held",
    path="histories/held/chat-history.json",
    repository="00" * 16,
    sequence=1,
    missing=["11" * 16, "22" * 16],
    by="carla",
    time_ms=1_700_000_000_000,
    reason="asked to",
)
OLD_NS = 1_700_000_000_000_000_000


class Said(NamedTuple):
    """What a call printed and exited with."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as the one JSON document that it must be."""
        return json.loads(self.out)


class Shenyu(Protocol):
    def __call__(self, *words: str) -> Said: ...


def call_shenyu(monkeypatch: pytest.MonkeyPatch, *words: str) -> Said:
    """Call the command line in this process; what it printed must be UTF-8."""
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    err = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["shenyu-data", *words])
        patch.setattr(sys, "stdin", io.StringIO())
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        status = run(shenyu_data)
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return Said(status, *texts)


@pytest.fixture
def shenyu(monkeypatch: pytest.MonkeyPatch) -> Shenyu:
    """Call the command line and say what it printed; standard input is no terminal."""

    return functools.partial(call_shenyu, monkeypatch)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a data directory and a repository, once: deriving keys takes time."""
    from shenyu_data.model.monitor import SilentMonitor
    from shenyu_data.operations.export import ExportOptions, export
    from shenyu_data.operations.receipts import write_receipt
    from shenyu_data.repository.repository import create_repository
    from shenyu_data.storage.local import LocalStorage
    from shenyu_data.testing.scenario import some_receipt

    base = tmp_path_factory.mktemp("made")
    user = b'{"id": "%s", "created_at": "2025-02-10T03:28:00.000Z"}'
    plan = {
        b"users/anna.json": Item("file", user.replace(b"%s", b"anna"), 0o600, OLD_NS),
        b"users/ben.json": Item("file", user.replace(b"%s", b"ben"), 0o600, OLD_NS),
        b"histories/anna/chat1.json": Item("file", chats(1, "hello", array=False), 0o600, OLD_NS),
        b"histories/ben/chat-history.json": Item(
            "file", chats(3, "你好", array=True), 0o600, OLD_NS
        ),
    }
    build_tree(base / "data", plan)
    with tarfile.open(base / "shenyu_data_20250210_030000.tar.gz", "w:gz") as archive:
        archive.add(base / "data", "data")
    export(
        str(base / "data"),
        str(base / "exported.jsonl"),
        io.BytesIO(),
        ExportOptions(),
        SilentMonitor(),
    )
    storage = LocalStorage(str(base / "repo"))
    storage.create()
    repository, recovery = create_repository(storage, PASSPHRASE)
    write_receipt(str(base / "receipt.json"), some_receipt(repository.keys))
    (base / "recovery").write_text(recovery)
    other = LocalStorage(str(base / "other"))
    other.create()
    (base / "other-recovery").write_text(create_repository(other, "another horse")[1])
    return base


@pytest.fixture
def place(made_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder to work in: ``data``, an empty ``repo``, and a configuration naming both; and
    ``other``, an empty repository to copy to, ``receipt.json``, of an erasure, and
    ``exported.jsonl``, of the data directory. A user who is not there is held,
    and something is acknowledged of that user.
    """
    base = tmp_path / "place"
    shutil.copytree(made_once, base, symlinks=True)
    (base / "shenyu-data.toml").write_text('data = "data"\nrepository = "repo"\njobs = 1\n')
    shutil.copy(base / "shenyu-data.toml", base / "timers.toml")
    with open(base / "timers.toml", "a") as file:
        file.write('passphrase_file = "new-passphrase"\n')
    (base / "new-passphrase").write_text("another one\n")
    (base / "new-passphrase").chmod(0o600)
    monkeypatch.chdir(base)
    state = state_of(state_folder(os.environ), str(base / "data"))
    files = hold_files(state, str(base / "data"), str(base / "shenyu-data.toml"), os.environ)
    write_holds(files, [Hold(user="held")])
    write_acknowledgements(state, [ACKNOWLEDGED])
    # The recovery key opens as well, and without the 0.1 s that a passphrase takes.
    monkeypatch.setenv("SHENYU_DATA_PASSPHRASE", (base / "recovery").read_text())
    monkeypatch.setenv("SHENYU_DATA_TO_PASSPHRASE", (base / "other-recovery").read_text())
    return base


@pytest.fixture
def backed_up(place: Path, shenyu: Shenyu) -> Path:
    """As ``place``, with one snapshot."""
    assert shenyu("backup").status == 0
    return place


@pytest.fixture
def degraded(backed_up: Path, shenyu: Shenyu) -> Path:
    """As ``backed_up``, with a second snapshot that caught a cut-off history."""
    history = backed_up / "data/histories/ben/chat-history.json"
    history.write_bytes(history.read_bytes()[:-3])
    os.utime(history, ns=(OLD_NS, OLD_NS))
    assert shenyu("backup").status == 1
    return backed_up


@pytest.fixture
def damaged(backed_up: Path) -> Iterator[Path]:
    """As ``backed_up``, with a byte of every pack changed."""
    for pack in (backed_up / "repo/packs").iterdir():
        data = bytearray(pack.read_bytes())
        data[len(data) // 2] ^= 1
        pack.write_bytes(data)
    yield backed_up


@pytest.fixture
def ruined(backed_up: Path) -> Path:
    """As ``backed_up``, with no segment of any pack left that opens, whoever's it is."""
    for pack in (backed_up / "repo/packs").iterdir():
        data = pack.read_bytes()
        pack.write_bytes(data[:8] + bytes(len(data) - 8))
    return backed_up
