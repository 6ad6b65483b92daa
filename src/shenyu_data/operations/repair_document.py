"""A document that a repair looks at, and what it should be. For repairs, and for whoever looks for
shrunken histories.
"""

from __future__ import annotations

from typing import NamedTuple

from shenyu_data.datadir.large import Blocks, memory_blocks, structure_trouble
from shenyu_data.model.layout import JSON_SUFFIX, Kind, kind_of, path_of
from shenyu_data.model.mend import trouble
from shenyu_data.model.records import outline


class Target(NamedTuple):
    """A document that is in trouble."""

    user: bytes
    place: int
    name: bytes

    @property
    def path(self) -> bytes:
        """Where it is in the data directory."""
        return path_of(self.user, self.place, self.name)

    @property
    def kind(self) -> Kind:
        """What it is."""
        return kind_of(self.place, self.name)

    @property
    def file_name(self) -> bytes:
        """Its own name, as the rules know it."""
        return self.path.rpartition(b"/")[2]

    @property
    def is_of_the_application(self) -> bool:
        """Whether it is a history as the application writes them: neither compressed nor an
        archive.
        """
        return self.kind == "history" and self.name.endswith(JSON_SUFFIX)

    def trouble(self, data: bytes) -> str | None:
        """Return the code of what is wrong with these bytes in its place, as far as repair is
        concerned.
        """
        code = trouble(self.kind, self.user, self.file_name, data)
        if code is None and self.is_of_the_application and _is_unparsed(self.name, data):
            why = structure_trouble(memory_blocks(data))
            return why.code if why is not None else None
        return code


class Good(NamedTuple):
    """What a document should be by the snapshots, and one that holds it, or most of it.

    ``composed``: it is more, or less, than one version. One that is too large to be looked into is
    given by ``blocks``.
    """

    data: bytes
    snapshot: bytes
    mtime_ns: int
    mode: int = 0o600
    composed: bool = False
    blocks: Blocks | None = None


def _is_unparsed(name: bytes, data: bytes) -> bool:
    return outline("history", name, data).state == "unparsed"
