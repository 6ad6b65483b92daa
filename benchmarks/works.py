"""The work that is measured: every peer does it in turn, each round from equal states.

For `benchmarks.run`. Round 0 warms every cache and is watched for memory; the rounds after it are
timed. Nothing here asserts anything: a peer that fails is reported and left out of what follows.
"""

import json
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial, reduce
from pathlib import Path

from benchmarks.catalog import CATALOG_WORKS
from benchmarks.data import day_of_use, digest
from benchmarks.documents import json_text
from benchmarks.folders import (
    empty_files,
    files_of,
    leave_for_a_day,
    stamps_of,
    unpacked_files,
)
from benchmarks.measure import Command, CommandFailedError, Usage, output_of, run
from benchmarks.peers import Peer

Tell = Callable[[str], None]

# Under this name stands the failure of an untimed backup, without which there is no other work.
PREPARATION = "preparation"
_DIFFERS = "what was restored differs from the original"


@dataclass
class Samples:
    """What one peer needed for one work; the lists hold one value for each timed round."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    grown_bytes: list[int] = field(default_factory=list)
    written_bytes: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    peak_bytes: int | None = None
    repository_bytes: int | None = None
    left_bytes: int | None = None
    failure: str = ""


class Bench:
    """The peers, one data directory that changes under them, and what was measured so far."""

    def __init__(
        self,
        data: Path,
        scratch: Path,
        peers: list[Peer],
        *,
        rounds: int,
        fraction: float,
        days: int,
        rest_s: float = 0,
    ) -> None:
        """Measure `rounds` times; a day of use changes `fraction` of the histories in `data`.

        Before a prune there is a backup of each of the last `days` days. `rest_s` is how long to
        wait after many files were deleted.
        """
        self.samples: defaultdict[tuple[str, str], Samples] = defaultdict(Samples)
        self._data = data
        self._scratch = scratch
        self._peers = peers
        self._rounds = rounds
        self._fraction = fraction
        self._days = days
        self._rest_s = rest_s
        self._day = 0
        # The state of the data directory, counted in days of use, that each repository ends with.
        self._backed_up: dict[str, int] = {}

    def do(self, work: str, tell: Tell) -> None:
        """Do one work (a key of `WORKS`) in all its rounds; `tell` hears of each result."""
        self._tell = tell
        WORKS[work](self)

    def _full(self) -> None:
        for number, peer in self._turns("full"):
            if not peer.backs_up:
                continue
            self._backed_up.pop(peer.name, None)
            if self._create(peer) and self._measure("full", number, peer, peer.backup()):
                self._backed_up[peer.name] = self._day
                self.samples["full", peer.name].repository_bytes = peer.repository_bytes()

    def _unchanged(self) -> None:
        for number, peer in self._turns("unchanged"):
            if peer.incremental and self._brought_up_to_date(peer):
                self._measure("unchanged", number, peer, peer.backup())

    def _changed(self) -> None:
        for number in range(self._rounds + 1):
            row = self._row("changed", number)
            ready = [peer for peer in row if peer.incremental and self._brought_up_to_date(peer)]
            self._use_for_a_day()
            for peer in ready:
                before_bytes = peer.repository_bytes()
                if self._measure("changed", number, peer, peer.backup()):
                    self._backed_up[peer.name] = self._day
                    grown_bytes = self.samples["changed", peer.name].grown_bytes
                    grown_bytes += [peer.repository_bytes() - before_bytes] if number else []

    def _restore(self) -> None:
        expected = digest(self._data)
        for number, peer in self._turns("restore"):
            if not self._brought_up_to_date(peer):
                continue
            target = self._new_target()
            done = self._measure("restore", number, peer, peer.restore(target))
            if done and number == 0 and digest(target) != expected:
                self._fail("restore", peer, _DIFFERS)
            empty_files(target)

    def _restore_user(self) -> None:
        users = sorted(os.listdir(self._data / "histories"))
        for number, peer in self._turns("restore-user"):
            if not self._brought_up_to_date(peer):
                continue
            # Another user in each round, the same for all peers, away from the ends of the list.
            user = users[(number + 1) * len(users) // (self._rounds + 2)]
            target = self._new_target()
            command = peer.restore_user(user, target)
            done = self._measure("restore-user", number, peer, command)
            if done and number == 0 and files_of(target) != self._files_of(user):
                self._fail("restore-user", peer, _DIFFERS)

    def _restore_chat(self) -> None:
        for number, peer in self._turns("restore-chat"):
            if not self._brought_up_to_date(peer):
                continue
            user, history, chat, _ = self._some_chat(number)
            target = self._new_target()
            command = peer.restore_chat(user, history, chat, target)
            done = self._measure("restore-chat", number, peer, command)
            if done and number == 0 and chat not in str(files_of(target)):
                self._fail("restore-chat", peer, _DIFFERS)

    def _restore_chat_in_place(self) -> None:
        """One chat has gone from a history that nobody is writing to, and comes back."""
        for number, peer in self._turns("restore-chat-in-place"):
            user, history, chat, path = self._some_chat(number)
            command = peer.restore_chat_in_place(user, history, chat)
            if command is None or not self._brought_up_to_date(peer):
                continue
            whole = path.read_bytes()
            chats = [item for item in json.loads(whole) if str(item["id"]) != chat]
            path.write_text(json_text(chats), encoding="utf-8")
            leave_for_a_day(path)
            done = self._measure("restore-chat-in-place", number, peer, command)
            if done and path.read_bytes() != whole:
                self._fail("restore-chat-in-place", peer, _DIFFERS)
            path.write_bytes(whole)

    def _erase(self) -> None:
        for number, peer in self._turns("erase"):
            user, *_ = self._some_chat(number)
            command = peer.erase(user)
            if command is None or not self._brought_up_to_date(peer):
                continue
            documents = [self._data / path for path in self._files_of(user)]
            for path in documents:
                leave_for_a_day(path)
            packs = stamps_of(peer.repository / "packs")
            self._day += 1
            done = self._measure("erase", number, peer, command)
            if done and packs != stamps_of(peer.repository / "packs"):
                self._fail("erase", peer, "packs were touched")
            if done and any(path.exists() for path in documents):
                self._fail("erase", peer, "documents are left")

    def _prune(self) -> None:
        """Every round prunes the same past, of which a copy is kept."""
        peers = [peer for peer in self._peers if peer.prune() and self._create(peer)]
        today = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
        for ago in range(self._days, 0, -1):
            self._use_for_a_day()
            for peer in peers:
                self._back_up(peer, peer.backup_of(today - timedelta(ago)))
        for peer in peers:
            shutil.copytree(peer.scratch, _aside(peer), symlinks=True)
        for number, peer in self._turns("prune"):
            if not _aside(peer).exists():
                continue
            shutil.rmtree(peer.scratch)
            shutil.copytree(_aside(peer), peer.scratch, symlinks=True)
            self._prune_once(number, peer)

    def _prune_once(self, number: int, peer: Peer) -> None:
        samples = self.samples["prune", peer.name]
        before = stamps_of(peer.repository)
        samples.repository_bytes = peer.repository_bytes()
        if not self._measure("prune", number, peer, *peer.prune()):
            return
        after = stamps_of(peer.repository)
        samples.left_bytes = peer.repository_bytes()
        samples.written_bytes.append(
            sum(stamp[0] for path, stamp in after.items() if before.get(path) != stamp)
        )
        if count := peer.count():
            samples.kept.append(output_of(count[0]).count(count[1]))
        command = peer.restore(target := self._new_target())
        if number == 0 and command:
            run(command)
            if digest(target) != digest(self._data):
                self._fail("prune", peer, _DIFFERS)

    def _verify(self) -> None:
        for number, peer in self._turns("verify"):
            if self._brought_up_to_date(peer):
                self._measure("verify", number, peer, peer.verify())

    def _validate(self, work: str = "validate") -> None:
        for number, peer in self._turns(work):
            self._ready_catalog(work, number, peer)
            self._measure(work, number, peer, peer.validate())

    def _cleanup(self, work: str = "cleanup") -> None:
        for number, peer in self._turns(work):
            if not peer.backs_up or self._brought_up_to_date(peer):
                self._ready_catalog(work, number, peer)
                self._measure(work, number, peer, peer.clean_up())

    def _ready_catalog(self, work: str, number: int, peer: Peer) -> None:
        """Make the catalog, untimed, for what is measured with one; else there is none."""
        program = peer.catalog()
        if program is not None and work.endswith("-warm"):
            if number == 0:
                run(program.work("catalog-unchanged"))
        elif program is not None:
            program.forget()

    def _catalog(self, work: str) -> None:
        for number, peer in self._turns(work):
            program = peer.catalog()
            if program is not None:
                if work == "catalog-changed":
                    self._use_for_a_day()
                self._measure(work, number, peer, program.work(work))

    def _export(self) -> None:
        for number, peer in self._turns("export"):
            file = self._new_target().with_suffix(".json")
            self._measure("export", number, peer, peer.export(file))
            file.unlink(missing_ok=True)

    def _import(self) -> None:
        for number, peer in self._turns("import"):
            target = self._new_target()
            file = target.with_suffix(".json")
            written = peer.export(file)
            if written is not None:
                run(written)
                self._measure("import", number, peer, peer.import_(file, target))
                empty_files(target)
                file.unlink()

    def _compress(self) -> None:
        """Every run compresses a new copy; what others deleted is not to slow it down."""
        for number, peer in self._turns("compress"):
            target = self._new_target()
            shutil.copytree(self._data, target, symlinks=True, dirs_exist_ok=True)
            command = peer.compress(target)
            if command is None:
                continue
            done = self._measure("compress", number, peer, command)
            if done and number == 0 and unpacked_files(target) != files_of(self._data):
                self._fail("compress", peer, _DIFFERS)
            empty_files(target)
            time.sleep(self._rest_s)

    def _row(self, work: str, number: int) -> list[Peer]:
        """Return the peers in this round's order, without those that failed at this work."""
        start = number % len(self._peers)
        row = self._peers[start:] + self._peers[:start]
        failed = {key for key, samples in self.samples.items() if samples.failure}
        return [peer for peer in row if not {(work, peer.name), (PREPARATION, peer.name)} & failed]

    def _turns(self, work: str) -> Iterator[tuple[int, Peer]]:
        """Yield A B C, B C A, C A B…: a place in the row must not favour a peer."""
        for number in range(self._rounds + 1):
            for peer in self._row(work, number):
                yield number, peer

    def _measure(self, work: str, number: int, peer: Peer, *commands: Command | None) -> bool:
        """Run what makes up one round; return False if there is nothing or it fails."""
        usages = []
        for command in commands:
            if command is None:
                return False
            # What earlier runs left to be written must not be paid for by this one.
            os.sync()
            try:
                usages.append(run(command, watch=number == 0))
            except CommandFailedError as error:
                self._fail(work, peer, str(error))
                return False
        usage = reduce(Usage.plus, usages)
        samples = self.samples[work, peer.name]
        if number == 0:
            samples.peak_bytes = usage.peak_bytes
        else:
            samples.wall_s.append(usage.wall_s)
            samples.cpu_s.append(usage.cpu_s)
        kind = f"round {number}" if number else "warm-up"
        parts = " + ".join(f"{part.wall_s:.2f}" for part in usages) if usages[1:] else ""
        self._tell(f"{work:<12} {kind:<8} {peer.name:<18} {usage.wall_s:8.2f} s {parts}")
        return True

    def _fail(self, work: str, peer: Peer, why: str) -> None:
        self.samples[work, peer.name].failure = why
        self._tell(f"FAILED: {work} by {peer.name}: {why}")

    def _create(self, peer: Peer) -> bool:
        peer.reset()
        try:
            if command := peer.create():
                run(command)
        except CommandFailedError as error:
            self._fail(PREPARATION, peer, f"no repository could be made: {error}")
            return False
        return True

    def _brought_up_to_date(self, peer: Peer) -> bool:
        """Back up, untimed, if the repository does not hold today's state; False: that failed."""
        if not peer.backs_up:
            return False
        if self._backed_up.get(peer.name) == self._day:
            return True
        if peer.name not in self._backed_up and not self._create(peer):
            return False
        return self._back_up(peer, peer.backup())

    def _back_up(self, peer: Peer, command: Command | None) -> bool:
        self._backed_up.pop(peer.name, None)
        try:
            if command:
                run(command)
        except CommandFailedError as error:
            self._fail(PREPARATION, peer, f"no backup could be made: {error}")
            return False
        self._backed_up[peer.name] = self._day
        return True

    def _use_for_a_day(self) -> None:
        self._day += 1
        day = day_of_use(self._data, seed=self._day, fraction=self._fraction)
        self._tell(
            f"a day of use rewrote {day.written_bytes:,} bytes of {len(day.histories):,} "
            f"histories and {len(day.users):,} users"
        )

    def _some_chat(self, number: int) -> tuple[str, str, str, Path]:
        """Return user, history and id of a chat in the middle of a round's own history, and its
        path.
        """
        users = sorted(os.listdir(self._data / "histories"))
        start = (number + 1) * len(users) // (self._rounds + 2)
        for user in users[start:]:
            for path in sorted((self._data / "histories" / user).glob("*.json")):
                chats = json.loads(path.read_bytes())
                if isinstance(chats, list) and len(chats) > 4:
                    return user, path.stem, str(chats[len(chats) // 2]["id"]), path
        raise LookupError("no history has five chats")

    def _new_target(self) -> Path:
        """Return an empty folder to restore into; it goes when the scratch folder goes."""
        return Path(tempfile.mkdtemp(dir=self._scratch))

    def _files_of(self, user: str) -> dict[str, bytes]:
        """Return what a restore of one user must hold."""
        path = f"users/{user}.json"
        histories = files_of(self._data / "histories" / user)
        return {path: (self._data / path).read_bytes()} | {
            f"histories/{user}/{name}": content for name, content in histories.items()
        }


def _aside(peer: Peer) -> Path:
    return peer.scratch.with_name(f"{peer.scratch.name}-before")


WORKS: dict[str, Callable[[Bench], None]] = {
    "full": Bench._full,
    "unchanged": Bench._unchanged,
    "changed": Bench._changed,
    "restore": Bench._restore,
    "restore-user": Bench._restore_user,
    "restore-chat": Bench._restore_chat,
    "restore-chat-in-place": Bench._restore_chat_in_place,
    "verify": Bench._verify,
    "erase": Bench._erase,
    "prune": Bench._prune,
    "validate": Bench._validate,
    "validate-warm": lambda bench: bench._validate("validate-warm"),
    "cleanup": Bench._cleanup,
    "cleanup-warm": lambda bench: bench._cleanup("cleanup-warm"),
    "export": Bench._export,
    "import": Bench._import,
    "compress": Bench._compress,
    **{work: partial(Bench._catalog, work=work) for work in CATALOG_WORKS},
}
