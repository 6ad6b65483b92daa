"""``key rotate``: a new repository key, without rewriting what the old one sealed.

From then on everything is sealed under the new key; whoever has it also gets the older ones (see
repository/generations.py), and nobody else gets the new one: the keyring is sealed again, and the
key slots of the old key go. Documents sealed from then on need the new key as well as their owner's
(:meth:`Secrets.owner_keys`), so that an old keyring opens none of them.

Every step is durable before the next begins, and a rotation that was killed is ended by another
call: the old slots, which go last, are how it is known that one is under way.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

import msgspec

from shenyu_data.model.errors import (
    ObjectMissing,
    RepositoryError,
    ShenyuDataError,
    UsageError,
)
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.keys import KeySlot, list_keys
from shenyu_data.repository.copies import mend_copies
from shenyu_data.repository.crypto import KEY_BYTES, Secrets
from shenyu_data.repository.erasure import sweep_dead_keys
from shenyu_data.repository.format import COPY_SUFFIX, SLOTS
from shenyu_data.repository.generations import (
    generation_names,
    outdated_keyrings,
    read_generation,
    reseal_keyrings,
    write_generation,
)
from shenyu_data.repository.keyslots import MAX_GENERATION, Slot, add_slot, opens, read_slots
from shenyu_data.repository.keytext import new_recovery_key
from shenyu_data.repository.repository import Repository
from shenyu_data.storage.protocol import Storage

RECOVERY_LABEL = "recovery key shown at the rotation"


class RotationPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What ``key rotate`` would do.

    ``unfinished``: a rotation was interrupted, and this ends it, without another new key.
    ``generation`` counts the repository keys there will have been; ``leaving`` are the slots that
    go, ``keyrings`` the objects that are sealed again.
    """

    unfinished: bool
    generation: int
    leaving: list[KeySlot]
    keyrings: int


class Begun(NamedTuple):
    """A rotation that has its new slots: what opens the repository now."""

    repository: Repository
    recovery_key: str | None


class RotationStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a rotation did: keyring objects sealed again, key slots removed."""

    keyrings: int
    slots: int


def plan_rotation(repository: Repository) -> RotationPlan:
    """Say what rotating means now. Raise UsageError if it cannot be done."""
    keys, storage = repository.keys, repository.storage
    slots = read_slots(storage, [])
    old = _old_slots(slots, keys)
    unfinished = bool(old)
    if not unfinished:
        if keys.generation >= MAX_GENERATION:
            raise UsageError(
                f"the repository key was rotated {keys.generation - 1} times: that is the most",
                hint="Copy the snapshots into a new repository: `shenyu-data copy`.",
            )
        old = [name for name in slots if slots[name].generation]
    listed = {item.id: item for item in list_keys(repository, {}, [])}
    ids = (name.partition("/")[2] for name in old)
    return RotationPlan(
        unfinished=unfinished,
        generation=keys.generation if unfinished else keys.generation + 1,
        # One that is gone by now went with somebody else's rotation: beginning this one says so.
        leaving=[listed[item] for item in ids if item in listed],
        keyrings=len(outdated_keyrings(storage, keys, following=not unfinished)),
    )


def begin_rotation(repository: Repository, plan: RotationPlan, secret: str, label: str) -> Begun:
    """Make the new repository key and the slots that open it: ``secret``, and a recovery key that
    must be shown. Nothing is taken away yet.

    Of an unfinished rotation, only make the recovery key, if it has none. Raise ShenyuDataError if
    somebody else rotates at the same time.
    """
    storage, keys, slot = repository.storage, repository.keys, repository.slot
    if plan.unfinished:
        if any(item.opens and item.kind == "recovery" for item in list_keys(repository, {}, [])):
            return Begun(repository, None)
    else:
        keys = Secrets(os.urandom(KEY_BYTES), keys.repository_id, (keys.master, *keys.older))
        write_generation(storage, keys)
        slot = bytes.fromhex(add_slot(storage, keys, secret, label).partition("/")[2])
        _check_alone(storage, keys)
    recovery = new_recovery_key()
    add_slot(storage, keys, recovery, RECOVERY_LABEL)
    return Begun(Repository(storage, keys, slot), recovery)


def finish_rotation(repository: Repository, monitor: Monitor) -> RotationStats:
    """Take away what the old repository key opens and the new one must protect: may be done again
    at any time.

    A keyring object that cannot be read stays, and is reported.
    """
    storage, keys = repository.storage, repository.keys
    failures: list[RepositoryError] = []
    keyrings = reseal_keyrings(storage, keys, failures)
    for error in failures:
        monitor.report(Finding(code=error.code, severity="error", path="", message=error.message))
    sweep_dead_keys(storage, keys)  # an erasure that ran meanwhile
    _destroy_generations(storage, keys)
    mend_copies(storage)  # of what an interrupted rotation stored once
    old = _old_slots(read_slots(storage, []), keys)
    for name in old:
        _destroy(storage, name)
    return RotationStats(keyrings=keyrings, slots=len(old))


def _old_slots(slots: Mapping[str, Slot], keys: Secrets) -> list[str]:
    return [name for name, slot in slots.items() if 0 < slot.generation < keys.generation]


def _check_alone(storage: Storage, keys: Secrets) -> None:
    """Raise ShenyuDataError, having taken the new slot back, if another rotation has made one.

    Both store theirs before they look: so at least one of two sees the other.
    """
    slots = {
        name for name, slot in read_slots(storage, []).items() if slot.generation >= keys.generation
    }
    mine = {name for name in slots if opens(storage, keys, name)}
    if slots == mine:
        return
    for name in mine:
        _destroy(storage, name)
    newest = Secrets(keys.master, keys.repository_id)
    for name in generation_names(storage):
        if read_generation(storage, newest, name) is not None:
            _destroy(storage, name, name + COPY_SUFFIX)
    others = ", ".join(sorted(name.removeprefix(f"{SLOTS}/")[:8] for name in slots - mine))
    raise ShenyuDataError(
        f"somebody else rotates the repository key, too: their key slot is {others}",
        hint="Nothing was changed. Let one of you go on: `shenyu-data key rotate`.",
    )


def _destroy_generations(storage: Storage, keys: Secrets) -> None:
    """Destroy the objects for older repository keys, and of rotations that were given up."""
    newest = Secrets(keys.master, keys.repository_id)
    outdated = True
    while outdated:  # a backup that runs meanwhile may bring a copy back
        outdated = False
        for name in generation_names(storage):
            with suppress(RepositoryError):  # a damaged one stays: verify names it
                if read_generation(storage, newest, name) is None:
                    _destroy(storage, name, name + COPY_SUFFIX)
                    outdated = True


def _destroy(storage: Storage, *names: str) -> None:
    for name in names:
        with suppress(ObjectMissing):
            storage.destroy(name)
