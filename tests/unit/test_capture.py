"""Reading a document that may be written meanwhile: whole, or honestly torn."""

import gzip
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shenyu_data.datadir import capture as capture_module
from shenyu_data.datadir.capture import Captured, capture, is_settled, stream
from shenyu_data.model.layout import Kind
from shenyu_data.model.records import MAX_PARSED_BYTES
from shenyu_data.testing.strategies import chats

OLD = (1_700_000_000, 1_700_000_000)
NAME = "chat-history.json"


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDONLY)

    def write(self, content: bytes, name: str = NAME, *, old: bool = True) -> Path:
        path = self.path / name
        path.write_bytes(content)
        if old:
            os.utime(path, OLD)
        return path

    def capture(self, kind: Kind = "history", name: str = NAME) -> Captured:
        return capture(self.descriptor, name, kind, os.fsencode(name))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    opened = Folder(tmp_path)
    yield opened
    os.close(opened.descriptor)


@pytest.fixture
def during(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], object]], list[int]]:
    """Do something each time a file has been read, before it is looked at again."""

    def install(action: Callable[[int], object]) -> list[int]:
        calls: list[int] = []
        read = os.read

        def read_and_act(descriptor: int, size: int) -> bytes:
            data = read(descriptor, size)
            if size != 1 << 20:  # the first piece of a try
                calls.append(size)
                action(len(calls))
            return data

        monkeypatch.setattr(os, "read", read_and_act)
        return calls

    return install


def test_a_quiet_document_is_whole_and_counted(folder: Folder) -> None:
    content = chats(3, "你好", array=True)
    folder.write(content)
    captured = folder.capture()
    assert captured.data == content
    assert captured.outline.state == "whole"
    assert (captured.outline.chats, captured.outline.messages) == (3, 6)
    assert captured.stat.st_size == len(content)


