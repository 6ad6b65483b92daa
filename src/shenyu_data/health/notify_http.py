"""One request over HTTP to somebody who may be down, slow or hostile.

TLS is verified, the whole takes a bounded time, an answer is read up to a bound, and a redirect to
another host is not followed. The address is a secret: no message holds it.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from urllib.parse import SplitResult, urljoin, urlsplit

from shenyu_data.health.notify_errors import NotSent

WHOLE_S = 15.0
"""So long a request may take, with redirects and however slowly its answer comes."""

_MOST_ANSWER = 65_536
_MOST_REDIRECTS = 3
_MAY_BE_LATER = (408, 425, 429)


def request(
    url: str, body: bytes, headers: Mapping[str, str], *, whole_s: float | None = None
) -> None:
    """Send ``body`` by POST. Raise NotSent if it was not answered with a status of 200 to 299."""
    parts = check_url(url)
    deadline_s = WHOLE_S if whole_s is None else whole_s
    for _ in range(_MOST_REDIRECTS + 1):
        status, location = _ask(parts, body, headers, deadline_s)
        if 200 <= status < 300:
            return
        if status not in (301, 302, 303, 307, 308):
            permanent = 400 <= status < 500 and status not in _MAY_BE_LATER
            raise NotSent(f"it answered with status {status}", permanent=permanent)
        after = check_url(urljoin(parts.geturl(), location))
        if _host(after) != _host(parts):
            raise NotSent("it redirects to another host, which is not followed", permanent=True)
        parts = after
    raise NotSent("it redirects again and again", permanent=True)


def check_url(url: str) -> SplitResult:
    """Return the parts of a URL that messages may go to. Raise NotSent if it is none."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = None
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise NotSent("its address is no URL that begins with https:// or http://")
    return parts


def _host(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port


def _ask(
    parts: SplitResult, body: bytes, headers: Mapping[str, str], whole_s: float
) -> tuple[int, str]:
    """Return the status, and where it redirects to."""
    host = parts.hostname or ""
    sealed = parts.scheme == "https"
    port = parts.port or (443 if sealed else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = http.client.HTTPConnection(host, parts.port)
    try:
        with line_to(host, port, whole_s) as line:
            if sealed:
                line = ssl.create_default_context().wrap_socket(line, server_hostname=host)
            connection.sock = line
            connection.request("POST", path, body, {"Connection": "close", **headers})
            answer = connection.getresponse()
            answer.read(_MOST_ANSWER)
            return answer.status, answer.getheader("Location") or ""
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotSent(why(error)) from None
    finally:
        connection.close()


@contextmanager
def line_to(host: str, port: int, whole_s: float) -> Iterator[socket.socket]:
    """Give a line to somebody that is shut down if the block takes longer: a timeout alone bounds
    the wait for each byte, and not the whole. Raise OSError if nobody is there.
    """
    with socket.create_connection((host, port), timeout=whole_s) as line:
        # Another descriptor of the same line: TLS takes the first one over.
        handle = socket.socket(fileno=os.dup(line.fileno()))

        def end() -> None:
            with suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(whole_s, end)
        timer.daemon = True
        timer.start()
        try:
            yield line
        finally:
            timer.cancel()
            handle.close()


def why(error: BaseException) -> str:
    """Return what to tell of an error: no address, and nothing that the other side said."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate is not to be trusted"
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ssl.SSLError):
        return f"it cannot be reached: {error.strerror}"
    return f"it does not answer as it should: {type(error).__name__}"
