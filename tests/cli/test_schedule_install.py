"""``schedule install`` and ``schedule remove``: timers and crontab lines, and only ours."""

import os
import re
import shlex
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shenyu_data.health.crontab import lines_for, with_lines, without_lines
from shenyu_data.health.units import UnitOptions, calendar, units
from shenyu_data.model.config_schedule import JobTable, ScheduleTable
from shenyu_data.model.cron import parse_cron
from shenyu_data.model.errors import ConfigError
from shenyu_data.operations.places import state_folder

from .conftest import Shenyu

CRONTAB = """#!/bin/sh
case "$1" in
-l) if [ -e {file} ]; then cat {file}; else echo "no crontab for you" >&2; exit 1; fi ;;
-) if [ -e {file}.refuse ]; then echo "bad minute" >&2; exit 1; fi; cat > {file} ;;
esac
"""
SYSTEMCTL = """#!/bin/sh
echo "$@" >> {file}
[ ! -e {file}.refuse ] || {{ echo "no bus" >&2; exit 1; }}
"""


@pytest.fixture
def timers(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a crontab and a systemctl that keep what they are told in files."""
    programs = place / "bin"
    programs.mkdir()
    for name, text in (("crontab", CRONTAB), ("systemctl", SYSTEMCTL)):
        (programs / name).write_text(text.format(file=shlex.quote(str(place / name))))
        (programs / name).chmod(0o700)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with open(place / "shenyu-data.toml", "a") as file:
        file.write('passphrase_file = "new-passphrase"\n[schedule]\n')
        for name, verb in (("nightly", "backup"), ("checked", "validate")):
            file.write(f'[schedule.jobs.{name}]\nrun = ["{verb}"]\nat = "30 3 * * *"\n')
    return place


def unit_names() -> list[str]:
    folder = Path(os.environ["XDG_CONFIG_HOME"]) / "systemd/user"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


SYSTEMD = ("--systemd", "--scope", "user")


def test_timers_are_installed_once_and_removed_without_a_trace(
    timers: Path, shenyu: Shenyu
) -> None:
    said = shenyu("schedule", "install", *SYSTEMD, "--yes", "--json")
    assert said.status == 0, said.err
    assert said.json["changed"] is True
    names = [f"shenyu-data-{job}.{kind}" for job in ("checked", "nightly") for kind in KINDS]
    assert unit_names() == names
    calls = (timers / "systemctl").read_text().splitlines()
    assert calls == [
        "--user daemon-reload",
        "--user enable --now shenyu-data-checked.timer shenyu-data-nightly.timer",
    ]
    again = shenyu("schedule", "install", *SYSTEMD, "--json")
    assert (again.status, again.json["changed"], again.json["files"]) == (0, False, [])
    folder = Path(os.environ["XDG_CONFIG_HOME"]) / "systemd/user"
    (folder / "other.timer").write_text("[Timer]\n")
    os.mkfifo(folder / "pipe.timer")  # nobody ever writes into it
    assert shenyu("schedule", "remove", *SYSTEMD, "--yes").status == 0
    assert unit_names() == ["other.timer", "pipe.timer"]
    assert "--user disable --now shenyu-data-checked.timer" in (timers / "systemctl").read_text()
    assert shenyu("schedule", "remove", *SYSTEMD, "--json").json["changed"] is False


KINDS = ("service", "timer")


def test_a_job_that_is_no_more_is_removed_by_the_next_install(timers: Path, shenyu: Shenyu) -> None:
    assert shenyu("schedule", "install", *SYSTEMD, "--yes").status == 0
    text = (timers / "shenyu-data.toml").read_text()
    (timers / "shenyu-data.toml").write_text(text.split("[schedule.jobs.checked]")[0])
    assert shenyu("schedule", "install", *SYSTEMD, "--yes").status == 0
    assert unit_names() == [f"shenyu-data-nightly.{kind}" for kind in KINDS]


def test_a_dry_run_shows_the_units_and_writes_nothing(timers: Path, shenyu: Shenyu) -> None:
    said = shenyu("schedule", "install", *SYSTEMD, "--dry-run")
    assert said.status == 0
    assert "OnCalendar=*-*-* 03:30:00" in said.out
    assert unit_names() == []
    assert not (timers / "systemctl").exists()


def test_what_is_not_confirmed_is_not_done(timers: Path, shenyu: Shenyu) -> None:
    assert shenyu("schedule", "install", *SYSTEMD).status == 2
    assert shenyu("schedule", "install", "--cron").status == 2
    assert unit_names() == []
    assert not (timers / "crontab").exists()


@pytest.mark.parametrize("link", [False, True])
def test_a_unit_of_somebody_else_is_not_touched(link: bool, timers: Path, shenyu: Shenyu) -> None:
    folder = Path(os.environ["XDG_CONFIG_HOME"]) / "systemd/user"
    folder.mkdir(parents=True)
    theirs = folder / "shenyu-data-nightly.timer"
    if link:
        theirs.symlink_to("/dev/null")  # as `systemctl mask` makes it
    else:
        theirs.write_text("[Timer]\n")
    said = shenyu("schedule", "install", *SYSTEMD, "--yes", "--json")
    assert (said.status, said.json["error"]["code"]) == (2, "config")
    assert "--prefix" in said.json["error"]["hint"]
    assert unit_names() == ["shenyu-data-nightly.timer"]
    assert shenyu("schedule", "install", *SYSTEMD, "--prefix", "ours", "--yes").status == 0
    assert shenyu("schedule", "remove", *SYSTEMD, "--yes").status == 0
    assert unit_names() == ["shenyu-data-nightly.timer"]


def test_timers_that_were_not_enabled_are_by_the_next_call(timers: Path, shenyu: Shenyu) -> None:
    (timers / "systemctl.refuse").touch()
    said = shenyu("schedule", "install", *SYSTEMD, "--yes", "--json")
    assert said.status == 3
    assert "no bus" in said.json["error"]["message"]
    (timers / "systemctl.refuse").unlink()
    (timers / "systemctl").unlink()
    assert shenyu("schedule", "install", *SYSTEMD).status == 0
    assert "enable --now" in (timers / "systemctl").read_text()


def test_crontab_lines_come_and_go_and_leave_the_rest_as_it_was(
    timers: Path, shenyu: Shenyu
) -> None:
    theirs = "# my own\nMAILTO=me\n5 4 * * * echo 50\\% >/dev/null"  # no newline at its end
    (timers / "crontab").write_text(theirs)
    assert shenyu("schedule", "install", "--cron", "--yes").status == 0
    written = (timers / "crontab").read_text()
    assert written.startswith(theirs + "\n")
    lines = [line for line in written.splitlines() if line.startswith("30 3 * * * ")]
    assert [shlex.split(line)[-1] for line in lines] == ["nightly", "checked"]
    assert shenyu("schedule", "install", "--cron", "--json").json["changed"] is False
    assert (timers / "crontab").read_text() == written
    assert shenyu("schedule", "remove", "--cron", "--yes").status == 0
    assert (timers / "crontab").read_text() == theirs + "\n"


def test_a_crontab_line_runs_the_job(
    timers: Path, shenyu: Shenyu, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shenyu("schedule", "install", "--cron", "--yes").status == 0
    (line,) = [
        line for line in (timers / "crontab").read_text().splitlines() if line.endswith(" checked")
    ]
    command = line.split(" ", 5)[5].replace("\\%", "%")
    bare = {"HOME": os.environ["HOME"], "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["/bin/sh", "-c", command], cwd="/", env=bare, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    (job, other) = reversed(shenyu("schedule", "show", "--json").json["jobs"])
    assert (job["name"], job["last"]["outcome"]) == ("checked", "good")
    assert other["last"] is None


def test_a_crontab_that_is_refused_is_an_error(timers: Path, shenyu: Shenyu) -> None:
    (timers / "crontab.refuse").touch()
    said = shenyu("schedule", "install", "--cron", "--yes", "--json")
    assert said.status == 3
    assert "bad minute" in said.json["error"]["message"]


def test_cron_is_not_given_times_of_another_zone(timers: Path, shenyu: Shenyu) -> None:
    text = (timers / "shenyu-data.toml").read_text()
    zoned = text.replace("[schedule]\n", '[schedule]\ntimezone = "Asia/Kathmandu"\n')
    (timers / "shenyu-data.toml").write_text(zoned)
    assert shenyu("schedule", "install", "--cron", "--yes").status == 2
    said = shenyu("schedule", "install", *SYSTEMD, "--dry-run")
    assert "OnCalendar=*-*-* 03:30:00 Asia/Kathmandu" in said.out


def test_a_time_that_systemd_leaps_over_is_told(timers: Path, shenyu: Shenyu) -> None:
    text = (timers / "shenyu-data.toml").read_text().replace("30 3", "30 2")
    zoned = text.replace("[schedule]\n", '[schedule]\ntimezone = "Europe/Berlin"\n')
    (timers / "shenyu-data.toml").write_text(zoned)
    said = shenyu("schedule", "install", *SYSTEMD, "--dry-run", "--json")
    assert said.status == 1
    assert [item["code"] for item in said.json["findings"]] == ["time-leapt-over"] * 2


def test_what_jobs_write_to_is_not_shut_out(timers: Path, shenyu: Shenyu) -> None:
    with open(timers / "shenyu-data.toml", "a") as file:
        file.write('[schedule.jobs.proven]\nrun = ["drill", "--sandbox", "/srv/sand box"]\n')
        file.write('at = "@weekly"\n[metrics]\ntextfile = "/var/lib/prom/shenyu.prom"\n')
    said = shenyu("schedule", "install", "--systemd", "--scope", "system", "--dry-run")
    assert said.status == 0, said.err
    for place in ("/srv/sand box", "/var/lib/prom", timers / "data", timers / "repo"):
        assert f'ReadWritePaths="-{place}"' in said.out
    state = state_folder(os.environ)
    assert f'ReadWritePaths="-{state}"' in said.out


def test_a_private_tmp_hides_no_data() -> None:
    (job, *_) = ScheduleTable().all_jobs()
    name = "shenyu-data-backup.service"
    assert "PrivateTmp" in units([job], options(True))[name]
    assert "PrivateTmp" not in units([job], options(True, writable=["/tmp/data"]))[name]


def test_jobs_without_a_passphrase_are_told(place: Path, shenyu: Shenyu) -> None:
    said = shenyu("schedule", "install", *SYSTEMD, "--dry-run", "--json")
    assert said.status == 1
    assert [item["code"] for item in said.json["findings"]] == ["no-passphrase"]


def options(system: bool, **values: object) -> UnitOptions:
    given = {
        "prefix": "shenyu-data",
        "data": "/srv/a b%c",
        "command": ["/bin/echo", "50%", "$HOME", 'a "b" \\c', "schedule", "run"],
        "environment": {"HOME": "/home of/a b", "TZ": "Europe/Berlin"},
        "writable": ["/srv/a b%c", "/var/lib/shenyu-data"],
        "zone": "Europe/Berlin",
        "jitter_s": 300,
        "system": system,
        **values,
    }
    return UnitOptions(**given)  # type: ignore[arg-type]


ANALYZE = ("systemd-analyze", "calendar", "--iterations=12")

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine"
)


@needs_analyze
@pytest.mark.parametrize("system", [True, False])
def test_the_units_are_what_systemd_understands(system: bool, tmp_path: Path) -> None:
    jobs = ScheduleTable().all_jobs()
    jobs.append(JobTable(run=["backup"], at="*/20 8-18 1,15 * mon-fri").job("odd"))
    written = units(jobs, options(system))
    assert len(written) == 14
    for name, text in written.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / name) for name in written)],
        capture_output=True,
        text=True,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )
    noise = [line for line in done.stderr.splitlines() if "shenyu-data" in line]
    assert (done.returncode, noise) == (0, [])


@needs_analyze
def test_the_unit_for_serve_in_the_documentation_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/schedule.md").read_text(encoding="utf-8")
    (unit,) = re.findall(r"^```ini\n(.*?)```", page, re.MULTILINE | re.DOTALL)
    path = tmp_path / "shenyu-data-serve.service"
    path.write_text(unit.replace("/usr/local/bin/shenyu-data", "/bin/echo"))
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True)
    noise = [line for line in done.stderr.splitlines() if "shenyu-data" in line]
    assert (done.returncode, noise) == (0, [])


@needs_analyze
@pytest.mark.parametrize(
    "text",
    [
        "30 3 * * *",
        "*/15 * * * *",
        "5-50/15 8-18 * * mon-fri",
        "0 4 1,15 * *",
        "0 0 13 * fri",
        "0 0 */2 * fri",
        "59 23 31 12 *",
        "0 0 29 2 *",
        "0 12 * 1-6/2 sun,tue-thu",
        "@weekly",
        "*/7 */5 */9 */5 *",
    ],
)
def test_timers_are_due_when_cron_would_be(text: str) -> None:
    start = datetime(2026, 11, 27, 12, tzinfo=UTC)
    cron = parse_cron(text)
    wanted = []
    time_ms: int | None = int(start.timestamp()) * 1000
    for _ in range(12):
        assert time_ms is not None
        time_ms = cron.after(time_ms, UTC)
        assert time_ms is not None
        wanted.append(time_ms // 1000)
    found: set[int] = set()
    for expression in calendar(cron, ""):
        done = subprocess.run(
            [*ANALYZE, f"--base-time={start:%Y-%m-%d %H:%M:%S} UTC", expression],
            capture_output=True,
            text=True,
            env={**os.environ, "TZ": "UTC", "LC_ALL": "C"},
            check=True,
        )
        for line in done.stdout.splitlines():
            words = line.split()
            if line.strip().startswith(("Next elapse:", "Iter. #")) and words[-1] == "UTC":
                moment = datetime.fromisoformat(f"{words[-3]}T{words[-2]}+00:00")
                found.add(int(moment.timestamp()))
    assert sorted(found)[:12] == wanted
    assert start + timedelta(0) < datetime.fromtimestamp(wanted[0], UTC)


def test_a_name_that_could_add_a_line_is_in_no_unit_and_no_crontab() -> None:
    jobs = ScheduleTable().all_jobs()
    for data in ("/srv/a\nb", "/srv/\x1b[31m", "/srv/\udcff"):
        with pytest.raises(ConfigError, match="data directory"):
            units(jobs, options(True, data=data))
        with pytest.raises(ConfigError, match="data directory"):
            lines_for(jobs, ["x"], {}, data)
    for command in (["/x\n* * * * * y"], ["/srv/\udcff"]):
        with pytest.raises(ConfigError, match="no crontab can hold"):
            lines_for(jobs, command, {}, "/srv")
    with pytest.raises(ConfigError, match="no crontab can hold"):
        lines_for(jobs, ["x"], {"TZ": "UTC\n* * * * * y"}, "/srv")
    with pytest.raises(ConfigError, match="no unit can hold"):
        units(jobs, options(True, command=["/x\n[Service]"]))


def test_lines_that_somebody_cut_in_two_are_left_alone() -> None:
    jobs = ScheduleTable().all_jobs()
    ours = lines_for(jobs, ["shenyu-data", "schedule", "run"], {}, "/data")
    whole = with_lines("", ours, "/data")
    assert without_lines(whole, "/data") == ("", ours)
    assert without_lines(whole, "/other") == (whole, [])
    cut = "\n".join(ours[:-1]) + "\n"
    assert without_lines(cut, "/data") == (cut, [])
    both = with_lines(whole, lines_for(jobs, ["x"], {}, "/other"), "/other")
    assert without_lines(both, "/other")[0] == whole
