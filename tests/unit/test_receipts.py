"""Receipts: signed bytes, one key for ever, and nothing but what was signed is believed."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from shenyu_data.model.errors import InvalidReceipt, UsageError
from shenyu_data.operations.receipts import receipt_name
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.receipts import SignedReceipt, public_key_pem, verify_receipt
from shenyu_data.testing.scenario import some_receipt

KEYS = Secrets(b"m" * 32, b"r" * 16)


def signed_again(**changes: Any) -> SignedReceipt:
    """A receipt that the key's holder signed with other contents."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    document = {**json.loads(some_receipt(KEYS).text), **changes}
    text = json.dumps(document).encode()
    signature = Ed25519PrivateKey.from_private_bytes(KEYS.receipt_seed).sign(text)
    return SignedReceipt(text, signature, b"")


def test_the_same_receipt_has_the_same_bytes_and_the_same_signature() -> None:
    assert some_receipt(KEYS) == some_receipt(KEYS)
    assert len(some_receipt(KEYS).signature) == 64


def test_the_signature_is_plain_ed25519_over_the_bytes_of_the_file() -> None:
    signed = some_receipt(KEYS)
    key = load_pem_public_key(signed.public_key)
    assert isinstance(key, Ed25519PublicKey)
    key.verify(signed.signature, signed.text)
    hexadecimal = key.public_bytes_raw().hex()
    assert verify_receipt(signed.text, signed.signature, hexadecimal).user == "carol 莲"


def test_rotation_does_not_change_the_key() -> None:
    rotated = Secrets(b"n" * 32, KEYS.repository_id, (KEYS.master,))
    assert public_key_pem(rotated) == public_key_pem(KEYS)
    assert public_key_pem(Secrets(b"n" * 32, KEYS.repository_id)) != public_key_pem(KEYS)


def test_what_a_newer_program_signed_is_refused_and_what_it_added_is_passed_over() -> None:
    newer = signed_again(version=2)
    with pytest.raises(InvalidReceipt, match="version 2"):
        verify_receipt(newer.text, newer.signature)
    more = signed_again(something_new=1)
    assert verify_receipt(more.text, more.signature).user == "carol 莲"


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b'{"format": "x", "version": 1}', b"[" * 100_000, b"\xff\xfe{"],
)
def test_what_is_no_receipt_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidReceipt):
        verify_receipt(text, bytes(64))


@pytest.mark.parametrize(
    "key", ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"]
)
def test_a_receipt_that_names_no_key_is_refused(key: str) -> None:
    odd = signed_again(public_key=key)
    with pytest.raises(InvalidReceipt):
        verify_receipt(odd.text, odd.signature)


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65), bytes(10_000)])
def test_a_signature_that_is_none_does_not_fit(signature: bytes) -> None:
    with pytest.raises(InvalidReceipt):
        verify_receipt(some_receipt(KEYS).text, signature)


@pytest.mark.parametrize("key", ["", "00", "zz" * 32, "-----BEGIN nonsense"])
def test_a_public_key_that_is_none_is_a_wrong_call(key: str) -> None:
    signed = some_receipt(KEYS)
    with pytest.raises(UsageError):
        verify_receipt(signed.text, signed.signature, key)


@pytest.mark.parametrize(
    "name", [b"ben", b"../../etc/passwd", b"\xff\n\x1b[2J", b"x" * 255, b"-rf"]
)
def test_the_name_of_a_receipt_is_harmless(name: bytes) -> None:
    made = receipt_name(name, bytes(16), "2026-03-08T11:12:13Z")
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
    assert len(made) < 100
    assert made.startswith("erasure-")
