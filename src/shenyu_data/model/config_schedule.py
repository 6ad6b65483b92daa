"""The table ``[schedule]`` of the configuration: which jobs there are, and when. Pure."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from shenyu_data.model.ages import parse_age
from shenyu_data.model.cron import parse_cron
from shenyu_data.model.errors import UsageError
from shenyu_data.model.schedule import Job, verb_of

JOB_VERBS = (
    *("backup", "verify", "prune", "drill", "validate", "cleanup", "compress"),
    "permissions check",
)
"""The verbs that a job may run."""

CONFIRMED = ("prune", "cleanup", "compress")
"""Those of them that ask: a job is configured, which is an answer."""

DEFAULT_JITTER = "5min"

Text = Annotated[str, Meta(min_length=1)]

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?")
_OURS = re.compile(r"--(config|data|repo|json|dry-run)(=.*)?", re.DOTALL)


def _check_age(age: str | None) -> None:
    try:
        parse_age(age) if age is not None else None
    except UsageError as error:
        raise ValueError(f"{error.message}. {error.hint}") from None


class JobTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[schedule.jobs.KEY]``: what runs, and when."""

    run: list[str]
    at: Text
    retries: Annotated[int, Meta(ge=0, le=20)] = 3
    retry_after: Text = "10min"
    catch_up: Text | None = None
    timeout: Text | None = None
    ping_file: Text | None = None

    def __post_init__(self) -> None:
        if not self.run or verb_of(self.run) not in JOB_VERBS:
            raise ValueError(f"`run` begins with a verb: {', '.join(JOB_VERBS)}")
        for word in self.run:
            if _OURS.fullmatch(word) or "\0" in word or "\n" in word:
                raise ValueError(f"`run` must not hold {word!r}: it is not for a job to say")
        try:
            parse_cron(self.at)
        except UsageError as error:
            raise ValueError(f"`at`: {error.message}. {error.hint}") from None
        for age in (self.retry_after, self.catch_up, self.timeout):
            _check_age(age)
        if not parse_age(self.retry_after):
            raise ValueError("`retry_after` is longer than nothing")
        if self.timeout is not None and not parse_age(self.timeout):
            raise ValueError("`timeout` is longer than nothing: leave it out for no limit")

    def job(self, name: str) -> Job:
        """Return the job it describes."""
        words = self.run
        if words[0] in CONFIRMED and "--yes" not in words:
            words = [*words, "--yes"]
        return Job(
            name=name,
            words=tuple(words),
            cron=parse_cron(self.at),
            retries=self.retries,
            retry_after_ms=parse_age(self.retry_after) * 1000,
            catch_up_ms=parse_age(self.catch_up) * 1000 if self.catch_up is not None else None,
            timeout_ms=parse_age(self.timeout) * 1000 if self.timeout is not None else None,
        )


class ScheduleTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[schedule]``. Without ``jobs`` there are those of :func:`default_jobs`."""

    timezone: Text | None = None
    jitter: Text = DEFAULT_JITTER
    jobs: dict[str, JobTable] | None = None

    def __post_init__(self) -> None:
        _check_age(self.jitter)
        for name in self.jobs or {}:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} is no name for a job: small letters, digits and dashes, at most 48"
                )

    def all_jobs(self) -> list[Job]:
        """Return the jobs, in the order in which they stand there."""
        tables = default_jobs() if self.jobs is None else self.jobs
        return [table.job(name) for name, table in tables.items()]

    def jitter_ms(self) -> int:
        """Return how long after its due time a run begins at most."""
        return parse_age(self.jitter) * 1000


def default_jobs() -> dict[str, JobTable]:
    """Return the jobs of a configuration that has none. None of them removes or moves live data."""
    return {
        "backup": JobTable(run=["backup"], at="30 3 * * *"),
        "backup-full": JobTable(run=["backup", "--full"], at="30 4 * * sun"),
        "prune": JobTable(run=["prune"], at="30 5 * * *"),
        "verify": JobTable(run=["verify", "--read-every", "30d"], at="0 6 * * *"),
        "validate": JobTable(run=["validate"], at="30 6 * * *"),
        "drill": JobTable(run=["drill"], at="0 7 * * sat"),
    }


SCHEDULE_DESCRIPTIONS = {
    "timezone": "The time zone of all times, such as Europe/Berlin. Default: the system's.",
    "jitter": "How long after its time a job of serve or systemd begins at most. Default: 5min.",
    "jobs": "What runs, and when. With any, only these.",
}
"""What each key of the table ``[schedule]`` means."""

JOB_DESCRIPTIONS = {
    "run": "A verb and its flags, as a list of words. A verb that asks is told yes.",
    "at": "When: minute, hour, day of the month, month, day of the week, as cron has them.",
    "retries": "How many times a run that failed is tried again. Default: 3.",
    "retry_after": "How long to wait before that, doubled each time. Default: 10min.",
    "catch_up": "How old a run that was missed may be to be made up for. Default: any age.",
    "timeout": "How long a run may take; then it is ended, and tried again. Default: any time.",
    "ping_file": "A file whose first line is a URL to ping when a run begins and ends.",
}
"""What each key of the tables ``[schedule.jobs.KEY]`` means."""
