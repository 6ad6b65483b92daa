"""Hypothesis strategies: names, documents and whole data directories, ordinary and hostile
ones. For tests.
"""

from __future__ import annotations

import json
import os

from hypothesis import strategies as st

from shenyu_data.testing.tree import Item

HOSTILE_NAMES: tuple[bytes, ...] = (
    b"..json",  # the user "."
    b"...json",  # the user ".."
    b".json",  # nobody
    b".json.gz",
    b".hidden.json",
    b"...",
    b"a.json.gz",
    b"a.json.json",
    b"two words.json",
    b"new\nline.json",
    b"\x1b[31mred\x1b[0m.json",
    b"\r\t\x07.json",
    b"\x7f.json",
    b"\xff\xfe.json",  # not UTF-8
    b"\xed\xa0\x80.json",  # a lone surrogate
    "evil\u202egpj.json".encode(),  # reads backwards
    "\u00e9.json".encode(),
    "e\u0301.json".encode(),  # the same to a person
    "用户.json".encode(),
    b"-rf.json",
    b"--json",
    b"*.json",
    b"~.json",
    b"$HOME.json",
    b"a\\b.json",
    b"'\".json",
    b"[red]:smile:.json",
    b"%2e%2e%2fetc.json",
    b".tmp-0123456789abcdef",
    b"n" * 250 + b".json",  # 255 bytes, the longest there is
    b"g" * 247 + b".json.gz",
    b"x" * 255,
)
"""File names as a network may hand them over; each is one path component."""

STORAGE_KEYS: tuple[bytes, ...] = (b"chat-history.json", b"sn43-history.json", b"0.json")

YEAR_1902_NS = -2_145_916_800_000_000_000
YEAR_2400_NS = 13_569_465_600_000_000_000  # beyond what a signed 64-bit number holds

_AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def names() -> st.SearchStrategy[bytes]:
    """Give names of files and folders, hostile ones among them."""
    arbitrary = st.binary(min_size=1, max_size=40).filter(
        lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
    )
    return st.one_of(
        st.sampled_from(HOSTILE_NAMES),
        st.sampled_from((*STORAGE_KEYS, b"anna.json", b"notes.txt", b"chat1.json")),
        arbitrary,
        arbitrary.map(lambda name: name + b".json"),
    )


def owners() -> st.SearchStrategy[bytes]:
    """Give users' names: the guide's, the application's, and hostile ones."""
    application = st.sampled_from((b"c7" * 32, b"0f" * 32))
    hostile = st.sampled_from(HOSTILE_NAMES).map(lambda name: name.removesuffix(b".json"))
    return st.one_of(
        st.sampled_from((b"anna", b"ben")),
        application,
        hostile.filter(lambda name: name not in (b"", b".", b"..") and len(name) <= 240),
    )


def chats(count: int, text: str, *, array: bool) -> bytes:
    """Return a history of ``count`` chats as the application (``array``) or the guide writes it."""
    made = [
        {
            "id": 1_739_100_649_794 + number,
            "title": text[:20],
            "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "好"}],
        }
        for number in range(count)
    ]
    value = made if array else {"id": "chat", "messages": [{"role": "user", "content": text}]}
    return json.dumps(value, ensure_ascii=False, indent=2).encode("utf-8", "surrogatepass")


def contents() -> st.SearchStrategy[bytes]:
    """Give documents' bytes that a backup keeps without calling them degraded in a non-JSON
    place.
    """
    text = st.text(alphabet=st.characters(codec="utf-8"), max_size=30)
    return st.one_of(
        st.builds(chats, st.integers(0, 4), text, array=st.booleans()),
        st.just(b""),
        st.just(b"[]"),
        st.binary(max_size=60),
        st.sampled_from((b'{"id": "ann', b"[" * 3000, b"[1e999]", b"\xef\xbb\xbf[]", b"null")),
        st.integers(1, 5).map(lambda times: b"0123456789abcdef\n" * 20_000 * times),
    )


