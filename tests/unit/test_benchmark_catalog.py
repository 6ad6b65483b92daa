"""The benchmark of the catalog, on a handful of users: its far page is where it says."""

import json
from pathlib import Path

from benchmarks.catalog import Program
from benchmarks.measure import output_of
from shenyu_data.testing.application import Application, chat


def test_the_far_page_begins_where_the_pages_before_it_end(tmp_path: Path) -> None:
    data = Application(tmp_path / "data")
    data.add_user("anna", [chat(number) for number in range(450)])
    (tmp_path / "state").mkdir()
    program = Program(data.folder, tmp_path / "state")
    after = program.cursor(3)
    listing = program.call("chats", "list", "--stale", "--after", after, "--limit", "1")
    (entry,) = json.loads(output_of(listing))["chats"]
    assert entry["id"] == str(1_700_000_000_000 + 449 - 300)
    assert set(program.bytes()) == {"catalog.db"}
    program.forget()
    assert program.bytes() == {}
