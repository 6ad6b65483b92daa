"""``chats search``: the live chats in which words occur, page by page.

Every chat that is told was read just now and holds the words. An index of pieces of words, if there
is one, only says which chats need not be read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from shenyu_data.datadir.catalog import Catalog
from shenyu_data.datadir.catalog_pages import (
    ChatEntry,
    Listing,
    Page,
    chats_page,
    count_unlisted,
    has_user,
)
from shenyu_data.datadir.catalog_read import read_chat
from shenyu_data.datadir.catalog_rows import Piece
from shenyu_data.datadir.catalog_text import add, attach, begin, chats_after, has_index
from shenyu_data.datadir.scan import DataFolders
from shenyu_data.model.chats import as_text, chat_value
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.messages import messages_of
from shenyu_data.model.monitor import Monitor
from shenyu_data.model.words import find_words, grams, parse_words, query
from shenyu_data.operations.catalog import CatalogOptions, ask
from shenyu_data.operations.listings import PageOptions, report_unlisted, user_not_found
from shenyu_data.operations.workers import default_jobs, open_executor, run_tasks

if TYPE_CHECKING:
    from concurrent.futures import Executor

_CHATS_A_TASK = 200
_FEW_CHATS = 2_000
_BYTES_A_TASK = 1 << 20  # of chats; what is handed back of them may be three times as much
_BYTES_A_TRANSACTION = 4 << 20  # of pieces of words, each chat's with so many more:
_BYTES_A_ROW = 200
_FIRST_CANDIDATES = 100
_MOST_CANDIDATES = 20_000
_WAITING_A_JOB = 4


class FoundChat(msgspec.Struct, frozen=True, kw_only=True):
    """A chat that holds the words, and what stands around the first of them."""

    entry: ChatEntry
    excerpt: str


class SearchPage(msgspec.Struct, frozen=True, kw_only=True):
    """Chats that were found, and the cursor after which the next ones come; None: there are no
    more. ``read`` counts the chats that were read for it; ``indexed``: an index said which.
    """

    chats: list[FoundChat]
    after: str | None
    read: int
    indexed: bool


def search_chats(
    options: CatalogOptions,
    listing: Listing,
    page: PageOptions,
    monitor: Monitor,
    *,
    index: bool = False,
) -> SearchPage:
    """Return a page of chats in which all words of ``listing.words`` occur.

    ``index``: make an index of words, which then is kept up to date by every search. Raise
    UsageError if there is no word or the cursor is of another search, OwnerNotFound if there is no
    such user.
    """
    words = parse_words(listing.words or "")
    search = _Search(options, msgspec.structs.replace(listing, words=" ".join(words)), page, words)

    def prepare(catalog: Catalog) -> None:
        if index or has_index(options.state):
            _update_index(catalog, options, monitor)

    found, unlisted = ask(options, search.run, monitor, prepare)
    report_unlisted(unlisted, monitor)
    return found


class _Look(NamedTuple):
    """Chats to be read: whose, and where they lie. Without words, for their pieces of words."""

    data: str
    words: Sequence[str]
    chats: list[tuple[bytes, Piece]]


def look_at(task: _Look) -> list[str | None]:
    """Return of each chat what stands around the first word; None of those that do not hold all."""
    return [None if texts is None else find_words(task.words, texts) for texts in _texts(task)]


def grams_of(task: _Look) -> list[str]:
    """Return the pieces of words of each chat, parted by blanks."""
    return ["" if texts is None else " ".join(grams(texts)) for texts in _texts(task)]


def _texts(task: _Look) -> Iterator[list[str] | None]:
    with DataFolders(task.data) as folders:
        for owner, piece in task.chats:
            data = read_chat(folders, owner, piece)
            try:
                value = None if data is None else chat_value(data)
            except Unparsable:
                value = None
            if not isinstance(value, dict):
                yield None
                continue
            title = as_text(value.get("title")) or ""
            yield [title, *(message.content for message in messages_of(value))]


class _Search:
    def __init__(
        self, options: CatalogOptions, listing: Listing, page: PageOptions, words: list[str]
    ) -> None:
        self._options = options
        self._listing = listing
        self._page = page
        self._words = words
        self._read = 0
        self._found: list[FoundChat] = []

    def run(self, catalog: Catalog) -> tuple[SearchPage, int]:
        """Return a page, and how many histories were not looked into."""
        user = self._listing.user
        if user is not None and not has_user(catalog, user):
            raise user_not_found(user, self._options.data)
        self._read, self._found = 0, []
        matching = query(self._words)
        indexed = bool(matching) and user is None and attach(catalog, self._options.state)
        after = self._look_through(catalog, matching if indexed else None)
        result = SearchPage(chats=self._found, after=after, read=self._read, indexed=indexed)
        return result, count_unlisted(catalog, user)

    def _look_through(self, catalog: Catalog, matching: str | None) -> str | None:
        """Find a page's chats; return the cursor after which to go on, if there may be more."""
        after, size = self._page.after, _FIRST_CANDIDATES
        while True:
            candidates = chats_page(catalog, self._listing, size, after, matching)
            for cursor in self._matches(candidates):
                if len(self._found) == self._page.limit:
                    return cursor
            if candidates.after is None:
                return None
            after, size = candidates.after, min(4 * size, _MOST_CANDIDATES)

    def _matches(self, candidates: Page) -> Iterator[str]:
        """Keep what matches; yield the cursor after each."""
        entries: list[ChatEntry] = candidates.entries
        jobs = self._options.jobs or default_jobs()
        with open_executor(jobs if len(entries) >= _FEW_CHATS else 1) as executor:
            excerpts = self._excerpts(entries, executor, jobs)
            for entry, cursor, excerpt in zip(entries, candidates.cursors, excerpts, strict=False):
                self._read += 1
                if excerpt is not None:
                    self._found.append(FoundChat(entry=entry, excerpt=excerpt))
                    yield cursor

    def _excerpts(
        self, entries: list[ChatEntry], executor: Executor | None, jobs: int
    ) -> Iterator[str | None]:
        tasks = (
            _Look(
                self._options.data,
                self._words,
                [(entry.user, entry.piece) for entry in entries[at : at + _CHATS_A_TASK]],
            )
            for at in range(0, len(entries), _CHATS_A_TASK)
        )
        waiting = _WAITING_A_JOB * jobs
        for part in run_tasks(executor, look_at, tasks, waiting=waiting, in_order=True):
            yield from part


