"""What is said about one document: each kind of damage and each broken rule, and where it is."""

import gzip
import json
from typing import Any

import pytest

from shenyu_data.model.documents import MAX_PARSED_VALUES
from shenyu_data.model.findings import Finding
from shenyu_data.model.layout import Kind
from shenyu_data.model.notes import MOST_FINDINGS
from shenyu_data.model.records import MAX_PARSED_BYTES, Outline, outline
from shenyu_data.model.rules import check, prove

HEX = b"a1" * 32
GUIDE_USER = {
    "id": "example-user-id",
    "name": "示例用户",
    "created_at": "2025-02-10T03:28:00.000Z",
    "settings": {"theme": "light", "language": "zh-CN"},
    "preferences": {"model": "deepseek", "temperature": 0.7},
}
APPLICATION_USER = {
    "id": HEX.decode(),
    "fingerprint": {"userAgent": "Mozilla/5.0", "screenResolution": "1920x1080x30", "fonts": []},
    "firstSeen": "2025-02-10T05:03:00.574Z",
    "lastSeen": "2025-03-21T05:57:09.199Z",
}
CHAT = {
    "id": 1739100649794,
    "title": "你好\n",
    "messages": [{"role": "user", "content": "你好"}, {"role": "assistant", "content": ""}],
    "timestamp": "2025-02-09T11:30:49.794Z",
}


def encode(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode()


def findings(
    kind: Kind, data: bytes, *, owner: bytes | None = b"anna", name: bytes = b"chat1.json"
) -> list[Finding]:
    """Check a document; what one quick pass proves sound must have no finding."""
    checked = check(kind, owner, name, "path", data)
    proven = prove(kind, owner, name, data)
    if proven is not None:
        assert checked.findings == []
        assert checked.held == proven
    return checked.findings


def told(found: list[Finding]) -> list[tuple[str, str, str | None]]:
    return [(one.code, one.severity, one.pointer) for one in found]


def user(base: dict[str, Any] = GUIDE_USER, **changes: Any) -> list[tuple[str, str, str | None]]:
    owner = str(base["id"]).encode()
    value = {key: value for key, value in {**base, **changes}.items() if value is not ...}
    return told(findings("user", encode(value), owner=owner))


def history(value: object, **options: Any) -> list[tuple[str, str, str | None]]:
    return told(findings("history", encode(value), **options))


# ------------------------------------------------------------------------------- sound documents


@pytest.mark.parametrize("base", [GUIDE_USER, APPLICATION_USER])
def test_a_user_of_either_layout_is_proven_sound_in_one_pass(base: dict[str, Any]) -> None:
    assert prove("user", str(base["id"]).encode(), b"x.json", encode(base)) == (0, 0)
    assert user(base) == []


@pytest.mark.parametrize(
    "value",
    [
        [CHAT],
        [],
        [CHAT, {**CHAT, "id": "1739100649795"}, {"id": "example-chat-1", "messages": []}],
        {**CHAT, "model": "deepseek", "settings": {"temperature": 0.7}},
        {"messages": []},
        {"messages": [], "timestamp": 1739100649794},
        [{**CHAT, "pinned": {"by": ["me"]}}],
    ],
)
def test_a_history_of_either_layout_is_proven_sound_in_one_pass(value: object) -> None:
    assert prove("history", b"anna", b"chat1.json", encode(value)) is not None
    assert history(value) == []


def test_chats_and_messages_are_counted() -> None:
    assert prove("history", b"anna", b"h.json", encode([CHAT, {"id": 1, "messages": []}])) == (2, 2)
    assert prove("history", b"anna", b"h.json", encode(CHAT)) == (1, 2)


@pytest.mark.parametrize(
    "chat",
    [{"timestamp": "2025-02-10"}, {"id": 1.5}, {"id": 1e15}, {"timestamp": 1.5}, {"title": None}],
)
def test_rare_but_right_values_are_no_finding(chat: dict[str, object]) -> None:
    assert history({**CHAT, **chat}) == []


# ------------------------------------------------------------------------------- damaged bytes


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty-file"),
        (b"\0" * 4096, "blank-file"),
        (b" \n\t", "blank-file"),
        (encode([CHAT])[:-30], "torn-json"),
        (encode([CHAT])[:-1], "torn-json"),
        (encode(["你"])[:6], "torn-json"),
        (encode([CHAT]) + b"\0\0\0", "torn-json"),
        (b'{"messages": tru', "torn-json"),
        (b'{"messages": -', "torn-json"),
        (b'{"timestamp": 12.', "torn-json"),
        (b'{"title": "\\u4f', "torn-json"),
        (b'{"title": "\\', "torn-json"),
        (b'{"messages"', "torn-json"),
        (encode([CHAT]) + b"\n  }\n]", "trailing-data"),
        (b'{"title": "\xff\xfe"}', "not-utf8"),
        (encode([CHAT]).decode().encode("utf-16"), "not-utf8"),
        (b"\xef\xbb\xbf[]", "byte-order-mark"),
        (b"<html>", "not-json"),
        (b"{'messages': []}", "not-json"),
        (b'{"messages": NaN}', "not-json"),
        (b'{"title": "a\nb"}', "not-json"),
    ],
)
@pytest.mark.parametrize("kind", ["user", "history"])
def test_damage_is_an_error_and_has_a_name(data: bytes, code: str, kind: Kind) -> None:
    (found,) = findings(kind, data)
    assert (found.code, found.severity) == (code, "error")
    assert found.hint


