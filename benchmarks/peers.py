"""The tools that are compared: how each makes a repository, backs up, restores and verifies.

For `benchmarks.works`. A peer only says which commands to run; nothing here runs a command that is
measured. Secrets reach the tools through their environment, caches stay in the scratch folder, and
every tool sees the data directory as its working directory, so that all of them store the same
relative paths.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from benchmarks.catalog import Program
from benchmarks.measure import Command

_PASSWORD = "benchmark-only"
_KEEP = ("--keep-daily", "30", "--keep-weekly", "12", "--keep-monthly", "12")
OURS = "shenyu-data"
GUIDE_SCRIPT = Path(__file__).with_name("guide_validate.js")
GUIDE_CLEANUP = Path(__file__).with_name("guide_cleanup.js")


@dataclass
class Peer:
    """One tool with one repository. A command that it cannot offer is None."""

    data: Path
    scratch: Path
    name: ClassVar[str]
    program: ClassVar[str]
    version_argument: ClassVar[str] = "--version"
    backs_up: ClassVar[bool] = True
    # False: every backup is a full one that replaces the one before.
    incremental: ClassVar[bool] = True

    @classmethod
    def executable(cls) -> str | None:
        """Return where the program lies, or None if it is absent."""
        return shutil.which(cls.program)

    @classmethod
    def version(cls) -> str:
        """Return the program's name and the version that it tells."""
        question = [cls.executable() or cls.program, cls.version_argument]
        told = subprocess.run(question, capture_output=True, text=True).stdout
        number = re.search(r"\d+(\.\w+)+", told)
        return f"{cls.program} {number[0] if number else 'of an unknown version'}"

    @property
    def repository(self) -> Path:
        """Where the backups are."""
        return self.scratch / "repository"

    def command(self, *arguments: str | Path, cwd: Path | None = None) -> Command:
        """Return a command of this tool's program."""
        program = self.executable() or self.program
        return Command(
            (program, *map(str, arguments)), cwd or self.scratch, self.environment(), (0,)
        )

    def environment(self) -> dict[str, str]:
        """Return the variables that every command gets; nothing else is passed on."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.scratch),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
        }

    def reset(self) -> None:
        """Forget the repository and every cache."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)

    def create(self) -> Command | None:
        """Make an empty repository."""
        return None

    def backup(self) -> Command | None:
        """Back up the data directory; call this once for each backup that is run."""
        return None

    def restore(self, target: Path) -> Command | None:
        """Restore the latest backup into an empty folder."""
        return None

    def restore_user(self, user: str, target: Path) -> Command | None:
        """Restore one user's documents from the latest backup into an empty folder."""
        return None

    def restore_chat(self, user: str, history: str, chat: str, target: Path) -> Command | None:
        """Restore one chat into an empty folder, or the least that holds it: its history."""
        return None

    def restore_chat_in_place(self, user: str, history: str, chat: str) -> Command | None:
        """Put one chat back into the live history."""
        return None

    def erase(self, user: str) -> Command | None:
        """Make one user's data unreadable, live and in all backups."""
        return None

    def verify(self) -> Command | None:
        """Read every byte of the repository and check it."""
        return None

    def backup_of(self, moment: datetime) -> Command | None:
        """Back up as if it were that moment (UTC)."""
        return None

    def prune(self) -> tuple[Command, ...]:
        """Keep 30 days, 12 weeks, 12 months; give back the space of the rest, at once."""
        return ()

    def count(self) -> tuple[Command, str] | None:
        """List the backups; the text stands in the output once for each of them."""
        return None

    def validate(self) -> Command | None:
        """Check the documents of the data directory itself."""
        return None

    def catalog(self) -> Program | None:
        """Give the program that lists users and chats of the data directory, with a catalog."""
        return None

    def clean_up(self) -> Command | None:
        """Look for what expires in the data directory, where nothing does."""
        return None

    def export(self, file: Path) -> Command | None:
        """Write the data directory into one file, the guide's `export.json`."""
        return None

    def import_(self, file: Path, target: Path) -> Command | None:
        """Bring such a file into a new directory."""
        return None

    def compress(self, target: Path) -> Command | None:
        """Put `.json.gz` in the place of every history of another data directory."""
        return None

    def repository_bytes(self) -> int:
        """Return the size of the repository: the lengths of its files."""
        return sum(path.stat().st_size for path in self.repository.rglob("*") if path.is_file())


