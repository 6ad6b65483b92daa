"""A repository in a bucket of S3, Google Cloud Storage or Azure, through the library obstore.

Imported only when such a location is used. What follows from the network is dealt with here:
trying again, answers that were lost, and errors told in a person's words, without secrets.
"""

from __future__ import annotations

import functools
import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from shenyu_data.model.errors import ObjectExists, ObjectMissing, StorageError, UsageError
from shenyu_data.storage.cloud import (
    Patience,
    open_bucket,
    parse_place,
    refuses_to_overwrite,
)
from shenyu_data.storage.cloud_errors import Trouble, understand
from shenyu_data.storage.protocol import ObjectInfo, OldVersions, check_name, is_name_part
from shenyu_data.storage.s3_versions import Refused, versions_of
from shenyu_data.storage.throttle import Throttle

try:
    import obstore
    from obstore.exceptions import BaseError
except ImportError:
    raise UsageError(
        "object stores need the library obstore, which is not installed",
        hint="pip install 'shenyu-data[cloud]'",
    ) from None

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Store

    Bucket = S3Store | GCSStore | AzureStore

MULTIPART_BYTES = 64 << 20
"""An object of this size or more goes up in parts: one request should not carry all of it."""

_PART_BYTES = 16 << 20
_PARTS_AT_ONCE = 4
_PACED_BYTES = 8 << 20  # with a limit, from this size on: else it would go out in one burst
_PACED_PART_BYTES = 5 << 20  # the smallest that S3 takes
_PACE_BYTES = 256 << 10
_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 15.0

_process: int | None = None
"""The process that first used the library, whose threads do not survive a fork."""

T = TypeVar("T")


