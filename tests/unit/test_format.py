"""docs/format.md says what the code does: test vectors, tables, headers and names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.errors import (
    ObjectDamaged,
    ObjectMissing,
    RepositoryError,
    UnsupportedFormat,
)
from shenyu_data.repository import format as fmt
from shenyu_data.repository import keyslots
from shenyu_data.repository.compression import DICTIONARY_BLAKE3, Compressor, Decompressor
from shenyu_data.repository.crypto import OwnerKeys, Secrets, derive, seal, unseal
from shenyu_data.repository.generations import with_older
from shenyu_data.repository.keytext import (
    RepositoryKey,
    parse_recovery_key,
    parse_repository_key,
    recovery_words,
    repository_key_text,
)
from shenyu_data.repository.proofs import Proof
from shenyu_data.repository.repository import (
    create_repository,
    open_repository,
    read_descriptor,
)
from shenyu_data.repository.tombstones import Tombstone
from shenyu_data.storage.memory import MemoryStorage
from tests.compat import reader

PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
MASTER, REPOSITORY_ID, SALT = bytes(range(32)), bytes(range(0x20, 0x30)), bytes(range(0x30, 0x40))
KEYS = Secrets(MASTER, REPOSITORY_ID)
OWNER = OwnerKeys(bytes(range(0x40, 0x60)))
NONCE = bytes(range(0x60, 0x6C))
USER = b'{"id": "alice"}'
SLOT = "slots/707172737475767778797a7b7c7d7e7f"


def block(language: str, number: int = 0) -> str:
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return found[number]


VECTORS: dict[str, str] = {}
for line in block("vectors").splitlines():
    vector, _, value = line.rpartition("  ")
    VECTORS[vector.strip()] = value


# -------------------------------------------------------------------------------- test vectors


def segment_frame() -> bytes:
    return Compressor().compress(USER)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ('derive(M ‖ R, "pseudonyms")', KEYS.pseudonym_key),
        ('derive(M ‖ R, "snapshots")', KEYS.derive("snapshots")),
        ("pseudonym of the user alice", KEYS.user_pseudonym(b"alice")),
        (
            "pseudonym that holds example/user.json",
            KEYS.shared_pseudonym(KEYS.shared_bucket(b"example/user.json")),
        ),
        ("digest of hello", OWNER.digest(b"hello")),
        (
            "segment key of owner and repository key",
            derive(bytes(range(0x40, 0x60)) + MASTER, "owner"),
        ),
        ('zstd of {"id": "alice"}', segment_frame()),
        (
            "that, sealed as a segment",
            OWNER.segment_cipher.encrypt(NONCE, segment_frame(), b"segment"),
        ),
        ("recovery key 00…1f, its slot key", derive(MASTER + SALT, "recovery slot")),
    ],
)
def test_a_vector_of_the_page_is_what_the_code_computes(name: str, value: bytes) -> None:
    assert VECTORS[name] == value.hex()


def test_the_owner_keys_of_the_page_are_those_of_the_code() -> None:
    """Shown by use: the code opens what the page's keys seal."""
    sealed = AESGCM(bytes.fromhex(VECTORS["segment key"])).encrypt(NONCE, b"x", b"segment")
    assert OWNER.segment_cipher.decrypt(NONCE, sealed, b"segment") == b"x"
    sealed = AESGCM(bytes.fromhex(VECTORS["record key"])).encrypt(NONCE, b"x", b"record")
    assert OWNER.record_cipher.decrypt(NONCE, sealed, b"record") == b"x"


def test_the_owner_key_of_a_later_generation_is_that_of_the_code() -> None:
    newest, first = Secrets(MASTER, REPOSITORY_ID, (b"f" * 32,)).owner_keys(OWNER.key)
    key = bytes.fromhex(VECTORS["segment key of owner and repository key"])
    assert newest.segment_cipher.decrypt(NONCE, AESGCM(key).encrypt(NONCE, b"x", b""), b"") == b"x"
    assert first.digest(b"hello") == OWNER.digest(b"hello")


def test_the_exported_repository_key_of_the_page_is_what_it_says() -> None:
    text = re.search(r"`(SHENYU-REPOSITORY-KEY-[A-Z2-7-]+)`", PAGE)
    assert text is not None
    key = RepositoryKey(MASTER, REPOSITORY_ID, 2)
    assert parse_repository_key(text[1]) == key
    assert repository_key_text(key) == text[1]
    parts = reader.parse_repository_key(text[1].lower())
    assert parts == tuple(key)


