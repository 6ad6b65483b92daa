"""What it means for an import that something cannot be written. For import_apply.py."""

from __future__ import annotations

import errno
from typing import NamedTuple

from shenyu_data.model.errors import DataDirectoryError
from shenyu_data.model.findings import Finding, printable
from shenyu_data.operations.live_document import conflict_finding

_IN_THE_WAY = frozenset((errno.ENOTDIR, errno.ELOOP, errno.EISDIR))
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS))  # nothing more will fit


class Failure(NamedTuple):
    """Why an entry was not written; ``refused``: something else stands there."""

    refused: bool
    finding: Finding


def why_not_written(path: bytes, error: OSError) -> Failure:
    """Return why an entry was not written, so that the others can be. Raise DataDirectoryError if
    none can be any more.
    """
    if error.errno in _IN_THE_WAY or error.errno is None:
        message = f"something stands in its way: {error.strerror or 'it is no regular file'}"
        return Failure(True, conflict_finding("in-the-way", path, message))
    if error.errno in _FULL:
        raise DataDirectoryError(
            f"cannot write {printable(path)}: {error.strerror}",
            hint="Make room, then import again: what is there already is recognised.",
        ) from error
    return Failure(
        False,
        Finding(
            code="not-written",
            severity="error",
            path=printable(path),
            message=f"it could not be written: {error.strerror or error}",
            hint="Check the free space, owner and mode of the data directory.",
        ),
    )
