"""Holds: what they hold, and that a lost or damaged file of them never passes for none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.errors import HoldsDamaged, ShenyuDataError
from shenyu_data.model.expiry_holds import Hold, Holds, decode, encode, joined
from shenyu_data.operations.holds import (
    HoldFiles,
    hold_files,
    read_any_holds,
    read_holds,
    write_holds,
)

NOW = 1_800_000_000_000
ANNA = Hold(user="anna", reason="a request")
CHAT = Hold(user="ben", chat="17", until_ms=NOW + 1)


def test_a_hold_holds_a_user_or_a_chat_until_its_time() -> None:
    holds = Holds([ANNA, CHAT, Hold(user="carol", until_ms=NOW)], NOW)
    assert [holds.of_user(name) for name in ("anna", "ben", "carol")] == [
        "held: a request",
        None,
        None,
    ]
    assert holds.of_chats("ben") == {"17": "held"}
    assert Holds([CHAT], NOW + 1).of_chats("ben") == {}


def test_of_two_holds_on_the_same_the_longer_one_counts() -> None:
    longer = Hold(user="ben", chat="17")
    assert joined([CHAT], [longer, ANNA]) == [ANNA, longer]
    assert joined([longer], [CHAT]) == [longer]
    user = Hold(user="ben")
    assert joined([CHAT, user]) == [user, CHAT]


NAMES = st.text(max_size=8) | st.binary(max_size=8).map(os.fsdecode)
HOLDS = st.lists(
    st.builds(
        Hold,
        user=NAMES,
        chat=st.none() | NAMES,
        until_ms=st.none() | st.integers(0, 1 << 50),
        reason=NAMES,
        added_ms=st.integers(0, 1 << 50),
    ),
    max_size=4,
).map(joined)


@given(HOLDS)
def test_every_hold_comes_back_whatever_the_name(holds: list[Hold]) -> None:
    assert decode(encode(holds, "/twin"), "x") == (holds, "/twin")


@given(HOLDS, st.data())
def test_a_damaged_file_is_refused_or_says_the_same(holds: list[Hold], data: st.DataObject) -> None:
    text = bytearray(encode(holds, "/twin"))
    at = data.draw(st.integers(0, len(text) - 1))
    text[at] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(text), encode(holds, "/twin")[:at]):
        try:
            assert decode(damaged, "x") == (holds, "/twin")  # a blank of the layout
        except HoldsDamaged:
            continue


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_file_of_holds_is_refused(data: bytes) -> None:
    with pytest.raises(HoldsDamaged):
        decode(data, "x")


@pytest.fixture
def files(tmp_path: Path) -> HoldFiles:
    return HoldFiles(str(tmp_path / "state" / "holds.json"), str(tmp_path / "etc" / "holds.json"))


def test_no_file_is_no_hold_and_both_are_written(files: HoldFiles) -> None:
    assert read_holds(files) == []
    write_holds(files, [ANNA])
    assert read_holds(files) == [ANNA]
    assert [os.stat(path).st_mode & 0o777 for path in files[:2]] == [0o600, 0o600]


@pytest.mark.parametrize("gone", [0, 1])
def test_one_that_is_lost_stops_everything_until_both_are_written_anew(
    files: HoldFiles, gone: int
) -> None:
    write_holds(files, [ANNA])
    os.unlink(files[:2][gone])
    with pytest.raises(HoldsDamaged, match="is gone"):
        read_holds(files)
    assert read_any_holds(files) == ([ANNA], [files[:2][gone]])
    write_holds(files, [ANNA, CHAT])
    assert read_holds(files) == [ANNA, CHAT]


@pytest.mark.parametrize("which", [0, 1])
def test_one_that_is_damaged_stops_everything(files: HoldFiles, which: int) -> None:
    write_holds(files, [ANNA])
    document = json.loads(Path(files[:2][which]).read_bytes())
    document["holds"] = []  # somebody thought to know better
    Path(files[:2][which]).write_text(json.dumps(document))
    for read in (read_holds, read_any_holds):
        with pytest.raises(HoldsDamaged, match="damaged"):
            read(files)


def test_what_is_in_either_holds_when_only_one_was_written(files: HoldFiles) -> None:
    write_holds(files, [ANNA])
    before = Path(files.beside).read_bytes()
    write_holds(files, [CHAT])
    Path(files.beside).write_bytes(before)  # as if killed between the two
    assert read_holds(files) == [ANNA, CHAT]


def test_the_copy_is_found_where_it_was_written_whatever_configuration_is_named_today(
    tmp_path: Path, files: HoldFiles
) -> None:
    write_holds(files, [ANNA])
    other = files._replace(beside=str(tmp_path / "elsewhere.json"))
    assert read_holds(other) == [ANNA]
    os.unlink(files.beside)
    with pytest.raises(HoldsDamaged):
        read_holds(other)


def test_a_copy_that_cannot_be_written_is_an_error(files: HoldFiles) -> None:
    Path(files.beside).parent.write_text("a file where the folder belongs")
    with pytest.raises(ShenyuDataError, match="cannot write"):
        write_holds(files, [ANNA])


def test_the_copy_lies_beside_the_configuration_or_where_that_would_be(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    config = str(tmp_path / "etc.toml")
    beside = hold_files("/state", data, config, {"HOME": "/of/x"}).beside
    assert os.path.dirname(beside) == str(tmp_path)
    for environment, folder in (
        ({"HOME": "/of/x"}, "/of/x/.config/shenyu-data"),
        ({"HOME": "/of/x", "XDG_CONFIG_HOME": "/x"}, "/x/shenyu-data"),
        ({}, "/etc/shenyu-data"),
    ):
        found = hold_files("/state", data, None, environment)
        assert os.path.dirname(found.beside) == folder
        assert found.state == "/state/holds.json"
    assert hold_files("/state", data + "2", config, {}).beside != beside
