"""The checkout as a whole: what it promises a newcomer, and what no file of it may hold."""

import functools
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "shenyu_data"

# Written so that no pattern matches its own text here.
HOSTS = "|".join(("pypi[.]org", "pythonhosted[.]org", "npmjs[.]org", "debian[.]org/debian"))
NEVER_IN_A_FILE = {
    "the host of a package registry": re.compile(HOSTS),
    "the address of a package index": re.compile(
        r"(?:--(?:extra-|default-)?|^(?:extra-)?)inde[x]-url[ =]|(?:PIP|UV)_\w*INDE[X]"
        r"|(?:PIP|UV)_FIND_LINK[S]",
        re.MULTILINE,
    ),
    "the home of somebody's machine": re.compile(
        r"(?<![\w.}])(?:/roo[t]/|/User[s]/\w|/hom[e]/(?!you\b|shenyu\b)\w|[A-Z]:\\User[s]\\)"
    ),
    "the working folder of a machine": re.compile(r"(?<![\w.}])/wor[k]/|/bash_job[s]|farm[-]"),
}


@functools.cache
def pyproject() -> dict[str, Any]:
    """Give the settings of the project."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def project_files() -> list[Path]:
    """List what git tracks or, in a checkout without git, every file that no tool made."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
        ).stdout
        names = [name for name in listed.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        names = []
    if names:
        files = [ROOT / name for name in names]
    else:
        made = {".git", ".venv", "build", "dist", "__pycache__", ".hypothesis"}
        made |= {".import_linter_cache", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
        files = [path for path in ROOT.rglob("*") if not made & set(path.relative_to(ROOT).parts)]
    return [path for path in files if path.is_file() and not path.is_symlink()]


def rooms_in_contract() -> set[str]:
    """Give the rooms that the contract on imports places."""
    contracts = pyproject()["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["id"] == "rooms")
    return {room.strip("() ") for layer in layers for room in re.split("[|:]", layer)}


def test_the_readme_opens_with_its_title_and_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# ")
    block = re.search(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert block is not None
    code = [line.split("#")[0].removeprefix("$ ").strip() for line in block[1].splitlines()]
    assert [line for line in code if line][:2] == ["make demo", "make test"]


@pytest.mark.parametrize("target", ["demo", "test", "lint", "bench", "docs", "help"])
def test_the_makefile_has_every_promised_target_and_explains_it(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:.*## \w", makefile, re.MULTILINE)


@pytest.mark.parametrize("what", NEVER_IN_A_FILE)
def test_no_file_names(what: str) -> None:
    found = []
    for path in project_files():
        text = path.read_text(encoding="utf-8", errors="replace")
        for match in NEVER_IN_A_FILE[what].finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{path.relative_to(ROOT)}:{line}: {match[0].strip()}")
    assert not found, f"{what} must not be in a file: {found}"


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("the host of a package registry", "https://pypi" + ".org/project/x"),
        ("the address of a package index", "pip install --extra-" + "index-url=x"),
        ("the address of a package index", "PIP_" + "INDEX_URL=x"),
        ("the home of somebody's machine", "cd /home" + "/alice/code"),
        ("the home of somebody's machine", "'/root" + "/.cache'"),
        ("the working folder of a machine", "cd /work" + "/main"),
    ],
)
def test_what_must_not_be_in_a_file_is_recognised(what: str, text: str) -> None:
    assert NEVER_IN_A_FILE[what].search(text)


@pytest.mark.parametrize("name", ["base.txt", "build.txt", "dev.txt", "fuzz.txt"])
def test_every_requirement_is_pinned_and_hashed(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    entries = text.replace("\\\n", " ").splitlines()
    requirements = [entry for entry in entries if entry.strip() and not entry.startswith("#")]
    assert requirements
    for requirement in requirements:
        assert re.match(r"[a-z0-9.-]+==\S+ ", requirement), requirement
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", requirement), requirement


def test_every_dependency_is_among_the_pinned_requirements() -> None:
    project = pyproject()["project"]
    for name, wanted in {
        "base.txt": project["dependencies"],
        "dev.txt": project["dependencies"] + project["optional-dependencies"]["dev"],
        "fuzz.txt": project["optional-dependencies"]["fuzz"],
        "build.txt": pyproject()["build-system"]["requires"],
    }.items():
        text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
        pinned = set(re.findall(r"^([a-z0-9.-]+)==", text, re.MULTILINE))
        assert {re.split("[<>=! ]", one)[0] for one in wanted} <= pinned, name


def test_every_changelog_fragment_has_a_known_type_and_says_something() -> None:
    types = {one["directory"] for one in pyproject()["tool"]["towncrier"]["type"]}
    for path in (ROOT / "changelog.d").iterdir():
        if path.name in {"template.md", ".gitkeep"}:
            continue
        assert re.fullmatch(rf"[a-z0-9-]+\.({'|'.join(types)})\.md", path.name), path.name
        assert path.read_text(encoding="utf-8").strip(), path.name


def test_every_room_has_its_place_in_the_contract_on_imports() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    rooms |= {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert rooms - rooms_in_contract() == set()


def test_every_folder_of_code_is_a_package() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()
