"""``key list``, ``key add``, ``key remove`` and ``key export``: who can open the repository."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from shenyu_data.model.errors import RepositoryError, ShenyuDataError, UsageError
from shenyu_data.model.findings import printable
from shenyu_data.repository.format import SLOTS
from shenyu_data.repository.keyslots import (
    Slot,
    add_slot,
    opened_by,
    opens,
    read_label,
    read_slots,
    slot_names,
)
from shenyu_data.repository.keytext import (
    RepositoryKey,
    parse_repository_key,
    repository_key_text,
)
from shenyu_data.repository.repository import Repository
from shenyu_data.storage.atomic import write_file

MAX_LABEL = 100
"""Characters."""


class KeySlot(msgspec.Struct, frozen=True, kw_only=True):
    """One key slot. ``opens`` says whether it holds the repository key of today, not one from
    before a rotation or none at all; ``yours`` that it opened the repository for this call.

    ``label`` and ``created_ms`` are None if the label does not open; ``last_used_ms`` is None if
    neither a snapshot nor this machine remembers a use.
    """

    id: str
    kind: str
    label: str | None
    created_ms: int | None
    last_used_ms: int | None
    opens: bool
    yours: bool


class RemovalPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What ``key remove`` would do. ``slot`` is None if the object is damaged: it goes all the
    same.
    """

    name: str
    slot: KeySlot | None
    last_recovery: bool


def list_keys(
    repository: Repository, seen: Mapping[str, int], failures: list[RepositoryError]
) -> list[KeySlot]:
    """Return the slots, oldest first.

    ``seen`` is when this machine used each (ms by id); the snapshots say the rest. Slots that are
    damaged or hold another repository's key are passed over, and their errors added to
    ``failures``.
    """
    used = dict(seen)
    for snapshot in repository.snapshots():
        if snapshot.slot is not None:
            slot = snapshot.slot.hex()
            used[slot] = max(used.get(slot, 0), snapshot.time_ms)
    found = [
        _describe(repository, name, slot, used, failures)
        for name, slot in read_slots(repository.storage, failures).items()
    ]
    return sorted(found, key=lambda item: (item.created_ms or 0, item.id))


def _describe(
    repository: Repository,
    name: str,
    slot: Slot,
    used: Mapping[str, int],
    failures: list[RepositoryError],
) -> KeySlot:
    slot_id = name.partition("/")[2]
    label = None
    try:
        label = read_label(repository.storage, repository.keys, name)
    except RepositoryError as error:
        failures.append(error)
    return KeySlot(
        id=slot_id,
        kind=slot.purpose or printable(slot.kind),
        label=label.text if label is not None else None,
        created_ms=label.created_ms if label is not None else None,
        last_used_ms=used.get(slot_id),
        opens=label is not None and slot.generation == repository.keys.generation,
        yours=repository.slot is not None and slot_id == repository.slot.hex(),
    )


def add_key(repository: Repository, secret: str, label: str) -> KeySlot:
    """Store a slot that opens with ``secret``, a passphrase or a recovery key; return it.

    Raise UsageError if the secret is blank or opens a slot already, or if the label is no name.
    """
    check_secret(secret)
    check_label(label)
    for name in opened_by(repository.storage, secret):
        known = name.partition("/")[2][:8]
        raise UsageError(
            f"the key slot {known} opens with this passphrase already",
            hint="`shenyu-data key list` shows it; choose another passphrase.",
        )
    name = add_slot(repository.storage, repository.keys, secret, label)
    (added,) = (item for item in list_keys(repository, {}, []) if item.id == name.partition("/")[2])
    return added


def check_secret(secret: str) -> None:
    """Raise UsageError if nobody should seal anything with this."""
    if not secret.strip():
        raise UsageError("the new passphrase is empty", hint="Choose one that is hard to guess.")
    if parse_repository_key(secret) is not None:
        raise UsageError(
            "the new passphrase is an exported repository key",
            hint="That opens the repository without a key slot; choose a passphrase.",
        )


def check_label(label: str) -> None:
    """Raise UsageError if this cannot be the name of a slot."""
    if not label.strip() or not label.isprintable() or len(label) > MAX_LABEL:
        raise UsageError(
            f"a label is one line of at most {MAX_LABEL} characters",
            hint="Say whose key it is, and where it is kept.",
        )


def plan_remove(repository: Repository, wanted: str) -> RemovalPlan:
    """Given the beginning of a slot's id, or its label, say what removing it means.

    Raise UsageError if none or several answer to it, or if no slot would be left that opens the
    repository.
    """
    slots = list_keys(repository, {}, [])
    names = slot_names(repository.storage)
    found = [item.id for item in slots if item.label == wanted]
    if not found and wanted:
        ids = [name.partition("/")[2] for name in names]
        found = [slot_id for slot_id in ids if slot_id.startswith(wanted.lower())]
    if len(found) != 1:
        raise UsageError(
            f"{len(found) or 'no'} key slots answer to {printable(wanted)}",
            hint="`shenyu-data key list` shows them; a slot is named by the beginning of its id, "
            "or by its label.",
        )
    left = [item for item in slots if item.opens and item.id != found[0]]
    if not left:
        raise UsageError(
            "this is the last key slot that opens the repository",
            hint="Add another first: `shenyu-data key add`.",
        )
    slot = next((item for item in slots if item.id == found[0]), None)
    return RemovalPlan(
        name=f"{SLOTS}/{found[0]}",
        slot=slot,
        last_recovery=(
            slot is not None
            and slot.kind == "recovery"
            and all(item.kind != "recovery" for item in left)
        ),
    )


def remove_key(repository: Repository, plan: RemovalPlan) -> None:
    """Destroy the slot of a plan.

    Nothing can be locked: so this looks afterwards whether a slot is left that opens the
    repository. If somebody else has removed the others meanwhile, it puts this one back and raises
    ShenyuDataError.
    """
    storage = repository.storage
    if plan.slot is None or not plan.slot.opens:
        storage.destroy(plan.name)
        return
    data = storage.read(plan.name)
    storage.destroy(plan.name)
    if any(opens(storage, repository.keys, name) for name in slot_names(storage)):
        return
    storage.put(plan.name, [data])
    raise ShenyuDataError(
        "the other key slots were removed at the same time: this one was put back",
        hint="`shenyu-data key list` shows what is there.",
    )


def export_key(repository: Repository, file: str | None) -> str:
    """Return the repository key as text and, if told, write it into a new file, mode 0600.

    Raise UsageError if there is such a file, ShenyuDataError if it cannot be written.
    """
    keys = repository.keys
    text = repository_key_text(RepositoryKey(keys.master, keys.repository_id, keys.generation))
    if file is None:
        return text
    about = f"The first line opens the shenyu-data repository {keys.repository_id.hex()}."
    folder, name = os.path.split(os.path.abspath(file))
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            write_file(name, [f"{text}\n{about}\n".encode()], folder=descriptor, replace=False)
        finally:
            os.close(descriptor)
    except FileExistsError:
        raise UsageError(
            f"{file} is there already", hint="Name a new file: a key is never overwritten."
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ShenyuDataError(
            f"cannot write {file}: {reason}", hint="Check the folder's owner and mode."
        ) from error
    return text
