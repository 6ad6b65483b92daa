"""Every metric there is: its name, its kind, its labels, and what it says.

The one source for what is measured, for ``docs/metrics.md``, and for what the dashboard and the
rules in ``examples/`` may name. Names and units are as Prometheus wants them; none holds a name of
a user.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from shenyu_data.model.config_schedule import JOB_VERBS


class Definition(NamedTuple):
    """A metric. A counter's name ends in ``_total``."""

    kind: Literal["gauge", "counter"]
    labels: tuple[str, ...]
    about: str


PREFIX = "shenyu_data_"

_JOB = ("job_name", "verb")  # `job` is the label that Prometheus gives

_JOBS = {
    "job_running": Definition("gauge", _JOB, "Whether the job runs now."),
    "job_next_run_timestamp_seconds": Definition(
        "gauge", _JOB, "When the job is due next, without jitter and retries."
    ),
    "job_last_run_timestamp_seconds": Definition(
        "gauge", _JOB, "When the last run of the job that has ended began."
    ),
    "job_last_completion_timestamp_seconds": Definition(
        "gauge", _JOB, "When the job last ended good or with findings."
    ),
    "job_last_success_timestamp_seconds": Definition("gauge", _JOB, "When it last ended good."),
    "job_last_duration_seconds": Definition("gauge", _JOB, "How long its last run took."),
    "job_last_exit_status": Definition(
        "gauge", _JOB, "What its last run exited with; -1 if it was killed or not run."
    ),
    "job_runs_total": Definition("counter", (*_JOB, "outcome"), "Its runs, by how they ended."),
}

_VERBS = {
    f"{verb.replace(' ', '_')}_last_{what}_timestamp_seconds": Definition(
        "gauge", (), f"When the verb {verb}, whoever called it, last ended {how}."
    )
    for verb in JOB_VERBS
    for what, how in (("completion", "good or with findings"), ("success", "good"))
}

_DATA = {
    "users": Definition("gauge", (), "Users in the data directory, at its last backup."),
    "histories": Definition("gauge", (), "Histories, at the last backup."),
    "chats": Definition("gauge", (), "Chats, at the last backup."),
    "messages": Definition("gauge", (), "Messages, at the last backup."),
    "documents": Definition("gauge", (), "Documents of every kind, at the last backup."),
    "document_bytes": Definition("gauge", (), "Bytes of all documents, at the last backup."),
    "torn_documents": Definition(
        "gauge", (), "Documents that the last backup could not read whole."
    ),
    "unreadable_documents": Definition("gauge", (), "Documents it could not read at all."),
}

_BACKUP = {
    "backup_degraded": Definition("gauge", (), "Whether the last snapshot is degraded."),
    "backup_read_bytes": Definition("gauge", (), "Bytes that the last backup read."),
    "backup_stored_bytes": Definition("gauge", (), "Bytes that it added to the repository."),
    "backup_duration_seconds": Definition("gauge", (), "How long it took."),
    "backup_documents": Definition(
        "gauge", ("change",), "Documents that were new, changed and gone in it."
    ),
}

_REPOSITORY = {
    "repository_bytes": Definition(
        "gauge", (), "Bytes of the repository; of a bucket, at the last verify."
    ),
    "repository_objects": Definition("gauge", (), "Its objects."),
    "repository_snapshots": Definition("gauge", (), "Its snapshots."),
    "filesystem_free_bytes": Definition(
        "gauge", ("place",), "Bytes free where the data, the repository and the state lie."
    ),
    "filesystem_size_bytes": Definition("gauge", ("place",), "The size of that file system."),
}

_PROOF = {
    "verify_damaged_objects": Definition("gauge", (), "Objects the last verify found damaged."),
    "verify_read_bytes": Definition("gauge", (), "Bytes of documents that it read."),
    "drill_users": Definition("gauge", (), "Users of the snapshot that was drilled last."),
    "drill_proven_users": Definition(
        "gauge", ("within",), "Those of them who were proven restorable, within 30 and 90 days."
    ),
    "drill_proven_ratio": Definition(
        "gauge", ("within",), "The same as a share of all of them, from 0 to 1."
    ),
    "drill_never_proven_users": Definition("gauge", (), "Users who were never proven restorable."),
    "drill_failing_users": Definition("gauge", (), "Users whose last drill failed."),
    "drill_oldest_proof_timestamp_seconds": Definition(
        "gauge", (), "The oldest of the users' last proofs."
    ),
}

_ALERTS = {
    "alerts": Definition(
        "gauge", ("level",), "Alerts that stand, silenced and acknowledged ones among them."
    ),
}

_NOTIFICATIONS = {
    "notifications_waiting": Definition(
        "gauge", (), "Messages that have not yet gone out on every way."
    ),
    "notifications_failing": Definition(
        "gauge", ("channel",), "Whether the last message on a way did not get through."
    ),
    "notifications_sent_total": Definition("counter", ("channel",), "Messages that went out."),
    "notifications_given_up_total": Definition(
        "counter", ("channel",), "Messages that were given up."
    ),
}

_SELF = {
    "build_info": Definition("gauge", ("version", "python"), "Always 1: which program this is."),
    "log_usable": Definition(
        "gauge", (), "Whether the log of runs can be read; if not, what it knows is missing here."
    ),
}

METRICS: dict[str, Definition] = {
    PREFIX + name: definition
    for part in (_SELF, _JOBS, _VERBS, _DATA, _BACKUP, _REPOSITORY, _PROOF, _ALERTS, _NOTIFICATIONS)
    for name, definition in part.items()
}
"""Every metric by its full name, in the order in which they are written."""
