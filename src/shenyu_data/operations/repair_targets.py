"""Which documents a repair looks at: those in trouble, and histories that may have lost chats.
Called by operations/repair.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from shenyu_data.datadir.folder import open_root
from shenyu_data.datadir.scan import DataFolders, scan_user
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.layout import USERS, is_plain_name, owner_of_user_file
from shenyu_data.model.monitor import Monitor, Task
from shenyu_data.operations.gone import Gone
from shenyu_data.operations.looked import Looked
from shenyu_data.operations.repair_document import Target
from shenyu_data.operations.shrunken import scope_of, suspects
from shenyu_data.operations.validate import ValidateOptions, validate
from shenyu_data.repository.repository import Repository


def find_targets(
    repository: Repository | None,
    data: str,
    monitor: Monitor,
    *,
    path: str | None,
    user: bytes | None,
    every: bool,
    jobs: int,
    tell_gone: Callable[[Gone], object],
    looked: Looked | None = None,
) -> list[Target]:
    """Return the documents that validate finds something wrong with, of those repair may help, and
    with a repository those that may have lost chats; tell of those that are gone.

    Those of all users that somebody ``looked`` for just now are not looked for again.
    """
    if looked is not None:
        for failure in looked.failures:
            monitor.report(failure)
        for gone in looked.first_gone:
            tell_gone(gone)
        return sorted({*_documents(data, user, looked.wrong), *looked.suspects})
    wrong = _Wrong(monitor)
    validate(data, ValidateOptions(jobs=jobs, path=path), wrong)
    found = set(_documents(data, user, wrong.paths))
    if repository is not None:
        scope = scope_of(path, user)
        with open_root(data) as root:
            found |= set(suspects(repository, root, scope, monitor, tell_gone, every=every))
    return sorted(found)


def _documents(data: str, user: bytes | None, paths: set[str]) -> list[Target]:
    """Return the documents at paths that are given as findings have them."""
    if not paths:
        return []
    found = []
    with DataFolders(data) as folders:
        for owner in _owners(folders, paths):
            if user not in (None, owner):
                continue
            for entry in scan_user(folders, owner).entries:
                target = Target(owner, entry.place, entry.name)
                if target.kind != "other" and printable(target.path) in paths:
                    found.append(target)
    return found


class _Wrong:
    """Shows progress and remembers where errors are: of warnings there may be millions."""

    def __init__(self, monitor: Monitor) -> None:
        self.paths: set[str] = set()
        self._monitor = monitor

    def task(self, title: str, total: int | None, unit: str) -> Task:
        """As the monitor behind it."""
        return self._monitor.task(title, total, unit)

    def report(self, finding: Finding) -> None:
        """Remember the path of an error."""
        if finding.severity == "error":
            self.paths.add(finding.path)


def _owners(folders: DataFolders, paths: set[str]) -> Iterator[bytes]:
    """Yield the users whom the findings are about; a finding has their names printable only."""
    users = folders.users
    listed = set(map(os.fsencode, os.listdir(users))) if users is not None else set()
    named = [owner_of_user_file(name) for name in listed if _path(USERS, name) in paths]
    owners = {found[0] for found in named if found is not None}
    if folders.histories is not None:
        about = {path.split("/")[1] for path in paths if path.count("/") > 1}
        names = map(os.fsencode, os.listdir(folders.histories))
        owners |= {name for name in names if printable(name) in about and is_plain_name(name)}
    yield from sorted(owners)


def _path(folder: bytes, name: bytes) -> str:
    return printable(folder + b"/" + name)
