"""The tree of errors: codes and exit statuses others rely on, and the way between processes."""

import pickle
import re

import pytest

from shenyu_data.model import errors
from shenyu_data.model.errors import ShenyuDataError

CONTRACT = {
    "ArchiveError": ("archive", 3),
    "ArchiveDamaged": ("archive-damaged", 3),
    "ConfigError": ("config", 2),
    "DataDirectoryError": ("data-directory", 3),
    "ObjectDamaged": ("object-damaged", 4),
    "ObjectExists": ("object-exists", 3),
    "ObjectMissing": ("object-missing", 4),
    "HoldsDamaged": ("holds-damaged", 3),
    "InvalidReceipt": ("invalid-receipt", 3),
    "OwnerErased": ("user-erased", 2),
    "OwnerHeld": ("user-held", 2),
    "ClockDoubtful": ("clock-doubtful", 2),
    "OwnerNotFound": ("user-not-found", 2),
    "HistoryNotFound": ("history-not-found", 2),
    "NothingToTakeBack": ("nothing-to-take-back", 2),
    "ChatNotFound": ("chat-not-found", 2),
    "RepositoryError": ("repository", 4),
    "PruneBlocked": ("prune-blocked", 3),
    "ServiceError": ("service", 3),
    "AcknowledgementsDamaged": ("acknowledgements-damaged", 3),
    "DrillBlind": ("drill-blind", 3),
    "SandboxUnusable": ("sandbox-unusable", 3),
    "StateUnusable": ("state-unusable", 3),
    "AlreadyRun": ("already-run", 3),
    "AlreadyServing": ("already-serving", 3),
    "CannotWatchData": ("cannot-watch", 3),
    "ShenyuDataError": ("failed", 3),
    "SnapshotNotFound": ("snapshot-not-found", 2),
    "StorageError": ("storage", 3),
    "StorageFull": ("storage-full", 3),
    "TargetNotEmpty": ("target-not-empty", 2),
    "UnsupportedFormat": ("unsupported-format", 4),
    "UsageError": ("usage", 2),
    "WrongKey": ("wrong-key", 4),
}
"""What scripts rely on. A new error gets a line; a line that is here never changes."""

KINDS: dict[str, type[ShenyuDataError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, ShenyuDataError)
}


def test_codes_and_exit_statuses_are_those_that_scripts_rely_on() -> None:
    found = {name: (kind.code, kind.exit_status) for name, kind in KINDS.items()}
    assert {name: found.get(name) for name in CONTRACT} == CONTRACT
    assert set(found) == set(CONTRACT)


def test_every_code_is_used_once() -> None:
    assert len({kind.code for kind in KINDS.values()}) == len(KINDS)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    text = errors.__doc__ or ""
    drawn = [
        (len(prefix) // 4, name)
        for prefix, name in re.findall(r"^    ([│├└─ ]*)(\w+) {2,}\S", text, re.MULTILINE)
    ]
    above: dict[int, str] = {}
    for depth, name in drawn:
        if depth:
            assert KINDS[name].__bases__ == (KINDS[above[depth - 1]],), name
        above[depth] = name
    assert {name for _, name in drawn} == set(KINDS)


@pytest.mark.parametrize("name", CONTRACT)
def test_an_error_arrives_whole_from_another_process(name: str) -> None:
    error = KINDS[name]("what happened", hint="what to do")
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is KINDS[name]
    assert (str(arrived), arrived.message, arrived.hint) == (
        "what happened",
        "what happened",
        "what to do",
    )
