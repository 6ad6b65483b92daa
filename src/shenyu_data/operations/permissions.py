"""``permissions``: who may read and change the files of a data directory, against a policy.

Checking looks at stat data only and opens no file. Mending plans first, by the same look, and then
looks again while it changes: what is another file by then is judged anew by the next run.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator

import msgspec

from shenyu_data.datadir.folder import open_root, target_inside
from shenyu_data.datadir.permissions import Met, change, walk
from shenyu_data.datadir.scan import DataFolders
from shenyu_data.datadir.survey import unreadable_folder
from shenyu_data.model.entry_rules import outside_link_finding, special_finding
from shenyu_data.model.findings import Finding, printable
from shenyu_data.model.monitor import Monitor
from shenyu_data.model.permissions import Mending, Node, Policy, is_shared, judge, mending

MOST_ITEMS = 1000
"""So many changes are listed in a plan; all are counted."""


class PermissionsStats(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at, and how many findings of each severity there are."""

    files: int
    folders: int
    links: int
    errors: int
    warnings: int
    elapsed_s: float


class ModeChange(msgspec.Struct, frozen=True, kw_only=True):
    """What one entry becomes: its path, its mode and owner before and after (None: as it is)."""

    path: str
    mode: str
    new_mode: str | None
    owner: str
    new_owner: str | None


class PermissionsPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a mending changes: the first of the changes, and how many there are; ``refused`` have
    several names and another owner, and are left alone.
    """

    items: list[ModeChange]
    changes: int
    refused: int


class MendStats(msgspec.Struct, frozen=True, kw_only=True):
    """What was changed; what could not be; what is left alone because it may be another's."""

    changed: int
    failed: int
    refused: int
    elapsed_s: float


def owner_policy(data: str, policy: Policy) -> Policy:
    """Return the policy with an owner and a group where it names none: those of ``users/`` and
    ``histories/``, in which the application writes; if they differ, those of the directory itself,
    which may be a mount that belongs to root. Raise DataDirectoryError.
    """
    with open_root(data) as root, DataFolders(data) as folders:
        found = os.fstat(root)
        inside = [os.fstat(one) for one in (folders.users, folders.histories) if one is not None]
        if inside and len({(one.st_uid, one.st_gid) for one in inside}) == 1:
            found = inside[0]
    return msgspec.structs.replace(
        policy,
        uid=found.st_uid if policy.uid is None else policy.uid,
        gid=found.st_gid if policy.gid is None else policy.gid,
    )


def check_permissions(data: str, policy: Policy, monitor: Monitor) -> PermissionsStats:
    """Report everything that is not as the policy wants it. Raise DataDirectoryError."""
    begun = time.monotonic()
    counts = {"file": 0, "folder": 0, "link": 0}
    severities = {"error": 0, "warning": 0, "info": 0}
    inside = os.path.realpath(os.fsencode(data))

    def report(findings: list[Finding]) -> None:
        for finding in findings:
            severities[finding.severity] += 1
            monitor.report(finding)

    report(_above(os.path.realpath(data)))
    with open_root(data) as root, monitor.task("Looking", None, "files") as progress:
        for met in walk(root):
            progress.advance(1)
            if met.node is not None:
                counts["folder" if met.node.is_folder else "file"] += 1
                report(judge(met.path, met.node, policy))
            else:
                counts["link"] += met.target is not None
                report(_no_node(met, inside))
    return PermissionsStats(
        files=counts["file"],
        folders=counts["folder"],
        links=counts["link"],
        errors=severities["error"],
        warnings=severities["warning"],
        elapsed_s=time.monotonic() - begun,
    )


def plan_permissions(data: str, policy: Policy) -> PermissionsPlan:
    """Say what :func:`mend_permissions` would change now. Raise DataDirectoryError."""
    items: list[ModeChange] = []
    changes = refused = 0
    with open_root(data) as root:
        for met, node, mend in _changes(root, policy):
            if mend is None:
                refused += 1
                continue
            changes += 1
            if len(items) < MOST_ITEMS:
                items.append(_described(met.path, node, mend))
    return PermissionsPlan(items=items, changes=changes, refused=refused)


def mend_permissions(data: str, policy: Policy, monitor: Monitor) -> MendStats:
    """Give every file and folder the mode, and as root the owner, that the policy wants.

    What may not be changed is reported, and what has several names and another owner. Raise
    DataDirectoryError.
    """
    begun = time.monotonic()
    changed = failed = refused = 0
    with open_root(data) as root, monitor.task("Changing", None, "files") as progress:
        for met, node, mend in _changes(root, policy):
            if mend is None:
                refused += 1
                monitor.report(_refused(met.path, node))
                continue
            try:
                changed += change(root, met.path, node, mend)
            except OSError as error:
                failed += 1
                monitor.report(_not_changed(met.path, error))
            progress.advance(1)
    return MendStats(
        changed=changed, failed=failed, refused=refused, elapsed_s=time.monotonic() - begun
    )


def _changes(root: int, policy: Policy) -> Iterator[tuple[Met, Node, Mending | None]]:
    """Yield what is to be changed, and, without a mending, what must not be."""
    for met in walk(root):
        if met.node is None:
            continue
        mend = mending(met.node, policy)
        if mend is not None or is_shared(met.node, policy):
            yield met, met.node, mend


def _described(path: bytes, node: Node, mend: Mending) -> ModeChange:
    return ModeChange(
        path=printable(path) or ".",
        mode=f"{stat.S_IMODE(node.st_mode):04o}",
        new_mode=None if mend.mode is None else f"{mend.mode:04o}",
        owner=f"{node.uid}:{node.gid}",
        new_owner=None if mend.owner is None else f"{mend.owner[0]}:{mend.owner[1]}",
    )


def _no_node(met: Met, data: bytes) -> list[Finding]:
    if met.error is not None:
        return [unreadable_folder(met.path, met.error)]
    if met.special is not None:
        return [special_finding(met.path, met.special)]
    if (
        met.target is not None
        and target_inside(data, met.path.rpartition(b"/")[0], met.target) is None
    ):
        return [outside_link_finding(met.path, met.target)]
    return []


def _above(data: str) -> list[Finding]:
    """Return what is wrong with the folders above: who may change them may put another in place."""
    findings: list[Finding] = []
    above = os.path.dirname(data)
    while True:
        try:
            found = os.stat(above)
        except OSError:
            return findings
        others = found.st_mode & stat.S_IWOTH
        if others and not found.st_mode & stat.S_ISVTX:
            findings.append(
                Finding(
                    code="replaceable-folder",
                    severity="error",
                    path=printable(above),
                    message="anybody may put another folder in the place of the data directory: "
                    "this folder above it may be changed by all",
                    hint="Take the right away (`chmod o-w`), or move the data elsewhere.",
                )
            )
        if above == os.path.dirname(above):
            return findings
        above = os.path.dirname(above)


def _refused(path: bytes, node: Node) -> Finding:
    return Finding(
        code="shared-file",
        severity="warning",
        path=printable(path),
        message=f"it has {node.names} names and another owner: it may be that one's file, and is "
        "left alone",
        hint="See what its other names are (`find -inum`), then copy it or remove this name.",
    )


def _not_changed(path: bytes, error: OSError) -> Finding:
    return Finding(
        code="mode-not-changed",
        severity="error",
        path=printable(path) or ".",
        message=f"it could not be changed: {error.strerror or error}",
        hint="Run it as root, or as the owner.",
    )
