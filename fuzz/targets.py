"""What is fuzzed: for each reader its oracle, where to begin, and its share of the time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fuzz import archives, documents, exports, objects, texts
from shenyu_data.exchange.guide import VERSION
from shenyu_data.exchange.items import Item
from shenyu_data.exchange.native import Closing, closing_line, header_line, item_lines
from shenyu_data.model.config import sample
from shenyu_data.testing.archives import archives as archives_
from shenyu_data.testing.archives import tars
from shenyu_data.testing.documents import documents as documents_
from shenyu_data.testing.documents import gzips, histories, torn, values

JSON = (
    b'"messages"',
    b'"id"',
    b'"role"',
    b"[{",
    b"}]",
    b"\\ud83d",
    b"\\u0000",
    b"\xfe",
    b"1e999",
    b"\xef\xbb\xbf",
)
XML = (
    b"<Version>",
    b"<IsTruncated>true</IsTruncated>",
    b"<Rule>",
    b"<NoncurrentDays>",
    b"&amp;",
    b"\xfe",
)
TAR = (
    b"ustar\0",
    b"GNU.sparse.major=1\n",
    b"11 path=../\n",
    b"mtime=",
    b"size=",
    b"linkpath=",
)
SEEDS = 60
"""How many examples of a strategy a corpus begins with."""


class Target(NamedTuple):
    """An oracle. ``words`` are what its language is made of; ``share`` tells how
    much of the time it gets.
    """

    check: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    share: int
    most_bytes: int = 4096
    words: tuple[bytes, ...] = JSON


def examples(strategy: st.SearchStrategy[bytes], count: int = SEEDS) -> list[bytes]:
    """Return examples of a strategy, the same in every run."""
    found: list[bytes] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example: bytes) -> None:
        found.append(example)

    collect()
    return found


def several(*parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Give several things as one input: see :func:`fuzz.parts.halves`."""
    return st.tuples(*parts).map(b"\xfe".join)


