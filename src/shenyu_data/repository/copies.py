"""Objects that are stored twice: what is small and everything hangs on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from shenyu_data.model.errors import ObjectExists, ObjectMissing, RepositoryError, StorageError
from shenyu_data.repository.format import COPY_SUFFIX, TWICE, parse_object_name
from shenyu_data.storage.protocol import Storage

T = TypeVar("T")


def put_twice(storage: Storage, name: str, chunks: Sequence[bytes]) -> int:
    """Store an object and its copy; return the bytes stored."""
    return storage.put(name, chunks) + _put_if_missing(storage, name + COPY_SUFFIX, chunks)


def read_either(name: str, read: Callable[[str], T]) -> T:
    """Return what ``read`` makes of the object called ``name`` or, if that fails, of its copy.

    Raise what the first said, or the second if the first was only missing.
    """
    try:
        return read(name)
    except (RepositoryError, StorageError) as first:  # a bad sector is no reason to give up either
        try:
            return read(name + COPY_SUFFIX)
        except (RepositoryError, StorageError) as second:
            raise (second if isinstance(first, ObjectMissing) else first) from None


def mend_copies(
    storage: Storage,
    folders: Sequence[str] = TWICE,
    listed: dict[str, set[str]] | None = None,
) -> list[str]:
    """Store again what is missing of each pair in these folders; return the names stored.

    The names of the objects, without those of their copies, are added to ``listed`` by folder, for
    who would list them next.

    A backup killed between the two leaves such a state, and so does a lost file. A copy is only
    ever taken byte for byte from its twin: whether that is sound is checked by whoever reads it.
    If the twin is gone by then, somebody removed both, and the copy goes again.
    """
    mended = []
    for folder in folders:
        names = {info.name for info in storage.list(folder)}
        bases = {name.removesuffix(COPY_SUFFIX) for name in names}
        if listed is not None:
            listed[folder] = bases
        for base in sorted(bases):
            if parse_object_name(base) is None:
                continue  # a stranger's file: verify names it
            for missing, twin in ((base, base + COPY_SUFFIX), (base + COPY_SUFFIX, base)):
                if missing not in names:
                    try:
                        stored = _put_if_missing(storage, missing, [storage.read(twin)])
                    except RepositoryError:
                        continue  # its twin cannot be read either: verify names both
                    if stored and not _exists(storage, twin):
                        with suppress(ObjectMissing):
                            storage.destroy(missing)
                        continue
                    mended.append(missing)
    return mended


def _exists(storage: Storage, name: str) -> bool:
    try:
        storage.read(name, 0, 1)
    except ObjectMissing:
        return False
    return True


def _put_if_missing(storage: Storage, name: str, chunks: Sequence[bytes]) -> int:
    try:
        return storage.put(name, chunks)
    except ObjectExists:
        return 0  # another backup, mending, was faster; the bytes are the same
