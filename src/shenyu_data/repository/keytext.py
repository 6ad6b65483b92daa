"""Keys as people write them down: a recovery key in groups of letters or as 24 words.

The words are those of BIP 39, its English list: 256 bits of key and 8 of checksum. The list is read
only when there are words to read or to write.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from blake3 import blake3

from shenyu_data.repository.crypto import KEY_BYTES

if TYPE_CHECKING:
    from mnemonic import Mnemonic

WORDS = 24
"""How many words a recovery key has."""

_RECOVERY_PREFIX = "SHENYU"
_CHECK_BYTES = 3
_GROUP = 7  # letters
_SHORTENED = 4  # letters tell the words of the list apart
_NUMBER = re.compile(r"\b\d{1,2}[.):]?")


def new_recovery_key() -> str:
    """Return a fresh recovery key: 256 random bits and a checksum, in groups of base 32 (RFC
    4648).
    """
    raw = secrets.token_bytes(KEY_BYTES)
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
    compact = "".join(text.split()).upper().replace("-", "")
    if not compact.startswith(_RECOVERY_PREFIX):
        return None
    try:
        raw = base64.b32decode(compact.removeprefix(_RECOVERY_PREFIX))
    except ValueError:
        return None
    key, check = raw[:KEY_BYTES], raw[KEY_BYTES:]
    if len(key) != KEY_BYTES or not secrets.compare_digest(blake3(key).digest(_CHECK_BYTES), check):
        return None
    return key


def _parse_words(text: str) -> bytes | None:
    typed = _words_in(text)
    if len(typed) != WORDS:
        return None
    reader = _list()
    words = [_full(word, reader.wordlist) for word in typed]
    try:
        return bytes(reader.to_entropy([word for word in words if word is not None]))
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
