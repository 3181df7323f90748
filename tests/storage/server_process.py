"""A server in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path


def started(command: Sequence[str], port: int, log: Path, **options) -> subprocess.Popen[bytes]:
    """A process that answers on a port of this machine; what it prints is added to `log`."""
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, **options)
    while True:
        assert process.poll() is None, log.read_text()
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.05)
