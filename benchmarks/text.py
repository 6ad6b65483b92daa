"""The prose, code and JSON that synthetic chats are made of. For `benchmarks.data` only.

Sentences are templates filled from Zipf-weighted word tables. A chat has a subject: a quarter of
its nouns come from sixteen words, so that a chat repeats itself as real ones do.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from benchmarks import vocabulary as v
from benchmarks.draws import Draws

_TABLE_SIZE = 4096
_NOUN: tuple[str, ...] = ()  # stands in a template for the nouns of the chat's language and subject

Slots = tuple[Sequence[str], ...]
Template = tuple[str, Slots]


def _table(words: Sequence[str], flatness: int = 60) -> tuple[str, ...]:
    """Return 4096 entries in which the word of rank r takes a share of 1 / (r + flatness)."""
    ends = list(accumulate(_TABLE_SIZE * 1000 // (rank + flatness) for rank in range(len(words))))
    rank = 0
    entries = []
    for place in range(_TABLE_SIZE):
        while place * ends[-1] >= ends[rank] * _TABLE_SIZE:
            rank += 1
        entries.append(words[rank])
    return tuple(entries)


def _invented(kind: str, word: Callable[[Draws], str]) -> list[str]:
    """Return 1200 made-up words: the rare names of things that fill real text."""
    draws = Draws("words", kind)
    return [word(draws) for _ in range(1200)]


def _syllables(draws: Draws) -> str:
    return "".join(draws.pick(v.SYLLABLES) for _ in range(2 + draws.below(2)))


def _identifier(draws: Draws) -> str:
    return "_".join(draws.pick(v.IDENTIFIER_PARTS) for _ in range(2 + draws.below(2)))


def _url(draws: Draws) -> str:
    return f"https://{_syllables(draws)}.example/{draws.pick(v.EN_NOUNS)}/{draws.below(10**7)}"


def _name(draws: Draws) -> str:
    return f"{draws.pick(v.GIVEN_NAMES)} {draws.pick(v.SURNAMES)}"


def _chinese_name(draws: Draws) -> str:
    given = [draws.pick(v.ZH_GIVEN) for _ in range(1 + draws.below(2))]
    return draws.pick(v.ZH_SURNAMES) + "".join(given)


def _chinese_word(draws: Draws) -> str:
    return "".join(draws.pick(v.ZH_CHARACTERS) for _ in range(2 + draws.below(2)))


_NUMBERS = _table(_invented("number", lambda draws: str(draws.below(10 ** (1 + draws.below(4))))))
_IDENTIFIERS = _table(_invented("identifier", _identifier))
_URLS = _table(_invented("url", _url), 300)
_YEARS = _table([str(year) for year in range(2024, 1700, -1)], 20)
_BRANDS = _invented("brand", lambda draws: _syllables(draws).capitalize())


def _english_verbs() -> list[str]:
    return [
        *v.EN_VERBS,
        *(f"{prefix}{verb}" for prefix in ("try to ", "re") for verb in v.EN_VERBS[:40]),
    ]


def _english_nouns() -> list[str]:
    compounds = [f"{a} {b}" for a in v.EN_NOUNS[::5] for b in v.EN_NOUNS[2::9]]
    plurals = [f"{noun}s" for noun in v.EN_NOUNS if noun[-1] not in "ysh"]
    return [*v.EN_NOUNS, *plurals, *compounds[:500], *_BRANDS]


def _chinese_nouns() -> list[str]:
    compounds = [a + b for a in v.ZH_NOUNS[::4] for b in v.ZH_NOUNS[1::6]]
    return [*v.ZH_NOUNS, *compounds[:500], *_invented("zh_word", _chinese_word), *_BRANDS[:100]]


@dataclass(frozen=True, slots=True)
class Language:
    """What is needed to write in one language; make no others than `ENGLISH` and `CHINESE`."""

    nouns: tuple[str, ...]
    sentences: tuple[Template, ...]
    questions: tuple[Template, ...]
    headings: tuple[Template, ...]
    space: str
    colon: str


def _language(
    tables: dict[str, Sequence[str]],
    nouns: Sequence[str],
    texts: tuple[Sequence[str], Sequence[str], Sequence[str]],
    marks: tuple[str, str],
) -> Language:
    shared = {"n": _NOUN, "num": _NUMBERS, "id": _IDENTIFIERS, "url": _URLS, "year": _YEARS}
    everything = {**shared, **tables}

    def compiled(text: str) -> Template:
        slots = tuple(everything[field] for field in re.findall(r"{(\w+)}", text))
        return re.sub(r"{\w+}", "%s", text), slots

    sentences, questions, headings = (tuple(map(compiled, lines)) for lines in texts)
    return Language(_table(nouns, 300), sentences, questions, headings, *marks)


ENGLISH = _language(
    {
        "v": _table(_english_verbs(), 80),
        "a": _table(v.EN_ADJECTIVES, 80),
        "d": _table(v.EN_ADVERBS),
        "p": _table(v.PLACES),
        "t": _table(v.EN_DETERMINERS),
        "r": _table(v.EN_PREPOSITIONS),
        "m": _table(v.EN_MODALS),
        "l": _table(v.EN_LINKS),
        "name": _table(_invented("name", _name)),
    },
    _english_nouns(),
    (v.EN_SENTENCES, v.EN_QUESTIONS, v.EN_HEADINGS),
    (" ", ": "),
)
CHINESE = _language(
    {
        "v": _table(v.ZH_VERBS, 80),
        "a": _table(v.ZH_ADJECTIVES, 80),
        "d": _table(v.ZH_ADVERBS),
        "p": _table(v.ZH_PLACES),
        "w": _table(v.ZH_WHERE),
        "m": _table(v.ZH_MODALS),
        "l": _table(v.ZH_LINKS),
        "name": _table(_invented("zh_name", _chinese_name)),
    },
    _chinese_nouns(),
    (v.ZH_SENTENCES, v.ZH_QUESTIONS, v.ZH_HEADINGS),
    ("", "："),
)

# What each %s stands for is an identifier.
_CODE = (
    """```python
def %s(%s):
    if not %s:
        return %s
    return [%s for %s in %s if %s > %s]
```""",
    """```python
class %s:
    def __init__(self, %s):
        self.%s = %s

    def %s(self):
        return %s
```""",
    """```js
const %s = async (%s) => {
  const %s = await %s(%s);
  return %s.filter((x) => x.%s);
};
```""",
    """```sql
SELECT %s, count(*)
FROM %s
WHERE %s > %s
GROUP BY %s
ORDER BY %s DESC
LIMIT 50;
```""",
    """```go
func %s(%s string) error {
\tif err := %s(%s); err != nil {
\t\treturn err
\t}
\treturn nil
}
```""",
    """```
$ %s --%s=%s --%s
%s: %s (%s)
```""",
)


class Author:
    """Writes the messages of one chat: the subject is the same from the first to the last."""

    def __init__(self, draws: Draws, language: Language) -> None:
        """Choose a subject; every word is drawn from `draws`."""
        self._draws = draws
        self._language = language
        nouns = list(language.nouns)
        nouns[::4] = [nouns[draw & 4095] for draw in draws.take(16)] * 64
        self._nouns = nouns

    def _fill(self, template: Template) -> str:
        text, slots = template
        nouns = self._nouns
        draws = self._draws.take(len(slots))
        return text % tuple(
            [(slot or nouns)[draw & 4095] for slot, draw in zip(slots, draws, strict=True)]
        )

    def paragraph(self, sentences: int) -> str:
        """Return that many sentences (at most 2048) as one paragraph."""
        choice = self._language.sentences
        picks = self._draws.take(sentences)
        # Squared: the first templates, which leave the words most freedom, are taken most often.
        return self._language.space.join(
            [self._fill(choice[draw * draw * len(choice) >> 32]) for draw in picks]
        )

    def question(self) -> str:
        """Return what a user writes: a question, at times with text, code or JSON below it."""
        draws = self._draws
        text = self._fill(draws.pick(self._language.questions))
        kind = draws.below(100)
        if kind < 12:
            text += "\n\n" + self.paragraph(2 + draws.below(12))
        elif kind < 18:
            text += "\n\n" + self.code()
        elif kind < 21:
            text += "\n" + self.json_text()
        return text

    def heading(self) -> str:
        """Return a heading, without Markdown."""
        return self._fill(self._draws.pick(self._language.headings))

    def code(self) -> str:
        """Return one Markdown code block."""
        text = self._draws.pick(_CODE)
        names = self._draws.take(text.count("%s"))
        return text % tuple([_IDENTIFIERS[draw & 4095] for draw in names])

    def json_text(self) -> str:
        """Return a JSON object as text, as chats with tools hold it."""
        draws = self._draws
        value = {
            "type": draws.pick(("result", "event", "card")),
            "name": self.heading(),
            "items": [
                {"id": draws.below(10**6), "text": self.paragraph(1)}
                for _ in range(1 + draws.below(4))
            ],
        }
        return json.dumps(value, ensure_ascii=False)

    def answer(self) -> str:
        """Return what the assistant writes: paragraphs, headings, lists, code, or JSON alone."""
        draws = self._draws
        if draws.chance(3):
            return self.json_text()
        parts = [self.paragraph(1 + draws.below(4))]
        for _ in range(draws.below(6)):
            kind = draws.below(100)
            if kind < 15:
                parts.append("### " + self.heading())
            elif kind < 40:
                colon = self._language.colon
                count = 2 + draws.below(4)
                lines = [f"- **{self.heading()}**{colon}{self.paragraph(1)}" for _ in range(count)]
                parts.append("\n".join(lines))
            elif kind < 52:
                parts.append(self.code())
            else:
                parts.append(self.paragraph(1 + draws.below(4)))
        return "\n\n".join(parts)
