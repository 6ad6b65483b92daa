"""Bulk work on several processes, through ``concurrent.futures.Executor``, or on this one.

For operations. An Executor of another kind (a cluster's) does for :func:`run_tasks` just as well.
That library is imported where it is used: it takes 9 ms, which work on one process does not pay.
"""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from shenyu_data.model.errors import ShenyuDataError

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future, ProcessPoolExecutor

T = TypeVar("T")
R = TypeVar("R")

MOST_JOBS = 8
"""More processes than this only wait for the disk."""

_PIPE_BYTES = 1 << 20
_ORPHAN_CHECK_S = 1.0
_POLL_S = 0.005
_TERMINATION_S = 30
"""So long a worker that is to end may take to remove what nobody would find."""


def default_jobs() -> int:
    """Return how many processes to use when nobody said: one for each usable core, at most 8."""
    if sys.platform == "linux":
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return min(cores, MOST_JOBS)


@contextmanager
def open_executor(jobs: int) -> Iterator[Executor | None]:
    """Open an executor of ``jobs`` processes; with one job or fewer, None: :func:`run_tasks` then
    carries tasks out in this process.

    Functions, tasks and results must be picklable. The processes exist when this returns, so open
    it before threads are started. When the block is left by an exception (an interrupt too), what
    has not begun is cancelled and the processes are terminated at once; when this process is
    killed, they go too.
    """
    if jobs <= 1:
        yield None
        return
    executor = _start_processes(jobs)
    try:
        yield executor
    except BaseException:
        _terminate(executor)
        raise
    executor.shutdown()


def run_tasks(
    executor: Executor | None,
    function: Callable[[T], R],
    tasks: Iterable[T],
    *,
    waiting: int,
    in_order: bool = False,
    tidies: bool = False,
) -> Generator[R, None, None]:
    """Yield ``function(task)`` for each task, as they complete or, with ``in_order``, as given.

    At most ``waiting`` tasks are submitted, running or kept for their turn at a time, so that
    ``tasks`` may be endless. A function that ``tidies`` up behind itself when an exception stops it
    is given the time for that when its process is to end; others end at once.

    Raise the first exception of a task after cancelling the rest, or ShenyuDataError if a process
    died.
    """
    if executor is None:
        yield from map(function, tasks)
        return
    from concurrent.futures import BrokenExecutor

    futures: deque[Future[R]] = deque()
    try:
        for task in tasks:
            if tidies:
                futures.append(executor.submit(_carry_out, function, task))
            else:
                futures.append(executor.submit(function, task))
            if len(futures) >= waiting or futures[-1].done():
                yield _next_result(futures, in_order=in_order)
        while futures:
            yield _next_result(futures, in_order=in_order)
    except BrokenExecutor as error:
        raise ShenyuDataError(
            "a worker process died before its work was done",
            hint="The system may have run out of memory (see its log); --jobs 1 needs least.",
        ) from error
    finally:
        for future in futures:
            future.cancel()


def _next_result(futures: deque[Future[R]], *, in_order: bool) -> R:
    if in_order:
        return futures.popleft().result()
    from concurrent.futures import FIRST_COMPLETED, wait

    done = wait(futures, return_when=FIRST_COMPLETED).done.pop()
    futures.remove(done)
    return done.result()


def _start_processes(jobs: int) -> ProcessPoolExecutor:
    # Imported here because they take 35 ms, which a verb that does little should not pay.
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # A fork starts at once and shares the modules' memory; elsewhere than on Linux it is not safe,
    # nor is it once the object stores' library runs threads of its own (docs/design/storage.md).
    forks = sys.platform == "linux" and "obstore" not in sys.modules
    context = multiprocessing.get_context("fork" if forks else "spawn")
    executor = ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_begin_worker, initargs=(os.getpid(),)
    )
    with warnings.catch_warnings():
        # Python warns of a fork beside threads, whose locks it copies; workers take none of those.
        warnings.simplefilter("ignore", DeprecationWarning)
        # An interrupt waits until the workers, which inherit this, have learnt to leave it to us.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            executor.submit(os.getpid)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    _widen(executor)
    if forks:  # then all processes are there from the beginning
        threading.Thread(target=_watch, args=(executor,), daemon=True).start()
    return executor


