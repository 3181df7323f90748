"""`adacode view --serve` as a process, and requests to it that no browser would send."""

from __future__ import annotations

import http.client
import json
import select
import signal
import socket
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

from adacode_process import Program, default_signals
from gallery_page import TIMEOUT_S


class Served:
    """A server and its address."""

    def __init__(self, process, address: str) -> None:
        self.process, self.address = process, address
        parts = urlsplit(address)
        self.port, self.start = parts.port, parts.path

    def ask(self, method: str, name: str, body: bytes | None = None, *, path: str | None = None, **headers: str):
        """(status, headers, body) of a request for `name` below the address, or for a whole `path`.

        headers: with underscores for hyphens; Host="" leaves it out.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        connection.putrequest(
            method, path or f"{self.start}{name}", skip_host="Host" in given, skip_accept_encoding=True
        )
        if body is not None and "Content-Length" not in given:
            given["Content-Length"] = str(len(body))
        for key, value in given.items():
            if value:
                connection.putheader(key, value)
        connection.endheaders(body if body else None)
        answer = connection.getresponse()
        found = answer.status, answer.headers, answer.read()
        connection.close()
        return found

    def status(self, *args, **options) -> int:
        """The status of a request."""
        return self.ask(*args, **options)[0]

    def raw(self, data: bytes) -> bytes:
        """What is answered to these bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def post_json(self, name: str, value: object, **headers: str):
        """(status, value) of the answer to a value as JSON."""
        status, _, body = self.ask("POST", name, json.dumps(value).encode(), Content_Type="application/json", **headers)
        return status, body


@contextmanager
def served(
    program: Program, *words: str, env: dict[str, str] | None = None, opens: bool = False, ends_by=signal.SIGINT
):
    """`adacode view WORDS --serve`; it must end with 0 and a word when it gets the signal `ends_by`."""
    options = () if opens else ("--no-open",)
    process = program.start("view", *words, "--serve", *options, env=env, preexec_fn=default_signals)
    try:
        yield Served(process, _first_line(process))
        assert process.poll() is None, process.stderr.read().decode()
        process.send_signal(ends_by)
        _, said = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0, said.decode()
        assert said.decode().endswith("the server has ended\n"), said.decode()
        assert "Traceback" not in said.decode()
    finally:
        process.kill()
        process.wait()


def _first_line(process) -> str:
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        if select.select([process.stdout], [], [], 0.2)[0]:
            line = process.stdout.readline().decode().strip()
            assert line.startswith("http://127.0.0.1:"), (line, process.stderr.read().decode())
            return line
    raise AssertionError("the server did not start")