def test_what_is_not_json_is_told_with_line_and_column() -> None:
    (found,) = findings("history", b'{\n  "messages": oops\n}')
    assert "line 2, column 15" in found.message


def test_a_document_nested_very_deep_is_a_warning() -> None:
    (found,) = findings("history", b"[" * 200_000)
    assert (found.code, found.severity) == ("json-too-deep", "warning")


def test_a_document_of_very_many_values_is_not_unfolded() -> None:
    (found,) = findings("history", b"[" + b"[]," * MAX_PARSED_VALUES + b"[]]")
    assert (found.code, found.severity) == ("too-large", "warning")


def test_a_very_large_document_is_not_looked_into() -> None:
    (found,) = findings("history", b"[" + b" " * MAX_PARSED_BYTES + b"]")
    assert found.code == "too-large"


def test_half_a_character_is_an_info_with_its_place() -> None:
    data = b'[{"id": 1, "title": "hello \\ud83d", "messages": [{"role": "user", "content": "x"}]}]'
    assert told(findings("history", data)) == [("lone-surrogate", "info", "/0/title")]


def test_a_history_with_half_a_character_is_whole_for_a_backup() -> None:
    data = b'[{"id": 1, "title": "\\ud83d", "messages": [{"role": "user", "content": "x"}]}]'
    assert outline("history", b"h.json", data) == Outline("whole", 1, 1)
    assert outline("history", b"h.json", data[:-1]).state == "torn"
    assert outline("user", b"u.json", b'{"name": "\\ud83d"}') == Outline("whole")


def test_a_whole_character_in_two_escapes_is_no_finding() -> None:
    data = b'[{"id": 1, "title": "\\ud83d\\ude0a \\\\ud83d", "messages": []}]'
    assert findings("history", data) == []


# ------------------------------------------------------------------------------- compressed


def test_a_compressed_document_is_looked_into() -> None:
    broken = gzip.compress(encode([{**CHAT, "messages": None}]))
    assert told(findings("history", broken, name=b"chat-history.json.gz")) == [
        ("wrong-type", "error", "/0/messages")
    ]
    sound = check("history", b"anna", b"c.json.gz", "path", gzip.compress(encode([CHAT])))
    assert sound == ([], (1, 2))


@pytest.mark.parametrize("data", [b"", b"no gzip", gzip.compress(encode([CHAT]))[:-9]])
def test_a_damaged_compressed_document_is_an_error(data: bytes) -> None:
    found = findings("history", data, name=b"c.json.gz")
    assert told(found) == [("damaged-gzip", "error", None)]


def test_a_compressed_bomb_is_unpacked_only_so_far() -> None:
    bomb = gzip.compress(b"[" + b" " * (MAX_PARSED_BYTES * 2))
    assert [one.code for one in findings("history", bomb, name=b"c.json.gz")] == ["too-large"]


# ------------------------------------------------------------------------------- users


def test_a_user_without_an_id_is_an_error() -> None:
    assert told(findings("user", encode({"created_at": "2025-02-10T03:28:00Z"}))) == [
        ("missing-field", "error", "")
    ]


@pytest.mark.parametrize("identity", [1, ["x"], {}, True])
def test_a_users_id_that_is_no_string_is_an_error(identity: object) -> None:
    value = {**GUIDE_USER, "id": identity}
    assert told(findings("user", encode(value))) == [("wrong-type", "error", "/id")]


def test_an_id_other_than_the_files_name_breaks_the_application() -> None:
    other = {**APPLICATION_USER, "id": "b2" * 32}
    assert told(findings("user", encode(other), owner=HEX)) == [("id-mismatch", "error", "/id")]
    assert told(findings("user", encode(GUIDE_USER))) == [("id-mismatch", "info", "/id")]


def test_a_user_of_neither_layout_is_an_error() -> None:
    assert user(created_at=...) == [("user-shape", "error", "")]


@pytest.mark.parametrize("value", [None, [], "user", 5])
def test_a_user_that_is_no_object_is_an_error(value: object) -> None:
    assert told(findings("user", encode(value))) == [("wrong-type", "error", "")]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"fingerprint": ...}, ("missing-field", "error", "")),
        ({"fingerprint": "x"}, ("wrong-type", "error", "/fingerprint")),
        ({"firstSeen": ...}, ("missing-field", "warning", "")),
        ({"lastSeen": "yesterday"}, ("bad-time", "warning", "/lastSeen")),
        ({"lastSeen": True}, ("bad-time", "warning", "/lastSeen")),
    ],
)
def test_an_application_user_with(changes: dict[str, Any], expected: tuple[str, str, str]) -> None:
    assert user(APPLICATION_USER, **changes) == [expected]


