"""The file of acknowledgements in the state folder: losses that somebody said were meant. For
whoever looks for losses, and for ``findings``.

It is written under the lock of the journals. One that is damaged acknowledges nothing: then what
was meant is named again, and nothing that was not is passed over.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from blake3 import blake3

from shenyu_data.model.acknowledgements import Acknowledgement, decode, encode
from shenyu_data.model.errors import AcknowledgementsDamaged, ShenyuDataError, UsageError
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import Monitor
from shenyu_data.storage.atomic import make_private, overwrite, remove_for_good, write_file

if TYPE_CHECKING:
    from shenyu_data.repository.repository import Repository

_NAME = "acknowledged.json"
_MOST_BYTES = 256 << 20


def read_acknowledgements(state: str) -> list[Acknowledgement]:
    """Return all acknowledgements in a state folder, oldest first.

    Raise AcknowledgementsDamaged, also if the file cannot be read.
    """
    path = os.path.join(state, _NAME)
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise AcknowledgementsDamaged(
            f"the file of acknowledgements {path} cannot be read: {error.strerror}",
            hint="Check its owner and mode.",
        ) from error
    return decode(data, path)


def write_acknowledgements(state: str, kept: Sequence[Acknowledgement]) -> None:
    """Write the file anew. Under the lock of the journals. Raise ShenyuDataError."""
    try:
        make_private(state)
        folder = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            write_file(_NAME, [encode(kept)], folder=folder, replace=True)
        finally:
            os.close(folder)
    except OSError as error:
        raise _unwritten(state, error) from error


def revoke(state: str, name: str) -> Acknowledgement:
    """Remove the acknowledgement with this id, and return it. Under the lock of the journals.

    Raise UsageError if there is none.
    """
    kept = read_acknowledgements(state)
    found = [one for one in kept if one.id == name]
    if not found:
        raise UsageError(
            f"there is no acknowledgement {name}", hint="`shenyu-data findings list` lists them."
        )
    write_acknowledgements(state, [one for one in kept if one.id != name])
    return found[0]


def forget_acknowledgements(state: str, user: bytes) -> None:
    """Take a user out of the file, and overwrite what it was before; of one that is damaged, remove
    the whole. Under the lock of the journals. Raise ShenyuDataError if that cannot be done.
    """
    path = os.path.join(state, _NAME)
    try:
        kept = read_acknowledgements(state)
        left = [one for one in kept if os.fsencode(one.user) != user]
        if len(left) == len(kept):
            return
        before = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            write_acknowledgements(state, left)
            overwrite(before)  # by now nameless
        finally:
            os.close(before)
    except AcknowledgementsDamaged:
        try:
            with suppress(FileNotFoundError):
                remove_for_good(path)
        except OSError as error:
            raise _unwritten(state, error) from error
    except OSError as error:
        raise _unwritten(state, error) from error


class Acknowledged:
    """What of the losses that a repository tells of was meant. A damaged file is reported once."""

    def __init__(self, repository: Repository, state: str, monitor: Monitor) -> None:
        keys = repository.keys
        # Of the first key there was, as pseudonyms are: a rotation makes nothing unknown.
        self._key = keys.derive("acknowledgements", (keys.master, *keys.older)[-1])
        self._repository = keys.repository_id.hex()
        self._missing: dict[str, int] = {}  # each digest with the sequence it goes up to
        try:
            kept = read_acknowledgements(state)
        except AcknowledgementsDamaged as error:
            kept = []
            monitor.report(
                Finding(
                    code="acknowledgements-damaged",
                    severity="error",
                    path="",
                    message=f"{error.message}; losses that were acknowledged are named again",
                    hint=error.hint,
                )
            )
        for one in kept:
            if one.repository == self._repository:
                for digest in one.missing:
                    self._missing[digest] = max(one.sequence, self._missing.get(digest, 0))

    def covers(self, path: bytes, thing: str, sequence: int) -> bool:
        """Whether somebody said of something that is missing at ``path`` that this was meant.

        ``sequence`` is that of the newest snapshot that has it: if that came after the
        acknowledgement, the thing was there again.
        """
        if not self._missing:
            return False
        until = self._missing.get(self._digest(path, thing))
        return until is not None and sequence <= until

    def new(
        self,
        code: str,
        user: bytes,
        path: bytes,
        things: Iterable[str],
        *,
        sequence: int,
        by: str,
        reason: str,
    ) -> Acknowledgement:
        """Return an acknowledgement of things that are missing now."""
        return Acknowledgement(
            id=os.urandom(4).hex(),
            code=code,
            user=os.fsdecode(user),
            path=os.fsdecode(path),
            repository=self._repository,
            sequence=sequence,
            missing=[self._digest(path, thing) for thing in things],
            by=by,
            time_ms=time.time_ns() // 1_000_000,
            reason=reason,
        )

    def _digest(self, path: bytes, thing: str) -> str:
        text = path + b"\0" + thing.encode("utf-8", "surrogatepass")
        return blake3(text, key=self._key).digest(16).hex()


def _unwritten(state: str, error: OSError) -> ShenyuDataError:
    return ShenyuDataError(
        f"cannot write the file of acknowledgements {os.path.join(state, _NAME)}: {error.strerror}",
        hint="Check the free space, owner and mode of its folder, and do it again.",
    )
