"""``compress --archive`` and ``decompress --archive``: cold chats leave the live history for a
compressed archive beside it, and come back into their places.

A chat is written to where it goes, whole and durable, before it leaves where it was. A kill in
between leaves it in both, which the next run sees. An archive goes only after the history was
watched for as long as one that the application is at work on: it may have read it before. The
archive is the copy: there is nothing for ``restore --undo``, but a safety snapshot is taken first
as of every change of live histories.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

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
from shenyu_data.model.documents import Unparsable
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import ARCHIVE_SUFFIX, JSON_SUFFIX, Place, is_archive_name, kind_of
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.archive_look import (
    history_of_file,
    left_finding,
    look,
    opened,
    readable,
    state_of,
)
from shenyu_data.operations.compress import history_folders
from shenyu_data.operations.compress_task import MOST_NAME_BYTES, long_name_finding
from shenyu_data.operations.journal import Began, Digests, Ended, open_journals
from shenyu_data.operations.live_document import QUIET_S, Change, Edit, Refused
from shenyu_data.operations.live_writer import LiveWriter, recover
from shenyu_data.operations.restore_live import save_first
from shenyu_data.repository.repository import Repository

MOST_ITEMS = 1000
_TAG = "before-archive"
_TOGETHER = 64
"""So many histories are watched at once before their archives go."""


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


class ArchivePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What would move: the first histories, and how much there is in all. ``left`` tells of those
    that cannot be looked into.
    """

    items: list[ArchiveItem]
    histories: int
    chats: int
    size_bytes: int
    left: list[Finding]


class ArchiveStats(msgspec.Struct, frozen=True, kw_only=True):
    """What moved. ``safety`` is the snapshot of what was there; None if nothing was to be done."""

    histories: int
    chats: int
    size_bytes: int
    safety: bytes | None
    refused: int
    busy: int
    failed: int
    elapsed_s: float


def plan_archive(data: str, options: ArchiveOptions) -> ArchivePlan:
    """Say what :func:`archive` would do now. Writes nothing.

    Raise UsageError if there are no histories of that user, DataDirectoryError.
    """
    items: list[ArchiveItem] = []
    left: list[Finding] = []
    histories = chats = size = 0
    with open_root(data) as root:
        for path, count, count_bytes in _wanted(root, data, options, left.append):
            histories, chats, size = histories + 1, chats + count, size + count_bytes
            if len(items) < MOST_ITEMS:
                item = ArchiveItem(path=printable(path), chats=count, size_bytes=count_bytes)
                items.append(item)
    return ArchivePlan(items=items, histories=histories, chats=chats, size_bytes=size, left=left)


def archive(
    repository: Repository, data: str, options: ArchiveOptions, monitor: Monitor
) -> ArchiveStats:
    """Move chats into archives, or back. What cannot be done safely is refused and reported.

    Raise UsageError if another operation is changing the directory, and what a backup raises: then
    nothing was changed.
    """
    begun = time.monotonic()
    with open_journals(options.state) as journals, open_root(data) as root:
        recover(repository, root, journals, options.quiet_s, monitor)
        journal = journals.begin(
            Began(
                operation="archive",
                time_ms=time.time_ns() // 1_000_000,
                repository=repository.keys.repository_id,
                data=printable(os.path.abspath(data)),
                snapshot=None,
            )
        )
        told: set[str | None] = set()

        def report(finding: Finding) -> None:
            told.add(finding.path)
            monitor.report(finding)

        writer = LiveWriter(root, journal, Digests(repository), options.quiet_s, report)
        move = _Move(root, options, writer, told)
        safety: bytes | None = None
        with monitor.task("Archiving", None, "histories") as progress:
            for path, _, _ in _wanted(root, data, options, monitor.report):
                if safety is None:
                    safety = save_first(
                        data, repository, journal, monitor, options.user, options.jobs, _TAG
                    ).snapshot
                move.out(path) if options.before_ms is not None else move.back(path)
                progress.advance(1)
            move.remove_archives()
        writer.drain()
        journal.write(Ended())
    return ArchiveStats(
        histories=move.histories,
        chats=move.chats,
        size_bytes=move.size_bytes,
        safety=safety,
        refused=writer.refused,
        busy=writer.busy,
        failed=writer.failed,
        elapsed_s=time.monotonic() - begun,
    )


def _wanted(
    root: int, data: str, options: ArchiveOptions, report: Callable[[Finding], None]
) -> Iterator[tuple[bytes, int, int]]:
    """Yield the path of each history out of which chats go, or of each archive, with how many chats
    and bytes. What cannot be looked into is reported.
    """
    for above in history_folders(data, options.user):
        try:
            with opened(root, above) as folder:
                names = sorted(os.fsencode(name) for name in os.listdir(folder))
        except OSError:
            continue
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
    """Moves chats between histories and their archives, and counts them. ``told`` has the paths of
    what the writer reported.
    """

    def __init__(
        self, root: int, options: ArchiveOptions, writer: LiveWriter, told: set[str | None]
    ) -> None:
        self._root = root
        self._options = options
        self._writer = writer
        self._told = told
        self._put_back: list[tuple[bytes, bytes, tuple[int, ...]]] = []
        self._put_earlier = False
        self.histories = self.chats = self.size_bytes = 0

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

        if self._apply(path, take_out):
            self._count([end - start for start, end in gone])

    def back(self, path: bytes) -> None:
        """Put the chats of an archive back into its history; the archive goes later."""
        above, _, name = path.rpartition(b"/")
        target = b"%b/%b" % (above, history_of_archive(name))
        found = readable(self._root, path)
        if found is None:
            return
        source, there = found

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

        unchanged = self._writer.unchanged
        if not self._apply(target, put):
            if self._writer.unchanged == unchanged:
                return  # it was said why
            self._put_earlier = True  # maybe a moment ago, by a run that was killed
        self._put_back.append((path, target, state_of(there)))
        if len(self._put_back) >= _TOGETHER:
            self.remove_archives()

    def remove_archives(self) -> None:
        """Remove the archives whose chats were put back, once their histories are settled."""
        self._writer.drain()  # the application may have gone on from the version before
        if self._put_earlier:
            self._writer.let_pass(self._options.quiet_s)
        for path, target, state in self._put_back:
            self._remove(path, target, state)
        self._put_back.clear()
        self._told.clear()
        self._put_earlier = False

    def _remove(self, path: bytes, target: bytes, state: tuple[int, ...]) -> None:
        sizes: list[int] = []

        def remove(live: Live | None) -> Change | None:
            sizes.clear()
            if live is None:
                return None
            if printable(target) in self._told:
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

        before = self._writer.removed
        self._writer.apply(path, "other", remove, make=False)
        if self._writer.removed > before:
            self._count(sizes)

    def _apply(self, path: bytes, edit: Edit) -> bool:
        before = self._writer.changed
        self._writer.apply(path, "history", edit, make=False)
        return self._writer.changed > before

    def _count(self, sizes: list[int]) -> None:
        self.histories += 1
        self.chats += len(sizes)
        self.size_bytes += sum(sizes)


def _attributes(live: Live) -> Attributes:
    """Return a document's own: its time is the clock of those of its chats that have none."""
    found = live.stat
    return Attributes(found.st_mode & 0o7777, (found.st_uid, found.st_gid), found.st_mtime_ns)
