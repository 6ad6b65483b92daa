"""Documents that are kept: erasing a user leaves nothing of them, whatever a kill left there."""

from __future__ import annotations

from pathlib import Path

import pytest

from shenyu_data.model.errors import ShenyuDataError
from shenyu_data.operations.quarantine import DOCUMENT, MANIFEST, Kept, Quarantine

TEXT = b"what ben wrote"


def add(quarantine: Quarantine, folder: Path, user: bytes) -> Kept:
    folder.touch()
    path = b"histories/%b/chat-history.json" % user
    return quarantine.add(
        path, user, TEXT, folder.stat(), code="torn-json", action="quarantine", wrote=None
    )


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    found = Quarantine(str(tmp_path / "state"))
    for user in (b"ben", b"anna"):
        add(found, tmp_path / "a file", user)
    return found


def place_of(quarantine: Quarantine, user: str) -> Path:
    (kept,) = [one for one in quarantine.list() if one.user_hex == user.encode().hex()]
    return Path(quarantine.folder) / kept.id


def test_what_is_kept_of_a_user_is_forgotten_and_no_other(quarantine: Quarantine) -> None:
    anna = place_of(quarantine, "anna")
    assert quarantine.forget(b"ben") == 1
    assert list(Path(quarantine.folder).iterdir()) == [anna]
    assert (anna / DOCUMENT).read_bytes() == TEXT
    assert quarantine.forget(b"ben") == 0


def test_what_a_kill_left_is_forgotten_too(quarantine: Quarantine) -> None:
    """Between its document and its manifest nobody can tell whose it is."""
    place, anna = place_of(quarantine, "ben"), place_of(quarantine, "anna")
    (place / ".tmp-0123456789abcdef").write_bytes(b"half a manifest")
    unfinished = place.with_name("unfinished")
    unfinished.mkdir()
    for name in (DOCUMENT, ".tmp-0123456789abcdef"):
        (unfinished / name).write_bytes(TEXT)
    held = (unfinished / DOCUMENT).open("rb")
    quarantine.forget(b"ben")
    assert list(Path(quarantine.folder).iterdir()) == [anna]
    assert set(held.read()) == {0}, "it is overwritten first"
    held.close()


def test_a_document_that_may_be_the_users_keeps_the_erasure_from_being_complete(
    quarantine: Quarantine,
) -> None:
    anna = place_of(quarantine, "anna")
    (anna / MANIFEST).write_bytes(b"{damaged")
    with pytest.raises(ShenyuDataError, match="cannot be told"):
        quarantine.forget(b"ben")
    assert list(Path(quarantine.folder).iterdir()) == [anna]
