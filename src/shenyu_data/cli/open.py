"""Opening the repository a call names."""

from __future__ import annotations

import os
import threading
from importlib import import_module

from shenyu_data.cli.common import Call
from shenyu_data.model.errors import WrongKey
from shenyu_data.operations.last_use import remember_use
from shenyu_data.operations.places import state_folder
from shenyu_data.repository.keytext import explain_words
from shenyu_data.repository.repository import Repository, open_repository
from shenyu_data.storage.open import open_storage

PROCESSES = "concurrent.futures.process"
"""The module that bulk work needs."""


def open_for(call: Call, *needs: str, bulk: bool = False) -> Repository:
    """Unlock the repository with the call's passphrase; ``bulk`` work is about to follow.

    Deriving a key from a passphrase takes 0.1 s and leaves the interpreter alone: time to import
    the modules that the verb ``needs`` next, and what bulk work does.
    """
    location, secret = call.repository_location, call.passphrase()
    repository = open_location(call, location, secret, *needs, bulk=bulk and call.jobs > 1)
    remember_use(state_folder(os.environ), repository)
    call.repository = repository
    return repository


def open_location(
    call: Call, location: str, secret: str, *needs: str, bulk: bool = False
) -> Repository:
    """Unlock the repository at ``location``; as :func:`open_for`."""
    storage = open_storage(location, call.settings.storage)
    names = (*needs, PROCESSES) if bulk else needs
    importing = threading.Thread(target=_import, args=(names,), daemon=True)
    importing.start()
    try:
        repository = open_repository(storage, secret)
        importing.join()  # no process may be started beside a thread
        return repository
    except WrongKey as error:
        if why := explain_words(secret):
            raise WrongKey(error.message, hint=why) from None
        raise


def _import(names: tuple[str, ...]) -> None:
    for name in names:
        import_module(name)
