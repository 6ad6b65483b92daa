"""A second reader of repository format 1, written from docs/format.md alone, without shenyu_data.

It opens a repository in a local folder, lists its snapshots and restores one into a dictionary. It
mends, guesses and hurries nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

KINDS = {"keys": 1, "packs": 2, "manifests": 3, "snapshots": 4, "tombstones": 5}
KINDS |= {"moved": 8, "generations": 9}
DICTIONARY = "86eae5a72a4b5acfa3a311befc62ba229a4306d7b38ab37eb7509cdc69f7f6c1"


class Damaged(Exception):
    """Something does not open, is not there, or is not what it should be."""


class WrongKey(Exception):
    """No key slot opens."""


@dataclass
class Node:
    """One restored path. ``same_file`` is equal for the names of one hard-linked file."""

    kind: str  # "file", "folder" or "link"
    mtime_ns: int
    mode: int = 0
    data: bytes = b""
    target: bytes = b""
    same_file: object = None


@dataclass
class Tree:
    """A restored snapshot: nodes by path, and what could not be restored."""

    nodes: dict[bytes, Node] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    erased: list[bytes] = field(default_factory=list)


class OwnerKeys(NamedTuple):
    segment: bytes
    record: bytes
    digest: bytes


def derive(key: bytes, purpose: str, length: int = 32) -> bytes:
    return blake3(key, derive_key_context=f"shenyu-data repository v1 {purpose}").digest(length)


def unseal(keys: list[bytes], sealed: bytes, bound_to: bytes) -> bytes:
    """Open what one of the keys has sealed."""
    for key in keys:
        try:
            return AESGCM(key).decrypt(sealed[:12], sealed[12:], bound_to)
        except (InvalidTag, ValueError):
            continue
    raise Damaged("it does not authenticate")


def parse_recovery_key(text: str) -> bytes | None:
    compact = "".join(text.split()).replace("-", "").upper()
    try:
        raw = base64.b32decode(compact.removeprefix("SHENYU"))
    except ValueError:
        return None
    fits = compact.startswith("SHENYU") and len(raw) == 35
    return raw[:32] if fits and blake3(raw[:32]).digest(3) == raw[32:] else None


def parse_words(text: str, words: list[str]) -> bytes | None:
    """Return the key of 24 words, given the English list of BIP 39."""
    typed = re.sub(r"\b\d{1,2}[.:)]?", " ", text).lower().split()
    found = [[n for n, full in enumerate(words) if full == word] for word in typed]
    for number, word in enumerate(typed):
        if not found[number] and len(word) >= 4:
            found[number] = [n for n, full in enumerate(words) if full.startswith(word)]
    if len(typed) != 24 or any(len(numbers) != 1 for numbers in found):
        return None
    bits = sum(numbers[0] << 11 * (23 - place) for place, numbers in enumerate(found))
    raw = (bits >> 8).to_bytes(32, "big")
    return raw if hashlib.sha256(raw).digest()[0] == bits & 0xFF else None


def parse_repository_key(text: str) -> tuple[bytes, bytes, int] | None:
    """Return the repository's key, its id and the generation, of an exported key."""
    compact = "".join(text.split()).replace("-", "").upper()
    try:
        raw = base64.b32decode(compact.removeprefix("SHENYUREPOSITORYKEY"))
    except ValueError:
        return None
    fits = compact.startswith("SHENYUREPOSITORYKEY") and len(raw) == 55
    if not fits or blake3(raw[:49]).digest(6) != raw[49:]:
        return None
    return raw[:32], raw[32:48], raw[48]


