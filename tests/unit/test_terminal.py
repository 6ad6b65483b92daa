"""The terminal as a Monitor: what it prints, and what it keeps."""

from __future__ import annotations

import pytest

from shenyu_data.cli.terminal import TerminalMonitor
from shenyu_data.model.findings import Finding, Severity


def finding(code: str, severity: Severity) -> Finding:
    return Finding(code=code, severity=severity, path="a", message="it is so", hint="")


def monitor(*, silent: bool) -> TerminalMonitor:
    return TerminalMonitor(quiet=False, silent=silent, progress=False, detailed=False)


def test_findings_that_are_printed_are_counted_and_not_kept(
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal = monitor(silent=False)
    for _ in range(3):
        terminal.report(finding("torn-json", "error"))
    terminal.report(finding("blank-file", "info"))
    assert list(terminal.findings) == []
    assert (terminal.count("error"), terminal.count("error", "info")) == (3, 4)
    assert terminal.codes == {"torn-json", "blank-file"}
    assert capsys.readouterr().err == "error: a: it is so [torn-json]\n" * 3


def test_findings_for_a_document_are_kept_and_not_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal = monitor(silent=True)
    terminal.report(finding("blank-file", "info"))
    assert [kept.code for kept in terminal.findings] == ["blank-file"]
    assert (terminal.count("info"), terminal.codes) == (1, {"blank-file"})
    assert capsys.readouterr().err == ""


def test_of_findings_of_years_the_first_are_kept_and_all_are_counted() -> None:
    terminal = monitor(silent=True)
    terminal.keep_at_most(2)
    for code in ("one", "two", "three", "four"):
        terminal.report(finding(code, "warning"))
    assert [kept.code for kept in terminal.findings] == ["one", "two"]
    assert (terminal.left_out, terminal.count("warning")) == (2, 4)
