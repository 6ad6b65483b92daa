"""The endpoint of ``serve`` answers whoever asks, and is held up by nobody."""

import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException

import pytest

from shenyu_data.health import http as http_module
from shenyu_data.health.http import Endpoint, Page

PATIENCE_S = 60.0
"""A machine may be as busy as it likes: this only ends what would never end."""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint("127.0.0.1", 0, {"/page": lambda: Page(200, "text/plain", b"here\n")})
    yield made
    made.close()


def ask(endpoint: Endpoint, path: str = "/page") -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", endpoint.port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_page_is_answered_and_nothing_else_is(endpoint: Endpoint) -> None:
    assert ask(endpoint) == (200, b"here\n")
    assert ask(endpoint, "/page?x=1")[0] == 200
    assert ask(endpoint, "/../page")[0] == 404


def test_many_who_ask_nothing_cost_few_threads(endpoint: Endpoint) -> None:
    threads = threading.active_count()
    lines = [connect(endpoint) for _ in range(http_module._MOST_AT_ONCE)]
    for _ in range(20):
        with connect(endpoint) as line:
            assert line.recv(1) == b"", "whoever comes when all turns are taken goes at once"
    assert threading.active_count() - threads <= 2 * http_module._MOST_AT_ONCE
    for line in lines:
        line.close()
    assert answers(endpoint), "turns come back"


def connect(endpoint: Endpoint) -> socket.socket:
    return socket.create_connection(("127.0.0.1", endpoint.port), timeout=PATIENCE_S)


def answers(endpoint: Endpoint) -> bool:
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends:
        try:
            return ask(endpoint)[0] == 200
        except (OSError, HTTPException):
            time.sleep(0.01)
    return False


def test_who_asks_slowly_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "_WHOLE_S", 0.2)
    made = Endpoint("127.0.0.1", 0, {})
    ends = time.monotonic() + PATIENCE_S
    with connect(made) as line:
        with pytest.raises(OSError):
            while time.monotonic() < ends:
                line.sendall(b"G")  # well within the pause that is allowed
                time.sleep(0.01)
        assert time.monotonic() < ends
    made.close()