def test_the_older_keys_of_the_page_open() -> None:
    name = "generations" + SLOT.removeprefix("slots")
    data = bytes.fromhex(block("object").replace("\n", ""))
    storage = MemoryStorage()
    storage.put(name, [data])
    keys = with_older(storage, MASTER, REPOSITORY_ID, 2)
    assert keys.older == (b"\xff" * 32,)
    assert reader.open_generation(name, data, MASTER + REPOSITORY_ID) == list(keys.older)


def test_the_frame_of_the_page_unpacks() -> None:
    frame = bytes.fromhex(VECTORS['zstd of {"id": "alice"}'])
    assert Decompressor().decompress(frame, len(USER)) == USER


def test_the_slot_of_the_page_opens_with_its_passphrase_and_tells_its_label() -> None:
    storage = MemoryStorage()
    storage.put(SLOT, [block("json", 0).encode()])
    keys = keyslots.unlock(storage, "correct horse 电池").keys
    assert (keys.master, keys.repository_id) == (MASTER, REPOSITORY_ID)
    label = keyslots.read_label(storage, keys, SLOT)
    assert (label.text, label.created_ms) == ("for the vectors", 1_767_225_600_000)


def test_the_recovery_key_of_the_page_is_the_bytes_it_says() -> None:
    text = re.search(r"`(SHENYU(?:-[A-Z2-7]{7}){8})`", PAGE)
    assert text is not None
    assert parse_recovery_key(text[1]) == MASTER
    words = block("words")
    assert parse_recovery_key(words) == MASTER
    assert recovery_words(text[1]) == words.split()


def test_the_descriptor_of_the_page_is_sound() -> None:
    storage = MemoryStorage()
    storage.put(fmt.DESCRIPTOR, [block("json", 1).encode()])
    assert read_descriptor(storage).id == REPOSITORY_ID.hex()


def test_the_page_names_the_dictionary() -> None:
    assert DICTIONARY_BLAKE3 in PAGE


# -------------------------------------------------------------------------------------- tables


def table_after(heading: str) -> list[str]:
    """Give the names in the second column of the table under a heading, the tag left out."""
    part = PAGE.split(f"#### {heading}\n")[1].split("\n#")[0]
    part = part.split("\n\nAn **extent**")[0]
    return re.findall(r"^\| \d+ \| `(\w+)` \|", part, re.MULTILINE)


@pytest.mark.parametrize(
    "struct",
    [
        fmt.BucketRef,
        fmt.SectionRef,
        fmt.Totals,
        fmt.OwnerRecord,
        fmt.Segment,
        fmt.FileEntry,
        fmt.LastGood,
        fmt.FolderEntry,
        fmt.LinkEntry,
        Tombstone,
        Proof,
    ],
)
def test_the_page_lists_the_fields_of_a_structure_in_order(struct: type[msgspec.Struct]) -> None:
    assert table_after(struct.__name__) == list(struct.__struct_fields__)
    assert struct.__struct_config__.array_like


