"""Documents that a repair took away, or replaced where no snapshot holds them: kept in the state
folder, outside the data directory, each with a manifest that says where it belongs.

Nothing is ever deleted from here but by the erasure of its user.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
from blake3 import blake3

from shenyu_data.model.errors import ShenyuDataError, UsageError
from shenyu_data.model.findings import printable
from shenyu_data.storage.atomic import make_private, remove_for_good, sync_folder, write_file

FOLDER = "quarantine"
MANIFEST = "quarantine.json"
DOCUMENT = "document"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest of one document. ``path_hex`` and ``user_hex`` are the bytes of the names;
    ``wrote`` is the digest of what took its place, None: nothing did.
    """

    id: str
    path: str
    path_hex: str
    user_hex: str | None
    time: str
    code: str
    action: str
    size_bytes: int
    mode: int
    mtime_ns: int
    wrote: str | None

    @property
    def path_bytes(self) -> bytes:
        """Where it belongs in the data directory."""
        return bytes.fromhex(self.path_hex)


def digest_of(data: bytes) -> str:
    """Return the digest by which a manifest knows a document."""
    return blake3(data).hexdigest(16)


class Quarantine:
    """The documents that are kept of one data directory; ``state`` is the folder of its journals.

    A document kept twice from the same place is there once, so that a repair that was killed may
    be run again.
    """

    def __init__(self, state: str) -> None:
        self._state = state
        self.folder = os.path.join(state, FOLDER)

    def add(
        self,
        path: bytes,
        user: bytes | None,
        data: bytes,
        found: os.stat_result,
        *,
        code: str,
        action: str,
        wrote: bytes | None,
    ) -> Kept:
        """Keep a document; it is durable when this returns. Raise ShenyuDataError: then it may not
        be changed.
        """
        kept = Kept(
            id=blake3(b"%d %b%b" % (len(path), path, data)).hexdigest(8),
            path=printable(path),
            path_hex=path.hex(),
            user_hex=user.hex() if user is not None else None,
            time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            code=code,
            action=action,
            size_bytes=len(data),
            mode=found.st_mode & 0o7777,
            mtime_ns=found.st_mtime_ns,
            wrote=digest_of(wrote) if wrote is not None else None,
        )
        place = os.path.join(self.folder, kept.id)
        try:
            for folder in (self._state, self.folder, place):
                make_private(folder)
            descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                write_file(DOCUMENT, [data], folder=descriptor, replace=True)
                text = msgspec.json.format(msgspec.json.encode(kept), indent=2)
                write_file(MANIFEST, [text], folder=descriptor, replace=True)
            finally:
                os.close(descriptor)
            sync_folder(self.folder)
        except OSError as error:
            raise ShenyuDataError(
                f"cannot keep {kept.path} in {self.folder}: {error.strerror}",
                hint="Make room or set XDG_STATE_HOME; what cannot be kept is not changed.",
            ) from error
        return kept

    def list(self) -> list[Kept]:
        """Return the manifests, oldest first; one that was never finished is left out."""
        found = []
        for name in _names(self.folder):
            with suppress(OSError, ValueError, RecursionError):
                found.append(self._manifest(name))
        return sorted(found, key=lambda kept: (kept.time, kept.path, kept.id))

    def get(self, name: str) -> tuple[Kept, bytes]:
        """Return a document that is kept. Raise UsageError if there is none of that id."""
        for kept in self.list():
            if kept.id == name:
                with open(os.path.join(self.folder, name, DOCUMENT), "rb") as file:
                    return kept, file.read()
        raise UsageError(
            f"nothing is kept under the id {printable(name)}",
            hint="`shenyu-data repair --kept` lists what is.",
        )

    def forget(self, user: bytes) -> int:
        """Remove for good what is kept of a user; return how many documents that were.

        What has no manifest goes too, whoever it is of: it was never finished, so the document is
        still in its place. Raise ShenyuDataError if something cannot be removed, or if it cannot be
        told whose it is.
        """
        count = 0
        unknown = []
        try:
            for name in _names(self.folder):
                try:
                    kept = self._manifest(name)
                except FileNotFoundError:
                    self._wipe(name)
                except (ValueError, RecursionError):
                    unknown.append(name)
                else:
                    if kept.user_hex == user.hex():
                        self._wipe(name)
                        count += 1
        except OSError as error:
            raise ShenyuDataError(
                f"cannot remove what is kept in {self.folder}: {error.strerror}",
                hint="Check its owner and mode, then erase again.",
            ) from error
        if unknown:
            raise ShenyuDataError(
                f"whose document is kept in {os.path.join(self.folder, unknown[0])} cannot be "
                f"told: its {MANIFEST} is damaged ({len(unknown)} such)",
                hint="See whose it is; if it may go, remove the folder. Then erase again.",
            )
        return count

    def _wipe(self, name: str) -> None:
        """Remove one document that is kept; its manifest last, so that a kill leaves it known."""
        place = os.path.join(self.folder, name)
        for below in sorted(os.listdir(place), key=lambda below: below == MANIFEST):
            with suppress(FileNotFoundError):
                remove_for_good(os.path.join(place, below))
        os.rmdir(place)

    def _manifest(self, name: str) -> Kept:
        with open(os.path.join(self.folder, name, MANIFEST), "rb") as file:
            return msgspec.json.decode(file.read(1 << 20), type=Kept)


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
