"""Every way a document is spoilt, with snapshots and without: validate names it, and repair brings
back every chat that a snapshot or the fragment holds.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.repair import RepairOptions, repair
from shenyu_data.operations.shrunken import Scope, report_shrunken
from shenyu_data.operations.validate import ValidateOptions, validate
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.scenario import PASSPHRASE, copy_in_memory, take
from tests.integration.overwritten import PATH, T0, USER, USER_DOCUMENT, chats

MIB = 1 << 20


def written(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode()


def deep(numbers: list[int], depth: int) -> bytes:
    """Give chats and, after them, so many brackets that nobody closes."""
    return written(chats(*numbers))[:-2] + b",\n  " + b"[" * depth


@cache
def large_chat() -> str:
    """Give a chat of a MiB, for which an id is to be put in."""
    value = chat(0, 1)
    content = value["messages"][0]["content"] + "风雨" * 500
    value["messages"] = [{"role": "user", "content": content}] * (MIB // (len(content) * 2))
    return json.dumps({**value, "id": "ID"}, ensure_ascii=False)


def huge(numbers: list[int], mib: int) -> bytes:
    """Give a history of more than so many MiB: large chats stand below the first one."""
    texts = [json.dumps(one, ensure_ascii=False) for one in chats(*numbers)]
    many = [large_chat().replace('"ID"', str(T0 + 100 + index)) for index in range(mib)]
    return "[\n{}\n]".format(",\n".join([texts[0], *many, *texts[1:]])).encode()


LARGE = set(range(100, 134))
SAVED = [3, 2, 1]
"""What the snapshots hold, where there are any."""
NEW = chats(5, 4, 3, 2, 1)
WHOLE = written(NEW)
CUT = WHOLE[: WHOLE.index(str(T0 + 3).encode())]


class Spoilt(NamedTuple):
    """What stands there: the code validate gives it, and which chats the fragment holds."""

    content: bytes
    code: str
    held: set[int]

    @property
    def data(self) -> bytes:
        """The bytes; a huge document is made when it is needed."""
        return huge([5, 4], 34)[:-9] if self.content == b"huge" else self.content


TABLE = {
    "torn": Spoilt(CUT, "torn-json", {5, 4}),
    "shrunken": Spoilt(written(chats(9)), "shrunken-history", {9}),
    "empty": Spoilt(b"", "empty-file", set()),
    "full of NULs": Spoilt(bytes(4096), "blank-file", set()),
    "a half, then NULs": Spoilt(CUT + bytes(4096), "torn-json", {5, 4}),
    "half a character": Spoilt(WHOLE[: WHOLE.rindex("风".encode()) + 1], "torn-json", {5, 4, 3, 2}),
    "no UTF-8": Spoilt(WHOLE.replace("行".encode(), b"\xe8\xa1", 1), "not-utf8", {5, 4, 3, 2, 1}),
    "byte order mark": Spoilt(b"\xef\xbb\xbf" + WHOLE, "byte-order-mark", {5, 4, 3, 2, 1}),
    "deep": Spoilt(deep([5, 4], 100_000), "torn-json", {5, 4}),
    "huge": Spoilt(b"huge", "torn-json", {5} | LARGE),
    "huge and blank": Spoilt(bytes(33 * MIB), "blank-file", set()),
}
ROWS = pytest.mark.parametrize("spoilt", TABLE.values(), ids=list(TABLE))


class Place:
    """A data directory with one history, and a repository."""

    def __init__(self, repository: Repository, folder: Path) -> None:
        self.repository = repository
        self.data = Application(folder / "data")
        self.data.write(f"users/{USER}.json", USER_DOCUMENT)
        self.state = str(folder / "state")
        self.path = self.data.folder / PATH

    def put(self, data: bytes) -> None:
        self.data.write(PATH, data)
        os.utime(self.path, (1_600_000_000, 1_600_000_000))

    def codes(self, *, alone: bool) -> list[str]:
        monitor = CollectingMonitor()
        folder = str(self.data.folder)
        validate(folder, ValidateOptions(jobs=1), monitor)
        if not alone:
            report_shrunken(self.repository, folder, Scope(), self.state, monitor)
        return [finding.code for finding in monitor.findings]

    def repair(self, *, alone: bool) -> list[str]:
        monitor = CollectingMonitor()
        options = RepairOptions(state=self.state, quiet_s=0.05)
        repair(None if alone else self.repository, str(self.data.folder), options, monitor)
        return [finding.code for finding in monitor.findings]

    def found(self) -> list[int]:
        return [one["id"] - T0 for one in json.loads(self.path.read_bytes())]


@pytest.fixture(scope="module")
def keys() -> Repository:
    return create_repository(MemoryStorage(), PASSPHRASE)[0]


@pytest.fixture
def place(keys: Repository, tmp_path: Path) -> Place:
    return Place(copy_in_memory(keys), tmp_path)


@ROWS
def test_with_snapshots_every_chat_comes_back(place: Place, spoilt: Spoilt) -> None:
    place.put(written(chats(*SAVED)))
    take(place.repository, place.data)
    place.put(spoilt.data)
    assert spoilt.code in place.codes(alone=False)
    place.repair(alone=False)
    assert set(place.found()) == spoilt.held | set(SAVED)
    assert spoilt.code not in place.codes(alone=False)


@ROWS
def test_from_the_fragment_alone_every_chat_comes_back(place: Place, spoilt: Spoilt) -> None:
    place.put(spoilt.data)
    is_whole = spoilt.code == "shrunken-history"  # only snapshots could say so
    assert is_whole or spoilt.code in place.codes(alone=True)
    told = place.repair(alone=True)
    if spoilt.held:
        assert set(place.found()) >= spoilt.held
    elif len(spoilt.content) > 32 * MIB:
        assert told == ["not-mended"]
    else:
        assert not place.path.exists()


SMALL = [row for row in TABLE.values() if len(row.content) < MIB and row.content != b"huge"]


@pytest.mark.parametrize("spoilt", [row for row in SMALL if row.code != "shrunken-history"])
def test_a_fragment_in_a_snapshot_is_as_good_as_one_that_is_there(
    place: Place, spoilt: Spoilt
) -> None:
    place.put(written(chats(*SAVED)))
    take(place.repository, place.data)
    place.put(spoilt.data)
    take(place.repository, place.data)
    place.put(written(chats(9)))
    assert "shrunken-history" in place.codes(alone=False)
    place.repair(alone=False)
    assert set(place.found()) == {9} | spoilt.held | set(SAVED)


@pytest.mark.parametrize("left", [0, 20_000], ids=["empty", "the beginning"])
def test_a_large_history_that_is_torn_comes_back_from_its_snapshot(place: Place, left: int) -> None:
    place.put(huge([5, 4, 3], 34))
    take(place.repository, place.data)
    place.put(huge([6, 5, 4, 3], 1)[:left])
    place.repair(alone=False)
    assert set(place.found()) >= {5, 4, 3} | LARGE | ({6} if left else set())


def test_a_history_too_large_for_memory_is_mended_as_a_stream(place: Place) -> None:
    place.put(written(chats(*SAVED)))
    take(place.repository, place.data)
    torn = huge([5, 4], 65)[:-9]
    place.put(torn)
    assert "torn-json" in place.codes(alone=False)
    assert place.repair(alone=True) == ["not-mended"]  # what it was could not be kept
    assert place.path.stat().st_size == len(torn)
    place.repair(alone=False)
    assert set(place.found()) == {5, *SAVED, *range(100, 165)}


def test_a_large_version_that_is_torn_is_no_last_good_one(place: Place) -> None:
    place.put(written(chats(*SAVED)))
    take(place.repository, place.data)
    place.put(huge([5, 4], 34)[:-9])
    take(place.repository, place.data)
    place.put(b"")
    place.repair(alone=False)
    assert place.found() == SAVED
