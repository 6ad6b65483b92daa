"""Oracles of what reads documents: their chats, their findings, what can be salvaged of them."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from fuzz.parts import NONE, blocks, first, halves, python
from shenyu_data.datadir.chat_stream import NoArray, Piece, scan_chats
from shenyu_data.datadir.gzipped import pack
from shenyu_data.model.activity import AHEAD_MS, clock_ms, last_activity, moment_ms
from shenyu_data.model.archive_document import add_chats, cold_chats, put_back
from shenyu_data.model.chats import Chat, History, canonical, read_history
from shenyu_data.model.chats_edit import alone, insert, place_of, remove, remove_all, replace
from shenyu_data.model.chats_merge import merge
from shenyu_data.model.chats_union import union
from shenyu_data.model.chats_versions import nearest
from shenyu_data.model.documents import MOST_DEPTH, Unparsable, lone_surrogates, parse
from shenyu_data.model.layout import Kind
from shenyu_data.model.mend import UNPARSABLE, mend_history, mend_user, normalise, trouble
from shenyu_data.model.records import gunzip, outline
from shenyu_data.model.regzip import gzip_like
from shenyu_data.model.rules import check, prove
from shenyu_data.model.salvage import compose, first_object, salvage

NAME = b"chat-history.json"
OWNER = b"c7" * 32
NOW_MS = 1_760_000_000_000
_UNSURE = frozenset(("json-too-deep", "too-large"))


def chat_stream(data: bytes) -> None:
    """Where blocks end is of no matter; of an array every object and array comes, to the byte."""
    size, text = first(data)
    found = _streamed(blocks(text, size + 1))
    assert found == _streamed([text]), "it depends on where the blocks end"
    value = python(text)
    if isinstance(value, list):
        assert isinstance(found, list), found
        wanted = [item for item in value if isinstance(item, list | dict)]
        assert [python(piece.data) for piece in found] == wanted
        assert all(text[start:].startswith(piece) for start, piece in found)
    elif value is not NONE:
        assert found == "NoArray"


def _streamed(parts: Any) -> list[Piece] | str:
    try:
        return list(scan_chats(parts))
    except NoArray:
        return "NoArray"
    except Unparsable as error:
        return error.code


def salvaging(data: bytes) -> None:
    """Every piece is JSON; of whole chats every one comes, as it is and in order."""
    pieces = salvage(data)
    values = [piece.value for piece in pieces]
    for piece, value in zip(pieces, values, strict=True):
        assert isinstance(value, dict)
        assert not piece.whole or piece.data in data
        messages = value.get("messages")
        assert piece.messages == (len(messages) if isinstance(messages, list) else 0)
    composed = compose([piece.data for piece in pieces], data)
    assert python(composed) == values
    whole = python(data)
    if _are_chats(whole) and b"\\u00" not in data:  # a name in escapes is not known as one
        assert values == whole
    if (found := first_object(data)) is not None:
        assert isinstance(parse(found), dict)


def _are_chats(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(chat, dict)
        and isinstance(chat.get("messages"), list)
        and _depth(chat) < MOST_DEPTH - 2
        for chat in value
    )


def _depth(value: Any) -> int:
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        deepest = max(deepest, depth)
        below = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        waiting += [(one, depth + 1) for one in below]
    return deepest


def mending(data: bytes) -> None:
    """What comes out can be read; no whole chat of the document or its good version is missing."""
    torn, good = halves(data)
    version = _readable(good)
    if version is None or not version.chats:
        good, version = b"", None
    mended = mend_history(NAME, torn, good or None)
    ours = salvage(torn)
    if mended is None:
        assert version is None
        assert not any(piece.whole for piece in ours)
    else:
        result = read_history(mended.data)
        texts = _values(result)
        keys = {chat.key for chat in result.chats}
        only = version is not None and version.inside is None
        for piece in ours:
            if piece.whole and piece.key is not None:
                assert piece.key in keys
        for chat in version.chats if version is not None else ():
            if chat.key is not None:
                assert chat.key in keys
            elif not only:
                assert canonical(chat.value) in texts
        again = mend_history(NAME, mended.data, None)
        assert again is None or {c.key for c in read_history(again.data).chats} <= keys
    packed = mend_history(NAME + b".gz", gzip.compress(torn), gzip.compress(good) if good else None)
    assert packed is None or gunzip(packed.data, 1 << 24) is not None
    mend_history(NAME + b".gz", data, None)
    if (user := mend_user(OWNER, OWNER + b".json", torn)) is not None:
        assert trouble("user", OWNER, OWNER + b".json", user) is None
    if (text := normalise(torn)) is not None:
        assert text in torn
        parse(text)


def _readable(data: bytes) -> History | None:
    try:
        return read_history(data)
    except Unparsable:
        return None


def findings(data: bytes) -> None:
    """A document that Python's parser cannot read is named, one that it can is not; what is proved
    at a glance has no findings; nothing raises.
    """
    value = python(data)
    kinds: tuple[tuple[Kind, bytes], ...] = (("history", NAME), ("user", OWNER + b".json"))
    for kind, name in kinds:
        checked = check(kind, OWNER, name, "path", data)
        codes = {finding.code for finding in checked.findings}
        seen = outline(kind, name, data)
        if value is NONE:
            assert codes & (UNPARSABLE | _UNSURE), codes
        else:
            assert not codes & UNPARSABLE, codes
            assert seen.state != "torn"
        if (proved := prove(kind, OWNER, name, data)) is not None:
            assert checked.findings == []
            assert proved == checked.held
            if kind == "history":
                assert (seen.chats, seen.messages) == (proved.chats, proved.messages)
        assert check(kind, OWNER, name + b".gz", "path", data).findings
        packed = pack(data, 1)
        assert (codes & UNPARSABLE) == {
            finding.code
            for finding in check(kind, OWNER, name + b".gz", "path", packed).findings
            if finding.code in UNPARSABLE
        }
        assert outline(kind, name + b".gz", packed).state == seen.state
    if value is not NONE:
        list(lone_surrogates(value))


def chats(data: bytes) -> None:
    """The pieces are the elements; a chat that is put in is there and all others are as they were;
    taken out again, the bytes are what they were.
    """
    one, two = halves(data)
    history, source = _readable(one), _readable(two or one)
    value = python(one)
    if isinstance(value, dict | list) and history is None:
        assert _depth(value) > MOST_DEPTH
    if history is None:
        return
    elements = value if isinstance(value, list) else [value]
    if value is not NONE:
        assert [python(history.text_of(chat)) for chat in history.chats] == elements
    assert all(before.end <= after.start for before, after in pairwise(history.chats))
    for chat in history.chats:
        assert read_history(alone(history, chat)).chats[0].value == chat.value
    if history.inside is None or source is None:
        return
    for number, chat in enumerate(source.chats[:3]):
        index = place_of(chat, source.chats, history.chats)
        more = read_history(insert(history, index, source, chat))
        assert _values(more) == [
            *_values(history)[:index],
            canonical(chat.value),
            *_values(history)[index:],
        ]
        if history.chats:
            assert remove(more, index) == history.data
        if number < len(history.chats):
            changed = read_history(replace(history, number, source, chat))
            assert _values(changed)[number] == canonical(chat.value)
            assert len(changed.chats) == len(history.chats)
    for number in range(min(3, len(history.chats))):
        less = read_history(remove(history, number))
        assert _values(less) == _without(history, [number])
    some = list(range(0, len(history.chats), 2))
    if some:
        assert _values(read_history(remove_all(history, some))) == _without(history, some)


def _values(history: History) -> list[str]:
    return [canonical(chat.value) for chat in history.chats]


def _without(history: History, gone: list[int]) -> list[str]:
    return [text for index, text in enumerate(_values(history)) if index not in gone]


def together(data: bytes) -> None:
    """A union and a merge hold every chat of ours, and every id of theirs; an archive gives back
    what was put into it.
    """
    base, rest = halves(data)
    theirs, ours = halves(rest)
    history, source = _readable(ours), _readable(theirs)
    calls: tuple[Callable[[], bytes], ...] = (
        lambda: union(ours, theirs),
        lambda: merge(base, theirs, ours).data,
    )
    for call in calls:
        try:
            result = read_history(call())
        except (Unparsable, ValueError):
            continue
        if history is not None and source is not None:
            keys = {chat.key for chat in result.chats}
            assert {chat.key for chat in history.chats} - {None} <= keys
            assert len(result.chats) >= len(history.chats)
    if history is None or source is None:
        return
    joined = _readable(ours) and union(ours, ours)
    assert joined == ours, "a union with itself changes nothing"
    known = [version for version in (base, theirs) if _readable(version) is not None]
    if known:
        assert 0 <= nearest(known, ours) < len(known)
    if history.inside is not None:
        _archive(history)


def _archive(history: History) -> None:
    doubled = {chat.identity[0] for chat in history.chats if chat.identity[1]}
    some = [i for i in range(0, len(history.chats), 2) if _is_single(history.chats[i], doubled)]
    assert set(cold_chats(history, 0, NOW_MS, NOW_MS)) <= set(range(len(history.chats)))
    if not some:
        return
    archive = read_history(add_chats(None, history, some).data)
    live = read_history(remove_all(history, some))
    assert sorted(_values(archive) + _values(live)) == sorted(_values(history))
    back = put_back(archive, live)
    assert back.left == []
    assert sorted(_values(read_history(back.data))) == sorted(_values(history))
    again = add_chats(archive, history, some)
    assert (again.data, again.left) == (archive.data, [])


def _is_single(chat: Chat, doubled: set[str]) -> bool:
    return chat.identity[0] not in doubled


def activity(data: bytes) -> None:
    """A clock is a moment that can be, whatever stands where a time should."""
    value = python(data)
    for item in value if isinstance(value, list) else [value]:
        found = last_activity(item, NOW_MS + 5, NOW_MS)
        assert 0 < found.ms <= NOW_MS + AHEAD_MS
        last_activity(item, 0)
        for moment in (clock_ms(item), moment_ms(item), moment_ms(item, dates=False)):
            assert moment is None or 10**11 <= moment < 10**14
    text = data.decode("utf-8", "replace")
    assert moment_ms(text) is None or 10**11 <= (moment_ms(text) or 0) < 10**14


def gzipped(data: bytes) -> None:
    """What is unpacked is what gzip itself unpacks; what is packed, too, and like the old one."""
    found = gunzip(data, 1 << 20)
    try:
        wanted = gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        wanted = None
    if found is not None and len(found) <= 1 << 20:
        assert wanted == found
        again = gzip_like(data, b"other words")
        assert gunzip(again, 1 << 20) == gzip.decompress(again) == b"other words"
    elif wanted is not None and found is None:
        between = b"\0\x1f\x8b" in data  # zeros between members, which only Python passes over
        assert _has_header_check(data) or between or data.count(b"\x1f\x8b") > 60 or not data
    level, text = first(data)
    packed = pack(text, 1 + level % 9)
    assert gzip.decompress(packed) == text
    assert gunzip(packed, 1 << 20) == text


def _has_header_check(data: bytes) -> bool:
    """Whether zlib may look at more of a header than gzip does."""
    return any(data[at + 3 : at + 4] and data[at + 3] & 0xE2 for at in _begins(data))


def _begins(data: bytes) -> list[int]:
    found, at = [], data.find(b"\x1f\x8b\x08")
    while at >= 0:
        found.append(at)
        at = data.find(b"\x1f\x8b\x08", at + 1)
    return found


def long_documents(data: bytes) -> None:
    """A few bytes again and again, up to a quarter of a megabyte, take no more than linear time."""
    begin, rest = halves(data)
    text = begin + rest * (min(1 << 18, 1 << 18) // max(1, len(rest))) if rest else begin
    salvage(text)
    outline("history", NAME, text)
    check("history", OWNER, NAME, "path", text)
    _streamed(blocks(text, 1 << 16))
