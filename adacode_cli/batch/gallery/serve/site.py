"""What is served, by name: the files of the page from this program, data of the journal, and masks that are painted.

A name is looked up in tables and in the records of a run; it never becomes a path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from importlib.resources.abc import Traversable
from urllib.parse import quote

from adacode_cli.batch.gallery.judgements import MARKS
from adacode_cli.batch.gallery.places import PAGE
from adacode_cli.batch.gallery.serve.live import SHOWN_TYPES, LiveGallery
from adacode_cli.batch.gallery.serve.painting import ConflictError, Painting
from adacode_cli.batch.state_files import object_of
from adacode_cli.errors import AdaCodeError, OutputError
from adacode_cli.limits import MAX_PIXELS

_HTML, _JSON, _BYTES = "text/html; charset=utf-8", "application/json", "application/octet-stream"
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
_MAX_JUDGEMENT_BYTES = 4096
_FILE = re.compile(r"file/([0-9a-f]{12})/(original|result)")
_PAINT = re.compile(r"paint/([0-9a-f]{12})/(?:mask|image-([0-9a-f]{64}))")
_PAINT_PAGE = "paint.html"
_PAINT_LIST = "paint/pictures.json"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types adacode"
)
# What the page of files lacks: it sends nothing, so its own policy does not allow it, and has no script for it.
_OF_FILES = "default-src 'none'; script-src"
_OF_SERVER = "default-src 'none'; connect-src 'self'; script-src"
_LAST_SCRIPT = '<script src="app/main.js">'
_SCRIPT = '<link rel="stylesheet" href="app/served.css">\n<script src="app/served.js"></script>\n'


@dataclass(frozen=True)
class Answer:
    """What is sent. headers: besides those of every answer."""

    status: HTTPStatus = HTTPStatus.OK
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def refused(status: HTTPStatus, said: str) -> Answer:
    """A refusal, as text."""
    return Answer(status, f"{said}\n".encode(), {"Content-Type": "text/plain; charset=utf-8"})


class Site:
    """The page of a run (`gallery`), the page on which masks are painted (`painting`), or both."""

    def __init__(self, gallery: LiveGallery | None, painting: Painting | None) -> None:
        self._gallery, self._painting = gallery, painting

    def get(self, name: str) -> Answer:
        """The answer to a request for `name`."""
        app = _app()
        if name in ("", PAGE):
            name = PAGE if self._gallery else _PAINT_PAGE
        if name == PAGE and self._gallery:
            return _typed(app[PAGE], _HTML)
        if name == _PAINT_PAGE and self._painting:
            return _typed(app[_PAINT_PAGE], _HTML)
        if name.startswith("app/") and name in app:
            return _typed(app[name], _TYPES.get(name[name.rindex(".") :], "text/plain; charset=utf-8"))
        try:
            return (self._of_gallery(name) or self._of_painting(name)) or _absent()
        except ConflictError as conflict:
            return _failed(conflict.error, conflict.kind)
        except AdaCodeError as error:
            return _failed(error)

    def max_body(self, name: str) -> int:
        """The largest number of bytes of a request to `name`."""
        return -(-MAX_PIXELS // 8) if _PAINT.fullmatch(name) else _MAX_JUDGEMENT_BYTES

    def post(self, name: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """The answer to a request that changes something. A form of another page cannot have such a Content-Type.

        headers: by their names in lower case.
        """
        found = _PAINT.fullmatch(name)
        expected = _JSON if name == "judge" else _BYTES
        if headers.get("content-type") != expected:
            return refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"The request must be {expected}.")
        try:
            if name == "judge" and self._gallery:
                return self._judge(self._gallery, body)
            if found and not found[2] and self._painting:
                digest = self._painting.save(
                    found[1],
                    body,
                    headers.get("adacode-loaded", ""),
                    headers.get("adacode-picture", ""),
                    may_be_empty=headers.get("adacode-empty") == "1",
                    may_replace_grey=headers.get("adacode-grey") == "1",
                )
                return _json({"digest": digest})
        except ConflictError as conflict:
            return _failed(conflict.error, conflict.kind)
        except AdaCodeError as error:
            return _failed(error)
        return _absent()

    def finish(self) -> None:
        """Waits until what is being saved has been written."""
        if self._painting:
            self._painting.finish()

    def _of_gallery(self, name: str) -> Answer | None:
        gallery = self._gallery
        if gallery is None:
            return None
        if name.startswith("data/") and (data := gallery.data(name)) is not None:
            return _typed(data, _TYPES[".js"])
        if name.startswith("pictures/") and (data := gallery.thumbnail(name)) is not None:
            return _typed(data, "image/png" if name.endswith(".png") else "image/webp")
        found = _FILE.fullmatch(name)
        if found is None or (file := gallery.file(found[1], found[2])) is None:
            return None
        data, kind = file
        if kind in SHOWN_TYPES:
            return _typed(data, SHOWN_TYPES[kind])
        answer = _typed(data, _BYTES)
        answer.headers["Content-Disposition"] = f'attachment; filename="{quote(f"{found[2]}.{kind}")}"'
        return answer

    def _of_painting(self, name: str) -> Answer | None:
        painting, found = self._painting, _PAINT.fullmatch(name)
        if painting is None:
            return None
        if name == _PAINT_LIST:
            pictures = [
                {"id": picture, "name": place.name, "hasMask": place.mask is not None}
                for picture, place in painting.places().items()
            ]
            return _json(
                {"folder": str(painting.folder.absolute()), "run": self._gallery is not None, "pictures": pictures}
            )
        if found and found[2]:
            return _typed(painting.image(found[1], found[2]), SHOWN_TYPES["jpeg"])
        if found:
            mask = painting.load(found[1])
            answer = _typed(mask.bits, _BYTES)
            answer.headers["Adacode-Size"] = f"{mask.size[1]}x{mask.size[0]}"
            answer.headers.update({"Adacode-Digest": mask.digest, "Adacode-Picture": mask.photograph})
            return answer
        return None

    def _judge(self, gallery: LiveGallery, body: bytes) -> Answer:
        fields = object_of(body) or {}
        picture, line, mark = fields.get("id"), fields.get("line"), fields.get("mark")
        if not (isinstance(picture, str) and type(line) is int and isinstance(mark, str) and mark in MARKS):
            return refused(HTTPStatus.BAD_REQUEST, "This is no judgement.")
        time = gallery.judge(picture, line, mark)
        if time is None:
            return refused(HTTPStatus.CONFLICT, "This result has been made again meanwhile.")
        return _json({"time": time})


def _typed(data: bytes, media_type: str) -> Answer:
    return Answer(body=data, headers={"Content-Type": media_type, "Content-Security-Policy": _POLICY})


def _json(value: object) -> Answer:
    return _typed(json.dumps(value, separators=(",", ":")).encode("ascii"), _JSON)


def _absent() -> Answer:
    return refused(HTTPStatus.NOT_FOUND, "There is nothing under this address.")


def _failed(error: AdaCodeError, kind: str = "failed") -> Answer:
    """An error for the page. kind: what it is, in one word; the message is for people."""
    status = HTTPStatus.UNPROCESSABLE_ENTITY if kind == "failed" else HTTPStatus.CONFLICT
    if isinstance(error, OutputError):
        status = HTTPStatus.INTERNAL_SERVER_ERROR
    answer = _json({"kind": kind, "error": str(error), "hint": error.hint})
    return Answer(status, answer.body, answer.headers)


@cache
def _app() -> dict[str, bytes]:
    """The files of both pages, by their names: never those that lie in an output tree."""
    package = files("adacode_cli.batch.gallery")
    found = dict(_below(package / "static", "app/")) | dict(_below(package / "served", "app/"))
    page = found.pop(f"app/{PAGE}").decode()
    for old, new in ((_OF_FILES, _OF_SERVER), (_LAST_SCRIPT, _SCRIPT + _LAST_SCRIPT)):
        if page.count(old) != 1:
            raise ValueError(f"{PAGE} has no single {old!r}")
        page = page.replace(old, new)
    return found | {PAGE: page.encode(), _PAINT_PAGE: found.pop(f"app/{_PAINT_PAGE}")}


def _below(folder: Traversable, start: str) -> list[tuple[str, bytes]]:
    found = []
    for child in folder.iterdir():
        name = f"{start}{child.name}"
        found += _below(child, f"{name}/") if child.is_dir() else [(name, child.read_bytes())]
    return found
