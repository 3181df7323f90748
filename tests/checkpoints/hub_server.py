"""As much of the Hub's HTTP protocol as downloading a file needs, on 127.0.0.1.

HEAD and GET of /OWNER/REPO/resolve/REVISION/FILE with the Hub's headers, and its error codes in X-Error-Code.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

from loopback import LoopbackServer, Reply, Request

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer(LoopbackServer):
    """One repository, OWNER/REPO, with the revision `main` (and others by name).

    `cuts` holds, for the coming GETs in turn, after how many body bytes the connection breaks. `refuse` is a reply
    for everything. `token`: without it in the Authorization header the repository does not exist, as on the Hub.
    """

    def __init__(self, repo: str, files: dict[str, bytes], revisions: tuple[str, ...] = ("main", COMMIT)) -> None:
        super().__init__()
        self.repo = repo
        self.files = files
        self.revisions = revisions
        self.cuts: list[int] = []
        self.refuse: Reply | None = None
        self.token: str | None = None

    def reply(self, request: Request) -> Reply:
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", request.path)
        if not match:
            return _error(404, "", "no such page")  # the client asks for other things now and then
        if self.refuse is not None:
            return self.refuse
        repo, revision, file = match.groups()
        if repo != self.repo or (self.token and request.headers.get("authorization") != f"Bearer {self.token}"):
            return _error(401, "RepoNotFound", "Repository not found")
        if revision.replace("%2F", "/") not in self.revisions:
            return _error(404, "RevisionNotFound", "Invalid rev id")
        if file not in self.files:
            return _error(404, "EntryNotFound", "Entry not found")
        return self._file(request, self.files[file])

    def _file(self, request: Request, body: bytes) -> Reply:
        digest = hashlib.sha256(body).hexdigest()
        headers = {"ETag": f'"{digest}"', "X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(body))}
        headers |= {"X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        reply = Reply(200, headers, body)
        if match := re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", "")):
            start = int(match[1])
            headers = {**headers, "Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
            reply = Reply(206, headers, body[start:])
        cut = self.cuts.pop(0) if self.cuts and request.method == "GET" else None
        return reply if cut is None else replace(reply, cut_after=cut)

    def downloads(self) -> list[Request]:
        return [request for request in self.gets() if "/resolve/" in request.path]


def gated() -> Reply:
    return _error(403, "GatedRepo", "Access to this model is restricted")


def bad_token() -> Reply:
    return _error(401, "", "Invalid credentials in Authorization header")


def _error(status: int, code: str, message: str) -> Reply:
    headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
    return Reply(status, headers, b"")
