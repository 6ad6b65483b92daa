"""A year of the scheduler in seconds: every run that was due happened, or a row says why not, and
none happened twice; whatever clocks, power and disks do.
"""

import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shenyu_data.health.jobs import Process, Program
from shenyu_data.health.known import REPOSITORY, KnownRepository, note
from shenyu_data.health.runs import RUN_COLUMNS, Run, run_of_row
from shenyu_data.health.schedule import open_schedule
from shenyu_data.health.scheduler import Scheduler, Work
from shenyu_data.health.store import Store, open_store
from shenyu_data.model.config_schedule import JobTable, ScheduleTable
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import SilentMonitor, Task
from shenyu_data.operations.configuration import load_settings

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


class Machine:
    """A machine: its clock, its power, the disk of its state folder, and how jobs end on it."""

    def __init__(self, state: Path, table: ScheduleTable, start: datetime) -> None:
        self.now_ms = int(start.timestamp()) * 1000
        """What its clock says."""
        self.true_ms = self.now_ms
        """The time as it passes, whatever the clock says."""
        self.began: list[tuple[str, int]] = []
        """The verb and the true time of every process that was started."""
        self.status = 0
        """What jobs exit with from now on."""
        self.takes_ms = 10 * MINUTE_MS
        self.deaf = False
        """Whether jobs do not heed an interrupt."""
        self.findings: list[Finding] = []
        self.repository: KnownRepository | None = None
        """What the repository tells when it is asked, if it can be."""
        self._location: str | None = None
        self._state = str(state)
        self._disk_full = False
        # What spreads jobs elsewhere, the machine and the folder, must be the same each time here.
        self.schedule = msgspec.structs.replace(open_schedule(table, "", {}), salt="")
        self._scheduler: Scheduler | None = None
        self.power_on()

    def task(self, title: str, total: int | None, unit: str) -> Task:
        return SilentMonitor().task(title, total, unit)

    def report(self, finding: Finding) -> None:
        self.findings.append(finding)

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> Process:
        if command[1] == "status":  # the repository is asked
            return Simulated(self, self.true_ms + MINUTE_MS, 0, self.be_asked)
        self.began.append((command[1], self.true_ms))
        return Simulated(self, self.true_ms + self.takes_ms, self.status)

    def be_asked(self) -> None:
        if self.repository is not None:
            with self.open_log(self._state) as store:
                note(store, REPOSITORY, self.now_ms, self.repository)

    def lose_state(self) -> None:
        """Lose the state folder while nothing is at work, which holds snapshots."""
        self.power_off()
        shutil.rmtree(self._state)
        self._location = "/repo"
        self.power_on()

    def runs_a_job(self) -> bool:
        return self._scheduler is not None and self._scheduler.running is not None

    def power_on(self) -> None:
        nothing = load_settings(
            config_file=None, data="/data", repository=self._location, jobs=None, environment={}
        )
        program = Program(words=["program"], flags=[])
        self._scheduler = Scheduler(
            self._state,
            Work(settings=nothing, schedule=self.schedule, program=program),
            self,
            lambda: False,
            lambda line, event, /, **fields: None,
            started_ms=self.now_ms,
            start=self.start,
            open_log=self.open_log,
            hooks=(),
            elapsed_s=lambda: self.true_ms / 1000,
        )

    def power_off(self) -> None:
        """Every process is gone at once; none has noted its end."""
        assert self._scheduler is not None
        self._scheduler.close()
        self._scheduler = None
        with self.open_log(self._state) as store, store.writing() as connection:
            connection.execute("UPDATE runs SET born = '' WHERE ended_ms IS NULL")

    def fill_disk(self, full: bool) -> None:
        """Have the log refuse every change, as on a full disk."""
        self._disk_full = full
        if self._scheduler is not None:
            self._scheduler.close()

    def open_log(self, state: str) -> Store:
        """Open the log, and wait for no disk: no power is lost really."""
        store = open_store(state)
        store.connection.execute("PRAGMA synchronous = OFF")
        if self._disk_full:
            store.connection.execute("PRAGMA query_only = ON")
        return store

    def set_clock(self, by_ms: int) -> None:
        self.now_ms += by_ms

    def pass_time(self, length_ms: int) -> None:
        """Let time pass: the scheduler sleeps as long as it says, or until its job has ended."""
        until_ms = self.true_ms + length_ms
        while self.true_ms < until_ms:
            step_ms = until_ms - self.true_ms
            if self._scheduler is not None:
                wake_ms = self._scheduler.tick(self.now_ms)
                running = self._scheduler.running
                if running is not None:
                    assert isinstance(running.process, Simulated)
                    until_end_ms = running.process.ends_ms - self.true_ms
                    step_ms = min(step_ms, until_end_ms, wake_ms - self.now_ms)
                else:
                    step_ms = min(step_ms, wake_ms - self.now_ms)
            step_ms = max(step_ms, 1000)
            self.true_ms += step_ms
            self.now_ms += step_ms

    def configure(self, table: ScheduleTable) -> None:
        """Have it read another configuration."""
        assert self._scheduler is not None
        self.schedule = msgspec.structs.replace(open_schedule(table, "", {}), salt="")
        work = msgspec.structs.replace(self._scheduler.work, schedule=self.schedule)
        self._scheduler.work = work

    def rows(self) -> list[Run]:
        with self.open_log(self._state) as store, store.reading() as connection:
            rows = connection.execute(f"SELECT {RUN_COLUMNS} FROM runs ORDER BY rowid").fetchall()
        return [run_of_row(row) for row in rows]


