"""Runs one command and says what it cost: time, processor time, memory. For the benchmarks only.

Memory is watched in runs of its own. Reading a process's proportional memory walks its page tables
under the lock that its page faults need, which slows exactly the large and busy process; a run
that is watched is therefore never one that is timed.
"""

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

_SAMPLE_EVERY_S = 0.02
_OUTPUT_SHOWN_CHARS = 600


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run: where, with which environment, and which exit statuses mean success."""

    arguments: tuple[str, ...]
    cwd: Path
    environment: Mapping[str, str]
    statuses: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a run cost; `peak_bytes` only if it was watched and the system can tell."""

    wall_s: float
    cpu_s: float
    peak_bytes: int | None = None

    def plus(self, other: "Usage") -> "Usage":
        """Return what this run and another one, after it, cost together."""
        peak_bytes = max(self.peak_bytes or 0, other.peak_bytes or 0) or None
        return Usage(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s, peak_bytes)


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several measurements, between the least and the greatest."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of at least one value."""
        return cls(median(values), min(values), max(values))


class CommandFailedError(Exception):
    """A command ended with another status than success; the message holds the end of its output."""


def run(command: Command, *, watch: bool = False) -> Usage:
    """Run a command to its end and return what it and all its children cost.

    Raise CommandFailedError if it does not succeed. With `watch`, memory is sampled, and the times
    are not worth keeping. Whatever interrupts this function ends the command first.
    """
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command.arguments,
            cwd=command.cwd,
            env=command.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        watcher = _MemoryWatcher(process.pid) if watch else None
        try:
            # Not process.wait(): only wait4 tells the processor time of this child alone.
            _, status, resources = os.wait4(process.pid, 0)
            wall_s = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if process.returncode is None:
                _end(process)
            peak_bytes = watcher.stop() if watcher else None
        if process.returncode not in command.statuses:
            output.seek(0)
            text = output.read().decode(errors="replace").strip()[-_OUTPUT_SHOWN_CHARS:]
            raise CommandFailedError(f"exit status {process.returncode}: {text or 'no output'}")
    return Usage(wall_s, resources.ru_utime + resources.ru_stime, peak_bytes)


def output_of(command: Command) -> str:
    """Return what a command that is not measured prints; raise CommandFailedError."""
    done = subprocess.run(
        command.arguments,
        cwd=command.cwd,
        env=command.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode not in command.statuses:
        text = done.stderr.strip()[-_OUTPUT_SHOWN_CHARS:]
        raise CommandFailedError(f"exit status {done.returncode}: {text or 'no output'}")
    return done.stdout


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the command and everything it started: they share a session, and so a process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return
        return


class _MemoryWatcher:
    """Samples the memory of all processes of one session, from a thread."""

    def __init__(self, session: int) -> None:
        self._session = session
        self._peak_bytes = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int | None:
        """Stop sampling; return the greatest sum seen, in bytes, or None if nothing was seen."""
        self._stopped.set()
        self._thread.join()
        return self._peak_bytes or None

    def _watch(self) -> None:
        while not self._stopped.wait(_SAMPLE_EVERY_S):
            sizes = (_memory_bytes(pid) for pid in _processes(self._session))
            self._peak_bytes = max(self._peak_bytes, sum(sizes))


def _processes(session: int) -> set[int]:
    """Return the processes of a session, and their descendants that left it."""
    parents: dict[int, int] = {}
    found: set[int] = set()
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if not entry.isdigit():
            continue
        try:
            stat = Path("/proc", entry, "stat").read_text(errors="replace")
        except OSError:
            continue  # ended meanwhile
        # The name, in brackets, may hold anything; after it: state, parent, group, session.
        fields = stat.rpartition(")")[2].split()
        parents[int(entry)] = int(fields[1])
        if int(fields[3]) == session:
            found.add(int(entry))
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _memory_bytes(pid: int) -> int:
    """Return the proportional memory of a process: a page that n processes share counts 1/n."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
