"""Key slots come and go: what two people do to them at once, and what may not happen."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shenyu_data.model.errors import ShenyuDataError, UsageError
from shenyu_data.operations.keys import add_key, list_keys, plan_remove, remove_key
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.keyslots import add_slot, slot_names, unlock
from shenyu_data.repository.keytext import new_recovery_key
from shenyu_data.repository.repository import Repository
from shenyu_data.storage.memory import MemoryStorage

KEYS = Secrets(b"m" * 32, b"r" * 16)


class Interrupted(MemoryStorage):
    """Calls ``then`` after an object was destroyed: a place to let somebody else act."""

    def __init__(self, storage: MemoryStorage, then: Callable[[], None]) -> None:
        super().__init__()
        self.objects = storage.objects
        self._then = then

    def destroy(self, name: str) -> None:
        super().destroy(name)
        self._then()


def two_slots() -> tuple[MemoryStorage, list[str]]:
    storage = MemoryStorage()
    secrets = [new_recovery_key(), new_recovery_key()]
    for number, secret in enumerate(secrets):
        add_slot(storage, KEYS, secret, f"slot {number}")
    return storage, secrets


def test_two_who_remove_the_last_two_slots_at_once_leave_one() -> None:
    storage, secrets = two_slots()
    plans = [plan_remove(Repository(storage, KEYS), f"slot {number}") for number in range(2)]
    failures = []

    def remove_the_other() -> None:
        try:
            remove_key(Repository(storage, KEYS), plans[1])
        except ShenyuDataError as error:
            failures.append(error)

    first = Repository(Interrupted(storage, remove_the_other), KEYS)
    remove_key(first, plans[0])
    assert len(failures) == 1, "the second saw that it would take the last"
    assert slot_names(storage) == [plans[1].name]
    assert unlock(storage, secrets[1]).keys.master == KEYS.master


def test_if_both_see_that_none_is_left_both_put_theirs_back() -> None:
    storage, _ = two_slots()
    plans = [plan_remove(Repository(storage, KEYS), f"slot {number}") for number in range(2)]

    def both_gone() -> None:
        storage.objects.pop(plans[1].name, None)

    with pytest.raises(ShenyuDataError):
        remove_key(Repository(Interrupted(storage, both_gone), KEYS), plans[0])
    assert slot_names(storage) == [plans[0].name]


def test_only_slots_that_open_count_as_left() -> None:
    """Neither one of another key nor a stranger's file is a reason to remove the last."""
    storage, _ = two_slots()
    add_slot(storage, Secrets(b"x" * 32, b"r" * 16), new_recovery_key(), "of another key")
    storage.objects["slots/README.md"] = b"a stranger's"
    repository = Repository(storage, KEYS)
    remove_key(repository, plan_remove(repository, "slot 0"))
    with pytest.raises(UsageError, match="last"):
        plan_remove(repository, "slot 1")
    failures: list[ShenyuDataError] = []
    slots = list_keys(repository, {}, failures)  # type: ignore[arg-type]
    assert [(slot.label, slot.opens) for slot in slots] == [(None, False), ("slot 1", True)]
    assert len(failures) == 1


def test_a_slot_of_a_later_kind_is_listed_as_it_is() -> None:
    storage, _ = two_slots()
    (name, *_) = slot_names(storage)
    assert b'"recovery"' in storage.objects[name]
    text = storage.objects[name].replace(b'"recovery"', b'"hardware"')
    storage.objects[name] = with_checksum(name, text)
    (slot,) = (s for s in list_keys(Repository(storage, KEYS), {}, []) if s.kind != "recovery")
    assert (slot.kind, slot.opens) == ("hardware", False)


def with_checksum(name: str, text: bytes) -> bytes:
    import json

    from blake3 import blake3

    slot = json.loads(text)
    members = [slot[m] for m in "kind repository salt memory_kib iterations lanes".split()]
    joined = "|".join(map(str, [name, *members, slot["sealed"], slot["label"]]))
    slot["check"] = blake3(joined.encode()).hexdigest(length=16)
    return json.dumps(slot).encode()


def test_the_same_words_typed_otherwise_are_the_same_secret() -> None:
    storage, secrets = two_slots()
    with pytest.raises(UsageError, match="already"):
        add_key(Repository(storage, KEYS), secrets[0].lower(), "again")
