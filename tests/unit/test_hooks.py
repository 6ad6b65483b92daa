"""What is done besides jobs: called in order, and never the reason that a job fails."""

from pathlib import Path

import pytest

from shenyu_data.health.hooks import HOOKS, Occasion, call_hooks
from shenyu_data.health.store import open_store
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import SilentMonitor
from shenyu_data.operations.configuration import load_settings

CALLED: list[str] = []
BROKEN = [True]


def first(occasion: Occasion) -> None:
    CALLED.append(f"first {occasion.event}")
    if BROKEN[0]:
        raise ValueError("broken")


def second(occasion: Occasion) -> None:
    CALLED.append(f"second {occasion.event}")


class Heard(SilentMonitor):
    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def report(self, finding: Finding) -> None:
        self.findings.append(finding)


def test_a_hook_that_fails_is_told_once_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.CALLED", [])
    heard, failing = Heard(), set[str]()
    hooks = [f"{__name__}:first", f"{__name__}:second", "shenyu_data.health.nosuch:third"]
    settings = load_settings(
        config_file=None, data=None, repository=None, jobs=None, environment={}
    )
    with open_store(str(tmp_path)) as store:
        for broken in (True, True, False, True):
            monkeypatch.setattr(f"{__name__}.BROKEN", [broken])
            occasion = Occasion(
                event="tick", store=store, settings=settings, now_ms=1, monitor=heard
            )
            call_hooks(occasion, hooks, failing)
    assert CALLED == ["first tick", "second tick"] * 4
    messages = [item.message for item in heard.findings]
    assert [item.code for item in heard.findings] == ["hook-failed"] * 3
    assert sum("ValueError: broken" in message for message in messages) == 2
    assert sum("ModuleNotFoundError" in message for message in messages) == 1


def test_every_hook_is_there() -> None:
    from importlib import import_module

    for name in HOOKS:
        module, _, function = name.partition(":")
        assert callable(getattr(import_module(module), function))
