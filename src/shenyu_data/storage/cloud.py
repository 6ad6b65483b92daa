"""Opening a bucket with the credentials, region and endpoint that the ecosystem's variables and
files name. For objectstore.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from shenyu_data.model.errors import UsageError
from shenyu_data.storage.profiles import read_profile

if TYPE_CHECKING:
    from obstore.store import AzureStore, ClientConfig, GCSStore, RetryConfig, S3Store

    Bucket = S3Store | GCSStore | AzureStore

_LOCATION = re.compile(r"(s3|gs|az)://([A-Za-z0-9][A-Za-z0-9._-]+)(?:/(.*))?", re.DOTALL)
_PREFIX_PART = re.compile(r"[A-Za-z0-9._=+@-]+")


class Place(NamedTuple):
    """A location taken apart: which service, the bucket (or container), and the prefix in it."""

    scheme: Literal["s3", "gs", "az"]
    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


class Patience(NamedTuple):
    """How long to wait, in seconds.

    ``connect_s`` for a connection; ``stall_s`` for the next byte of an answer; ``request_s`` for
    one request as a whole (16 MB in 10 minutes is 27 kB/s); ``retry_s`` until an operation that
    keeps failing is given up.
    """

    connect_s: float = 10.0
    stall_s: float = 60.0
    request_s: float = 600.0
    retry_s: float = 120.0


def parse_place(location: str) -> Place:
    """Take a location such as ``s3://bucket/prefix`` apart. Raise UsageError if it is malformed."""
    match = _LOCATION.fullmatch(location)
    parts = [part for part in (match[3] or "").split("/") if part] if match else []
    if match is None or any(
        part in (".", "..") or not _PREFIX_PART.fullmatch(part) for part in parts
    ):
        # The location is not repeated: someone may have put a password into it.
        raise UsageError(
            "the repository's location is not of the form s3://BUCKET/PREFIX",
            hint="Letters, digits and ._=+@- make a prefix. Credentials never go into a location: "
            "see docs/storage.md.",
        )
    return Place(cast(Literal["s3", "gs", "az"], match[1]), match[2], "/".join(parts))


def open_bucket(
    place: Place, patience: Patience, environment: Mapping[str, str], *, reading: bool
) -> Bucket:
    """Return the library's handle on a bucket, for reading or for writing; nothing is asked yet.

    Raise UsageError if what the environment says cannot be used.
    """
    from obstore.exceptions import BaseError
    from obstore.store import AzureStore, GCSStore, S3Store

    endpoint = endpoint_of(place, environment)
    options: ClientConfig = {
        "connect_timeout": timedelta(seconds=patience.connect_s),
        "timeout": timedelta(seconds=patience.request_s),
        "allow_http": endpoint.startswith("http://")
        or environment.get("AWS_ALLOW_HTTP", "").lower() in ("true", "1"),
    }
    if reading:  # for a request that sends much, the library would count the sending as a stall
        options["read_timeout"] = timedelta(seconds=patience.stall_s)
    # A few quick tries of single requests; the long patience is objectstore.py's.
    retry: RetryConfig = {"max_retries": 2, "retry_timeout": timedelta(seconds=patience.request_s)}
    common: Any = {
        "prefix": place.prefix or None,
        "client_options": options,
        "retry_config": retry,
    }
    try:
        if place.scheme == "gs":
            return GCSStore(place.bucket, **common)
        if place.scheme == "az":
            return AzureStore(place.bucket, **common)
        config: Any = s3_settings(environment)
        if not environment.get("AWS_CHECKSUM_ALGORITHM"):
            config["checksum_algorithm"] = "sha256"  # buckets that lock objects ask for one
        return S3Store(place.bucket, config=config, **common)
    except (BaseError, ValueError) as error:
        raise UsageError(
            f"cannot open {place}: {type(error).__name__}",  # its text may hold a credential
            hint="Check the variables of the environment that docs/storage.md names.",
        ) from None


def s3_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what has to be told to the library, which reads AWS_… variables itself: what the
    profile says, and what of it the environment says otherwise.
    """
    given = environment.get
    settings = read_profile(environment)
    if given("AWS_ACCESS_KEY_ID") or given("AWS_WEB_IDENTITY_TOKEN_FILE"):
        for name in ("access_key_id", "secret_access_key", "token"):
            settings.pop(name, None)
    region = given("AWS_REGION") or given("AWS_DEFAULT_REGION")
    endpoint = given("AWS_ENDPOINT_URL_S3") or given("AWS_ENDPOINT_URL") or given("AWS_ENDPOINT")
    if region:
        settings["region"] = region
    if endpoint:
        settings["endpoint"] = endpoint
    return settings


def endpoint_of(place: Place, environment: Mapping[str, str]) -> str:
    """Return the URL that was set for the service, or "" for its usual one."""
    if place.scheme == "s3":
        return s3_settings(environment).get("endpoint", "")
    variable = {"gs": "GOOGLE_BASE_URL", "az": "AZURE_STORAGE_ENDPOINT"}[place.scheme]
    return environment.get(variable, "")


def refuses_to_overwrite(place: Place, environment: Mapping[str, str]) -> bool:
    """Whether the service is known to refuse to overwrite an object if asked to.

    Amazon, Google and Azure do; some servers that speak S3 pass over the condition and overwrite.
    """
    host = endpoint_of(place, environment).rstrip("/").partition("://")[2]
    return place.scheme != "s3" or not host or host.endswith(".amazonaws.com")
