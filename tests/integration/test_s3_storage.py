"""The storage suite and more, against a real S3 server."""

from __future__ import annotations

import pytest

from shenyu_data.storage.objectstore import ObjectStorage
from shenyu_data.storage.open import open_storage
from shenyu_data.storage.protocol import Storage
from shenyu_data.testing.s3 import S3Server
from shenyu_data.testing.storage_suite import StorageSuite


class TestObjectStorage(StorageSuite):
    @pytest.fixture
    def storage(self, s3: S3Server) -> Storage:
        return open_storage(s3.fresh())


class TestObjectStorageOfAServerWithoutRanges(StorageSuite):
    """rclone itself answers 200 to a request for a range, which the library does not take."""

    @pytest.fixture
    def storage(self, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Storage:
        for variable, value in s3.environment(direct=True).items():
            monkeypatch.setenv(variable, value)
        return ObjectStorage(s3.fresh())