class Simulated:
    """A process that ends at a time, or soon after it is told to. Its number is that of these
    tests: it lives.
    """

    def __init__(
        self,
        machine: Machine,
        ends_ms: int,
        status: int,
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.pid = os.getpid()
        self.ends_ms = ends_ms
        self._machine = machine
        self._status = status
        self._at_end = at_end

    def poll(self) -> int | None:
        if self._machine.true_ms < self.ends_ms:
            return None
        self._at_end()
        return self._status

    def wait(self) -> int:
        return self._status

    def send_signal(self, sig: int) -> None:
        if self.poll() is None and (sig != signal.SIGINT or not self._machine.deaf):
            self.ends_ms, self._status = self._machine.true_ms + 1000, -sig


def check(machine: Machine, since_ms: int) -> None:
    """Every time that was due has a row or lies before one that says it was missed; and each row
    stands for one process.
    """
    rows = machine.rows()
    for job in machine.schedule.jobs:
        ours = sorted(
            (row.due_ms, row.attempt, row.outcome)
            for row in rows
            if row.job == job.name and row.due_ms is not None
        )
        due = {due_ms for due_ms, _, _ in ours}
        missed = {due_ms for due_ms, _, outcome in ours if outcome == "skipped"}
        # What is due now may wait for its share of the spread, or for another job to end.
        until_ms = machine.now_ms - 3 * HOUR_MS
        time_ms = since_ms
        while (time_ms := job.cron.after(time_ms, machine.schedule.zone) or until_ms) < until_ms:
            following = min((one for one in due if one >= time_ms), default=None)
            assert following == time_ms or following in missed, (job.name, time_ms, following)
        done = Counter(due_ms for due_ms, _, outcome in ours if outcome == "good")
        assert not done or max(done.values()) == 1
    made = [row for row in rows if row.outcome != "skipped"]
    assert len(made) == len(machine.began)
    assert all(row.ended_ms is not None for row in made[:-1])


ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
LEAP_YEAR = datetime(2028, 1, 1, 12, tzinfo=UTC)


def test_a_leap_year_of_the_usual_jobs(tmp_path: Path) -> None:
    machine = Machine(tmp_path, ScheduleTable(timezone="Europe/Berlin"), LEAP_YEAR)
    since_ms = machine.now_ms
    machine.pass_time(366 * DAY_MS)
    check(machine, since_ms)
    rows = machine.rows()
    assert {row.outcome for row in rows} == {"good"}
    counts = Counter(row.job for row in rows)
    assert counts == {
        "backup": 366,
        "backup-full": 53,
        "prune": 366,
        "verify": 366,
        "validate": 366,
        "drill": 52,
    }
    assert machine.findings == []


AWKWARD = {
    "leapt": JobTable(run=["backup"], at="30 2 * * *"),
    "midnight": JobTable(run=["validate"], at="0 0 * * *"),
}


@pytest.mark.parametrize("zone", ZONES[1:])
def test_a_leap_year_of_awkward_times(zone: str, tmp_path: Path) -> None:
    machine = Machine(tmp_path, ScheduleTable(timezone=zone, jobs=AWKWARD), LEAP_YEAR)
    since_ms = machine.now_ms
    machine.pass_time(366 * DAY_MS)
    check(machine, since_ms)
    assert Counter(row.job for row in machine.rows()) == {"leapt": 366, "midnight": 366}


def test_a_leap_day_comes_once_in_four_years(tmp_path: Path) -> None:
    jobs = {"leap-day": JobTable(run=["verify"], at="0 2 29 2 *")}
    machine = Machine(tmp_path, ScheduleTable(timezone="UTC", jobs=jobs), LEAP_YEAR)
    machine.pass_time(4 * 366 * DAY_MS)
    days = [datetime.fromtimestamp(row.started_ms / 1000, UTC) for row in machine.rows()]
    assert [day.date().isoformat() for day in days] == ["2028-02-29"]


def test_power_that_is_off_and_runs_that_fail_and_a_disk_that_is_full(tmp_path: Path) -> None:
    machine = Machine(tmp_path, ScheduleTable(timezone="Europe/Berlin"), LEAP_YEAR)
    since_ms = machine.now_ms
    for number in range(26):  # a fortnight each
        machine.pass_time(9 * DAY_MS + number * HOUR_MS)
        if number % 3 == 0:
            machine.power_off()
            machine.pass_time((1 + number % 7 * 20) * HOUR_MS)
            machine.power_on()
        elif number % 3 == 1:
            machine.status = (1, 2, 3, 4, -9, 130)[number // 3 % 6]
            machine.pass_time(2 * DAY_MS)
            machine.status = 0
        else:
            before = len(machine.began)
            machine.fill_disk(True)
            machine.pass_time(3 * DAY_MS)
            assert len(machine.began) - before >= 3 * 4  # four jobs a day, noted or not
            machine.fill_disk(False)
    machine.pass_time(DAY_MS)
    check(machine, since_ms)
    assert {row.outcome for row in machine.rows()} >= {"good", "findings", "failed", "skipped"}
    # A disk that is full is told once, not at each run.
    assert Counter(item.code for item in machine.findings) == {"run-not-noted": 8}


@pytest.mark.parametrize("in_a_run", [False, True])
def test_a_log_that_is_removed_beside_the_scheduler_is_begun_anew(
    tmp_path: Path, in_a_run: bool
) -> None:
    jobs = {"nightly": JobTable(run=["verify"], at="0 2 * * *")}
    machine = Machine(tmp_path, ScheduleTable(timezone="UTC", jitter="1min", jobs=jobs), LEAP_YEAR)
    machine.pass_time(2 * DAY_MS + (14 * HOUR_MS + 5 * MINUTE_MS if in_a_run else 12 * HOUR_MS))
    assert machine.runs_a_job() == in_a_run
    for path in tmp_path.glob("health.sqlite*"):
        path.unlink()
    machine.pass_time(2 * DAY_MS + HOUR_MS)
    assert len(machine.began) == 4 + in_a_run
    outcomes = [(row.job, row.outcome) for row in machine.rows()]
    assert outcomes == [("nightly", "good")] * (2 + in_a_run)
    assert machine.findings == []


def test_a_job_that_is_new_or_changed_runs_at_its_next_time(tmp_path: Path) -> None:
    """It is always noon when something changes, and eleven has passed."""

    def jobs(**times: str) -> ScheduleTable:
        tables = {name: JobTable(run=["validate"], at=at) for name, at in times.items()}
        return ScheduleTable(timezone="UTC", jobs=tables)

    machine = Machine(tmp_path, jobs(one="0 15 * * *"), LEAP_YEAR)
    machine.pass_time(2 * DAY_MS)
    for table in (jobs(one="0 11 * * *"), jobs(two="0 11 * * *"), jobs(one="0 11 * * *")):
        machine.configure(table)
        before = len(machine.began)
        machine.pass_time(22 * HOUR_MS)
        assert len(machine.began) == before
        machine.pass_time(2 * HOUR_MS)
        assert len(machine.began) == before + 1
    assert Counter(row.job for row in machine.rows()) == {"one": 4, "two": 1}


def test_a_clock_that_jumps_silences_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    table = ScheduleTable(timezone="UTC", jobs={"daily": AWKWARD["leapt"]})
    machine = Machine(tmp_path, table, LEAP_YEAR)
    machine.pass_time(10 * DAY_MS)
    jumps = (5 * 365 * DAY_MS, -5 * 365 * DAY_MS, HOUR_MS, -HOUR_MS, -3 * DAY_MS, 3 * DAY_MS)
    for jump_ms in jumps:
        before = len(machine.began)
        machine.set_clock(jump_ms)
        machine.pass_time(10 * DAY_MS)
        runs = len(machine.began) - before
        # Set back by three days, these are lived again: they have their runs.
        expected = 7 if jump_ms == -3 * DAY_MS else 10
        assert expected <= runs <= 11, (jump_ms, runs)
    assert max(Counter((row.due_ms, row.attempt) for row in machine.rows()).values()) == 1


@pytest.mark.parametrize("deaf", [False, True])
def test_a_job_that_hangs_holds_up_nothing_for_longer_than_it_may(
    deaf: bool, tmp_path: Path
) -> None:
    """It hangs each Monday of a quarter, and heeds an interrupt or not."""
    jobs = {
        "hangs": JobTable(run=["verify"], at="0 2 * * *", timeout="2h", retries=1),
        "waits": JobTable(run=["backup"], at="0 3 * * *"),
    }
    machine = Machine(tmp_path, ScheduleTable(timezone="Europe/Berlin", jobs=jobs), LEAP_YEAR)
    since_ms = machine.now_ms
    machine.deaf = deaf
    for _ in range(13):
        machine.pass_time(6 * DAY_MS)
        machine.takes_ms = 1000 * DAY_MS
        machine.pass_time(14 * HOUR_MS - 15 * MINUTE_MS)  # at night: it hangs since two
        machine.takes_ms = 10 * MINUTE_MS
        machine.pass_time(10 * HOUR_MS + 15 * MINUTE_MS)
    check(machine, since_ms)
    rows = machine.rows()
    counts = Counter((row.job, row.outcome) for row in rows)
    assert counts == {("hangs", "timed-out"): 13, ("hangs", "good"): 91, ("waits", "good"): 91}
    for row in rows:
        assert row.ended_ms is not None
        late_ms = row.ended_ms - row.started_ms - 2 * HOUR_MS
        assert row.outcome != "timed-out" or 0 <= late_ms <= 3 * MINUTE_MS
        assert row.due_ms is not None
        assert row.started_ms - row.due_ms <= 3 * HOUR_MS


KNOWN = KnownRepository(
    id="00",
    location="/repo",
    snapshots=9,
    oldest_ms=0,
    newest_ms=None,
    good_ms=None,
    degraded=0,
    totals={},
    held_bytes=1,
    size_bytes=1,
    proven_ms=None,
    slots=[],
)


@pytest.mark.parametrize("told", [False, True])
def test_a_state_that_is_lost_puts_off_no_run(told: bool, tmp_path: Path) -> None:
    """It is lost every other month, at another time of another day, and the repository tells when
    backups were made, or cannot be asked.
    """
    machine = Machine(tmp_path / "state", ScheduleTable(timezone="Europe/Berlin"), LEAP_YEAR)
    for number in range(6):
        before = len(machine.began)
        machine.pass_time(59 * DAY_MS + number * 5 * HOUR_MS)
        lost_ms = machine.true_ms
        last = dict(machine.began)
        if told:
            machine.repository = msgspec.structs.replace(
                KNOWN, newest_ms=last["backup"], full_ms=last["backup"], pruned_ms=last["prune"]
            )
        machine.lose_state()
        machine.pass_time(3 * HOUR_MS)
        again = Counter(verb for verb, time_ms in machine.began if time_ms >= lost_ms)
        # Twice: at once, and by the clock. What the repository tells is not done again at once.
        due = Counter(verb for verb, _ in machine.began[before:])
        assert due["drill"] >= 8
        for verb, least in (("verify", 1), ("validate", 1), ("drill", 1), ("backup", 2)):
            told_of = told and verb == "backup"
            assert least - 2 * told_of <= again[verb] <= least + 2, (number, verb)
    codes = Counter(item.code for item in machine.findings)
    assert codes == {"state-rebuilt" if told else "state-not-rebuilt": 6}


def test_a_state_that_is_lost_under_a_scheduler_at_work_puts_off_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    machine = Machine(tmp_path / "state", ScheduleTable(timezone="Europe/Berlin"), LEAP_YEAR)
    for number in range(10):
        machine.pass_time(6 * DAY_MS + number * 5 * HOUR_MS)
        shutil.rmtree(tmp_path / "state")
    counts = Counter(verb for verb, _ in machine.began)
    days = sum(24 * 6 + number * 5 for number in range(10)) // 24
    assert counts["drill"] in (days // 7, days // 7 + 1)
    for verb in ("verify", "validate", "prune"):
        assert days - 1 <= counts[verb] <= days + 1
    assert machine.findings == []


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(("pass", "off", "fail", "slow", "full", "hang")),
        st.integers(1, 3 * 24 * 60),
    ),
    max_size=6,
)
TIMES = st.sampled_from(("30 2 * * *", "*/20 * * * *", "0 */7 * * *", "0 3 * * sun", "@hourly"))


@settings(max_examples=15)
@given(st.lists(TIMES, min_size=1, max_size=3), EVENTS, st.sampled_from(ZONES))
def test_whatever_happens_every_due_time_is_accounted_for(
    times: list[str], events: list[tuple[str, int]], zone: str
) -> None:
    jobs = {
        f"job-{number}": JobTable(run=["validate"], at=at, retries=1, timeout="2h")
        for number, at in enumerate(times)
    }
    with tempfile.TemporaryDirectory() as folder:
        start = datetime(2026, 3, 20, 12, tzinfo=UTC)  # clocks change soon
        machine = Machine(Path(folder), ScheduleTable(timezone=zone, jobs=jobs), start)
        since_ms = machine.now_ms
        for event, minutes in events:
            if event == "off":
                # What is to be noted when there is room again would be lost with the power.
                machine.fill_disk(False)
                machine.pass_time(1000)
                machine.power_off()
            else:
                machine.fill_disk(event == "full")
            machine.status = 3 if event == "fail" else 0
            machine.takes_ms = {"slow": 100, "hang": 10**7}.get(event, 5) * MINUTE_MS
            machine.pass_time(minutes * MINUTE_MS)
            if event == "off":
                machine.power_on()
        machine.fill_disk(False)
        machine.status, machine.takes_ms = 0, 5 * MINUTE_MS
        machine.pass_time(DAY_MS)
        check(machine, since_ms)
