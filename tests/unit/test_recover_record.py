"""The record of a recovery that is under way, after anything has happened to it."""

from pathlib import Path

import pytest

from shenyu_data.model.errors import ShenyuDataError, UsageError
from shenyu_data.operations.quarantine import MANIFEST, Quarantine
from shenyu_data.operations.recover_record import Records
from shenyu_data.operations.recover_report import check_report

DAMAGED = pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 512, b'{"step": 1', b'{"repository": "\xff"}', b'{"x":' + b"[" * 5000],
    ids=["empty", "NUL bytes", "cut off", "no UTF-8", "deep"],
)


@DAMAGED
def test_a_record_that_is_damaged_is_named(tmp_path: Path, data: bytes) -> None:
    records = Records(str(tmp_path))
    Path(records.folder).mkdir()
    Path(records.path).write_bytes(data)
    with pytest.raises(ShenyuDataError, match="cannot read"):
        records.load()


@DAMAGED
def test_a_damaged_manifest_of_what_is_kept_is_left_out_of_a_list(
    tmp_path: Path, data: bytes
) -> None:
    kept = Quarantine(str(tmp_path))
    place = Path(kept.folder) / "0123456789abcdef"
    place.mkdir(parents=True)
    (place / MANIFEST).write_bytes(data)
    assert kept.list() == []
    with pytest.raises(ShenyuDataError):
        kept.forget(b"anna")
    assert (place / MANIFEST).exists()


@DAMAGED
def test_a_report_takes_the_place_of_no_file_that_is_none(tmp_path: Path, data: bytes) -> None:
    path, live = tmp_path / "report.json", tmp_path / "data"
    live.mkdir()
    path.write_bytes(data)
    with pytest.raises(UsageError, match="is no report"):
        check_report(str(path), str(live))
