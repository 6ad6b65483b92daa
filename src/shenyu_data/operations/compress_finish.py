"""Finishing what a ``compress`` or ``decompress`` that was killed left. For interrupted.py.

It may have been killed when a history was there plain and compressed. Whichever way it was going,
the plain one stays: that is what the application reads.
"""

from __future__ import annotations

import os

from shenyu_data.datadir.folder import open_folder
from shenyu_data.datadir.replace import InTheWay, Live, read_live
from shenyu_data.datadir.survey import unreadable_folder
from shenyu_data.datadir.twins import Outcome, Source, Twins, plain, tidy, twin_of
from shenyu_data.model.compress_rules import kept_finding, not_exchanged_finding
from shenyu_data.model.entry_rules import twin_finding
from shenyu_data.model.layout import (
    GZIP_SUFFIX,
    HISTORIES,
    Place,
    is_archive_name,
    kind_of,
)
from shenyu_data.model.monitor import Monitor

TWIN_OPERATIONS = ("compress", "decompress")
"""The operations as their journals call them."""


def finish_twins(root: int, quiet_s: float, monitor: Monitor) -> bool:
    """Finish what is half done with the histories under the open folder ``root``; return whether
    all of them could be looked at. What cannot be finished is reported.

    ``quiet_s``: so long a plain one is watched before the compressed one goes.
    """
    return _Finish(root, quiet_s, monitor).run()


class _Finish:
    def __init__(self, root: int, quiet_s: float, monitor: Monitor) -> None:
        self._root = root
        self._monitor = monitor
        self._twins = Twins(root, self._tell, quiet_s)
        self._well = True

    def run(self) -> bool:
        """Look at every folder of histories."""
        try:
            histories = open_folder(self._root, HISTORIES)
        except FileNotFoundError:
            return True
        except OSError as error:
            return self._unlisted(HISTORIES, error)
        try:
            with os.scandir(histories) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        self._at_folder(b"%b/%b" % (HISTORIES, os.fsencode(entry.name)))
        finally:
            os.close(histories)
        self._twins.flush()
        return self._well

    def _at_folder(self, path: bytes) -> None:
        try:
            folder = open_folder(self._root, path)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self._unlisted(path, error)
            return
        try:
            names = [os.fsencode(name) for name in os.listdir(folder)]
            if tidy(folder, path, names, self._tell):
                names = [os.fsencode(name) for name in os.listdir(folder)]
            there = set(names)
            for name in sorted(names):
                if _is_compressed(name) and twin_of(name) in there:
                    self._at_pair(folder, path, name)
        except OSError as error:
            self._unlisted(path, error)
        finally:
            os.close(folder)

    def _at_pair(self, folder: int, path: bytes, name: bytes) -> None:
        """Let the compressed one of a pair of ours go."""
        try:
            packed = read_live(folder, name, "history")
            document = read_live(folder, twin_of(name), "history")
            if packed is not None and document is not None and _are_alike(name, packed, document):
                source = Source(name, packed.stat, packed.data or b"")
                self._twins.adopt(folder, path, source, watched=True)
        except (FileNotFoundError, InTheWay):
            return
        except OSError as error:
            self._tell(Outcome(b"%b/%b" % (path, name), "failed", 0, 0, error))

    def _tell(self, outcome: Outcome) -> None:
        if outcome.result == "failed":
            self._well = False
            self._monitor.report(not_exchanged_finding(outcome.path, outcome.error))
        elif outcome.result == "taken":
            self._monitor.report(twin_finding(outcome.path))
        elif outcome.result == "kept":
            self._monitor.report(kept_finding(outcome.path, outcome.kept or b""))

    def _unlisted(self, path: bytes, error: OSError) -> bool:
        self._well = False
        self._monitor.report(unreadable_folder(path, error))
        return False


def _are_alike(name: bytes, packed: Live, document: Live) -> bool:
    """Whether a pair is one that we make: the same document at the same time, twice."""
    if packed.data is None or document.data is None or not document.whole:
        return False
    found, other = packed.stat, document.stat
    if found.st_mtime_ns != other.st_mtime_ns or found.st_nlink > 1:
        return False
    return plain(name, packed.data) == document.data


def _is_compressed(name: bytes) -> bool:
    if not name.endswith(GZIP_SUFFIX) or is_archive_name(name):
        return False
    return kind_of(Place.IN_HISTORY_FOLDER, name) == "history"
