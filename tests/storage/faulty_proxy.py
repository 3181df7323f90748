"""An HTTP proxy in front of a server on loopback that fails on request: busy, slow, reset in the middle of a body."""

from __future__ import annotations

import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length"}


@dataclass
class Fault:
    """What happens to the next `times` requests of `method` whose path contains `part`.

    kind: "busy" (503), "slow" (it waits a second), "reset" (the connection is reset after half of the request's body),
        "lost" (the server gets the request, and the connection is reset before its answer), "denied" (403).
    """

    kind: str
    method: str = ""
    part: str = ""
    times: int = 1

    def takes(self, method: str, path: str) -> bool:
        if self.times <= 0 or self.method not in ("", method) or self.part not in path:
            return False
        self.times -= 1
        return True


@dataclass
class Proxy:
    """A running proxy for the server at `port_behind`; `seen` are the requests, (method, path)."""

    port_behind: int
    faults: list[Fault] = field(default_factory=list)
    seen: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self):
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def _any(self):
                proxy.handle(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _any

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def count(self, method: str, part: str) -> int:
        return sum(one == method and part in path for one, path in self.seen)

    def _fault(self, method, path):
        with self._lock:
            self.seen.append((method, path))
            return next((fault.kind for fault in self.faults if fault.takes(method, path)), "")

    def handle(self, handler):
        kind = self._fault(handler.command, handler.path)
        length = int(handler.headers.get("Content-Length") or 0)
        if kind == "reset":
            handler.rfile.read(length // 2)
            return _reset(handler)
        if handler.headers.get("Expect", "").lower() == "100-continue":
            handler.send_response_only(100)
            handler.end_headers()
        body = handler.rfile.read(length)
        if kind in ("busy", "denied"):
            status, code = (503, "SlowDown") if kind == "busy" else (403, "AccessDenied")
            return _answer(handler, status, [], f"<Error><Code>{code}</Code></Error>".encode())
        if kind == "slow":
            time.sleep(1.0)
        connection = HTTPConnection("127.0.0.1", self.port_behind, timeout=60)
        try:
            headers = {name: value for name, value in handler.headers.items() if name.lower() not in ("expect",)}
            connection.request(handler.command, handler.path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, HTTPException):  # The server behind is down.
            return _reset(handler)
        finally:
            connection.close()
        if kind == "lost":
            return _reset(handler)
        return _answer(handler, answer.status, answer.getheaders(), data)


def _answer(handler, status, headers, data):
    handler.send_response_only(status)
    for name, value in headers:
        if name.lower() not in _HOP:
            handler.send_header(name, value)
    known = next((value for name, value in headers if name.lower() == "content-length"), None)
    handler.send_header("Content-Length", known if handler.command == "HEAD" and known else str(len(data)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(data)


def _reset(handler):
    """Ends a connection as a machine does that lost power: no orderly end, the other side gets a reset."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()
