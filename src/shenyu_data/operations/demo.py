"""``demo``: makes a small data directory and tours the main job on it, with the real operations and
a real repository.

Each step is yielded as it is done, so that the caller can tell the story.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from typing import Any

import msgspec
from blake3 import blake3

from shenyu_data.model.errors import ShenyuDataError
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.backup import BackupOptions, BackupStats, backup
from shenyu_data.operations.restore import RestoreOptions, restore
from shenyu_data.operations.show import show_user
from shenyu_data.operations.validate import ValidateOptions, validate
from shenyu_data.operations.verify import VerifyOptions, verify
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.local import LocalStorage

_DAY_MS = 86_400_000
_FIRST_DAY_MS = 1_772_323_200_000  # 2026-03-01

_TALKS = (
    ("周末去杭州怎么安排?", "第一天西湖和灵隐寺, 第二天西溪湿地。早上人少, 建议八点前出门。"),
    ("Why does my bread not rise?", "Most often the yeast is old or the water was too hot."),
    ("写一首关于秋天的短诗", "一叶落下, 风便有了颜色;\n山路尽处, 炊烟写着归途。"),
    ("Explain `git rebase` in one sentence.", "It replays your commits on top of another base."),
    ("帮我把这段话翻译成英文: 数据是用户写下的东西。", "Data is what people have written."),
    ("怎么给孩子讲什么是备份?", "就像把画好的画再描一张, 放在奶奶家: 这张弄丢了, 那张还在。"),
)


class DemoStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the tour. ``title`` says what was done, ``lines`` what came of it, ``ok`` whether
    it was as it should be.
    """

    name: str
    title: str
    lines: list[str]
    ok: bool = True


def demo(folder: str) -> Iterator[DemoStep]:
    """Tour the main job inside the empty ``folder``: validate, back up, change, back up, damage,
    find, restore, compare.
    """
    tour = _Demo(folder)
    yield tour.make()
    yield tour.validate()
    yield tour.back_up()
    yield tour.change()
    yield tour.back_up_again()
    yield tour.damage()
    yield tour.find()
    yield tour.back_up_degraded()
    yield tour.restore_user()
    yield tour.restore_all()
    yield tour.prove()