def modes(*, folder: bool) -> st.SearchStrategy[int]:
    """Give modes, of files also 0 and set-id; readable ones only, if we are not root."""
    ordinary = (0o755, 0o700, 0o1777, 0o2755) if folder else (0o644, 0o600, 0o400, 0o4755, 0o2644)
    useless = (0, 0o100) if _AS_ROOT else ()
    return st.sampled_from(ordinary + useless)


def times_ns() -> st.SearchStrategy[int]:
    """Give modification times, far past and far future among them."""
    return st.one_of(
        st.sampled_from((0, -1, 1, YEAR_1902_NS, YEAR_2400_NS, 1_700_000_000_000_000_000)),
        st.integers(0, 4_000_000_000_000_000_000),
    )


@st.composite
def trees(draw: st.DrawFn, *, max_items: int = 14, special: bool = True) -> dict[bytes, Item]:
    """Give a plan for a data directory: both layouts mixed, with whatever else may lie there."""
    plan: dict[bytes, Item] = {b"": _folder(draw)}
    folders = [b"", b"users", b"histories"]
    if draw(st.booleans()):
        folders.remove(draw(st.sampled_from((b"users", b"histories"))))
    for owner in draw(st.lists(owners(), max_size=3, unique=True)):
        if draw(st.booleans()):
            _add(plan, b"users/" + owner + b".json", _file(draw))
        if draw(st.booleans()):
            folders.append(b"histories/" + owner)
    for folder in folders[1:]:
        _add(plan, folder, _folder(draw))
    for _ in range(draw(st.integers(0, max_items))):
        folder = draw(st.sampled_from(folders))
        path = folder + b"/" + draw(names()) if folder else draw(names())
        item = draw(_items(special))
        if not _add(plan, path, item):
            continue
        if item.kind == "folder":
            folders.append(path)
    _add_hard_links(draw, plan, folders)
    return plan


def _add(plan: dict[bytes, Item], path: bytes, item: Item) -> bool:
    """Plan an item unless its place is taken or it would lie below something that is no folder."""
    parts = path.split(b"/")
    above = [b"/".join(parts[:length]) for length in range(1, len(parts))]
    if path in plan or any(plan[one].kind != "folder" for one in above if one in plan):
        return False
    for one in above:
        plan.setdefault(one, Item("folder", mode=0o755))
    plan[path] = item
    return True


def _add_hard_links(draw: st.DrawFn, plan: dict[bytes, Item], folders: list[bytes]) -> None:
    files = [path for path, item in plan.items() if item.kind == "file" and item.same_as is None]
    for _ in range(draw(st.integers(0, 3)) if files else 0):
        source = draw(st.sampled_from(files))
        folder = draw(st.sampled_from(folders))
        name = draw(st.sampled_from((b"linked.json", b"linked.txt", b"chat-history.json")))
        path = folder + b"/" + name if folder else name
        _add(plan, path, plan[source]._replace(same_as=source))


def _file(draw: st.DrawFn) -> Item:
    return Item("file", draw(contents()), draw(modes(folder=False)), draw(times_ns()))


def _folder(draw: st.DrawFn) -> Item:
    return Item("folder", b"", draw(modes(folder=True)), draw(times_ns()))


def link_targets() -> st.SearchStrategy[bytes]:
    """Give what symbolic links may point at: nothing, themselves, a place outside, a device."""
    return st.sampled_from(
        (
            b"nowhere",
            b".",
            b"..",
            b"../../../../../../etc/passwd",
            b"/etc/passwd",
            b"/dev/zero",
            b"chat-history.json",
            b"\xff\n",
            b"t" * 1000,
        )
    )


@st.composite
def _items(draw: st.DrawFn, special: bool) -> Item:
    kinds = ["file"] * 5 + ["folder"] * 2 + ["link"] * 2 + ["fifo", "socket"] * special
    kind = draw(st.sampled_from(kinds))
    if kind == "file":
        return _file(draw)
    if kind == "folder":
        return _folder(draw)
    if kind == "link":
        return Item("link", draw(link_targets()), 0, draw(times_ns()))
    return Item("fifo" if kind == "fifo" else "socket", mode=0o600)
