"""What ``serve`` tells the service manager that started it: sd_notify(3), without a library."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress


class Manager:
    """The service manager, if ``environment`` says that there is one; else nobody is told."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # A name that begins with @ stands for an abstract one, which begins with NUL.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = _watchdog_s(environment)

    def tell(self, *lines: str) -> None:
        """Send assignments such as ``READY=1``; that nobody listens is no reason to fail."""
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(self._address)
            sender.send("\n".join(lines).encode())


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """Return how many seconds the manager waits for a sign of life; None if it does not."""
    text = environment.get("WATCHDOG_USEC", "")
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(text) / 1e6 if text.isascii() and text.isdecimal() and int(text) else None
