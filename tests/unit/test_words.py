"""Words as people type them are found in any language; an index never hides what holds them."""

import sqlite3

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shenyu_data.model.errors import UsageError
from shenyu_data.model.words import find_words, fold, grams, parse_words, query

LETTERS = st.text(alphabet="aAbc19_ \n-好的中文éßﬁＡ①ไทย\u0301😀", max_size=12)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("迁徙", "候鸟迁徙的时候"),
        ("徙", "迁徙"),
        ("PYTHON", "用Python写"),
        ("ython", "Python"),
        ("ＡＢＣ", "abc"),
        ("cafe\u0301", "CAFÉ"),
        ("STRASSE", "Straße"),
        ("two words", "words, and two"),
        ("好 a", "a 好"),
    ],
)
def test_words_are_found(words: str, text: str) -> None:
    assert find_words(parse_words(words), ["", text]) is not None


@pytest.mark.parametrize(("words", "text"), [("徙迁", "迁徙"), ("two three", "two"), ("ab", "a b")])
def test_what_is_not_there_is_not_found(words: str, text: str) -> None:
    assert find_words(parse_words(words), ["", text]) is None


def test_the_excerpt_is_of_a_message_rather_than_the_title() -> None:
    assert find_words(["b"], ["b title", "a b c"]) == "a b c"
    assert find_words(["b"], ["b title", "a"]) == "b title"
    around = find_words(["needle"], ["", "x" * 500 + "needle" + "y" * 500]) or ""
    assert around.startswith("…x")
    assert "needle" in around
    assert len(around) < 130


def test_no_word_is_refused() -> None:
    with pytest.raises(UsageError, match="no word"):
        parse_words(" \n\u3000")


def meets(text: str, wanted: str) -> bool:
    """Ask an index, as the catalog's is, whether a text of these grams meets a query."""
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE VIRTUAL TABLE words USING fts5(g, content='', detail=none, tokenize='ascii')"
    )
    connection.execute("INSERT INTO words (rowid, g) VALUES (1, ?)", (" ".join(grams([text])),))
    found = connection.execute("SELECT rowid FROM words WHERE words MATCH ?", (wanted,)).fetchall()
    connection.close()
    return bool(found)


@given(LETTERS, st.integers(0, 12), st.integers(1, 12), LETTERS)
def test_whatever_holds_the_words_meets_their_query(
    text: str, start: int, length: int, other: str
) -> None:
    folded = fold(text)
    words = [*folded[start : start + length].split(), *fold(other).split()]
    assume(words and query(words))
    if find_words(words, [text]) is not None:
        assert meets(text, query(words))


def test_most_that_does_not_hold_the_words_does_not_meet_it() -> None:
    assert meets("候鸟迁徙", query(["迁徙"]))
    assert not meets("候鸟迁，徙", query(["迁徙"]))
    assert not meets("norse bells", query(["norsebell"]))
    assert meets("最好", query(["好"]))
    assert not meets("最", query(["好"]))
    assert query(["a", "bc", "-"]) == ""
