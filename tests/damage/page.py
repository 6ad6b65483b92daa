"""``docs/damage.md``, as text."""

from __future__ import annotations

from pathlib import Path

from tests.damage.cases import Kind
from tests.damage.trial import COLUMNS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "damage.md"

_BEGINNING = """\
# What damage does

Tests damage a small repository in every way below, call every verb on it, and compare this page
with what they saw (`tests/damage/test_table.py` says how it is written anew). The repository has a
past: users who were erased, two rotations of its key, repacked packs, objects that wait to be
deleted, a torn document.

Whatever is damaged, the tests hold every verb to this:

- No document is restored that is not exactly what it was: it is right, or missing and named. The
  same holds for a snapshot that is taken or copied after the damage.
- Nothing is missing with exit status 0, except what nothing in the repository tells of (*fewer*),
  and except in a snapshot that an incremental backup takes of users who did not change: it does not
  read what it has of them. `verify` does, and `backup --full`.
- `prune` deletes nothing when it cannot find what a snapshot needs.
- `drill --all` says that everything can be restored if a restore does it, and only then.
- `erase-user` gives no receipt unless the user is gone.
- No verb fails in a way nobody thought of, and none that only reads writes anything.

## How to read it

A cell is the exit status: 0 done, 1 done with findings, 2 there is no such thing, 3 failed, 4
damaged. Behind it, unless all was done as if nothing were damaged:

| word | means |
|---|---|
| *part* | what is affected is missing and named; the rest is there |
| *none* | refused, with what is wrong and what to do; nothing was done |
| *more* | there is more than was there: what came back |
| *fewer* | what is lost left no trace |
| *unseen* | `verify` does not name it: not needed, or no trace left, or what needs it is named |

The damages: *missing*, deleted · *empty*, 0 bytes · *truncated*, cut off in the middle · *flipped*,
one bit · *swapped* with another object of its kind, or if there is none, with an old one ·
*duplicated*, stored once more under another name · *old version back*, an object that was deleted
with good reason is there again. Of manifests, packs, moves and keyrings it is hit where the user
hangs on it whom `show`, `timeline`, `restore --user` and `erase-user` ask for; *older* is the
restore of a snapshot with a torn document; *in place* and *plan* are dry runs.

Without any damage (1, because one of the two snapshots that are compared, and the older one, is
degraded, and because a link of the erased user's leads to what remains):

"""


def beginning(undamaged: dict[str, str]) -> str:
    """Return the page down to the first kind of object."""
    return _BEGINNING + _table({"nothing": undamaged}) + "\n"


def section(kind: Kind, rows: dict[str, dict[str, str]]) -> str:
    """Return what the page says of a kind; damages that do the same share a line."""
    merged: dict[tuple[str, ...], list[str]] = {}
    for damage, cells in rows.items():
        merged.setdefault(tuple(cells.values()), []).append(damage)
    lines = {", ".join(damages): rows[damages[0]] for damages in merged.values()}
    return f"## {kind.heading}\n\n{kind.about}\n\n{_table(lines)}\n"


def _table(rows: dict[str, dict[str, str]]) -> str:
    lines = [["damage", *COLUMNS], ["---"] * (len(COLUMNS) + 1)]
    lines += ([damage, *map(_shown, cells.values())] for damage, cells in rows.items())
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _shown(cell: str) -> str:
    status, _, word = cell.partition(" ")
    return f"{status} *{word}*" if word else status
