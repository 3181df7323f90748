"""Runs that write codes beside their pictures, and runs that make pictures of codes.

Both make the picture of the same `Codes` by the same call, so a picture that is decoded from a file is the one that
was written when the file was made, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adacode_cli.batch.plan import Job
from adacode_cli.batch.restoring import Restored
from adacode_cli.batch.stages import Stages, Work
from adacode_cli.codes.file import SUFFIX, check_start, from_bytes, to_bytes
from adacode_cli.codes.picture import Codes
from adacode_cli.errors import OutputError, UsageError
from adacode_cli.imaging import colours
from adacode_cli.imaging.exif_editing import resolution_of, with_resolution
from adacode_cli.imaging.hidden_colors import covered
from adacode_cli.imaging.image import Decoded, lost_beside_first


class Coder(Protocol):
    """The part of `adacode_cli.engine.restorer.Restorer` that codes need."""

    def encode(self, image: NDArray[Any]) -> Codes:
        """H×W or H×W×3 picture → its codes."""
        ...

    def decode(self, codes: Codes) -> Restored:
        """The picture that codes hold. Raises WeightsError for codes of other weights."""
        ...


@dataclass(frozen=True)
class CodesPlace:
    """Where `--save-codes` puts files: `given` itself if its name ends in .adacode, else in a tree as the outputs'."""

    given: Path

    @property
    def names_one_file(self) -> bool:
        return self.given.suffix.lower() == SUFFIX and not self.given.is_dir()

    def path(self, job: Job) -> Path:
        """The file of codes of a job; the output's full name keeps `a.jpg` and `a.png` apart."""
        return self.given if self.names_one_file else self.given / f"{job.name}{SUFFIX}"

    def check(self, inputs: Sequence[Path]) -> None:
        """Raises UsageError where one file is named for several pictures, OutputError where a file is in the way."""
        if self.names_one_file and (len(inputs) != 1 or inputs[0].is_dir()):
            hint = "With a directory or several inputs, --save-codes names a directory."
            raise UsageError(f"--save-codes {self.given} is the name of one file", hint=hint)
        if not self.names_one_file and self.given.exists() and not self.given.is_dir():
            hint = f"Give --save-codes a directory, or a file name that ends in {SUFFIX}."
            raise OutputError("exists and is not a directory", path=self.given, hint=hint)


@dataclass(frozen=True, kw_only=True)
class SavingStages(Stages):
    """Decodes each picture from its own codes, and writes these to `codes_path(job)`."""

    coder: Coder
    codes_path: Callable[[Job], Path]

    def take_in(self, work: Work, data: bytes, mask_data: bytes | None = None) -> None:
        """As `Stages` has it. Of pages beyond the first and of colours in numbers a file of codes holds nothing.

        The output is to be what comes out of that file.
        """
        super().take_in(work, data, mask_data)
        assert work.image is not None, "it was taken in"
        said = work.image.metadata
        kept = colours.placed(said, None, grey=work.image.pixels.ndim == 2)
        lost = (*work.image.lost, *lost_beside_first(len(work.image.pages), "page"), *colours.lost(said, kept))
        work.image = replace(work.image, lost=lost, more_pages=(), icc=kept.icc, cicp=kept.cicp)

    def infer(self, work: Work) -> Work:
        """As `Stages` has it."""
        assert work.image is not None, "read comes before infer"
        with work.watch.running():
            image = work.image
            codes, block = (
                self.coder.encode(covered(image.pixels, image.alpha)),
                with_resolution(image.exif, image.resolution),
            )
            codes = replace(codes, alpha=image.alpha, icc=image.icc, exif=block, xmp=image.xmp, iptc=image.iptc)
            work.codes = codes
            decoded, work.restored = _decoded(self.coder, work.codes, image.format, image.notes)
            work.image = replace(decoded, bits=image.bits, lost=image.lost, stated=image.stated)
        return work

    def paths(self, job: Job) -> tuple[Path, ...]:
        """The codes too."""
        return (*super().paths(job), self.codes_path(job))

    def besides(self, work: Work) -> Iterator[tuple[Path, bytes]]:
        """The codes too."""
        assert work.codes is not None, "infer comes before write"
        yield self.codes_path(work.job), to_bytes(work.codes)
        yield from super().besides(work)


@dataclass(frozen=True, kw_only=True)
class FromCodesStages(Stages):
    """Reads files of codes instead of pictures."""

    coder: Coder

    def check_kind(self, head: bytes, name: str) -> None:
        """Raises InputError unless it is a file of codes."""
        check_start(head, name)

    def take_in(self, work: Work, data: bytes, mask_data: bytes | None = None) -> None:
        """As `Stages` has it; there are no masks."""
        del mask_data
        work.codes = from_bytes(data, name=str(work.job.source), max_pixels=self.keeping.max_pixels)

    def foresee(self, work: Work, format_name: str) -> None:
        """As `Stages` has it, for a picture that is not there yet."""
        assert work.codes is not None, "they were taken in"
        codes = work.codes
        shape = (codes.height, codes.width) if codes.grey else (codes.height, codes.width, 3)
        stand_in = np.broadcast_to(np.zeros((), codes.dtype), shape)
        image = Decoded(stand_in, codes.alpha, "png", codes.icc, codes.exif, (), codes.xmp, codes.iptc)
        self.foresight.check(image, (), format_name, self.keeping)

    def infer(self, work: Work) -> Work:
        """As `Stages` has it."""
        assert work.codes is not None, "read comes before infer"
        with work.watch.running():
            work.image, work.restored = _decoded(self.coder, work.codes, "png", ())
        return work


def _decoded(coder: Coder, codes: Codes, format_name: str, notes: tuple[str, ...]) -> tuple[Decoded, Restored]:
    """The picture of `codes`, with all that passes by the network."""
    restored = coder.decode(replace(codes, alpha=None))
    pixels = np.ascontiguousarray(restored.image)
    said = (*notes, *restored.notes)
    found = resolution_of(codes.exif) if codes.exif is not None else None
    return Decoded(
        pixels, codes.alpha, format_name, codes.icc, codes.exif, said, codes.xmp, codes.iptc, found
    ), restored