class Ours(Peer):
    """The program of this project."""

    name = OURS
    program = "shenyu-data"

    @classmethod
    def executable(cls) -> str | None:
        """Return the one installed beside this Python, or else the first on the PATH."""
        beside = Path(sys.executable).with_name(cls.program)
        return str(beside) if os.access(beside, os.X_OK) else shutil.which(cls.program)

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "SHENYU_DATA_PASSPHRASE": _PASSWORD}

    def create(self) -> Command:
        return self.command("init", "--data", self.data, "--repo", self.repository, "--json")

    def backup(self) -> Command:
        places = ("--data", self.data, "--repo", self.repository)
        return self.command("backup", *places, "--json", "--no-progress")

    def restore(self, target: Path) -> Command:
        return self.command(
            "restore", "latest", "--repo", self.repository, "--to", target, "--no-progress"
        )

    def restore_user(self, user: str, target: Path) -> Command:
        return self.command(
            *("restore", "latest", "--user", user, "--repo", self.repository, "--to", target),
            "--no-progress",
        )

    def restore_chat(self, user: str, history: str, chat: str, target: Path) -> Command:
        return self.command(*self._chat(user, history, chat), "--to", target)

    def restore_chat_in_place(self, user: str, history: str, chat: str) -> Command:
        places = ("--data", self.data, "--in-place", "--yes")
        return self.command(*self._chat(user, history, chat), *places)

    def _chat(self, user: str, history: str, chat: str) -> tuple[str | Path, ...]:
        what = ("--user", user, "--history", history, "--chat", chat)
        return ("restore", "latest", *what, "--repo", self.repository, "--no-progress")

    def erase(self, user: str) -> Command:
        places = ("--data", self.data, "--repo", self.repository)
        return self.command("erase-user", user, *places, "--yes", "--no-progress")

    def verify(self) -> Command:
        return self.command("verify", "--read-data", "--repo", self.repository, "--no-progress")

    def backup_of(self, moment: datetime) -> Command:
        time_ms = str(int(moment.timestamp() * 1000))
        module = (sys.executable, "-m", f"{__package__}.past")
        root = {"PYTHONPATH": str(Path(__file__).parents[1])}
        return Command(
            (*module, str(self.data), str(self.repository), time_ms),
            self.scratch,
            self.environment() | root,
        )

    def prune(self) -> tuple[Command, ...]:
        # What is not needed waits for a day, unless told otherwise: so it takes two.
        prune = ("prune", "--repo", self.repository, *_KEEP, "--yes", "--no-progress")
        return self.command(*prune), self.command(*prune, "--grace", "0h")

    def count(self) -> tuple[Command, str]:
        return self.command("snapshots", "--repo", self.repository, "--json"), '"parent":'

    def validate(self) -> Command:
        return self.command("validate", self.data, "--json", "--no-progress")

    def catalog(self) -> Program:
        state = self.scratch / ".local" / "state"
        state.mkdir(parents=True, exist_ok=True)
        return Program(self.data, state)

    def clean_up(self) -> Command:
        places = ("--data", self.data, "--repo", self.repository)
        return self.command("cleanup", "--older-than", "99y", *places, "--yes", "--no-progress")

    def export(self, file: Path) -> Command:
        command = self.command("export", file, "--format", "guide", "--data", self.data, "--quiet")
        return replace(command, statuses=(0, 1))  # it says that names of files are not carried

    def import_(self, file: Path, target: Path) -> Command:
        # The application is not running: nobody can write over what is made.
        return self.command("import", file, "--data", target, "--offline", "--yes", "--quiet")

    def compress(self, target: Path) -> Command:
        # The application is not running: what it reads may go, too.
        return self.command("compress", "--data", target, "--offline", "--yes", "--quiet")


class Restic(Peer):
    """Restic as it comes: encrypted, its own compression (repository version 2), warm cache."""

    name = "restic"
    program = "restic"
    version_argument = "version"

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "RESTIC_PASSWORD": _PASSWORD,
            "RESTIC_REPOSITORY": str(self.repository),
            "RESTIC_CACHE_DIR": str(self.scratch / "cache"),
        }

    def create(self) -> Command:
        return self.command("init", "--repository-version", "2")

    def backup(self) -> Command:
        return self.command("backup", "--quiet", ".", cwd=self.data)

    def restore(self, target: Path) -> Command:
        return self.command("restore", "latest", "--quiet", "--target", target)

    def restore_user(self, user: str, target: Path) -> Command:
        wanted = ("--include", f"/users/{user}.json", "--include", f"/histories/{user}")
        return self.command("restore", "latest", "--quiet", "--target", target, *wanted)

    def restore_chat(self, user: str, history: str, chat: str, target: Path) -> Command:
        wanted = ("--include", f"/histories/{user}/{history}.json")
        return self.command("restore", "latest", "--quiet", "--target", target, *wanted)

    def verify(self) -> Command:
        return self.command("check", "--quiet", "--read-data")

    def backup_of(self, moment: datetime) -> Command:
        time = moment.strftime("%Y-%m-%d %H:%M:%S")
        return self.command("backup", "--quiet", "--time", time, ".", cwd=self.data)

    def prune(self) -> tuple[Command, ...]:
        return (self.command("forget", "--quiet", "--prune", *_KEEP),)

    def count(self) -> tuple[Command, str]:
        return self.command("snapshots", "--json"), '"short_id":'


