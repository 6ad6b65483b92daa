"""The table ``[metrics]`` of the configuration: where figures are written for others. Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class MetricsTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[metrics]``."""

    textfile: Annotated[str, Meta(min_length=1)] | None = None

    def __post_init__(self) -> None:
        if self.textfile is not None and not self.textfile.endswith(".prom"):
            raise ValueError("`textfile` ends with .prom: node_exporter reads no other file")


METRICS_DESCRIPTIONS = {
    "textfile": "A file ending with .prom, for node_exporter; written after every run and tick.",
}
"""What each key of the table ``[metrics]`` means."""