def open_slot(name: str, text: bytes, secret: str) -> tuple[bytes, bytes, int] | None:
    """Return the repository's key, its id and the generation, or None if the secret does not open
    this slot.
    """
    slot = json.loads(text)
    members = "kind repository salt memory_kib iterations lanes".split()
    bound_to = "|".join([name, *(str(slot[member]) for member in members)]).encode()
    stored = f"|{slot['sealed']}|{slot['label']}".encode()
    if blake3(bound_to + stored).hexdigest(length=16) != slot["check"]:
        raise Damaged(f"{name}: its checksum is wrong")
    kind, _repository, salt, memory, iterations, lanes = (slot[member] for member in members)
    recovery = parse_recovery_key(secret)
    purpose, _, number = kind.partition("-")
    if purpose != ("passphrase" if recovery is None else "recovery"):
        return None
    generation = int(number or 1)
    if recovery is not None:
        key = derive(recovery + bytes.fromhex(salt), "recovery slot")
    elif 8 * lanes <= memory <= 1 << 20 and 1 <= iterations <= 32 and 1 <= lanes <= 16:
        argon2id = Argon2id(
            salt=bytes.fromhex(salt),
            length=32,
            memory_cost=memory,
            iterations=iterations,
            lanes=lanes,
        )
        key = argon2id.derive(unicodedata.normalize("NFC", secret).encode())
    else:
        raise Damaged(f"{name}: unreasonable parameters")
    try:
        contents = msgspec.msgpack.decode(unseal([key], base64.b64decode(slot["sealed"]), bound_to))
    except Damaged:
        return None
    return contents["master"], bytes.fromhex(slot["repository"]), generation


def open_generation(name: str, text: bytes, material: bytes) -> list[bytes]:
    """Return the older repository keys that an object holds."""
    if blake3(name.encode() + b"|" + text[24:]).digest(16) != text[8:24]:
        raise Damaged(f"{name}: its checksum is wrong")
    key = derive(material, "generations")
    contents = msgspec.msgpack.decode(unseal([key], text[24:], b"generation" + name.encode()))
    older: list[bytes] = contents["older"]
    return older


