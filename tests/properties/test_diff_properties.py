"""Two snapshots differ in nothing if and only if they restore to the same."""

from __future__ import annotations

import os
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from shenyu_data.model.monitor import SilentMonitor
from shenyu_data.operations.diff import DiffOptions, diff
from shenyu_data.operations.diff_tasks import DiffTotals
from shenyu_data.repository.repository import create_repository
from shenyu_data.storage.memory import MemoryStorage
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.scenario import bring_back, take

PATHS = ("users/bob.json", "histories/bob/chat-history.json", "histories/bob/x.txt", "notes.txt")
CONTENTS = (None, [chat(1)], [chat(2), chat(1)], b"[", b"")
TIMES_NS = (10**18, 2 * 10**18)


@settings(max_examples=12, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(PATHS),
            st.sampled_from(CONTENTS),
            st.sampled_from(TIMES_NS),
            st.booleans(),
        ),
        min_size=2,
        max_size=6,
    )
)
def test_a_diff_is_empty_if_and_only_if_the_restores_are_equal(
    steps: list[tuple[str, object, int, bool]],
) -> None:
    repository, _ = create_repository(MemoryStorage(), "correct horse")
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        data = Application(folder)
        (data.folder / "histories/bob").mkdir()
        for path, content, time_ns, full in steps:
            if content is None:
                (data.folder / path).unlink(missing_ok=True)
            else:
                data.write(path, content)
                os.utime(data.folder / path, ns=(time_ns, time_ns))
            for name in ("histories/bob", "histories", "users", "."):
                os.utime(data.folder / name, ns=(TIMES_NS[0], TIMES_NS[0]))
            taken.append(take(repository, data, full=full).snapshot)
        last = repository.root(taken[-1])
        live = diff(repository, last, folder, DiffOptions(), SilentMonitor())
        assert live.totals == DiffTotals()
    restored = [bring_back(repository, snapshot).tree for snapshot in taken]
    roots = [repository.root(snapshot) for snapshot in taken]
    for one, before in zip(restored, roots, strict=True):
        for other, after in zip(restored, roots, strict=True):
            stats = diff(repository, before, after, DiffOptions(), SilentMonitor())
            assert (stats.totals == DiffTotals()) == (one == other)