def _widen(executor: ProcessPoolExecutor) -> None:
    """Let more of a large result wait in its pipe: when it is full, processes take turns."""
    if sys.platform == "linux":
        results: Any = executor._result_queue
        with suppress(OSError):  # the system may allow less
            fcntl.fcntl(results._reader.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _watch(executor: ProcessPoolExecutor) -> None:
    """When a worker is killed, end the others, so that its half a result is not waited for.

    The executor notices a death only between results: of one that was cut off it would wait for the
    rest as long as anybody, the other workers and this process among them, could still write it.
    """
    from multiprocessing.connection import wait as wait_for_any

    processes = dict(executor._processes or {})
    results: Any = executor._result_queue
    del executor  # which may go when its owner lets go of it
    killed = False
    while processes:
        wait_for_any([process.sentinel for process in processes.values()])
        for number, process in list(processes.items()):
            if not process.is_alive():
                del processes[number]
                if process.exitcode:
                    killed = True
                    for other in processes.values():
                        other.terminate()
    if killed:
        # Not close(): the executor's owner may be about to call that, too.
        handle, results._writer._handle = results._writer._handle, None
        if handle is not None:
            os.close(handle)


class _Stopped(BaseException):
    """This process is to end; raised in the midst of a task that tidies up."""


_stopped = threading.Event()


def _stop(number: int, frame: FrameType | None) -> None:
    if not _stopped.is_set():
        _stopped.set()
        signal.alarm(_TERMINATION_S)  # which nothing in this process can put off
        raise _Stopped


def _carry_out(function: Callable[[T], R], task: T) -> R:
    """Do a task that tidies up. At other times the signal ends this process at once, even while it
    waits in a library that never looks for signals.
    """
    try:
        try:
            signal.signal(signal.SIGTERM, _stop)
            return function(task)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    except _Stopped:
        os._exit(1)
    finally:
        if _stopped.is_set():  # though somebody let no exception pass
            os._exit(1)


def _begin_worker(parent: int) -> None:
    # Workers make many small values and hardly a cycle: collecting as often as usual costs 5 %.
    gc.freeze()
    gc.set_threshold(50_000)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal interrupts all; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    threading.Thread(target=_leave_with_parent, args=(parent,), daemon=True).start()


def _leave_with_parent(parent: int) -> None:
    """End this process once its parent is gone; a killed parent cannot tell."""
    while os.getppid() == parent:
        time.sleep(_ORPHAN_CHECK_S)
    main = threading.main_thread().ident
    if main is not None:
        signal.pthread_kill(main, signal.SIGTERM)
    time.sleep(_TERMINATION_S)
    os._exit(1)


def _terminate(executor: ProcessPoolExecutor) -> None:
    from concurrent.futures import Future

    # terminate_workers() does this from Python 3.14 on.
    processes = list((executor._processes or {}).values())
    pending = executor._pending_work_items
    manager: Any = executor._executor_manager_thread
    calls = _calls_of(executor)
    executor.shutdown(wait=False, cancel_futures=True)
    for item in list(pending.values()):
        item.future = Future()  # nobody waits any more, and a cancelled one takes no exception
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_TERMINATION_S)
        if process.is_alive():
            process.kill()
    if calls is not None:
        _take_the_rest(calls, manager)


def _calls_of(executor: ProcessPoolExecutor) -> int | None:
    """Return the end of the pipe, to be closed, from which workers take tasks; None if it is closed
    because one of them died.
    """
    internals: Any = executor
    queue = internals._call_queue
    with suppress(OSError):
        return os.dup(queue._reader.fileno())
    return None


def _take_the_rest(calls: int, manager: threading.Thread) -> None:
    """Read what no worker reads any more until the executor's thread has ended: it waits for the
    one that writes tasks, which a task larger than the pipe would hold up for ever.
    """
    try:
        os.set_blocking(calls, False)
        while manager.is_alive():
            try:
                os.read(calls, _PIPE_BYTES)
            except BlockingIOError:
                manager.join(_POLL_S)
    finally:
        os.close(calls)
