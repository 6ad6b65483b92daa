"""Every error the program raises on purpose, in one tree. Any room may raise or catch them.

::

    ShenyuDataError                 something went wrong; nothing was lost            exit 3
    ├── UsageError                  the person can fix the call or the configuration  exit 2
    │   ├── ConfigError             the configuration file or an environment variable
    │   ├── SnapshotNotFound        no snapshot, or several, answer to that name
    │   ├── OwnerNotFound           the snapshot holds no such user
    │   ├── HistoryNotFound         the user has no such history there
    │   ├── ChatNotFound            there is no such chat there
    │   ├── NothingToTakeBack       no in-place operation is left to be undone
    │   ├── OwnerErased             the user was erased; what the snapshot holds cannot be read
    │   ├── OwnerHeld               somebody holds what was to be erased
    │   ├── ClockDoubtful           the clock may be wrong, by which things expire
    │   └── TargetNotEmpty          the folder to restore into already holds something
    ├── StateUnusable               what is remembered between runs cannot be used    exit 3
    ├── PruneBlocked                a tripwire noticed something, and nobody has seen it   exit 3
    ├── AlreadyRun                  another process began the same run of a job       exit 3
    ├── DrillBlind              a drill did not notice damage made on purpose         exit 3
    ├── SandboxUnusable         there is no place, or no room, to restore into        exit 3
    ├── AlreadyServing              another process runs the jobs, or watches         exit 3
    ├── CannotWatchData             nothing tells who touches the data directory      exit 3
    ├── ServiceError                the application could not be stopped or started   exit 3
    ├── InvalidReceipt              the receipt of an erasure does not hold               exit 3
    ├── HoldsDamaged                what must not be cleaned up cannot be told        exit 3
    ├── AcknowledgementsDamaged     what was said to be meant cannot be told          exit 3
    ├── DataDirectoryError          the live data directory cannot be used            exit 3
    ├── ArchiveError                the archive to import is unsafe, or is none       exit 3
    │   └── ArchiveDamaged          it is cut off or altered
    ├── StorageError                the place where the repository lies failed        exit 3
    │   ├── StorageFull             no space or quota left there
    │   └── ObjectExists            an object of that name is already there
    └── RepositoryError             the repository cannot be trusted as it is         exit 4
        ├── WrongKey                no key slot opens with this passphrase or key
        ├── UnsupportedFormat       written by a newer program
        ├── ObjectMissing           an object that should be there is not
        └── ObjectDamaged           an object is there but does not authenticate

A handler that can go on without the object catches ``RepositoryError`` around that object; the
command line catches ``ShenyuDataError``, prints its message and hint, and exits with its status.
"""

from __future__ import annotations

EXIT_DONE = 0
EXIT_FINDINGS = 1
EXIT_USAGE = 2
EXIT_FAILED = 3
EXIT_DAMAGED = 4
EXIT_INTERRUPTED = 130


class ShenyuDataError(Exception):
    """Given a sentence saying what happened to what, and a hint saying what to do now.

    ``code`` is stable and printed by ``--json``; ``exit_status`` is what the command exits with.
    """

    code = "failed"
    exit_status = EXIT_FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # Workers raise these across a process boundary; keyword arguments need help to get there.
        return _rebuild, (type(self), self.message, self.hint)


def _rebuild(kind: type[ShenyuDataError], message: str, hint: str) -> ShenyuDataError:
    return kind(message, hint=hint)


class UsageError(ShenyuDataError):
    """The call cannot be carried out as it was made; nothing was done."""

    code = "usage"
    exit_status = EXIT_USAGE


class ConfigError(UsageError):
    """The configuration file, or a variable that stands in for it, cannot be used."""

    code = "config"


class SnapshotNotFound(UsageError):
    """No snapshot answers to that name, or more than one does."""

    code = "snapshot-not-found"


class OwnerNotFound(UsageError):
    """The snapshot holds nothing of that user."""

    code = "user-not-found"


class HistoryNotFound(UsageError):
    """The user has no history of that storage key in the snapshot."""

    code = "history-not-found"


