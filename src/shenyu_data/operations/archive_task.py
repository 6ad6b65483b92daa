"""What the workers of ``compress --archive`` and ``decompress --archive`` do: the histories of some
owners, one after another. For ``archive.py`` only.

A chat is written to where it goes, whole and durable, before it leaves where it was. A kill in
between leaves it in both, which the next run sees. An archive goes only after the history was
watched for as long as one that the application is at work on: it may have read it before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import msgspec

from shenyu_data.datadir.folder import open_root
from shenyu_data.datadir.gzipped import USUAL_LEVEL, pack
from shenyu_data.datadir.replace import Attributes, Live
from shenyu_data.model.archive_document import (
    add_chats,
    archive_of,
    cold_chats,
    history_of_archive,
    holds,
    put_back,
)
from shenyu_data.model.chats import History, same_value
from shenyu_data.model.chats_edit import remove_all
from shenyu_data.model.compress_rules import long_name_finding
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import (
    ARCHIVE_SUFFIX,
    HISTORIES,
    JSON_SUFFIX,
    Place,
    is_archive_name,
    kind_of,
)
from shenyu_data.operations.archive_look import (
    history_of_file,
    left_finding,
    look,
    opened,
    readable,
    state_of,
)
from shenyu_data.operations.compress_task import MOST_NAME_BYTES
from shenyu_data.operations.journal import Digests, Journal
from shenyu_data.operations.live_document import QUIET_S, Change, Refused
from shenyu_data.operations.live_writer import LiveWriter

MOST_ITEMS = 1000
"""A plan lists this many histories; all are counted."""


class ArchiveOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``before_ms``: chats last active before that moment are cold; None: they come back.
    ``now_ms`` is now, ``state`` the folder of the journals.
    """

    before_ms: int | None
    now_ms: int
    user: bytes | None = None
    history: bytes | None = None
    level: int = USUAL_LEVEL
    state: str
    quiet_s: float = QUIET_S
    jobs: int = 1


class ArchiveItem(msgspec.Struct, frozen=True, kw_only=True):
    """One history, how many of its chats move, and their bytes."""

    path: str
    chats: int
    size_bytes: int


class LookTask(NamedTuple):
    """Owners whose histories are looked at."""

    data: str
    owners: list[bytes]
    options: ArchiveOptions


class MoveTask(NamedTuple):
    """Owners whose histories are changed. ``share``: so many workers are at it."""

    data: str
    owners: Iterable[bytes]
    options: ArchiveOptions
    journal: Journal
    digests: Digests
    share: int


class ArchiveTally:
    """What one task did, or would do: counters, findings, and the first items of a plan."""

    def __init__(self) -> None:
        self.owners = self.histories = self.chats = self.size_bytes = 0
        self.refused = self.busy = self.failed = 0
        self.findings: list[Finding] = []
        self.items: list[ArchiveItem] = []


COUNTS = ("owners", "histories", "chats", "size_bytes", "refused", "busy", "failed")


def look_at_owners(task: LookTask) -> ArchiveTally:
    """Say what would be done with the histories of the task's owners. Writes nothing."""
    tally = ArchiveTally()
    with open_root(task.data) as root:
        for owner in task.owners:
            tally.owners += 1
            for path, chats, size in _wanted(root, owner, task.options, tally.findings.append):
                tally.histories += 1
                tally.chats += chats
                tally.size_bytes += size
                if len(tally.items) < MOST_ITEMS:
                    item = ArchiveItem(path=printable(path), chats=chats, size_bytes=size)
                    tally.items.append(item)
    return tally


