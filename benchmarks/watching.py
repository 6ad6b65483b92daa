"""What watching costs, by each mechanism: `python -m benchmarks.watching`.

A process opens documents at a given rate, and then as fast as it can, while the program watches.
The processor time and the memory are those of the watch alone.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = [sys.executable, "-m", "shenyu_data.cli.main"]
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")

LOAD = """
import os, sys, time
data, users, rate, seconds = sys.argv[1], *map(float, sys.argv[2:])
os.chdir(data)
begun = time.monotonic()
done = 0
while (now := time.monotonic() - begun) < seconds:
    due = rate * now if rate else done + 500
    while done < due:
        user = int(done * 7919 % users)
        os.close(os.open("histories/u%d/chat-history.json" % user, os.O_RDONLY))
        done += 1
    if rate:
        time.sleep(0.005)
print(done)
"""


def make(data: Path, users: int) -> None:
    """Make a data directory of small histories."""
    (data / "users").mkdir(parents=True)
    for number in range(users):
        folder = data / f"histories/u{number}"
        folder.mkdir(parents=True)
        (folder / "chat-history.json").write_text("[]")


def processor_s(pid: int) -> float:
    """Return the processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def peak_kib(pid: int) -> int:
    """Return the most memory that a process has had."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0])


def measure(mechanism: str, data: Path, users: int, rate: float, seconds: float) -> dict[str, str]:
    """Watch while documents are opened ``rate`` times a second: 0 as fast as can be, -1 none."""
    with tempfile.TemporaryDirectory(prefix="watching-") as home:
        environment = {**os.environ, "XDG_STATE_HOME": home, "SHENYU_DATA_DIR": str(data)}
        words = [*PROGRAM, "watch", "--json", "--mechanism", mechanism]
        with (
            (Path(home) / "out").open("w+b") as out,
            subprocess.Popen(words, stdout=out, env=environment) as watch,
        ):
            while b"watch" not in b"".join(
                path.read_bytes() for path in Path(home).rglob("health.sqlite")
            ):
                time.sleep(0.1)
            time.sleep(0.5)
            before_s, begun_s = processor_s(watch.pid), time.monotonic()
            done = 0
            if rate < 0:
                time.sleep(seconds)
            else:
                load = [sys.executable, "-c", LOAD, str(data), *map(str, (users, rate, seconds))]
                done = int(subprocess.run(load, check=True, capture_output=True).stdout)
            took_s = time.monotonic() - begun_s
            time.sleep(1)
            used_s, memory = processor_s(watch.pid) - before_s, peak_kib(watch.pid)
            watch.send_signal(signal.SIGTERM)
            watch.wait()
            out.seek(0)
            found = json.loads(out.read())
    return {
        "mechanism": mechanism,
        "accesses a second": f"{done / took_s:,.0f}",
        "told": f"{found['accesses']:,} of {done:,}",
        "queue full": str(found["dropped"]),
        "processor": f"{used_s / took_s:.1%}",
        "per access": f"{used_s / done * 1e6:.1f} us" if done else "-",
        "memory": f"{memory / 1000:.0f} MB",
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watching", description=__doc__)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=5000)
    parser.add_argument("--seconds", type=float, default=15)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="watching-") as folder:
        data = Path(folder) / "data"
        make(data, options.users)
        header = True
        for rate in (-1.0, options.rate, 0.0):
            for mechanism in ("fanotify", "inotify"):
                row = measure(mechanism, data, options.users, rate, options.seconds)
                if header:
                    print(" | ".join(row))
                    header = False
                print(" | ".join(row.values()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
