"""What every Storage must do, as one class of pytest tests: subclass it, give it a ``storage``.

::

    class TestMyStorage(StorageSuite):
        @pytest.fixture
        def storage(self) -> Storage:
            return MyStorage(...)  # empty
"""

from __future__ import annotations

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from shenyu_data.model.errors import ObjectExists, ObjectMissing, ShenyuDataError
from shenyu_data.storage.protocol import ObjectInfo, Storage

GOOD_NAMES = (
    "repository",
    "dictionary-1",
    "packs/0123456789abcdef",
    "keys/ab.copy",
    "a/" + "x" * 100,
)
BAD_NAMES = (
    "",
    "/",
    "/packs",
    "packs/",
    "packs//a",
    "packs/a/b",
    ".",
    "..",
    "../escape",
    "packs/..",
    "packs/.tmp-1",
    ".hidden",
    "Packs/a",
    "packs/A",
    "packs/a b",
    "packs/a_b",
    "packs/ä",
    "packs/a\n",
    "packs/a\0",
    "packs\\a",
    "packs/" + "x" * 101,
)


class StorageSuite:
    """Tests that an empty ``storage`` must pass."""

    keeps_versions: bool | None = False
    """What it must say about old versions when it holds something."""

    crosses_processes = True
    """Whether a pickled copy is the same place. If not, pickling it must fail loudly."""

    @pytest.fixture
    def storage(self) -> Storage:
        """Return an empty storage."""
        raise NotImplementedError

    def test_an_object_reads_back_as_its_chunks_joined(self, storage: Storage) -> None:
        """Some chunks are empty; the object is all of them in order, and put returns its size."""
        assert storage.put("packs/a", [b"one", b"", b"two"]) == 6
        assert storage.read("packs/a") == b"onetwo"

    @pytest.mark.parametrize("chunks", [[], [b""], [b"", b""]])
    def test_an_empty_object_exists(self, storage: Storage, chunks: list[bytes]) -> None:
        """Nothing is something: it reads, lists and cannot be put again."""
        assert storage.put("packs/empty", chunks) == 0
        assert storage.read("packs/empty") == b""
        assert list(storage.list("packs")) == [ObjectInfo("packs/empty", 0)]
        with pytest.raises(ObjectExists):
            storage.put("packs/empty", chunks)

    def test_thousands_of_chunks_and_megabytes_are_kept(self, storage: Storage) -> None:
        """More chunks than one system call takes, and more bytes than one buffer holds."""
        chunks = [bytes([number % 251]) * (number % 700) for number in range(5000)]
        whole = b"".join(chunks)
        assert storage.put("packs/many", chunks) == len(whole)
        assert storage.read("packs/many") == whole
        large = bytes(range(256)) * (20 << 10)
        storage.put("packs/large", [large])
        assert storage.read("packs/large") == large

    def test_a_read_gives_just_the_range(self, storage: Storage) -> None:
        """Offsets and lengths count bytes; what lies beyond the end is left out, no error."""
        storage.put("packs/a", [bytes(range(100))])
        assert storage.read("packs/a", 10, 5) == bytes(range(10, 15))
        assert storage.read("packs/a", 90) == bytes(range(90, 100))
        assert storage.read("packs/a", 95, 50) == bytes(range(95, 100))
        assert storage.read("packs/a", 0, 0) == b""
        assert storage.read("packs/a", 100) == b""
        assert storage.read("packs/a", 100, 1) == b""
        assert storage.read("packs/a", 5000) == b""
        assert storage.read("packs/a", 5000, 10) == b""

    def test_what_is_missing_is_said_to_be_missing(self, storage: Storage) -> None:
        """Reading or deleting nothing raises ObjectMissing, which names the object."""
        for name in ("nothing", "packs/nothing"):
            with pytest.raises(ObjectMissing, match=name):
                storage.read(name)
            with pytest.raises(ObjectMissing, match=name):
                storage.read(name, 3, 4)
            with pytest.raises(ObjectMissing, match=name):
                storage.delete(name)

    def test_an_object_is_never_overwritten(self, storage: Storage) -> None:
        """A second put raises ObjectExists and changes nothing."""
        storage.put("packs/a", [b"first"])
        for chunks in ([b"second"], [b"first"], []):
            with pytest.raises(ObjectExists, match="packs/a"):
                storage.put("packs/a", chunks)
        assert storage.read("packs/a") == b"first"
        assert list(storage.list("")) == [ObjectInfo("packs/a", 5)]

    def test_a_deleted_object_is_gone_and_its_name_free(self, storage: Storage) -> None:
        """Nothing reads or lists it, even if it was read before; then it may be put anew."""
        storage.put("packs/a", [b"first"])
        assert storage.read("packs/a") == b"first"
        storage.delete("packs/a")
        with pytest.raises(ObjectMissing):
            storage.read("packs/a")
        with pytest.raises(ObjectMissing):
            storage.delete("packs/a")
        assert list(storage.list("")) == []
        storage.put("packs/a", [b"second"])
        assert storage.read("packs/a") == b"second"

    def test_a_destroyed_object_is_gone_as_a_deleted_one_is(self, storage: Storage) -> None:
        """Nothing reads or lists it, of whatever size it was; its name is free."""
        for size in (0, 5, 3_000_000):
            storage.put("keys/a", [b"x" * size])
            assert storage.read("keys/a", 0, 5) == b"x" * min(size, 5)
            storage.destroy("keys/a")
            with pytest.raises(ObjectMissing, match="keys/a"):
                storage.read("keys/a")
            with pytest.raises(ObjectMissing, match="keys/a"):
                storage.destroy("keys/a")
            assert list(storage.list("")) == []
        storage.put("keys/a", [b"anew"])
        assert storage.read("keys/a") == b"anew"

    def test_sweeping_touches_no_object(self, storage: Storage) -> None:
        """Whatever the age, and in one folder or in all."""
        storage.put("packs/a", [b"x"])
        storage.put("top", [b"y"])
        assert storage.sweep("packs", 0) == 0
        assert storage.sweep("", -3600) == 0
        assert storage.sweep("nosuch", 0) == 0
        assert storage.read("packs/a") == b"x"
        assert storage.read("top") == b"y"

    def test_it_says_whether_it_keeps_what_is_deleted(self, storage: Storage) -> None:
        """With or without objects; of an empty storage it may not know."""
        assert storage.keeps_versions() in (True, False, None)
        storage.put("packs/a", [b"x"])
        assert storage.keeps_versions() is self.keeps_versions

    def test_listings_are_sorted_complete_and_sized(self, storage: Storage) -> None:
        """A folder lists what is in it, the empty name lists everything, each sorted by name."""
        names = ["b/2", "b/10", "b/1", "a/9", "ab/1", "top", "a-b/1", "b.c"]
        for size, name in enumerate(names):
            storage.put(name, [bytes(size)])
        sizes = {name: size for size, name in enumerate(names)}
        assert list(storage.list("")) == [ObjectInfo(name, sizes[name]) for name in sorted(names)]
        assert list(storage.list("b")) == [
            ObjectInfo(name, sizes[name]) for name in ("b/1", "b/10", "b/2")
        ]
        assert list(storage.list("a")) == [ObjectInfo("a/9", 3)]

    def test_an_empty_storage_and_a_folder_never_used_list_nothing(self, storage: Storage) -> None:
        """No folder needs to be made before it is listed."""
        assert list(storage.list("")) == []
        assert list(storage.list("packs")) == []

    @pytest.mark.parametrize("name", GOOD_NAMES)
    def test_names_of_the_format_are_taken(self, storage: Storage, name: str) -> None:
        """Every kind of name that the format uses works."""
        storage.put(name, [b"x"])
        assert storage.read(name) == b"x"
        assert list(storage.list("")) == [ObjectInfo(name, 1)]
        storage.delete(name)

    @pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
    def test_names_that_could_leave_the_storage_are_refused(
        self, storage: Storage, name: str
    ) -> None:
        """It is a mistake of the caller, and is told before anything is touched."""
        with pytest.raises(ValueError, match="name"):
            storage.put(name, [b"x"])
        with pytest.raises(ValueError, match="name"):
            storage.read(name)
        with pytest.raises(ValueError, match="name"):
            storage.delete(name)
        with pytest.raises(ValueError, match="name"):
            storage.destroy(name)
        assert list(storage.list("")) == []

    def test_of_many_concurrent_puts_of_one_name_exactly_one_wins(self, storage: Storage) -> None:
        """The winner's bytes are there whole; everybody else is told."""
        writers = 8
        for attempt in range(5):
            name = f"packs/{attempt}"
            barrier = Barrier(writers)

            def put(writer: int, name: str = name, barrier: Barrier = barrier) -> int | None:
                barrier.wait()
                try:
                    storage.put(name, [bytes([writer]) * 50_000])
                except ObjectExists:
                    return None
                return writer

            with ThreadPoolExecutor(writers) as executor:
                winners = [who for who in executor.map(put, range(writers)) if who is not None]
            assert len(winners) == 1
            assert storage.read(name) == bytes(winners) * 50_000

    def test_threads_may_read_at_once(self, storage: Storage) -> None:
        """Every thread gets its own object's bytes, however many are read at a time."""
        for number in range(40):
            storage.put(f"packs/{number}", [bytes([number]) * 1000])

        def read(turn: int) -> bool:
            number = turn * 7 % 40
            return storage.read(f"packs/{number}", 10, 900) == bytes([number]) * 900

        usual = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)  # let threads meet at every step
        try:
            with ThreadPoolExecutor(8) as executor:
                assert all(executor.map(read, range(1000)))
        finally:
            sys.setswitchinterval(usual)

    def test_a_pickled_copy_is_the_same_place(self, storage: Storage) -> None:
        """Workers of other processes get a storage by pickle."""
        storage.put("packs/a", [b"before"])
        if not self.crosses_processes:
            with pytest.raises(TypeError, match="process"):
                pickle.dumps(storage)
            return
        copy: Storage = pickle.loads(pickle.dumps(storage))  # noqa: S301 - our own
        assert copy.location == storage.location
        assert copy.read("packs/a") == b"before"
        copy.put("packs/b", [b"after"])
        assert storage.read("packs/b") == b"after"

    def test_its_location_is_one_printable_line(self, storage: Storage) -> None:
        """It stands in messages to people."""
        assert storage.location
        assert storage.location.isprintable()

    def test_its_errors_belong_to_the_tree_and_say_something(self, storage: Storage) -> None:
        """Whoever catches ShenyuDataError has caught everything a storage raises on purpose."""
        with pytest.raises(ShenyuDataError) as missing:
            storage.read("packs/nothing")
        assert storage.location in missing.value.message
