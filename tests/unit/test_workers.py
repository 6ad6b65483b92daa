"""Bulk work on processes: order, bounds, failures, and that no process is left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shenyu_data.model.errors import ShenyuDataError, StorageFull
from shenyu_data.operations.workers import default_jobs, open_executor, run_tasks

SLEEP_S = 240.0
"""Longer than whatever is waited for here, so that it shows if a task is waited for."""

PATIENCE_S = 120.0
"""A machine may be as busy as it likes."""

JOBS = pytest.mark.parametrize("jobs", [1, 2])


def square(number: int) -> int:
    return number * number


def process_id(_: int) -> int:
    return os.getpid()


def fail_at_three(number: int) -> int:
    if number == 3:
        raise StorageFull("no room for 3", hint="Make room.")
    return number


def die_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def first_waits(task: tuple[str, int]) -> int:
    """Return the number of the task; number 0 waits until there is something in the folder."""
    folder, number = task
    while not number and not os.listdir(folder):
        time.sleep(0.005)
    return number


def first_waits_for_fourth(task: tuple[str, int]) -> int:
    """As :func:`first_waits`, which number 3 ends."""
    if task[1] == 3:
        Path(task[0], "done").touch()
    return first_waits(task)


def sleep_long(path: str) -> None:
    Path(path, str(os.getpid())).touch()
    time.sleep(SLEEP_S)


def tidy_up(task: tuple[str, bool]) -> None:
    """Wait for an exception, then do something that takes its time; let the exception pass or not.
    Whoever is asked to end again and again goes on with that.
    """
    folder, passes = task
    try:
        sleep_long(folder)
    except BaseException:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)
        Path(folder, str(os.getpid())).write_text("tidied up")
        if passes:
            raise


@JOBS
def test_every_task_is_done_once(jobs: int) -> None:
    with open_executor(jobs) as executor:
        results = list(run_tasks(executor, square, range(50), waiting=4))
    assert sorted(results) == [number * number for number in range(50)]


def test_in_order_results_come_as_the_tasks_were_given(tmp_path: Path) -> None:
    tasks = [(str(tmp_path), number) for number in range(20)]
    with open_executor(2) as executor:
        results = run_tasks(executor, first_waits_for_fourth, tasks, waiting=4, in_order=True)
        assert list(results) == list(range(20))


def test_in_order_one_job_does_them_as_they_were_given() -> None:
    with open_executor(1) as executor:
        results = run_tasks(executor, square, range(20), waiting=4, in_order=True)
        assert list(results) == [number * number for number in range(20)]


def test_a_slow_task_does_not_hold_up_the_others(tmp_path: Path) -> None:
    tasks = [(str(tmp_path), number) for number in range(2)]
    with open_executor(2) as executor:
        results = run_tasks(executor, first_waits, tasks, waiting=2)
        assert next(results) == 1
        (tmp_path / "go on").touch()
        assert next(results) == 0


def test_one_job_works_in_this_process() -> None:
    with open_executor(1) as executor:
        assert set(run_tasks(executor, process_id, range(5), waiting=2)) == {os.getpid()}


def test_two_jobs_work_in_other_processes() -> None:
    with open_executor(2) as executor:
        assert os.getpid() not in set(run_tasks(executor, process_id, range(5), waiting=2))


@JOBS
def test_no_more_tasks_are_taken_than_may_wait(jobs: int) -> None:
    taken = []

    def endless() -> Iterator[int]:
        number = 0
        while True:
            taken.append(number)
            yield number
            number += 1

    with open_executor(jobs) as executor:
        results = run_tasks(executor, square, endless(), waiting=3)
        for given in range(10):
            next(results)
            assert len(taken) <= given + 3


@JOBS
def test_the_error_of_a_task_arrives_as_it_was_raised(jobs: int) -> None:
    with (
        pytest.raises(StorageFull, match="no room for 3") as caught,
        open_executor(jobs) as executor,
    ):
        list(run_tasks(executor, fail_at_three, range(10), waiting=4))
    assert caught.value.hint == "Make room."


def test_a_killed_worker_is_an_error_with_a_hint() -> None:
    with (
        pytest.raises(ShenyuDataError, match="worker process died") as caught,
        open_executor(2) as executor,
    ):
        list(run_tasks(executor, die_at_three, range(10), waiting=4))
    assert "--jobs 1" in caught.value.hint


def test_an_exception_in_the_block_ends_the_workers_at_once(tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt), open_executor(2) as executor:
        assert executor is not None
        for _ in range(4):
            executor.submit(sleep_long, str(tmp_path))
        workers = wait_for_workers(tmp_path)
        raise KeyboardInterrupt
    assert time.monotonic() - begun < SLEEP_S, "what a task does was waited for"
    assert not any(is_running(worker) for worker in workers)


@pytest.mark.parametrize("passes", [True, False])
def test_a_task_that_tidies_up_is_given_the_time_for_it(tmp_path: Path, passes: bool) -> None:
    folder = str(tmp_path)
    workers: list[int] = []

    def tasks() -> Iterator[tuple[str, bool]]:
        yield folder, passes
        yield folder, passes
        workers.extend(wait_for_workers(tmp_path))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), open_executor(2) as executor:
        list(run_tasks(executor, tidy_up, tasks(), waiting=4, tidies=True))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["tidied up"] * 2
    assert not any(is_running(worker) for worker in workers)


def test_workers_can_be_started_while_other_threads_run() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        with open_executor(2) as executor:
            assert list(run_tasks(executor, square, [3], waiting=1)) == [9]
    finally:
        stop.set()
        thread.join()


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_a_process_ended_by(how: signal.Signals, tmp_path: Path) -> None:
    code = (
        "import importlib.util, sys; from shenyu_data.operations.workers import *\n"
        "spec = importlib.util.spec_from_file_location('tasks', sys.argv[1])\n"
        "tasks = sys.modules['tasks'] = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(tasks)\n"
        "with open_executor(2) as executor:\n"
        "    list(run_tasks(executor, tasks.sleep_long, [sys.argv[2]] * 9, waiting=4))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, __file__, str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    workers = wait_for_workers(tmp_path)
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does
    else:
        process.send_signal(how)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert errors.count("Traceback") == (how == signal.SIGINT)  # the main process's own
    deadline = time.monotonic() + PATIENCE_S
    while any(is_running(worker) for worker in workers):
        assert time.monotonic() < deadline, "a worker is left"
        time.sleep(0.05)


def test_default_jobs_are_few_but_some() -> None:
    assert 1 <= default_jobs() <= 8


def wait_for_workers(folder: Path) -> list[int]:
    """Give the ids of two workers once they are at work."""
    deadline = time.monotonic() + PATIENCE_S
    while len(found := list(folder.iterdir())) < 2:
        assert time.monotonic() < deadline, "the workers did not begin"
        time.sleep(0.02)
    return [int(path.name) for path in found]


def is_running(process: int) -> bool:
    """Say whether a process is there and is not a zombie that nobody has asked for yet."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    try:
        status = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2]
    except OSError:
        return False
    return not status.startswith((" Z", " X"))


