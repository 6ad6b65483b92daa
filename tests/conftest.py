"""What every test gets: a hypothesis profile, and a home of its own with no settings in it."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from shenyu_data.repository import keyslots
from shenyu_data.testing.s3 import S3Server, run_s3

# Nothing here may depend on how fast the machine is: no deadline, no health check of the time that
# drawing takes. Nor on chance: the same examples in every run, but for who asks to look further.
SLOW = (HealthCheck.too_slow,)
for name, examples, same in (("ci", 60, True), ("thorough", 2_000, False)):
    settings.register_profile(
        name,
        deadline=None,
        derandomize=same,
        max_examples=examples,
        print_blob=True,
        suppress_health_check=SLOW,
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or "ci")


@pytest.fixture(scope="session", autouse=True)
def cheap_passphrases() -> Iterator[None]:
    """Let a passphrase cost a hundredth of what it costs people: hundreds of tests make a
    repository. What the program makes in a process of its own costs the whole.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyslots, "ARGON2_MEMORY_KIB", 512)
        yield


@pytest.fixture(autouse=True)
def isolated_home(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep the settings, caches and secrets of whoever runs the tests out of them."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for variable, folder in {
        "XDG_CACHE_HOME": ".cache",
        "XDG_CONFIG_HOME": ".config",
        "XDG_DATA_HOME": ".local/share",
        "XDG_STATE_HOME": ".local/state",
    }.items():
        monkeypatch.setenv(variable, str(home / folder))
    for variable in ("XDG_CONFIG_DIRS", "XDG_DATA_DIRS", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(variable, raising=False)
    ours = ("SHENYU_DATA_", "AWS_", "GOOGLE_", "AZURE_")
    for variable in [name for name in os.environ if name.startswith(ours)]:
        monkeypatch.delenv(variable)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let processes that are started now be interrupted, though who runs the tests may ignore that,
    as a shell makes its background jobs do, and they would inherit it.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Run one S3 server for all tests of this process."""
    with run_s3(tmp_path_factory.mktemp("s3") / "objects") as server:
        yield server


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """Give an S3 server to which the environment leads; ``s3.fresh()`` is an empty location."""
    s3_server.proxy.forget()
    for variable, value in s3_server.environment().items():
        monkeypatch.setenv(variable, value)
    return s3_server
