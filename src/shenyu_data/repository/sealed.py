"""Objects that are one sealed message each: proofs, prune records, tombstones, acknowledgements,
anchors, acceptances. docs/format.md says what stands in each.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Generic, TypeVar

import msgspec

from shenyu_data.model.errors import RepositoryError
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.format import (
    COPY_SUFFIX,
    HEADER_BYTES,
    ObjectKind,
    check_header,
    damaged,
    header,
    new_id,
    object_name,
    parse_object_name,
)
from shenyu_data.storage.protocol import Storage

Item = TypeVar("Item")


class Sealed(Generic[Item]):
    """The objects of one kind, in one folder, which hold an ``item`` each.

    They are sealed for ``folder``, and bound to ``word`` and their own id: none can take the place
    of another. ``what`` tells people what one that does not hold it should be.
    """

    def __init__(
        self, kind: ObjectKind, folder: str, word: bytes, item: type[Item], what: str
    ) -> None:
        self._kind = kind
        self._folder = folder
        self._word = word
        self._item = item
        self._what = what

    def parts(self, keys: Secrets, name: str, item: Item) -> list[bytes]:
        """Return what the object of this name consists of."""
        sealed = keys.seal(self._folder, msgspec.msgpack.encode(item), self._bound_to(name))
        return [header(self._kind), sealed]

    def write(self, storage: Storage, keys: Secrets, item: Item) -> str:
        """Store an object under a new name; return it."""
        name = self.new_name()
        storage.put(name, self.parts(keys, name, item))
        return name

    def new_name(self) -> str:
        """Return a name that no object has."""
        return object_name(self._kind, new_id())

    def read(self, storage: Storage, keys: Secrets, name: str) -> Item:
        """Read one object, or a copy of one. Raise ObjectMissing or ObjectDamaged."""
        data = storage.read(name)
        check_header(self._kind, name, data)
        plain = keys.unseal(self._folder, data[HEADER_BYTES:], self._bound_to(name), name)
        try:
            return msgspec.msgpack.decode(plain, type=self._item)
        except (ValueError, RecursionError):
            raise damaged(name, f"it does not hold {self._what}") from None

    def read_all(self, storage: Storage, keys: Secrets) -> dict[str, Item]:
        """Return all of them by their names; what cannot be read is passed over."""
        found = {}
        for name in self.names(storage):
            with suppress(RepositoryError):
                found[name] = self.read(storage, keys, name)
        return found

    def names(self, storage: Storage) -> list[str]:
        """Return the names of the objects."""
        return [info.name for info in storage.list(self._folder) if parse_object_name(info.name)]

    def _bound_to(self, name: str) -> bytes:
        parsed = parse_object_name(name.removesuffix(COPY_SUFFIX))
        if parsed is None or parsed[0] != self._folder:
            raise damaged(name, "it is not named as such an object is")
        return self._word + parsed[1]
