"""``shenyu-data permissions``: who may read and change the files of the data directory."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click
import msgspec

from shenyu_data.cli.audited import audited
from shenyu_data.cli.common import Call, common
from shenyu_data.cli.confirm import confirm, yes_option
from shenyu_data.cli.recorded import recorded
from shenyu_data.cli.render import fields, number, table
from shenyu_data.model.errors import UsageError
from shenyu_data.model.permissions import Policy, parse_id, parse_mode
from shenyu_data.operations.permissions import (
    PermissionsPlan,
    check_permissions,
    mend_permissions,
    owner_policy,
    plan_permissions,
)

F = TypeVar("F", bound=Callable[..., Any])

_SHOWN = 20


def _policy_options(verb: F) -> F:
    """Give a verb the flags of the policy; it receives a :class:`Policy`."""

    @click.option("--file-mode", metavar="MODE", help="The mode of files. Default: 600.")
    @click.option("--folder-mode", metavar="MODE", help="The mode of folders. Default: 700.")
    @click.option("--owner", metavar="USER", help="Who owns them. Default: the owner of users/.")
    @click.option("--group", metavar="GROUP", help="Their group. Default: that of users/.")
    @wraps(verb)
    def with_policy(call: Call, **rest: Any) -> Any:
        said = msgspec.structs.asdict(call.settings.permissions)
        for name in said:
            said[name] = rest.pop(name) or said[name]
        policy = Policy(
            file_mode=parse_mode(said["file_mode"] or "600"),
            folder_mode=parse_mode(said["folder_mode"] or "700", folder=True),
            uid=_number(said["owner"], "user", lambda name: pwd.getpwnam(name).pw_uid),
            gid=_number(said["group"], "group", lambda name: grp.getgrnam(name).gr_gid),
        )
        return verb(call, owner_policy(call.data, policy), **rest)

    return with_policy  # type: ignore[return-value]


def _number(name: str | None, what: str, look_up: Callable[[str], int]) -> int | None:
    if name is None or (name.isascii() and name.isdecimal()):
        return None if name is None else parse_id(name)
    try:
        return look_up(name)
    except KeyError:
        raise UsageError(
            f"there is no {what} {name} here", hint="Give its name or its number."
        ) from None


@click.group("permissions", context_settings={"help_option_names": ["-h", "--help"]})
def permissions_command() -> None:
    """Check or mend who may read and change the files of the data directory."""


@permissions_command.command("check")
@common
@recorded
@_policy_options
def check_command(call: Call, policy: Policy) -> None:
    """Report modes and owners that are not as they should be, links that lead out, odd files.

    Exits with 1 if there are any. No file is opened, and nothing is changed.
    """
    stats = check_permissions(call.data, policy, call.monitor)
    text = (
        f"{number(stats.errors, 'error')}, {number(stats.warnings, 'warning')}: looked at "
        f"{number(stats.files, 'file')}, {number(stats.folders, 'folder')}, "
        f"{number(stats.links, 'link')} in {stats.elapsed_s:.1f} s"
    )
    document = {**_policy_json(policy), **fields(stats), "elapsed_s": round(stats.elapsed_s, 3)}
    call.finish({"data": call.data, **document}, text, findings=bool(stats.errors + stats.warnings))


@permissions_command.command("fix")
@click.option("--dry-run", is_flag=True, help="Say what would be changed, and stop.")
@common
@yes_option
@recorded
@_policy_options
@audited
def fix_command(call: Call, policy: Policy, dry_run: bool) -> None:
    """Give every file and folder the mode, and as root the owner, that it should have.

    Links are never followed. A file with several names and another owner is left alone.
    """
    plan = plan_permissions(call.data, policy)
    text = _describe(plan)
    document = {"data": call.data, "dry_run": dry_run, **_policy_json(policy), **fields(plan)}
    if dry_run:
        call.finish(document, text)
        return
    if plan.changes:
        if not call.yes and not call.as_json and not call.quiet:
            click.echo(text, err=True)
        confirm(call, f"Change {number(plan.changes, 'file or folder', 'files and folders')}?")
    stats = mend_permissions(call.data, policy, call.monitor)
    document |= {**fields(stats), "elapsed_s": round(stats.elapsed_s, 3)}
    text = (
        f"Changed {number(stats.changed, 'file or folder', 'files and folders')} in "
        f"{stats.elapsed_s:.1f} s"
    )
    call.finish(document, text, findings=bool(stats.refused), failed=bool(stats.failed))


def _policy_json(policy: Policy) -> dict[str, Any]:
    return {
        "policy": {
            "file_mode": f"{policy.file_mode:04o}",
            "folder_mode": f"{policy.folder_mode:04o}",
            "owner": policy.uid,
            "group": policy.gid,
        }
    }


def _describe(plan: PermissionsPlan) -> str:
    lines = []
    if plan.items:
        rows = [
            (
                item.path,
                f"{item.mode} → {item.new_mode}" if item.new_mode else item.mode,
                f"{item.owner} → {item.new_owner}" if item.new_owner else item.owner,
            )
            for item in plan.items[:_SHOWN]
        ]
        lines.append(table(("path", "mode", "owner"), rows))
    if plan.changes > _SHOWN:
        lines.append(f"… and {plan.changes - _SHOWN:,} more: --json lists the first 1,000")
    if not plan.changes:
        lines.append("Every file and folder has the mode and owner it should have.")
    if plan.refused:
        lines.append(
            f"{number(plan.refused, 'file')} with several names and another owner: left alone."
        )
    return "\n".join(lines)