class ChatNotFound(UsageError):
    """No history that was looked into has a chat of that id."""

    code = "chat-not-found"


class OwnerErased(UsageError):
    """The user was erased: what the snapshot holds of it cannot be read any more."""

    code = "user-erased"


class OwnerHeld(UsageError):
    """The user, or a chat of the user, is held: it is not erased unless that is said."""

    code = "user-held"


class ClockDoubtful(UsageError):
    """The clock contradicts what snapshots or the data directory say of the time."""

    code = "clock-doubtful"


class NothingToTakeBack(UsageError):
    """There was no in-place operation on this data directory, it was taken back, or what it
    replaced is saved no more.
    """

    code = "nothing-to-take-back"


class TargetNotEmpty(UsageError):
    """The folder to restore into already holds something."""

    code = "target-not-empty"


class InvalidReceipt(ShenyuDataError):
    """The receipt of an erasure was altered, or is not of whom it should be."""

    code = "invalid-receipt"
    exit_status = EXIT_FAILED


class StateUnusable(ShenyuDataError):
    """What is remembered between runs can be neither read nor written: no space, no right."""

    code = "state-unusable"


class PruneBlocked(ShenyuDataError):
    """A tripwire noticed what is no ordinary use; until that is acknowledged nothing is pruned."""

    code = "prune-blocked"


class AlreadyRun(ShenyuDataError):
    """Somebody else began the same run of the same job."""

    code = "already-run"


class DrillBlind(ShenyuDataError):
    """A drill did not notice damage that it made on purpose: what it proves is worth nothing."""

    code = "drill-blind"


class SandboxUnusable(ShenyuDataError):
    """The folder that a drill restores into cannot be made, is full, or cannot be removed."""

    code = "sandbox-unusable"


class AlreadyServing(ShenyuDataError):
    """Another process runs the jobs of this data directory, or watches it."""

    code = "already-serving"


class CannotWatchData(ShenyuDataError):
    """The system tells nobody, or not this process, who touches the data directory."""

    code = "cannot-watch"


class ServiceError(ShenyuDataError):
    """A command that stops, starts or looks after the application failed; ``output`` is what it
    printed last.
    """

    code = "service"

    def __init__(self, message: str, *, hint: str = "", output: str = "") -> None:
        super().__init__(message, hint=hint)
        self.output = output


class HoldsDamaged(ShenyuDataError):
    """A file of holds is lost or damaged: what must not be cleaned up cannot be told."""

    code = "holds-damaged"


class AcknowledgementsDamaged(ShenyuDataError):
    """The file of acknowledgements is damaged: which losses were meant cannot be told."""

    code = "acknowledgements-damaged"


class DataDirectoryError(ShenyuDataError):
    """The live data directory is missing, is not a folder, or cannot be listed."""

    code = "data-directory"


class ArchiveError(ShenyuDataError):
    """The archive to import is unsafe, too large, not an archive, or holds no data directory."""

    code = "archive"


class ArchiveDamaged(ArchiveError):
    """The archive to import is cut off or altered."""

    code = "archive-damaged"


class StorageError(ShenyuDataError):
    """The place where the repository lies refused or failed."""

    code = "storage"


class StorageFull(StorageError):
    """The place where the repository lies has no room left."""

    code = "storage-full"


class ObjectExists(StorageError):
    """An object of that name is already there; objects are never overwritten."""

    code = "object-exists"


class RepositoryError(ShenyuDataError):
    """The repository, or one object of it, cannot be trusted as it is."""

    code = "repository"
    exit_status = EXIT_DAMAGED


class WrongKey(RepositoryError):
    """No key slot of the repository opens with the passphrase or key that was given."""

    code = "wrong-key"


class UnsupportedFormat(RepositoryError):
    """The repository was written in a format this program does not know."""

    code = "unsupported-format"


class ObjectMissing(RepositoryError):
    """An object that should be in the repository is not there."""

    code = "object-missing"


class ObjectDamaged(RepositoryError):
    """An object is there but is cut off, altered, or not the one that belongs there."""

    code = "object-damaged"