class Repository:
    """A repository in a local folder, unlocked. Raise WrongKey if the secret does not fit."""

    def __init__(self, folder: Path, secret: str) -> None:
        self.folder = folder
        exported = parse_repository_key(secret)
        slots = (open_slot(name, self._read(name), secret) for name in self._names("slots"))
        opened = [exported] if exported else [found for found in slots if found]
        if not opened:
            raise WrongKey
        newest, repository_id, generation = max(opened, key=lambda found: found[2])
        self.masters = [newest]
        if generation > 1:
            self.masters += self._older(newest + repository_id, generation)
        materials = [master + repository_id for master in self.masters]
        self.pseudonym_key = derive(materials[-1], "pseudonyms")
        self._keyring_keys = [derive(material, "keyrings") for material in materials]
        self._index_keys = [derive(material, "indexes") for material in materials]
        self._snapshot_keys = [derive(material, "snapshots") for material in materials]
        self._tombstone_keys = [derive(material, "tombstones") for material in materials]
        self._moves_keys = [derive(material, "moves") for material in materials]
        dictionary = self._read("dictionary-1")
        if blake3(dictionary).hexdigest() != DICTIONARY:
            raise Damaged("dictionary-1 is another")
        raw = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        self._unpacker = zstandard.ZstdDecompressor(dict_data=raw)

    def _older(self, material: bytes, generation: int) -> list[bytes]:
        """Return the repository keys before the newest."""
        for base in self._names("generations"):
            for name in (base, base + ".copy"):
                try:
                    older = open_generation(base, self._read(name), material)
                except Damaged:
                    continue
                if len(older) == generation - 1:
                    return older
        raise Damaged("the older repository keys are missing")

    def snapshots(self) -> list[dict[str, Any]]:
        """Return all roots, oldest first."""
        roots = [self._root(name) for name in self._names("snapshots")]
        return sorted(roots, key=lambda root: (root["sequence"], root["time_ms"], root["id"]))

    def restore(
        self, root: dict[str, Any], user: bytes | None = None, last_good: bool = False
    ) -> Tree:
        """Return what a snapshot holds, or only what it holds of one user."""
        tree = Tree()
        wanted = None if user is None else blake3(b"u" + user, key=self.pseudonym_key).digest(16)
        stones = self._tombstones()
        dead = {key for stone in stones for key in stone[3]}
        erased = {stone[0] for stone in stones if stone[2] >= root["sequence"]}
        for bucket in sorted(root["buckets"]) if wanted is None else [wanted[0]]:
            keys = self._keys(bucket, dead)
            for pseudonym, (origin, manifest, offset, length) in self._rows(root, bucket).items():
                if wanted not in (None, pseudonym):
                    continue
                mine = keys.get(pseudonym, [])
                try:
                    sealed = self._read(manifest, offset, length)
                    bound_to = b"record" + origin + pseudonym
                    record = unseal([key.record for key in mine], sealed, bound_to)
                    self._restore_owner(tree, msgspec.msgpack.decode(record), mine, last_good)
                except Damaged as error:
                    if pseudonym in erased:
                        tree.erased.append(pseudonym)
                    else:
                        tree.damaged.append(f"owner {pseudonym.hex()}: {error}")
        return tree

    def _restore_owner(
        self, tree: Tree, record: Any, keys: list[OwnerKeys], last_good: bool
    ) -> None:
        owner, shared, segments, entries = record[:4]
        for tag, place, name, *rest in entries:
            path: bytes = [
                b"users/%b.json" % owner,
                b"users/%b.json.gz" % owner,
                b"histories/%b" % owner,
                b"histories/%b/%b" % (owner, name),
                name,
            ][place]
            parts = path.split(b"/") if path else []
            if not (shared or is_plain(owner)) or not all(map(is_plain, parts)):
                raise Damaged("forged name")
            if tag == 0:
                try:
                    self._restore_file(tree, path, rest, segments, keys, last_good)
                except Damaged as error:
                    tree.damaged.append(f"{path!r}: {error}")
            elif tag == 1:
                mode, _uid, _gid, mtime_ns = rest[:4]
                tree.nodes[path] = Node("folder", mtime_ns, mode)
            elif tag == 2:
                _uid, _gid, mtime_ns, target = rest[:4]
                tree.nodes[path] = Node("link", mtime_ns, target=target)
            else:
                raise Damaged(f"unknown tag {tag}")

    def _restore_file(
        self, tree: Tree, path: bytes, entry: Any, segments: Any, keys: list[OwnerKeys], good: bool
    ) -> None:
        state, mode, _uid, _gid, mtime_ns, _ctime_ns, inode, links, size, digest = entry[:10]
        _chats, _messages, extents, last_good = entry[10:14]
        same_file = (inode, size, mtime_ns, mode, state) if links > 1 else None
        if state == 3 or (state == 2 and good and last_good):
            if last_good is None:
                return  # nothing of it was ever read
            _snapshot, mode, mtime_ns, size, digest, _chats, _messages, extents = last_good[:8]
        pieces = []
        for index, offset, length in extents:
            pieces.append(self._segment(segments[index], keys)[offset : offset + length])
        data = b"".join(pieces)
        digests = [blake3(data, key=key.digest).digest(16) for key in keys]
        if len(data) != size or digest not in digests or state > 3:
            raise Damaged("it is not what was stored")
        tree.nodes[path] = Node("file", mtime_ns, mode, data, same_file=same_file)

    def _segment(self, segment: Any, keys: list[OwnerKeys]) -> bytes:
        pack, offset, stored_bytes, plain_bytes, nonce = segment[:5]
        for _ in range(64):
            if (self.folder / f"packs/{pack.hex()}").exists():
                break
            pack, offset = self._moved(pack, offset)
        sealed = self._read(f"packs/{pack.hex()}", offset, stored_bytes)
        packed = unseal([key.segment for key in keys], nonce + sealed, b"segment")
        return self._unpack(packed, plain_bytes)

    def _moved(self, pack: bytes, offset: int) -> tuple[bytes, int]:
        rows = unseal(self._moves_keys, self._read(f"moved/{pack.hex()}", 8), b"moved" + pack)
        for old, new_pack, new_offset in struct.iter_unpack("<Q16sQ", rows):
            if old == offset:
                return new_pack, new_offset
        raise Damaged(f"packs/{pack.hex()} is not there, and {offset} did not move")

    def _rows(self, root: dict[str, Any], bucket: int) -> dict[bytes, tuple[bytes, str, int, int]]:
        rows: dict[bytes, tuple[bytes, str, int, int]] = {}
        for section in root["buckets"][bucket][0] if bucket in root["buckets"] else []:
            origin, number, offset, records_bytes, index_bytes = section[:5]
            origin, manifest = (
                root["origins"][origin],
                f"manifests/{root['manifests'][number].hex()}",
            )
            sealed = self._read(manifest, offset + records_bytes, index_bytes)
            index = unseal(self._index_keys, sealed, b"index" + origin + bytes([bucket]))
            for pseudonym, _signature, start, length in struct.iter_unpack("<16s16sII", index):
                rows.pop(pseudonym, None)
                if length:
                    rows[pseudonym] = (origin, manifest, offset + start, length)
        return rows

    def _tombstones(self) -> list[Any]:
        stones = []
        for name in self._names("tombstones"):
            bound_to = b"tombstones" + bytes.fromhex(name.removeprefix("tombstones/"))
            plain = self._open_either(name, self._tombstone_keys, bound_to, 8)
            stones += msgspec.msgpack.decode(plain)
        return stones

    def _keys(self, bucket: int, dead: set[bytes]) -> dict[bytes, list[OwnerKeys]]:
        found: dict[bytes, list[OwnerKeys]] = {}
        for name in self._names("keys"):
            object_id = bytes.fromhex(name[5:])
            bound_to = b"keyring directory" + object_id
            directory = self._open_either(name, self._keyring_keys, bound_to, 8, 1052)
            sizes = [48 * n + 28 if n else 0 for n in struct.unpack("<256I", directory)]
            if sizes[bucket]:
                bound_to = b"keyring bucket" + object_id + bytes([bucket])
                start = 1060 + sum(sizes[:bucket])
                rows = self._open_either(name, self._keyring_keys, bound_to, start, sizes[bucket])
                for pseudonym, key in struct.iter_unpack("<16s32s", rows):
                    if derive(key, "fingerprint", 16) in dead:
                        continue
                    for material in [*(key + master for master in self.masters[:-1]), key]:
                        three = derive(material, "owner", 96)
                        keys = OwnerKeys(three[:32], three[32:64], three[64:])
                        found.setdefault(pseudonym, []).append(keys)
        return found

    def _root(self, name: str) -> dict[str, Any]:
        bound_to = b"snapshot" + bytes.fromhex(name.removeprefix("snapshots/"))
        packed = self._open_either(name, self._snapshot_keys, bound_to, 8)
        plain = self._unpack(packed[4:], int.from_bytes(packed[:4], "little"))
        root: dict[str, Any] = msgspec.msgpack.decode(plain)
        return root

    def _open_either(
        self, name: str, keys: list[bytes], bound_to: bytes, offset: int, length: int = -1
    ) -> bytes:
        """Open a part of an object that is stored twice."""
        try:
            return unseal(keys, self._read(name, offset, length), bound_to)
        except Damaged:
            return unseal(keys, self._read(name + ".copy", offset, length), bound_to)

    def _unpack(self, packed: bytes, size: int) -> bytes:
        try:
            if packed and zstandard.frame_content_size(packed) == size:
                return self._unpacker.decompress(packed, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise Damaged(str(error)) from None
        if packed or size:
            raise Damaged("a frame is not of the size it should be")
        return b""

    def _names(self, folder: str) -> list[str]:
        names = {path.name.removesuffix(".copy") for path in (self.folder / folder).glob("*")}
        digits = set("0123456789abcdef")
        return sorted(f"{folder}/{n}" for n in names if len(n) == 32 and set(n) <= digits)

    def _read(self, name: str, offset: int = 0, length: int = -1) -> bytes:
        try:
            with (self.folder / name).open("rb") as file:
                kind = KINDS.get(name.partition("/")[0])
                if kind and file.read(8) != b"SHENYU\1" + bytes([kind]):
                    raise Damaged(f"{name}: its header is wrong")
                file.seek(offset)
                return file.read(length)
        except OSError as error:
            raise Damaged(f"{name}: {error.strerror}") from None


def is_plain(part: bytes) -> bool:
    return part not in (b"", b".", b"..") and b"/" not in part and b"\0" not in part
