"""Whether users whom a person named are there, and whether the folders that hold users can be
listed. Called by operations that would otherwise find nothing, and say that all is well.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from shenyu_data.datadir.folder import open_folder, open_root
from shenyu_data.datadir.scan import DataFolders, scan_user
from shenyu_data.model.errors import DataDirectoryError, OwnerNotFound
from shenyu_data.model.findings import printable
from shenyu_data.model.layout import HISTORIES, USERS, is_plain_name
from shenyu_data.repository.repository import Repository


def check_users(data: str, users: Iterable[bytes], repository: Repository | None = None) -> None:
    """Raise OwnerNotFound if one of the users is neither in the data directory nor known to the
    repository, DataDirectoryError.
    """
    # A name with a slash in it could lead out, or be another name of somebody whom a hold names.
    with open_root(data), DataFolders(data) as folders:
        for user in sorted(users):
            if is_plain_name(user) and (scan_user(folders, user).entries or _has(repository, user)):
                continue
            raise OwnerNotFound(
                f"there is no user {printable(user)} in {data}",
                hint="A user is named as in users/NAME.json; `shenyu-data users list` lists them.",
            )


def _has(repository: Repository | None, user: bytes) -> bool:
    if repository is None:
        return False
    return bool(repository.keyring().owner(repository.keys.user_pseudonym(user)))


def check_folders(data: str) -> None:
    """Raise DataDirectoryError if ``users/`` or ``histories/`` is there and cannot be listed."""
    with open_root(data) as root:
        for name in (USERS, HISTORIES):
            try:
                os.close(open_folder(root, name))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise cannot_list(data, name, error) from error


def cannot_list(data: str, name: bytes, error: OSError) -> DataDirectoryError:
    """Return the error that says that a folder of the data directory cannot be listed."""
    return DataDirectoryError(
        f"cannot list {name.decode()}/ in {data}: {error.strerror}",
        hint="Links are never followed: give the real folder with --data, or mount it there. Else "
        "check its owner and mode.",
    )
