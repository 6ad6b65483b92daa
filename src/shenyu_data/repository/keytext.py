"""Keys as people write them down: a recovery key in groups of letters or as 24 words, and the
exported repository key in longer groups.

The words are those of BIP 39, its English list: 256 bits of key and 8 of checksum. The list is read
only when there are words to read or to write.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from shenyu_data.repository.crypto import KEY_BYTES

if TYPE_CHECKING:
    from mnemonic import Mnemonic

WORDS = 24
"""How many words a recovery key has."""

_RECOVERY_PREFIX = "SHENYU"
_CHECK_BYTES = 3
_GROUP = 7  # letters
_EXPORT_PREFIX = ("SHENYU", "REPOSITORY", "KEY")
_EXPORT_CHECK_BYTES = 6
_EXPORT_GROUP = 8  # letters
_ID_BYTES = 16
_SHORTENED = 4  # letters tell the words of the list apart
_NUMBER = re.compile(r"\b\d{1,2}[.):]?")


class RepositoryKey(NamedTuple):
    """A repository key as it is exported: opens the repository when all key slots are lost.

    ``generation`` counts the repository keys there have been, 1 if it was never rotated.
    """

    master: bytes
    repository_id: bytes
    generation: int

    def __repr__(self) -> str:
        return "RepositoryKey(…)"


def new_recovery_key() -> str:
    """Return a fresh recovery key: 256 random bits and a checksum, in groups of base 32 (RFC
    4648).
    """
    raw = os.urandom(KEY_BYTES)
    text = base64.b32encode(raw + blake3(raw).digest(_CHECK_BYTES)).decode("ascii")
    groups = [text[start : start + _GROUP] for start in range(0, len(text), _GROUP)]
    return "-".join([_RECOVERY_PREFIX, *groups])


def parse_recovery_key(text: str) -> bytes | None:
    """Given what a person typed, groups or words, return the 32 bytes if it is a recovery key with
    a right checksum, else None.
    """
    return _parse_groups(text) or _parse_words(text)


def recovery_words(recovery_key: str) -> list[str]:
    """Given a recovery key, return it as 24 words. Raise ValueError if it is none."""
    raw = parse_recovery_key(recovery_key)
    if raw is None:
        raise ValueError("not a recovery key")
    return _list().to_mnemonic(raw).split()


def repository_key_text(key: RepositoryKey) -> str:
    """Return a repository key as text: see docs/format.md."""
    raw = key.master + key.repository_id + bytes((key.generation,))
    text = base64.b32encode(raw + blake3(raw).digest(_EXPORT_CHECK_BYTES)).decode("ascii")
    groups = (text[start : start + _EXPORT_GROUP] for start in range(0, len(text), _EXPORT_GROUP))
    return "-".join([*_EXPORT_PREFIX, *groups])


def parse_repository_key(text: str) -> RepositoryKey | None:
    """Given what a person typed, return the repository key if it is one with a right checksum."""
    raw = _decode(text, "".join(_EXPORT_PREFIX))
    body, check = raw[:-_EXPORT_CHECK_BYTES], raw[-_EXPORT_CHECK_BYTES:]
    if len(body) != KEY_BYTES + _ID_BYTES + 1 or blake3(body).digest(_EXPORT_CHECK_BYTES) != check:
        return None
    return RepositoryKey(body[:KEY_BYTES], body[KEY_BYTES:-1], body[-1])


def explain_words(text: str) -> str:
    """Given a secret that opened nothing, say what is wrong with it if it was meant as the words of
    a recovery key; else return "".

    No word is repeated; those of the list that are most like a mistyped one are named.
    """
    typed = _words_in(text)
    if abs(len(typed) - WORDS) > 4:
        return ""
    words = _list().wordlist
    unknown = [number for number, word in enumerate(typed, 1) if _full(word, words) is None]
    if len(unknown) > WORDS // 2:
        return ""
    if unknown:
        from difflib import get_close_matches

        alike = get_close_matches(typed[unknown[0] - 1], words)
        meant = f"; did you mean {', '.join(alike)}?" if alike else "."
        return f"Word {unknown[0]} of the recovery key is not one of the list{meant}"
    if len(typed) != WORDS:
        return f"A recovery key has {WORDS} words; these are {len(typed)}."
    if _parse_words(text) is None:
        return "Its checksum says that a word of the recovery key is wrong or in the wrong place."
    return ""


def _parse_groups(text: str) -> bytes | None:
    raw = _decode(text, _RECOVERY_PREFIX)
    key, check = raw[:KEY_BYTES], raw[KEY_BYTES:]
    if len(key) != KEY_BYTES or blake3(key).digest(_CHECK_BYTES) != check:
        return None
    return key


def _decode(text: str, prefix: str) -> bytes:
    """Return the bytes of groups in base 32 after a prefix; none if it is not that."""
    compact = "".join(text.split()).upper().replace("-", "")
    if not compact.startswith(prefix):
        return b""
    try:
        return base64.b32decode(compact.removeprefix(prefix))
    except ValueError:
        return b""


def _parse_words(text: str) -> bytes | None:
    typed = _words_in(text)
    if len(typed) != WORDS:
        return None
    reader = _list()
    words = [full for word in typed if (full := _full(word, reader.wordlist))]
    if len(words) != WORDS:
        return None
    try:
        return bytes(reader.to_entropy(words))
    except ValueError:
        return None


def _words_in(text: str) -> list[str]:
    """Return what was typed in small letters, without numbers; nothing if some of it is no word."""
    words = _NUMBER.sub(" ", text).lower().split()
    return words if all(word.isascii() and word.isalpha() for word in words) else []


def _full(word: str, words: Sequence[str]) -> str | None:
    """Return the word of the list that was typed, whole or its first four letters or more."""
    if word in words:
        return word
    found = [full for full in words if full.startswith(word)] if len(word) >= _SHORTENED else []
    return found[0] if len(found) == 1 else None


def _list() -> Mnemonic:
    from mnemonic import Mnemonic

    return Mnemonic("english")
