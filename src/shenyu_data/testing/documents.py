"""Hypothesis strategies: the bytes of users and histories, in both layouts, sound, odd and torn.

They are made as text and not from values, so that they may hold what no value keeps: a member that
is there twice, an escape of half a character, a number of a thousand digits. For tests.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence

from hypothesis import strategies as st

DEEP = 3000
"""Brackets in brackets, more than any parser here follows."""

PLAIN: tuple[str, ...] = (
    "null",
    "true",
    "0",
    "-0",
    "1.5e3",
    "1e999",
    "-1E-999",
    "9" * 25,
    "9" * 5000,
    "1739100649794",
    '""',
    '"1739100649794"',
    '"2025-02-09T11:30:49.794Z"',
    '"\\ud83d"',
    '"\\ud83d\\ude00"',
    '"\\u0000\\"\\\\/"',
    '"[{\\"id\\": 1, \\"messages\\": []}]"',
    '"你好"',
    '"\u2028\x7f"',
)
"""Values of JSON that are no arrays and no objects, some of which some parser refuses."""

BLANKS: tuple[str, ...] = ("", " ", "\n", "\r\n", "\n  ", "\t")

_HALF = ('"\\ud83d"', "9" * 5000, "1e999", "-1E-999")  # what only the application reads


def plain(*, strict: bool = False) -> st.SearchStrategy[str]:
    """Give plain values; ``strict``: those that every parser reads the same."""
    some = [text for text in PLAIN if not (strict and text in _HALF)]
    words = st.text(alphabet="ab 你\u00e9{}[],:", max_size=12).map(lambda text: f'"{text}"')
    return st.sampled_from(some) | words | st.integers(0, 9).map(str)


def joined(brackets: str, parts: Sequence[str], blank: str) -> str:
    """Write an array or object of parts."""
    if not parts:
        return brackets
    return f"{brackets[0]}{blank}{f',{blank}'.join(parts)}{blank}{brackets[1]}"


def values(*, strict: bool = False) -> st.SearchStrategy[str]:
    """Give any values, with keys that are there twice."""
    keys = st.sampled_from(('"id"', '"messages"', '"role"', '"a"', '""', '"你"'))
    blanks = st.sampled_from(BLANKS)
    return st.recursive(
        plain(strict=strict),
        lambda inner: (
            st.builds(joined, st.just("[]"), st.lists(inner, max_size=3), blanks)
            | st.builds(
                joined,
                st.just("{}"),
                st.lists(st.tuples(keys, inner).map(": ".join), max_size=3),
                blanks,
            )
        ),
        max_leaves=6,
    )


@st.composite
def messages(draw: st.DrawFn, *, strict: bool = False) -> str:
    """Give a message, seldom an odd one."""
    if draw(st.integers(0, 9)) == 0:
        return draw(values(strict=strict))
    members = [
        '"role": ' + draw(st.sampled_from(('"user"', '"assistant"', '"system"'))),
        '"content": ' + draw(plain(strict=strict).filter(lambda text: text[0] == '"')),
    ]
    if draw(st.booleans()):
        members.append('"timestamp": ' + draw(plain(strict=strict)))
    return joined("{}", draw(st.permutations(members)), draw(st.sampled_from(BLANKS)))


@st.composite
def chats(draw: st.DrawFn, *, strict: bool = False) -> str:
    """Give a chat: its members in any order, some missing, some twice unless ``strict``."""
    blank = draw(st.sampled_from(BLANKS))
    said = joined("[]", draw(st.lists(messages(strict=strict), max_size=3)), blank)
    members = ['"messages": ' + said]
    identities = st.integers(1_739_100_649_790, 1_739_100_649_793).map(str)
    for name, value in (
        ("id", identities | identities.map(lambda text: f'"{text}"') | plain(strict=strict)),
        ("title", plain(strict=strict)),
        ("timestamp", plain(strict=strict)),
        ("settings", values(strict=strict)),
    ):
        if draw(st.integers(0, 2)):
            members.append(f'"{name}": {draw(value)}')
    if not strict and draw(st.integers(0, 4)) == 0:
        members.append(draw(st.sampled_from(members)))
    return joined("{}", draw(st.permutations(members)), blank)


@st.composite
def histories(draw: st.DrawFn, *, strict: bool = False) -> bytes:
    """Give histories that are JSON: arrays of chats, and single ones, with odd elements among them.

    ``strict``: chats alone, of values that every parser reads the same.
    """
    around = draw(st.sampled_from(BLANKS)), draw(st.sampled_from(BLANKS))
    chat = chats(strict=strict)
    if draw(st.integers(0, 4)) == 0:
        text = draw(chat)
    else:
        element = chat if strict else chat | chat | values()
        text = joined("[]", draw(st.lists(element, max_size=4)), draw(st.sampled_from(BLANKS)))
    return text.join(around).encode()


def users() -> st.SearchStrategy[bytes]:
    """Give users of both layouts, with odd values."""
    member = st.tuples(
        st.sampled_from(('"id"', '"created_at"', '"fingerprint"', '"lastSeen"', '"name"', '"x"')),
        values(),
    ).map(": ".join)
    blanks = st.sampled_from(BLANKS)
    built = st.builds(joined, st.just("{}"), st.lists(member, max_size=5), blanks)
    return built.map(lambda text: text.encode("utf-8", "surrogatepass"))


@st.composite
def torn(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Give what crashes, other programs and two writers at once make of a document: cut off, with
    NUL bytes, a byte order mark, something behind it, bytes that are no UTF-8, brackets without
    end.
    """
    data = draw(whole)
    at = draw(st.integers(0, len(data)))
    makes: tuple[Callable[[], bytes], ...] = (
        lambda: data[:at],
        lambda: data[at:],
        lambda: data[:at] + b"\0" * draw(st.sampled_from((1, 7, 512))),
        lambda: b"\0" * len(data),
        lambda: b"\xef\xbb\xbf" + data,
        lambda: data.decode("utf-8", "replace").encode("utf-16"),
        lambda: data + draw(whole),
        lambda: data[:at] + draw(whole),
        lambda: data[:at] + b"\xff" + data[at:],
        lambda: data.decode("utf-8", "replace").encode("gb18030"),
        lambda: data.replace(b"\n", b"\r\n"),
        lambda: b"[" * draw(st.integers(1, 3)) + data,
        lambda: b'[{"a":' * (DEEP // 2) + data,
        lambda: b"[" * DEEP + data + b"]" * DEEP,
        lambda: b" " * 5000 + data + b"\n" * 5000,
    )
    return draw(st.sampled_from(makes))()


def documents() -> st.SearchStrategy[bytes]:
    """Give all of these."""
    whole = histories() | users()
    return whole | torn(whole) | st.binary(max_size=60)


@st.composite
def gzips(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Give a document compressed: in one member or several, with zeros or rubbish behind it, cut
    off, or with a byte changed.
    """
    members = draw(st.lists(whole, min_size=1, max_size=3))
    data = b"".join(gzip.compress(one, draw(st.integers(0, 9)), mtime=7) for one in members)
    at = draw(st.integers(0, len(data) - 1))
    makes: tuple[Callable[[], bytes], ...] = (
        lambda: data,
        lambda: data + b"\0" * 600,
        lambda: data + b"\0\1",
        lambda: data[:at],
        lambda: data[:at] + bytes((data[at] ^ draw(st.integers(1, 255)),)) + data[at + 1 :],
        lambda: data * 70,
    )
    return draw(st.sampled_from(makes))()
