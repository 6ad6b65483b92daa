"""A data directory in whose life anything happens: the first half of test_state_machine.py."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from shenyu_data.datadir.capture import is_settled
from shenyu_data.repository.crypto import Secrets
from shenyu_data.testing.strategies import chats
from shenyu_data.testing.tree import Kind

KEYS = Secrets(bytes(32), bytes(16))  # so that users are dealt alike in every run


def _neighbour(user: bytes) -> bytes:
    """Return a user in the same bucket, where nearly everybody has some in a large directory."""
    names = (b"u%d" % number for number in range(1 << 16))
    return next(name for name in names if KEYS.user_bucket(name) == KEYS.user_bucket(user))


NEXT = _neighbour(b"anna")
USERS = (b"anna", NEXT, b"ben\n", b"cleo")
PATHS = (
    "users/anna.json",
    "users/...json",
    "users/anna.json.gz",
    "users/notes.txt",
    "histories/anna/chat-history.json",
    "histories/anna/sn43-history.json",
    "histories/anna/below/file",
    f"histories/{NEXT.decode()}/chat-history.json",
    "histories/ben\n/chat-history.json",
    "histories/../histories/cleo/0.json",
    "other/deep/file",
    "notes.txt",
)
NOBODYS = (".json", "..json", "...json")
"""Names of user files whose users could not have a folder."""

LONG = "一段很长的话 that a delta is worth while for " * 40
CONTENTS = st.one_of(
    st.builds(chats, st.integers(0, 3), st.sampled_from(["hello", LONG]), array=st.booleans()),
    st.binary(max_size=20),
    st.sampled_from((b"", b"{}", b"[]", b'{"id": "anna"}', b'[{"messages": [')),
)
ANY = st.integers(0, 1 << 20)
USER = st.sampled_from(USERS)


def owner_of(path: bytes, kind: Kind = "file") -> bytes | None:
    """Return the user to whom what stands at a path belongs."""
    top, _, rest = path.partition(b"/")
    if top == b"histories" and rest:
        return rest.partition(b"/")[0]
    if top == b"users" and kind != "folder" and rest.endswith((b".json", b".json.gz")):
        name = rest.removesuffix(b".gz").removesuffix(b".json")
        return name if name not in (b"", b".", b"..") else None
    return None


class LiveData(RuleBasedStateMachine):
    """Edits in any order, by the application and by whoever else has a hand in it."""

    def __init__(self) -> None:
        super().__init__()
        # It goes also if what follows, or a machine made of this one, fails before its first step.
        self.folder = tempfile.TemporaryDirectory(prefix="state-machine-")
        self.base = Path(self.folder.name)
        self.data = self.base / "data"
        self.stamp_s = 1_600_000_000
        for folder in ("users", "histories/anna"):
            (self.data / folder).mkdir(parents=True)
        self.write(self.data / PATHS[0], b'{"id": "anna"}')
        self.write(self.data / PATHS[4], chats(2, LONG, array=True))

    def write(self, path: Path, content: bytes) -> None:
        """Write in place, as the application does, at a time of its own that lies long ago."""
        with open(path, "wb") as file:
            file.write(content)
        self.stamp(path)

    def stamp(self, path: Path) -> None:
        self.stamp_s += 1
        os.utime(path, (self.stamp_s, self.stamp_s), follow_symlinks=False)

    def found(self, which: int, wanted: Callable[[Path], bool]) -> Path | None:
        everything = sorted(path for path in self.data.rglob("*") if wanted(path))
        return everything[which % len(everything)] if everything else None

    def file(self, which: int) -> Path | None:
        return self.found(which, lambda path: path.is_file() and not path.is_symlink())

    def free(self, name: str) -> Path | None:
        """Make room for a new entry, if there is none and its folders can be."""
        path = self.data / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError:
            return None
        inside = path.parent.resolve().is_relative_to(self.data.resolve())
        return path if inside and not os.path.lexists(path) else None

    def leave(self, user: bytes) -> None:
        """Remove a user's documents. Nothing else is seen to change, not even the folders' times:
        so it may happen in the middle of a backup and still be known what that must hold.
        """
        name = os.fsdecode(user)
        tops = [path for path in (self.data / "users", self.data / "histories") if path.is_dir()]
        times = [path.stat() for path in tops]
        files = [self.data / "users" / f"{name}{suffix}" for suffix in (".json", ".json.gz")]
        files = [path for path in files if path.is_symlink() or not path.is_dir()]
        for path in (*files, self.data / "histories" / name):  # such a folder is nobody's
            _remove(path)
        for path, seen in zip(tops, times, strict=True):
            os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))

    @rule(user=USER)
    def a_user_leaves(self, user: bytes) -> None:
        self.leave(user)

    @rule(user=USER, content=CONTENTS)
    def a_user_comes(self, user: bytes, content: bytes) -> None:
        name = os.fsdecode(user)
        for place in (f"users/{name}.json", f"histories/{name}/chat-history.json"):
            if path := self.free(place):
                self.write(path, content)

    @rule(name=st.sampled_from(PATHS), content=CONTENTS)
    def create(self, name: str, content: bytes) -> None:
        if path := self.free(name):
            self.write(path, content)

    @rule(which=ANY, content=CONTENTS)
    def modify_in_place(self, which: int, content: bytes) -> None:
        if path := self.file(which):
            self.write(path, content)

    @rule(which=ANY)
    def modify_behind_the_same_size_and_time(self, which: int) -> None:
        path = self.file(which)
        if path and (content := path.read_bytes()):
            seen = path.stat()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
            # On a machine that is out of breath the file system's clock may stand still for long.
            while is_settled(seen) and path.stat().st_ctime_ns == seen.st_ctime_ns:
                os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))

    @rule(which=ANY)
    def prepend_a_chat(self, which: int) -> None:
        if path := self.file(which):
            try:
                old = json.loads(path.read_bytes())
            except ValueError:
                old = []  # as the application does
            new = {"id": self.stamp_s, "messages": [{"role": "user", "content": LONG}]}
            written = [new, *(old if isinstance(old, list) else [])][:6]
            self.write(path, json.dumps(written, ensure_ascii=False, indent=2).encode())

    @rule(which=ANY)
    def append_a_message(self, which: int) -> None:
        path = self.file(which)
        if path and (content := path.read_bytes()).endswith(b"]"):
            self.write(path, content[:-1] + b',{"messages":[]}]' if len(content) > 2 else b"[{}]")

    @rule(which=ANY, kept=st.floats(0, 1))
    def truncate(self, which: int, kept: float) -> None:
        if path := self.file(which):
            os.truncate(path, int(path.stat().st_size * kept))
            self.stamp(path)

    @rule(which=ANY, name=st.sampled_from(PATHS))
    def rename(self, which: int, name: str) -> None:
        path, to = self.found(which, lambda path: path.name not in ("users", "histories")), None
        if path and (to := self.free(name)):
            with suppress(OSError):  # into itself, by whatever way
                path.rename(to)

    @rule(which=ANY, name=st.sampled_from(PATHS))
    def hard_link(self, which: int, name: str) -> None:
        path = self.file(which)
        if path and (to := self.free(name)):
            os.link(path, to)

    @rule(which=ANY)
    def delete(self, which: int) -> None:
        if path := self.found(which, lambda path: path != self.data / "users"):
            _remove(path)

    @rule(which=ANY, to=st.sampled_from(("nowhere", "../anna", "/etc/passwd", ".")))
    def replace_by_a_link(self, which: int, to: str) -> None:
        top = (self.data / "users", self.data / "histories")
        if path := self.found(which, lambda path: path not in top):
            _remove(path)
            path.symlink_to(to)
            self.stamp(path)

    @rule(which=ANY)
    def replace_by_a_folder(self, which: int) -> None:
        if path := self.file(which):
            path.unlink()
            path.mkdir()

    @rule(which=ANY, mode=st.sampled_from((0o600, 0o644, 0o700, 0o4711)))
    def change_the_mode(self, which: int, mode: int) -> None:
        if path := self.found(which, lambda path: not path.is_symlink()):
            path.chmod(mode | 0o700 if path.is_dir() else mode)

    @rule(which=ANY)
    def touch(self, which: int) -> None:
        if path := self.found(which, lambda path: True):
            self.stamp(path)

    def torn(self, users: Collection[bytes] | None = None) -> set[bytes]:
        """Return the documents, all or some users', that do not parse, in the places where
        documents must.
        """
        torn = set()
        for path in self.data.rglob("*.json"):
            parts = path.relative_to(self.data).parts
            if path.is_symlink() or not path.is_file():
                continue
            user = parts[0] == "users" and len(parts) == 2 and parts[1] not in NOBODYS
            history = parts[0] == "histories" and len(parts) == 3 and parts[2][0] != "."
            if user or history:
                try:
                    json.loads(path.read_bytes().decode())
                except ValueError:
                    torn.add(os.fsencode(path.relative_to(self.data)))
        for path in self.data.glob("users/*.json.gz"):  # none that is written here is gzip
            if path.is_file() and not path.is_symlink():
                torn.add(os.fsencode(path.relative_to(self.data)))
        return {path for path in torn if users is None or owner_of(path) in users}


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
