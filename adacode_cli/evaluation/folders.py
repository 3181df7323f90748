"""Scores of images that some program has restored already, in a folder for each method, against their originals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from adacode_cli.errors import InputError
from adacode_cli.evaluation.metrics import MIN_SIDE, Perceptual
from adacode_cli.evaluation.pairs import Pair, counterparts, images_below, load_pairs
from adacode_cli.evaluation.score import Mask, Scores, fitted, mean_scores, read_rgb, scores_of
from adacode_cli.imaging.mask import read_mask

# Results of an enlargement lack fewer pixels than its factor, if the size of the original is no multiple of it.
MAX_MISSING_PX = 8


@dataclass(frozen=True)
class FileScores:
    """One restored image. cut: its original was cut at the right and the bottom to the size that the image has."""

    name: str
    scores: Scores
    cut: bool


@dataclass(frozen=True)
class Method:
    """A folder of restored images under the name that tables show, with the pairs in it."""

    name: str
    folder: Path
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class MethodScores:
    """All images of one method."""

    name: str
    folder: Path
    rows: tuple[FileScores, ...]

    @property
    def means(self) -> Scores:
        """Over all images."""
        return mean_scores(row.scores for row in self.rows)


def find_methods(originals: Path, folders: Mapping[str, Path]) -> tuple[Method, ...]:
    """The pairs of each method: name → folder. Raises InputError where originals have no counterpart."""
    return tuple(Method(name, folder, load_pairs(originals, folder)) for name, folder in folders.items())


def find_masks(originals: Path, masks: Path | None) -> dict[str, Path]:
    """The mask of each original by its name; none without a folder. Raises InputError where one is missing."""
    return {} if masks is None else counterparts(images_below(originals), images_below(masks), masks)


def compare_folders(
    methods: Sequence[Method],
    masks: Mapping[str, Path],
    perceptual: Perceptual | None = None,
    on_image: Callable[[Method, Pair], None] = lambda _method, _pair: None,
) -> tuple[MethodScores, ...]:
    """Scores every image of every method; PSNR of what is in a hole, where there is a mask.

    Raises InputError for images that cannot be read or that have other sizes than their originals. A restored image may
    lack up to `MAX_MISSING_PX` - 1 pixels of each side.
    """
    found = []
    for method in methods:
        rows = []
        for pair in method.pairs:
            on_image(method, pair)
            rows.append(_scored(pair, masks.get(pair.name), perceptual))
        found.append(MethodScores(method.name, method.folder, tuple(rows)))
    return tuple(found)


def _scored(pair: Pair, mask: Path | None, perceptual: Perceptual | None) -> FileScores:
    whole, restored = read_rgb(pair.original), read_rgb(pair.restored)
    original = fitted(whole, restored.shape[:2], MAX_MISSING_PX)
    if original is None:
        what = f"has {restored.shape[1]}×{restored.shape[0]} pixels, and its original {whole.shape[1]}×{whole.shape[0]}"
        hint = f"It may lack fewer than {MAX_MISSING_PX} pixels at the right and the bottom, and have no more."
        raise InputError(what, path=pair.restored, hint=hint)
    if min(original.shape[:2]) < MIN_SIDE:
        raise InputError(f"is smaller than {MIN_SIDE} px", path=pair.restored, hint="Use larger test images.")
    hole = None if mask is None else _hole(mask, whole.shape[:2], original.shape[:2])
    return FileScores(pair.name, scores_of(restored, original, hole, perceptual), original.shape != whole.shape)


def _hole(path: Path, size: tuple[int, int], kept: tuple[int, int]) -> Mask:
    hole: Mask = read_mask(path, size=size)[: kept[0], : kept[1]]
    if not hole.any():
        raise InputError("has no hole", path=path, hint="Paint the holes white.")
    return hole
