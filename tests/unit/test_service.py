"""The application as a service: real commands that succeed, fail, hang, print and spy."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from shenyu_data.model.config import ServiceTable
from shenyu_data.model.errors import ConfigError, ServiceError, ShenyuDataError
from shenyu_data.operations.service import OUTPUT_BYTES, Service

Make = Callable[..., Service]


def sh(text: str) -> list[str]:
    return ["/bin/sh", "-c", text]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make services whose commands are lines of a shell."""
    made: list[Service] = []

    def make(
        stop: str = ":", start: str = ":", status: str | None = None, limit_s: int = 20
    ) -> Service:
        table = ServiceTable(
            stop=sh(stop),
            start=sh(start),
            status=sh(status) if status is not None else None,
            stop_timeout_s=limit_s,
            start_timeout_s=limit_s,
        )
        service = Service(table, str(tmp_path / "logs"))
        service.reserve()
        made.append(service)
        return service

    yield make
    for service in made:
        service.close()


def test_what_a_command_prints_is_returned_without_what_moves_a_cursor(make: Make) -> None:
    service = make(stop=r"printf 'one\n\033[31mtwo\n'; printf three >&2")
    assert service.stop() == "one\n\\x1b[31mtwo\nthree"


def test_of_much_output_the_end_is_kept(make: Make) -> None:
    output = make(stop="seq 1 100000").stop()
    assert len(output) <= OUTPUT_BYTES
    assert output.endswith("99999\n100000")


def test_a_command_that_fails_says_its_status_and_what_it_printed(make: Make) -> None:
    for end, says in (("exit 7", "exited with 7"), ("kill -9 $$", "ended by signal 9")):
        with pytest.raises(ServiceError, match=says) as raised:
            make(start=f"echo why; {end}").start()
        assert raised.value.output == "why"
        assert "/bin/sh -c" in raised.value.hint


def test_a_program_that_is_not_there_is_noticed_before_anything_is_stopped(tmp_path: Path) -> None:
    for name in ("stop", "start", "status"):
        table = ServiceTable(stop=["true"], start=["true"])
        wrong = msgspec.structs.replace(table, **{name: ["/no/such/program"]})
        with pytest.raises(ConfigError, match="/no/such/program"):
            Service(wrong, str(tmp_path)).check()
    Service(ServiceTable(stop=["true"], start=["true"]), str(tmp_path)).check()


def test_a_program_that_cannot_be_run_is_a_failure(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF")
    broken.chmod(0o700)
    table = ServiceTable(stop=[str(broken)], start=["true"])
    with pytest.raises(ServiceError, match="cannot be run"):
        Service(table, str(tmp_path)).stop()


def test_no_passphrase_of_ours_is_in_the_environment_of_a_command(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PASSPHRASE", "NEW_PASSPHRASE", "TO_PASSPHRASE"):
        monkeypatch.setenv(f"SHENYU_DATA_{name}", "hunter2")
    monkeypatch.setenv("ANYTHING", "else")
    output = make(stop="env").stop()
    assert "ANYTHING=else" in output
    assert "hunter2" not in output


def test_a_command_has_nothing_on_standard_input(make: Make) -> None:
    assert make(stop="wc -c").stop().strip() == "0"


def _gone(pid: int) -> bool:
    """Whether a process is there no more; waits for that, not for ever."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
        except OSError:
            return True
        if state in (b"Z", b"X"):
            return True
        time.sleep(0.01)
    return False


needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")


@needs_proc
def test_a_stop_that_hangs_is_ended_with_all_that_it_started(make: Make, tmp_path: Path) -> None:
    pids = shlex.quote(str(tmp_path / "pids"))
    service = make(stop=f"sleep 1000 & echo $! $$ > {pids}; wait", limit_s=1)
    with pytest.raises(ServiceError, match="within 1 s, and was ended"):
        service.stop()
    assert all(_gone(int(pid)) for pid in (tmp_path / "pids").read_text().split())


@needs_proc
def test_a_start_that_hangs_is_left_alone_as_it_may_be_the_service(
    make: Make, tmp_path: Path
) -> None:
    pid_file = shlex.quote(str(tmp_path / "pid"))
    service = make(start=f"echo $$ > {pid_file}; exec sleep 1000", limit_s=1)
    with pytest.raises(ServiceError, match="within 1 s; it is process") as raised:
        service.start()
    pid = int((tmp_path / "pid").read_text())
    assert str(pid) in raised.value.message
    os.kill(pid, 0)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_program_in_the_background_that_holds_the_output_is_not_waited_for(
    make: Make, tmp_path: Path
) -> None:
    pid_file = shlex.quote(str(tmp_path / "pid"))
    service = make(start=f"echo begun; sleep 1000 & echo $! > {pid_file}")
    assert service.start() == "begun"
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_what_a_program_in_the_background_prints_later_is_not_refused(
    make: Make, tmp_path: Path
) -> None:
    """A pipe would be closed, and its next word would end the service."""
    go, done = (shlex.quote(str(tmp_path / name)) for name in ("go", "done"))
    later = f"while ! test -e {go}; do sleep 0.01; done; echo later && echo ok > {done}"
    service = make(start=f"({later}) & echo begun")
    service.start()
    service.close()
    (tmp_path / "go").touch()
    deadline = time.monotonic() + 60
    while not (tmp_path / "done").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (tmp_path / "logs/start.log").read_text() == "begun\nlater\n"


def test_it_is_stopped_only_when_the_status_says_so(make: Make, tmp_path: Path) -> None:
    up, polls = tmp_path / "up", tmp_path / "polls"
    up.touch()
    looks = f"echo >> {polls}; test $(wc -l < {polls}) -gt 3 && rm -f {up}; test -e {up}"
    make(stop=":", status=looks).stop()
    assert not up.exists()
    assert polls.read_text().count("\n") == 4


def test_a_status_that_does_not_change_in_time_is_a_failure(make: Make) -> None:
    service = make(status="exit 0", limit_s=1)
    with pytest.raises(ServiceError, match="it still runs"):
        service.stop()
    service = make(status="exit 3", limit_s=1)
    with pytest.raises(ServiceError, match="it does not run"):
        service.start()


def test_without_a_status_nobody_is_asked(make: Make) -> None:
    assert make().running() is None
    assert make(status="exit 0").running() is True
    assert make(status="exit 3").running() is False
    with pytest.raises(ServiceError, match="whether the service runs"):
        make(status="sleep 100", limit_s=1).running()


def test_room_for_the_output_is_made_before(make: Make, tmp_path: Path) -> None:
    service = make()
    (tmp_path / "logs/start.log").stat()
    assert (tmp_path / "logs/start.log").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "logs/start.log").stat().st_size >= 64 << 10
    service.close()
    assert (tmp_path / "logs/start.log").stat().st_size == 0


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    service = Service(ServiceTable(stop=["true"], start=["true"]), str(tmp_path / "file/below"))
    with pytest.raises(ShenyuDataError, match="nothing was stopped"):
        service.reserve()
