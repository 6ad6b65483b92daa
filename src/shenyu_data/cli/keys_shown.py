"""Showing a person a key to write down: words in columns, letters in groups, and a QR code."""

from __future__ import annotations

import shutil
import sys

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
