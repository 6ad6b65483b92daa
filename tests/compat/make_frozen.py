"""Makes a frozen repository, which every later program must be able to read.

    python -m tests.compat.make_frozen tests/compat/frozen/v2
    python -m tests.compat.make_frozen --with-a-past tests/compat/frozen/v2-with-a-past

Run once for each version of the format; run again, it makes another repository of the same content.
A frozen one is never made anew: what matters is that the program of its day wrote it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import shutil
import stat
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from shenyu_data.model.monitor import SilentMonitor
from shenyu_data.model.retention import Retention
from shenyu_data.operations.alarms import acknowledge, alarms
from shenyu_data.operations.backup import BackupOptions, backup
from shenyu_data.operations.key_rotation import begin_rotation, finish_rotation, plan_rotation
from shenyu_data.operations.prune import prune
from shenyu_data.operations.prune_plan import PruneOptions, plan_prune
from shenyu_data.operations.verify import VerifyOptions, verify
from shenyu_data.repository.erasure import destroy_keys
from shenyu_data.repository.repository import Repository, create_repository, open_repository
from shenyu_data.storage.local import LocalStorage

PASSPHRASE = "a frozen 深语 repository"
HEX = "0f" * 32
LATIN_1 = b"caf\xe9"  # not UTF-8
WORDS = """the application keeps every chat as JSON 你好 请问 如何 保存 聊天 记录 海洋 文章
建议 谢谢 明确 目标 每天 学习 例如 a list of words that is long enough to be text and short
enough to be read function return value""".split()


def describe_folder(folder: Path) -> dict[str, Any]:
    """Say what is in a folder, by path; ``same_file`` is the first name of a hard-linked file."""
    root = os.fsencode(folder)
    found: dict[str, Any] = {}
    first: dict[int, str] = {}
    for above, folders, files in os.walk(root):
        names = [b"", *folders, *files] if above == root else [*folders, *files]
        for name in names:
            full = os.path.join(above, name) if name else root
            path = printable(os.path.relpath(full, root))
            seen = os.lstat(full)
            node: dict[str, Any] = {"mtime_ms": seen.st_mtime_ns // 1_000_000}
            if stat.S_ISLNK(seen.st_mode):
                node |= {"kind": "link", "target": printable(os.readlink(full))}
            else:
                node["mode"] = f"{stat.S_IMODE(seen.st_mode):o}"
                node["kind"] = "folder"
            if stat.S_ISREG(seen.st_mode):
                data = Path(os.fsdecode(full)).read_bytes()
                node |= {"kind": "file", "sha256": hashlib.sha256(data).hexdigest()}
                if seen.st_nlink > 1:
                    node["same_file"] = seen.st_ino
            found[path] = node
    for path in sorted(found):
        if "same_file" in found[path]:
            found[path]["same_file"] = first.setdefault(found[path]["same_file"], path)
    return dict(sorted(found.items()))


def printable(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")


class Day:
    """A data directory whose content depends on nothing but this file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._random = random.Random(1)
        self._clock_ns = 1_750_000_000_123_456_789
        root.mkdir()

    def words(self, count: int) -> str:
        return " ".join(self._random.choices(WORDS, k=count))

    def chat(self, number: int, messages: int = 2) -> dict[str, Any]:
        roles = ("user", "assistant")
        said = [{"role": roles[n % 2], "content": self.words(30)} for n in range(messages)]
        return {"id": 1735689600000 + number, "title": f"第 {number} 个问题", "messages": said}

    def write(self, path: str | bytes, content: object, mode: int = 0o644) -> None:
        """Write a document as the application does, with the next second of this day's clock."""
        full = os.path.join(os.fsencode(self.root), os.fsencode(path))
        os.makedirs(os.path.dirname(full), exist_ok=True)
        if not isinstance(content, bytes):
            content = json.dumps(content, ensure_ascii=False, indent=2).encode()
        with open(full, "wb") as file:
            file.write(content)
        os.chmod(full, mode)
        self._clock_ns += 1_001_000_000
        os.utime(full, ns=(self._clock_ns, self._clock_ns))

    def load(self, path: str) -> Any:
        return json.loads((self.root / path).read_bytes())

    def close(self) -> None:
        """Give what changed a time of this day; wait until stamps are old enough to be trusted."""
        for path in sorted(self.root.rglob("*"), reverse=True):
            if path.is_symlink() and path.lstat().st_mtime > 1_760_000_000:
                os.utime(path, ns=(self._clock_ns, self._clock_ns), follow_symlinks=False)
        for folder in [self.root, *self.root.rglob("*")]:
            real = folder.is_dir() and not folder.is_symlink()
            if real and folder.stat().st_mtime > 1_760_000_000:
                os.utime(folder, ns=(self._clock_ns, self._clock_ns))
        time.sleep(0.1)


