"""Keys as people write them down, and as they type them again."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mnemonic import Mnemonic

from shenyu_data.repository.keytext import (
    RepositoryKey,
    explain_words,
    new_recovery_key,
    parse_recovery_key,
    parse_repository_key,
    recovery_words,
    repository_key_text,
)

KEY = bytes(range(32))
WORDS = Mnemonic("english").to_mnemonic(KEY).split()
LIST = Mnemonic("english").wordlist


@given(st.binary(min_size=32, max_size=32))
def test_words_and_letters_are_the_same_key(raw: bytes) -> None:
    words = Mnemonic("english").to_mnemonic(raw)
    assert parse_recovery_key(words) == raw


def test_a_new_key_has_words_that_give_it_back() -> None:
    key = new_recovery_key()
    assert parse_recovery_key(" ".join(recovery_words(key))) == parse_recovery_key(key)
    assert len(recovery_words(key)) == 24


@pytest.mark.parametrize(
    "typed",
    [
        " ".join(WORDS).upper(),
        "\n".join(f"{number}. {word}" for number, word in enumerate(WORDS, 1)),
        "\t".join(f"{number:2}){word}" for number, word in enumerate(WORDS, 1)),
        "  ".join(f"{number}: {word.capitalize()}" for number, word in enumerate(WORDS, 1)) + "\n",
        " ".join(word[:4] for word in WORDS),
        " ".join(word[:5] for word in WORDS),
    ],
    ids=["capitals", "numbered", "tabs", "colons", "four-letters", "five-letters"],
)
def test_words_are_read_as_people_type_them(typed: str) -> None:
    assert parse_recovery_key(typed) == KEY
    assert explain_words(typed) == ""


@pytest.mark.parametrize(
    "typed",
    [
        " ".join(WORDS[:-1]),
        " ".join([*WORDS, WORDS[0]]),
        " ".join([WORDS[1], WORDS[0], *WORDS[2:]]),
        " ".join(["aban", "amo", *WORDS[2:]]),
        " ".join(["abandoned", *WORDS[1:]]),
        " ".join(["abändon", *WORDS[1:]]),
        " ".join(["-", *WORDS[1:]]),
        " ".join(WORDS * 1000),
        "SHENYU",
        "24 words",
        "",
    ],
)
def test_what_is_no_recovery_key_is_none(typed: str) -> None:
    assert parse_recovery_key(typed) is None
    with pytest.raises(ValueError, match="not a recovery key"):
        recovery_words(typed)


@given(st.integers(0, 23), st.sampled_from(LIST))
def test_a_wrong_word_passes_the_checksum_as_rarely_as_its_bits_say(at: int, other: str) -> None:
    """One in 256; whatever passes is another key."""
    typed = [*WORDS[:at], other, *WORDS[at + 1 :]]
    parsed = parse_recovery_key(" ".join(typed))
    assert (parsed == KEY) == (typed == WORDS)
    assert explain_words(" ".join(typed)) == (
        ""
        if parsed
        else "Its checksum says that a word of the recovery key is wrong or in the wrong place."
    )


def test_a_mistyped_word_is_named_and_no_other() -> None:
    said = explain_words(" ".join([*WORDS[:6], "cagge", *WORDS[7:]]))
    assert (
        said == "Word 7 of the recovery key is not one of the list; did you mean cage, age, charge?"
    )
    said = explain_words(" ".join([*WORDS[:6], "qqqqq", *WORDS[7:]]))
    assert said == "Word 7 of the recovery key is not one of the list."
    assert "qqqqq" not in said


def test_a_word_too_few_is_counted() -> None:
    assert explain_words(" ".join(WORDS[:-1])) == "A recovery key has 24 words; these are 23."


@pytest.mark.parametrize(
    "passphrase",
    [
        "correct horse battery staple",
        "wenn vierundzwanzig woerter in einer passphrase stehen dann ist das noch lange kein "
        "schluessel zum wiederherstellen sondern eben nur ein satz mit worten",
        "SHENYU-AAAQEAY",
        "",
    ],
)
def test_a_passphrase_is_not_explained(passphrase: str) -> None:
    assert explain_words(passphrase) == ""


@given(st.text(max_size=300))
def test_no_text_breaks_the_reader(text: str) -> None:
    assert parse_recovery_key(text) is None
    explain_words(text)


def test_letters_that_are_not_of_the_right_length_are_no_key() -> None:
    assert parse_recovery_key("SHENYU" + "A" * 48) is None
    assert parse_recovery_key(secrets.token_hex(32)) is None


KEYS = st.builds(
    RepositoryKey,
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=16, max_size=16),
    st.integers(1, 99),
)


@given(KEYS)
def test_an_exported_key_is_read_back_as_people_type_it(key: RepositoryKey) -> None:
    text = repository_key_text(key)
    for typed in (text, text.lower(), text.replace("-", ""), f" {text.replace('-', ' ')}\n"):
        assert parse_repository_key(typed) == key
    assert parse_recovery_key(text) is None
    assert key.master.hex() not in repr(key)


@given(KEYS, st.integers(22, 119), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_a_typing_error_in_an_exported_key_is_noticed(
    key: RepositoryKey, place: int, letter: str
) -> None:
    text = repository_key_text(key)
    typed = text[:place] + letter + text[place + 1 :]
    if typed != text:
        assert parse_repository_key(typed) is None


@given(st.text(max_size=150))
def test_no_other_text_is_an_exported_key(text: str) -> None:
    assert parse_repository_key(text) is None
    assert parse_repository_key("SHENYU-REPOSITORY-KEY-" + text) is None


def test_words_of_which_some_are_unknown_are_no_shorter_key() -> None:
    shorter = Mnemonic("english").to_mnemonic(bytes(16)).split()
    assert parse_recovery_key(" ".join([*shorter, *["zzzz"] * (24 - len(shorter))])) is None
