"""A real Prometheus scrapes a real ``serve``; promtool accepts the rules and what is exposed."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shenyu_data.health.metric_names import METRICS

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PARTS = Path(sys.prefix) / "parts" / "usr" / "bin"
"""Where ``make test`` puts Debian's package, if the system has none."""

PATIENCE_S = 240.0
PROGRAM = [sys.executable, "-m", "shenyu_data.cli.main"]


def find(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=str(PARTS))
    if found is None:
        pytest.skip(f"{name} is not here, see tools/get-prometheus: NO REAL PROMETHEUS IS ASKED")
    return found


def wait_until(true: Callable[[], Any]) -> Any:
    until = time.monotonic() + PATIENCE_S
    while not (found := true()):
        assert time.monotonic() < until
        time.sleep(0.05)
    return found


class Prometheus:
    """A Prometheus, and its answers."""

    def __init__(self, address: str) -> None:
        self._address = address

    def get(self, path: str, **words: str) -> Any:
        url = f"{self._address}/api/v1/{path}?{urllib.parse.urlencode(words)}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:
                return None  # it is still starting
            raise AssertionError(f"{words}: {error.read().decode()}") from None
        except OSError:
            return None  # it is still starting

    def query(self, expression: str) -> dict[str, float] | None:
        """Give the values of an instant vector, by job's name or else all as one."""
        found = self.get("query", query=expression)
        if not found or not found["result"]:
            return None
        return {
            item["metric"].get("job_name", ""): float(item["value"][1]) for item in found["result"]
        }


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A serve, with two users backed up, and its address."""
    place = tmp_path_factory.mktemp("served")
    for user in ("anna", "ben"):
        folder = place / "data" / "histories" / user
        folder.mkdir(parents=True)
        chats = [{"id": 1, "messages": [{"role": "user", "content": "你好"}]}]
        (folder / "chat-history.json").write_text(json.dumps(chats), encoding="utf-8")
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("SHENYU_DATA_")},
        "HOME": str(place),
        "XDG_STATE_HOME": str(place / "state"),
        "SHENYU_DATA_PASSPHRASE": "correct horse",
    }

    def call(*words: str) -> None:
        subprocess.run([*PROGRAM, *words], cwd=place, env=environment, check=True, stdout=2)

    call("init", "--data", "data", "--repo", "repo")
    with (place / "shenyu-data.toml").open("a") as config:
        config.write('[metrics]\ntextfile = "shenyu_data.prom"\n')
        config.write('[schedule]\n[schedule.jobs.nightly]\nrun = ["backup"]\nat = "@yearly"\n')
    call("backup")
    call("drill")
    with (place / "out").open("w") as out:
        serve = subprocess.Popen(
            [*PROGRAM, "serve", "--port", "0"], cwd=place, env=environment, stdout=out
        )
    try:
        first = wait_until(lambda: (place / "out").read_text().partition("\n")[0])
        yield place, first.split(" at http://")[-1]
    finally:
        serve.send_signal(signal.SIGTERM)
        assert serve.wait(PATIENCE_S) == 0


@pytest.fixture(scope="module")
def prometheus(
    served: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A Prometheus with the configuration and the rules of the examples."""
    program = find("prometheus")
    place = tmp_path_factory.mktemp("prometheus")
    shutil.copy(EXAMPLES / "prometheus-rules.yml", place)
    config = (EXAMPLES / "prometheus.yml").read_text()
    config = config.replace("127.0.0.1:8418", served[1]).replace("60s", "1s")
    (place / "prometheus.yml").write_text(config)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen(
        [
            program,
            f"--config.file={place / 'prometheus.yml'}",
            f"--storage.tsdb.path={place / 'tsdb'}",
            f"--web.listen-address={address}",
            "--log.level=error",
        ]
    )
    try:
        asked = Prometheus(f"http://{address}")
        wait_until(lambda: asked.query("up") == {"": 1.0})
        yield asked
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def test_what_serve_answers_is_scraped(prometheus: Prometheus) -> None:
    wait_until(lambda: prometheus.query("shenyu_data_chats"))
    for name, value in {
        "up": 1,
        "shenyu_data_log_usable": 1,
        "shenyu_data_chats": 2,
        "shenyu_data_repository_snapshots": 1,
        "shenyu_data_drill_failing_users": 0,
        'shenyu_data_drill_proven_ratio{within="30d"}': 1,
    }.items():
        assert prometheus.query(name) == {"": value}, name
    assert prometheus.query('shenyu_data_job_runs_total{outcome="good"}') == {"nightly": 0}
    for name in ("up", "build_info"):
        found = prometheus.get("query", query=name if name == "up" else f"shenyu_data_{name}")
        assert found["result"][0]["metric"]["job"] == "shenyu-data"


def test_all_that_is_scraped_is_documented_with_its_kind(prometheus: Prometheus) -> None:
    wait_until(lambda: prometheus.query("shenyu_data_chats"))
    known = wait_until(lambda: prometheus.get("metadata"))
    ours = {name: item[0]["type"] for name, item in known.items() if name.startswith("shenyu")}
    # Prometheus's text format names a counter with its suffix.
    assert len(ours) > 30
    assert ours == {name: METRICS[name].kind for name in ours}


def test_every_expression_of_rules_and_dashboard_is_understood(prometheus: Prometheus) -> None:
    rules = prometheus.get("rules")["groups"][0]["rules"]
    dashboard = json.loads((EXAMPLES / "grafana-dashboard.json").read_text())
    expressions = [rule["query"] for rule in rules] + [
        target["expr"].replace("$instance", ".*")
        for panel in dashboard["panels"]
        for target in panel["targets"]
    ]
    assert len(expressions) > 25
    names = set(wait_until(lambda: prometheus.get("label/__name__/values")))
    for expression in expressions:
        prometheus.get("query", query=expression)
        assert set(re.findall(r"shenyu_data_\w+", expression)) <= {*METRICS, *names}


def test_no_rule_alarms_of_a_backup_that_was_just_made(prometheus: Prometheus) -> None:
    wait_until(lambda: prometheus.query("shenyu_data_chats"))
    for rule in prometheus.get("rules")["groups"][0]["rules"]:
        if "Disk" not in rule["name"]:  # this machine's disks may well be full
            assert prometheus.query(rule["query"]) is None, rule["name"]


def test_promtool_accepts_the_rules_and_the_configuration() -> None:
    for words in (["rules", "prometheus-rules.yml"], ["config", "prometheus.yml"]):
        done = subprocess.run(
            [find("promtool"), "check", *words], cwd=EXAMPLES, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_page_and_the_file(served: tuple[Path, str]) -> None:
    place, address = served
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE_S) as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        page = answer.read()
    wait_until((place / "shenyu_data.prom").exists)
    for text in (page, (place / "shenyu_data.prom").read_bytes()):
        done = subprocess.run(
            [find("promtool"), "check", "metrics"], input=text, capture_output=True
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, b"")
        assert b"anna" not in text