def test_the_page_lists_the_keys_of_a_root() -> None:
    part = PAGE.split("| root key |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE) == list(fmt.Root.__struct_fields__)


def test_the_page_numbers_tags_places_and_states_as_the_code_does() -> None:
    tags = {
        kind.__name__: kind.__struct_config__.tag
        for kind in (fmt.FileEntry, fmt.FolderEntry, fmt.LinkEntry)
    }
    assert tags == {"FileEntry": 0, "FolderEntry": 1, "LinkEntry": 2}
    assert [state.value for state in fmt.FileState] == [0, 1, 2, 3]
    assert re.findall(r"^\| (\d) \| `(?:users/|histories/|NAME)", PAGE, re.MULTILINE) == list(
        "01234"
    )


# ----------------------------------------------------------------------------- headers and names


def test_a_header_of_another_version_kind_or_length_is_refused() -> None:
    good = fmt.header(fmt.ObjectKind.PACK)
    fmt.check_header(fmt.ObjectKind.PACK, "packs/x", good + b"more")
    assert good.hex() == "5348454e59550102"
    with pytest.raises(UnsupportedFormat):
        fmt.check_header(fmt.ObjectKind.PACK, "packs/x", good[:6] + b"\2\2")
    for wrong in (b"", good[:7], good[:6] + b"\0\2", good[:7] + b"\1", b"X" + good[1:]):
        with pytest.raises(ObjectDamaged):
            fmt.check_header(fmt.ObjectKind.PACK, "packs/x", wrong)


@given(st.binary(min_size=16, max_size=16), st.sampled_from(list(fmt.ObjectKind)))
def test_the_name_of_an_object_gives_its_id_back(object_id: bytes, kind: fmt.ObjectKind) -> None:
    name = fmt.object_name(kind, object_id)
    assert fmt.parse_object_name(name) == (name.partition("/")[0], object_id)
    assert fmt.parse_object_name(name + fmt.COPY_SUFFIX) is None
    assert fmt.parse_object_name(name[:-1]) is None


@pytest.mark.parametrize("stranger", ["keys/README.md", "slots/Thumbs.db", "keys/" + "A" * 32])
def test_a_strangers_file_is_no_object(stranger: str) -> None:
    assert fmt.parse_object_name(stranger) is None


@given(st.binary(max_size=40), st.binary(max_size=200), st.binary(max_size=20))
def test_only_the_same_key_and_place_open_a_seal(key: bytes, data: bytes, place: bytes) -> None:
    key = (key + bytes(32))[:32]
    sealed = seal(key, data, place)
    assert unseal(key, sealed, place, "x") == data
    for other_key, other in ((key, place + b"x"), (bytes([key[0] ^ 1]) + key[1:], place)):
        with pytest.raises(ObjectDamaged):
            unseal(other_key, sealed, other, "x")


@given(st.binary(max_size=60))
def test_noise_opens_under_no_key(noise: bytes) -> None:
    with pytest.raises(ObjectDamaged):
        unseal(MASTER, noise, b"", "x")


def test_secrets_are_not_printed() -> None:
    assert MASTER.hex() not in repr(KEYS) and repr(MASTER) not in repr(KEYS)


# ---------------------------------------------------------------------------------- descriptor


def descriptor(**changes: Any) -> bytes:
    members = json.loads(block("json", 1)) | changes
    if "check" not in changes:
        text = f"{members['format']}|{members['version']}|{members['id']}"
        members["check"] = blake3(text.encode()).hexdigest(length=16)
    return json.dumps(members).encode()


def test_a_repository_of_a_newer_version_is_refused_by_name() -> None:
    storage = MemoryStorage()
    storage.put(fmt.DESCRIPTOR, [descriptor(version=2)])
    with pytest.raises(UnsupportedFormat, match="version 2"):
        open_repository(storage, "x")
    storage.objects[fmt.DESCRIPTOR] = descriptor(version=10**400)
    with pytest.raises(UnsupportedFormat):
        open_repository(storage, "x")


@pytest.mark.parametrize(
    "changed",
    [
        descriptor(version=0),
        descriptor(format="another"),
        descriptor(check="00"),
        descriptor(id="21" * 16, check=json.loads(block("json", 1))["check"]),
        b"",
        b"[]",
        b'{"id": 1}',
        b'{"id": "a", "more": ' + b"[" * 5000,
        b"\xff\xfe",
    ],
)
def test_a_descriptor_that_is_none_is_damage(changed: bytes) -> None:
    storage = MemoryStorage()
    storage.put(fmt.DESCRIPTOR, [changed])
    with pytest.raises(ObjectDamaged):
        read_descriptor(storage)


def test_a_repository_opens_without_its_descriptor_but_not_without_its_slots() -> None:
    storage = MemoryStorage()
    created, recovery = create_repository(storage, "passphrase")
    storage.delete(fmt.DESCRIPTOR)
    assert open_repository(storage, recovery).keys.master == created.keys.master
    for name in keyslots.slot_names(storage):
        storage.delete(name)
    with pytest.raises(ObjectMissing):
        open_repository(storage, recovery)


def test_a_member_or_element_that_a_later_program_added_is_passed_over() -> None:
    segment = fmt.Segment(bytes(16), 8, 20, 4, bytes(12))
    record = fmt.OwnerRecord(b"a", False, [segment], [])
    array = msgspec.msgpack.decode(msgspec.msgpack.encode(record))
    array[2][0].append("added")
    array.append("added")
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(array), type=fmt.OwnerRecord)
    assert again == record


@pytest.mark.parametrize(
    "entry",
    [
        [3, 0, b"", 0o600, 0, 0, 0],  # a tag that is not in the page
        [1, 5, b"", 0o600, 0, 0, 0],  # a place
        [0, 0, b"", 4, 0o600, 0, 0, 0, 0, 0, 1, 0, b"", 0, 0, [], None],  # a state
        [0, 0, b""],
        [1, -1, b"", 0o600, 0, 0, 0],
    ],
)
def test_an_entry_that_is_not_in_the_page_is_refused(entry: list[object]) -> None:
    encoded = msgspec.msgpack.encode([b"a", False, [], [entry]])
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(encoded, type=fmt.OwnerRecord)


@given(st.binary(max_size=300))
def test_noise_instead_of_any_small_object_is_a_repository_error(noise: bytes) -> None:
    for name in (fmt.DESCRIPTOR, SLOT):
        storage = MemoryStorage()
        storage.put(name, [noise])
        with pytest.raises(RepositoryError):
            open_repository(storage, "passphrase")
