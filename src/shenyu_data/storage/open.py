"""From a location to its storage: the one place that knows which kinds there are."""

from __future__ import annotations

import re

from shenyu_data.model.errors import UsageError
from shenyu_data.storage.local import LocalStorage
from shenyu_data.storage.protocol import Storage

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_OBJECT_STORES = ("s3", "gs", "az")


def is_remote(location: str) -> bool:
    """Whether a location is a URL; anything else is the path of a local folder."""
    return _SCHEME.match(location) is not None


def open_storage(location: str) -> Storage:
    """Return the storage at a location. Nothing is asked of it yet.

    Raise UsageError if there is no such kind of storage, the location is malformed, or what its
    kind needs is not installed.
    """
    scheme = _SCHEME.match(location)
    if scheme is None:
        return LocalStorage(location)
    if scheme[1] not in _OBJECT_STORES:
        raise UsageError(
            f"there is no storage for {scheme[1]}://",
            hint="Give the path of a local folder, or s3://, gs:// or az:// with a bucket.",
        )
    from shenyu_data.storage.objectstore import ObjectStorage  # 100 ms that a folder need not pay

    return ObjectStorage(location)
