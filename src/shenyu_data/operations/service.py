"""The application as a service: stopped, started and asked whether it runs, by configured commands.

Called by ``recover``. Commands are run without a shell, without our passphrases in their
environment, with nothing on standard input, and in a session of their own: an interrupt is ours.
"""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from shenyu_data.model.config import ServiceTable
from shenyu_data.model.errors import ConfigError, ServiceError, ShenyuDataError
from shenyu_data.model.findings import printable
from shenyu_data.storage.atomic import make_private

if TYPE_CHECKING:
    from subprocess import Popen

OUTPUT_BYTES = 4096
"""So much of what a command printed last is kept."""

_RESERVED_BYTES = 64 << 10
_POLL_S = 0.2
_END_S = 5.0
_SECRET = "PASSPHRASE"  # noqa: S105 - in the names of variables


def shown(words: Sequence[str]) -> str:
    """Return a command as a person would type it."""
    return shlex.join(words)


class Service:
    """The application that ``table`` tells how to stop and start; what its commands print goes into
    files in ``folder``.

    Such a file stays: a program that a command started in the background may go on writing to it.
    """

    def __init__(self, table: ServiceTable, folder: str) -> None:
        self._table = table
        self._folder = folder
        self._logs: dict[str, int] = {}

    @property
    def has_status(self) -> bool:
        """Whether it can be asked if the service runs."""
        return self._table.status is not None

    def check(self) -> None:
        """Raise ConfigError if a command's program is not there."""
        for words in (self._table.stop, self._table.start, self._table.status):
            if words is not None and shutil.which(words[0]) is None:
                raise ConfigError(
                    f"there is no program {printable(words[0])}, which the table [service] names",
                    hint="Mend it in the configuration, best with the program's whole path.",
                )

    def reserve(self) -> None:
        """Make room for what the commands print: a start must not fail for a full disk. Raise
        ShenyuDataError if there is none.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            make_private(self._folder)
            for name in ("stop", "start"):
                if name in self._logs:
                    continue
                log = os.open(os.path.join(self._folder, f"{name}.log"), flags, 0o600)
                self._logs[name] = log
                if os.pwrite(log, bytes(_RESERVED_BYTES), 0) < _RESERVED_BYTES:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise ShenyuDataError(
                f"cannot write to {self._folder}: {error.strerror}; nothing was stopped",
                hint="Make room, or set XDG_STATE_HOME.",
            ) from error

    def close(self) -> None:
        """Close the files; give back the room that was not needed."""
        while self._logs:
            _, log = self._logs.popitem()
            with suppress(OSError):
                os.ftruncate(log, os.lseek(log, 0, os.SEEK_CUR))
            os.close(log)

    def running(self) -> bool | None:
        """Say whether the service runs; None if it cannot be asked. Raise ServiceError if the
        command cannot be run, or does not come to an end.
        """
        if self._table.status is None:
            return None
        return self._run("status", self._table.status, self._table.stop_timeout_s)[0] == 0

    def stop(self) -> str:
        """Stop the service; return what the command printed. Raise ServiceError if it did not, or
        not in time: then the command runs no more.
        """
        limit_s = self._table.stop_timeout_s
        until = time.monotonic() + limit_s
        output = self._must("stop", self._table.stop, limit_s)
        self._await(False, until, "it still runs", output)
        return output

    def start(self) -> str:
        """Start the service; return what the command printed. Raise ServiceError if it failed.

        A command that does not come to its end in time is left alone: it may be the service.
        """
        limit_s = self._table.start_timeout_s
        until = time.monotonic() + limit_s
        output = self._must("start", self._table.start, limit_s)
        self._await(True, until, "it does not run", output)
        return output

    def _await(self, wanted: bool, until: float, otherwise: str, output: str) -> None:
        """Wait until the status is as wanted, if it can be asked for."""
        while self.running() not in (None, wanted):
            if time.monotonic() > until:
                name = "start" if wanted else "stop"
                raise ServiceError(
                    f"the command that is to {name} the service is done, but says its status, "
                    f"{otherwise}",
                    hint=f"Run it by hand: {shown(self._words(name))}",
                    output=output,
                )
            time.sleep(_POLL_S)

    def _must(self, name: str, words: list[str], limit_s: float) -> str:
        """Run a command that must exit with 0."""
        status, output = self._run(name, words, limit_s)
        if status:
            how = f"exited with {status}" if status > 0 else f"was ended by signal {-status}"
            raise self._failure(name, how, output)
        return output

    def _run(self, name: str, words: list[str], limit_s: float) -> tuple[int, str]:
        """Run a command; return its exit status and what it printed last."""
        import subprocess  # late: it takes 7 ms

        log = self._logs.get(name, subprocess.DEVNULL)
        environment = {key: value for key, value in os.environ.items() if not _is_secret(key)}
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise self._failure(name, f"cannot be run: {reason}", "") from None
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            if name == "start":
                _leave(process)
                how = f"did not come to its end within {limit_s:.0f} s; it is process {process.pid}"
            else:
                _end(process)
                how = f"did not come to its end within {limit_s:.0f} s, and was ended"
            raise self._failure(name, how, self._output(name)) from None
        except BaseException:
            # One that goes on might stop what is about to be started; or is what is to be started.
            _leave(process) if name == "start" else _end(process)
            raise
        return status, self._output(name)

    def _failure(self, name: str, how: str, output: str) -> ServiceError:
        words = shown(self._words(name))
        what = {"stop": "stops the service", "start": "starts the service"}
        told = what.get(name, "tells whether the service runs")
        return ServiceError(
            f"the command that {told} {how}", hint=f"Run it by hand: {words}", output=output
        )

    def _words(self, name: str) -> list[str]:
        words: list[str] = getattr(self._table, name)
        return words

    def _output(self, name: str) -> str:
        """Return the end of what a command printed, which is where the offset of its file is: it
        shares that with us.
        """
        log = self._logs.get(name)
        if log is None:
            return ""
        end = os.lseek(log, 0, os.SEEK_CUR)
        text = os.pread(log, OUTPUT_BYTES, max(0, end - OUTPUT_BYTES))[:end]
        return "\n".join(map(printable, text.decode("utf-8", "replace").splitlines()))


def _is_secret(variable: str) -> bool:
    return variable.startswith("SHENYU_DATA_") and variable.endswith(_SECRET)


def _leave(process: Popen[bytes]) -> None:
    """Let a command go on by itself; nobody waits for it any more."""
    process.returncode = 0


def _end(process: Popen[bytes]) -> None:
    """End a command and whatever it started in its session."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        until = time.monotonic() + _END_S
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
