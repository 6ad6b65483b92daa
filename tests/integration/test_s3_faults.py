"""An object store over a bad line: every operation succeeds or fails cleanly, never wrongly."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shenyu_data.model.errors import (
    ObjectExists,
    ObjectMissing,
    ShenyuDataError,
    StorageError,
)
from shenyu_data.repository.repository import Repository, create_repository
from shenyu_data.storage.cloud import Patience
from shenyu_data.storage.objectstore import ObjectStorage
from shenyu_data.storage.throttle import Throttle
from shenyu_data.testing.application import Application, chat
from shenyu_data.testing.proxy import FAULTS, Fault, Plan, one_fault, seeded_plan
from shenyu_data.testing.s3 import S3Server
from shenyu_data.testing.scenario import PASSPHRASE, check_whole, look, take

PATIENT = Patience(connect_s=2, stall_s=1, request_s=2, retry_s=20)
HASTY = Patience(connect_s=1, stall_s=1, request_s=1, retry_s=0.5)
DATA = os.urandom(300_000)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_is_not_noticed(s3: S3Server, fault: Fault) -> None:
    storage = ObjectStorage(s3.fresh(), PATIENT)
    for method in ("PUT", "HEAD"):
        s3.proxy.forget(one_fault(fault, method))
        assert storage.put(f"packs/{method.lower()}", [DATA]) == len(DATA)
        assert s3.proxy.faults
    s3.proxy.forget(one_fault(fault, "GET"))
    assert storage.read("packs/put", 1000, 200_000) == DATA[1000:201_000]
    s3.proxy.forget(one_fault(fault, "GET", "list-type"))
    assert len(list(storage.list("packs"))) == 2
    assert storage.read("packs/head") == DATA
    s3.proxy.forget(one_fault(fault, "DELETE"))
    storage.delete("packs/put")
    assert [info.name for info in storage.list("")] == ["packs/head"]


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "slow"])
def test_a_fault_that_stays_is_told_cleanly(s3: S3Server, fault: Fault) -> None:
    location = s3.fresh()
    ObjectStorage(location, PATIENT).put("packs/a", [DATA])
    storage = ObjectStorage(location, HASTY)
    s3.proxy.forget(lambda request: fault)
    failures = 0
    for call in (
        lambda: storage.put("packs/b", [DATA]),
        lambda: storage.read("packs/a"),
        lambda: list(storage.list("")),
        lambda: storage.delete("packs/a"),
    ):
        try:
            call()
        except StorageError as error:
            failures += 1
            assert location in error.message
            assert error.hint
            assert s3.secret not in error.message + error.hint
        except ObjectMissing:  # the deletion was done, and its answer lost
            assert fault in ("lost", "cut answer")
    assert failures >= 2


def test_an_upload_whose_answer_was_lost_is_there_once(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = ObjectStorage(s3.fresh(), PATIENT)
    s3.proxy.forget(one_fault("lost", "PUT", times=3))
    assert storage.put("packs/a", [DATA]) == len(DATA)
    assert storage.read("packs/a") == DATA
    with pytest.raises(ObjectExists):
        storage.put("packs/a", [DATA])


@pytest.mark.parametrize("seed", range(3))
def test_backup_verify_and_restore_over_a_bad_line(s3: S3Server, tmp_path: Path, seed: int) -> None:
    data = Application(tmp_path / "data")
    for number in range(12):
        data.add_user(f"user{number}", [chat(number), chat(100 + number)])
    storage = ObjectStorage(s3.fresh(), PATIENT)
    repository, _ = create_repository(storage, PASSPHRASE)
    # "hang" and "slow" only cost time here; each is tried above.
    s3.proxy.forget(
        seeded_plan(seed, 0.1, [fault for fault in FAULTS if fault not in ("hang", "slow")])
    )
    first = take(repository, data)
    data.prepend_chat("user3", chat(900))
    second = take(repository, data)
    assert look(repository).errors == {}
    for taken in (first, second):
        check_whole(repository, taken)
    assert s3.proxy.faults


def fails_from(number: int) -> Plan:
    return lambda request: "error" if request.number >= number else None


def test_a_line_that_stays_broken_ends_a_backup_and_harms_nothing(
    s3: S3Server, tmp_path: Path
) -> None:
    location = s3.fresh()
    data = Application(tmp_path / "data")
    data.add_user("anna", [chat(1)])
    repository, _ = create_repository(ObjectStorage(location, PATIENT), PASSPHRASE)
    first = take(repository, data)
    data.prepend_chat("anna", chat(2))
    hasty = Repository(ObjectStorage(location, HASTY), repository.keys)
    for after in (0, 4, 8, 12):
        s3.proxy.forget(fails_from(after))
        with pytest.raises(ShenyuDataError):
            take(hasty, data)
    s3.proxy.forget()
    check_whole(repository, first)
    check_whole(repository, take(repository, data))
    assert look(repository).errors == {}


def test_an_upload_that_is_killed_leaves_no_object(s3: S3Server, tmp_path: Path) -> None:
    location = s3.fresh()
    code = (
        "import sys; from shenyu_data.storage.objectstore import ObjectStorage\n"
        "from shenyu_data.storage.throttle import Throttle\n"
        f"storage = ObjectStorage({location!r}, upload=Throttle(8_000_000))\n"
        "storage.put('packs/first', [b'x']); print('begun', flush=True)\n"
        "storage.put('packs/killed', [bytes(80_000_000)])"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        deadline = time.monotonic() + 240
        while not any(item.method == "PUT" and "killed" in item.path for item in s3.proxy.requests):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert [info.name for info in ObjectStorage(location).list("")] == ["packs/first"]


def test_a_large_object_goes_up_in_parts_with_and_without_a_limit(s3: S3Server) -> None:
    location = s3.fresh()
    data = os.urandom(1 << 20) * 65
    for number, upload in enumerate((None, Throttle(10**9))):
        storage = ObjectStorage(location, upload=upload)
        s3.proxy.forget()
        assert storage.put(f"packs/{number}", [data[:5], data[5:]]) == len(data)
        assert sum(item.method == "PUT" for item in s3.proxy.requests) >= 5
        assert storage.read(f"packs/{number}") == data
        with pytest.raises(ObjectExists):
            storage.put(f"packs/{number}", [data])


def _use(location: str) -> None:
    try:
        list(ObjectStorage(location).list(""))
    except StorageError as error:
        os._exit(7 if "forked process" in error.message else 8)


def test_a_forked_process_is_refused_instead_of_hanging(s3: S3Server) -> None:
    location = s3.fresh()
    assert list(ObjectStorage(location).list("")) == []
    forked = multiprocessing.get_context("fork").Process(target=_use, args=(location,))
    forked.start()
    forked.join(240)
    assert forked.exitcode == 7
    assert list(ObjectStorage(location).list("")) == []
