"""What an object store's library says when something goes wrong, taken apart. For objectstore.py.

The library's text is only ever searched, never shown: it quotes the server's answer, and servers
repeat session tokens in theirs.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from shenyu_data.model.errors import StorageError, StorageFull

_STATUS = re.compile(r"non-2xx status code: (\d{3})|status: (\d{3})\b")
_CODE = re.compile(r"<Code>([A-Za-z]{1,60})</Code>")
_SYSTEM = re.compile(r'message: "([A-Za-z ,()-]{1,80})"')
_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|specified bucket does not exist")
_FULL = re.compile(r"QuotaExceeded|StorageFull|InsufficientStorage|InsufficientCapacity")
_METADATA = re.compile(r"169\.254\.169\.254|169\.254\.170\.2|metadata\.google\.internal")
_BROKEN = re.compile(r"HttpError|HTTP error|reqwest::Error|request or response body|hyper")

_PASSING = frozenset((408, 409, 425, 429, 500, 502, 503, 504))


class Trouble(NamedTuple):
    """What went wrong, as far as it can be told.

    ``status`` is the server's, or None without an answer; ``reason`` is for people; ``passing``
    trouble may be gone at the next try; ``past_end``: the object ends before what was asked for.
    """

    status: int | None
    reason: str
    hint: str
    passing: bool
    no_bucket: bool
    no_ranges: bool
    past_end: bool
    full: bool

    def error(self, message: str) -> StorageError:
        """Return the program's error for this trouble."""
        return (StorageFull if self.full else StorageError)(message, hint=self.hint)


def understand(error: Exception) -> Trouble:
    """Given an exception of the library, say what is the matter."""
    text = str(error)
    found = _STATUS.search(text)
    status = int(found[1] or found[2]) if found else None
    code = _CODE.search(text)
    no_bucket = _NO_BUCKET.search(text) is not None
    full = status == 507 or _FULL.search(text) is not None
    no_credentials = _METADATA.search(text) is not None
    exists = type(error).__name__ == "AlreadyExistsError"
    broken = status is None and _BROKEN.search(text) is not None
    passing = not (full or no_credentials) and (status in _PASSING or broken or exists)
    return Trouble(
        status,
        _reason(status, code[1] if code else "", text, no_credentials),
        _hint(status, full, no_bucket, no_credentials, broken),
        passing,
        no_bucket,
        "NotPartial" in text,
        status == 416 or "StartTooLarge" in text,  # the latter of the library, without a status
        full,
    )


def _reason(status: int | None, code: str, text: str, no_credentials: bool) -> str:
    if no_credentials:
        return "no credentials were found"
    if status is not None:
        return f"the server answered {status} {code}".rstrip()
    if "TimedOut" in text or "kind: Timeout" in text:
        return "the server did not answer in time"
    system = _SYSTEM.search(text)
    if system is not None:
        return system[1].lower()
    if "dns error" in text or "failed to lookup" in text:
        return "the server's name is not known"
    if _BROKEN.search(text):
        return "the connection broke"
    return "the request could not be made"


def _hint(
    status: int | None, full: bool, no_bucket: bool, no_credentials: bool, broken: bool
) -> str:
    if full:
        return "Make room where the repository lies, then run it again."
    if no_bucket:
        return "Check the bucket's name and region; shenyu-data does not make buckets."
    if no_credentials or status == 401:
        return "Set the store's credentials in the environment: see docs/storage.md."
    if status == 403:
        return (
            "Check the credentials, the clock, and that they allow to list, read, write and "
            "delete under this prefix: see docs/storage.md."
        )
    if status in (301, 307, 400):
        return "Check the bucket's name, and AWS_REGION: it must be the bucket's region."
    if broken:
        return "Check the network and the endpoint, then run it again: nothing is lost."
    return "Run it again later; see docs/storage.md if it stays."
