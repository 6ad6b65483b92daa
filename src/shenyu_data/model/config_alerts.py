"""The table ``[alerts]`` of the configuration: which rules watch, from when on, how loud. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shenyu_data.model.ages import parse_age
from shenyu_data.model.errors import UsageError
from shenyu_data.model.sizes import parse_size

Level = Literal["info", "warning", "critical"]
"""How bad it is: worth knowing; to be looked at; data is in danger now."""

LEVELS: tuple[Level, ...] = ("info", "warning", "critical")

Text = Annotated[str, Meta(min_length=1)]
Percent = Annotated[int, Meta(ge=1, le=99)]


def _check_age(name: str, age: str | None) -> None:
    try:
        parse_age(age) if age is not None else None
    except UsageError as error:
        raise ValueError(f"`{name}`: {error.message}. {error.hint}") from None


def _check_size(name: str, size: str | None) -> None:
    try:
        parse_size(size) if size is not None else None
    except UsageError as error:
        raise ValueError(f"`{name}`: {error.message}. {error.hint}") from None


class RuleTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[alerts.CODE]`` of a rule without thresholds. Ages and sizes are texts."""

    enabled: bool = True
    level: Level | None = None
    repeat: Text | None = None

    def __post_init__(self) -> None:
        for name in ("repeat", "older_than", "never", "within", "behind"):
            _check_age(name, getattr(self, name, None))
        for name in ("most", "least", "free"):
            _check_size(name, getattr(self, name, None))


class AgeTable(RuleTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a rule about something that must not be older than an age."""

    older_than: Text | None = None


class SlotTable(RuleTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the rule about key slots: one that was never used, and a recovery key not for so long."""

    never: Text = "30d"
    older_than: Text = "1y"


class SizeTable(RuleTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the rule about the size of the data directory. Without ``most`` it says nothing."""

    most: Text | None = None


class GrowthTable(RuleTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the rule about growth: so many percent, and as many bytes, within an age."""

    percent: Annotated[int, Meta(ge=1, le=10_000)] = 100
    least: Text = "1GB"
    within: Text = "7d"


class FreeTable(RuleTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the rule about free space: less than so many percent and than so many bytes."""

    percent: Percent = 10
    free: Text = "20GB"


class FullTable(RuleTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the rule about the trend of free space: full within an age."""

    within: Text = "14d"


class ClockTable(RuleTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the rule about the clock: behind of what was noted by more than an age."""

    behind: Text = "10min"


class AlertsTable(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"
):
    """The table ``[alerts]``; a rule's table has its code for a name."""

    quiet: Text = "1h"
    repeat: Text = "1d"
    backup_old: AgeTable = AgeTable()
    backup_degraded: RuleTable = RuleTable()
    job_failed: RuleTable = RuleTable()
    job_slow: AgeTable = AgeTable()
    run_skipped: RuleTable = RuleTable()
    jobs_stopped: AgeTable = AgeTable()
    verify_overdue: AgeTable = AgeTable()
    verify_failed: RuleTable = RuleTable()
    read_overdue: AgeTable = AgeTable()
    drill_overdue: AgeTable = AgeTable()
    drill_failed: RuleTable = RuleTable()
    data_size: SizeTable = SizeTable()
    data_growth: GrowthTable = GrowthTable()
    disk_free: FreeTable = FreeTable()
    disk_full_soon: FullTable = FullTable()
    documents_invalid: RuleTable = RuleTable()
    permissions_drifted: RuleTable = RuleTable()
    key_untested: SlotTable = SlotTable()
    clock_wrong: ClockTable = ClockTable()
    tripwire: RuleTable = RuleTable()
    notifier_down: RuleTable = RuleTable()
    access_bulk: RuleTable = RuleTable()
    access_stranger: RuleTable = RuleTable()
    watch_missed: RuleTable = RuleTable()
    watch_stopped: RuleTable = RuleTable()

    def __post_init__(self) -> None:
        for name in ("quiet", "repeat"):
            _check_age(name, getattr(self, name))

    def rule(self, code: str) -> RuleTable:
        """Return the table of a rule, by its code."""
        table: RuleTable = getattr(self, code.replace("-", "_"))
        return table

    def repeat_ms(self, code: str) -> int | None:
        """Return after which time an alert is told again; None: never."""
        return parse_age(self.rule(code).repeat or self.repeat) * 1000 or None

    def quiet_ms(self) -> int:
        """Return the least time between two messages that the same alert has risen."""
        return parse_age(self.quiet) * 1000


ALERTS_DESCRIPTIONS = {
    "quiet": "The least time between two messages that the same alert has risen. Default: 1h.",
    "repeat": "After which time an alert that stands is told again; 0d: never. Default: 1d.",
}
"""What each key of the table ``[alerts]`` means, besides the tables of rules."""

RULE_DESCRIPTIONS = {
    "enabled": "Whether it is looked at. Default: true.",
    "level": 'How loud it is: "info", "warning" or "critical".',
    "repeat": "After which time it is told again; 0d: never.",
    "older_than": "What may not be older than this; of keys: a recovery key not used for so long.",
    "never": "Of keys: one that was never used since it was made, so long ago. Default: 30d.",
    "most": "How large the data directory may be, such as 100GB. Without: any size.",
    "percent": "Growth by so many percent (100), or less free than so many percent (10).",
    "least": "Growth by no less than this. Default: 1GB.",
    "within": "Growth within this age (7d), or full within it (14d).",
    "free": "Where so much is free, no percentage is too little. Default: 20GB.",
    "behind": "How far the clock may be behind of what was noted. Default: 10min.",
}
"""What each key of the tables ``[alerts.CODE]`` means."""
