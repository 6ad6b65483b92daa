"""Asking the catalog: it is first made as true as the directory is now, and built if need be.

A catalog that cannot be kept is built for the one call, so that a question is answered anyhow.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from shenyu_data.datadir.catalog import Catalog
from shenyu_data.datadir.catalog_files import (
    NotACatalog,
    building,
    building_for_once,
    finish,
    locked,
    open_catalog,
    rewrite_without,
)
from shenyu_data.datadir.catalog_known import BUCKETS, bucket_of
from shenyu_data.datadir.catalog_notes import CatalogNotes
from shenyu_data.datadir.catalog_owners import OwnersTask, read_owners
from shenyu_data.datadir.survey import Survey, survey
from shenyu_data.model.errors import ShenyuDataError
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.workers import default_jobs, open_executor, run_tasks

T = TypeVar("T")

WAIT_S = 60.0
"""How long to wait while another process brings the catalog up to date."""

_TASK_NAMES = 250  # as in validate
_FEW_NAMES = 500
_WAITING_A_JOB = 4

_NOT_THE_CATALOGS_FAULT = (
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR),
    *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM),
)
_DAMAGE = (sqlite3.Error, ValueError, TypeError, OverflowError)


class CatalogOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``state`` is the folder of what concerns the directory ``data``; the catalog lies there.

    ``stale``: what the catalog says does, if there is one, without a look at the directory.
    """

    data: str
    state: str
    jobs: int | None = None
    stale: bool = False


def ask(
    options: CatalogOptions,
    query: Callable[[Catalog], T],
    monitor: Monitor,
    prepare: Callable[[Catalog], None] | None = None,
) -> T:
    """Return what ``query`` finds in a catalog that is true of the directory as it is now.

    ``prepare`` may write into it or beside it, where it is kept. Raise DataDirectoryError if the
    directory cannot be listed. What goes wrong with the catalog itself is reported, and never keeps
    the question from being answered.
    """
    data = os.fsencode(os.path.realpath(options.data))
    try:
        return _Kept(options, data, monitor, prepare).answer(query)
    except (OSError, NotACatalog, *_DAMAGE) as error:
        monitor.report(_not_kept(options.state, error))
    with building_for_once(data) as catalog:
        refresh(catalog, options, monitor)
        finish(catalog)
        return query(catalog)


class _Kept:
    """The catalog in the state folder. Whatever it raises, a catalog for one call may do better."""

    def __init__(
        self,
        options: CatalogOptions,
        data: bytes,
        monitor: Monitor,
        prepare: Callable[[Catalog], None] | None,
    ) -> None:
        self._options = options
        self._data = data
        self._monitor = monitor
        self._prepare = prepare

    def answer(self, query: Callable[[Catalog], T]) -> T:
        if self._options.stale:
            try:
                with self._open() as catalog:
                    return query(catalog)
            except (OSError, NotACatalog, *_DAMAGE):
                pass  # then it is made
        with locked(self._options.state, WAIT_S) as alone:
            catalog = self._current() if alone else self._open()
        try:  # without the lock: a search may take its time
            with catalog:
                answer = query(catalog)
            if not alone:
                self._monitor.report(_busy())
            return answer
        except _DAMAGE as error:
            if _is_the_place(error):
                raise
            self._monitor.report(_rebuilt("it is damaged"))
        with locked(self._options.state, WAIT_S) as alone:
            if not alone:
                raise BlockingIOError(errno.EBUSY, "another process goes on changing it")
            catalog = self._built()
        with catalog:
            return query(catalog)

    def _open(self) -> Catalog:
        return open_catalog(self._options.state, self._data)

    def _current(self) -> Catalog:
        """Return the catalog, brought up to date or built. Under the lock."""
        try:
            catalog = self._open()
            try:
                refresh(catalog, self._options, self._monitor)
                if self._prepare is not None:
                    self._prepare(catalog)
            except BaseException:
                catalog.close()
                raise
            return catalog
        except FileNotFoundError:
            pass
        except NotACatalog:
            self._monitor.report(_rebuilt("it is of another version, or of another directory"))
        except _DAMAGE as error:
            if _is_the_place(error):
                raise
            self._monitor.report(_rebuilt("it is damaged"))
        return self._built()

    def _built(self) -> Catalog:
        with building(self._options.state, self._data) as catalog:
            refresh(catalog, self._options, self._monitor)
        catalog = self._open()
        if self._prepare is not None:
            try:
                self._prepare(catalog)
            except BaseException:
                catalog.close()
                raise
        return catalog


