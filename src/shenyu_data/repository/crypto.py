"""Sealing and deriving: AES-256-GCM with random nonces, BLAKE3 for keys and pseudonyms.

AES-GCM: NIST SP 800-38D. BLAKE3's derive_key and keyed modes: the BLAKE3 paper, section 2.
Every key seals far fewer than the 2^32 messages that random 96-bit nonces allow.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cached_property

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shenyu_data.repository.format import damaged

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
OVERHEAD_BYTES = NONCE_BYTES + TAG_BYTES
DIGEST_BYTES = 16

_CONTEXT = "shenyu-data repository v1 "


def derive(key: bytes, purpose: str) -> bytes:
    """Given a key, return an independent one for ``purpose`` (BLAKE3 derive_key)."""
    return blake3(key, derive_key_context=_CONTEXT + purpose).digest()


def seal(key: bytes, data: bytes, bound_to: bytes) -> bytes:
    """Encrypt and authenticate; the result is nonce, ciphertext and tag. ``bound_to`` must be given
    to open it.
    """
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, data, bound_to)


def unseal(key: bytes, sealed: bytes, bound_to: bytes, name: str) -> bytes:
    """Undo :func:`seal`. Raise ObjectDamaged, naming ``name``, if a single bit differs."""
    try:
        return _open(key, sealed, bound_to)
    except (InvalidTag, ValueError):
        raise damaged(name, "it does not authenticate") from None


def _open(key: bytes, sealed: bytes, bound_to: bytes) -> bytes:
    return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound_to)


def fingerprint(key: bytes) -> bytes:
    """Given an owner key, return 16 bytes that tell it from others and reveal nothing of it."""
    return blake3(key, derive_key_context=_CONTEXT + "fingerprint").digest(16)


class OwnerKeys:
    """The three keys of one owner, all derived from the one random key that the keyring keeps and,
    after a rotation, from the repository key: see :meth:`Secrets.owner_keys`.
    """

    __slots__ = (
        "_digest_key",
        "_record_cipher",
        "_record_key",
        "_segment_cipher",
        "_segment_key",
        "key",
    )

    def __init__(self, key: bytes, master: bytes = b"") -> None:
        self.key = key
        derived = blake3(key + master, derive_key_context=_CONTEXT + "owner").digest(3 * KEY_BYTES)
        self._segment_key = derived[:KEY_BYTES]
        self._record_key = derived[KEY_BYTES : 2 * KEY_BYTES]
        self._digest_key = derived[2 * KEY_BYTES :]
        self._segment_cipher: AESGCM | None = None
        self._record_cipher: AESGCM | None = None

    def digest(self, data: bytes) -> bytes:
        """Return 16 bytes that tell versions of a document apart.

        Keyed BLAKE3: nobody without the key can make two documents collide.
        """
        return blake3(data, key=self._digest_key).digest(DIGEST_BYTES)

    def new_digest(self) -> blake3:
        """Return a hasher for a document that comes in pieces; its ``digest(16)`` equals
        :meth:`digest`.
        """
        return blake3(key=self._digest_key)

    @property
    def segment_cipher(self) -> AESGCM:
        """Seals segments; the nonce goes into the record."""
        if self._segment_cipher is None:
            self._segment_cipher = AESGCM(self._segment_key)
        return self._segment_cipher

    @property
    def record_cipher(self) -> AESGCM:
        """Seals manifest records; the nonce goes before them."""
        if self._record_cipher is None:
            self._record_cipher = AESGCM(self._record_key)
        return self._record_cipher


class Secrets:
    """The repository key and what is derived from it. Can be pickled for workers; never printed.

    A rotated repository has ``older`` keys, newest first: :meth:`seal` uses ``master`` alone,
    :meth:`unseal` tries them all. Pseudonyms are derived from the first key there was: they stay.
    """

    def __init__(self, master: bytes, repository_id: bytes, older: tuple[bytes, ...] = ()) -> None:
        self.master = master
        self.repository_id = repository_id
        self.older = older
        self._derived: dict[tuple[bytes, str], bytes] = {}

    @property
    def generation(self) -> int:
        """How many repository keys there have been."""
        return 1 + len(self.older)

    def __reduce__(self) -> tuple[object, ...]:
        return Secrets, (self.master, self.repository_id, self.older)

    def __repr__(self) -> str:
        return "Secrets(…)"

    def derive(self, purpose: str, master: bytes | None = None) -> bytes:
        """Return the key for ``purpose``, of the newest repository key or of ``master``."""
        master = self.master if master is None else master
        key = self._derived.get((master, purpose))
        if key is None:
            key = self._derived[master, purpose] = derive(master + self.repository_id, purpose)
        return key

    def seal(self, purpose: str, data: bytes, bound_to: bytes) -> bytes:
        """As :func:`seal`, under the key for ``purpose``: keyrings, indexes, snapshots, labels…"""
        return seal(self.derive(purpose), data, bound_to)

    def unseal(self, purpose: str, sealed: bytes, bound_to: bytes, name: str) -> bytes:
        """Undo :meth:`seal`, also what was sealed before a rotation. Raise ObjectDamaged."""
        for master in (self.master, *self.older):
            with suppress(InvalidTag, ValueError):
                return _open(self.derive(purpose, master), sealed, bound_to)
        raise damaged(name, "it does not authenticate")

    def owner_keys(self, key: bytes) -> list[OwnerKeys]:
        """Given an owner's key from the keyring, return what it gives with each repository key,
        newest first: the first seals what is new, all together open what there is.

        So whoever kept an old repository key and an old keyring opens nothing that is sealed after
        a rotation. With the first repository key there was, the owner's key stands alone.
        """
        newer = (self.master, *self.older)[:-1]
        return [*(OwnerKeys(key, master) for master in newer), OwnerKeys(key)]

    @cached_property
    def pseudonym_key(self) -> bytes:
        """Turns owners' names into pseudonyms."""
        return self.derive("pseudonyms", (self.master, *self.older)[-1])

    @cached_property
    def signature_key(self) -> bytes:
        """Turns what a scan saw of an owner into a signature."""
        return self.derive("signatures", (self.master, *self.older)[-1])

    @cached_property
    def journal_key(self) -> bytes:
        """Turns documents into digests for the journals of what was done to live data: the same
        before a rotation and after, as journals are taken back.
        """
        return self.derive("journals", (self.master, *self.older)[-1])

    @cached_property
    def receipt_seed(self) -> bytes:
        """The secret half of the key that signs receipts of erasures."""
        return self.derive("receipts", (self.master, *self.older)[-1])

    def user_pseudonym(self, owner: bytes) -> bytes:
        """Given a user's name, return the 16 bytes that stand for it outside."""
        return blake3(b"u" + owner, key=self.pseudonym_key).digest(16)

    def user_bucket(self, owner: bytes) -> int:
        """Given a user's name, return its bucket: the first byte of the pseudonym."""
        return self.user_pseudonym(owner)[0]

    def shared_bucket(self, path: bytes) -> int:
        """Given a shared path, return its bucket."""
        return blake3(b"p" + path, key=self.pseudonym_key).digest(1)[0]

    def shared_pseudonym(self, bucket: int) -> bytes:
        """Return what stands for the shared entries of a bucket."""
        number = bytes((bucket,))
        return number + blake3(b"s" + number, key=self.pseudonym_key).digest(15)

    def signature(self, seen: bytes) -> bytes:
        """Given what a scan saw, serialized, return 16 bytes that differ if anything does."""
        return blake3(seen, key=self.signature_key).digest(16)