def first_day(day: Day) -> None:
    """Both layouts, and everything else that may lie in a data directory."""
    day.write("users/alice.json", {"id": "alice", "created_at": "2025-01-01T00:00:00Z"}, 0o600)
    day.write("histories/alice/plan.json", day.chat(1, 4) | {"model": "m"})
    day.write("histories/alice/drafts/old/notes.txt", b"kept byte for byte\r\n\0", 0o400)
    fingerprint = {"userAgent": "Mozilla/5.0", "fonts": ["Arial"], "timezone": "Asia/Shanghai"}
    day.write(f"users/{HEX}.json", {"id": HEX, "fingerprint": fingerprint, "lastSeen": 1}, 0o640)
    day.write(f"histories/{HEX}/chat-history.json", [day.chat(n) for n in range(12, 2, -1)])
    day.write(f"histories/{HEX}/sn43-history.json", [])
    day.write("users/小明.json", {"id": "小明", "name": "王小明"})
    day.write("histories/小明/chat-history.json", [day.chat(n, 8) for n in range(150)], 0o600)
    day.write(b"users/%b.json" % LATIN_1, {"id": "?"})
    day.write(b"histories/%b/chat-%b.json" % (LATIN_1, LATIN_1), [day.chat(5)])
    day.write("users/gone.json", {"id": "gone"})
    day.write("histories/gone/chat-history.json", [day.chat(6)])
    day.write("users/packed.json.gz", gzip.compress(b'{"id": "packed"}', mtime=0))
    (day.root / "histories/empty").mkdir(mode=0o750)
    day.write("example/user.json", {"id": "example"})
    day.write("example/history/chat_history.json", [day.chat(7)])
    day.write("notes/empty", b"", 0o444)
    day.write("notes/long.log", b"".join(b"%07d same line\n" % (n // 999) for n in range(110_000)))
    os.link(day.root / "notes/empty", day.root / "notes/empty too")
    os.link(day.root / "histories/alice/plan.json", day.root / "histories/小明/plan.json")
    (day.root / "notes/latest").symlink_to("../histories/小明")
    (day.root / "notes/dangling").symlink_to("无处")
    (day.root / "histories/alice/link.json").symlink_to("plan.json")


def second_day(day: Day) -> None:
    """A chat in front, a message in the middle, one user gone, one come."""
    path = f"histories/{HEX}/chat-history.json"
    chats = day.load(path)
    chats[4]["messages"].append({"role": "user", "content": day.words(20)})
    day.write(path, [day.chat(13), *chats])
    day.write(f"users/{HEX}.json", day.load(f"users/{HEX}.json") | {"lastSeen": 2}, 0o640)
    (day.root / "users/gone.json").unlink()
    shutil.rmtree(day.root / "histories/gone")
    day.write("users/new.json", {"id": "new"})
    os.chmod(day.root / "histories/alice/drafts/old/notes.txt", 0o440)


def third_day(day: Day) -> None:
    """The application died while it wrote."""
    path = f"histories/{HEX}/chat-history.json"
    day.write(path, (day.root / path).read_bytes()[:1000])
    day.write("histories/alice/never-whole.json", b'{"messages": [')


def last_day(day: Day) -> None:
    """It started again, found no history, and began a new one."""
    day.write(f"histories/{HEX}/chat-history.json", [day.chat(14)])


class Maker:
    """Backs up a day's data directory and writes down what the snapshot must give back."""

    def __init__(self, folder: Path, day: Day) -> None:
        self.day = day
        self.folder = folder
        self.snapshots: list[dict[str, Any]] = []

    def back_up(self, repository: Repository, full: bool = False, tag: str | None = None) -> None:
        self.day.close()
        options = BackupOptions(full=full, tag=tag)
        stats = backup(str(self.day.root), repository, options, SilentMonitor())
        self.snapshots.append(
            {
                "id": stats.snapshot.hex(),
                "kind": stats.kind,
                "tag": stats.tag,
                "degraded": stats.degraded,
                "chats": stats.totals.chats,
                "messages": stats.totals.messages,
                "paths": describe_folder(self.day.root),
            }
        )

    def back_up_twice_at_once(self, repository: Repository) -> None:
        """Two backups that do not see each other; what both store is then in one place."""
        other = self.folder.with_name("other")
        shutil.copytree(self.folder, other)
        self.day.write("users/twin.json", {"id": "twin", "lastSeen": 1})
        self.back_up(open_repository(LocalStorage(str(other)), PASSPHRASE), tag="one of two")
        self.day.write("users/twin.json", {"id": "twin", "lastSeen": 2})
        self.back_up(repository, tag="two of two")
        for path in other.rglob("*"):
            here = self.folder / path.relative_to(other)
            if path.is_file() and not here.exists():
                shutil.copyfile(path, here)
        shutil.rmtree(other)


def make(target: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        day = Day(Path(temporary, "data"))
        folder = Path(temporary, "repository")
        storage = LocalStorage(str(folder))
        storage.create()
        repository, recovery_key = create_repository(storage, PASSPHRASE)
        maker = Maker(folder, day)
        first_day(day)
        maker.back_up(repository)
        second_day(day)
        maker.back_up(repository, tag="before the upgrade 升级")
        third_day(day)
        maker.back_up(repository)
        maker.back_up_twice_at_once(repository)
        maker.back_up(repository, full=True)
        last_day(day)
        maker.back_up(repository)
        shutil.copytree(folder, target / "repository")
    expected = {
        "passphrase": PASSPHRASE,
        "recovery_key": recovery_key,
        "snapshots": maker.snapshots,
    }
    text = json.dumps(expected, ensure_ascii=False, indent=1, sort_keys=True)
    (target / "expected.json").write_text(text + "\n", encoding="utf-8")


def make_with_a_past(target: Path) -> None:
    """Make one that was pruned, repacked, verified and rotated, and from which a user was erased.

    Of the snapshots listed, ``erased`` are the paths that none of them gives back any more.
    """
    with tempfile.TemporaryDirectory() as temporary:
        day = Day(Path(temporary, "data"))
        folder = Path(temporary, "repository")
        storage = LocalStorage(str(folder))
        storage.create()
        repository, _ = create_repository(storage, PASSPHRASE)
        maker = Maker(folder, day)
        first_day(day)
        maker.back_up(repository)
        second_day(day)
        maker.back_up(repository, tag="kept")
        (day.root / "histories/小明/plan.json").unlink()  # it alone would keep a segment alive
        for number in range(2):
            changed = ["小明", HEX, "alice"][: 3 - number]
            for user in changed:
                day.write(f"users/{user}.json", {"id": user, "day": number})
                day.write(f"histories/{user}/chat-history.json", [day.chat(60 + number, 40)])
            day.write("notes/long.log", b"short now\n")
            maker.back_up(repository, full=number == 1)
        verify(repository, VerifyOptions(read_percent=100), SilentMonitor())
        pseudonym = repository.keys.user_pseudonym(b"new")
        destroy_keys(storage, repository.keys, pseudonym, 1_760_000_000_000)
        alarmed = [item.snapshot.id.hex() for item in alarms(repository)]
        acknowledge(repository, alarmed, "changed on purpose", now_ms=1_760_000_000_000)
        keep = PruneOptions(retention=Retention(keep_last=2), grace_s=86_400)
        for now_ms in (1_900_000_000_000, 1_900_100_000_000, 1_900_200_000_000):
            plan = plan_prune(repository, keep, SilentMonitor(), now_ms=now_ms)
            prune(repository, plan, keep, SilentMonitor())
        begun = begin_rotation(repository, plan_rotation(repository), PASSPHRASE, "new")
        finish_rotation(begun.repository, SilentMonitor())
        repository = begun.repository
        day.write("users/alice.json", {"id": "alice", "after": "the rotation"})
        shutil.rmtree(day.root / "histories/new", ignore_errors=True)
        (day.root / "users/new.json").unlink()
        maker.back_up(repository)
        kept = {item.id.hex() for item in repository.snapshots()}
        shutil.copytree(folder, target / "repository")
    expected = {
        "passphrase": PASSPHRASE,
        "recovery_key": begun.recovery_key,
        "erased": ["users/new.json"],
        "snapshots": [one for one in maker.snapshots if one["id"] in kept],
    }
    text = json.dumps(expected, ensure_ascii=False, indent=1, sort_keys=True)
    (target / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "--with-a-past":
        make_with_a_past(Path(sys.argv[2]))
    else:
        make(Path(sys.argv[1]))
