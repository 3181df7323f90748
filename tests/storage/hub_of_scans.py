"""The Hub of the other tests with data sets: their folders are listed, and parts of their files are read."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, unquote

sys.path.append(str(Path(__file__).parents[1] / "checkpoints"))
from hub_repositories import Hub, hash_of
from loopback import Reply, Request

_TREE = re.compile(r"/api/datasets/([^/]+/[^/]+)/tree/([^/]+)(?:/(.+))?")
_PATHS = re.compile(r"/api/datasets/([^/]+/[^/]+)/paths-info/([^/]+)")


class DatasetHub(Hub):
    """Repositories are data sets here; all that is asked about one is answered as about a model of that name."""

    def reply(self, request: Request) -> Reply:
        path = request.path.partition("?")[0]
        if match := _TREE.fullmatch(path):
            return self._listed(match[1], unquote(match[2]), unquote(match[3] or ""))
        if match := _PATHS.fullmatch(path):
            return self._stated(match[1], unquote(match[2]), request)
        models = request.path.replace("/api/datasets/", "/api/models/").removeprefix("/datasets")
        reply = super().reply(replace(request, path=models))
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
        if reply.status != 200 or found is None:
            return reply
        start, end = int(found[1]), min(int(found[2]) + 1, len(reply.body))
        headers = {**reply.headers, "Content-Range": f"bytes {start}-{end - 1}/{len(reply.body)}"}
        return Reply(206, headers, reply.body[start:end])

    def _files(self, repo: str, revision: str) -> dict[str, bytes] | None:
        found = self.repositories.get(repo)
        commit = found and found.resolved(revision)
        return found.commits[commit] if found and commit else None

    def _listed(self, repo: str, revision: str, folder: str) -> Reply:
        files = self._files(repo, revision)
        if files is None:
            return Reply(404, {"X-Error-Code": "RepoNotFound"}, b"")
        start = f"{folder}/" if folder else ""
        below = [name for name in files if name.startswith(start)]
        if not below:
            return Reply(404, {"X-Error-Code": "EntryNotFound"}, b"")
        names = {name.removeprefix(start).partition("/")[0] for name in below}
        return _json([_entry(f"{start}{name}", files) for name in sorted(names)])

    def _stated(self, repo: str, revision: str, request: Request) -> Reply:
        files = self._files(repo, revision)
        if files is None:
            return Reply(404, {"X-Error-Code": "RepoNotFound"}, b"")
        asked = parse_qs(request.body.decode())["paths"]
        is_there = [name for name in asked if name in files or any(one.startswith(f"{name}/") for one in files)]
        return _json([_entry(name, files) for name in is_there])


def _entry(name: str, files: dict[str, bytes]) -> dict[str, object]:
    if name not in files:
        return {"type": "directory", "oid": hash_of(name.encode())[:40], "size": 0, "path": name}
    return {"type": "file", "oid": hash_of(files[name])[:40], "size": len(files[name]), "path": name}


def _json(value: object) -> Reply:
    return Reply(200, {"Content-Type": "application/json"}, json.dumps(value).encode())
