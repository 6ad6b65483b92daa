"""Turns measurements into Markdown: one row for each work, one column for each peer. For `run`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.catalog import CATALOG_WORKS
from benchmarks.measure import Spread
from benchmarks.peers import OURS, Peer
from benchmarks.works import PREPARATION, Samples

Measured = Mapping[tuple[str, str], Samples]
Values = Callable[[Samples], Sequence[float]]

# What shenyu-data promises, as a share of what its main peer needs: restic, or on G the guide's
# script. docs/design says where these numbers come from.
TARGETS: dict[str, dict[str, float]] = {
    "M": {
        "full": 0.35,
        "unchanged": 0.22,
        "changed": 0.22,
        "growth": 0.30,
        "restore": 0.50,
        "restore-user": 0.25,
        "verify": 0.25,
        "size": 0.90,
    },
    "10M": {"full": 0.5, "unchanged": 0.5, "changed": 0.5, "growth": 0.5},
    "G": {"validate": 0.6, "cleanup-warm": 1.0, "export": 0.5, "import": 0.5, "compress": 0.5},
}
# What it promises whatever others need, in seconds.
LIMITS_S: dict[str, dict[str, float]] = {
    "M": {"restore-chat": 0.3, "restore-chat-in-place": 0.3, "erase": 1.0},
}
MEMORY_TARGET_BYTES = 200e6
_MEMORY_SETS = ("M", "10M")
_NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: for each peer what it needed, or why there is nothing."""

    title: str
    unit: str
    spreads: dict[str, Spread]
    failures: dict[str, str]
    target: float | None = None
    limit: float | None = None  # an absolute target, in the row's own unit


def rows(
    set_name: str, works: Sequence[str], fraction: float, days: int, measured: Measured
) -> list[Row]:
    """Return the rows of the main table for the works that were measured."""
    titles = {
        "full": "full backup",
        "unchanged": "backup, nothing changed",
        "changed": f"backup, {100 * fraction:g} % of histories changed",
        "restore": "restore everything",
        "restore-user": "restore one user",
        "restore-chat": "restore one chat (peers: its history)",
        "restore-chat-in-place": "put one chat back into the live history",
        "verify": "verify every byte",
        "erase": "erase one user",
        "prune": f"prune {days} daily snapshots",
        "validate": "validate",
        "validate-warm": "validate, with a warm catalog",
        "cleanup": "cleanup, nothing expires",
        "cleanup-warm": "cleanup, nothing expires, with a warm catalog",
        "export": "export in the guide's format",
        "import": "import of it into an empty directory",
        "compress": "compress all histories",
        **CATALOG_WORKS,
    }
    targets, limits = TARGETS.get(set_name, {}), LIMITS_S.get(set_name, {})

    def row(work: str, title: str, unit: str, values: Values, key: str) -> Row:
        spreads: dict[str, Spread] = {}
        failures: dict[str, str] = {}
        for (done, name), samples in measured.items():
            if samples.failure and done in (work, PREPARATION):
                failures[name] = samples.failure
            elif done == work and values(samples):
                spreads[name] = Spread.of(values(samples))
        if work == "full":  # it needs no preparation: what was measured before that failed counts
            failures = {name: why for name, why in failures.items() if name not in spreads}
        return Row(title, unit, spreads, failures, targets.get(key), limits.get(key))

    result = []
    for work in works:
        result.append(row(work, titles[work], "s", lambda samples: samples.wall_s, work))
        if work == "full":
            result.append(row(work, "… size of the repository", "MB", _repository_mb, "size"))
        if work == "changed":
            result.append(row(work, "… growth of the repository", "MB", _grown_mb, "growth"))
        if work == "prune":
            result.append(row(work, "… size before", "MB", _repository_mb, ""))
            result.append(row(work, "… size after", "MB", _left_mb, ""))
            result.append(row(work, "… written by it", "MB", _written_mb, ""))
            result.append(row(work, "… left of them", "snapshots", _kept, ""))
    limit = MEMORY_TARGET_BYTES / 1e6 if set_name in _MEMORY_SETS else None
    return [*result, _memory_row(measured, limit)]


