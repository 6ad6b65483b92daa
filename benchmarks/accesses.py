"""A year of ordinary accesses, and what watching says of them: `python -m benchmarks.accesses`.

The people are those of `benchmarks/ordinary.py`: what they do in a day, and at which hours. The
application opens and writes for them; nothing is on a disk. For tests too.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC

from benchmarks.draws import Draws
from benchmarks.ordinary import DAY_MS, FIRST_MS, HOURS, Year
from shenyu_data.model.config_watch import WatchTable
from shenyu_data.model.watch_rules import Tally
from shenyu_data.model.watch_terms import OPENED, REMOVED, WRITTEN, Actor, Noticed

Access = tuple[int, int, bytes]
"""When, what, and which path."""

_JUDGED_MS = 60_000


def accesses(year: Year, day: int) -> Iterator[Access]:
    """Yield what the application does on a day, in order."""
    draws = Draws("accesses", year.seed, day)
    if draws.chance(year.off):
        return
    share = year.written * (0.3 if day % 7 in (5, 6) else 0.7 + draws.below(60) / 100)
    visits = []
    for user in range(year.users):
        # Who writes, and about as many who only look.
        if draws.below(1_000_000) < 2 * share * 1_000_000:
            hour = HOURS[draws.below(len(HOURS))]
            visits.append((hour * 3_600_000 + draws.below(3_600_000), user, draws.chance(50)))
    start_ms = FIRST_MS + day * DAY_MS
    for time_ms, user, writes in sorted(visits):
        now_ms = start_ms + time_ms
        document = b"users/%064x.json" % user
        history = b"histories/%064x/chat-history.json" % user
        yield now_ms, OPENED | WRITTEN, document
        yield now_ms, OPENED, history
        if writes:
            yield now_ms, OPENED | WRITTEN, history
    if draws.chance(year.leaves):
        gone = draws.below(year.users)
        folder = b"histories/%064x" % gone
        for path in (folder + b"/chat-history.json", folder, b"users/%064x.json" % gone):
            yield start_ms + DAY_MS - 1, REMOVED, path


def watch_year(year: Year, days: int, table: WatchTable, actor: Actor) -> tuple[list[Noticed], int]:
    """Return what is noticed in so many days, and the most users within one window."""
    tally = Tally(table, None, UTC)
    found: list[Noticed] = []
    most = judged_ms = 0
    for day in range(days):
        for now_ms, what, path in accesses(year, day):
            if now_ms - judged_ms >= _JUDGED_MS:
                judged_ms = now_ms
                tally.at(now_ms)
                found += tally.judge()
            tally.add(actor, what, path)
        for peaks in tally.ordinary.values():
            most = max(most, *(peak.users for peak in peaks))
    tally.at(FIRST_MS + days * DAY_MS)
    return found + tally.judge(), most


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accesses", description=__doc__)
    parser.add_argument("--users", type=int, nargs="*", default=[30, 300, 3000, 20_000])
    parser.add_argument("--written", type=float, default=0.10, help="of the histories in a day")
    parser.add_argument("--days", type=int, default=365)
    options = parser.parse_args(arguments)
    print("users  most users in a window  noticed")
    account = Actor(standing="other", account=900, program="/usr/bin/node")
    for users in options.users:
        year = Year(users, 1, written=options.written)
        found, most = watch_year(year, options.days, WatchTable(), account)
        causes = Counter(item.cause for item in found)
        print(f"{users:6}  {most:6}  {dict(causes) or 'none'}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
