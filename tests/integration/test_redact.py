"""Redacted exports: nothing in them tells who wrote, and they import like any other."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.exchange.redact import Redaction, Redactor, key_of
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.export import ExportOptions, export
from shenyu_data.operations.import_data import import_data
from shenyu_data.operations.import_plan import ImportOptions, plan_import
from shenyu_data.testing.tree import Item, build_tree

KEY = key_of(b"a secret of some length")
SECRETS = [b"anna", b"Mozilla", b"data:image", b"Berlin", b"1739100649794", b"diary", b"secret-key"]
WORDS = ["Wo liegt die Oper?", "hinter dem Dom", "Reise"]


def text(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    user = {
        "id": "anna",
        "name": "anna",
        "fingerprint": {"userAgent": "Mozilla", "canvasFingerprint": "data:image/png"},
        "lastSeen": "2025-02-10T03:28:00.000Z",
        "firstSeen": "Berlin",
        "settings": {"token": "secret-key"},
    }
    chat = {
        "id": 1739100649794,
        "title": WORDS[2],
        "city": "Berlin",
        "messages": [
            {"role": "user", "content": WORDS[0], "ip": "Berlin"},
            {"role": "Berlin", "content": WORDS[1]},
        ],
    }
    files = {
        b"users/anna.json": text(user),
        b"histories/anna/chat-history.json": text([chat]),
        b"histories/anna/diary.json": text({"id": "anna", "messages": []}),
        b"histories/anna/diary.txt": b"anna",
        b"histories/anna/torn.json": b'[{"id": "anna", "mess',
        b"secret-key.txt": b"Berlin",
    }
    build_tree(tmp_path / "data", {path: Item("file", data) for path, data in files.items()})
    return tmp_path / "data"


@pytest.mark.parametrize("form", ["native", "guide"])
@pytest.mark.parametrize("level", ["ids", "text"])
def test_nothing_of_it_tells_who_wrote(level: Redaction, form: str, data: Path) -> None:
    out = io.BytesIO()
    options = ExportOptions(redactor=Redactor(KEY, level), form=form)  # type: ignore[arg-type]
    stats = export(str(data), "-", out, options, CollectingMonitor())
    assert not stats.whole
    found = out.getvalue()
    assert [secret for secret in SECRETS if secret in found] == []
    kept = [word for word in WORDS if word.encode() in found]
    assert kept == (WORDS if level == "ids" else [])


def test_a_redacted_export_imports(data: Path, tmp_path: Path) -> None:
    out = io.BytesIO()
    redactor = Redactor(KEY, "text")
    export(str(data), "-", out, ExportOptions(redactor=redactor), CollectingMonitor())
    options = ImportOptions(state=str(tmp_path / "state"))
    new = tmp_path / "new"
    words = (str(new), None, options, CollectingMonitor())
    plan = plan_import(lambda: io.BytesIO(out.getvalue()), *words)
    import_data(lambda: io.BytesIO(out.getvalue()), *words, plan=plan)
    name = redactor.user(b"anna").decode()
    user = json.loads((new / f"users/{name}.json").read_bytes())
    assert user == {"id": name, "fingerprint": {}, "lastSeen": "2025-02-10T03:28:00.000Z"}
    (chat,) = json.loads((new / f"histories/{name}/chat-history.json").read_bytes())
    assert len(chat.pop("id")) == 16
    assert chat == {
        "title": "[5 characters]",
        "messages": [
            {"role": "user", "content": "[18 characters]"},
            {"content": "[14 characters]"},
        ],
        "timestamp": "2025-02-09T11:30:49.794Z",
    }
    assert len(list((new / f"histories/{name}").iterdir())) == 2


def test_the_same_key_gives_the_same_names_and_another_one_others() -> None:
    one, same, other = (Redactor(key_of(secret), "ids") for secret in (b"1", b"1", b"2"))
    assert one.user(b"anna") == same.user(b"anna") != other.user(b"anna")
    assert one.user(b"anna") != one.user(b"ben")


def test_members_of_any_kind_are_looked_at() -> None:
    """A role that is a list, a title that is a number: an export must not end by it."""
    odd: list[Any] = [[], {}, ["anna"], {"anna": "anna"}, 1e300, True, None, "anna", "\ud800"]
    redactor = Redactor(KEY, "text")
    for value in odd:
        message = dict.fromkeys(("role", "content", "timestamp", "anna"), value)
        chat = dict.fromkeys(("id", "title", "timestamp"), value)
        history = json.dumps([{**chat, "messages": [message]}]).encode()
        assert b"anna" not in redactor.document("history", history)
        user = dict.fromkeys(("id", "fingerprint", "created_at", "lastSeen"), value)
        assert b"anna" not in redactor.document("user", json.dumps(user).encode())


def test_the_name_of_a_file_does_not_give_a_chats_id_away() -> None:
    """The guide's layout names files by chats, and ids are numbers."""
    redactor = Redactor(KEY, "ids")
    assert redactor.file(b"0.json") == b"0.json"
    assert redactor.file(b"chat-history.json.gz") == b"chat-history.json.gz"
    assert redactor.file(b"chat-history.archive.json.gz") == b"chat-history.archive.json.gz"
    for name in (b"1739100649794.json", b"1739100649794.archive.json.gz", b"diary.json"):
        redacted = redactor.file(name)
        assert name.partition(b".")[0] not in redacted
        assert redacted.endswith(name.partition(b".")[2])
