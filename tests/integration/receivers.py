"""Who receives notifications in the tests: a web server and a mail server, both real, that can be
slow, broken or gone.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


class Request(NamedTuple):
    """What came."""

    path: str
    headers: dict[str, str]
    body: bytes


class Web:
    """A web server. ``status`` is what it answers with, ``location`` where it redirects to;
    ``before`` is called before it answers.
    """

    def __init__(self, port: int = 0, tls_context: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.status = 200
        self.location = ""
        self.before: Callable[[], object] = lambda: None
        self.drips = False
        self.stopped = threading.Event()
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                web.requests.append(Request(self.path, dict(self.headers), body))
                web.before()
                if web.drips:
                    while not web.stopped.wait(0.05):
                        self.wfile.write(b"H")
                    return
                status = web.status
                if web.location and not self.path.startswith("/landed"):
                    status = 307
                self.send_response(status)
                if status == 307:
                    self.send_header("Location", web.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # who asked has gone

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        if tls_context is not None:
            self._server.socket = tls_context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def web_server(port: int = 0, tls_context: ssl.SSLContext | None = None) -> Iterator[Web]:
    web = Web(port, tls_context)
    try:
        yield web
    finally:
        web.stop()


def free_port() -> int:
    """Give a port where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Mail:
    """Keeps the mails that come to it, and who logged in."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.logins: list[tuple[str, str]] = []
        self.answer = "250 OK"
        self.unknown = ""
        self.port = 0

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address == self.unknown:
            return "550 nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.envelopes.append(envelope)
        return self.answer

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password == b"mail-secret")


@contextmanager
def mail_server(tls_context: Any = None) -> Iterator[Mail]:
    mail = Mail()
    controller = Controller(
        mail,
        hostname="127.0.0.1",
        port=free_port(),
        tls_context=tls_context,
        authenticator=mail.authenticate,
        auth_require_tls=True,
    )
    controller.start()
    mail.port = controller.port
    try:
        yield mail
    finally:
        controller.stop()
