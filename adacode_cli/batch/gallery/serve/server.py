"""The server of `adacode view --serve`: this machine alone can reach it, and only who knows its address gets an answer.

The address begins with a random token. It is part of the path and no cookie, because a browser sends the cookies of
127.0.0.1 to the servers on all of its ports, also to those of other users. The page's own addresses are relative, so
they have the token without further code. A browser is started with an address that works once: other users can read
the words of a command.

Any page in a browser can send requests to 127.0.0.1. It does not know the token; the checks of Host (a name that an
attacker's server directs to 127.0.0.1) and of Origin are independent of it. No request names a file by its path.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from adacode_cli.batch.gallery.serve.site import Answer, Site, refused
from adacode_cli.errors import UsageError, reason

ADDRESS = "127.0.0.1"
_NAMES = (ADDRESS, "localhost")
_TIMEOUT_S = 30.0
_MAX_CONNECTIONS = 64
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Server(ThreadingHTTPServer):
    """Serves `site` on a port of 127.0.0.1; 0 is a free one. on_bug: gets errors that are none of ours.

    Raises UsageError if the port cannot be used.
    """

    daemon_threads = True
    block_on_close = False  # An open connection of a browser must not hold the end.

    def __init__(self, site: Site, port: int, on_bug: Callable[[BaseException], None]) -> None:
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            hint = "Choose another one with --port, or leave --port out."
            raise UsageError(f"port {port} of {ADDRESS} cannot be used: {reason(error)}", hint=hint) from error
        self.site, self.on_bug = site, on_bug
        self.token, self._once = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        self._taking = threading.Lock()
        self._connections = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        self.hosts = frozenset(f"{name}:{self.server_port}" for name in _NAMES)

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"

    @property
    def address_for_once(self) -> str:
        """An address that leads to the page the first time."""
        return f"http://{ADDRESS}:{self.server_port}/open/{self._once}"

    def takes_once(self, path: str) -> bool:
        """Whether a path is that of `address_for_once`, for the first time."""
        with self._taking:
            is_it = bool(self._once) and _equal(path, f"/open/{self._once}")
            self._once = "" if is_it else self._once
            return is_it

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 (as its base class)
        """As its base class; a connection too many is closed."""
        if not self._connections.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 (as its base class)
        """As its base class."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 (as its base class)
        """Nothing: a browser may close a connection at any time, and other errors have been reported."""


class _Handler(BaseHTTPRequestHandler):
    """Checks one request, and sends the answer of the site."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "adacode", ""
    timeout = _TIMEOUT_S

    def do_GET(self) -> None:
        """Answers a request without a body."""
        self._send(self._checked() or self._answer())

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Answers a request with a body."""
        self._send(self._checked() or self._answer())

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """Every other method is refused in the same way."""
        if name.startswith("do_"):
            return self._refuse_method
        raise AttributeError(name)

    def _refuse_method(self) -> None:
        answer = refused(HTTPStatus.METHOD_NOT_ALLOWED, "This method is not supported.")
        answer.headers["Allow"] = "GET, HEAD, POST"
        self._send(answer, close=True)

    def _checked(self) -> Answer | None:
        """What is answered to a request that does not come from our page; None for one that does."""
        hosts, origins = self.headers.get_all("Host", []), self.headers.get_all("Origin", [])
        if len(hosts) != 1 or hosts[0].lower() not in self.server.hosts:
            return refused(HTTPStatus.FORBIDDEN, "This server is not known under that name.")
        if any(origin.lower() != f"http://{hosts[0].lower()}" for origin in origins):
            return refused(HTTPStatus.FORBIDDEN, "Requests of other pages are refused.")
        path = self.path.partition("?")[0]
        if self.command == "GET" and self.server.takes_once(path):
            return Answer(HTTPStatus.SEE_OTHER, headers={"Location": f"/{self.server.token}/"})
        if not _equal(path[: len(self.server.token) + 2], f"/{self.server.token}/"):
            said = "This is not the address of the page: 'adacode view' prints it when it starts."
            return refused(HTTPStatus.FORBIDDEN, said)
        return None

    def _answer(self) -> Answer:
        name = self.path.partition("?")[0][len(self.server.token) + 2 :]
        try:
            if self.command != "POST":
                return self.server.site.get(name)
            limit = self.server.site.max_body(name)
            length = self.headers.get("Content-Length", "")
            if not (length.isascii() and length.isdigit()) or self.headers.get("Transfer-Encoding"):
                return refused(HTTPStatus.LENGTH_REQUIRED, "The length of the request is missing.")
            if len(length) > len(str(limit)) or int(length) > limit:
                return refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The request is too long.")
            body = self.rfile.read(int(length))
            if len(body) < int(length):
                return refused(HTTPStatus.BAD_REQUEST, "The request is incomplete.")
            return self.server.site.post(name, body, {name.lower(): value for name, value in self.headers.items()})
        except (ConnectionError, TimeoutError):
            raise
        except Exception as error:  # noqa: BLE001 (the page and the terminal are told of it)
            self.server.on_bug(error)
            return refused(HTTPStatus.INTERNAL_SERVER_ERROR, f"This is a bug in adacode: {type(error).__name__}")

    def _send(self, answer: Answer, *, close: bool = False) -> None:
        """Sends an answer. After one that refuses, the connection is closed: a body may not have been read."""
        self.send_response(answer.status)
        for name, value in (_HEADERS | answer.headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        if close or answer.status >= HTTPStatus.BAD_REQUEST:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: requests are not listed."""


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())
