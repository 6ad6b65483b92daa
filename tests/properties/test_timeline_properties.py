"""A timeline says of every snapshot what a restore of it gives."""

from __future__ import annotations

import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from shenyu_data.model.monitor import SilentMonitor
from shenyu_data.operations.timeline import TimelineOptions, timeline
from shenyu_data.repository.repository import create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.scenario import bring_back, take

CONTENTS: list[object] = [
    None,
    [chat(1)],
    [chat(1, messages=5)],
    [chat(2), chat(1)],
    b"[",
    b"",
]


@settings(max_examples=12, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(CONTENTS), st.booleans(), st.booleans()), min_size=1, max_size=6
    )
)
def test_snapshots_have_the_same_version_if_and_only_if_they_restore_to_the_same(
    steps: list[tuple[object, bool, bool]],
) -> None:
    repository, _ = create_repository(MemoryStorage(), "correct horse")
    restored: dict[str, bytes | None] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Application(folder)
        path = data.folder / "histories/bob/chat-history.json"
        data.add_user("bob", [chat(0)])
        for content, user_too, full in steps:
            if content is None:
                path.unlink(missing_ok=True)
            else:
                data.write("histories/bob/chat-history.json", content)
            if user_too:
                data.write("users/bob.json", {"id": "bob", "seen": len(restored)})
            taken = take(repository, data, full=full)
            node = bring_back(repository, taken.snapshot).tree.nodes.get(
                b"histories/bob/chat-history.json"
            )
            restored[taken.snapshot.hex()] = node.content if node is not None else None
    if all(content is None for content in restored.values()):
        return
    options = TimelineOptions(user=b"bob", history=b"chat-history")
    versions = timeline(repository, options, SilentMonitor()).versions
    order = list(restored)
    told: dict[str, int | None] = {}
    for version in versions:
        for snapshot in order[order.index(version.first) : order.index(version.last) + 1]:
            assert snapshot not in told  # lines do not overlap
            told[snapshot] = version.number
    begun = order[order.index(versions[0].first) :]
    assert list(told) == begun
    assert all(restored[snapshot] is None for snapshot in order if snapshot not in told)
    for one in begun:
        for other in begun:
            assert (told[one] == told[other]) == (restored[one] == restored[other])
