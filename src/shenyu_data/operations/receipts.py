"""``receipt verify``, and the files of a receipt: the JSON, its signature, the public key."""

from __future__ import annotations

import os
import re
import stat

from shenyu_data.model.errors import InvalidReceipt, ShenyuDataError, UsageError
from shenyu_data.repository.receipts import (
    MAX_RECEIPT_BYTES,
    PUBLIC_KEY_SUFFIX,
    SIGNATURE_SUFFIX,
    Receipt,
    SignedReceipt,
    verify_receipt,
)
from shenyu_data.storage.atomic import write_file

_NAME_CHARACTERS = 40


def receipt_name(user: bytes, pseudonym: bytes, time: str) -> str:
    """Return what a receipt's file is called, if nobody says: harmless whatever the user's name."""
    readable = re.sub(rb"[^A-Za-z0-9_-]+", b"_", user)[:_NAME_CHARACTERS].decode()
    digits = re.sub(r"[^0-9TZ]", "", time)
    return f"erasure-{readable}-{pseudonym.hex()[:8]}-{digits}.json"


def check_place(path: str) -> None:
    """Raise UsageError if a receipt could not be written to ``path`` or would replace anything."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(
            f"the receipt cannot be written: {folder} is no folder, or not writable",
            hint="Name another place with --receipt FILE. Nothing was done.",
        )
    for name in (path, path + SIGNATURE_SUFFIX, path + PUBLIC_KEY_SUFFIX):
        if os.path.lexists(name):
            raise UsageError(
                f"{name} is already there",
                hint="Name another file with --receipt. Nothing was done.",
            )


def write_receipt(path: str, signed: SignedReceipt) -> None:
    """Write a receipt's three files, the receipt itself last. Raise ShenyuDataError if that cannot
    be done, UsageError if one is already there.
    """
    folder, name = os.path.split(os.path.abspath(path))
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for suffix, content in (
                (PUBLIC_KEY_SUFFIX, signed.public_key),
                (SIGNATURE_SUFFIX, signed.signature),
                ("", signed.text),
            ):
                write_file(name + suffix, [content], folder=descriptor, replace=False)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ShenyuDataError(
            f"the user is erased, but the receipt {path} cannot be written: {error.strerror}",
            hint="Run it again with another --receipt FILE: it finds nothing left and issues one.",
        ) from error


def verify_receipt_file(path: str, public_key: str | None = None) -> Receipt:
    """Check the receipt in the file ``path`` and the signature beside it; return what it says.

    ``public_key``: see :func:`verify_receipt`. Raise InvalidReceipt if it does not hold, UsageError
    if a file is missing.
    """
    text = read_bounded(path, MAX_RECEIPT_BYTES)
    signature = read_bounded(path + SIGNATURE_SUFFIX, MAX_RECEIPT_BYTES)
    return verify_receipt(text, signature, public_key)


def read_bounded(path: str, limit_bytes: int) -> bytes:
    """Return a file's content. Raise UsageError if it cannot be read, InvalidReceipt if it is
    larger than ``limit_bytes``.
    """
    try:
        # Without waiting for a writer, should it be a FIFO.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            is_file = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            content = file.read(limit_bytes + 1) if is_file else b""
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}",
            hint="A receipt is two files: FILE, and its signature FILE.sig beside it.",
        ) from error
    if not is_file or len(content) > limit_bytes:
        raise InvalidReceipt(f"{path} is no receipt: it is no file, or too large")
    return content
