"""Why a history is not compressed, or not unpacked: each reason as a finding. Pure.

Called by ``compress``, ``decompress`` and what finishes them.
"""

from __future__ import annotations

from shenyu_data.model.findings import Finding, printable


def read_by_application_finding(path: bytes) -> Finding:
    """Return the finding about a history that would be missing for the application."""
    return Finding(
        code="read-by-application",
        severity="warning",
        path=printable(path),
        message="the application reads this history, and would take it for missing: it is left",
        hint="If the application is stopped, give --offline; beside it, --archive takes cold chats "
        "out of the history.",
    )


def torn_finding(path: bytes) -> Finding:
    """Return the finding about a history that is not whole."""
    return Finding(
        code="torn-document",
        severity="error",
        path=printable(path),
        message="it is not whole, and is left as it is",
        hint="`shenyu-data validate` says what is wrong with it.",
    )


def too_large_finding(path: bytes, size: int) -> Finding:
    """Return the finding about a history of ``size`` bytes, more than is held in memory."""
    return Finding(
        code="too-large",
        severity="warning",
        path=printable(path),
        message=f"too large ({size:,} bytes as it is): it is left",
        hint="gzip and gunzip do it, while the application is stopped.",
    )


def several_names_finding(path: bytes, names: int) -> Finding:
    """Return the finding about a history whose file has ``names`` names."""
    return Finding(
        code="hard-link",
        severity="info",
        path=printable(path),
        message=f"the file has {names} names, so nothing would be gained: it is left",
        hint="Remove the other names, or make a real copy.",
    )


def long_name_finding(path: bytes, suffix: bytes) -> Finding:
    """Return the finding about a document whose name is too long to get a suffix."""
    return Finding(
        code="hostile-name",
        severity="warning",
        path=printable(path),
        message=f"its name leaves no room for {suffix.decode()}: it is left",
        hint="See who made it.",
    )


def written_finding(path: bytes) -> Finding:
    """Return the finding about a history that was written while it was exchanged."""
    return Finding(
        code="changing-file",
        severity="warning",
        path=printable(path),
        message="it was written meanwhile, and is left as it is",
        hint="Try again when nobody writes to it.",
    )


def kept_finding(path: bytes, kept: bytes) -> Finding:
    """Return the finding about a history that was made anew while the old one, which is kept under
    the name ``kept``, was written.
    """
    return Finding(
        code="displaced-kept",
        severity="error",
        path=printable(path),
        message="it was written while it gave way to its twin, and made anew; what was written is "
        f"kept as {printable(kept)} in the same folder",
        hint="Compare it with the document, take over what is missing, then remove it.",
    )


def not_exchanged_finding(path: bytes, error: OSError | None) -> Finding:
    """Return the finding about a history that an error kept from being exchanged."""
    return Finding(
        code="not-written",
        severity="error",
        path=printable(path),
        message=f"it could not be exchanged: {error.strerror or error if error else 'unknown'}",
        hint="Check the free space, owner and mode of its folder; the document is still there.",
    )
