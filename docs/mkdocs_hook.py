"""The part of the site that mkdocs.yml cannot describe: pages from outside docs/, and links that would leave the site.

The README becomes the first page. A link to a file of the repository that is no page, such as a licence, becomes the
file's path as text, because a site that is read offline has no repository beside it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
# Path in the repository → name of the page.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "SECURITY.md": "SECURITY.md",
    "examples/README.md": "examples.md",
    "weights/compact.md": "compact-weights.md",
}
REFERENCE = "reference.md"
# What `adacode_cli` offers to programs, in the order in which a reader needs it.
PUBLIC = (
    "adacode_cli.engine.restorer.Restorer",
    "adacode_cli.engine.restorer.Restored",
    "adacode_cli.codes.image.Codes",
    "adacode_cli.errors",
)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
_AN_ADDRESS = re.compile(r"[a-z]+:")


def on_files(files: Files, config: Any) -> Files:  # noqa: ANN401 (a type that MkDocs does not export)
    """Adds the pages that are not in docs/."""
    for path, name in PAGES.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=relinked(text, path)))
    files.append(File.generated(config, REFERENCE, content=reference()))
    return files


def on_page_markdown(markdown: str, page: Any, **_others: Any) -> str:  # noqa: ANN401
    """The text of a page of docs/, with links that hold in the site."""
    name = page.file.src_uri
    return markdown if name in (*PAGES.values(), REFERENCE) else relinked(markdown, f"docs/{name}")


def reference() -> str:
    """The page about the Python interface; mkdocstrings replaces each line by what docstrings say."""
    parts = "\n\n".join(f"::: {name}" for name in PUBLIC)
    return f"# The Python interface\n\n    from adacode_cli import AdaCodeError, Codes, Restored, Restorer\n\n{parts}\n"


def relinked(text: str, path: str) -> str:
    """The text of the file `path` of the repository, with links to pages of the site in place of those to files."""
    fenced = re.compile(r"^(```.*?^```$)", re.DOTALL | re.MULTILINE)
    parts = fenced.split(text)
    return "".join(part if i % 2 else _LINK.sub(lambda found: _link(found, path), part) for i, part in enumerate(parts))


def _link(found: re.Match[str], path: str) -> str:
    is_image, words, target, anchor = found.groups()
    if _AN_ADDRESS.match(target):
        return found[0]
    wanted = posixpath.normpath(str(PurePosixPath(path).parent / target))
    if wanted in PAGES:
        return f"[{words}]({PAGES[wanted]}{anchor or ''})"
    if wanted.startswith("docs/") and not wanted.endswith(".py"):
        return f"{is_image}[{words}]({wanted.removeprefix('docs/')}{anchor or ''})"
    return f"{words} (`{wanted}`)" if words.strip("`") != wanted else f"`{wanted}`"
