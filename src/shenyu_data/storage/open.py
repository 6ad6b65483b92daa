"""From a location to its storage: the one place that knows which kinds there are."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from shenyu_data.model.errors import UsageError
from shenyu_data.storage.local import LocalStorage
from shenyu_data.storage.protocol import Storage

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_OBJECT_STORES = ("s3", "gs", "az")


class StorageOptions(NamedTuple):
    """How a remote storage is used. ``cache`` is a folder, None: the usual one. The limits are in
    bytes a second, for all processes of a call together; None: none.
    """

    cache: str | None = None
    upload_limit: int | None = None
    download_limit: int | None = None


def is_remote(location: str) -> bool:
    """Whether a location is a URL; anything else is the path of a local folder."""
    return _SCHEME.match(location) is not None


def open_storage(location: str, options: StorageOptions | None = None) -> Storage:
    """Return the storage at a location, a remote one behind a local cache. Nothing is asked of it
    yet.

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
    # Imported here: a folder need not pay the 100 ms that these take.
    from shenyu_data.storage.cache import CachedStorage
    from shenyu_data.storage.objectstore import ObjectStorage
    from shenyu_data.storage.throttle import Throttle

    options = options or StorageOptions()
    upload, download = options.upload_limit, options.download_limit
    storage = ObjectStorage(
        location,
        upload=Throttle(upload) if upload else None,
        download=Throttle(download) if download else None,
    )
    return CachedStorage(storage, options.cache or usual_cache(os.environ))


def usual_cache(environment: Mapping[str, str]) -> str:
    """Return the folder for caches: by XDG_CACHE_HOME or HOME; of a service of root's without a
    home, /var/cache/shenyu-data.
    """
    home = environment.get("HOME", "")
    base = environment.get("XDG_CACHE_HOME") or (home and os.path.join(home, ".cache"))
    if os.geteuid() == 0 and not (home and os.access(home, os.W_OK)):
        base = environment.get("XDG_CACHE_HOME") or "/var/cache"
    return os.path.join(base or "/var/cache", "shenyu-data")