class ObjectStorage:
    """Given a location such as ``s3://bucket/prefix``, keep objects there.

    Credentials come from the environment of the process that uses it; only the location (and the
    patience) is pickled. The library's threads do not survive a fork: a forked process is refused.
    """

    def __init__(
        self,
        location: str,
        patience: Patience | None = None,
        *,
        upload: Throttle | None = None,
        download: Throttle | None = None,
    ) -> None:
        self._place = parse_place(location)
        self._patience = patience or Patience()
        self._upload_throttle = upload
        self._download_throttle = download
        self._token = secrets.token_bytes(8)
        self._buckets: dict[bool, Bucket] = {}
        self._lock = threading.Lock()
        self._being_put: set[str] = set()
        self._put_done = threading.Condition(self._lock)
        self._looks_first = not refuses_to_overwrite(self._place, os.environ)
        self._ranges = True
        self._whole: tuple[str, bytes] | None = None

    def __reduce__(self) -> tuple[object, ...]:
        throttles = (self._upload_throttle, self._download_throttle)
        return _reopen, (self._token, self.location, self._patience, *throttles)

    @property
    def location(self) -> str:
        """The location, without a slash at its end."""
        return str(self._place)

    def put(self, name: str, chunks: Sequence[bytes]) -> int:
        """Upload the object, in parts if it is large.

        The bucket shows it whole or not at all. If an answer was lost, what was stored is looked
        at: it counts as ours if it has our bytes. So an upload that failed for good may yet have
        been stored whole.
        """
        check_name(name)
        data = b"".join(chunks)
        large = len(data) >= (_PACED_BYTES if self._upload_throttle else MULTIPART_BYTES)
        with self._alone(name):
            if (self._looks_first or large) and self._size(name) is not None:
                raise self._exists(name)
            lost = False

            def attempt() -> None:
                nonlocal lost
                again, lost = lost, True
                try:
                    self._upload(name, data, large=large)
                except obstore.exceptions.AlreadyExistsError:
                    size = self._size(name)
                    if size is None:
                        raise  # another upload of that name was under way, and came to nothing
                    if not (again and size == len(data) and self.read(name) == data):
                        raise self._exists(name) from None

            self._patiently("write", name, attempt)
        return len(data)

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Download a part of an object."""
        check_name(name)
        if length == 0:
            if self._size(name) is None:
                raise self._missing(name)
            return b""
        if not self._ranges:
            return self._part_of_whole(name, offset, length)
        try:
            return self._patiently("read", name, lambda: self._download(name, offset, length))
        except _NoRanges:
            self._ranges = False
            return self._part_of_whole(name, offset, length)

    def list(self, folder: str) -> Iterator[ObjectInfo]:
        """Yield the objects in a folder, sorted by name; the whole listing is asked for first."""

        def attempt() -> list[ObjectInfo]:
            found = obstore.list(self._bucket(reading=True), folder or None, chunk_size=1000)
            return [ObjectInfo(item["path"], item["size"]) for page in found for item in page]

        for info in sorted(self._patiently("list", folder, attempt)):
            parts = info.name.split("/")
            if len(parts) <= 2 and all(map(is_name_part, parts)):
                yield info

    def delete(self, name: str) -> None:
        """Delete an object, after asking whether it is there: the services would not tell."""
        if self._size(check_name(name)) is None:
            raise self._missing(name)
        self._whole = None
        self._patiently("delete", name, lambda: obstore.delete(self._bucket(), name))

    def destroy(self, name: str) -> None:
        """As :meth:`delete`, with every version that a bucket of S3 keeps of it, if it lets us:
        what remains, :meth:`old_versions` tells.
        """
        versions = versions_of(self._place, self._patience, os.environ)
        if versions is None or self._version(check_name(name)) is None:
            self.delete(name)
            return
        self._whole = None
        try:
            versions.destroy(name)
        except Refused:  # it is locked, or we may only delete
            with suppress(ObjectMissing):
                self.delete(name)

    def sweep(self, folder: str, older_than_s: float) -> int:
        """Return 0: uploads that were cut off are the store's to remove (docs/storage.md)."""
        return 0

    def keeps_versions(self) -> bool | None:
        """Ask for the version of some object: a bucket of S3 names one if it keeps versions.

        None for an empty repository, and for Google and Azure, which do not tell.
        """
        first = next(self.list(""), None)
        if self._place.scheme != "s3" or first is None:
            return None
        return self._version(first.name) is not None

    def old_versions(self, folder: str) -> OldVersions | None:
        """Ask a bucket of S3; None if it may not be asked, and for Google and Azure."""
        versions = versions_of(self._place, self._patience, os.environ)
        try:
            return versions.old(folder) if versions is not None else None
        except Refused:
            return None

    def _version(self, name: str) -> str | None:
        head = self._patiently("read", name, lambda: obstore.head(self._bucket(), name))
        return head["version"]

    def _upload(self, name: str, data: bytes, *, large: bool) -> None:
        bucket = self._bucket()
        if not large:
            if self._upload_throttle is not None:
                self._upload_throttle.take(len(data))
            obstore.put(bucket, name, data, mode="create", use_multipart=False)
        # In parts there is no condition: it was looked whether the name is free.
        elif self._upload_throttle is None:
            obstore.put(
                bucket,
                name,
                data,
                chunk_size=_PART_BYTES,
                max_concurrency=_PARTS_AT_ONCE,
                use_multipart=True,
            )
        else:
            paced = _paced(data, self._upload_throttle)
            obstore.put(bucket, name, paced, chunk_size=_PACED_PART_BYTES, max_concurrency=1)

    def _download(self, name: str, offset: int, length: int | None) -> bytes:
        data = self._get(name, offset, length)
        if self._download_throttle is not None:
            self._download_throttle.take(len(data))
        return data

    def _get(self, name: str, offset: int, length: int | None) -> bytes:
        bucket = self._bucket(reading=True)
        try:
            if length is not None:
                return bytes(obstore.get_range(bucket, name, start=offset, length=length))
            if offset:
                options: Any = {"range": {"offset": offset}}
                return bytes(obstore.get(bucket, name, options=options).bytes())
            return bytes(obstore.get(bucket, name).bytes())
        except BaseError as error:
            trouble = understand(error)
            if trouble.past_end:
                return b""
            if trouble.no_ranges:
                raise _NoRanges from None
            raise

    def _part_of_whole(self, name: str, offset: int, length: int | None) -> bytes:
        """For servers that do not answer a request for a range as they should: fetch the object and
        keep it, as its other parts will be wanted.
        """
        kept = self._whole
        if kept is None or kept[0] != name:
            data = self._patiently("read", name, lambda: self._download(name, 0, None))
            self._whole = kept = (name, data)
        return kept[1][offset : None if length is None else offset + length]

    def _size(self, name: str) -> int | None:
        try:
            found = self._patiently(
                "read", name, lambda: obstore.head(self._bucket(reading=True), name)
            )
        except ObjectMissing:
            return None
        return found["size"]

    def _bucket(self, *, reading: bool = False) -> Bucket:
        global _process
        with self._lock:
            if _process is None:
                _process = os.getpid()
            elif _process != os.getpid():
                raise StorageError(
                    f"cannot use {self.location} in a forked process",
                    hint="Start processes by spawning them, or use one job.",
                )
            if reading not in self._buckets:
                self._buckets[reading] = open_bucket(
                    self._place, self._patience, os.environ, reading=reading
                )
            return self._buckets[reading]

    def _patiently(self, action: str, name: str, attempt: Callable[[], T]) -> T:
        """Return what ``attempt`` returns, trying again while the trouble may pass."""
        deadline = time.monotonic() + self._patience.retry_s
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                return attempt()
            except FileNotFoundError as error:
                trouble = understand(error)
                if not trouble.no_bucket and action != "list":
                    raise self._missing(name) from None
                raise self._told(action, name, trouble) from None
            except BaseError as error:
                trouble = understand(error)
                pause_s = random.uniform(wait_s / 2, wait_s)  # noqa: S311 - not to come all at once
                if not trouble.passing or time.monotonic() + pause_s > deadline:
                    # The library's own text is not passed on: a server may repeat tokens in it.
                    raise self._told(action, name, trouble) from None
            time.sleep(pause_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Let one thread at a time put a name, so that looking first is enough among them."""
        with self._put_done:
            self._put_done.wait_for(lambda: name not in self._being_put)
            self._being_put.add(name)
        try:
            yield
        finally:
            with self._put_done:
                self._being_put.remove(name)
                self._put_done.notify_all()

    def _told(self, action: str, name: str, trouble: Trouble) -> StorageError:
        what = f"{self.location}/{name}" if name else self.location
        return trouble.error(f"cannot {action} {what}: {trouble.reason}")

    def _missing(self, name: str) -> ObjectMissing:
        return ObjectMissing(f"the object {name} is missing from {self.location}")

    def _exists(self, name: str) -> ObjectExists:
        return ObjectExists(f"the object {name} already exists in {self.location}")


def _paced(data: bytes, throttle: Throttle) -> Iterator[bytes]:
    for start in range(0, len(data), _PACE_BYTES):
        piece = data[start : start + _PACE_BYTES]
        throttle.take(len(piece))
        yield piece


@functools.lru_cache(maxsize=4)
def _reopen(
    token: bytes,
    location: str,
    patience: Patience,
    upload: Throttle | None,
    download: Throttle | None,
) -> ObjectStorage:
    """Let all tasks of a worker share one, with its connections; ``token`` names the original."""
    return ObjectStorage(location, patience, upload=upload, download=download)


class _NoRanges(Exception):
    """The server does not answer a request for a range as it should."""
