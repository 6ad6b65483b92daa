"""Key slots: each opens the repository key with one passphrase or one recovery key.

A slot is a small JSON object anyone may read (it says how to derive a key, not which) around the
repository key sealed under that derived key. Its label is sealed under the repository key: whoever
opens one slot can tell them all apart, nobody else can. Argon2id: RFC 9106. A recovery key has full
entropy and needs no slow derivation, so unlocking with one, from a file, costs nothing.

The slots of a repository whose key was rotated say in their kind which repository key they hold:
see repository/generations.py.
"""

from __future__ import annotations

import base64
import os
import re
import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, NamedTuple

import msgspec
from blake3 import blake3

from shenyu_data.model.errors import ObjectMissing, RepositoryError, WrongKey
from shenyu_data.repository.crypto import KEY_BYTES, Secrets, derive, seal, unseal
from shenyu_data.repository.format import SLOTS, damaged, new_id, parse_object_name
from shenyu_data.repository.generations import rotated, with_older
from shenyu_data.repository.keytext import parse_recovery_key
from shenyu_data.storage.protocol import Storage

ARGON2_MEMORY_KIB = 64 << 10
ARGON2_ITERATIONS = 1
ARGON2_LANES = 4
_MAX_MEMORY_KIB = 1 << 20  # what a forged slot may make us spend
_MAX_ITERATIONS = 32
_MAX_LANES = 16

_KIND = re.compile(r"(passphrase|recovery)(?:-([2-9]|[1-9][0-9]))?")
MAX_GENERATION = 99


class Slot(msgspec.Struct, kw_only=True):
    """A slot as stored. ``check`` tells a damaged slot from a wrong passphrase.

    No other defaults: a damaged member name must not be taken for a missing one.
    """

    kind: str  # "passphrase" or "recovery"; after rotations "passphrase-2" and so on
    repository: str
    salt: str
    memory_kib: int
    iterations: int
    lanes: int
    sealed: str
    label: str
    check: str = ""

    @property
    def purpose(self) -> str:
        """What opens it, "passphrase" or "recovery"; of a kind this program does not know, ""."""
        found = _KIND.fullmatch(self.kind)
        return found[1] if found else ""

    @property
    def generation(self) -> int:
        """Which repository key it holds: 1 the first, 2 the one after it; 0 of an unknown kind."""
        found = _KIND.fullmatch(self.kind)
        return int(found[2] or 1) if found else 0


class Unlocked(NamedTuple):
    """What a secret gave: the repository's secrets, and the id of the key slot that opened."""

    keys: Secrets
    slot: bytes


class _Contents(msgspec.Struct):
    """What is sealed in a slot."""

    master: Annotated[bytes, msgspec.Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]


class Label(msgspec.Struct, frozen=True):
    """What a person called a slot when it was added, and when that was."""

    text: str
    created_ms: int


