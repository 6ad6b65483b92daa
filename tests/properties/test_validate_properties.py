"""What the quick pass approves, a close look does too; and nothing makes either crash."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from shenyu_data.model.findings import Finding
from shenyu_data.model.history_rules import ROLES
from shenyu_data.model.layout import Kind
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.model.records import outline
from shenyu_data.model.rules import check, prove
from shenyu_data.operations.validate import ValidateOptions, validate

HEX = "c7" * 32

TEXT = st.text(max_size=8)
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    TEXT,
    st.just([]),
    st.just({}),
    st.sampled_from(
        ["2025-02-10", "2025-02-10T03:28:00Z", "2025-13-01T00:00:00Z", "1739100649794"]
    ),
)


def either(right: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Give what is right nine times of ten, and otherwise anything."""
    return st.integers(0, 9).flatmap(lambda roll: ODD if roll == 9 else right)


TIMES = st.one_of(
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    st.integers(0, 2_000_000_000_000),
)
IDS = st.one_of(st.integers(1_739_100_649_790, 1_739_100_649_799), st.integers(0, 9).map(str), TEXT)
MESSAGES = st.fixed_dictionaries(
    {"role": either(st.sampled_from(ROLES)), "content": either(TEXT)},
    optional={"extra": ODD},
)
CHATS = st.fixed_dictionaries(
    {"messages": either(st.lists(either(MESSAGES), max_size=3))},
    optional={
        "id": either(IDS),
        "title": either(TEXT),
        "timestamp": either(TIMES),
        "model": ODD,
        "settings": ODD,
        "pinned": ODD,
    },
)
HISTORIES = either(st.one_of(CHATS, st.lists(either(CHATS), max_size=4)))
USERS = either(
    st.fixed_dictionaries(
        {},
        optional={
            "id": either(st.sampled_from(["anna", HEX])),
            "created_at": either(TIMES),
            "fingerprint": either(st.just({"fonts": []})),
            "firstSeen": either(TIMES),
            "lastSeen": either(TIMES),
            "name": either(TEXT),
            "settings": ODD,
            "preferences": ODD,
            "extra": ODD,
        },
    )
)
OWNERS = st.sampled_from([b"anna", HEX.encode()])
NAMES = st.sampled_from([b"chat1.json", b"chat-history.json", b"0.json"])


@st.composite
def documents(draw: st.DrawFn) -> tuple[Kind, bytes]:
    """Give a document that is nearly right, written in one of several ways, perhaps with damage."""
    kind: Kind = draw(st.sampled_from(["user", "history"]))
    value = draw(USERS if kind == "user" else HISTORIES)
    text = json.dumps(
        value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 2]))
    )
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        place = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 3))
        data[place : place + length] = draw(
            st.sampled_from([b"", b"\0", b"\xff", b'"', b"\\", b"}", b"1", b"e", b"\\ud83d", b"\n"])
        )
    return kind, bytes(data)


@given(documents(), OWNERS, NAMES)
def test_what_the_quick_pass_approves_has_no_finding(
    document: tuple[Kind, bytes], owner: bytes, name: bytes
) -> None:
    kind, data = document
    held = prove(kind, owner, name, data)
    checked = check(kind, owner, name, "path", data)
    if held is not None:
        assert checked == ([], held)


@given(documents(), OWNERS, NAMES)
def test_a_document_without_a_finding_is_whole_for_a_backup(
    document: tuple[Kind, bytes], owner: bytes, name: bytes
) -> None:
    kind, data = document
    if not check(kind, owner, name, "path", data).findings:
        assert outline(kind, name, data).state == "whole"


@given(HISTORIES, OWNERS, NAMES)
def test_a_compressed_history_is_judged_like_a_plain_one(
    value: object, owner: bytes, name: bytes
) -> None:
    assume(name != b"chat-history.json")  # whose compressed twin the application does not read
    data = json.dumps(value).encode()
    packed = check("history", owner, name + b".gz", "path", gzip.compress(data, 1))
    assert packed == check("history", owner, name, "path", data)


@given(
    st.one_of(st.binary(max_size=64), documents().map(lambda document: document[1])),
    st.sampled_from(["user", "history", "other"]),
    st.sampled_from([b"a.json", b"a.json.gz"]),
)
def test_no_bytes_make_a_check_fail(data: bytes, kind: Kind, name: bytes) -> None:
    for finding in check(kind, b"anna", name, "path", data).findings:
        assert_printable(finding)


ENTRIES = st.lists(
    st.tuples(
        st.sampled_from(["", "users/", "histories/", "histories/anna/", "example/", "users/x/"]),
        st.binary(min_size=1, max_size=255).filter(
            lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
        ),
        st.sampled_from(["", ".json", ".json.gz", ".tmp"]),
        st.integers(0, 6),
    ),
    max_size=12,
)


@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    max_examples=40,
)
@given(entries=ENTRIES)
def test_no_tree_makes_a_validation_fail_hang_or_follow_a_link(
    entries: list[tuple[str, bytes, str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("tree")
    outside = base / "outside"
    (outside / "users").mkdir(parents=True)
    (outside / "users/torn.json").write_text("[")
    os.utime(outside / "users/torn.json", (1, 1))
    data = base / "data"
    for folder in ("users", "histories/anna"):
        (data / folder).mkdir(parents=True)
    makers: list[Callable[[bytes], object]] = [
        lambda path: Path(os.fsdecode(path)).write_text('{"id": "x", "created_at": 1}'),
        lambda path: os.mkfifo(path),
        lambda path: os.symlink(os.fsencode(outside / "users/torn.json"), path),
        lambda path: os.symlink(os.fsencode(outside), path),
        lambda path: os.symlink(b"../" * 9 + b"dev/zero", path),
        lambda path: os.mkdir(path),
        lambda path: Path(os.fsdecode(path)).write_bytes(b"\xff\xfe"),
    ]
    for folder, name, suffix, maker in entries:
        path = os.fsencode(data) + b"/" + folder.encode() + name[: 255 - len(suffix)]
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            makers[maker](path + suffix.encode())
        except OSError:
            continue  # the place is taken
    seen = []
    for jobs in (1, 1):
        monitor = CollectingMonitor()
        validate(str(data), ValidateOptions(jobs=jobs, all=True), monitor)
        seen.append(monitor.findings)
    assert seen[0] == seen[1]
    for finding in seen[0]:
        assert_printable(finding)
        assert finding.code != "torn-json"  # which only the file outside is


def assert_printable(finding: Finding) -> None:
    for text in (finding.path, finding.message, finding.pointer or "", finding.hint):
        assert text.isprintable()
        text.encode()
