"""Findings as SARIF 2.1.0, which code hosts and editors show. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

from shenyu_data.model.findings import Finding, Severity

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
"""The published schema that the logs keep to."""

_BASE = "DATA"
_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}


class SarifLog(NamedTuple):
    """A log whose last list, the results, is empty; and these, to be put there: there may be
    millions.
    """

    log: dict[str, Any]
    results: Iterator[dict[str, Any]]


def sarif_log(
    findings: Iterable[Finding], *, folder: str, version: str, exit_status: int
) -> SarifLog:
    """Given what a check saw in the absolute ``folder``, which can be gone through twice, return a
    SARIF log of one run.

    Every finding is a result, and its code the rule. Paths count from the base ``DATA``.
    """
    rules: dict[str, dict[str, Any]] = {}
    for finding in findings:
        if finding.code not in rules:
            rules[finding.code] = _rule(finding)
    indexes = {code: index for index, code in enumerate(rules)}
    run = {
        "tool": {
            "driver": {"name": "shenyu-data", "version": version, "rules": list(rules.values())}
        },
        "invocations": [{"executionSuccessful": True, "exitCode": exit_status}],
        "originalUriBaseIds": {_BASE: {"uri": f"file://{_quoted(folder.rstrip('/'))}/"}},
        "results": [],
    }
    results = (_result(finding, indexes[finding.code]) for finding in findings)
    return SarifLog({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, results)


def _rule(finding: Finding) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "id": finding.code,
        "shortDescription": {"text": finding.code.replace("-", " ")},
    }
    if finding.hint:
        rule["help"] = {"text": finding.hint}
    return rule


def _result(finding: Finding, rule: int) -> dict[str, Any]:
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": _quoted(finding.path or "."), "uriBaseId": _BASE}
        }
    }
    if finding.pointer is not None:
        location["logicalLocations"] = [{"fullyQualifiedName": finding.pointer}]
    return {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": _LEVELS[finding.severity],
        "message": {"text": finding.message},
        "locations": [location],
    }


def _quoted(path: str) -> str:
    """Return a path as a URI reference; a colon in it must not look like a scheme's."""
    return quote(path.encode("utf-8", "backslashreplace"))
