"""Oracles of what reads settings, what people type, receipts, keys, and the program's own files."""

from __future__ import annotations

import atexit
import base64
import functools
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPMessage
from pathlib import Path
from typing import Any

from blake3 import blake3

from fuzz import objects
from fuzz.parts import first, halves
from shenyu_data.health.audit import append, entries
from shenyu_data.health.audit_check import check
from shenyu_data.model.ages import format_age, parse_age
from shenyu_data.model.config import Config, parse_config, sample
from shenyu_data.model.cursors import Cursor, read_cursor, write_cursor
from shenyu_data.model.errors import (
    ConfigError,
    HoldsDamaged,
    InvalidReceipt,
    RepositoryError,
    ShenyuDataError,
    UsageError,
)
from shenyu_data.model.expiry_holds import Hold, Holds, decode, encode, joined
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.model.permissions import parse_mode
from shenyu_data.model.rates import parse_rate
from shenyu_data.model.sizes import parse_size
from shenyu_data.model.words import find_words, fold, grams, parse_words, query
from shenyu_data.operations import copy_journal
from shenyu_data.operations.journal import Began, Ended, Journal, Saved
from shenyu_data.operations.quarantine import MANIFEST, Quarantine
from shenyu_data.operations.recover_record import Records, Recovery
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.keyslots import read_slot, unlock
from shenyu_data.repository.keytext import (
    RepositoryKey,
    explain_words,
    new_recovery_key,
    parse_recovery_key,
    parse_repository_key,
    recovery_words,
    repository_key_text,
)
from shenyu_data.repository.receipts import Receipt, read_public_key, sign_receipt, verify_receipt
from shenyu_data.repository.snapshots import find_snapshot
from shenyu_data.storage.cloud import Patience, Place, parse_place, s3_settings
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.storage.profiles import read_profile
from shenyu_data.storage.s3_versions import Refused, VersionedBucket

KEYS = Secrets(b"k" * 32, b"i" * 16)
_MOST_ANSWERS = 5000


