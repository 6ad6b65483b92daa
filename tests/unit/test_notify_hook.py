"""Messages are carried in a thread, which may fail in any way and is begun again."""

from pathlib import Path

import pytest

from shenyu_data.health import notify_hook
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import SilentMonitor
from shenyu_data.operations.configuration import load_settings


class Deaf(SilentMonitor):
    """Fails to report, as where findings are kept on a disk that is full."""

    def __init__(self) -> None:
        self.asked = 0

    def report(self, finding: Finding) -> None:
        self.asked += 1
        raise OSError


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_carrier_that_died_is_no_reason_to_carry_nothing_any_more(tmp_path: Path) -> None:
    (tmp_path / "state").touch()  # no folder: nothing can be sent
    settings = load_settings(config_file=None, data="d", repository=None, jobs=None, environment={})
    monitor = Deaf()
    for number in (1, 2):
        notify_hook.carry(str(tmp_path / "state"), settings, monitor)
        notify_hook.finish_carrying()
        assert monitor.asked == number
