"""Runs that write codes beside their images, and runs that make images from codes.

Both make the image from the same `Codes` by the same call, so an image that is decoded from a file is identical to the
image that was written together with the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adacode_cli import formats
from adacode_cli.batch.places import is_folder
from adacode_cli.batch.plan import Job
from adacode_cli.batch.restoring import Restored
from adacode_cli.batch.stages import Inferred, OnPage, Read, Stages, no_listener
from adacode_cli.codes.file import SUFFIX, check_start, from_bytes, to_bytes
from adacode_cli.codes.image import Codes
from adacode_cli.codes.prior import Prior
from adacode_cli.engine.progress import part
from adacode_cli.errors import OutputError, UsageError
from adacode_cli.imaging import colours
from adacode_cli.imaging.exif_editing import resolution_of, with_resolution
from adacode_cli.imaging.image import Decoded, lost_after_first
from adacode_cli.storage.path import is_remote


class Coder(Protocol):
    """The part of `adacode_cli.engine.restorer.Restorer` that codes need."""

    def encode(self, image: NDArray[Any], alpha: NDArray[Any] | None) -> Codes:
        """H×W or H×W×3 image, and its alpha if it has one → its codes and the alpha."""
        ...

    def decode(self, codes: Codes) -> Restored:
        """The image of the codes. Raises WeightsError for codes of other weights."""
        ...

    def prior(self) -> Prior | None:
        """What files of codes are packed with, None if the weights have no prior."""
        ...


@dataclass(frozen=True)
class CodesPlace:
    """Where `--save-codes` writes: the file `given` if its name ends in .adacode, else a tree like that of outputs.

    A directory that exists may have any name; in a store, where there are none, the name alone decides.
    """

    given: Path

    @property
    def names_one_file(self) -> bool:
        return self.given.suffix.lower() == SUFFIX and (is_remote(self.given) or not self.given.is_dir())

    def path(self, job: Job) -> Path:
        """The file of codes of a job; it contains the output's full name, so `a.jpg` and `a.png` differ."""
        return self.given if self.names_one_file else self.given / f"{job.name}{SUFFIX}"

    def check(self, inputs: Sequence[Path]) -> None:
        """Raises UsageError if one file is named for several images, or the name is that of an image; OutputError if
        `given` is not a directory.
        """
        if self.names_one_file and (len(inputs) != 1 or is_folder(inputs[0])):
            hint = "For a directory or several inputs, --save-codes must name a directory."
            raise UsageError(f"--save-codes {self.given} names a single file", hint=hint)
        exists = not is_remote(self.given) and self.given.exists()
        if formats.of_any_suffix(self.given.suffix) and not exists:
            hint = f"Name a directory, or a file whose name ends in {SUFFIX}."
            raise UsageError(f"--save-codes {self.given} has the name of an image", hint=hint)
        if not self.names_one_file and exists and not self.given.is_dir():
            hint = f"Give --save-codes a directory, or a file name that ends in {SUFFIX}."
            raise OutputError("exists and is not a directory", path=self.given, hint=hint)


@dataclass(frozen=True, kw_only=True)
class SavingStages(Stages):
    """Decodes each image from its own codes, and writes these to `codes_path(job)`.

    levels: of the codes that are kept; all if it is None.
    """

    coder: Coder
    codes_path: Callable[[Job], Path]
    levels: int | None = None

    def take_in(self, job: Job, data: bytes, mask_data: bytes | None = None) -> Read:
        """As in `Stages`, without further pages and CICP colours, because a file of codes cannot hold them.

        The output must be the image that is decoded from that file.
        """
        read = super().take_in(job, data, mask_data)
        image = read.image
        placed = colours.placed(image.metadata, None, grey=image.pixels.ndim == 2)
        lost = (*image.lost, *lost_after_first(image.num_pages, "page"), *colours.lost(image.metadata, placed))
        first = replace(image, lost=lost, more_pages=(), following=(), icc=placed.icc, cicp=placed.cicp)
        return replace(read, image=first, further=None)

    def infer(self, job: Job, read: Read, on_page: OnPage = no_listener) -> Inferred:
        """As in `Stages`."""
        del job, on_page
        image = read.image
        with part(0, 0.5):
            codes = self.coder.encode(image.pixels, image.alpha)
        codes = codes if self.levels is None else codes.of_levels(self.levels)
        block = with_resolution(image.exif, image.resolution)
        codes = replace(codes, icc=image.icc, exif=block, xmp=image.xmp, iptc=image.iptc)
        with part(0.5, 1):
            inferred = _decoded(self.coder, codes, image.format, image.notes)
        decoded = replace(inferred.image, bits=image.bits, lost=image.lost, stated=image.stated)
        return Inferred(decoded, inferred.restored, inferred.precisions, codes)

    def paths(self, job: Job) -> tuple[Path, ...]:
        """As in `Stages`, with the file of codes."""
        return (*super().paths(job), self.codes_path(job))

    def side_files(self, job: Job, inferred: Inferred) -> Iterator[tuple[Path, bytes]]:
        """As in `Stages`, with the file of codes."""
        assert inferred.codes is not None, "`infer` makes them"
        yield self.codes_path(job), to_bytes(inferred.codes, self.coder.prior())
        yield from super().side_files(job, inferred)


@dataclass(frozen=True, kw_only=True)
class FromCodesStages(Stages):
    """Reads files of codes instead of images."""

    coder: Coder

    def check_kind(self, head: bytes, name: str) -> None:
        """Raises InputError unless it is a file of codes."""
        check_start(head, name)

    def take_in(self, job: Job, data: bytes, mask_data: bytes | None = None) -> Read:
        """As in `Stages`; there are no masks."""
        del mask_data
        limit, prior = self.keeping.max_pixels, self.coder.prior
        codes = from_bytes(data, name=str(job.source), max_pixels=limit, prior=prior)
        shape = (codes.height, codes.width) if codes.grey else (codes.height, codes.width, 3)
        stand_in = np.broadcast_to(np.zeros((), codes.dtype), shape)
        image = Decoded(stand_in, codes.alpha, formats.FALLBACK, codes.icc, codes.exif, (), codes.xmp, codes.iptc)
        return Read(image, codes=codes)

    def infer(self, job: Job, read: Read, on_page: OnPage = no_listener) -> Inferred:
        """As in `Stages`."""
        del job, on_page
        assert read.codes is not None, "`take_in` reads them"
        return _decoded(self.coder, read.codes, formats.FALLBACK, ())


def _decoded(coder: Coder, codes: Codes, format_name: str, notes: tuple[str, ...]) -> Inferred:
    """The image of `codes`, with alpha and metadata, which do not pass through the network."""
    restored = coder.decode(replace(codes, alpha=None))
    pixels = np.ascontiguousarray(restored.image)
    all_notes = (*notes, *restored.notes)
    resolution = resolution_of(codes.exif) if codes.exif is not None else None
    image = Decoded(
        pixels, codes.alpha, format_name, codes.icc, codes.exif, all_notes, codes.xmp, codes.iptc, resolution
    )
    return Inferred(image, restored, (restored.precision,))
