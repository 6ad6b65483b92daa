"""Erasure and the catalog: no byte of its files tells of the user afterwards."""

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest

from shenyu_data.datadir.catalog_files import CATALOG_NAME
from shenyu_data.datadir.catalog_pages import Listing
from shenyu_data.datadir.catalog_text import TEXT_NAME
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations import catalog as catalog_module
from shenyu_data.operations import erase as erase_module
from shenyu_data.operations.catalog import CatalogOptions, ask
from shenyu_data.operations.chats_search import search_chats
from shenyu_data.operations.erase import EraseOptions, EraseStats, erase, plan_erase
from shenyu_data.operations.listings import PageOptions
from shenyu_data.testing.application import chat
from shenyu_data.testing.catalogs import said, said_anew
from shenyu_data.testing.scenario import Past, rich_past, take

USER = "bob-whom-nobody-knows"
WORDS = ("whom-nobody", "Zugunruhe", "候鸟迁徙", "4711471147114711")


@pytest.fixture
def past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Past:
    monkeypatch.setattr(erase_module, "LONG_LOOK_S", 0.0)
    past = rich_past(tmp_path / "data")
    for number in range(300):  # pages of others around the user's
        past.data.add_user(f"other-{number}", [chat(number), chat(number + 1)])
    chats = [{**chat(number), "id": f"{WORDS[3]}-{number}"} for number in range(50)]
    for number, item in enumerate(chats):
        item["title"] = f"{WORDS[1]} {WORDS[2]} {number}"
    past.data.add_user(USER, chats)
    take(past.repository, past.data)
    return past


def asking(past: Past, state: Path) -> object:
    options = CatalogOptions(data=str(past.data.folder), state=str(state), jobs=1)
    return ask(options, said, CollectingMonitor())


def run_erase(past: Past, state: Path, monitor: CollectingMonitor) -> EraseStats:
    data, repository = str(past.data.folder), past.repository
    options = EraseOptions(receipt=str(state.parent / "receipt.json"), state=str(state))
    plan = plan_erase(data, repository, USER.encode())
    return erase(data, repository, plan, options, monitor)


def told_of(state: Path) -> set[str]:
    """Give the words of the user that are found in the bytes of any file."""
    files = [path.read_bytes() for path in state.rglob("*") if path.is_file()]
    return {word for word in WORDS if any(word.encode() in data for data in files)}


def test_no_byte_of_the_catalog_tells_of_an_erased_user(past: Past, tmp_path: Path) -> None:
    state = tmp_path / "state"
    asking(past, state)
    past.data.prepend_chat(USER, {**chat(1), "title": WORDS[1]})
    options = CatalogOptions(data=str(past.data.folder), state=str(state), jobs=1)
    listing = Listing(words=WORDS[1])
    found = search_chats(options, listing, PageOptions(), CollectingMonitor(), index=True)
    assert len(found.chats) == 51
    assert told_of(state) == set(WORDS)
    assert run_erase(past, state, CollectingMonitor()).complete
    assert told_of(state) == set()
    assert (state / CATALOG_NAME).exists()
    assert not (state / TEXT_NAME).exists()
    assert asking(past, state) == said_anew(past.data.folder)


def test_whoever_was_gone_from_the_catalog_before_is_erased_from_its_pages(
    past: Past, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    asking(past, state)
    past.data.remove(f"users/{USER}.json")
    past.data.remove(f"histories/{USER}/chat-history.json")
    asking(past, state)
    assert run_erase(past, state, CollectingMonitor()).complete
    assert told_of(state) == set()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[1:]),
        lambda path: path.rename(path.with_name("catalog.db.new")),
        lambda path: path.rename(path.with_name("catalog.db-journal")),
    ],
    ids=["no database", "left by a build", "left by a change"],
)
def test_a_damaged_catalog_is_overwritten_and_removed(
    past: Past, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    state = tmp_path / "state"
    asking(past, state)
    damage(state / CATALOG_NAME)
    held = [path.open("rb") for path in state.iterdir()]
    assert run_erase(past, state, CollectingMonitor()).complete
    assert told_of(state) == set()
    for file in held:
        assert set(file.read()) <= {0}, "the old file's blocks are overwritten"
        file.close()


def test_without_access_to_the_catalog_there_is_no_receipt(
    past: Past, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    monkeypatch.setattr(catalog_module, "WAIT_S", 0.0)
    asking(past, state)
    monitor = CollectingMonitor()
    with open(state / "catalog.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stats = run_erase(past, state, monitor)
    assert not stats.complete
    assert stats.receipt is None
    assert [finding.code for finding in monitor.findings] == ["catalog-not-forgotten"]
    assert run_erase(past, state, CollectingMonitor()).complete
    assert told_of(state) == set()
