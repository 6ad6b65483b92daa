"""The flag ``--offline``: the application is stopped, so nothing is watched for it."""

from __future__ import annotations

import click

offline_option = click.option(
    "--offline", is_flag=True, help="The application is stopped: nothing is watched for it."
)


def quiet_s(offline: bool) -> float:
    """Return how long what is changed is watched for the application."""
    from shenyu_data.operations.live_document import QUIET_S  # late: few calls change anything

    return 0.0 if offline else QUIET_S