class _Demo:
    def __init__(self, folder: str) -> None:
        self._data = os.path.join(folder, "data")
        self._folder = folder
        self._people = [_hex_id(number) for number in range(12)]
        self._victim = self._people[3]
        self._before: dict[str, bytes] = {}
        self._whole: BackupStats | None = None
        self._repository: Repository | None = None

    def make(self) -> DemoStep:
        for number, person in enumerate(self._people):
            self._write(f"users/{person}.json", _user(person, number))
            chats = [_chat(number, index) for index in range(3 + number % 4)]
            self._write(f"histories/{person}/chat-history.json", chats)
            if number % 3 == 0:
                self._write(f"histories/{person}/sn43-history.json", chats[:1])
        for number in range(3):
            name = f"user{number + 1}"
            user = {"id": name, "created_at": "2025-02-10T08:00:00Z", "name": "小王"}
            self._write(f"users/{name}.json", user)
            self._write(f"histories/{name}/chat1.json", _chat(number, 0))
        files = _files(self._data)
        return DemoStep(
            name="make",
            title="A chat application's data directory, in both of its layouts",
            lines=[self._data, f"{len(files)} documents, {sum(map(len, files.values())):,} bytes"],
        )

    def validate(self) -> DemoStep:
        stats = validate(self._data, ValidateOptions(jobs=1), CollectingMonitor())
        return DemoStep(
            name="validate",
            title="validate: is every document sound?",
            lines=[
                f"{stats.users} users, {stats.histories} histories, {stats.chats} chats, "
                f"{stats.messages} messages: {stats.errors} errors"
            ],
            ok=not stats.errors,
        )

    def back_up(self) -> DemoStep:
        storage = LocalStorage(os.path.join(self._folder, "repository"))
        storage.create()
        self._repository, _ = create_repository(storage, secrets.token_hex(16))
        return self._back_up("backup", "backup: everything, sealed user by user, encrypted")

    def change(self) -> DemoStep:
        for number, person in enumerate(self._people[:4]):
            path = f"histories/{person}/chat-history.json"
            chats = msgspec.json.decode(self._read(path))
            self._write(path, [_chat(number, 9), *chats])
        os.unlink(os.path.join(self._data, "users/user3.json"))
        os.unlink(os.path.join(self._data, "histories/user3/chat1.json"))
        self._write("users/newcomer.json", _user("newcomer", 5))
        self._before = _files(self._data)
        return DemoStep(
            name="change",
            title="A day of use",
            lines=["4 users begin a new chat, 1 user comes, 1 goes"],
        )

    def back_up_again(self) -> DemoStep:
        return self._back_up("backup-changed", "backup: only what changed is read and stored")

    def damage(self) -> DemoStep:
        path = f"histories/{self._victim}/chat-history.json"
        with open(os.path.join(self._data, path), "r+b") as file:
            file.truncate(os.path.getsize(file.name) // 2)
        return DemoStep(
            name="damage",
            title="The application crashes while it writes: a history is cut in half",
            lines=[f"histories/{self._victim[:8]}…/chat-history.json"],
        )

    def find(self) -> DemoStep:
        monitor = CollectingMonitor()
        validate(self._data, ValidateOptions(jobs=1), monitor)
        errors = [finding for finding in monitor.findings if finding.severity == "error"]
        return DemoStep(
            name="find",
            title="validate finds it",
            lines=[f"{finding.code}: {finding.message}" for finding in errors],
            ok=bool(errors) and all(self._victim in finding.path for finding in errors),
        )

    def back_up_degraded(self) -> DemoStep:
        whole = self._whole
        step = self._back_up("backup-degraded", "backup says so too: the snapshot is degraded")
        degraded = self._whole is not None and self._whole.degraded
        self._whole = whole
        return msgspec.structs.replace(step, ok=degraded)

    def restore_user(self) -> DemoStep:
        target = os.path.join(self._folder, "one-user")
        repository, whole = self._opened()
        root = repository.root(whole.snapshot)
        documents = show_user(repository, root, self._victim.encode())
        options = RestoreOptions(user=self._victim.encode())
        restore(repository, root, target, options, CollectingMonitor())
        path = f"histories/{self._victim}/chat-history.json"
        with open(os.path.join(target, path), "rb") as file:
            same = file.read() == self._before[path]
        return DemoStep(
            name="restore-user",
            title="restore: that one user, from the snapshot before",
            lines=[
                f"{len(documents)} documents with {sum(d.chats for d in documents)} chats: "
                f"{'byte for byte as they were' if same else 'DIFFERENT'}"
            ],
            ok=same,
        )

    def restore_all(self) -> DemoStep:
        target = os.path.join(self._folder, "everything")
        repository, whole = self._opened()
        stats = restore(
            repository,
            repository.root(whole.snapshot),
            target,
            RestoreOptions(),
            CollectingMonitor(),
        )
        same = _files(target) == self._before
        return DemoStep(
            name="restore",
            title="restore: everything, and compare",
            lines=[
                f"{stats.documents} documents: "
                f"{'byte for byte as they were' if same else 'DIFFERENT'}"
            ],
            ok=same,
        )

    def prove(self) -> DemoStep:
        repository, _ = self._opened()
        monitor = CollectingMonitor()
        stats = verify(repository, VerifyOptions(read_percent=100), monitor)
        return DemoStep(
            name="verify",
            title="verify --read-data: every byte of the repository is what was written",
            lines=[
                f"{stats.snapshots} snapshots, {stats.objects} objects, "
                f"{stats.object_bytes:,} bytes: {stats.damaged_objects} damaged"
            ],
            ok=not stats.damaged_objects,
        )

    def _back_up(self, name: str, title: str) -> DemoStep:
        repository = self._repository
        if repository is None:
            raise ShenyuDataError("the demo has no repository yet")
        stats = backup(self._data, repository, BackupOptions(), CollectingMonitor())
        self._whole = stats
        changes = stats.changes
        state = f"; {stats.totals.torn} torn" if stats.degraded else ""
        return DemoStep(
            name=name,
            title=title,
            lines=[
                f"snapshot {stats.snapshot.hex()[:8]} ({stats.kind}): {changes.new} new, "
                f"{changes.changed} changed, {changes.gone} gone documents{state}; "
                f"read {stats.read_bytes:,} bytes, stored {stats.stored_bytes:,}"
            ],
            ok=not stats.degraded,
        )

    def _opened(self) -> tuple[Repository, BackupStats]:
        if self._repository is None or self._whole is None:
            raise ShenyuDataError("the demo has no snapshot yet")
        return self._repository, self._whole

    def _write(self, path: str, document: Any) -> None:
        full = os.path.join(self._data, path)
        os.makedirs(os.path.dirname(full), mode=0o700, exist_ok=True)
        with open(full, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(document), indent=2))

    def _read(self, path: str) -> bytes:
        with open(os.path.join(self._data, path), "rb") as file:
            return file.read()


def _hex_id(number: int) -> str:
    return blake3(f"demo {number}".encode()).hexdigest()


def _user(name: str, number: int) -> dict[str, Any]:
    first = _FIRST_DAY_MS + number * _DAY_MS
    return {
        "id": name,
        "fingerprint": {
            "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/133.0",
            "language": "zh-CN" if number % 2 else "en-GB",
            "colorDepth": 24,
            "screenResolution": "1920x1080",
            "timezone": "Asia/Shanghai",
            "cookiesEnabled": True,
            "localStorage": True,
            "sessionStorage": True,
            "fonts": ["Arial", "Noto Sans CJK SC", "Times New Roman"],
            "canvasFingerprint": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==",
            "webglVendor": "Mesa",
            "webglRenderer": "llvmpipe",
        },
        "firstSeen": first,
        "lastSeen": first + 7 * _DAY_MS,
    }


def _chat(number: int, index: int) -> dict[str, Any]:
    question, answer = _TALKS[(number + index) % len(_TALKS)]
    return {
        "id": _FIRST_DAY_MS + (number * 31 + index) * _DAY_MS,
        "title": question[:12],
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ],
        "timestamp": f"2026-03-{1 + (number + index) % 28:02d}T09:30:00.000Z",
    }


def _files(folder: str) -> dict[str, bytes]:
    found = {}
    for path, _, names in os.walk(folder):
        for name in names:
            full = os.path.join(path, name)
            with open(full, "rb") as file:
                found[os.path.relpath(full, folder)] = file.read()
    return found
