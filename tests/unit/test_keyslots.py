"""Key slots: what opens them, what does not, and that a forged one costs nothing."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from shenyu_data.model.errors import ObjectDamaged, ObjectMissing, RepositoryError, WrongKey
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.keyslots import (
    add_slot,
    read_label,
    read_slot,
    slot_names,
    unlock,
)
from shenyu_data.repository.keytext import new_recovery_key, parse_recovery_key
from shenyu_data.repository.repository import create_repository
from shenyu_data.storage.memory import MemoryStorage

KEYS = Secrets(b"m" * 32, b"r" * 16)
RECOVERY = "SHENYU-AAAQEAY-EAUDAOC-AJBIFQY-DIOB4IB-CEQTCQK-RMFYYDE-NBWHA5D-YP6KKHJ"


def storage_with(*secrets: str) -> MemoryStorage:
    storage = MemoryStorage()
    for number, secret in enumerate(secrets):
        add_slot(storage, KEYS, secret, f"slot {number}")
    return storage


def forge(storage: MemoryStorage, **changes: Any) -> None:
    """Change members of the only slot, and make its checksum right again: anybody can."""
    (name,) = storage.objects
    slot = json.loads(storage.objects[name]) | changes
    members = [slot[m] for m in "kind repository salt memory_kib iterations lanes".split()]
    text = "|".join(map(str, [name, *members, slot["sealed"], slot["label"]]))
    slot["check"] = blake3(text.encode()).hexdigest(length=16)
    storage.objects[name] = json.dumps(slot).encode()
    read_slot(storage, name)


@pytest.mark.parametrize("secret", ["x", "正确的密码 \U0001f512", " spaces kept ", RECOVERY])
def test_the_secret_that_made_a_slot_opens_it(secret: str) -> None:
    keys = unlock(storage_with(secret), secret).keys
    assert (keys.master, keys.repository_id) == (KEYS.master, KEYS.repository_id)


@pytest.mark.parametrize("wrong", ["", "X", "x ", RECOVERY, RECOVERY[:-1] + "K"])
def test_another_secret_is_a_wrong_key(wrong: str) -> None:
    with pytest.raises(WrongKey):
        unlock(storage_with("x"), wrong)


def test_every_slot_opens_on_its_own() -> None:
    storage = storage_with("first", "second", RECOVERY)
    for secret in ("first", "second", RECOVERY):
        assert unlock(storage, secret).keys.master == KEYS.master


def test_whoever_opens_one_slot_reads_the_labels_of_all_and_nobody_else_does() -> None:
    storage = storage_with("first", RECOVERY)
    keys = unlock(storage, "first").keys
    assert {read_label(storage, keys, name).text for name in slot_names(storage)} == {
        "slot 0",
        "slot 1",
    }
    assert b"slot 0" not in b"".join(storage.objects.values())
    with pytest.raises(ObjectDamaged):
        read_label(storage, Secrets(b"n" * 32, b"r" * 16), slot_names(storage)[0])


def test_a_repository_without_slots_is_told_from_a_wrong_key() -> None:
    with pytest.raises(ObjectMissing):
        unlock(MemoryStorage(), "x")


def test_a_damaged_slot_does_not_keep_another_from_opening() -> None:
    for damaged in (0, 1):
        storage = storage_with("x", RECOVERY)
        name = slot_names(storage)[damaged]
        storage.objects[name] = storage.objects[name][:-20]
        opened = 0
        for secret in ("x", RECOVERY):
            try:
                opened += unlock(storage, secret).keys.master == KEYS.master
            except ObjectDamaged:  # not WrongKey: the secret may well be right
                continue
        assert opened == 1


SLOT = storage_with(RECOVERY)


@given(st.data())
def test_a_flipped_byte_is_damage_never_a_wrong_key(data: st.DataObject) -> None:
    ((name, text),) = SLOT.objects.items()
    place = data.draw(st.integers(0, len(text) - 1))
    changed = bytearray(text)
    changed[place] ^= data.draw(st.integers(1, 255))
    storage = MemoryStorage()
    storage.put(name, [bytes(changed)])
    with contextlib.suppress(ObjectDamaged):
        assert unlock(storage, RECOVERY).keys.master == KEYS.master  # it was white space


def test_a_slot_under_another_name_is_damage() -> None:
    storage = storage_with("x")
    ((_, text),) = storage.objects.items()
    moved = MemoryStorage()
    moved.put("slots/" + "0" * 32, [text])
    with pytest.raises(ObjectDamaged):
        unlock(moved, "x")


@pytest.mark.parametrize(
    "changes",
    [
        {"memory_kib": 1 << 21},
        {"memory_kib": 1 << 50},
        {"memory_kib": -1},
        {"memory_kib": 0},
        {"memory_kib": 31},
        {"iterations": 0},
        {"iterations": 10**9},
        {"lanes": 0},
        {"lanes": -4},
        {"lanes": 17, "memory_kib": 1 << 20},
        {"salt": ""},
        {"salt": "no hex"},
        {"sealed": ""},
        {"sealed": "no base 64!"},
        {"sealed": "AAAA"},
        {"repository": "no hex"},
        {"kind": "another"},
        {"kind": "recovery"},
    ],
)
def test_a_forged_slot_opens_nothing_and_costs_nothing(changes: dict[str, Any]) -> None:
    storage = storage_with("x")
    forge(storage, **changes)
    with pytest.raises(WrongKey):
        unlock(storage, "x")


@pytest.mark.parametrize("label", ["", "AAAA", "no base 64!", "é"])
def test_a_forged_label_is_damage_and_the_slot_still_opens(label: str) -> None:
    storage = storage_with(RECOVERY)
    forge(storage, label=label)
    assert unlock(storage, RECOVERY).keys.master == KEYS.master
    with pytest.raises(ObjectDamaged):
        read_label(storage, KEYS, slot_names(storage)[0])


def test_a_stray_file_among_the_slots_is_passed_over() -> None:
    storage = storage_with(RECOVERY)
    storage.objects["slots/README.md"] = b"mine"
    assert unlock(storage, RECOVERY).keys.master == KEYS.master


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(msgspec.json.encode)
    | st.just(b"[" * 60_000)
    | st.just(b'{"x":' + b"[" * 60_000)
)
def test_noise_instead_of_a_slot_is_damage(noise: bytes) -> None:
    storage = MemoryStorage()
    storage.put("slots/" + "0" * 32, [noise])
    with pytest.raises(ObjectDamaged):
        unlock(storage, RECOVERY)


# -------------------------------------------------------------------------------- recovery keys


def test_a_new_recovery_key_is_read_back_as_people_type_it() -> None:
    text = new_recovery_key()
    key = parse_recovery_key(text)
    assert key is not None and len(key) == 32
    retypings: list[Callable[[str], str]] = [
        str.lower,
        lambda t: t.replace("-", ""),
        lambda t: t.replace("-", " "),
        lambda t: f"  {t[:30]}\n{t[30:]}\n",
    ]
    assert [parse_recovery_key(retype(text)) for retype in retypings] == [key] * 4
    assert parse_recovery_key(new_recovery_key()) != key


@settings(max_examples=200)
@given(st.integers(7, len(RECOVERY) - 1), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_a_typing_error_in_a_recovery_key_is_noticed(place: int, letter: str) -> None:
    if RECOVERY[place] in ("-", letter):
        return
    assert parse_recovery_key(RECOVERY[:place] + letter + RECOVERY[place + 1 :]) is None


@given(st.text(max_size=80) | st.text(max_size=70).map(lambda text: "SHENYU-" + text))
def test_no_other_text_is_a_recovery_key(text: str) -> None:
    assert parse_recovery_key(text) is None


def test_a_recovery_key_with_a_typing_error_does_not_open() -> None:
    with pytest.raises(WrongKey):
        unlock(storage_with(RECOVERY), RECOVERY.replace("AJBIFQY", "AJBIFQX"))


def test_new_slots_use_the_parameters_of_the_page() -> None:
    code = (
        "import json; from shenyu_data.repository.repository import create_repository\n"
        "from shenyu_data.storage.memory import MemoryStorage; storage = MemoryStorage()\n"
        "create_repository(storage, 'correct horse')\n"
        "slots = [json.loads(storage.objects[n]) for n in storage.objects if n[:5] == 'slots']\n"
        "print(*[s[m] for s in slots if s['kind'] == 'passphrase'\n"
        "        for m in ('memory_kib', 'iterations', 'lanes')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.split() == [b"65536", b"1", b"4"]


def test_every_failure_is_a_repository_error() -> None:
    for error in (WrongKey, ObjectDamaged, ObjectMissing):
        assert issubclass(error, RepositoryError)


def test_a_passphrase_opens_however_its_accents_were_typed() -> None:
    storage = MemoryStorage()
    _, _ = create_repository(storage, "caf\u00e9 \u6570\u636e")
    assert unlock(storage, "cafe\u0301 \u6570\u636e").keys.repository_id