def _grown_mb(samples: Samples) -> list[float]:
    return [grown / 1e6 for grown in samples.grown_bytes]


def _written_mb(samples: Samples) -> list[float]:
    return [written / 1e6 for written in samples.written_bytes]


def _left_mb(samples: Samples) -> list[float]:
    return [samples.left_bytes / 1e6] if samples.left_bytes else []


def _kept(samples: Samples) -> list[float]:
    return [float(kept) for kept in samples.kept]


def _repository_mb(samples: Samples) -> list[float]:
    return [samples.repository_bytes / 1e6] if samples.repository_bytes else []


def _memory_row(measured: Measured, limit: float | None) -> Row:
    peaks: dict[str, float] = {}
    failures = {name: samples.failure for (_, name), samples in measured.items() if samples.failure}
    for (_, name), samples in measured.items():
        if samples.peak_bytes:
            peaks[name] = max(peaks.get(name, 0), samples.peak_bytes / 1e6)
    spreads = {name: Spread.of([peak]) for name, peak in peaks.items() if name not in failures}
    title = "peak memory of the process tree, in any work"
    return Row(title, "MB", spreads, failures, limit=limit)


def table(lines: Sequence[Row], peers: Sequence[type[Peer]], absent: Sequence[str]) -> str:
    """Return the main table; ours is compared with the first of the other peers."""
    names = [peer.name for peer in peers if peer.name != OURS]
    main = names[0] if names else OURS
    heads = ["work", *names, OURS, f"ratio to {main}", "target", "met?"]
    text = [_line(heads), _line(["---"] + ["---:"] * (len(heads) - 1))]
    for row in lines:
        cells = [_cell(row, name, absent) for name in (*names, OURS)]
        text.append(_line([f"{row.title} ({row.unit})", *cells, *_verdict(row, main)]))
    return "\n".join(text)


def details(works: Sequence[str], measured: Measured, names: Sequence[str]) -> str:
    """Return a table of processor time and peak memory for each work."""
    text = [_line(["work", *names]), _line(["---"] + ["---:"] * len(names))]
    for work in works:
        cells = []
        for name in names:
            samples = measured.get((work, name), Samples())
            cpu = f"{Spread.of(samples.cpu_s).median:.2f} s" if samples.cpu_s else _NOTHING
            peak = f"{samples.peak_bytes / 1e6:.0f} MB" if samples.peak_bytes else _NOTHING
            cells.append(f"{cpu}, {peak}" if samples.cpu_s or samples.peak_bytes else _NOTHING)
        text.append(_line([work, *cells]))
    return "\n".join(text)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _cell(row: Row, name: str, absent: Sequence[str]) -> str:
    if name in absent:
        return "**ABSENT**"
    if name in row.failures:
        return "**FAILED**"
    if name not in row.spreads:
        return _NOTHING
    spread = row.spreads[name]
    if spread.least == spread.greatest:
        return _number(spread.median)
    return f"{_number(spread.median)} ({_number(spread.least)}–{_number(spread.greatest)})"


def _verdict(row: Row, main: str) -> list[str]:
    """Return the cells for the ratio, the target, and whether it is met."""
    ours, theirs = row.spreads.get(OURS), row.spreads.get(main)
    ratio = ours.median / theirs.median if ours and theirs and theirs.median else None
    shown = f"{ratio:.2f}" if ratio is not None else _NOTHING
    if row.limit is not None:
        met = None if ours is None else ours.median <= row.limit
        return [shown, f"{row.limit:g} {row.unit}", _met(met)]
    if row.target is None:
        return [shown, _NOTHING, _NOTHING]
    met = None if ratio is None else ratio <= row.target
    return [shown, f"{row.target:.2f}", _met(met)]


def _met(met: bool | None) -> str:
    return "not measured" if met is None else "yes" if met else "**no**"