def add_slot(storage: Storage, keys: Secrets, secret: str, label: str) -> str:
    """Store a slot that opens with ``secret`` (a passphrase, or a recovery key); return its object
    name.
    """
    recovery = parse_recovery_key(secret)
    kind = "passphrase" if recovery is None else "recovery"
    slot = Slot(
        kind=kind if keys.generation == 1 else f"{kind}-{keys.generation}",
        repository=keys.repository_id.hex(),
        salt=os.urandom(16).hex(),
        memory_kib=0,
        iterations=0,
        lanes=0,
        sealed="",
        label="",
    )
    if recovery is None:
        slot.memory_kib = ARGON2_MEMORY_KIB
        slot.iterations = ARGON2_ITERATIONS
        slot.lanes = ARGON2_LANES
    name = f"{SLOTS}/{new_id().hex()}"
    contents = msgspec.msgpack.encode(_Contents(keys.master))
    sealed = seal(_slot_key(slot, secret, recovery), contents, _bound_to(slot, name))
    slot.sealed = base64.b64encode(sealed).decode("ascii")
    about = msgspec.msgpack.encode(Label(label, time.time_ns() // 1_000_000))
    sealed_label = keys.seal("labels", about, _label_bound_to(name))
    slot.label = base64.b64encode(sealed_label).decode("ascii")
    slot.check = _check(slot, name)
    storage.put(name, [msgspec.json.format(msgspec.json.encode(slot), indent=2) + b"\n"])
    return name


def unlock(storage: Storage, secret: str) -> Unlocked:
    """Given a passphrase or recovery key, open the repository.

    Raise WrongKey if no slot opens with it, ObjectMissing if there are no slots, RepositoryError if
    every slot is damaged, or if the keys from before the last rotation cannot be read.
    """
    if not slot_names(storage):
        raise ObjectMissing(
            f"{storage.location} has no key slots",
            hint="Check the repository's location; `shenyu-data init` makes a new repository.",
        )
    failures: list[RepositoryError] = []
    slots = read_slots(storage, failures)
    newest = max((slot.generation for slot in slots.values()), default=0)
    for name, slot, master in _opened(slots, secret):
        if slot.generation < newest:
            raise rotated(storage)
        try:
            keys = with_older(storage, master, bytes.fromhex(slot.repository), slot.generation)
        except RepositoryError as error:
            failures.append(error)  # a rotation that was given up may have left this slot
            continue
        return Unlocked(keys, bytes.fromhex(name.partition("/")[2]))
    if failures:
        raise failures[-1]
    raise WrongKey(
        f"the passphrase does not open the repository {storage.location}",
        hint="Check SHENYU_DATA_PASSPHRASE or passphrase_file; the recovery key opens it too.",
    )


def opened_by(storage: Storage, secret: str) -> list[str]:
    """Return the names of the slots that open with ``secret``."""
    return [name for name, _, _ in _opened(read_slots(storage, []), secret)]


def _opened(slots: Mapping[str, Slot], secret: str) -> Iterator[tuple[str, Slot, bytes]]:
    """Yield each slot that opens, newest generation first, with the repository key it holds."""
    recovery = parse_recovery_key(secret)
    wanted = "passphrase" if recovery is None else "recovery"
    for name in sorted(slots, key=lambda name: (-slots[name].generation, name)):
        slot = slots[name]
        if slot.purpose != wanted:
            continue
        try:
            key = _slot_key(slot, secret, recovery)
            sealed = base64.b64decode(slot.sealed)
            contents = unseal(key, sealed, _bound_to(slot, name), name)
            master = msgspec.msgpack.decode(contents, type=_Contents).master
            bytes.fromhex(slot.repository)
        except (RepositoryError, ValueError, RecursionError):
            continue
        yield name, slot, master


def read_slots(storage: Storage, failures: list[RepositoryError]) -> dict[str, Slot]:
    """Return the sound slots by name; the errors of the others are added to ``failures``."""
    slots = {}
    for name in slot_names(storage):
        try:
            slots[name] = read_slot(storage, name)
        except RepositoryError as error:
            failures.append(error)
    return slots


def slot_names(storage: Storage) -> list[str]:
    """Return the names of all key slots."""
    return [info.name for info in storage.list(SLOTS) if parse_object_name(info.name)]


def read_label(storage: Storage, keys: Secrets, name: str) -> Label:
    """Return a slot's label. Raise ObjectMissing or ObjectDamaged."""
    slot = read_slot(storage, name)
    try:
        sealed = base64.b64decode(slot.label)
        about = keys.unseal("labels", sealed, _label_bound_to(name), name)
        return msgspec.msgpack.decode(about, type=Label)
    except (ValueError, RecursionError):
        raise damaged(name, "its label is not one") from None


def opens(storage: Storage, keys: Secrets, name: str) -> bool:
    """Whether a slot is sound and holds the repository key of today."""
    newest = Secrets(keys.master, keys.repository_id)
    try:
        read_label(storage, newest, name)
        return read_slot(storage, name).generation == keys.generation
    except RepositoryError:
        return False


def read_slot(storage: Storage, name: str) -> Slot:
    """Read one slot. Raise ObjectDamaged if a byte of it was changed."""
    try:
        slot = msgspec.json.decode(storage.read(name, 0, 1 << 16), type=Slot)
    except (ValueError, RecursionError):
        raise damaged(name, "it is not a key slot") from None
    if slot.check != _check(slot, name):
        raise damaged(name, "its checksum is wrong")
    return slot


def _slot_key(slot: Slot, secret: str, recovery: bytes | None) -> bytes:
    salt = bytes.fromhex(slot.salt)
    if recovery is not None:
        return derive(recovery + salt, "recovery slot")
    if not (
        8 * slot.lanes <= slot.memory_kib <= _MAX_MEMORY_KIB
        and 1 <= slot.iterations <= _MAX_ITERATIONS
        and 1 <= slot.lanes <= _MAX_LANES
    ):
        raise ValueError("the slot asks for an unreasonable derivation")
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    return Argon2id(
        salt=salt,
        length=KEY_BYTES,
        iterations=slot.iterations,
        lanes=slot.lanes,
        memory_cost=slot.memory_kib,
    ).derive(_passphrase_bytes(secret))


def _bound_to(slot: Slot, name: str) -> bytes:
    parts: Sequence[object] = (
        name,
        slot.kind,
        slot.repository,
        slot.salt,
        slot.memory_kib,
        slot.iterations,
        slot.lanes,
    )
    return "|".join(map(str, parts)).encode()


def _label_bound_to(name: str) -> bytes:
    return b"label" + name.encode()


def _check(slot: Slot, name: str) -> str:
    stored = f"|{slot.sealed}|{slot.label}".encode()
    return blake3(_bound_to(slot, name) + stored).hexdigest(length=16)


def _passphrase_bytes(passphrase: str) -> bytes:
    # The same characters can be typed as different code points (é, or e and an accent).
    return unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogateescape")