@functools.cache
def _folder() -> Path:
    folder = tempfile.mkdtemp(prefix="fuzz-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def config(data: bytes) -> None:
    """A configuration is read, or the file and what is wrong with it are named."""
    text = data.decode("utf-8", "replace")
    try:
        found = parse_config(text, "the-file")
    except ConfigError as error:
        assert error.message.startswith("the-file")
        assert error.hint
        return
    assert isinstance(found, Config)
    if found.retention is not None:
        found.retention.policy()
        found.retention.grace_s()
    if found.cleanup is not None:
        found.cleanup.policy()
    found.versions_kept_s()
    if found.data is not None:
        assert parse_config(sample({"data": found.data}), "sample").data == found.data


def typed(data: bytes) -> None:
    """Ages, sizes, rates, modes, locations: a number that can be, or an error that says so."""
    text = data.decode("utf-8", "replace")
    parsers: tuple[Callable[[str], Any], ...] = (
        parse_age,
        parse_size,
        parse_rate,
        parse_mode,
        parse_place,
    )
    for parse in parsers:
        try:
            value = parse(text)
        except UsageError as error:
            assert error.hint
            continue
        if isinstance(value, Place):
            assert ".." not in str(value).split("/")
            assert parse(str(value)) == value
        else:
            assert 0 <= value < 1 << 64
            assert format_age(value)
    for snapshots in ([], [objects.bench().repository.snapshots()[0]]):
        with suppress(UsageError):
            find_snapshot(snapshots, text)


def cursors(data: bytes) -> None:
    """A cursor is what was written, or none; also one with a right checksum."""
    choice, body = first(data)
    if choice & 1:
        check = blake3(b"shenyu-data cursor" + body).digest(6)
        word = base64.urlsafe_b64encode(body + check).rstrip(b"=").decode()
    else:
        word = body.decode("utf-8", "replace")
    try:
        found = read_cursor(word, "list")
    except UsageError:
        pass
    else:
        assert -(1 << 63) <= found.tie < 1 << 63
        if isinstance(found.value, int):
            assert -(1 << 63) <= found.value < 1 << 63
    cursor = Cursor(body[:200], choice)
    assert read_cursor(write_cursor(cursor, "list"), "list") == cursor


def words(data: bytes) -> None:
    """No chat that holds all words is missed by the query of an index of its grams."""
    one, two = halves(data)
    asked, text = one.decode("utf-8", "replace"), two.decode("utf-8", "replace")
    try:
        wanted = parse_words(asked)
    except UsageError:
        return
    assert all(fold(word) == word for word in wanted), "what is folded stays as it is"
    texts = ["title", text, *(f"{asked} {text}",)]
    found = find_words(wanted, texts)
    assert found is not None, "all of them stand in the last text"
    assert len(found) <= 122
    for some in (texts, ["", text]):
        if find_words(wanted, some) is not None:
            have = grams(some)
            for gram in filter(None, query(wanted).split(" AND ")):
                assert (
                    any(one.startswith(gram[:-1]) for one in have)
                    if gram.endswith("*")
                    else gram in have
                ), gram


def journal(data: bytes) -> None:
    """Whatever a crash left in a journal, what was written whole before and after it is there."""
    path = _folder() / "journal.jsonl"
    began = Began(operation="x", time_ms=1, repository=b"r", data="d", snapshot=None)
    path.unlink(missing_ok=True)
    Journal(str(_folder()), path.name).write(began, Saved(b"s"), durable=False)
    with path.open("ab") as file:
        file.write(data)
    Journal(str(_folder()), path.name).write(Ended(), durable=False)
    lines = Journal(str(_folder()), path.name).lines()
    assert Saved(b"s") in lines or data[:1] not in (b"\n", b"")
    assert lines[0] == began
    assert lines[-1] == Ended()
    Journal(str(_folder()), path.name).forget(b"anna")


def audit_log(data: bytes) -> None:
    """Whatever stands in an audit log is checked, shown, and gone on with."""
    state = _folder() / "audited"
    shutil.rmtree(state, ignore_errors=True)
    (state / "audit").mkdir(parents=True)
    choice, text = first(data)
    if choice % 2:  # as somebody writes it who makes the hashes anew
        lines = [line for line in text.splitlines() if line.endswith(b"}")]
        hashes = [blake3(line).hexdigest().encode() for line in lines]
        whole = zip(lines, hashes, strict=True)
        text = b"".join(line[:-1] + b',"hash":"' + digest + b'"}\n' for line, digest in whole)
    (state / "audit" / "000000000001.jsonl").write_bytes(text)
    stats = check(str(state), None, CollectingMonitor())
    shown = list(entries(str(state)))
    assert sum(entry is not None for entry in shown) == stats.entries
    assert (None in shown) <= (stats.altered > 0)
    append(str(state), 1, "ended", verb="x")
    newest = next(entries(str(state)))
    assert newest is not None
    assert newest.verb == "x"


def copying(data: bytes) -> None:
    """Of a copy's journal the whole frames come, and what is not one is dropped with the rest."""
    folder = str(_folder())
    copy_journal.remove_journal(folder, b"s" * 16)
    with copy_journal.Journal(folder, b"s" * 16, KEYS, b"b") as kept:
        kept.add(b"one")
    choice, rest = first(data)
    path = os.path.join(folder, f"copy-{(b's' * 16).hex()}")
    with open(path, "r+b") as file:
        file.seek(choice if choice % 2 else 0, os.SEEK_SET if choice % 2 else os.SEEK_END)
        file.write(rest)
    with copy_journal.Journal(folder, b"s" * 16, KEYS, b"b") as kept:
        found = list(kept.frames())
        assert found in ([b"one"], [])
        assert found or choice % 2
        kept.add(b"two")
        assert list(kept.frames()) == [*found, b"two"]


def quarantine(data: bytes) -> None:
    """A manifest that is damaged is left out, and its neighbour is not."""
    state = _folder() / "state"
    kept = Quarantine(str(state))
    if not state.exists():
        found = os.stat(_folder())
        kept.add(b"users/a.json", b"a", b"{", found, code="x", action="y", wrote=None)
        (state / "quarantine" / "damaged").mkdir()
    (state / "quarantine" / "damaged" / MANIFEST).write_bytes(data)
    listed = kept.list()
    assert len([one for one in listed if one.path == "users/a.json"]) >= 1
    for one in listed:
        assert isinstance(one.path_bytes, bytes)


def recovery(data: bytes) -> None:
    """The record of a recovery is read, or it is said that it cannot be."""
    records = Records(str(_folder()))
    os.makedirs(records.folder, exist_ok=True)
    Path(records.path).write_bytes(data)
    with suppress(ShenyuDataError):
        assert isinstance(records.load(), Recovery)


def holds(data: bytes) -> None:
    """A file of holds that was changed is damaged, never one with fewer holds."""
    some = [Hold(user="anna", reason="law"), Hold(user="b\udcff", chat="1", until_ms=5)]
    text = encode(some, "twin")
    assert decode(text, "name")[0] == some
    for one in (data, _changed(text, data)):
        try:
            found, _ = decode(one, "name")
        except HoldsDamaged:
            continue
        assert one.split() == text.split() or found == some or one == data
        Holds(joined(found, some), 1).of_user("anna")


def _changed(text: bytes, data: bytes) -> bytes:
    made = bytearray(text)
    for at in range(0, len(data) - 2, 3):
        made[int.from_bytes(data[at : at + 2], "big") % len(made)] = data[at + 2]
    return bytes(made)


def profiles(data: bytes) -> None:
    """Settings of AWS are read, or the file is named, and nothing of what stands in it."""
    path = _folder() / "credentials"
    path.write_bytes(data)
    environment = {"AWS_SHARED_CREDENTIALS_FILE": str(path), "AWS_CONFIG_FILE": str(path)}
    for name in ({}, {"AWS_PROFILE": "work"}):
        try:
            found = read_profile({**environment, **name, "HOME": str(_folder())})
        except UsageError as error:
            assert len(error.message) < 200
            continue
        assert all(isinstance(value, str) for value in found.values())
    with suppress(UsageError):
        assert s3_settings({**environment, "AWS_REGION": "x"})["region"] == "x"


class _Canned(VersionedBucket):
    """A bucket whose service answers what it is told to."""

    def __init__(self, body: bytes, moment: str) -> None:
        settings = {"secret_access_key": "s", "access_key_id": "a", "region": "r"}
        super().__init__(Place("s3", "bucket", "prefix"), Patience(), settings)
        self._body = body
        self._headers = HTTPMessage()
        if moment:
            self._headers["x-amz-object-lock-retain-until-date"] = moment
        self.answers = 0

    def _ask(self, method: str, key: str, query: dict[str, str]) -> tuple[HTTPMessage, bytes]:
        self.answers += 1
        assert self.answers < _MOST_ANSWERS, "it asks again and again"
        return self._headers, self._body


def versions(data: bytes) -> None:
    """Whatever a service answers, old versions are counted or that is given up."""
    moment, body = halves(data)
    bucket = _Canned(body, moment.decode("utf-8", "replace") if body else "")
    for call in (lambda: bucket.old("keys"), lambda: bucket.destroy("keys/x")):
        bucket.answers = 0
        try:
            call()
        except Refused:
            continue


def receipts(data: bytes) -> None:
    """What is no receipt, or was changed, or is signed by another, is refused."""
    signed = _signed()
    text, signature = halves(data)
    for one in (text, _changed(signed.text, data)):
        for two in (signature, signed.signature):
            try:
                found = verify_receipt(one, two)
            except InvalidReceipt:
                continue
            assert isinstance(found, Receipt)
            assert one == signed.text or two != signed.signature
    with suppress(UsageError):
        read_public_key(text.decode("utf-8", "replace"))
    _resign(text)


def _resign(text: bytes) -> None:
    """A receipt that says anything, signed by whoever it names."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    signature = Ed25519PrivateKey.from_private_bytes(KEYS.receipt_seed).sign(text)
    with suppress(InvalidReceipt):
        verify_receipt(text, signature)


@functools.cache
def _signed() -> Any:
    import msgspec

    from shenyu_data.repository import receipts as module

    return sign_receipt(
        KEYS,
        msgspec.convert(
            {
                "format": module.RECEIPT_FORMAT,
                "version": 1,
                "user": "anna",
                "user_bytes_hex": "616e6e61",
                "repository": "00",
                "pseudonym": "00",
                "erased_at": "2026-01-01T00:00:00Z",
                "completed_at": "2026-01-01T00:00:00Z",
                "erased_for_good_at": None,
                "live": {"documents": 1, "document_bytes": 1, "overwritten": 1, "links": 0},
                "backups": {"snapshots": 1, "keys": []},
                "storage": {"keeps_versions": None, "versions_kept_s": None},
                "reservations": [],
                "reason": None,
                "program": "x",
                "public_key": module.public_key_pem(KEYS),
            },
            Receipt,
        ),
    )


def receipt_seeds() -> list[bytes]:
    """Return a receipt and its signature."""
    signed = _signed()
    return [signed.text + b"\xfe" + signed.signature, signed.public_key, b"ab" * 32]


def keys(data: bytes) -> None:
    """A key as text is the key it was written of, or none; slots with anything in them open
    nothing.
    """
    text = data.decode("utf-8", "replace")
    found = parse_recovery_key(text)
    assert found is None or len(found) == 32
    exported = parse_repository_key(text)
    if exported is not None:
        assert parse_repository_key(repository_key_text(exported)) == exported
    assert isinstance(explain_words(text), str)
    key = RepositoryKey(data[:32].ljust(32), data[32:48].ljust(16), 1 + len(data) % 99)
    assert parse_repository_key(repository_key_text(key).lower()) == key
    storage = MemoryStorage()
    name = f"slots/{'0' * 32}"
    storage.objects[name] = data
    for call in (lambda: read_slot(storage, name), lambda: unlock(storage, _RECOVERY)):
        try:
            call()
        except RepositoryError:
            continue


_RECOVERY = new_recovery_key()


def key_seeds() -> list[bytes]:
    """Return keys as people write them down."""
    return [
        _RECOVERY.encode(),
        " ".join(recovery_words(_RECOVERY)).encode(),
        repository_key_text(RepositoryKey(b"m" * 32, b"i" * 16, 3)).encode(),
    ]
