"""The configuration file: what it may say, and that what ``init`` writes reads back."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shenyu_data.model.config import DESCRIPTIONS, Config, parse_config, sample
from shenyu_data.model.errors import ConfigError


def test_every_key_is_described_and_every_described_key_exists() -> None:
    assert set(DESCRIPTIONS) == set(Config.__struct_fields__)


def test_an_empty_file_says_nothing() -> None:
    assert parse_config("", "x.toml") == Config()


def test_every_key_is_read() -> None:
    text = """
        data = "/data"
        repository = "/repo"
        passphrase_file = "/secret"
        passphrase_command = ["pass", "show", "x"]
        jobs = 3
    """
    assert parse_config(text, "x.toml") == Config(
        data="/data",
        repository="/repo",
        passphrase_file="/secret",
        passphrase_command=["pass", "show", "x"],
        jobs=3,
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("data = 1", "data"),
        ("unheard_of = 1", "unheard_of"),
        ("[data]", "data"),
        ("data = ''", "data"),
        ("jobs = 0", "jobs"),
        ("jobs = 2.5", "jobs"),
        ("jobs = true", "jobs"),
        ("passphrase_command = 'x'", "passphrase_command"),
        ("passphrase_command = [1]", "passphrase_command"),
        ("data = 'a'\ndata = 'b'", "TOML"),
        ("data", "TOML"),
        ("data = '\0'", "TOML"),
    ],
)
def test_what_is_wrong_is_named_with_the_file_and_the_key(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=r"x\.toml") as caught:
        parse_config(text, "x.toml")
    assert says in caught.value.message
    assert caught.value.hint


TEXT = st.text(st.characters(codec="utf-8"))


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "data": TEXT.filter(bool),
            "repository": TEXT.filter(bool),
            "passphrase_file": TEXT.filter(bool),
            "passphrase_command": st.lists(TEXT),
            "jobs": st.integers(1, 64),
        },
    )
)
def test_what_is_written_reads_back_whatever_the_names(values: dict[str, object]) -> None:
    text = sample(values)
    assert tomllib.loads(text) == values
    assert parse_config(text, "x.toml") == Config(**values)  # type: ignore[arg-type]


def test_the_sample_explains_every_key() -> None:
    text = sample({"jobs": 2})
    for name, about in DESCRIPTIONS.items():
        assert f"# {about}\n" in text
        assert f"# {name} =\n" in text or name == "jobs"
