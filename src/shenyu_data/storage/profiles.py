"""The profile files of the AWS command line, which the object store library does not read."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping

from shenyu_data.model.errors import UsageError

_KEYS = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "token",
    "region": "region",
    "endpoint_url": "endpoint",
}
_ELSEWHERE = ("role_arn", "sso_session", "sso_start_url", "credential_process", "login_session")


def read_profile(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what the profile in force says: ``access_key_id``, ``secret_access_key``, ``token``,
    ``region``, ``endpoint``, those that it has.

    The profile is the one AWS_PROFILE names, else ``default``, in ~/.aws/config and
    ~/.aws/credentials (AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE); the second file wins. Raise
    UsageError if AWS_PROFILE names none, or its keys are to be had only by a further call.
    """
    named = environment.get("AWS_PROFILE")
    name = named or "default"
    home = environment.get("HOME") or os.path.expanduser("~")
    values: dict[str, str] = {}
    found = False
    for variable, usual, section in (
        ("AWS_CONFIG_FILE", "config", name if name == "default" else f"profile {name}"),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", name),
    ):
        path = environment.get(variable) or os.path.join(home, ".aws", usual)
        parsed = _parse(path)
        if parsed.has_section(section):
            found = True
            values.update(parsed[section])
    if named and not found:
        raise UsageError(
            f"there is no AWS profile {named}",
            hint="Check AWS_PROFILE, ~/.aws/config and ~/.aws/credentials.",
        )
    if "aws_access_key_id" not in values and any(key in values for key in _ELSEWHERE):
        raise UsageError(
            f"the AWS profile {name} gets its keys by a role, by single sign-on or from a command",
            hint='Run `eval "$(aws configure export-credentials --format env)"` first.',
        )
    return {ours: values[theirs] for theirs, ours in _KEYS.items() if values.get(theirs)}


def _parse(path: str) -> configparser.RawConfigParser:
    parsed = configparser.RawConfigParser(strict=False, default_section="")
    try:
        parsed.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError):
        # Not the parser's own words: they would quote the line, and a secret with it.
        raise UsageError(
            f"cannot read {path}", hint="Mend it, or set AWS_ACCESS_KEY_ID and so on."
        ) from None
    return parsed
