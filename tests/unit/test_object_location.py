"""Locations of object stores, and the credentials and endpoints found for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shenyu_data.model.errors import StorageError, UsageError
from shenyu_data.storage.cloud import endpoint_of, parse_place, refuses_to_overwrite, s3_settings
from shenyu_data.storage.cloud_errors import understand
from shenyu_data.storage.local import LocalStorage
from shenyu_data.storage.objectstore import ObjectStorage
from shenyu_data.storage.open import is_remote, open_storage, usual_cache
from shenyu_data.testing.s3 import S3Server


@pytest.mark.parametrize("location", ["/backup", "backup", "a:b", "./s3:/x", "C:/x"])
def test_what_is_no_url_is_a_folder(location: str) -> None:
    assert not is_remote(location)
    assert isinstance(open_storage(location), LocalStorage)


@pytest.mark.parametrize("location", ["s3://bucket/a/b", "gs://bucket", "az://box/x"])
def test_a_url_names_a_bucket_and_a_prefix(location: str) -> None:
    assert is_remote(location)
    assert str(parse_place(location + "/")) == location


@pytest.mark.parametrize(
    "location",
    ["s3://", "s3:///x", "s3://key:secret@bucket/x", "s3://b b/x", "s3://bucket/../x",
     "s3://bucket/a\nb", "s3://bucket/a?secret=1", "s3://bucket/ä"],
)  # fmt: skip
def test_a_malformed_location_is_refused_and_not_repeated(location: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_storage(location)
    assert "secret" not in caught.value.message


def test_an_unknown_kind_of_storage_is_refused() -> None:
    with pytest.raises(UsageError, match="ftp://"):
        open_storage("ftp://host/x")


def test_a_missing_library_is_named_with_what_to_install() -> None:
    code = (
        "import sys; sys.modules['obstore'] = None\n"
        "from shenyu_data.storage.open import open_storage\n"
        "from shenyu_data.model.errors import UsageError\n"
        "try: open_storage('s3://bucket/x')\n"
        "except UsageError as error: print(error.hint)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert said == b"pip install 'shenyu-data[cloud]'\n"


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text(
        "[default]\nregion = eu-central-1\n"
        "[profile nas]\nregion = home\nendpoint_url = http://nas:9000\n"
        "[profile role]\nrole_arn = arn:x\nsource_profile = default\n"
    )
    (tmp_path / ".aws/credentials").write_text(
        "[default]\naws_access_key_id = D\naws_secret_access_key = DS%\n"
        "[nas]\naws_access_key_id = N\naws_secret_access_key = NS\naws_session_token = T\n"
    )
    return {"HOME": str(tmp_path)}


def test_the_default_profile_gives_keys_and_region(home: dict[str, str]) -> None:
    found = s3_settings(home)
    assert found == {"region": "eu-central-1", "access_key_id": "D", "secret_access_key": "DS%"}


def test_a_named_profile_gives_its_endpoint_too(home: dict[str, str]) -> None:
    found = s3_settings({**home, "AWS_PROFILE": "nas"})
    assert (found["endpoint"], found["token"]) == ("http://nas:9000", "T")
    place = parse_place("s3://bucket")
    assert not refuses_to_overwrite(place, {**home, "AWS_PROFILE": "nas"})
    assert refuses_to_overwrite(place, home)
    assert endpoint_of(parse_place("gs://bucket"), {**home, "AWS_PROFILE": "nas"}) == ""


def test_the_environment_beats_the_profile(home: dict[str, str]) -> None:
    given = {"AWS_ACCESS_KEY_ID": "E", "AWS_REGION": "r", "AWS_ENDPOINT_URL": "https://e"}
    assert s3_settings({**home, **given}) == {"region": "r", "endpoint": "https://e"}


@pytest.mark.parametrize("profile", ["role", "nobody"])
def test_a_profile_without_keys_of_its_own_is_refused(home: dict[str, str], profile: str) -> None:
    with pytest.raises(UsageError, match=profile) as caught:
        s3_settings({**home, "AWS_PROFILE": profile})
    assert caught.value.hint


def test_a_broken_profile_file_is_named_without_its_text(home: dict[str, str]) -> None:
    Path(home["HOME"], ".aws/credentials").write_text("[default\naws_secret_access_key = SECRET")
    with pytest.raises(UsageError, match="credentials") as caught:
        s3_settings(home)
    assert "SECRET" not in str(caught.value) + caught.value.hint


def test_wrong_credentials_and_a_missing_bucket_are_told_with_what_to_do(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StorageError, match="NoSuchBucket") as missing:
        list(ObjectStorage("s3://nobucket/x").list(""))
    assert "bucket" in missing.value.hint
    with pytest.raises(StorageError, match="NoSuchBucket"):
        ObjectStorage("s3://nobucket/x").read("packs/a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "WRONG-SECRET")
    with pytest.raises(StorageError, match="403") as refused:
        list(ObjectStorage(s3.fresh()).list(""))
    assert "credentials" in refused.value.hint
    assert "WRONG-SECRET" not in str(refused.value)


def test_tokens_in_a_servers_answer_are_not_repeated() -> None:
    text = (
        "Server returned non-2xx status code: 403 Forbidden: <Error><Code>SignatureDoesNotMatch"
        "</Code><CanonicalRequest>x-amz-security-token:TOKEN</CanonicalRequest></Error>"
    )
    trouble = understand(ValueError(text))
    assert trouble.reason == "the server answered 403 SignatureDoesNotMatch"
    assert "TOKEN" not in str(trouble)
    assert not trouble.passing


def test_what_a_library_says_of_reading_at_the_end_is_understood() -> None:
    """Of Azure it is the library that complains, as the service answers with no bytes."""
    trouble = understand(ValueError("source: StartTooLarge { requested: 100, length: 100 }"))
    assert trouble.past_end
    assert understand(ValueError("non-2xx status code: 416")).past_end
    assert not understand(ValueError("non-2xx status code: 404")).past_end


def test_the_cache_lies_where_caches_lie(tmp_path: Path) -> None:
    assert usual_cache({"HOME": str(tmp_path)}) == str(tmp_path / ".cache/shenyu-data")
    assert usual_cache({"HOME": "/x", "XDG_CACHE_HOME": "/c"}) == "/c/shenyu-data"
    assert usual_cache({}) == "/var/cache/shenyu-data"
