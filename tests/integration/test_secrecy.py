"""Who holds the repository but no key learns nothing of anybody: searched for, byte by byte."""

import base64
import gzip
import logging
import os
import stat
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard

from shenyu_data.model.errors import ShenyuDataError
from shenyu_data.repository.compression import load_dictionary
from shenyu_data.repository.repository import Repository, create_repository, open_repository
from shenyu_data.storage.local import LocalStorage
from shenyu_data.testing.application import Application, chat, settle
from shenyu_data.testing.damage import truncate
from shenyu_data.testing.scenario import look, take

USER = "5f0c1de2" * 8
PLAIN_USER = "margarethe-von-der-tann"
KEY = "sn43-history"
SECRET = "geheimes-passwort-7391"
TAG = "vor-dem-grossen-umzug"
WORDS = (
    USER,
    PLAIN_USER,
    KEY,
    "chat-history",
    "geburtstagsgeschenk",
    "风雨夜行之秘密",
    "vertraulich.bin",
    "notizen-des-betreibers",
    TAG,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A repository and data directory with known words in every place, and the recovery key."""
    base = tmp_path_factory.mktemp("verborgener-ort")
    data = Application(base / "verborgene-daten")
    repository = base / "repository"
    said = chat(1, about="geburtstagsgeschenk 风雨夜行之秘密")
    data.add_user(USER, [said, chat(2)])
    data.add_user(PLAIN_USER, [said], key=KEY)
    data.write(f"histories/{PLAIN_USER}/vertraulich.bin", os.urandom(40) + b"geburtstagsgeschenk")
    data.write("notizen-des-betreibers.txt", "风雨夜行之秘密".encode() * 50)
    done = program("init", folder=base, data=data.folder, repo=repository, secret=SECRET)
    assert done.returncode == 0, done.stderr
    recovery_key = next(
        line.strip() for line in done.stdout.splitlines() if line.strip().startswith("SHENYU-")
    )
    for full in (True, False):
        settle(data.folder)
        arguments = ["backup", *(["--full"] if full else []), "--tag", TAG]
        done = program(*arguments, folder=base, data=data.folder, repo=repository, secret=SECRET)
        assert done.returncode == 0, done.stderr
        data.prepend_chat(USER, said)
    return data.folder, repository, recovery_key


def program(
    verb: str, *more: str, folder: Path, data: Path, repo: Path, secret: str
) -> subprocess.CompletedProcess[str]:
    flags = ["--config", str(folder / "config.toml"), "--data", str(data), "--repo", str(repo)]
    if verb != "init" and not (folder / "config.toml").exists():
        flags = flags[2:]
    return subprocess.run(
        [sys.executable, "-m", "shenyu_data.cli.main", verb, *more, *flags],
        env={**os.environ, "SHENYU_DATA_PASSPHRASE": secret},
        capture_output=True,
        text=True,
        check=False,
    )


def disguises(word: bytes) -> Iterator[bytes]:
    """Give the ways in which a word might stand somewhere."""
    yield word
    yield word[::-1]
    yield word.upper()
    yield word.hex().encode()
    yield word.hex().upper().encode()
    yield base64.b32encode(word).rstrip(b"=")
    for shift in range(3):  # in base64 a word looks different at each of three positions
        encoded = base64.b64encode(bytes(shift) + word)[4 if shift else 0 : -4]
        yield encoded
        yield encoded.translate(bytes.maketrans(b"+/", b"-_"))
    try:
        yield bytes.fromhex(word.decode())
    except ValueError:
        yield word.decode().encode("utf-16-le")


def unpacked(data: bytes) -> Iterator[bytes]:
    """Give the bytes themselves, and whatever some part of them unpacks to."""
    yield data
    dictionary = zstandard.ZstdCompressionDict(
        load_dictionary(), dict_type=zstandard.DICT_TYPE_RAWCONTENT
    )
    for magic, unpack in (
        (zstandard.FRAME_HEADER, lambda part: zstandard.ZstdDecompressor().decompressobj()),
        (
            zstandard.FRAME_HEADER,
            lambda part: zstandard.ZstdDecompressor(dict_data=dictionary).decompressobj(),
        ),
        (b"\x1f\x8b", lambda part: zlib.decompressobj(wbits=31)),
        (b"\x78", lambda part: zlib.decompressobj()),
    ):
        start = data.find(magic)
        while start >= 0:
            part = data[start:]
            with suppress(zlib.error, zstandard.ZstdError):
                yield unpack(part).decompress(part)
            start = data.find(magic, start + 1)


def check_silent(
    where: str, data: bytes, words: Iterator[str] | tuple[str, ...] | list[str]
) -> None:
    hidden = [(word, disguise) for word in words for disguise in disguises(word.encode())]
    for content in unpacked(data):
        for word, disguise in hidden:
            if len(disguise) > 5:  # shorter ones turn up by chance
                assert disguise not in content, f"{where} holds {word}"


def test_the_search_finds_what_there_is() -> None:
    dictionary = zstandard.ZstdCompressionDict(
        load_dictionary(), dict_type=zstandard.DICT_TYPE_RAWCONTENT
    )
    word = PLAIN_USER.encode()
    for hidden in (
        word,
        b"xx" + base64.b64encode(b"yy" + word + b"zz"),
        word.hex().encode(),
        b"xx" + zstandard.ZstdCompressor().compress(b"yy" + word),
        b"xx" + zstandard.ZstdCompressor(dict_data=dictionary).compress(b"yy" + word),
        b"xx" + gzip.compress(b"yy" + word),
        b"xx" + zlib.compress(b"yy" + word),
    ):
        with pytest.raises(AssertionError, match=PLAIN_USER):
            check_silent("it", hidden, (PLAIN_USER,))


def test_no_object_holds_anything_of_anybody(place: tuple[Path, Path, str]) -> None:
    data, repository, recovery_key = place
    words = [*WORDS, str(data), data.name, data.parent.name, SECRET, recovery_key]
    words.append(recovery_key.replace("-", ""))
    files = [path for path in repository.rglob("*") if path.is_file()]
    assert len(files) > 8
    for path in files:
        if path.name != "dictionary-1":  # it ships with the program: every repository has the same
            check_silent(str(path.relative_to(repository)), path.read_bytes(), words)
        else:
            assert path.read_bytes() == load_dictionary()


def test_no_name_of_an_object_says_anything(place: tuple[Path, Path, str]) -> None:
    _, repository, _ = place
    listing = "\n".join(str(path.relative_to(repository)) for path in repository.rglob("*"))
    check_silent("a name", listing.encode(), WORDS)


def test_objects_are_for_their_owner_alone(place: tuple[Path, Path, str]) -> None:
    _, repository, _ = place
    for path in (repository, *repository.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_the_same_documents_never_look_the_same_twice(tmp_path: Path) -> None:
    """Two users with the same chat, and two repositories of the same directory, share no bytes."""
    said = [chat(1, messages=50)]
    data = Application(tmp_path / "data")
    data.add_user("one", said)
    data.add_user("two", said)
    seen: set[bytes] = set()
    for number in range(2):
        storage = LocalStorage(str(tmp_path / f"repository{number}"))
        storage.create()
        repository, _ = create_repository(storage, SECRET)
        take(repository, data)
        for info in storage.list(""):
            if info.name.partition("/")[0] in ("packs", "manifests"):
                content = storage.read(info.name)[8:]
                pieces = {content[at : at + 16] for at in range(0, len(content) - 16)}
                assert not pieces & seen
                seen |= pieces


def test_secrets_and_users_are_in_no_error_and_no_log(
    place: tuple[Path, Path, str], caplog: pytest.LogCaptureFixture
) -> None:
    data, repository, recovery_key = place
    caplog.set_level(logging.DEBUG)
    wrong = "falsches-passwort-1234"
    said = []
    mistyped = recovery_key[:-1] + ("B" if recovery_key.endswith("A") else "A")
    for secret in (wrong, mistyped, recovery_key.lower() + "x"):
        with pytest.raises(ShenyuDataError) as raised:
            open_repository(LocalStorage(str(repository)), secret)
        said += [str(raised.value), raised.value.hint, repr(raised.value)]
        assert secret not in "".join(said)
    opened = open_repository(LocalStorage(str(repository)), SECRET)
    assert isinstance(opened, Repository)
    said += [repr(opened), repr(opened.keys), str(opened.keys)]
    text = "\n".join(said) + caplog.text
    check_silent("an error", text.encode(), [SECRET, recovery_key, wrong])
    assert opened.keys.master.hex() not in text
    for verb in (["verify"], ["snapshots", "--verbose"], ["show", "latest", "--verbose"]):
        done = program(*verb, folder=data.parent, data=data, repo=repository, secret=wrong)
        assert done.returncode == 4
        check_silent(str(verb), (done.stdout + done.stderr).encode(), [SECRET, wrong, recovery_key])
        done = program(*verb, folder=data.parent, data=data, repo=repository, secret=SECRET)
        assert done.returncode == 0
        check_silent(str(verb), (done.stdout + done.stderr).encode(), [SECRET, recovery_key])


def test_what_verify_says_of_damage_holds_no_key(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path / "repository"))
    storage.create()
    repository, recovery_key = create_repository(storage, SECRET)
    data = Application(tmp_path / "data")
    data.add_user(PLAIN_USER, [chat(1, about="geburtstagsgeschenk")])
    take(repository, data)
    for info in list(storage.list("")):
        truncate(info.name, info.size // 2).apply(storage)
    said = "\n".join(
        f"{item.path} {item.message} {item.hint}" for item in look(repository).findings
    )
    assert said
    check_silent("verify", said.encode(), [SECRET, recovery_key, "geburtstagsgeschenk"])
    assert repository.keys.master.hex() not in said


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
def test_the_passphrase_is_in_no_process_title(place: tuple[Path, Path, str]) -> None:
    data, repository, _ = place
    flags = ["--data", str(data), "--repo", str(repository), "--jobs", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "shenyu_data.cli.main", "backup", "--full", *flags],
        env={**os.environ, "SHENYU_DATA_PASSPHRASE": SECRET},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    seen = 0
    while process.poll() is None:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
                    if int(fields[3]) != process.pid:
                        continue
                    for name in ("cmdline", "comm", "status"):
                        assert SECRET.encode() not in (entry / name).read_bytes()
                    seen += 1
                except OSError:
                    continue  # it has ended
    assert process.wait() == 0
    assert seen
