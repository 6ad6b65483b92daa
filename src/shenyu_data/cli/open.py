"""Opening the repository a call names."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from shenyu_data.cli.common import Call
from shenyu_data.model.errors import WrongKey
from shenyu_data.operations.last_use import remember_use
from shenyu_data.operations.places import state_folder
from shenyu_data.operations.workers import import_processes
from shenyu_data.repository.keytext import explain_words
from shenyu_data.repository.repository import Repository, open_repository
from shenyu_data.storage.open import open_storage


def open_for(call: Call, *, bulk: bool = False) -> Repository:
    """Unlock the repository with the call's passphrase; ``bulk`` work is about to follow.

    Deriving a key from a passphrase takes 0.1 s on another core: time to import what bulk work
    needs.
    """
    location, secret = call.repository_location, call.passphrase()
    repository = open_location(call, location, secret, bulk=bulk and call.jobs > 1)
    remember_use(state_folder(os.environ), repository)
    return repository


def open_location(call: Call, location: str, secret: str, *, bulk: bool = False) -> Repository:
    """Unlock the repository at ``location``; as :func:`open_for`."""
    storage = open_storage(location, call.settings.storage)
    try:
        if not bulk:
            return open_repository(storage, secret)
        with ThreadPoolExecutor(1) as thread:
            opening = thread.submit(open_repository, storage, secret)
            import_processes()
            return opening.result()
    except WrongKey as error:
        if why := explain_words(secret):
            raise WrongKey(error.message, hint=why) from None
        raise
