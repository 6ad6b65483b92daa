"""A small file of JSON that people may look at, with a checksum of what it says. Pure."""

from __future__ import annotations

import json
from typing import Any


def encode_checked(body: dict[str, Any]) -> bytes:
    """Return the text of a file: members of ``body``, and a checksum of them."""
    return json.dumps({**body, "check": _check(body)}, indent=2).encode() + b"\n"


def decode_checked(data: bytes, form: str, version: int) -> dict[str, Any]:
    """Return the members of a file of this ``format`` and ``version``. Raise ValueError, KeyError,
    TypeError, AttributeError or RecursionError if it is another one, or damaged.
    """
    document: dict[str, Any] = json.loads(data)
    check = document.pop("check")
    if document["format"] != form or document["version"] != version:
        raise ValueError("a file of another format")
    if check != _check(document):
        raise ValueError("its checksum is another one")
    return document


def _check(body: dict[str, Any]) -> str:
    import hashlib  # late: it takes 5 ms

    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
