"""Whether it can be told who was erased: what restores, copies and prunes ask first."""

from __future__ import annotations

from typing import NamedTuple

from shenyu_data.model.errors import RepositoryError
from shenyu_data.model.findings import Finding
from shenyu_data.repository.crypto import Secrets
from shenyu_data.repository.repository import Repository
from shenyu_data.repository.tombstones import read_tombstones


def unreadable_tombstones(repository: Repository) -> list[Finding]:
    """Return an error for each tombstone object neither of whose copies can be read.

    Of the users it means no more is known than that their keys are gone; where an old copy of a
    keyring brought those back, nothing would stop a reader.
    """
    failures: list[RepositoryError] = []
    read_tombstones(repository.storage, repository.keys, failures)
    return [
        Finding(
            code=error.code,
            severity="error",
            path="tombstones",
            message=f"{error.message}; who was erased by it cannot be told and may come back",
            hint="`shenyu-data verify` names the object. Erase those users again: the receipts of "
            "their erasures name them.",
        )
        for error in failures
    ]


def check_tombstones(repository: Repository) -> None:
    """Raise RepositoryError if it cannot be told who was erased."""
    for finding in unreadable_tombstones(repository):
        raise RepositoryError(finding.message, hint=finding.hint)


class Gone(NamedTuple):
    """Whether a user was erased. Can be pickled for workers."""

    keys: Secrets | None
    pseudonyms: frozenset[bytes]

    def __call__(self, user: bytes) -> bool:
        """Whether this user was."""
        return self.keys is not None and self.keys.user_pseudonym(user) in self.pseudonyms


def gone_users(repository: Repository | None) -> Gone:
    """Return who was erased; without a repository nobody knows of anybody.

    Raise RepositoryError if it cannot be told.
    """
    if repository is None:
        return Gone(None, frozenset())
    check_tombstones(repository)
    stones = read_tombstones(repository.storage, repository.keys)
    pseudonyms = frozenset(stone.pseudonym for stone in stones)
    return Gone(repository.keys if pseudonyms else None, pseudonyms)
