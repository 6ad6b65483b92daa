"""Copies from a folder to a bucket of a real S3 server, cut off there, and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations import copy_snapshot
from shenyu_data.operations.copy import CopyOptions, copy, plan_copy
from shenyu_data.repository import packs
from shenyu_data.repository.format import MANIFESTS
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.local import LocalStorage
from shenyu_data.storage.open import open_storage
from shenyu_data.testing.faulty import Crash, FaultyStorage
from shenyu_data.testing.s3 import S3Server
from shenyu_data.testing.scenario import PASSPHRASE, check_whole, look, rich_past


def bring(source: Repository, destination: Repository, state: Path, jobs: int = 1) -> int:
    monitor = CollectingMonitor()
    options = CopyOptions(state=str(state), jobs=jobs)
    stats = copy(source, destination, plan_copy(source, destination, None), options, monitor)
    assert monitor.findings == []
    return len(stats.copied)


def test_from_a_folder_to_a_bucket_cut_off_and_back(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "PACK_BYTES", 4000)
    monkeypatch.setattr(copy_snapshot, "BATCH_BYTES", 8000)
    folder = LocalStorage(str(tmp_path / "source"))
    folder.create()
    past = rich_past(tmp_path / "data", folder)
    bucket, _ = create_repository(open_storage(s3.fresh()), PASSPHRASE)

    def die_before_there_is_a_snapshot(name: str) -> None:
        if name.startswith(MANIFESTS):
            raise Crash(name)

    faulty = FaultyStorage(bucket.storage, before_put=die_before_there_is_a_snapshot)
    cut = Repository(faulty, bucket.keys)
    with pytest.raises(Crash):
        bring(past.repository, cut, tmp_path / "state")
    assert bring(past.repository, bucket, tmp_path / "state") == len(past.taken)
    assert look(bucket).errors == {}
    second = LocalStorage(str(tmp_path / "back"))
    second.create()
    back, _ = create_repository(second, PASSPHRASE)
    assert bring(bucket, back, tmp_path / "state") == len(past.taken)
    for taken in past.taken:
        check_whole(back, taken)
