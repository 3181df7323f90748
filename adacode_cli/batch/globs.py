"""The patterns of `--include` and `--exclude`, which have the same meaning on every platform.

A pattern without a slash is compared with each name of a path (`*.jpg`, `thumbs`), one with a slash with the
whole path below the input (`2019/**/*.png`). Letter case is ignored, because cameras write `IMG_1.JPG`. This module
exists because `*` matches slashes in `fnmatch`, and `PurePath.full_match` needs Python 3.13.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from adacode_cli.errors import UsageError


@dataclass(frozen=True)
class Globs:
    """Selects relative paths (with forward slashes).

    Raises UsageError for an empty pattern, an unclosed `[`, or a range that ends before it begins.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    _include: tuple[_Pattern, ...] = field(init=False, repr=False, compare=False)
    _exclude: tuple[_Pattern, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_include", tuple(_compiled(pattern) for pattern in self.include))
        object.__setattr__(self, "_exclude", tuple(_compiled(pattern) for pattern in self.exclude))

    def takes_file(self, relative: str) -> bool:
        """Whether the file matches an include pattern (or there is none) and no exclude pattern."""
        if self._include and not any(pattern.matches(relative) for pattern in self._include):
            return False
        return not self.excludes(relative)

    def excludes(self, relative: str) -> bool:
        """Whether the file or directory itself is excluded; with a directory its content is excluded."""
        return bool(self._exclude) and any(pattern.matches(relative) for pattern in self._exclude)


@dataclass(frozen=True)
class _Pattern:
    regex: re.Pattern[str]
    whole_path: bool

    def matches(self, relative: str) -> bool:
        subject = relative if self.whole_path else relative.rsplit("/", 1)[-1]
        return self.regex.fullmatch(subject) is not None


def _compiled(pattern: str) -> _Pattern:
    body = pattern.removeprefix("./").strip("/")
    if not body:
        raise UsageError(f"the pattern {pattern!r} matches nothing", hint="Give a pattern such as '*.jpg'.")
    try:
        return _Pattern(re.compile(_regex(body), re.IGNORECASE | re.DOTALL), whole_path="/" in body)
    except re.error as error:
        raise UsageError(f"the pattern {pattern!r}: {error.msg}", hint="Write ranges such as '[a-z]'.") from error


def _regex(body: str) -> str:
    parts: list[str] = []
    at = 0
    while at < len(body):
        piece, at = _next_piece(body, at)
        parts.append(piece)
    return "".join(parts)


def _next_piece(body: str, at: int) -> tuple[str, int]:
    if body.startswith("**/", at):
        return "(?:[^/]+/)*", at + 3
    if body.startswith("**", at):
        return ".*", at + 2
    if body[at] == "*":
        return "[^/]*", at + 1
    if body[at] == "?":
        return "[^/]", at + 1
    if body[at] == "[":
        return _character_class(body, at)
    return re.escape(body[at]), at + 1


def _character_class(body: str, at: int) -> tuple[str, int]:
    negated = body.startswith("!", at + 1)
    first = at + 2 if negated else at + 1
    end = body.find("]", first + 1)  # A "]" in the first place is a literal character.
    if end < 0:
        raise UsageError(f"the pattern {body!r} has a '[' without a ']'", hint="Write '[[]' for a literal bracket.")
    members = re.sub(r"([\\\[\]^&~|])", r"\\\1", body[first:end])
    return f"(?!/)[{'^' if negated else ''}{members}]", end + 1
