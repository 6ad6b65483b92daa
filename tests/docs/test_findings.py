"""The finding codes of the documentation and those in the code are the same."""

import ast
import re
from pathlib import Path

from shenyu_data.model.errors import RepositoryError

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "findings.md"


def codes_in_the_code() -> dict[str, set[str]]:
    """Give each code that a call takes, with the severities that stand beside it.

    A code is given as ``code=``, or by its place to a method named ``_report``.
    """
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            given = {keyword.arg: texts(keyword.value) for keyword in node.keywords}
            codes = given.get("code", [])
            if isinstance(node.func, ast.Attribute) and node.func.attr == "_report":
                codes += [
                    text for argument in node.args for text in texts(argument) if is_code(text)
                ]
            for code in codes:
                found.setdefault(code, set()).update(given.get("severity", []))
    kinds: list[type[RepositoryError]] = [RepositoryError, *RepositoryError.__subclasses__()]
    for kind in kinds:
        found.setdefault(kind.code, {"error"})  # a damaged object is a finding of that code
    return found


def texts(tree: ast.AST) -> list[str]:
    """Give the strings in an expression."""
    constants = [part.value for part in ast.walk(tree) if isinstance(part, ast.Constant)]
    return [value for value in constants if isinstance(value, str)]


def is_code(text: str) -> bool:
    """Say whether a string looks like a code."""
    return re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", text) is not None


def codes_in_the_documentation() -> dict[str, set[str]]:
    """Give each code in the first column of a table, with the severities in the second."""
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| ([^|]+) \|", TABLE.read_text("utf-8"), re.MULTILINE)
    assert len(rows) == len({code for code, _ in rows}), "a code is documented twice"
    return {code: set(re.findall(r"error|warning|info", severity)) for code, severity in rows}


def test_every_finding_code_is_documented() -> None:
    assert set(codes_in_the_code()) - set(codes_in_the_documentation()) == set()


def test_every_documented_finding_code_exists() -> None:
    assert set(codes_in_the_documentation()) - set(codes_in_the_code()) == set()


def test_the_documented_severities_are_those_of_the_code() -> None:
    documented = codes_in_the_documentation()
    for code, severities in codes_in_the_code().items():
        assert severities <= documented[code], code


def test_the_codes_are_in_alphabetical_order_within_their_table() -> None:
    for table in re.split(r"\n## ", TABLE.read_text("utf-8")):
        codes = re.findall(r"^\| `([a-z0-9-]+)` \|", table, re.MULTILINE)
        assert codes == sorted(codes)
