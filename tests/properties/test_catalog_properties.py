"""A catalog kept true through random days says what one says that is built anew; pages neither
repeat nor leave out.
"""

import gzip
import json
import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shenyu_data.datadir.catalog import Catalog
from shenyu_data.datadir.catalog_files import CATALOG_NAME
from shenyu_data.datadir.catalog_pages import Listing, chats_page, users_page
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.catalog import CatalogOptions, ask
from shenyu_data.testing.application import Application, chat, settle
from shenyu_data.testing.catalogs import said, said_anew
from shenyu_data.testing.strategies import contents

USERS = st.sampled_from(["anna", "ben", "c\n", "用户"])
KEYS = st.sampled_from(["chat-history", "sn43-history", "0"])
NUMBERS = st.integers(0, 30)
ORDERS = ("activity", "size", "age", "name")


class Days(RuleBasedStateMachine):
    """A catalog beside an application that writes."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp())
        self.data = Application(self.base / "data")
        self.options = CatalogOptions(
            data=str(self.base / "data"), state=str(self.base / "state"), jobs=1
        )

    def teardown(self) -> None:
        shutil.rmtree(self.base)

    @rule(user=USERS, key=KEYS, number=NUMBERS)
    def prepend(self, user: str, key: str, number: int) -> None:
        try:
            self.data.prepend_chat(user, chat(number, number % 3), key)
        except (FileNotFoundError, ValueError, TypeError):
            self.data.add_user(user, [chat(number)], key)

    @rule(user=USERS, key=KEYS, number=NUMBERS)
    def write_a_chat_of_the_guide(self, user: str, key: str, number: int) -> None:
        self.data.write(f"histories/{user}/{key}.json", chat(number))

    @rule(user=USERS, key=KEYS, number=NUMBERS)
    def compress(self, user: str, key: str, number: int) -> None:
        text = json.dumps([chat(number)]).encode()
        self.data.write(f"histories/{user}/{key}.json.gz", gzip.compress(text))

    @rule(user=USERS, key=KEYS, text=contents())
    def write_anything(self, user: str, key: str, text: bytes) -> None:
        path = self.data.folder / f"histories/{user}/{key}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text)
        os.utime(path, ns=(10**18, 10**18))  # nobody is writing it: it need not be waited for

    @rule(user=USERS, seen=st.sampled_from(["2026-01-02T03:04:05Z", None, 7, "2030"]))
    def visit(self, user: str, seen: object) -> None:
        self.data.write(f"users/{user}.json", {"id": user, "lastSeen": seen, "firstSeen": seen})

    @rule(user=USERS)
    def leave(self, user: str) -> None:
        shutil.rmtree(self.data.folder / f"histories/{user}", ignore_errors=True)

    @rule(user=USERS)
    def remove_user(self, user: str) -> None:
        (self.data.folder / f"users/{user}.json").unlink(missing_ok=True)

    @rule()
    def rest(self) -> None:
        settle(self.data.folder)

    @rule()
    def lose_the_catalog(self) -> None:
        (self.base / "state" / CATALOG_NAME).unlink(missing_ok=True)

    @rule(limit=st.integers(1, 5), backwards=st.booleans())
    def pages_give_everything_once(self, limit: int, backwards: bool) -> None:
        def check(catalog: Catalog) -> None:
            for order in ORDERS:
                listing = Listing(order=order, backwards=backwards)  # type: ignore[arg-type]
                for page_of in (users_page, chats_page):
                    whole = page_of(catalog, listing, 10_000, None)
                    assert whole.after is None
                    met, after, more = [], None, True
                    while more:
                        page = page_of(catalog, listing, limit, after)
                        met += page.entries
                        after, more = page.after, page.after is not None
                    assert met == whole.entries
                    if met:
                        times = sorted(entry.activity_ms for entry in met)
                        middle, last = times[len(times) // 2], times[-1]
                        part = Listing(order=order, since_ms=middle, until_ms=last)  # type: ignore[arg-type]
                        young = [entry for entry in met if middle <= entry.activity_ms < last]
                        young = young[::-1] if backwards else young
                        assert page_of(catalog, part, 10_000, None).entries == young

        ask(self.options, check, CollectingMonitor())

    @invariant()
    def it_says_what_a_new_one_says(self) -> None:
        monitor = CollectingMonitor()
        assert ask(self.options, said, monitor) == said_anew(self.data.folder)
        assert monitor.findings == []


TestDays = Days.TestCase
TestDays.settings = settings(max_examples=25, stateful_step_count=15)
