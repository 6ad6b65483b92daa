"""The HTTP endpoint of ``serve``: a few pages that are made when they are asked for.

A page is a function without arguments, by its path, that returns a :class:`Page`; it is called in a
thread of its own, so a page that needs the log opens it for itself.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from shenyu_data.model.errors import ShenyuDataError
from shenyu_data.model.findings import printable

_IDLE_S = 10.0
_WHOLE_S = 30.0  # so long a question and its answer may take, however slowly they come
_MOST_AT_ONCE = 16


class Page(NamedTuple):
    """What is answered."""

    status: int
    kind: str
    body: bytes


Pages = Mapping[str, Callable[[], Page]]


class Endpoint:
    """Listens at ``host`` and ``port`` (0: any that is free) until it is closed.

    Raise ShenyuDataError if it cannot.
    """

    def __init__(self, host: str, port: int, pages: Pages) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET

        class Server(ThreadingHTTPServer):
            address_family = family
            daemon_threads = True
            turns = threading.BoundedSemaphore(_MOST_AT_ONCE)

            def process_request(self, request: Any, client_address: Any) -> None:
                # Whoever comes when all are taken goes at once: each would cost a thread and a
                # descriptor, which the jobs need.
                if not self.turns.acquire(blocking=False):
                    self.shutdown_request(request)
                    return
                try:
                    super().process_request(request, client_address)
                except BaseException:  # there is no thread for it
                    self.turns.release()
                    raise

            def process_request_thread(self, request: Any, client_address: Any) -> None:
                timer = threading.Timer(_WHOLE_S, _shut_down, (request,))
                timer.daemon = True
                timer.start()
                try:
                    super().process_request_thread(request, client_address)
                finally:
                    timer.cancel()
                    self.turns.release()

            def handle_error(self, request: object, client_address: object) -> None:
                return  # whoever asked has gone, or asked for nonsense

        class Handler(_Handler):
            our_pages = pages

        try:
            self._server = Server((host, port), Handler)
        except (OSError, OverflowError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ShenyuDataError(
                f"cannot listen at {printable(host)}, port {port}: {reason}",
                hint="Another serve may run; else give --host and --port of this machine.",
            ) from None
        self.port: int = self._server.server_address[1]
        self.address = f"http://{f'[{host}]' if family == socket.AF_INET6 else host}:{self.port}"
        thread = threading.Thread(target=self._server.serve_forever, args=(0.5,), daemon=True)
        thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def _shut_down(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    our_pages: Pages
    timeout = _IDLE_S
    server_version = "shenyu-data"
    sys_version = ""

    def do_GET(self) -> None:
        page = self.our_pages.get(self.path.partition("?")[0])
        if page is None:
            found = Page(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"not found\n")
        else:
            try:
                found = page()
            except Exception as error:
                text = f"{type(error).__name__}\n".encode()
                found = Page(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", text)
        self.send_response(found.status)
        self.send_header("Content-Type", found.kind)
        self.send_header("Content-Length", str(len(found.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(found.body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        return  # the library never prints
