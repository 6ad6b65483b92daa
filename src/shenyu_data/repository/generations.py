"""Generations of the repository key: a rotation makes a new one, and this keeps the older ones.

What was sealed under an older key stays as it is, and whoever has the newest key must still open
it. So the older keys lie in an object ``generations/ID``, sealed under the newest, twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated

import msgspec
from blake3 import blake3

from shenyu_data.model.errors import ObjectMissing, RepositoryError, WrongKey
from shenyu_data.repository.copies import put_twice, read_either
from shenyu_data.repository.crypto import KEY_BYTES, Secrets
from shenyu_data.repository.format import (
    BUCKETS,
    COPY_SUFFIX,
    GENERATIONS,
    HEADER_BYTES,
    ObjectKind,
    check_header,
    damaged,
    header,
    new_id,
    object_name,
    parse_object_name,
)
from shenyu_data.repository.keyring import Keyring, KeyringObject, write_keyring
from shenyu_data.storage.protocol import Storage

CHECK_BYTES = 16


class _Contents(msgspec.Struct):
    """What is sealed in it: the repository keys before, newest first."""

    older: list[Annotated[bytes, msgspec.Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]]


def write_generation(storage: Storage, keys: Secrets) -> str:
    """Store the older keys for whoever has the newest, twice; return the object's name."""
    object_id = new_id()
    name = object_name(ObjectKind.GENERATION, object_id)
    contents = msgspec.msgpack.encode(_Contents(list(keys.older)))
    sealed = keys.seal("generations", contents, _bound_to(name))
    put_twice(storage, name, [header(ObjectKind.GENERATION), _check(name, sealed), sealed])
    return name


def with_older(storage: Storage, master: bytes, repository_id: bytes, generation: int) -> Secrets:
    """Given a repository key of the ``generation`` (1 the first there was), add the older ones.

    Raise ObjectMissing or ObjectDamaged if they cannot be read.
    """
    keys = Secrets(master, repository_id)
    if generation == 1:
        return keys
    failure: RepositoryError | None = None
    for name in generation_names(storage):
        try:
            older = read_generation(storage, keys, name)
        except RepositoryError as error:
            failure = error
            continue
        if older is not None and len(older) == generation - 1:
            return Secrets(master, repository_id, tuple(older))
    raise failure or ObjectMissing(
        f"the repository keys from before the last rotation are missing from {storage.location}",
        hint="Restore the objects generations/* from a copy of the repository.",
    )


def read_generation(storage: Storage, keys: Secrets, name: str) -> list[bytes] | None:
    """Return the keys in an object; None if it is sound and of another repository key.

    Raise ObjectMissing or ObjectDamaged if neither copy is sound.
    """
    return read_either(name, lambda copy: read_generation_copy(storage, keys, copy))


def read_generation_copy(storage: Storage, keys: Secrets, copy: str) -> list[bytes] | None:
    """As :func:`read_generation`, of one named copy."""
    data = storage.read(copy, 0, 1 << 16)
    check_header(ObjectKind.GENERATION, copy, data)
    name = copy.removesuffix(COPY_SUFFIX)
    check = data[HEADER_BYTES : HEADER_BYTES + CHECK_BYTES]
    sealed = data[HEADER_BYTES + CHECK_BYTES :]
    if check != _check(name, sealed):
        raise damaged(copy, "its checksum is wrong")
    try:
        contents = keys.unseal("generations", sealed, _bound_to(name), copy)
    except RepositoryError:
        return None
    try:
        return msgspec.msgpack.decode(contents, type=_Contents).older
    except (msgspec.DecodeError, RecursionError):
        raise damaged(copy, "it does not hold repository keys") from None


def generation_names(storage: Storage) -> Iterator[str]:
    """Yield the names of all such objects, without those of their copies."""
    names = {info.name.removesuffix(COPY_SUFFIX) for info in storage.list(GENERATIONS)}
    yield from sorted(name for name in names if parse_object_name(name))


def outdated_keyrings(
    storage: Storage, keys: Secrets, *, following: bool = False
) -> list[KeyringObject]:
    """Return the keyring objects that are not sealed under the newest repository key; if one is to
    be ``following``, all.
    """
    objects = Keyring(storage, keys).objects
    newest = Secrets(keys.master, keys.repository_id)
    return [item for item in objects if following or not _opens(storage, newest, item.name)]


def reseal_keyrings(storage: Storage, keys: Secrets, failures: list[RepositoryError]) -> int:
    """Seal again, under the newest repository key, the keyring objects that are sealed under an
    older one, and destroy those; return how many there were.

    A rotation does this, and every prune after it: a backup that ran beside the rotation may have
    stored one more. Looks again until none is left, for such a backup may bring a copy back. What
    cannot be read stays, and its error is added to ``failures``.
    """
    resealed = 0
    unreadable: dict[str, RepositoryError] = {}
    while True:
        found = outdated_keyrings(storage, keys)
        if all(item.name in unreadable for item in found):
            failures += (unreadable[item.name] for item in found)
            return resealed
        for item in found:
            try:
                rows = {bucket: item.bucket(bucket) for bucket in range(BUCKETS)}
            except RepositoryError as error:
                unreadable[item.name] = error  # or somebody else has just sealed it again
                continue
            write_keyring(storage, keys, rows)
            for name in (item.name, item.name + COPY_SUFFIX):
                with suppress(ObjectMissing):
                    storage.destroy(name)
            resealed += 1


def _opens(storage: Storage, keys: Secrets, name: str) -> bool:
    item = KeyringObject(storage, keys, name)
    for copy in (name, name + COPY_SUFFIX):
        with suppress(RepositoryError):
            item.counts_of_copy(copy)
            return True
    return False


def rotated(storage: Storage) -> WrongKey:
    """Return the error for a secret that gives only a repository key from before a rotation."""
    return WrongKey(
        f"the repository key of {storage.location} was rotated, and this opens only the one before",
        hint="Ask whoever rotated it for a new key slot. If the rotation was interrupted: "
        "`shenyu-data key rotate`, with the passphrase it was begun with, ends it.",
    )


def _bound_to(name: str) -> bytes:
    return b"generation" + name.encode()


def _check(name: str, sealed: bytes) -> bytes:
    """Tell a damaged object from one that another repository key opens."""
    return blake3(name.encode() + b"|" + sealed).digest(CHECK_BYTES)