def test_an_application_user_of_another_name_is_an_info() -> None:
    assert user({**APPLICATION_USER, "id": "anna"}) == [("user-name", "info", None)]


@pytest.mark.parametrize("field", ["name", "settings", "preferences"])
def test_an_optional_field_of_the_wrong_type_is_a_warning(field: str) -> None:
    changes: dict[str, Any] = {field: 5}
    assert user(**changes) == [("wrong-type", "warning", f"/{field}")]


# ------------------------------------------------------------------------------- histories


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"messages": ...}, ("missing-field", "error", "/0")),
        ({"messages": {}}, ("wrong-type", "error", "/0/messages")),
        ({"messages": [5]}, ("wrong-type", "error", "/0/messages/0")),
        ({"messages": [{"role": "user"}]}, ("missing-field", "error", "/0/messages/0")),
        ({"messages": [{"content": "x"}]}, ("missing-field", "error", "/0/messages/0")),
        (
            {"messages": [{"role": "user", "content": None}]},
            ("wrong-type", "error", "/0/messages/0/content"),
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            ("wrong-type", "error", "/0/messages/0/content"),
        ),
        (
            {"messages": [{"role": 1, "content": "x"}]},
            ("wrong-type", "error", "/0/messages/0/role"),
        ),
        (
            {"messages": [{"role": "tool", "content": "x"}]},
            ("unknown-role", "warning", "/0/messages/0/role"),
        ),
        ({"id": True}, ("wrong-type", "error", "/0/id")),
        ({"id": ...}, ("missing-field", "warning", "/0")),
        ({"title": 5}, ("wrong-type", "warning", "/0/title")),
        ({"timestamp": "soon"}, ("bad-time", "warning", "/0/timestamp")),
        ({"timestamp": -1}, ("bad-time", "warning", "/0/timestamp")),
        ({"timestamp": 1e300}, ("bad-time", "warning", "/0/timestamp")),
    ],
)
def test_a_chat_with(changes: dict[str, object], expected: tuple[str, str, str]) -> None:
    chat = {key: value for key, value in {**CHAT, **changes}.items() if value is not ...}
    assert history([chat]) == [expected]


def test_a_chat_that_is_no_object_is_an_error() -> None:
    assert history([5]) == [("wrong-type", "error", "/0")]


@pytest.mark.parametrize("value", [None, 5, "x"])
def test_a_history_that_is_neither_array_nor_chat_is_an_error(value: object) -> None:
    assert history(value) == [("wrong-type", "error", "")]


@pytest.mark.parametrize(
    "twin", [1739100649794, "1739100649794", 1739100649794.0], ids=["number", "digits", "float"]
)
def test_a_number_and_the_same_digits_are_the_same_chat(twin: object) -> None:
    (found,) = findings("history", encode([CHAT, {**CHAT, "id": 2}, {**CHAT, "id": twin}]))
    assert (found.code, found.severity, found.pointer) == (
        "duplicate-chat-id",
        "warning",
        "/2/id",
    )
    assert "/0/id" in found.message
    assert "/2/id" in found.message


def test_one_chat_where_the_application_reads_an_array_is_a_warning() -> None:
    options = {"owner": HEX, "name": b"chat-history.json"}
    assert history(CHAT, **options) == [("single-chat", "warning", "")]
    assert history(CHAT, owner=HEX, name=b"chat1.json") == []
    assert history(CHAT, owner=b"anna", name=b"chat-history.json") == []


def test_what_is_right_in_a_broken_history_is_counted_all_the_same() -> None:
    checked = check("history", b"anna", b"h.json", "path", encode([CHAT, {"id": 2}, 5]))
    assert checked.held == (2, 2)


def test_very_many_findings_in_one_document_are_cut_short() -> None:
    found = findings("history", encode([{"id": n, "messages": 5} for n in range(200)]))
    assert len(found) == MOST_FINDINGS + 1
    assert (found[-1].code, found[-1].severity) == ("more-findings", "error")
    assert "150" in found[-1].message


def test_infos_that_are_cut_short_stay_infos() -> None:
    chats = b",".join(b'{"id": %d, "title": "\\ud83d", "messages": []}' % n for n in range(99))
    found = findings("history", b"[" + chats + b"]")
    assert {one.severity for one in found} == {"info"}


def test_a_hostile_value_is_shown_short_and_printable() -> None:
    role = "\x1b[2J" + "x" * 500
    (found,) = findings("history", encode({"messages": [{"role": role, "content": ""}]}))
    assert found.message.isprintable()
    assert len(found.message) < 150
