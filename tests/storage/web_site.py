"""A web server on loopback with files in memory."""

from __future__ import annotations

import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Site:
    """A web server on loopback with files, that answers with the next of `answers` first; `seen` has the requests."""

    def __init__(self, files):
        self.answers, self.seen, site = [], [], self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def _any(self):
                site.seen.append((self.command, self.path, self.headers.get("Authorization")))
                status = site.answers.pop(0) if site.answers else 200
                data = files.get(self.path, files.get(self.path.partition("?")[0]))
                self.send_response(404 if data is None and status == 200 else status)
                body = data if status == 200 and data is not None else b"no"
                if self.path in ("/endless", "/liar"):
                    if self.path == "/liar" and self.command == "HEAD":
                        self.send_header("Content-Length", "10")
                    self.end_headers()
                    with suppress(OSError):
                        while self.command == "GET":
                            self.wfile.write(bytes(1 << 16))
                    return
                self.send_header("Content-Length", str(len(body)))
                self.send_header("ETag", f'"{hash(body)}"')
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_GET = do_HEAD = _any

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.place = f"127.0.0.1:{self.server.server_address[1]}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
