"""The configuration: what the TOML file may say, what each key means, and where values come from.
Pure.

The one source for validation, for the sample that ``init`` writes, and for the documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shenyu_data.model.errors import ConfigError

CONFIG_NAME = "shenyu-data.toml"

ENVIRONMENT = {
    "SHENYU_DATA_CONFIG": "the configuration file",
    "SHENYU_DATA_DIR": "the data directory; beats `data`",
    "SHENYU_DATA_REPO": "the repository; beats `repository`",
    "SHENYU_DATA_PASSPHRASE": "the passphrase or recovery key; beats the keys that name one",
}
"""Every environment variable the program reads, and what it means."""


Name = Annotated[str, Meta(min_length=1)]


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the configuration file says; every key may be left out."""

    data: Name | None = None
    repository: Name | None = None
    passphrase_file: Name | None = None
    passphrase_command: list[str] | None = None
    jobs: Annotated[int, Meta(ge=1, le=64)] | None = None


DESCRIPTIONS = {
    "data": "The data directory: the folder that holds users/ and histories/.",
    "repository": "Where backups live: a local folder.",
    "passphrase_file": "A file whose first line is the passphrase or the recovery key.",
    "passphrase_command": "A command, as a list of words, that prints the passphrase; no shell.",
    "jobs": "How many processes work at once. Default: one for each core, at most 8.",
}
"""What each key of the configuration file means."""


def parse_config(text: str, name: str) -> Config:
    """Given a configuration file's text, return what it says. Raise ConfigError naming the file and
    the key.
    """
    try:
        return msgspec.toml.decode(text, type=Config)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"{name}: {error}",
            hint=f"The keys are {', '.join(DESCRIPTIONS)}; see docs/configuration.md.",
        ) from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"{name} is not TOML: {error}", hint="Mend the line it names.") from None


def sample(values: Mapping[str, Any]) -> str:
    """Given values for some keys, return a configuration file with them, and the other keys as
    comments.
    """
    lines = ["# shenyu-data: see `shenyu-data config show` for what is in force.", ""]
    for name, about in DESCRIPTIONS.items():
        lines.append(f"# {about}")
        value = values.get(name)
        if value is None:
            lines.append(f"# {name} =")
        else:
            lines.append(f"{name} = {_toml(value)}")
        lines.append("")
    return "\n".join(lines)


def _toml(value: str | int | list[str]) -> str:
    # A JSON string without \/, surrogates and DEL is a TOML basic string; so are arrays of them.
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
