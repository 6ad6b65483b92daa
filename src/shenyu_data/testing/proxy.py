"""An HTTP proxy in front of an S3 server, for tests: it counts requests and makes trouble."""

from __future__ import annotations

import http.client
import http.server
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

Fault = Literal["error", "busy", "refused", "cut request", "cut answer", "lost", "slow", "hang"]
"""What can go wrong with one request.

``error``: 500, nothing done. ``busy``: 503. ``refused``: the connection is closed before the body
is read. ``cut request``: in the middle of it. ``cut answer``: it is done, and half the answer
comes. ``lost``: it is done, and no answer comes. ``slow``: the answer trickles. ``hang``: nothing
happens for ``HANG_S``, then the connection closes.
"""
FAULTS: tuple[Fault, ...] = get_args(Fault)
HANG_S = 3.0

_PIECE_BYTES = 1 << 16
_SLOW_S = 0.3

Plan = Callable[["Request"], Fault | None]


class Request(NamedTuple):
    """One request as the proxy saw it: the how manieth, from 0, and what was asked."""

    number: int
    method: str
    path: str
    body_bytes: int


class Proxy:
    """Passes requests on to ``server``, unless ``plan`` says what is to go wrong.

    ``requests`` are those that came, in order. A context manager: it listens while it is entered.
    """

    def __init__(self, server: tuple[str, int]) -> None:
        self.server = server
        self.requests: list[Request] = []
        self.faults: list[tuple[Request, Fault]] = []
        self.plan: Plan | None = None
        self._lock = threading.Lock()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._http.server_address[:2]
        return str(host), port

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def forget(self, plan: Plan | None = None) -> None:
        """Begin anew with no requests, and with a plan of what goes wrong from now on."""
        with self._lock:
            self.requests.clear()
            self.faults.clear()
            self.plan = plan

    def take(self, method: str, path: str, body_bytes: int) -> Fault | None:
        """Note a request; return what is to go wrong with it."""
        with self._lock:
            request = Request(len(self.requests), method, path, body_bytes)
            self.requests.append(request)
            fault = self.plan(request) if self.plan is not None else None
            if fault is not None:
                self.faults.append((request, fault))
            return fault


def seeded_plan(seed: int, share: float, faults: Sequence[Fault] = FAULTS) -> Plan:
    """Return a plan by which ``share`` of the requests go wrong, in ways drawn from ``faults``."""
    drawn = random.Random(seed)
    return lambda request: drawn.choice(faults) if drawn.random() < share else None


def one_fault(fault: Fault, method: str, part: str = "", times: int = 1) -> Plan:
    """Return a plan by which the first ``times`` requests of a method whose path contains ``part``
    go wrong.
    """
    left = [times]

    def plan(request: Request) -> Fault | None:
        if request.method != method or part not in request.path or not left[0]:
            return None
        left[0] -= 1
        return fault

    return plan


class _Handler(http.server.BaseHTTPRequestHandler):
    owner: Proxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer's head and body together: else they wait 40 ms for each other

    def do_GET(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        fault = self.owner.take(self.command, self.path, size)
        if fault == "hang":
            time.sleep(HANG_S)
        if fault in ("hang", "refused"):
            self.close_connection = True
            return
        if fault == "cut request":
            self.rfile.read(size // 2)
            self.close_connection = True
            return
        body = self.rfile.read(size)
        if fault in ("error", "busy"):
            self._answer(500 if fault == "error" else 503, [], b"<Error><Code>Oops</Code></Error>")
            return
        status, headers, answer = self._pass_on(body)
        if fault == "lost":
            self.close_connection = True
            return
        self._answer(status, headers, answer, fault)

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    def _pass_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(*self.owner.server, timeout=60)
        try:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            answer = response.read()
            status = response.status
            if status == 200 and response.headers["Content-Range"]:
                status = 206
            return status, response.getheaders(), answer
        finally:
            connection.close()

    def _answer(
        self,
        status: int,
        headers: list[tuple[str, str]],
        body: bytes,
        fault: Fault | None = None,
    ) -> None:
        self.send_response_only(status)
        length = str(len(body))
        for name, value in headers:
            if name.lower() == "content-length":
                length = value  # the answer to HEAD has one, and no body
            elif name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if fault == "cut answer":
            body = body[: len(body) // 2]
            self.close_connection = True
        for start in range(0, len(body), _PIECE_BYTES):
            if fault == "slow":
                time.sleep(_SLOW_S)
            self.wfile.write(body[start : start + _PIECE_BYTES])
            self.wfile.flush()

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            return  # the client has gone: that is its right

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
