"""Measures shenyu-data and its peers side by side: `python -m benchmarks.run`, or `make bench`.

Prints a Markdown report. It never fails because something is slow: that is for people to judge.
"""

import argparse
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks import report
from benchmarks.catalog import CATALOG_WORKS
from benchmarks.data import SETS, make
from benchmarks.peers import PEERS, Peer
from benchmarks.works import WORKS, Bench

_EVERYTHING = (
    *("full", "unchanged", "changed", "restore", "restore-user", "restore-chat"),
    *("restore-chat-in-place", "verify", "erase"),
)
# For each data set what is done by default, by whom (the first is compared with), and how much of
# the histories a day of use changes.
_DEFAULTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], float]] = {
    "S": (
        (*_EVERYTHING, "prune", *CATALOG_WORKS),
        ("restic", "borg", "tar", "tar-zstd", "ours"),
        0.02,
    ),
    "M": ((*_EVERYTHING, *CATALOG_WORKS), ("restic", "borg", "tar", "tar-zstd", "ours"), 0.02),
    "M/10": (("prune",), ("restic", "borg", "ours"), 0.02),
    "10M": (("full", "unchanged", "changed"), ("restic", "ours"), 0.01),
    "G": (
        ("validate", "validate-warm", "cleanup", "cleanup-warm", "export", "import", "compress"),
        *(("guide", "ours"), 0.02),
    ),
}

_REST_S = 40.0
"""For so long ext4 without a journal makes new files slowly where many were deleted."""


def _names(text: str, known: dict[str, object]) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in known]:
        choices = ", ".join(known)
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)} (choose from {choices})")
    return names


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--set", choices=_DEFAULTS, default="S", help="the data set (S)")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds (3), after a warm-up")
    parser.add_argument("--work", type=Path, help="where the scratch folder is made")
    parser.add_argument("--data", type=Path, help="a copy of the set, made before; it is copied")
    parser.add_argument("--output", type=Path, help="write the report there as well")
    parser.add_argument(
        "--only", type=lambda text: _names(text, dict(WORKS)), help=f"of: {', '.join(WORKS)}"
    )
    parser.add_argument(
        "--peers", type=lambda text: _names(text, dict(PEERS)), help=f"of: {', '.join(PEERS)}"
    )
    parser.add_argument("--fraction", type=float, help="of histories changed by a day of use")
    parser.add_argument("--days", type=int, help="of backups before a prune (365; of S 30)")
    parser.add_argument("--keep", action="store_true", help="leave the scratch folder in place")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    works, peers, fraction = _DEFAULTS[options.set]
    options.only = options.only or works
    options.peers = options.peers or peers
    options.days = options.days or (30 if options.set == "S" else 365)
    options.fraction = fraction if options.fraction is None else options.fraction
    return options


def tell(line: str) -> None:
    """Show progress, on standard error: standard output is for the report."""
    print(line, file=sys.stderr, flush=True)


def facts(peers: list[type[Peer]]) -> str:
    """Return what a reader must know of the machine, and nothing that would name it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return "\n".join(
        f"- {fact}"
        for fact in (
            f"{len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB of memory, "
            f"{platform.system()} on {platform.machine()}, "
            f"load {os.getloadavg()[0]:.1f} before the start",
            f"Python {platform.python_version()}",
            ", ".join(peer.version() for peer in peers) or "no tool to compare",
        )
    )


def measure(options: argparse.Namespace, present: list[type[Peer]], scratch: Path) -> Bench:
    """Do all the work that was asked for, in `scratch`."""
    data = scratch / "data"
    if options.data:
        shutil.copytree(options.data, data)
    else:
        tell(f"making the data set {options.set}")
        make(SETS[options.set], data)
    peers = [peer(data, scratch / name) for name, peer in PEERS.items() if peer in present]
    for peer in peers:
        peer.reset()
    bench = Bench(
        data,
        scratch,
        peers,
        rounds=options.rounds,
        fraction=options.fraction,
        days=options.days,
        rest_s=_REST_S,
    )
    for work in options.only:
        bench.do(work, tell)
    return bench


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    options = _options(arguments)
    chosen = [PEERS[name] for name in options.peers]
    present = [peer for peer in chosen if peer.executable()]
    absent = [peer.name for peer in chosen if peer not in present]
    notes = [f"**ABSENT: {name} was not found; its column is empty.**" for name in absent]
    for note in notes:
        tell(note)
    heading = facts(present)
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="shenyu-data-bench-", dir=options.work)).resolve()
    try:
        bench = measure(options, present, scratch)
        notes += [
            f"**FAILED: {work} by {name}:** {samples.failure.replace(str(scratch), '…')}"
            for (work, name), samples in bench.samples.items()
            if samples.failure
        ]
        lines = report.rows(
            options.set, options.only, options.fraction, options.days, bench.samples
        )
        text = "\n\n".join(
            [
                f"# Benchmark: data set {options.set}, timed rounds: {options.rounds}",
                heading,
                *notes,
                "Median of the rounds (least–greatest).",
                report.table(lines, chosen, absent),
                "Processor time (median) and peak memory of the whole process tree, by work:",
                report.details(options.only, bench.samples, [peer.name for peer in present]),
            ]
        )
        print(text, flush=True)
        if options.output:
            options.output.write_text(text + "\n", encoding="utf-8")
    except KeyboardInterrupt:
        tell("interrupted: nothing is reported")
        return 130
    finally:
        if options.keep:
            tell(f"kept: {scratch}")
        else:
            tell("removing the scratch folder")
            shutil.rmtree(scratch, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
