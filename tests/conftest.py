"""What every test gets: a hypothesis profile, and a home of its own with no settings in it."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from shenyu_data.testing.s3 import S3Server, run_s3

# No deadline anywhere: the tests write and fsync, and a shared disk is slow whenever it likes.
settings.register_profile("dev", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True, print_blob=True)
settings.register_profile("thorough", deadline=None, max_examples=2_000)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if "CI" in os.environ else "dev")
)


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