def _update_index(catalog: Catalog, options: CatalogOptions, monitor: Monitor) -> None:
    last = begin(catalog, options.state)
    (count,) = catalog.connection.execute(
        "SELECT count(*) FROM main.chats WHERE id > ?", (last,)
    ).fetchone()
    numbers: deque[int] = deque()

    def tasks() -> Iterator[_Look]:
        for read in chats_after(catalog, last, _CHATS_A_TASK):
            for chats in _cut(read):
                numbers.extend(number for number, _, _ in chats)
                yield _Look(options.data, (), [(owner, piece) for _, owner, piece in chats])

    jobs = options.jobs or default_jobs()
    waiting: list[tuple[int, str]] = []
    waiting_bytes = 0
    with (
        open_executor(jobs if count >= _FEW_CHATS else 1) as executor,
        monitor.task("Indexing words", count, "chats") as progress,
    ):
        parts = run_tasks(executor, grams_of, tasks(), waiting=_WAITING_A_JOB * jobs, in_order=True)
        for part in parts:
            waiting += [(numbers.popleft(), text) for text in part]
            waiting_bytes += sum(map(len, part)) + _BYTES_A_ROW * len(part)
            if waiting_bytes >= _BYTES_A_TRANSACTION:
                add(catalog, waiting)
                waiting, waiting_bytes = [], 0
            progress.advance(len(part))
    if waiting:
        add(catalog, waiting)
    catalog.connection.execute("DETACH DATABASE text")


def _cut(
    chats: Sequence[tuple[int, bytes, Piece]],
) -> Iterator[Sequence[tuple[int, bytes, Piece]]]:
    """Yield chats in parts that are a task each; one that is large is a task of its own."""
    start = size = 0
    for at, (_, _, piece) in enumerate(chats):
        if size and size + piece.length > _BYTES_A_TASK:
            yield chats[start:at]
            start, size = at, 0
        size += piece.length
    yield chats[start:]