def move_of_owners(
    task: MoveTask,
    report: Callable[[Finding], None] | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> ArchiveTally:
    """Move chats of the task's owners into archives, or back. What is found is in the tally, or
    goes to ``report`` at once; ``advance`` is told of each owner.
    """
    tally = ArchiveTally()
    told = report or tally.findings.append
    with (
        open_root(task.data) as root,
        LiveWriter(
            root, task.journal, task.digests, task.options.quiet_s, told, share=task.share
        ) as writer,
    ):
        move = _Move(root, task.options, writer, tally)
        for owner in task.owners:
            for path, _, _ in _wanted(root, owner, task.options, told):
                move.out(path) if task.options.before_ms is not None else move.back(path)
            tally.owners += 1
            advance(1)
        writer.drain()
    tally.refused, tally.busy, tally.failed = writer.refused, writer.busy, writer.failed
    return tally


def _wanted(
    root: int, owner: bytes, options: ArchiveOptions, report: Callable[[Finding], None]
) -> Iterator[tuple[bytes, int, int]]:
    """Yield the path of each history out of which chats go, or of each archive, with how many chats
    and bytes. What cannot be looked into is reported.
    """
    above = b"%b/%b" % (HISTORIES, owner)
    try:
        with opened(root, above) as folder:
            names = sorted(os.fsencode(name) for name in os.listdir(folder))
    except OSError:
        return
    for name in names:
        if not _is_named(name, options):
            continue
        path = b"%b/%b" % (above, name)
        try:
            found = look(root, path)
        except (OSError, Unparsable, Refused) as error:
            report(left_finding(path, error))
            continue
        if found is None:
            continue
        history, live = found
        indexes = _moving(history, live, options)
        out = options.before_ms is not None
        if indexes and out and len(archive_of(name)) > MOST_NAME_BYTES:
            report(long_name_finding(path, ARCHIVE_SUFFIX))
        elif indexes:
            chosen = [history.chats[index] for index in indexes]
            yield path, len(chosen), sum(chat.end - chat.start for chat in chosen)


def _is_named(name: bytes, options: ArchiveOptions) -> bool:
    if options.before_ms is None:
        plain = history_of_archive(name)
        wanted = is_archive_name(name)
    else:
        plain, wanted = name, name.endswith(JSON_SUFFIX)
    if not wanted or kind_of(Place.IN_HISTORY_FOLDER, name) != "history":
        return False
    return options.history is None or plain == options.history + JSON_SUFFIX


def _moving(history: History, live: Live, options: ArchiveOptions) -> list[int]:
    if options.before_ms is None:
        return list(range(len(history.chats)))
    mtime_ms = live.stat.st_mtime_ns // 1_000_000
    return cold_chats(history, mtime_ms, options.before_ms, options.now_ms)


class _Move:
    """Moves chats between histories and their archives, and counts them."""

    def __init__(
        self, root: int, options: ArchiveOptions, writer: LiveWriter, tally: ArchiveTally
    ) -> None:
        self._root = root
        self._options = options
        self._writer = writer
        self._tally = tally

    def out(self, path: bytes) -> None:
        """Take the cold chats of a history into its archive."""
        above, _, name = path.rpartition(b"/")
        target = b"%b/%b" % (above, archive_of(name))
        found = readable(self._root, path)
        if found is None:
            return
        source, there = found

        def add(live: Live | None) -> Change | None:
            old = None if live is None else history_of_file(target.rpartition(b"/")[2], live)
            data = add_chats(old, source, _moving(source, there, self._options)).data
            if old is not None and data == old.data:
                return None
            return Change(pack(data, self._options.level), _attributes(live or there))

        self._writer.apply(target, "other", add, make=False)
        kept = readable(self._root, target)  # what is there by now, whoever wrote it
        if kept is None:
            return
        gone: list[tuple[int, int]] = []

        def take_out(live: Live | None) -> Change | None:
            gone.clear()
            if live is None or live.data is None or not live.whole:
                return None
            history = history_of_file(name, live)
            archived = {chat.identity: chat for chat in kept[0].chats}
            indexes = [
                index
                for index in _moving(history, live, self._options)
                if (chat := history.chats[index]).identity in archived
                and same_value(archived[chat.identity].value, chat.value)
            ]
            if not indexes:
                return None
            gone.extend((history.chats[i].start, history.chats[i].end) for i in indexes)
            return Change(remove_all(history, indexes), _attributes(live))

        if self._writer.apply(path, "history", take_out, make=False) == "changed":
            self._count([end - start for start, end in gone])

    def back(self, path: bytes) -> None:
        """Put the chats of an archive back into its history; the archive goes when that is settled:
        the application may have gone on from the version before.
        """
        above, _, name = path.rpartition(b"/")
        target = b"%b/%b" % (above, history_of_archive(name))
        found = readable(self._root, path)
        if found is None:
            return
        source, there = found
        state = state_of(there)

        def put(live: Live | None) -> Change | None:
            plain = target.rpartition(b"/")[2]
            empty = live is None or not (live.data or b"").strip()
            added = put_back(
                source, None if live is None or empty else history_of_file(plain, live)
            )
            if live is not None and added.data == live.data:
                return None
            # The archive is the only other copy: whoever has read the history must have written.
            return Change(added.data, _attributes(live or there), in_use=True)

        def remove(well: bool) -> None:
            self._remove(path, target, state, well=well)

        if self._writer.apply(target, "history", put, make=False, then=remove) == "unchanged":
            # They were put there earlier: maybe a moment ago, by a run that was killed.
            self._writer.after(self._options.quiet_s, remove)

    def _remove(self, path: bytes, target: bytes, state: tuple[int, ...], *, well: bool) -> None:
        """Remove an archive whose chats are back in the history ``target``."""
        sizes: list[int] = []

        def remove(live: Live | None) -> Change | None:
            sizes.clear()
            if live is None:
                return None
            if not well:
                raise Refused(
                    code="live-busy",
                    message="it is not known what becomes of the history; the archive is left",
                )
            now = readable(self._root, target)
            if now is None:
                raise Refused(
                    code="live-busy",
                    message="the history cannot be looked into; the archive is left",
                )
            if state_of(live) != state:
                raise Refused(code="changed-since", message="it changed meanwhile, and is left")
            source = history_of_file(path.rpartition(b"/")[2], live)
            if not all(holds(now[0], chat) for chat in source.chats):
                raise Refused(
                    code="changed-since",
                    message="the history lacks chats of it, or has others of these ids; the "
                    "archive is left",
                )
            sizes.extend(chat.end - chat.start for chat in source.chats)
            return Change(None, None)

        if self._writer.apply(path, "other", remove, make=False) == "removed":
            self._count(sizes)

    def _count(self, sizes: list[int]) -> None:
        self._tally.histories += 1
        self._tally.chats += len(sizes)
        self._tally.size_bytes += sum(sizes)


def _attributes(live: Live) -> Attributes:
    """Return a document's own: its time is the clock of those of its chats that have none."""
    found = live.stat
    return Attributes(found.st_mode & 0o7777, (found.st_uid, found.st_gid), found.st_mtime_ns)
