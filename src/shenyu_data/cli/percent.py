"""Percentages as a person gives them. For verbs that take one."""

from __future__ import annotations

import click


class Percent(click.ParamType[float]):
    """A number above 0 and up to 100, with or without a percent sign."""

    name = "percent"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number; end the call with a usage error if it is none."""
        try:
            percent = float(str(value).rstrip("%"))
        except ValueError:
            percent = -1.0
        if not 0 < percent <= 100:
            self.fail(f"{value!r} is not a percentage above 0 and up to 100", param, ctx)
        return percent