HALF_A_RESULT = """
import os, signal, sys, time
from multiprocessing.connection import Connection
from shenyu_data.operations.workers import open_executor, run_tasks

def send_half(connection, data):
    os.write(connection.fileno(), bytes(data)[:5000])
    open(os.path.join(folder, "half"), "x").close()
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(seconds)

def task(_):
    Connection._send = send_half
    return bytes(100_000)

how, folder, seconds = *sys.argv[1:3], float(sys.argv[3])
with open_executor(2) as executor:
    results = run_tasks(executor, task, range(10), waiting=4)
    if how == "killed":
        next(results)
    for _ in range(4):
        executor.submit(task, 0)
    while not os.listdir(folder):
        time.sleep(0.01)
    sys.exit(7)
"""


@pytest.mark.parametrize(
    ("how", "status", "says"), [("killed", 1, "worker process died"), ("left", 7, "")]
)
def test_half_a_result_is_not_waited_for(how: str, status: int, says: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HALF_A_RESULT, how, str(tmp_path), str(SLEEP_S)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == status
    assert says in done.stderr
    assert "Exception in thread" not in done.stderr


TASKS_ON_THE_WAY = """
import sys, time
from shenyu_data.operations.workers import open_executor, run_tasks

def task(data):
    time.sleep(float(sys.argv[1]) if len(data) > 1 else 0)
    return len(data)

for _ in range(5):
    try:
        with open_executor(2) as executor:
            tasks = [b"1", *[bytes(1_000_000)] * 10]
            for _ in run_tasks(executor, task, tasks, waiting=8):
                raise KeyError
    except KeyError:
        pass
"""


def test_tasks_too_large_for_their_pipe_do_not_hold_up_whoever_leaves() -> None:
    command = [sys.executable, "-c", TASKS_ON_THE_WAY, str(SLEEP_S)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (0, "")
