"""The storage suite against whatever store SHENYU_TEST_LOCATION names: see docs/storage.md."""

from __future__ import annotations

import os
import secrets

import pytest

from shenyu_data.storage.open import open_storage
from shenyu_data.storage.protocol import Storage
from shenyu_data.testing.storage_suite import StorageSuite

LOCATION = os.environ.get("SHENYU_TEST_LOCATION", "")
if not LOCATION:
    pytest.skip(
        "no SHENYU_TEST_LOCATION: docs/storage.md says how to test another store",
        allow_module_level=True,
    )
GIVEN = {
    name: value
    for name, value in os.environ.items()
    if name.startswith(("AWS_", "GOOGLE_", "AZURE_"))
}


class TestTheGivenStore(StorageSuite):
    @pytest.fixture
    def storage(self, monkeypatch: pytest.MonkeyPatch) -> Storage:
        for variable, value in GIVEN.items():
            monkeypatch.setenv(variable, value)
        storage = open_storage(f"{LOCATION}/{secrets.token_hex(6)}")
        # What a store says of old versions is its own; the others' suites say what is right.
        monkeypatch.setattr(type(self), "keeps_versions", _says(storage))
        return storage


def _says(storage: Storage) -> bool | None:
    storage.put("probe", [b"x"])
    said = storage.keeps_versions()
    storage.delete("probe")
    return said
