"""Showing a person a key to write down (words in columns, letters in groups, a QR code), and
getting a new one.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any

import click

from shenyu_data.cli.common import Call
from shenyu_data.cli.render import iso
from shenyu_data.cli.terminal import say
from shenyu_data.model.errors import ConfigError
from shenyu_data.operations.configuration import read_passphrase_file
from shenyu_data.operations.keys import KeySlot
from shenyu_data.repository.keytext import recovery_words

_COLUMNS = 4
_BORDER = 2  # modules around a code; the standard wants four, readers do with less
_BLACK_ON_WHITE = "\x1b[30;107m{}\x1b[0m"  # whatever colours the terminal has
_HALVES = {(0, 0): " ", (1, 0): "▀", (0, 1): "▄", (1, 1): "█"}


def recovery_key_text(recovery_key: str) -> str:
    """Return a recovery key for people: its words, numbered, and below them its letters."""
    words = recovery_words(recovery_key)
    cells = [f"{number:2} {word:9}" for number, word in enumerate(words, 1)]
    lines = len(cells) // _COLUMNS
    rows = ("  ".join(cells[line::lines]).rstrip() for line in range(lines))
    return "\n".join(f"    {row}" for row in [*rows, "", recovery_key])


def show_qr(text: str) -> None:
    """Print a QR code of ``text`` on standard output, if that is a terminal it fits into."""
    if not sys.stdout.isatty():
        return
    # segno takes 80 ms to import: only who sees a code pays for it.
    import segno

    code = segno.make(text, error="m", micro=False)
    width = int(code.symbol_size(border=_BORDER)[0])
    if width > shutil.get_terminal_size().columns:
        return
    rows = [bytes(row) for row in code.matrix_iter(border=_BORDER)]
    rows.append(bytes(width))  # two rows of modules a line: their number may be odd
    lines = [
        "".join(_HALVES[pair] for pair in zip(upper, lower, strict=True))
        for upper, lower in zip(rows[::2], rows[1::2], strict=False)
    ]
    try:
        "".join(lines).encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return
    sys.stdout.write("\n".join(_BLACK_ON_WHITE.format(line) for line in lines) + "\n")


def slot_json(slot: KeySlot) -> dict[str, Any]:
    """Return a key slot as ``--json`` shows it."""
    return {
        "id": slot.id,
        "kind": slot.kind,
        "label": slot.label,
        "created": iso(slot.created_ms) if slot.created_ms is not None else None,
        "last_used": iso(slot.last_used_ms) if slot.last_used_ms is not None else None,
        "opens": slot.opens,
        "in_use": slot.yours,
    }


def recovery_json(key: str | None) -> dict[str, Any]:
    """Return a recovery key as ``--json`` shows it."""
    return {
        "recovery_key": key,
        "recovery_words": recovery_words(key) if key is not None else None,
    }


def show_recovery_key(call: Call, text: str, key: str) -> None:
    """Print a recovery key below a text; with ``--quiet`` alone, and with ``--json`` not at all."""
    if call.as_json:
        return
    if call.quiet:
        say(key)
        return
    say(f"{text}\n\nRecovery key, shown only now; keep it away from this machine:\n")
    say(recovery_key_text(key) + "\n")
    show_qr(key)


def new_passphrase(file: str | None) -> str:
    """Return the passphrase that is to open the repository from now on, too."""
    if file is not None:
        return read_passphrase_file(file)
    if secret := os.environ.get("SHENYU_DATA_NEW_PASSPHRASE"):
        return secret
    if not sys.stdin.isatty():
        raise ConfigError(
            "no new passphrase is given",
            hint="Give --new-passphrase-file, or set SHENYU_DATA_NEW_PASSPHRASE.",
        )
    asked: str = click.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True)
    return asked
