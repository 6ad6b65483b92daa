"""Receipts of erasures: JSON that a third party can verify, with this program or openssl alone.

A receipt is three files: the JSON, byte for byte what is signed; beside it the signature (Ed25519,
64 bytes) and the public key (PEM). The signing key is derived from the first repository key: there
is no further secret to keep, and rotation does not change it. Whoever holds the repository key can
sign; who it was is proved by a public key that was published before.
"""

from __future__ import annotations

import hashlib

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from shenyu_data.model.errors import InvalidReceipt, UsageError
from shenyu_data.repository.crypto import Secrets

RECEIPT_FORMAT = "shenyu-data erasure receipt"
RECEIPT_VERSION = 1

MAX_RECEIPT_BYTES = 1 << 20
SIGNATURE_SUFFIX = ".sig"
PUBLIC_KEY_SUFFIX = ".pem"


class LiveErased(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed from the data directory: names of files, their bytes, how many were
    overwritten first, and links.
    """

    documents: int
    document_bytes: int
    overwritten: int
    links: int


class BackupsErased(msgspec.Struct, frozen=True, kw_only=True):
    """``snapshots`` hold the user, unreadable from now on. ``keys`` are fingerprints of the keys
    that were destroyed; one that comes back can be known by its fingerprint.
    """

    snapshots: int
    keys: list[str]


class StorageTold(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the storage keeps old versions of what is deleted (null: it cannot be told), and for
    how long, if that is configured. ``old_versions`` of objects with keys remain (null: it cannot
    be told), the last of which is ``locked_until``.
    """

    keeps_versions: bool | None
    versions_kept_s: int | None
    old_versions: int | None = None
    locked_until: str | None = None


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """How often a finding was reported: what may remain elsewhere."""

    code: str
    count: int


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What a receipt says. Times are ISO 8601 UTC.

    ``erased_at`` is when the keys were declared dead, ``completed_at`` when all was done;
    ``erased_for_good_at`` when the storage, too, has dropped them, null if that is not known.
    """

    format: str
    version: int
    user: str
    user_bytes_hex: str
    repository: str
    pseudonym: str
    erased_at: str
    completed_at: str
    erased_for_good_at: str | None
    live: LiveErased
    backups: BackupsErased
    storage: StorageTold
    reservations: list[Reservation]
    reason: str | None
    program: str
    public_key: str


class _Envelope(msgspec.Struct):
    format: str
    version: int


class SignedReceipt(msgspec.Struct, frozen=True):
    """The contents of a receipt's three files."""

    text: bytes
    signature: bytes
    public_key: bytes


def public_key_pem(keys: Secrets) -> str:
    """Return the repository's public key for receipts, PEM."""
    return _pem(_signing_key(keys).public_key())


def public_key_fingerprint(pem: str) -> str:
    """Return the SHA-256 of a public key's DER form, in hex: what people compare."""
    return hashlib.sha256(_der(_load_pem(pem.encode()))).hexdigest()


def sign_receipt(keys: Secrets, receipt: Receipt) -> SignedReceipt:
    """Return the files of a receipt, its ``public_key`` being :func:`public_key_pem`."""
    text = msgspec.json.format(msgspec.json.encode(receipt), indent=2) + b"\n"
    signature = _signing_key(keys).sign(text)
    return SignedReceipt(text, signature, receipt.public_key.encode())


def verify_receipt(text: bytes, signature: bytes, public_key: str | None = None) -> Receipt:
    """Given a receipt and its signature, return what it says.

    ``public_key`` is whose it must be, PEM or 64 hex digits; without, that it names itself is
    believed, and nothing is proved but that it was not altered. Raise InvalidReceipt, or
    UsageError if ``public_key`` is none.
    """
    receipt = _parse(text)
    named = _load_pem(receipt.public_key.encode())
    wanted = named if public_key is None else read_public_key(public_key)
    if _der(wanted) != _der(named):
        raise InvalidReceipt(
            "the receipt is signed by another key than the one it must be signed by",
            hint=f"It names {public_key_fingerprint(receipt.public_key)} (SHA-256).",
        )
    try:
        wanted.verify(signature, text)
    except InvalidSignature:
        raise InvalidReceipt(
            "the signature does not fit: the receipt or its signature was altered",
            hint="Ask who issued it for another copy of the files, byte for byte.",
        ) from None
    return receipt


def read_public_key(text: str) -> Ed25519PublicKey:
    """Given a public key as PEM or as 64 hex digits, return it. Raise UsageError if it is none."""
    try:
        if "-----BEGIN" in text:
            return _load_pem(text.encode())
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text.strip()))
    except (ValueError, InvalidReceipt):
        raise UsageError(
            "this is no Ed25519 public key",
            hint="Give the file that lies beside a receipt (.pem), or 64 hexadecimal digits.",
        ) from None


def _parse(text: bytes) -> Receipt:
    try:
        envelope = msgspec.json.decode(text, type=_Envelope)
        if envelope.format != RECEIPT_FORMAT:
            raise ValueError
        if envelope.version == RECEIPT_VERSION:
            return msgspec.json.decode(text, type=Receipt)
    except (ValueError, RecursionError):
        raise InvalidReceipt(
            "this is no receipt of an erasure",
            hint="Give the .json file; its signature lies beside it, with .sig at the end.",
        ) from None
    raise InvalidReceipt(
        f"the receipt is of version {envelope.version}; this program knows {RECEIPT_VERSION}",
        hint="Use a newer shenyu-data.",
    )


def _signing_key(keys: Secrets) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(keys.receipt_seed)


def _pem(key: Ed25519PublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _der(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _load_pem(pem: bytes) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidReceipt("the receipt names no Ed25519 public key", hint="It was altered.")
    return key
