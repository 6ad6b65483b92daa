"""What modes and owners the files of a data directory should have, and what is wrong with one.
Pure.
"""

from __future__ import annotations

import stat
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from shenyu_data.model.errors import UsageError
from shenyu_data.model.findings import Finding, Severity, printable

Mode = Annotated[int, Meta(ge=0, le=0o777)]


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted: permission bits of files and folders; their owner and group, None: any."""

    file_mode: Mode = 0o600
    folder_mode: Mode = 0o700
    uid: int | None = None
    gid: int | None = None


class Node(NamedTuple):
    """One entry as it was met: its ``st_mode``, owner, group, number of names, and whether an
    access list says more than the mode does.
    """

    st_mode: int
    uid: int
    gid: int
    names: int
    has_access_list: bool = False

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.st_mode)


class Mending(NamedTuple):
    """What would make an entry as the policy wants it: permission bits, owner, None: as it is."""

    mode: int | None
    owner: tuple[int, int] | None


def parse_mode(text: str, *, folder: bool = False) -> int:
    """Return the permission bits that octal digits mean, such as ``640``, for files or folders.

    Raise UsageError, also if they would shut the application out of its own data.
    """
    try:
        mode = int(text, 8)
        if not 0 <= mode <= 0o777:
            raise ValueError
    except ValueError:
        raise UsageError(
            f"{printable(text)} is no mode", hint="Give octal digits, such as 600 or 0750."
        ) from None
    needed = 0o700 if folder else 0o600
    if mode & needed != needed:
        raise UsageError(
            f"{printable(text)} would shut the owner out of its own data",
            hint=f"Give at least {needed:o}.",
        )
    return mode


def parse_id(text: str) -> int:
    """Return the number of a user or a group that digits mean. Raise UsageError."""
    number = int(text)
    if number > _MOST_ID:
        raise UsageError(
            f"{printable(text)} is no number of a user or a group", hint="Give its name."
        )
    return number


_MOST_ID = (1 << 32) - 2  # the one above means "as it is"


def judge(path: bytes, node: Node, policy: Policy) -> list[Finding]:
    """Return what is wrong with a file or folder, the worst first."""
    wanted = policy.folder_mode if node.is_folder else policy.file_mode
    mode = stat.S_IMODE(node.st_mode)
    beyond = mode & ~wanted
    found: list[Finding] = []

    def say(*, code: str, severity: Severity, message: str, hint: str = _MODE_HINT) -> None:
        where = printable(path) or "."
        found.append(Finding(code=code, severity=severity, path=where, message=message, hint=hint))

    is_mode = f"(mode {mode:04o})"
    if mode & (stat.S_ISUID | stat.S_ISGID) and not node.is_folder:
        say(code="set-user-id", severity="error", message=f"runs as its owner or group {is_mode}")
    if beyond & stat.S_IWOTH:
        say(code="world-writable", severity="error", message=f"anybody may change it {is_mode}")
    elif beyond & stat.S_IROTH or (node.is_folder and beyond & stat.S_IXOTH):
        say(code="world-readable", severity="error", message=f"anybody may read it {is_mode}")
    if policy.uid is not None and node.uid != policy.uid:
        message = f"it belongs to user {node.uid}, not to {policy.uid}"
        say(code="foreign-owner", severity="error", message=message, hint=_OWNER_HINT)
    if wanted & 0o700 & ~mode:
        message = f"its own owner may not use it {is_mode}"
        say(code="owner-shut-out", severity="error", message=message)
    if beyond & (stat.S_IRGRP | stat.S_IWGRP) or (node.is_folder and beyond & stat.S_IXGRP):
        say(code="group-access", severity="warning", message=f"its group has access {is_mode}")
    if policy.gid is not None and node.gid != policy.gid:
        message = f"it belongs to group {node.gid}, not to {policy.gid}"
        say(code="foreign-group", severity="warning", message=message, hint=_OWNER_HINT)
    if beyond & 0o111 and not node.is_folder:
        say(code="executable-file", severity="warning", message=f"a program {is_mode}")
    if node.has_access_list:
        message = "an access list gives others rights that its mode does not show"
        hint = "Remove it with `setfacl -b`."
        say(code="access-list", severity="warning", message=message, hint=hint)
    return found


_MODE_HINT = "`shenyu-data permissions fix` gives it the mode it should have."
_OWNER_HINT = "`shenyu-data permissions fix`, as root, gives it back."


def mending(node: Node, policy: Policy) -> Mending | None:
    """Return what to change of a file or folder; None if nothing, or nothing may be changed.

    A file with several names may be somebody else's, linked here from elsewhere: only its owner's
    own are changed.
    """
    wanted = policy.folder_mode if node.is_folder else policy.file_mode
    mode = stat.S_IMODE(node.st_mode)
    if node.is_folder:  # what is made in it belongs to its group, or only its makers may remove
        wanted |= mode & (stat.S_ISGID | stat.S_ISVTX)
    owner = (
        node.uid if policy.uid is None else policy.uid,
        node.gid if policy.gid is None else policy.gid,
    )
    changed = Mending(
        mode=wanted if mode != wanted else None,
        owner=owner if owner != (node.uid, node.gid) else None,
    )
    if changed == (None, None) or is_shared(node, policy):
        return None
    return changed


def is_shared(node: Node, policy: Policy) -> bool:
    """Whether a file may be another's, under a name in the data directory: nothing changes it."""
    foreign = policy.uid is not None and node.uid != policy.uid
    return foreign and not node.is_folder and node.names > 1
