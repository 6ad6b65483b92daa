"""Old versions of objects in a bucket of S3: what remains of what was deleted, and removing it.

The object store library lists, reads and deletes only what is current, so these few requests are
made and signed here (AWS Signature Version 4). Only with keys that stand in the environment or in
a profile: the library keeps those of roles and machines to itself.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import datetime
from http.client import HTTPException, HTTPMessage
from typing import NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit
from xml.etree import ElementTree

from shenyu_data.storage.cloud import Patience, Place, s3_settings
from shenyu_data.storage.protocol import OldVersions

_MAX_ANSWER_BYTES = 16 << 20
_DAY_S = 86400
_DAYS = re.compile(r"[0-9]{1,6}", re.ASCII)
_WAITS_S = (0.5, 2.0, 5.0)
_NOTHING_SHA256 = hashlib.sha256(b"").hexdigest()


class Refused(Exception):
    """The service did not do it: ``status`` is its answer, None without one."""

    def __init__(self, status: int | None) -> None:
        super().__init__(status)
        self.status = status


class Version(NamedTuple):
    """One version of an object: ``key`` with the prefix; a ``marker`` says that it was deleted."""

    key: str
    id: str
    latest: bool
    marker: bool


class VersionedBucket:
    """The versions in a bucket. Every method raises Refused if the service does not do it."""

    def __init__(self, place: Place, patience: Patience, settings: Mapping[str, str]) -> None:
        self._place = place
        self._patience = patience
        self._settings = settings
        region = settings.get("region", "us-east-1")
        endpoint = settings.get("endpoint") or f"https://s3.{region}.amazonaws.com"
        self._base = endpoint.rstrip("/")
        self._region = region

    def versions(self, name: str) -> Iterator[Version]:
        """Yield the versions of all objects whose names begin so."""
        more = {"prefix": self._key(name)}
        while True:
            answer = self._ask_xml({"versions": "", "encoding-type": "url", **more})
            for item in answer:
                if item.tag in ("Version", "DeleteMarker"):
                    yield Version(
                        unquote(item.findtext("Key", "")),
                        item.findtext("VersionId", ""),
                        item.findtext("IsLatest") == "true",
                        item.tag == "DeleteMarker",
                    )
            if answer.findtext("IsTruncated") != "true":
                return
            after = {
                "key-marker": unquote(answer.findtext("NextKeyMarker", "")),
                "version-id-marker": answer.findtext("NextVersionIdMarker", ""),
            }
            if after.items() <= more.items() or not after["key-marker"]:
                raise Refused(None)  # the same page would come again and again
            more |= after

    def destroy(self, name: str) -> None:
        """Delete every version of one object, so that nothing of it remains."""
        for version in list(self.versions(name)):
            if version.key == self._key(name):
                self._ask("DELETE", version.key, {"versionId": version.id})

    def old(self, folder: str) -> OldVersions:
        """Return what remains of the objects of a folder that were deleted."""
        found = [item for item in self.versions(f"{folder}/") if not (item.latest or item.marker)]
        if not found:
            return OldVersions(0)
        locked_s: float | None = None
        held = False
        may_lock = self._may_lock()
        for version in found:
            head = self._ask("HEAD", version.key, {"versionId": version.id})[0]
            held |= head.get("x-amz-object-lock-legal-hold") == "ON"
            until = head.get("x-amz-object-lock-retain-until-date")
            if until is not None:
                until_s = _moment(until)
                if until_s is None:
                    held = True  # it is locked, and nobody can say until when
                    continue
                locked_s = max(locked_s or until_s, until_s)
            elif may_lock:
                held = True  # or is not locked: without s3:GetObjectRetention it is not told
        days = self._days_kept(self._key(f"{folder}/"))
        return OldVersions(len(found), held, locked_s, None if days is None else _after(days))

    def _may_lock(self) -> bool:
        try:
            self._ask("GET", "", {"object-lock": ""})
        except Refused as refused:
            return refused.status not in (
                400,
                404,
                501,
            )  # the bucket, or the server, knows no locks
        return True

    def _days_kept(self, prefix: str) -> int | None:
        """Return after how many days lifecycle rules remove the old versions under a prefix."""
        try:
            rules = self._ask_xml({"lifecycle": ""})
        except Refused:
            return None  # there are none, or they may not be seen
        kept = [_days(rule, prefix) for rule in rules.findall("Rule")]
        return min((days for days in kept if days is not None), default=None)

    def _key(self, name: str) -> str:
        return f"{self._place.prefix}/{name}" if self._place.prefix else name

    def _ask_xml(self, query: dict[str, str]) -> ElementTree.Element:
        body = self._ask("GET", "", query)[1]
        try:  # the parser itself bounds what entities may grow to
            parsed = ElementTree.fromstring(body)  # noqa: S314
        except ElementTree.ParseError:
            raise Refused(None) from None
        for element in parsed.iter():
            element.tag = element.tag.rpartition("}")[2]
        return parsed

    def _ask(self, method: str, key: str, query: dict[str, str]) -> tuple[HTTPMessage, bytes]:
        path = "/".join(filter(None, ("", self._place.bucket, key)))
        path = urlsplit(self._base).path + quote(f"/{path.lstrip('/')}", safe="/-_.~")
        asked = "&".join(
            f"{quote(name, safe='-_.~')}={quote(query[name], safe='-_.~')}"
            for name in sorted(query)
        )
        parts = urlsplit(self._base)
        for wait_s in (*_WAITS_S, None):
            try:
                return self._ask_once(method, parts, path, asked)
            except Refused as refused:
                if wait_s is None or (refused.status is not None and refused.status < 500):
                    raise
                time.sleep(wait_s)
        raise AssertionError

    def _ask_once(
        self, method: str, parts: SplitResult, path: str, asked: str
    ) -> tuple[HTTPMessage, bytes]:
        request = urllib.request.Request(  # noqa: S310 - versions_of looks at the scheme
            f"{parts.scheme}://{parts.netloc}{path}?{asked}",
            method=method,
            headers=self._signed(method, parts.netloc, path, asked),
        )
        try:
            with urllib.request.urlopen(request, timeout=self._patience.stall_s) as answer:  # noqa: S310
                body = answer.read(_MAX_ANSWER_BYTES)
                return answer.headers, body
        except urllib.error.HTTPError as error:
            error.close()
            raise Refused(error.code) from None
        except (OSError, HTTPException):
            raise Refused(None) from None

    def _signed(self, method: str, host: str, path: str, asked: str) -> dict[str, str]:
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        headers = {"host": host, "x-amz-content-sha256": _NOTHING_SHA256, "x-amz-date": now}
        if token := self._settings.get("token"):
            headers["x-amz-security-token"] = token
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        canonical = "\n".join((method, path, asked, lines, names, _NOTHING_SHA256))
        scope = f"{now[:8]}/{self._region}/s3/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        key = f"AWS4{self._settings['secret_access_key']}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(
            key, f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{digest}".encode(), "sha256"
        ).hex()
        who = f"Credential={self._settings['access_key_id']}/{scope}"
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 {who}, SignedHeaders={names}, Signature={signature}"
        )
        return headers


def versions_of(
    place: Place, patience: Patience, environment: Mapping[str, str]
) -> VersionedBucket | None:
    """Return the versions in a bucket, or None if they cannot be asked for: it is not of S3, or
    the keys are not at hand.
    """
    if place.scheme != "s3":
        return None
    settings = s3_settings(environment)
    for name in ("access_key_id", "secret_access_key"):
        settings.setdefault(name, environment.get(f"AWS_{name.upper()}", ""))
    settings.setdefault("token", environment.get("AWS_SESSION_TOKEN", ""))
    if environment.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "").lower() in ("true", "1"):
        return None  # where the bucket's name then belongs is the library's affair
    endpoint = settings.get("endpoint", "https://")
    if not (settings["secret_access_key"] and endpoint.startswith(("http://", "https://"))):
        return None
    return VersionedBucket(place, patience, settings)


def _days(rule: ElementTree.Element, prefix: str) -> int | None:
    """Return after how many days a rule removes every old version under a prefix, else None."""
    expiration = rule.find("NoncurrentVersionExpiration")
    if expiration is None or rule.findtext("Status") != "Enabled":
        return None
    if expiration.find("NewerNoncurrentVersions") is not None:
        return None
    scope = rule.find("Filter")
    if scope is not None and any(item.tag != "Prefix" for item in scope):
        return None  # only some of the objects
    own = rule.findtext("Prefix") or (scope.findtext("Prefix") if scope is not None else None)
    days = expiration.findtext("NoncurrentDays", "")
    return int(days) if _DAYS.fullmatch(days) and prefix.startswith(own or "") else None


def _moment(text: str) -> float | None:
    """Return the moment that a service states, in seconds since 1970; None if it is none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None


def _after(days: int) -> float:
    """Return when what is deleted now is removed by a rule of so many days: services round up to
    the next midnight UTC.
    """
    return (time.time() // _DAY_S + days + 1) * _DAY_S