@pytest.mark.parametrize("content", [b"", b"[", b'[{"id": 1', b"\0\0\0", b"[]]", b"nonsense"])
@pytest.mark.parametrize("kind", ["user", "history"])
def test_what_does_not_parse_is_torn_and_kept_as_it_is(
    kind: Kind, content: bytes, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write(content)
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    captured = folder.capture(kind)
    assert (captured.data, captured.outline.state) == (content, "torn")
    assert not captured.settled
    assert pauses == [], "nobody is writing it: it is not waited for"


def test_what_is_no_document_is_never_torn(folder: Folder) -> None:
    folder.write(b"[")
    assert folder.capture("other").outline.state == "whole"


def test_a_compressed_document_is_looked_into(folder: Folder) -> None:
    name = NAME + ".gz"
    folder.write(gzip.compress(chats(2, "x", array=True)), name)
    assert folder.capture(name=name).outline.chats == 2
    folder.write(gzip.compress(b"[" * 1000)[:-3], name)
    assert folder.capture(name=name).outline.state == "torn"


def test_a_document_that_is_whole_a_moment_later_is_waited_for(
    folder: Folder, during: Callable[[Callable[[int], object]], list[int]]
) -> None:
    path = folder.write(b"", old=False)
    later = time.time() + 3600  # it stays recent, however slow the machine is
    os.utime(path, (later, later))

    def write_at_last(number: int) -> None:
        if number == 3:
            path.write_bytes(b"[]")

    calls = during(write_at_last)
    captured = folder.capture()
    assert (captured.data, captured.outline.state) == (b"[]", "whole")
    assert len(calls) == 4


def test_a_document_that_changes_while_it_is_read_is_read_again(
    folder: Folder, during: Callable[[Callable[[int], object]], list[int]]
) -> None:
    path = folder.write(b"[1]")
    versions = {1: b"[2, 2]", 2: b"[3, 3, 3]"}

    def rewrite(number: int) -> None:
        if number in versions:
            path.write_bytes(versions[number])

    during(rewrite)
    captured = folder.capture()
    assert (captured.data, captured.outline.state) == (b"[3, 3, 3]", "whole")


def test_a_document_that_never_rests_is_torn_after_a_few_tries(
    folder: Folder, during: Callable[[Callable[[int], object]], list[int]]
) -> None:
    path = folder.write(b"[1]")
    calls = during(lambda number: path.write_bytes(b"[" + b"1," * number + b"1]"))
    captured = folder.capture()
    assert captured.outline.state == "torn"
    assert len(calls) == capture_module.TRIES


def test_a_document_replaced_by_another_of_the_same_size_and_time_is_noticed(
    folder: Folder, during: Callable[[Callable[[int], object]], list[int]]
) -> None:
    path = folder.write(b"[1]")

    def replace(number: int) -> None:
        if number == 1:
            folder.write(b"[2]", "new").rename(path)

    during(replace)
    assert folder.capture().data in (b"[1]", b"[2]")
    assert folder.capture().data == b"[2]"


@pytest.mark.parametrize("into", ["nothing", "fifo", "folder", "link", "dangling link"])
def test_what_is_no_file_any_more_is_an_error_and_does_not_block(into: str, folder: Folder) -> None:
    path = folder.write(b"[]")
    found = path.stat()
    path.unlink()
    if into == "fifo":
        os.mkfifo(path)
    elif into == "folder":
        path.mkdir()
    elif into == "link":
        (folder.path / "other").write_text("[]")
        path.symlink_to("other")
    elif into == "dangling link":
        path.symlink_to("nowhere")
    with pytest.raises(OSError):
        capture(folder.descriptor, NAME, "history", b"", found)
    with pytest.raises(OSError):
        stream(folder.descriptor, NAME, lambda piece: None)


def test_a_file_that_became_enormous_is_not_read_into_memory(folder: Folder) -> None:
    path = folder.write(b"[]")
    found = path.stat()
    os.truncate(path, 1 << 40)
    captured = capture(folder.descriptor, NAME, "history", b"", found)
    assert captured.outline.state == "torn"
    assert len(captured.data) < 4 * MAX_PARSED_BYTES


def test_a_large_file_is_streamed_in_pieces(folder: Folder) -> None:
    content = os.urandom(3 << 20) + b"end"
    folder.write(content)
    pieces: list[bytes] = []
    streamed = stream(folder.descriptor, NAME, pieces.append)
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= 1 << 20
    assert streamed.stable


def test_a_file_that_grows_while_it_is_streamed_is_cut_where_it_ended_and_not_stable(
    folder: Folder,
) -> None:
    path = folder.write(b"a" * (2 << 20))
    pieces: list[bytes] = []

    def grow(piece: bytes) -> None:
        pieces.append(piece)
        with open(path, "ab") as file:
            file.write(b"b" * (1 << 20))

    assert not stream(folder.descriptor, NAME, grow).stable
    assert b"".join(pieces) == b"a" * (2 << 20)


def test_a_file_cut_off_while_it_is_streamed_is_not_stable(folder: Folder) -> None:
    path = folder.write(b"a" * (3 << 20))
    assert not stream(folder.descriptor, NAME, lambda piece: os.truncate(path, 1 << 20)).stable


def stamped(mtime_ns: int, ctime_ns: int) -> os.stat_result:
    seconds = (mtime_ns // 10**9, ctime_ns // 10**9)
    fields = (0o100644, 1, 1, 1, 0, 0, 2, 0, *seconds)
    return os.stat_result(
        fields, {"st_atime_ns": 0, "st_mtime_ns": mtime_ns, "st_ctime_ns": ctime_ns}
    )


def test_a_stat_is_trusted_only_when_a_later_write_must_change_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1_700_000_000_623_456_789
    monkeypatch.setattr(time, "time_ns", lambda: now)
    just_now, earlier = now - 40_000_000, now - 60_000_000
    assert not is_settled(stamped(just_now, just_now))
    assert not is_settled(stamped(1, just_now)), "an old mtime can be set, a ctime cannot"
    assert is_settled(stamped(earlier, earlier))
    for seconds in (0, 1):
        whole_second = (now // 10**9 - seconds) * 10**9
        assert not is_settled(stamped(whole_second, whole_second)), "a clock of seconds, perhaps"
    assert is_settled(stamped(whole_second - 10**9, whole_second - 10**9))


def test_a_writer_in_another_thread_is_never_caught_halfway(folder: Folder) -> None:
    path = folder.write(b"[]")
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with open(path, "wb", buffering=0) as file:
                file.write(b'[{"id": %d, "messages": [' % number)
                file.write(b'{"n": %d}' % number + b" " * (number * 37 % 9000) + b"]}]")
            time.sleep(0.003)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        captures = [folder.capture() for _ in range(60)]
    finally:
        stop.set()
        thread.join()
    for captured in captures:
        if captured.outline.state == "whole":
            assert captured.data == b"[]" or captured.data.endswith(b"]}]")
