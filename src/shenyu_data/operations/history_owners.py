"""Whose histories there are, for operations that go from folder to folder of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice

from shenyu_data.datadir.folder import open_folder, open_root
from shenyu_data.model.errors import UsageError
from shenyu_data.model.findings import printable
from shenyu_data.model.layout import HISTORIES, is_plain_name
from shenyu_data.operations.named_users import cannot_list


def owners_in_parts(data: str, user: bytes | None, size: int) -> Iterator[list[bytes]]:
    """Yield the names of the folders in ``histories/``, or of this user's alone, as they are
    listed, ``size`` at a time.

    Raise UsageError if there is no such, DataDirectoryError if they cannot be listed.
    """
    if user is not None:
        _check_user(data, user)
        yield [user]
        return
    owners = _owners(data)
    while part := list(islice(owners, size)):
        yield part


def _owners(data: str) -> Iterator[bytes]:
    with open_root(data) as root:
        try:
            histories = open_folder(root, HISTORIES)
        except FileNotFoundError:
            return
        except OSError as error:
            raise cannot_list(data, HISTORIES, error) from error
        try:
            with os.scandir(histories) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        yield os.fsencode(entry.name)
        finally:
            os.close(histories)


def _check_user(data: str, user: bytes) -> None:
    with open_root(data) as root:
        try:
            if not is_plain_name(user):
                raise FileNotFoundError
            os.close(open_folder(root, b"%b/%b" % (HISTORIES, user)))
        except OSError:
            raise UsageError(
                f"there are no histories of a user {printable(user)}",
                hint="The name is that of the folder in histories/; links are not followed.",
            ) from None
