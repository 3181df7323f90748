"""A real HTTP server on 127.0.0.1 for the tests: it records every request and misbehaves when told to.

It knows Range and If-Range, and can answer with any status, cut a connection in the middle of a body, or stall.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Reply:
    """One answer. `cut_after`: the connection is closed after so many body bytes; `reset`: with a TCP reset."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int | None = None
    reset: bool = False
    stall: threading.Event | None = None


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes = b""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address) -> None:
        # Clients that hang up (killed, out of disk) are what some tests are about.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class LoopbackServer:
    """Answers with `reply(request)` until the block ends; `stop()` makes it refuse connections earlier."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def reply(self, request: Request) -> Reply:
        raise NotImplementedError

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def gets(self) -> list[Request]:
        return [request for request in self.requests if request.method == "GET"]

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_exc) -> None:
        self.stop()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", 0)))
                request = Request(self.command, self.path, headers, body)
                outer.requests.append(request)
                self.send(outer.reply(request))

            do_HEAD = do_POST = do_PUT = do_GET

            def send(self, reply: Reply) -> None:
                self.send_response(reply.status)
                if "Transfer-Encoding" not in reply.headers:
                    self.send_header("Content-Length", str(len(reply.body)))
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "HEAD":
                    return
                cut = reply.cut_after
                self.wfile.write(reply.body if cut is None else reply.body[:cut])
                self.wfile.flush()
                if reply.stall is not None:
                    reply.stall.wait(30)
                if cut is not None or reply.stall is not None:
                    if reply.reset:
                        linger = struct.pack("ii", 1, 0)
                        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        os.close(self.connection.detach())
                    else:
                        self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True

            def log_message(self, *_args) -> None:
                pass

        return Handler


class FileServer(LoopbackServer):
    """Serves `files` (path → body) with ETags; the replies in `faults` (path → list) are used up first.

    A fault is either a whole Reply, or a function that turns the regular reply into another.
    """

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.faults: dict[str, list] = {}
        self.knows_range = True
        self.honours_if_range = True

    def reply(self, request: Request) -> Reply:
        faults = self.faults.get(request.path, [])
        fault = faults.pop(0) if faults else None
        if isinstance(fault, Reply):
            return fault
        regular = self._regular(request)
        return fault(regular) if fault else regular

    def _regular(self, request: Request) -> Reply:
        if request.path not in self.files:
            return Reply(404, body=b"not here")
        body, etag = self.files[request.path], self.etags.get(request.path)
        headers = {"ETag": etag} if etag else {}
        match = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        unchanged = not self.honours_if_range or request.headers.get("if-range") in (etag, None)
        if not match or not self.knows_range or not unchanged:
            return Reply(200, headers, body)
        start = int(match[1])
        if start >= len(body):
            return Reply(416, {**headers, "Content-Range": f"bytes */{len(body)}"})
        headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        return Reply(206, headers, body[start:])
