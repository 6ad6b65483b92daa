"""Measures the catalog: `python -m benchmarks.catalog DIR`, a data set that was made before.

Nothing of DIR is changed but by `--change`: then it must be a copy that may be. Prints a Markdown
table of whole commands; memory is watched in runs of their own.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.day import day_of_use
from benchmarks.measure import Command, output_of, run

_PAGE = 100

CATALOG_WORKS = {
    "catalog-build": "make the catalog, and the first page",
    "catalog-unchanged": "nothing changed: compare, and the first page",
    "catalog-changed": "a day of use: update, and the first page",
    "catalog-page": "the first page, --stale",
    "catalog-far-page": "the page after 1,000 pages (or the first), --stale",
    "catalog-search": "search for *the*: 20 of many, --stale",
    "catalog-search-none": "search for a word nobody wrote, no index, --stale",
}
"""What is measured of the catalog beside the other works, and its titles."""


class Program:
    """The command line with a state folder of its own, on one data directory."""

    def __init__(self, data: Path, state: Path) -> None:
        self._data = data
        self._state = state

    def call(self, *words: str) -> Command:
        """Return a call of a verb."""
        environment = {**os.environ, "XDG_STATE_HOME": str(self._state)}
        arguments = (sys.executable, "-m", "shenyu_data.cli.main", *words)
        flags = ("--data", str(self._data), "--json")
        return Command((*arguments, *flags), self._state, environment, statuses=(0, 1))

    def work(self, name: str) -> Command:
        """Return what one of :data:`CATALOG_WORKS` is; what it needs is made ready."""
        page = ("chats", "list", "--limit", str(_PAGE))
        if name == "catalog-build":
            self.forget()
        if name == "catalog-page":
            return self.call(*page, "--stale")
        if name == "catalog-far-page":
            cursor = self.cursor(1000)
            return self.call(*page, "--stale", *(("--after", cursor) if cursor else ()))
        if name.startswith("catalog-search"):
            word = "qqqqqq" if name.endswith("none") else "the"
            return self.call("chats", "search", word, "--stale", "--limit", "20")
        return self.call(*page)

    def forget(self) -> None:
        """Remove the catalog and the index of words."""
        for path in self._state.rglob("catalog*.db*"):
            path.unlink()

    def cursor(self, pages: int) -> str:
        """Return the cursor with which the page after so many begins."""
        after: list[str] = []
        left = pages
        while left:  # in strides of many pages, which end where single ones do
            stride = min(left, 500)
            words = ("chats", "list", "--stale", "--limit", str(stride * _PAGE))
            page = json.loads(output_of(self.call(*words, *after)))
            if page["next"] is None:
                break
            after = ["--after", page["next"]]
            left -= stride
        return after[1] if after else ""

    def bytes(self) -> dict[str, int]:
        """Return the sizes of what is kept."""
        return {path.name: path.stat().st_size for path in self._state.rglob("catalog*.db")}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.catalog", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--words", nargs="*", default=["norselbel", "迁徙", "the", "qqqqqq"])
    parser.add_argument("--pages", type=int, default=1000, help="which page is the far one")
    parser.add_argument("--change", action="store_true", help="change 2 % of the histories, too")
    parser.add_argument("--index", action="store_true", help="make an index of words, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as state:
        _measure(options, Program(options.data.resolve(), Path(state)))


def _measure(options: argparse.Namespace, program: Program) -> None:
    listing = program.call("chats", "list", "--limit", str(_PAGE))
    stale = program.call("chats", "list", "--limit", str(_PAGE), "--stale")
    print("| work | wall s, median | processor s | peak MB |\n| --- | ---: | ---: | ---: |")

    def row(name: str, command: Command, before: object = None) -> None:
        walls, cpus = [], []
        for number in range(options.rounds):
            if callable(before):
                before(number)
            usage = run(command)
            walls.append(usage.wall_s)
            cpus.append(usage.cpu_s)
        if callable(before):
            before(options.rounds)
        peak = run(command, watch=True).peak_bytes or 0
        print(
            f"| {name} | {median(walls):.2f} | {median(cpus):.2f} | {peak / 1e6:.0f} |", flush=True
        )

    row("build, and the first page", listing, lambda _: program.forget())
    row("nothing changed: compare, and the first page", listing)
    if options.change:
        row(
            "2 % of histories changed: update, and the first page",
            listing,
            lambda number: day_of_use(options.data, seed=100 + number, fraction=0.02),
        )
    row("the first page, --stale", stale)
    cursor = program.cursor(options.pages)
    if cursor:
        words = ("chats", "list", "--stale", "--limit", str(_PAGE), "--after", cursor)
        row(f"the page after {options.pages:,} pages, --stale", program.call(*words))
    users = json.loads(output_of(program.call("users", "list", "--order", "size", "--limit", "1")))
    largest = users["users"][0]["user"]
    chat = json.loads(output_of(program.call("chats", "list", "--user", largest, "--stale")))
    show = program.call("chats", "show", chat["chats"][-1]["id"], "--user", largest, "--stale")
    row("a chat of the largest user, --stale", show)
    for kind in ("search", "search with an index") if options.index else ("search",):
        if "index" in kind:
            make = program.call("chats", "search", "qqqqqq", "--index")
            print(f"| make the index | {run(make).wall_s:.2f} | | |", flush=True)
        for word in options.words:
            command = program.call("chats", "search", word, "--stale", "--limit", "20")
            row(f"{kind} {word}, --stale", command)
    print("\nkept:", program.bytes())


if __name__ == "__main__":
    main()