@dataclass
class Borg(Peer):
    """Borg, encrypted (repokey-blake2), with zstd 3; its default, lz4, packs less tightly."""

    name = "borg"
    program = "borg"
    _archives: int = field(default=0, init=False)

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "BORG_PASSPHRASE": _PASSWORD,
            "BORG_REPO": str(self.repository),
            "BORG_BASE_DIR": str(self.scratch / "base"),
        }

    def create(self) -> Command:
        return self.command("init", "--encryption", "repokey-blake2")

    def backup(self) -> Command:
        self._archives += 1
        archive = f"::{self._archives}"
        return self.command("create", "--compression", "zstd,3", archive, ".", cwd=self.data)

    def restore(self, target: Path) -> Command:
        return self.command("extract", f"::{self._archives}", cwd=target)

    def restore_user(self, user: str, target: Path) -> Command:
        wanted = (f"users/{user}.json", f"histories/{user}")
        return self.command("extract", f"::{self._archives}", *wanted, cwd=target)

    def restore_chat(self, user: str, history: str, chat: str, target: Path) -> Command:
        wanted = f"histories/{user}/{history}.json"
        return self.command("extract", f"::{self._archives}", wanted, cwd=target)

    def verify(self) -> Command:
        return self.command("check", "--verify-data")

    def backup_of(self, moment: datetime) -> Command:
        self._archives += 1
        dated = ("--compression", "zstd,3", "--timestamp", moment.strftime("%Y-%m-%dT%H:%M:%S"))
        return self.command("create", *dated, f"::{self._archives}", ".", cwd=self.data)

    def prune(self) -> tuple[Command, ...]:
        return self.command("prune", *_KEEP), self.command("compact")

    def count(self) -> tuple[Command, str]:
        return self.command("list", "--short"), "\n"


class _Tar(Peer):
    """An archive is written anew each time: no encryption, no increments, nothing synced."""

    incremental = False

    def reset(self) -> None:
        super().reset()
        self.repository.mkdir()


class TarGzip(_Tar):
    """What the guide's script does: `tar -czf`."""

    name = "tar -czf"
    program = "tar"

    def backup(self) -> Command:
        return self.command("-czf", self._archive, "-C", self.data, ".")

    def restore(self, target: Path) -> Command:
        return self.command("-xzf", self._archive, "-C", target)

    def restore_user(self, user: str, target: Path) -> Command:
        wanted = (f"./users/{user}.json", f"./histories/{user}")
        return self.command("-xzf", self._archive, "-C", target, *wanted)

    @property
    def _archive(self) -> Path:
        return self.repository / "data.tar.gz"


class TarZstd(_Tar):
    """`tar | zstd -3 -T0`: the floor."""

    name = "tar | zstd -3"
    program = "zstd"

    def backup(self) -> Command:
        return self._pipe('tar -cf - -C "$1" . | zstd -q -f -3 -T0 -o "$2"', self.data)

    def restore(self, target: Path) -> Command:
        return self._pipe('zstd -q -d -c "$2" | tar -xf - -C "$1"', target)

    def _pipe(self, script: str, folder: Path) -> Command:
        archive = self.repository / "data.tar.zst"
        return Command(
            ("bash", "-o", "pipefail", "-c", script, "bash", str(folder), str(archive)),
            self.scratch,
            self.environment(),
        )


class GuideScript(Peer):
    """The validation script of the project's migration guide, run by Node."""

    name = "the guide's script"
    program = "node"
    backs_up = False
    incremental = False

    def validate(self) -> Command:
        return self.command(GUIDE_SCRIPT, self.data)

    def clean_up(self) -> Command:
        return self.command(GUIDE_CLEANUP, self.data, "36500")

    def export(self, file: Path) -> Command:
        return self.command(GUIDE_SCRIPT.with_name("guide_export.js"), self.data, file)

    def import_(self, file: Path, target: Path) -> Command:
        return self.command(GUIDE_SCRIPT.with_name("guide_import.js"), file, target)

    def compress(self, target: Path) -> Command:
        return self.command(GUIDE_SCRIPT.with_name("guide_compress.js"), target)


PEERS: dict[str, type[Peer]] = {
    "restic": Restic,
    "borg": Borg,
    "tar": TarGzip,
    "tar-zstd": TarZstd,
    "guide": GuideScript,
    "ours": Ours,
}
