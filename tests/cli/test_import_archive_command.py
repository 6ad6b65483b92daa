"""``shenyu-data import-archive`` as a person or a script meets it."""

import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Shenyu
from tests.unit.test_tar import info, made


@pytest.fixture
def archive(place: Path) -> str:
    """Make an archive of the data directory, as the guide's script does."""
    name = "shenyu_data_20250210_030000.tar.gz"
    subprocess.run(["tar", "-czf", name, "data"], cwd=place, check=True)
    return name


def test_an_archive_becomes_a_snapshot_that_is_listed_and_restores(
    backed_up: Path, archive: str, shenyu: Shenyu
) -> None:
    said = shenyu("import-archive", archive, "--json")
    assert said.status == 0
    (done,) = said.json["archives"]
    assert (done["status"], done["name"], done["documents"]) == ("imported", archive, 4)
    first, latest = shenyu("snapshots", "--json").json["snapshots"]
    assert (first["id"], first["tag"]) == (done["snapshot"], archive.removesuffix(".tar.gz"))
    assert first["data"] == archive
    assert latest["tag"] is None
    assert shenyu("restore", first["tag"], "--to", "out").status == 2  # a tag is no name
    assert shenyu("restore", "2025-02-10", "--to", "out").status == 0
    assert subprocess.run(["diff", "-r", "out", "data"], check=False).returncode == 0


def test_what_was_imported_before_is_said_to_be_known(
    place: Path, archive: str, shenyu: Shenyu
) -> None:
    assert "imported" in shenyu("import-archive", archive).out
    said = shenyu("import-archive", archive)
    assert (said.status, "known" in said.out) == (0, True)
    assert len(shenyu("snapshots", "--json").json["snapshots"]) == 1


def test_a_dry_run_does_nothing(place: Path, archive: str, shenyu: Shenyu) -> None:
    said = shenyu("import-archive", archive, "nowhere.tar.gz", "--dry-run", "--json")
    assert said.status == 3
    assert [item["status"] for item in said.json["archives"]] == ["refused", "planned"]
    assert [item["time"] is None for item in said.json["archives"]] == [True, False]
    assert shenyu("snapshots", "--json").json["snapshots"] == []


def test_a_refused_archive_exits_with_3_and_a_line_that_says_why(
    place: Path, archive: str, shenyu: Shenyu
) -> None:
    (place / archive).write_bytes((place / archive).read_bytes()[:-20])
    said = shenyu("import-archive", archive)
    assert said.status == 3
    assert "is cut off" in said.err
    assert "[archive-refused]" in said.err
    said = shenyu("import-archive", archive, "--damaged-too")
    assert (said.status, "imported DEGRADED" in said.out) == (1, True)


def test_the_flags_say_date_tag_place_and_limit(place: Path, shenyu: Shenyu) -> None:
    (place / "odd.tar").write_bytes(made((info("a/b/notes/users.txt"), b"x" * 3000), packed=False))
    assert shenyu("import-archive", "odd.tar").status == 3
    flags = ("--inside", "a/b/notes", "--date", "2024-02-29T12:00", "--tag", "odd", "--temp", ".")
    assert shenyu("import-archive", "odd.tar", *flags, "--max-size", "2kB").status == 3
    assert shenyu("import-archive", "odd.tar", *flags, "--max-size", "1MB").status == 0
    (item,) = shenyu("snapshots", "--json").json["snapshots"]
    assert (item["tag"], item["totals"]["documents"]) == ("odd", 1)
    assert item["time"].startswith("2024-02-29")
    assert not list(place.glob("shenyu-data-unpacked-*"))


@pytest.mark.parametrize(
    "flags",
    [
        ("--date", "yesterday-ish"),
        ("--max-size", "large"),
        ("--tag", ""),
        ("--date", "2024-01-01", "another.tar"),
        (),
    ],
)
def test_a_wrong_call_is_a_usage_error(
    place: Path, archive: str, shenyu: Shenyu, flags: tuple[str, ...]
) -> None:
    files = (archive,) if flags else ()
    assert shenyu("import-archive", *files, *flags).status == 2
    assert shenyu("snapshots", "--json").json["snapshots"] == []
