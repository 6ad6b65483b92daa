"""Acknowledgements: what a person said of losses that were meant. Pure.

Each names what was missing at that moment, by digests, and the newest snapshot there was: what is
lost later, or came back and is lost again, is not acknowledged. They are kept as one text with a
checksum. ``code`` says what is acknowledged, so that other checks may keep theirs here.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from shenyu_data.model.checked_text import decode_checked, encode_checked
from shenyu_data.model.errors import AcknowledgementsDamaged

_FORMAT = "shenyu-data-acknowledgements"
_VERSION = 1


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody knows of a finding about one document, and says that it is as it should be.

    ``user`` and ``path`` are names with what is not UTF-8 in surrogates, as :func:`os.fsdecode`
    gives them. ``missing`` are digests of what was missing, under a key of the ``repository``,
    whose newest snapshot had this ``sequence``; ``by`` is who said it, ``reason`` why.
    """

    id: str
    code: str
    user: str
    path: str
    repository: str
    sequence: int
    missing: list[str]
    by: str
    time_ms: int
    reason: str


def encode(kept: Iterable[Acknowledgement]) -> bytes:
    """Return the text of a file of acknowledgements."""
    body = {
        "format": _FORMAT,
        "version": _VERSION,
        "acknowledgements": [msgspec.structs.asdict(one) for one in kept],
    }
    return encode_checked(body)


def decode(data: bytes, name: str) -> list[Acknowledgement]:
    """Return the acknowledgements of a file. Raise AcknowledgementsDamaged."""
    try:
        document = decode_checked(data, _FORMAT, _VERSION)
        return msgspec.convert(document["acknowledgements"], list[Acknowledgement])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise AcknowledgementsDamaged(
            f"the file of acknowledgements {name} is damaged",
            hint="Put it back from a backup, or remove it and acknowledge again what was meant. "
            "Only `shenyu-data findings` may change it.",
        ) from None
