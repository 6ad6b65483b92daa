"""Realistic data directories of any size, for benchmarks, tests and `python -m benchmarks.data`.

A data set is made as a stream, user by user, in constant memory, and is the same to the byte
wherever it is made.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

from benchmarks.day import day_of_use
from benchmarks.documents import Document, application_user, guide_user, json_text

__all__ = ["SETS", "DataSet", "Made", "day_of_use", "digest", "main", "make"]

_USERS_PER_TASK = 250


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data directory to be made: which layout, for how many users, from which seed."""

    layout: str
    users: int
    seed: int = 1

    def documents(self, start: int, stop: int) -> Iterator[Document]:
        """Yield the documents of the users from `start` to before `stop`."""
        user = _LAYOUTS[self.layout]
        for index in range(start, min(stop, self.users)):
            yield from user(self.seed, index)


_LAYOUTS: dict[str, Callable[[int, int], Iterator[Document]]] = {
    "application": application_user,
    "guide": guide_user,
}
SETS = {
    "S": DataSet("application", 1_000),
    "M/10": DataSet("application", 2_000),
    "M": DataSet("application", 20_000),
    "10M": DataSet("application", 200_000),
    "G": DataSet("guide", 6_500),
}


@dataclass(frozen=True, slots=True)
class Made:
    """What a data set came to on disk."""

    documents: int
    bytes: int


def make(data_set: DataSet, directory: Path, *, jobs: int = 2) -> Made:
    """Write `data_set` below `directory`; raise FileExistsError if that is not empty."""
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise FileExistsError(f"{directory} is not empty")
    for name in ("users", "histories"):
        (directory / name).mkdir()
    write = partial(_write_users, data_set, directory)
    starts = range(0, data_set.users, _USERS_PER_TASK)
    if jobs == 1:
        made = list(map(write, starts))
    else:
        # Spawned, not forked: this may run below a test runner that has threads.
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as executor:
            made = list(executor.map(write, starts))
    return Made(sum(part.documents for part in made), sum(part.bytes for part in made))


def _write_users(data_set: DataSet, directory: Path, start: int) -> Made:
    documents = size = 0
    folder = ""
    for path, value in data_set.documents(start, start + _USERS_PER_TASK):
        target = os.path.join(directory, path)
        if os.path.dirname(target) != folder:
            folder = os.path.dirname(target)
            os.makedirs(folder, exist_ok=True)
        content = json_text(value).encode()
        with open(target, "xb", buffering=0) as file:
            file.write(content)
        documents += 1
        size += len(content)
    return Made(documents, size)


def digest(directory: Path) -> str:
    """Return one hexadecimal digest of every path and byte below `directory`."""
    whole = sha256()
    for folder, folders, files in os.walk(directory):
        folders.sort()
        for name in sorted(files):
            path = Path(folder, name)
            content = path.read_bytes()
            whole.update(f"{path.relative_to(directory).as_posix()}\0{len(content)}\0".encode())
            whole.update(content)
    return whole.hexdigest()


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("make", help="write a data set")
    verb.add_argument("set", choices=SETS)
    verb.add_argument("directory", type=Path)
    verb.add_argument("--users", type=int, help="another number of users than the set's own")
    verb.add_argument("--seed", type=int, default=1)
    verb.add_argument("--jobs", type=int, default=2, help="processes (2)")
    verb = verbs.add_parser("day", help="change a data directory as a day of use does")
    verb.add_argument("directory", type=Path)
    verb.add_argument("--fraction", type=float, default=0.02, help="of the histories (0.02)")
    verb.add_argument("--seed", type=int, default=1)
    verb = verbs.add_parser("digest", help="print one digest of a data directory")
    verb.add_argument("directory", type=Path)
    options = parser.parse_args(arguments)

    started = time.perf_counter()
    if options.verb == "make":
        chosen = SETS[options.set]
        data_set = replace(chosen, users=options.users or chosen.users, seed=options.seed)
        made = make(data_set, options.directory, jobs=options.jobs)
        print(f"{made.documents:,} documents, {made.bytes:,} bytes", end="")
    elif options.verb == "day":
        day = day_of_use(options.directory, seed=options.seed, fraction=options.fraction)
        print(
            f"{len(day.histories):,} histories and {len(day.users):,} users rewritten "
            f"({day.written_bytes:,} bytes), {day.chats_added:,} chats and "
            f"{day.messages_added:,} messages added",
            end="",
        )
    else:
        print(digest(options.directory), end="")
    print(f" in {time.perf_counter() - started:.1f} s" if options.verb != "digest" else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
