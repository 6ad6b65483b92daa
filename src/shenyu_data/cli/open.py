"""Opening the repository a call names."""

from __future__ import annotations

from shenyu_data.cli.common import Call
from shenyu_data.repository.repository import Repository, open_repository
from shenyu_data.storage.local import LocalStorage


def open_for(call: Call) -> Repository:
    """Unlock the repository with the call's passphrase."""
    return open_repository(LocalStorage(call.repository_location), call.passphrase())