def forget_user(data: str, state: str, owner: bytes) -> None:
    """Take a user out of the catalog of the directory ``data``, for good. Raise ShenyuDataError if
    that cannot be done.
    """
    path = os.fsencode(os.path.realpath(data))
    try:
        with locked(state, WAIT_S) as alone:
            if not alone:
                raise OSError(errno.EBUSY, "another process goes on changing it")
            rewrite_without(state, path, owner)
    except OSError as error:
        raise ShenyuDataError(
            f"cannot take the user out of the catalog in {state}: {error.strerror}",
            hint="Remove catalog.db and what begins with that name from this folder by hand.",
        ) from error


def refresh(catalog: Catalog, options: CatalogOptions, monitor: Monitor) -> int:
    """Compare every document's stat with the catalog's, and read what is new or was changed; return
    of how many users something was noted.

    Raise DataDirectoryError if the directory cannot be listed. Of folders that cannot be, what the
    catalog says stays.
    """
    return _Refresh(catalog, options, monitor).run()


class _Refresh:
    def __init__(self, catalog: Catalog, options: CatalogOptions, monitor: Monitor) -> None:
        self._catalog = catalog
        self._options = options
        self._monitor = monitor
        self._now_ms = time.time_ns() // 1_000_000
        self._notes = CatalogNotes(catalog, self._now_ms)

    def run(self) -> int:
        options, monitor = self._options, self._monitor
        with Survey(BUCKETS) as found:
            survey(
                options.data,
                found,
                user_bucket=bucket_of,
                shared_bucket=bucket_of,
                monitor=monitor,
            )
            jobs = default_jobs() if options.jobs is None else options.jobs
            if found.names < _FEW_NAMES:
                jobs = 1
            with (
                open_executor(jobs) as executor,
                monitor.task("Cataloguing", found.names, "users") as progress,
            ):
                tasks, waiting = self._tasks(found), _WAITING_A_JOB * max(jobs, 1)
                for part in run_tasks(executor, read_owners, tasks, waiting=waiting, in_order=True):
                    for finding in part.findings:
                        monitor.report(finding)
                    self._notes.add(part.changes)
                    progress.advance(part.owners)
        self._notes.write()
        return self._notes.changed

    def _tasks(self, found: Survey) -> Iterator[OwnersTask]:
        owners: list[tuple[bytes, bool]] = []
        for number in range(BUCKETS):
            bucket = found.bucket(number)
            owners += [(name, name in bucket.compressed) for name in bucket.users]
            while len(owners) >= _TASK_NAMES:
                yield self._task(owners[:_TASK_NAMES])
                del owners[:_TASK_NAMES]
            if found.users_complete:
                self._notes.gone(self._catalog.names(number).difference(bucket.users))
        yield self._task(owners)

    def _task(self, owners: list[tuple[bytes, bool]]) -> OwnersTask:
        catalog = None if self._catalog.new else self._catalog.path
        return OwnersTask(self._options.data, owners, catalog, self._now_ms)


def _is_the_place(error: Exception) -> bool:
    """Whether it is where the catalog lies that fails, and not the catalog."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _NOT_THE_CATALOGS_FAULT


def _busy() -> Finding:
    return Finding(
        code="catalog-busy",
        severity="warning",
        path="",
        message="another process is bringing the catalog up to date: this is its state before",
        hint="Ask again when that is done.",
    )


def _rebuilt(why: str) -> Finding:
    return Finding(
        code="catalog-rebuilt",
        severity="info",
        path="",
        message=f"the catalog was built anew: {why}",
        hint="Nothing is lost: it is made of what the documents say.",
    )


def _not_kept(state: str, error: Exception) -> Finding:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return Finding(
        code="catalog-not-kept",
        severity="warning",
        path="",
        message=f"no catalog can be kept in {state}: {reason}; one was made for this call alone",
        hint="Check the folder's owner, mode and room, or set XDG_STATE_HOME.",
    )
