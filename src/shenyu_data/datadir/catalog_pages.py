"""What a catalog is asked: pages of users and of chats, a chat by its id. For operations.

Pages go by keys, not by counting: the thousandth costs what the first does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from shenyu_data.datadir.catalog import Catalog
from shenyu_data.datadir.catalog_rows import Piece, Slot, noted, storage_key
from shenyu_data.datadir.catalog_text import MATCHING
from shenyu_data.model.cursors import Cursor, read_cursor, write_cursor
from shenyu_data.model.layout import GZIP_SUFFIX, JSON_SUFFIX, path_of

Order = Literal["activity", "size", "age", "name"]
"""Newest activity, largest, oldest, or by name, first."""


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What a list is asked for. Times are of the last activity, in ms since 1970: from ``since_ms``
    on and before ``until_ms``. Sizes are exclusive. ``backwards`` turns the order round.
    """

    order: Order = "activity"
    backwards: bool = False
    user: bytes | None = None
    history: bytes | None = None
    model: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    larger_than: int | None = None
    smaller_than: int | None = None
    words: str | None = None
    """What is searched for: it only tells cursors of searches apart from those of lists."""


class UserEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A user as a list shows it. ``began_ms``: the first visit, else the first chat."""

    user: bytes
    documents: int
    document_bytes: int
    histories: int
    chats: int
    messages: int
    began_ms: int | None
    activity_ms: int
    activity_source: str


class ChatEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A chat as a list shows it, and where it lies: at ``offset`` in the document ``slot``."""

    number: int
    tie: int
    user: bytes
    slot: Slot
    id: str
    title: str | None
    model: str | None
    messages: int
    began_ms: int | None
    activity_ms: int
    activity_source: str
    offset: int
    size_bytes: int
    digest: bytes

    @property
    def history(self) -> bytes:
        """The storage key of its history."""
        return storage_key(self.slot[1])

    @property
    def piece(self) -> Piece:
        """Where its bytes lie."""
        return Piece(self.slot, self.offset, self.size_bytes, self.digest)

    @property
    def path(self) -> bytes:
        """The path of its document."""
        return path_of(self.user, *self.slot)


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some entries, and the cursor after which the next ones come; None: there are no more.
    ``cursors`` are those after each entry.
    """

    entries: list[Any]
    after: str | None
    cursors: list[str]


_USER_COLUMNS = (
    "u.name, u.documents, u.document_bytes, u.histories, u.chats, u.messages, u.began_ms,"
    " u.activity_ms, u.activity_source"
)
_CHAT_COLUMNS = (
    "c.id, c.tie, u.name, d.place, d.name, c.key, c.title, c.model, c.messages, c.began_ms,"
    " c.activity_ms, c.activity_source, c.start, c.length, c.digest"
)
# A cross join keeps its order: from the chats, by the index of what they are sorted by.
_JOINED = "CROSS JOIN users u ON u.id = c.user CROSS JOIN documents d ON d.id = c.document"
_FROM_CHATS = f"chats c {_JOINED}"
_FROM_CHATS_OF_A_TIME = f"chats c INDEXED BY chats_activity {_JOINED}"

_FEW = 20_000
"""So many chats are sorted faster than all are gone through in the order of a page."""

_USER_ORDERS = {
    "activity": ("u.activity_ms", True),
    "size": ("u.document_bytes", True),
    "age": ("u.age_ms", False),
    "name": ("u.name", False),
}
_CHAT_ORDERS = {
    "activity": ("c.activity_ms", True),
    "size": ("c.length", True),
    "age": ("c.age_ms", False),
    "name": ("coalesce(c.title, '')", False),
}


def users_page(catalog: Catalog, listing: Listing, limit: int, after: str | None) -> Page:
    """Return at most ``limit`` users that come after a cursor. Raise UsageError if it is none, or
    of another list.
    """
    wanted = _Conditions()
    _add_times_and_sizes(wanted, listing, "u.activity_ms", "u.document_bytes")
    query = _Query("u", _USER_COLUMNS, "users u", _USER_ORDERS[listing.order])
    rows, cursors, more = _page(catalog, query, wanted, listing, limit, after)
    entries = [_user(row) for row in rows]
    return Page(entries=entries, after=cursors[-1] if more else None, cursors=cursors)


def chats_page(
    catalog: Catalog, listing: Listing, limit: int, after: str | None, matching: str | None = None
) -> Page:
    """As :func:`users_page`, of chats; only of those that meet a query to the index of words."""
    wanted = _Conditions()
    if listing.user is not None:
        wanted.add("c.user = (SELECT id FROM users WHERE name = ?)", listing.user)
    if listing.history is not None:
        wanted.add("d.name IN (?, ?)", *_files_of(listing.history))
    if listing.model is not None:
        wanted.add("c.model = ?", noted(listing.model))
    _add_times_and_sizes(wanted, listing, *_TIME)
    source = _FROM_CHATS_OF_A_TIME if _is_of_few(catalog, listing) else _FROM_CHATS
    query = _Query("c", _CHAT_COLUMNS, source, _CHAT_ORDERS[listing.order])
    if matching is not None:
        wanted.add(MATCHING, matching)
    rows, cursors, more = _page(catalog, query, wanted, listing, limit, after)
    entries = [_chat(row) for row in rows]
    return Page(entries=entries, after=cursors[-1] if more else None, cursors=cursors)


def chats_called(
    catalog: Catalog, key: str, user: bytes | None, history: bytes | None, limit: int
) -> list[ChatEntry]:
    """Return the chats of an id, at most ``limit``, of anybody or of one user or history; those of
    plain documents before those of compressed ones.
    """
    wanted = _Conditions()
    wanted.add("c.key = ?", noted(key))
    if user is not None:
        wanted.add("u.name = ?", user)
    if history is not None:
        wanted.add("d.name IN (?, ?)", *_files_of(history))
    rows = catalog.connection.execute(
        f"SELECT {_CHAT_COLUMNS} FROM {_FROM_CHATS} WHERE {wanted.text}"  # noqa: S608 - our words
        " ORDER BY u.name, length(d.name), d.name, c.start LIMIT ?",
        (*wanted.values, limit),
    )
    return [_chat(row) for row in rows]


def count_unlisted(catalog: Catalog, user: bytes | None = None) -> int:
    """Return how many histories, of one user or of all, are not looked into: torn or too large."""
    wanted = _Conditions()
    wanted.add("state <> 'whole' AND kind = 'history'")
    if user is not None:
        wanted.add("user = (SELECT id FROM users WHERE name = ?)", user)
    text = f"SELECT count(*) FROM documents WHERE {wanted.text}"  # noqa: S608 - our words
    return int(catalog.connection.execute(text, wanted.values).fetchone()[0])


def has_user(catalog: Catalog, user: bytes) -> bool:
    """Whether there is anything of a user."""
    found = catalog.connection.execute("SELECT 1 FROM users WHERE name = ?", (user,))
    return found.fetchone() is not None


class _Conditions:
    """What rows must meet: SQL of ours, and the values for its question marks."""

    def __init__(self) -> None:
        self._parts = ["1"]
        self.values: list[object] = []

    def add(self, part: str, *values: object) -> None:
        self._parts.append(part)
        self.values += values

    @property
    def text(self) -> str:
        return " AND ".join(self._parts)


class _Query(NamedTuple):
    """Of which rows, which columns, sorted by what."""

    alias: str
    columns: str
    source: str
    sort: tuple[str, bool]


def _is_of_few(catalog: Catalog, listing: Listing) -> bool:
    """Whether the times that are asked for, and not the order, had better say where to look."""
    times = _Conditions()
    _add_times_and_sizes(
        times, Listing(since_ms=listing.since_ms, until_ms=listing.until_ms), *_TIME
    )
    if not times.values or listing.user is not None or listing.order == "activity":
        return False
    (count,) = catalog.connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM chats c WHERE {times.text} LIMIT ?)",  # noqa: S608
        (*times.values, _FEW + 1),
    ).fetchone()
    return bool(count <= _FEW)


_TIME = ("c.activity_ms", "c.length")


def _add_times_and_sizes(wanted: _Conditions, listing: Listing, time: str, size: str) -> None:
    for condition, value in (
        (f"{time} >= ?", listing.since_ms),
        (f"{time} < ?", listing.until_ms),
        (f"{size} > ?", listing.larger_than),
        (f"{size} < ?", listing.smaller_than),
    ):
        if value is not None:
            wanted.add(condition, value)


def _page(
    catalog: Catalog,
    query: _Query,
    wanted: _Conditions,
    listing: Listing,
    limit: int,
    after: str | None,
) -> tuple[list[tuple[Any, ...]], list[str], bool]:
    column, downwards = query.sort
    tie = f"{query.alias}.tie"
    downwards ^= listing.backwards
    asked = (query.alias, listing)
    if after is not None:
        cursor = read_cursor(after, asked)
        wanted.add(f"({column}, {tie}) {'<' if downwards else '>'} (?, ?)", *cursor)
    way = "DESC" if downwards else "ASC"
    rows = catalog.connection.execute(
        f"SELECT {column}, {tie}, {query.columns} FROM {query.source}"  # noqa: S608 - our words
        f" WHERE {wanted.text} ORDER BY {column} {way}, {tie} {way} LIMIT ?",
        (*wanted.values, limit + 1),
    ).fetchall()
    page = rows[:limit]
    cursors = [write_cursor(Cursor(*row[:2]), asked) for row in page]
    return [row[2:] for row in page], cursors, len(rows) > limit


def _files_of(history: bytes) -> tuple[bytes, bytes]:
    return history + JSON_SUFFIX, history + GZIP_SUFFIX


def _user(row: Sequence[Any]) -> UserEntry:
    return UserEntry(**dict(zip(UserEntry.__struct_fields__, row, strict=True)))


def _chat(row: Sequence[Any]) -> ChatEntry:
    number, tie, user, place, name, *rest = row
    fields = ChatEntry.__struct_fields__[4:]
    return ChatEntry(
        number=number,
        tie=tie,
        user=user,
        slot=(place, name),
        **dict(zip(fields, rest, strict=True)),
    )
