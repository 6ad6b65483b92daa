"""A stretch of the guide's ``export.json``: many users, in a row, cut out of it by their
indentation alone, and decoded at once by whoever takes it. For ``guide_reader.py``.

That it was cut between two users is proved when it is decoded: text that begins between two, and
ends within one, has more brackets open than closed.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator

import msgspec

from shenyu_data.exchange.guide import Names
from shenyu_data.exchange.guide_members import (
    GuideDocument,
    folder_of,
    histories_of,
    record_of,
    user_document,
    user_path,
)
from shenyu_data.exchange.items import Item, LeftOut, Record
from shenyu_data.exchange.json_stream import JsonStream, Stretch
from shenyu_data.exchange.streams import PlainFile
from shenyu_data.model.errors import ArchiveError

_MOST_DOCUMENTS = 20_000
"""A stretch of more is made of next to nothing, and is not held in memory."""

_decode_users = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_histories = msgspec.json.Decoder(dict[str, list[msgspec.Raw]]).decode


class CutWithinError(Exception):
    """A stretch does not end between two users: the export is not indented as was thought, or it
    is damaged. Whoever reads it without stretches learns which.
    """


class GuideStretch:
    """A stretch of the users or of the histories, ``part``, in a plain file. ``names`` counts the
    names that histories got, once all is read.

    Pickled it is but its place there.
    """

    __slots__ = ("_file", "_part", "_stretch", "names")

    is_full = True

    def __init__(self, file: PlainFile, part: str, stretch: Stretch) -> None:
        self._file = file
        self._part = part
        self._stretch = stretch
        self.names: dict[bytes, int] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return GuideStretch, (self._file, self._part, self._stretch)

    def records(self) -> Iterator[Record]:
        """Yield what they are. Raise ArchiveError if they cannot be read, CutWithinError, perhaps
        after some of them, if it was cut elsewhere.
        """
        at, size, between = self._stretch
        text = b"{%b}" % self._file.read(at, size)
        members = len(re.findall(re.escape(between), text)) + 1  # twice as fast as to count them
        try:
            if self._part == "users":
                users = _decode_users(text)
                # Of two members of one name only the last would be there.
                if len(users) == members <= _MOST_DOCUMENTS:
                    return self._users(users)
            else:
                histories = _decode_histories(text)
                count = sum(map(len, histories.values()))
                if len(histories) == members and members + count <= _MOST_DOCUMENTS:
                    return self._histories(histories)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # it holds something odd
        return self._one_by_one(text)

    def _users(self, users: dict[str, msgspec.Raw]) -> Iterator[Record]:
        for key, value in users.items():
            yield record_of("users", key, user_path(key), bytes(value))

    def _histories(self, histories: dict[str, list[msgspec.Raw]]) -> Iterator[Record]:
        for key, values in histories.items():
            folder = folder_of(key)
            if not isinstance(folder, Item):
                yield folder
                continue
            yield folder
            names = Names()
            for value in map(bytes, values):
                path = b"%b/%b" % (folder.path, names.next(value))
                yield record_of("histories", key, path, value)
            names.add_to(self.names)

    def _one_by_one(self, text: bytes) -> Iterator[Record]:
        stream = JsonStream(io.BytesIO(text).read)
        count = 0
        try:
            for key in stream.members():
                if self._part == "users":
                    entries: Iterable[GuideDocument | Item | LeftOut] = (
                        user_document(stream, key),
                    )
                else:
                    entries = histories_of(stream, key, self.names)
                for entry in entries:
                    count += 1
                    if count > _MOST_DOCUMENTS:
                        raise CutWithinError
                    yield entry.record() if isinstance(entry, GuideDocument) else entry
            stream.end()
        except ArchiveError as error:
            raise CutWithinError from error
