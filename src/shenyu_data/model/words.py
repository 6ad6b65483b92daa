"""Searching chats for words as people type them, in any language. Pure.

Upper and lower case, and forms of the same character, are not told apart; a word may be part of a
longer one, as Chinese does not part its words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from operator import add

from shenyu_data.model.errors import UsageError

_EXCERPT = 120  # characters
_ASCII_RUNS = re.compile("[0-9a-z]{3,}").findall
_OTHER_RUNS = re.compile(r"[^\W\x00-\x7f]+").findall


def fold(text: str) -> str:
    """Return text so that what a person takes for the same is equal."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def parse_words(text: str) -> list[str]:
    """Return the folded words to look for. Raise UsageError if there is none."""
    words = fold(text).split()
    if not words:
        raise UsageError("there is no word to search for", hint="Give at least one.")
    return words


def find_words(words: Sequence[str], texts: Sequence[str]) -> str | None:
    """Return what stands around the first word if all folded ``words`` occur in the texts, best
    not in the first text, which is the title; else None.
    """
    folded = [fold(text) for text in texts]
    if not all(any(word in text for text in folded) for word in words):
        return None
    word = words[0]
    where = [index for index, text in enumerate(folded) if word in text]
    index = where[1] if where[0] == 0 and len(where) > 1 else where[0]
    text, at = texts[index], folded[index].index(word)
    if len(folded[index]) != len(text):  # folding changed the length: as near as can be told
        at = at * len(text) // len(folded[index])
    start = max(0, at - _EXCERPT // 3)
    end = start + _EXCERPT
    return "…" * (start > 0) + text[start:end] + "…" * (end < len(text))


def grams(texts: Sequence[str]) -> set[str]:
    """Return what an index of the texts holds: three ASCII letters or digits in a row; of other
    letters two, or the last one of a row. All are written in ASCII.
    """
    text = fold("\n".join(texts))
    found: set[str] = set()
    found.update(*map(_threes, set(_ASCII_RUNS(text))))
    if not text.isascii():
        rows = "\n".join(_OTHER_RUNS(text)) + "\n"
        found.update(map(_other, set(map(add, rows, rows[1:]))))
        found.discard("")
    return found


def query(words: Sequence[str]) -> str:
    """Return the query, in the language of FTS5, that no chat with all these folded words fails to
    meet in an index of its grams; empty if they are too short to say anything.
    """
    needed: dict[str, None] = {}
    for word in words:
        for run in _ASCII_RUNS(word):
            needed.update(dict.fromkeys(_threes(run)))
        others = [_other(word[at : at + 2]) for at in range(len(word) - 1)]
        needed.update(dict.fromkeys(gram for gram in others if len(gram) == 2 * _DIGITS))
        if _is_other(word[-1]) and not (others and len(others[-1]) == 2 * _DIGITS):
            needed[_digits(word[-1]) + "*"] = None  # whatever follows it there
    return " AND ".join(needed)


_DIGITS = 5


def _is_other(character: str) -> bool:
    return not character.isascii() and character.isalnum()


@lru_cache(maxsize=1 << 14)  # 6 MB
def _threes(run: str) -> tuple[str, ...]:
    return tuple(map("".join, zip(run, run[1:], run[2:], strict=False)))


@lru_cache(maxsize=1 << 15)  # 7 MB
def _other(two: str) -> str:
    """Return how two characters are written if they are neighbours of the other letters, or how
    the first is if it is the last of a row; empty if it is none of them.
    """
    first = _digits(two[0])
    return first + _digits(two[1]) if first and len(two) == 2 else first


@lru_cache(maxsize=1 << 14)
def _digits(character: str) -> str:
    """Return how one of the other letters is written; empty if it is none."""
    return f"{ord(character):0{_DIGITS}x}" if _is_other(character) else ""
