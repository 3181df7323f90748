"""Names of outputs, which depend only on the names of the inputs.

Without `-o` the outputs are in a directory of their own beside the input, never among the originals; with `-o` they
mirror the input's tree in that directory. The suffix of an output always names its format.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from adacode_cli import formats
from adacode_cli.batch.found import Found
from adacode_cli.batch.places import is_folder, is_same_folder
from adacode_cli.codes.file import SUFFIX
from adacode_cli.errors import OutputError, UsageError
from adacode_cli.imaging.encode import format_of
from adacode_cli.storage.path import is_remote

_ONE_OPTION_HINT = "Use only one of the two options."


@dataclass(frozen=True)
class Naming:
    """How outputs are named: `label` (such as "sr-x4") marks default directories, `format` None keeps the input's.

    keep_suffix: a name keeps the input's suffix if the format changes, `a.tif` → `a.tif.png`. A suffix that no
        output can have is always kept: cameras write `b.jpg` and `b.mpo` as a pair, and a name must not depend on other
        files, or later runs would assign an output to another input.

    Raises UsageError for a suffix that contains a path separator and for an unknown format.
    """

    label: str
    output: Path | None = None
    format: str | None = None
    suffix: str = ""
    keep_suffix: bool = False

    def __post_init__(self) -> None:
        if "/" in self.suffix or os.sep in self.suffix or "\0" in self.suffix:
            raise UsageError(f"the suffix {self.suffix!r} contains a path separator", hint="Name a directory with -o.")
        if self.format is not None and self.format not in formats.names():
            raise UsageError(f"unknown format {self.format!r}", hint=f"Choose one of {', '.join(formats.names())}.")

    def names_one_file(self) -> bool:
        """Whether `-o` names an image file rather than a directory."""
        output = self.output
        if output is None or self._output_format is None:
            return False
        return is_remote(output) or not output.is_dir()

    @cached_property
    def _output_format(self) -> str | None:
        """The format that the name of -o states; it is asked for each of a million names."""
        return format_of(self.output) if self.output is not None else None

    def check(self, inputs: Sequence[Path]) -> None:
        """Raises UsageError or OutputError if `-o` is unsuitable for these inputs."""
        if self.output is None:
            return
        if not self.names_one_file():
            if not is_remote(self.output) and self.output.exists() and not self.output.is_dir():
                hint = "Give -o a directory, or a file name with an image suffix."
                raise OutputError("exists and is not a directory", path=self.output, hint=hint)
            return
        if len(inputs) != 1 or is_folder(inputs[0]):
            hint = "For a directory or several inputs, -o must name a directory."
            raise UsageError(f"-o {self.output} names a single file", hint=hint)
        if self.format is not None and self.format != format_of(self.output):
            raise UsageError(f"-o {self.output} contradicts --format {self.format}", hint=_ONE_OPTION_HINT)
        if self.suffix:
            raise UsageError("--suffix has no effect when -o names the file", hint=_ONE_OPTION_HINT)
        if self.keep_suffix:
            raise UsageError("--keep-suffix has no effect when -o names the file", hint=_ONE_OPTION_HINT)

    def root_of(self, given: Path) -> Path:
        """The directory that holds all outputs of the input `given`."""
        if self.output is not None:
            return self.output.parent if self.names_one_file() else self.output
        if not is_folder(given):
            if is_remote(given) and not given.kind.can_write:
                hint = "Choose a file or a directory for the outputs with -o."
                raise UsageError(f"{given} is on {given.kind.title}, where outputs cannot be written", hint=hint)
            return given.parent / f"adacode-{self.label}"
        named = given
        if not is_remote(given) and given.name in ("", ".."):
            named = Path(os.path.normpath(given.absolute()))
        if not named.name or (is_remote(given) and (given.is_top or not given.kind.can_write)):
            hint = "Choose a directory for the outputs with -o."
            raise UsageError(f"{given} has no parent directory for its outputs", hint=hint)
        return named.with_name(f"{named.name}-{self.label}")

    def name_of(self, found: Found) -> str:
        """The path of the output of `found` below its root, with forward slashes."""
        if self.output is not None and self.names_one_file():
            return self.output.name
        folder, slash, name = found.place.rpartition("/")
        if not found.in_tree and self.output is None:  # The output is beside the input, whatever its path in a list is.
            folder = slash = ""
        stem, extension = _split(_without_codes_suffix(name))
        own, of_outputs = formats.of_suffix(extension), formats.of_input_suffix(extension)
        target = formats.named(self.format) if self.format else own or of_outputs or formats.named(formats.FALLBACK)
        if target is not own:  # There is one value for each format.
            stem = f"{stem}{extension}" if self.keep_suffix or of_outputs is not None else stem
            extension = target.suffix
        named = f"{folder}{slash}{stem}{self.suffix}{extension}"
        return found.place if named == found.place else named  # One text for a million names takes half the memory.

    def is_own_output(self, found: Found, root: Path) -> bool:
        """Whether `found` is, by its suffix, an output that an earlier run wrote into the input's own tree."""
        if not self.suffix or not found.in_tree or not _split(found.place)[0].endswith(self.suffix):
            return False
        return is_same_folder(root, found.given)


def _split(place: str) -> tuple[str, str]:
    """(the path without its suffix, the suffix) as in pathlib; making a Path for each name would take too long."""
    dot = place.rfind(".")
    name = place.rfind("/") + 1
    return (place[:dot], place[dot:]) if name < dot < len(place) - 1 else (place, "")


def _without_codes_suffix(name: str) -> str:
    """`a.jpg.adacode` was made from `a.jpg`; `1.May.adacode` from an image without a known suffix."""
    stem, extension = _split(name)
    if extension.lower() != SUFFIX:
        return name
    is_known = formats.of_any_suffix(_split(stem)[1]) is not None
    return stem if is_known else f"{stem}{formats.named(formats.FALLBACK).suffix}"
