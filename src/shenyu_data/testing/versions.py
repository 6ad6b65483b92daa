"""A small server of S3's protocol that keeps old versions, locks them and holds them, for tests.

``rclone serve s3`` knows no versions. What is answered here was written after the documentation of
S3 and what SeaweedFS 4.48 answered; signatures are not looked at.
"""

from __future__ import annotations

import http.server
import itertools
import re
import threading
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit


@dataclass
class Kept:
    """One version of an object; ``data`` is None for a marker that it was deleted."""

    key: str
    id: str
    data: bytes | None
    locked_until: str | None = None
    held: bool = False


class VersioningServer:
    """Keeps every version of the objects of its one bucket, ``kept``, oldest first.

    What is put is locked until ``lock_until``, if set; ``lifecycle`` is its configuration (XML);
    ``forbidden`` names requests that are refused: "versions", "destroy". A context manager.
    """

    def __init__(self) -> None:
        self.kept: list[Kept] = []
        self.lock_until: str | None = None
        self.lifecycle: str | None = None
        self.forbidden: set[str] = set()
        self.page = 3
        self.lock = threading.Lock()
        self.ids = itertools.count()
        server = self

        class Handler(_Handler):
            owner = server

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True

    def __enter__(self) -> VersioningServer:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def environment(self) -> dict[str, str]:
        """Return the variables that lead the program here."""
        return {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._http.server_address[1]}",
        }

    def remaining(self, part: str) -> list[Kept]:
        """Return the versions that are not current, no markers, whose keys contain ``part``."""
        current = {id(item) for item in self.current().values()}
        return [
            item
            for item in self.kept
            if part in item.key and item.data is not None and id(item) not in current
        ]

    def current(self) -> dict[str, Kept]:
        """Return the latest version of each key, a marker where it was deleted."""
        return {item.key: item for item in self.kept}


class _Handler(http.server.BaseHTTPRequestHandler):
    owner: VersioningServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        key = unquote(parts.path).partition("/")[2].partition("/")[2]
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        with self.owner.lock:
            status, headers, answer = (
                self._object(key, query, body) if key else self._bucket(query, body)
            )
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _bucket(self, query: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        owner = self.owner
        if "delete" in query:  # some objects at once: of each, what is current
            keys = re.findall(r"<Key>(.*?)</Key>", body.decode())
            owner.kept += [Kept(key, str(next(owner.ids)), None) for key in keys]
            gone = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
            return _xml(200, f"<DeleteResult>{gone}</DeleteResult>")
        if "lifecycle" in query:
            return _xml(200, owner.lifecycle) if owner.lifecycle else _error(404, "NoSuchLifecycle")
        if "object-lock" in query:
            return _xml(200, "<x/>") if owner.lock_until else _error(404, "NoLock")
        prefix = query.get("prefix", "")
        if "versions" in query:
            return self._versions(prefix, query.get("version-id-marker"))
        found = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(item.data)}</Size><ETag>x</ETag>"
            "<LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"
            for key, item in sorted(owner.current().items())
            if key.startswith(prefix) and item.data is not None
        )
        return _xml(200, f"<ListBucketResult>{found}</ListBucketResult>")

    def _versions(self, prefix: str, marker: str | None) -> tuple[int, dict[str, str], bytes]:
        if "versions" in self.owner.forbidden:
            return _error(403, "AccessDenied")
        latest = self.owner.current()
        rest = [item for item in self.owner.kept if item.key.startswith(prefix)]
        rest.sort(key=lambda item: (item.key, -int(item.id)))  # the latest first
        if marker:
            rest = rest[[item.id for item in rest].index(marker) + 1 :]
        found = ""
        for item in rest[: self.owner.page]:
            tag = "DeleteMarker" if item.data is None else "Version"
            is_latest = str(latest[item.key] is item).lower()
            found += f"<{tag}><Key>{quote(item.key)}</Key><VersionId>{item.id}</VersionId>"
            found += f"<IsLatest>{is_latest}</IsLatest></{tag}>"
        if rest[self.owner.page :]:
            last = rest[self.owner.page - 1]
            found += f"<IsTruncated>true</IsTruncated><NextKeyMarker>{last.key}</NextKeyMarker>"
            found += f"<NextVersionIdMarker>{last.id}</NextVersionIdMarker>"
        space = "http://s3.amazonaws.com/doc/2006-03-01/"
        return _xml(200, f'<ListVersionsResult xmlns="{space}">{found}</ListVersionsResult>')

    def _object(
        self, key: str, query: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        owner = self.owner
        wanted = query.get("versionId")
        item = owner.current().get(key)
        if wanted is not None:
            item = next((one for one in owner.kept if (one.key, one.id) == (key, wanted)), None)
        there = item is not None and item.data is not None
        if self.command == "PUT":
            if there:
                return _error(412, "PreconditionFailed")
            owner.kept.append(Kept(key, str(next(owner.ids)), body, owner.lock_until))
            return 200, {"ETag": '"x"'}, b""
        if item is None or (item.data is None and self.command != "DELETE"):
            return _error(404, "NoSuchKey", self.command == "HEAD")
        if self.command == "DELETE":
            if item.locked_until or item.held or "destroy" in owner.forbidden:
                return _error(403, "AccessDenied")
            owner.kept.remove(item)
            return 204, {}, b""
        return self._content(item, item.data or b"")

    def _content(self, item: Kept, data: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {
            "ETag": '"x"',
            "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
            "x-amz-version-id": item.id,
        }
        if item.locked_until:
            headers["x-amz-object-lock-retain-until-date"] = item.locked_until
        if item.held:
            headers["x-amz-object-lock-legal-hold"] = "ON"
        if self.command == "HEAD":
            return 200, {**headers, "Content-Length": str(len(data))}, b""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            return 200, headers, data
        start, end = int(asked[1]), min(int(asked[2] or len(data)) + 1, len(data))
        if start >= len(data):
            return _error(416, "InvalidRange")
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        return 206, headers, data[start:end]


def _xml(status: int, text: str) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/xml"}, text.encode()


def _error(status: int, code: str, silent: bool = False) -> tuple[int, dict[str, str], bytes]:
    return _xml(status, "" if silent else f"<Error><Code>{code}</Code></Error>")