def led(strategy: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Give an input that begins with a choice: see :func:`fuzz.parts.first`."""
    return st.builds(bytes.__add__, st.binary(min_size=1, max_size=1), strategy)


def any_document() -> st.SearchStrategy[bytes]:
    """Give a document that an oracle takes whole."""
    return documents_().filter(lambda data: len(data) < 4096)


def guides() -> st.SearchStrategy[bytes]:
    """Give exports in the guide's format, seldom whole."""
    document = (histories() | values().map(lambda text: text.encode("utf-8", "replace"))).filter(
        lambda data: len(data) < 1000
    )
    names = st.sampled_from((b"anna", b"../x", b"", b"a/b", b"\\ud800"))

    def written(user: bytes, one: bytes, two: bytes) -> bytes:
        head = b'{"version": "%b", "exportDate": "x",\n' % VERSION.encode()
        return head + b'"users": {"%b": %b}, "histories": {"%b": [%b, %b]}}' % (
            user,
            one,
            user,
            one,
            two,
        )

    whole = st.builds(written, names, document, document)
    return whole | torn(whole)


def natives() -> st.SearchStrategy[bytes]:
    """Give exports in the native format, in any order of lines."""
    kinds = st.sampled_from(("folder", "file", "link"))
    paths = st.sampled_from((b"users/a.json", b"histories", b"../x", b"/x", b"a\0", b"\xff"))
    item = st.builds(
        lambda kind, path, data, mode, mtime_ns, same: b"".join(
            item_lines(
                Item(kind=kind, path=path, data=data, mode=mode, mtime_ns=mtime_ns, same=same)
            )
        ),
        kinds,
        paths,
        st.binary(max_size=30) | histories().filter(lambda data: len(data) < 500),
        st.sampled_from((0o600, 0o4777)),
        st.none() | st.integers(-(1 << 70), 1 << 70),
        st.none() | st.just("1"),
    )

    def written(items: list[bytes], count: int) -> bytes:
        return b"".join(
            (header_line(None, None), *items, closing_line(Closing(files=count), b"x" * 16))
        )

    return st.builds(written, st.lists(item, max_size=4), st.integers(0, 3))


def plain(*lines: bytes) -> Callable[[], list[bytes]]:
    """Return seeds that stand here."""
    return lambda: list(lines)


def _of(strategy: Callable[[], st.SearchStrategy[bytes]]) -> Callable[[], list[bytes]]:
    return lambda: examples(strategy())


def _sealed() -> list[bytes]:
    return [
        bytes((number,)) + seed
        for number, kind in enumerate(objects.SEALED.values())
        for seed in kind.seeds()
    ]


_XML = (
    b"2026-01-01T00:00:00Z\xfe<ListVersionsResult><IsTruncated>%b</IsTruncated><NextKeyMarker>a"
    b"</NextKeyMarker><Version><Key>prefix/keys/x</Key><VersionId>1</VersionId><IsLatest>false"
    b"</IsLatest></Version><DeleteMarker><Key>b</Key></DeleteMarker></ListVersionsResult>"
)
_LIFECYCLE = (
    b"\xfe<L><Rule><Status>Enabled</Status><Filter><Prefix>p</Prefix></Filter>"
    b"<NoncurrentVersionExpiration><NoncurrentDays>30</NoncurrentDays>"
    b"</NoncurrentVersionExpiration></Rule><Version><Key>k</Key></Version></L>"
)
_PROFILE = b"[default]\nregion = x\naws_access_key_id = a\n[profile work]\nrole_arn = r\n[work]\n"

TARGETS: dict[str, Target] = {
    "chat-stream": Target(documents.chat_stream, _of(lambda: led(any_document())), 4),
    "salvage": Target(documents.salvaging, _of(any_document), 6),
    "mend": Target(documents.mending, _of(lambda: several(any_document(), histories())), 6),
    "findings": Target(documents.findings, _of(any_document), 6),
    "chats": Target(documents.chats, _of(lambda: several(histories(), histories())), 5),
    "merge": Target(
        documents.together, _of(lambda: several(histories(), histories(), histories())), 5
    ),
    "activity": Target(documents.activity, _of(any_document), 1),
    "gzip": Target(documents.gzipped, _of(lambda: gzips(any_document())), 3),
    "long-documents": Target(documents.long_documents, _of(any_document), 3, 200),
    "json-stream": Target(exports.json_stream, _of(lambda: led(guides())), 5),
    "guide": Target(exports.guide, _of(lambda: led(guides())), 5),
    "native": Target(exports.native, _of(lambda: led(natives())), 5),
    "streams": Target(exports.streams, _of(lambda: led(gzips(any_document()))), 3),
    "tar": Target(archives.tar, _of(lambda: led(archives_() | tars())), 6, 8192, TAR),
    "unpack": Target(archives.unpack, _of(lambda: led(tars())), 5, 8192, TAR),
    "changed-objects": Target(
        objects.changed_objects, plain(*(bytes((n, 0, 0, 20, 7)) for n in range(30))), 3, 64, ()
    ),
    "sealed-objects": Target(objects.sealed_objects, _sealed, 5, 4096, ()),
    "config": Target(
        texts.config,
        plain(
            sample({"data": "d"}).encode(),
            sample({"data": "d"}).replace("# ", "").encode(),
            b'[cleanup.histories.x]\nolder_than = "90d"\n[retention]\nkeep_within = "1y"',
        ),
        1,
        4096,
        (b"[retention]", b"keep_last = ", b"[[", b'"""'),
    ),
    "typed": Target(
        texts.typed,
        plain(
            b"90d",
            b"500 MB",
            b"2MB/s",
            b"640",
            b"s3://b/p",
            b"2026-02-10 12:00",
            b"latest~1",
            b"9999y",
        ),
        1,
        64,
        (),
    ),
    "cursors": Target(
        texts.cursors, plain(b"\0x", b"\1\x94\1\xc4\x08aaaaaaaa\x05\x06"), 1, 3200, ()
    ),
    "words": Target(
        texts.words, plain("海洋 the\xfe海洋 The ocean ß İ ﬃ".encode("utf-16")), 2, 200, ()
    ),
    "journal": Target(
        texts.journal, plain(b'\n{"type":"settled","token":"x"}', b"\xff\n", b"\n{" * 9), 2
    ),
    "audit-log": Target(
        texts.audit_log,
        plain(
            b'\x01{"sequence":1,"time_ms":1,"kind":"log","previous":"' + b"0" * 64 + b'"}',
            b'\x01{"sequence":9,"time_ms":1,"kind":"begun","previous":"","run":"x","pid":7}\n{}',
            b'\x00{"sequence":1}\n\n{',
        ),
        1,
        4096,
        (b'"kind":"mended"', b'"kind":"accepted"', b'"sequence":', b'"figures":{'),
    ),
    "copy-journal": Target(texts.copying, plain(b"\1\xff", b"\0rubbish"), 1, 64, ()),
    "quarantine": Target(texts.quarantine, plain(b'{"id":"x","path":"p","path_hex":"zz"}'), 1),
    "recovery": Target(texts.recovery, plain(b'{"id":"x","step":"save","service":{}}'), 1),
    "holds": Target(texts.holds, plain(b"\0\x30x", b'{"format":"shenyu-data-holds"}'), 1),
    "profiles": Target(texts.profiles, plain(_PROFILE), 1, 4096, (b"[profile work]", b" = ")),
    "s3-versions": Target(
        texts.versions, plain(_XML % b"true", _XML % b"false", _LIFECYCLE), 2, 4096, XML
    ),
    "receipts": Target(texts.receipts, texts.receipt_seeds, 2),
    "keys": Target(texts.keys, texts.key_seeds, 1, 1024, ()),
}
