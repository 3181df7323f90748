"""As much of the Hub as reading and writing repositories of models needs, on 127.0.0.1.

Repositories have commits, branches and an owner; files larger than a few kilobytes go through the LFS protocol. Paths,
headers and error codes are those that huggingface_hub 2.4 asks for and understands. The rules for the metadata of a
card are those of https://github.com/huggingface/hub-docs (modelcard.md, docs/hub/repositories-licenses.md).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

import yaml
from loopback import LoopbackServer, Reply, Request

REGULAR_BYTES = 10_000
_REPO = r"(?P<repo>[^/]+/[^/]+)"
# Licences of the Hub's list that the tests use, and some more.
LICENCES = frozenset(["apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "gpl-3.0", "other"])


@dataclass
class Repository:
    """`branches` maps names to commits, `commits` a commit to its files."""

    private: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], branch: str = "main", message: str = "") -> str:
        """Files that are added to those of the branch, as one commit; its hash."""
        earlier = self.commits[self.branches[branch]] if branch in self.branches else {}
        content = {**earlier, **files}
        text = repr([(len(self.commits), *sorted((name, hash_of(body)) for name, body in content.items()))])
        commit = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self.commits[commit], self.branches[branch] = content, commit
        self.messages.append(message)
        return commit

    def resolved(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.branches.get(revision)


def _owner_of(repo: str) -> str:
    return repo.partition("/")[0]


def hash_of(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


class Hub(LoopbackServer):
    """`repositories` by name. `tokens`: token → the owner whose repositories it may write and, if private, see.

    `before`: called with each request before it is answered, to change things at that moment. `refuse`: replies for
    paths that match a regular expression. `uploads`: digests of the bodies that arrived by LFS, in order.
    """

    def __init__(self, **tokens: str) -> None:
        super().__init__()
        self.repositories: dict[str, Repository] = {}
        self.tokens = tokens
        self.stored: dict[str, bytes] = {}
        self.uploads: list[str] = []
        self.before: Callable[[Request], None] = lambda _request: None
        self.refuse: dict[str, Reply] = {}

    def add(self, repo: str, files: dict[str, bytes], *, private: bool = False) -> Repository:
        self.repositories[repo] = Repository(private=private)
        self.repositories[repo].commit(files)
        return self.repositories[repo]

    def downloads(self, name: str = "") -> list[str]:
        """Paths of the files whose content was asked for, of those that end in `name`."""
        return [r.path for r in self.gets() if "/resolve/" in r.path and r.path.endswith(name)]

    def writes(self) -> list[str]:
        return [f"{r.method} {r.path}" for r in self.requests if r.method in ("POST", "PUT")]

    def reply(self, request: Request) -> Reply:
        self.before(request)
        path = urlsplit(request.path).path
        for pattern, refusal in self.refuse.items():
            if re.search(pattern, path):
                return refusal
        routes: list[tuple[str, Callable[..., Reply]]] = [
            (rf"/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<file>.+)", self._resolve),
            (r"/api/repos/create", self._create),
            (r"/api/validate-yaml", self._validate),
            (r"/api/whoami-v2", self._whoami),
            (rf"/api/models/{_REPO}(?:/revision/(?P<revision>[^/]+))?", self._info),
            (rf"/api/models/{_REPO}/tree/(?P<revision>[^/]+)", self._tree),
            (rf"/api/models/{_REPO}/paths-info/(?P<revision>[^/]+)", self._paths_info),
            (rf"/api/models/{_REPO}/branch/(?P<revision>[^/]+)", self._branch),
            (rf"/api/models/{_REPO}/preupload/(?P<revision>[^/]+)", self._preupload),
            (rf"/api/models/{_REPO}/commit/(?P<revision>[^/]+)", self._commit),
            (rf"/{_REPO}\.git/info/lfs/objects/batch", self._batch),
            (r"/lfs/(?P<digest>[0-9a-f]{64})", self._put),
        ]
        for pattern, answer in routes:
            if match := re.fullmatch(pattern, path):
                return answer(request, **{k: v and unquote(v) for k, v in match.groupdict().items()})
        return _error(404, "", "no such page")

    def _owner(self, request: Request) -> str | None:
        return self.tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "))

    def _seen(self, request: Request, repo: str) -> Repository | None:
        found = self.repositories.get(repo)
        return None if found is None or (found.private and self._owner(request) != _owner_of(repo)) else found

    def _resolve(self, request: Request, repo: str, revision: str, file: str) -> Reply:
        found = self._seen(request, repo)
        if found is None:
            return _error(401, "RepoNotFound", "Repository not found")
        commit = found.resolved(revision)
        if commit is None:
            return _error(404, "RevisionNotFound", "Invalid rev id")
        if file not in found.commits[commit]:
            return _error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        body = found.commits[commit][file]
        digest = hash_of(body)
        linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(body))}
        return Reply(200, {"ETag": f'"{digest}"', "X-Repo-Commit": commit, **linked}, body)

    def _create(self, request: Request) -> Reply:
        asked = json.loads(request.body)
        repo = f"{asked['organization']}/{asked['name']}"
        owner = self._owner(request)
        if owner is None:
            return _error(401, "", "Invalid username or password.")
        if owner != asked["organization"]:
            return _error(403, "", "You don't have the rights to create a model under this namespace")
        if repo in self.repositories:
            return _error(409, "", "You already created this model repo")
        self.repositories[repo] = Repository(
            private=asked.get("visibility") == "private" or asked.get("private", False)
        )
        self.repositories[repo].commit({".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"})
        return _json({"url": f"{self.url}/{repo}"})

    def _validate(self, request: Request) -> Reply:
        content = json.loads(request.body)["content"]
        problems = problems_of_card(content)
        return _json({"errors": [{"message": text} for text in problems], "warnings": []}, 400 if problems else 200)

    def _whoami(self, request: Request) -> Reply:
        owner = self._owner(request)
        return _error(401, "", "Invalid credentials") if owner is None else _json({"type": "user", "name": owner})

    def _info(self, request: Request, repo: str, revision: str | None = None) -> Reply:
        found = self._seen(request, repo)
        if found is None:
            return _error(404 if self._owner(request) else 401, "RepoNotFound", "Repository not found")
        commit = found.resolved(revision or "main")
        if commit is None:
            return _error(404, "RevisionNotFound", "Invalid rev id")
        names = [{"rfilename": name} for name in found.commits[commit]]
        return _json({"id": repo, "sha": commit, "private": found.private, "siblings": names})

    def _tree(self, request: Request, repo: str, revision: str) -> Reply:
        return self._paths(request, repo, revision, None)

    def _paths_info(self, request: Request, repo: str, revision: str) -> Reply:
        return self._paths(request, repo, revision, parse_qs(request.body.decode())["paths"])

    def _paths(self, request: Request, repo: str, revision: str, names: list[str] | None) -> Reply:
        found = self._seen(request, repo)
        if found is None:
            return _error(401, "RepoNotFound", "Repository not found")
        files = found.commits[str(found.resolved(revision))]
        return _json([_described(name, body) for name, body in files.items() if names is None or name in names])

    def _branch(self, request: Request, repo: str, revision: str) -> Reply:
        found, refusal = self._writable(request, repo)
        if found is None:
            return refusal
        if revision in found.branches:
            return _error(409, "", "Reference already exists")
        found.branches[revision] = found.branches["main"]
        return _json({})

    def _writable(self, request: Request, repo: str) -> tuple[Repository | None, Reply]:
        owner = self._owner(request)
        if owner is None:
            return None, _error(401, "", "Invalid username or password.")
        if owner != _owner_of(repo):
            return None, _error(403, "", "You don't have the rights to write to this repository")
        return self.repositories.get(repo), _error(404, "RepoNotFound", "Repository not found")

    def _preupload(self, request: Request, repo: str, revision: str) -> Reply:
        found, refusal = self._writable(request, repo)
        if found is None:
            return refusal
        commit = found.resolved(revision)
        if commit is None:
            return _error(404, "RevisionNotFound", "Invalid rev id")
        answers = []
        for file in json.loads(request.body)["files"]:
            body = found.commits[commit].get(file["path"])
            answers.append(
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["size"] > REGULAR_BYTES else "regular",
                    "shouldIgnore": False,
                    "oid": None if body is None else _oid(body),
                }
            )
        return _json({"files": answers})

    def _batch(self, request: Request, repo: str) -> Reply:
        found, refusal = self._writable(request, repo)
        if found is None:
            return refusal
        objects = []
        for each in json.loads(request.body)["objects"]:
            one = {"oid": each["oid"], "size": each["size"]}
            if each["oid"] not in self.stored:
                one["actions"] = {"upload": {"href": f"{self.url}/lfs/{each['oid']}"}}
            objects.append(one)
        return _json({"transfer": "basic", "objects": objects})

    def _put(self, request: Request, digest: str) -> Reply:
        self.uploads.append(digest)
        if hash_of(request.body) != digest:
            return _error(400, "", "the content has another digest")
        self.stored[digest] = request.body
        return Reply(200)

    def _commit(self, request: Request, repo: str, revision: str) -> Reply:
        found, refusal = self._writable(request, repo)
        if found is None:
            return refusal
        header, *operations = [json.loads(line) for line in request.body.splitlines()]
        parent = header["value"].get("parentCommit")
        if parent not in (None, found.branches.get(revision)):
            return _error(412, "", "A commit has happened since. Please refresh and try again.")
        files = {}
        for each in operations:
            value = each["value"]
            if each["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif value["oid"] in self.stored:
                files[value["path"]] = self.stored[value["oid"]]
            else:
                return _error(400, "", f"{value['path']} was not uploaded")
        commit = found.commit(files, revision, header["value"]["summary"])
        return _json({"commitUrl": f"{self.url}/{repo}/commit/{commit}", "commitOid": commit})


def problems_of_card(content: str) -> list[str]:
    """What the Hub would refuse in the metadata of a card of a model; nothing if it is in order."""
    match = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
    if not match:
        return ["empty or missing yaml metadata in repo card"]
    data = yaml.safe_load(match[1])
    problems = []
    if data.get("license") not in LICENCES:
        problems.append(f'"license" must be one of [{", ".join(sorted(LICENCES))}]')
    if data.get("license") == "other":
        name, link = data.get("license_name"), data.get("license_link")
        if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9.-]+", name):
            problems.append('"license_name" must be a name in lower case, without spaces')
        if not isinstance(link, str) or not re.fullmatch(r"LICENSE(\.md)?|https?://\S+", link):
            problems.append('"license_link" must be LICENSE, LICENSE.md or an address')
    for key in ("base_model", "datasets"):
        values = data.get(key, [])
        problems += [
            f'"{key}" with value "{value}" is not valid'
            for value in ([values] if isinstance(values, str) else values)
            if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(value))
        ]
    if "tags" in data and not all(isinstance(tag, str) for tag in data["tags"]):
        problems.append('"tags" must be an array of strings')
    for model in data.get("model-index", []):
        for result in model["results"]:
            required = (result["task"]["type"], result["dataset"]["type"], result["dataset"]["name"])
            numbers = [metric["value"] for metric in result["metrics"] if metric["type"]]
            if not all(required) or not numbers or not all(isinstance(number, int | float) for number in numbers):
                problems.append(f'"model-index[{model["name"]}]" is not valid')
    return problems


def _described(name: str, body: bytes) -> dict[str, object]:
    lfs = {"oid": hash_of(body), "size": len(body), "pointerSize": 130} if len(body) > REGULAR_BYTES else None
    return {"type": "file", "path": name, "size": len(body), "oid": _git_oid(body)} | ({"lfs": lfs} if lfs else {})


def _oid(body: bytes) -> str:
    """As the client compares it: the digest itself of a file that goes through LFS."""
    return hash_of(body) if len(body) > REGULAR_BYTES else _git_oid(body)


def _git_oid(body: bytes) -> str:
    if len(body) > REGULAR_BYTES:
        body = f"version https://git-lfs.github.com/spec/v1\noid sha256:{hash_of(body)}\nsize {len(body)}\n".encode()
    return hashlib.sha1(f"blob {len(body)}\0".encode() + body, usedforsecurity=False).hexdigest()


def _json(data: object, status: int = 200) -> Reply:
    return Reply(status, {"Content-Type": "application/json"}, json.dumps(data).encode())


def _error(status: int, code: str, message: str, more: dict[str, str] | None = None) -> Reply:
    headers = {"X-Error-Message": message, **(more or {})} | ({"X-Error-Code": code} if code else {})
    return Reply(status, headers, b"")
