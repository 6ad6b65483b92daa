"""`make fuzz [ARGS="--seconds 3600 --only native"]`: every target for its share of the time.

Exits with 1 if a target crashed, hung or took too much memory; the input that did it is kept in
build/fuzz/found, and the corpus in build/fuzz/corpus for the next run.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from fuzz.targets import TARGETS, Target

WORK = Path("build/fuzz")
MOST_S_EACH = 10
"""One input that takes longer has made a reader hang."""

MOST_MEMORY_MB = 1024

_SHARED = "/dev/shm"


class Result(NamedTuple):
    """What became of one target."""

    name: str
    seconds: float
    executions: int
    found: list[Path]


def main() -> int:
    """Fuzz what was asked for and print a line for each."""
    parser = argparse.ArgumentParser(prog="make fuzz ARGS=…", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="for all targets together")
    parser.add_argument("--only", action="append", choices=sorted(TARGETS), help="this target")
    parser.add_argument("--list", action="store_true", help="print the targets and end")
    options = parser.parse_args()
    if options.list:
        for name, target in TARGETS.items():
            print(f"{name:18} {(target.check.__doc__ or '').split('.')[0].strip()}")
        return 0
    names = options.only or list(TARGETS)
    shares = sum(TARGETS[name].share for name in names)
    results = []
    for name in names:
        target = TARGETS[name]
        result = fuzz(name, target, max(1, round(options.seconds * target.share / shares)))
        print(
            f"{name:18} {result.seconds:8.1f} s {result.executions:12,} executions",
            *(f"FOUND {path}" for path in result.found),
            flush=True,
        )
        results.append(result)
    print(
        f"{'together':18} {sum(one.seconds for one in results):8.1f} s "
        f"{sum(one.executions for one in results):12,} executions"
    )
    return int(any(one.found for one in results))


def fuzz(name: str, target: Target, seconds: int) -> Result:
    """Fuzz one target for so long; what it says goes to a file of its own."""
    corpus, found = WORK / "corpus" / name, WORK / "found" / name
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    before = set(found.iterdir())
    command = [sys.executable, "-m", "fuzz.one", name, str(corpus)]
    command += [f"-max_total_time={seconds}", f"-timeout={MOST_S_EACH}"]
    command += [f"-rss_limit_mb={MOST_MEMORY_MB}", f"-max_len={target.most_bytes}"]
    command += [f"-artifact_prefix={found}/", "-print_final_stats=1"]
    if target.words:
        words = WORK / f"{name}.words"
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
        command.append(f"-dict={words}")
    log = WORK / f"{name}.log"
    began = time.monotonic()
    with (
        log.open("w", encoding="utf-8") as file,
        tempfile.TemporaryDirectory(prefix="fuzz-", dir=_memory()) as temporary,
    ):
        environment = os.environ | {"TMPDIR": temporary}
        ended = subprocess.run(command, stdout=file, stderr=file, check=False, env=environment)
    new = sorted(set(found.iterdir()) - before)
    if ended.returncode and not new:
        new = [log]
    return Result(name, time.monotonic() - began, _executions(log), new)


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _memory() -> str | None:
    """Return a folder in memory, if there is one: what is unpacked needs no disk."""
    return _SHARED if os.access(_SHARED, os.W_OK) else None


def _executions(log: Path) -> int:
    text = log.read_text(encoding="utf-8", errors="replace")
    stated = re.findall(r"stat::number_of_executed_units:\s*(\d+)", text)
    passed = re.findall(r"^#(\d+)\s", text, re.MULTILINE)
    return int((stated or passed or ["0"])[-1])


if __name__ == "__main__":
    sys.exit(main())
