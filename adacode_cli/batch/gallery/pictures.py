"""What the gallery shows of one image: its thumbnail before and after, side by side in one file, and facts about both.

They are made while the image is in memory, by the threads that read and write, so the network does not wait for them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adacode_cli.batch.gallery.exif_text import exif_text
from adacode_cli.batch.gallery.overlays import bases_of, bases_png, hole_png
from adacode_cli.batch.gallery.places import complete_pictures, picture_path
from adacode_cli.batch.output_files import write_again
from adacode_cli.batch.restoring import Restored
from adacode_cli.codes.image import Codes
from adacode_cli.imaging.image import Decoded, Samples
from adacode_cli.imaging.samples import to_depth, top_of
from adacode_cli.storage import listing
from adacode_cli.storage.path import is_remote

THUMBNAIL_PX = 320
"""The longer side of a thumbnail."""
_PREVIEW_PX = 2048
_QUALITY, _PREVIEW_QUALITY = 72, 85
# Browsers show these; of other formats the gallery has a preview.
SHOWN_BY_BROWSERS = frozenset({"jpeg", "png", "webp", "bmp", "avif"})
# Of these, all browsers turn the image as its file states. Chromium does not turn a WebP.
_TURNED_BY_BROWSERS = frozenset({"jpeg", "avif"})
# Profiles of printers have megabytes; a thumbnail with a small one has the right colours.
_MAX_PROFILE_BYTES = 4096
_BINS = 64

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Shown:
    """What is kept of one image for the gallery.

    thumbnail: H×W×C uint8, C = 3, or 4 with alpha. preview: a WebP file, if browsers cannot show the image's format.
    facts: for the page: numbers, texts and lists of them. hole: as `overlays.reduced_hole` gives it, if one was filled.
    """

    thumbnail: Pixels
    icc: bytes | None
    preview: bytes | None
    facts: dict[str, Any]
    hole: Pixels | None = None


def shown_of(image: Decoded, num_bytes: int | None, *, preview: bool = False) -> Shown:
    """What is shown of a decoded image. num_bytes: of its file. preview: is made, whatever the format is."""
    thumbnail = _shrunk(image, THUMBNAIL_PX)
    is_small = image.icc is not None and len(image.icc) <= _MAX_PROFILE_BYTES
    icc = image.icc if is_small and image.colors == 3 else None
    is_turned = image.turned and image.format in SHOWN_BY_BROWSERS - _TURNED_BY_BROWSERS
    has_preview = preview or image.format not in SHOWN_BY_BROWSERS or is_turned
    view = _webp(_shrunk(image, _PREVIEW_PX), icc, _PREVIEW_QUALITY) if has_preview else None
    height, width = image.size
    facts = {
        "format": image.format,
        "width": width,
        "height": height,
        "bits": image.bits or 8 * image.pixels.itemsize,
        "grey": image.colors == 1,
        "alpha": image.alpha is not None,
        "pages": image.num_pages,
        "bytes": num_bytes,
        "profile": len(image.icc or b""),
        "xmp": len(image.xmp or b""),
        "iptc": len(image.iptc or b""),
        "preview": has_preview,
        "turned": is_turned,
        "exif": exif_text(image.exif),
        "histogram": _histogram(thumbnail),
    }
    return Shown(thumbnail, icc, view, facts)


def save_picture(
    folder: Path,
    sha256: str,
    before: Shown | None,
    after: Shown,
    *,
    restored: Restored | None = None,
    codes: Codes | None = None,
    pages: Sequence[Mapping[str, Any]] = (),
    figures: Mapping[str, float] | None = None,
) -> None:
    """Writes the files of one output into the gallery `folder`. Raises OutputError.

    sha256: of the output's content. before: None if there is no image to compare with. restored, codes: what the
    engine reported, if it is known. pages: what `documents.save_pages` returned. figures: by their names, for filters
    and order. The thumbnail comes last, so where it is there, all files are.
    """
    bases, hole = bases_png(restored), None if before is None else before.hole
    sides, differences = joined(before, after)
    facts: dict[str, Any] = {
        "before": before and before.facts,
        "after": after.facts,
        "basis": bases_of(restored, codes),
        "maps": bases is not None,
        "mapsExtent": None if bases is None or restored is None else restored.weights_extent,
        "hole": hole is not None,
        "pages": pages,
        "figures": {name: value for name, value in (figures or {}).items() if math.isfinite(value)},
        **differences,
    }
    files = {
        "-bases.png": bases,
        "-hole.png": None if hole is None else hole_png(hole),
        ".json": json.dumps(facts, separators=(",", ":")).encode("ascii"),
    }
    _write(folder, sha256, files)
    save_views(folder, sha256, before, after, sides)


def joined(before: Shown | None, after: Shown) -> tuple[Pixels, dict[str, float]]:
    """(the thumbnails before and after side by side, how much they differ); the one after alone without another."""
    if before is None:
        return after.thumbnail, {}
    sides = [_of_size(before.thumbnail, after.thumbnail.shape), after.thumbnail]
    differences = _differences(*sides)
    if any(side.shape[2] == 4 for side in sides):
        sides = [_with_alpha(side) for side in sides]
    return np.hstack(sides), differences


def save_views(
    folder: Path, sha256: str, before: Shown | None, after: Shown, thumbnails: Pixels, *, page: str = ""
) -> None:
    """Writes large views, if there are any, and then the thumbnails; page: the ending of a further page."""
    files = {
        f"{page}-before.webp": before.preview if before is not None else None,
        f"{page}-after.webp": after.preview,
        f"{page}.webp": _webp(thumbnails, after.icc, _QUALITY),
    }
    _write(folder, sha256, files)


def _write(folder: Path, sha256: str, files: Mapping[str, bytes | None]) -> None:
    """Writes the files of an output, by their endings."""
    for ending, data in files.items():
        if data is not None:
            write_again(picture_path(folder, sha256, ending), data)


def has_picture(folder: Path, sha256: str) -> bool:
    """Whether the files of an output are there. After a crash of the machine they may be empty. Raises InputError.

    In a store they were when this process first looked into their folder, of which it takes one list.
    """
    if is_remote(place := picture_path(folder, sha256, "")):
        return place.name in _pictures_in(place.parent)
    try:
        return all(picture_path(folder, sha256, ending).stat().st_size for ending in (".webp", ".json"))
    except OSError:
        return False


@cache
def _pictures_in(folder: Path) -> frozenset[str]:
    """The pictures of which both files are in this folder of a store. Raises InputError."""
    assert is_remote(folder), "the caller has checked this"
    return complete_pictures(name for name, _ in listing.entries(folder))


def _shrunk(image: Decoded, long_side: int) -> Pixels:
    """H×W×C uint8 of at most `long_side` pixels; C = 3, or 4 with alpha."""
    height, width = image.size
    scale = min(1.0, long_side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = _as_uint8(_resized(image.pixels, size))
    colors = np.repeat(small[..., None], 3, axis=2) if small.ndim == 2 else small
    if image.alpha is None or image.alpha.min() == top_of(image.alpha.dtype):
        return colors
    return np.dstack([colors, _as_uint8(_resized(image.alpha, size))])


def _resized(samples: Samples, size: tuple[int, int]) -> Samples:
    return (
        samples if samples.shape[1::-1] == size else np.asarray(cv2.resize(samples, size, interpolation=cv2.INTER_AREA))
    )


def _as_uint8(samples: Samples) -> Pixels:
    return np.ascontiguousarray(to_depth(samples, np.uint8), np.uint8)


def _of_size(thumbnail: Pixels, shape: tuple[int, ...]) -> Pixels:
    """The thumbnail with the height and width of another one; pixels of small images stay squares."""
    if thumbnail.shape[:2] == shape[:2]:
        return thumbnail
    way = cv2.INTER_AREA if thumbnail.shape[0] > shape[0] else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(thumbnail, (shape[1], shape[0]), interpolation=way), np.uint8)


def _with_alpha(side: Pixels) -> Pixels:
    return side if side.shape[2] == 4 else np.dstack([side, np.full(side.shape[:2], 255, np.uint8)])


def _webp(pixels: Pixels, icc: bytes | None, quality: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "webp", quality=quality, method=2, **({"icc_profile": icc} if icc else {}))
    return buffer.getvalue()


def _differences(before: Pixels, after: Pixels) -> dict[str, float]:
    """How much two thumbnails of one size differ, of full scale: "change", the mean difference of their values, and
    "drift", the largest difference of the means of a channel.
    """
    gap = after[..., :3].astype(np.float32) - before[..., :3]
    return {
        "change": round(float(np.abs(gap).mean()) / 255, 5),
        "drift": round(float(np.abs(gap.mean(axis=(0, 1))).max()) / 255, 5),
    }


def _histogram(thumbnail: Pixels) -> list[list[int]]:
    """Counts of red, green and blue of a thumbnail, in 64 bins each."""
    width = 256 // _BINS
    return [np.bincount(thumbnail[..., c].ravel() // width, minlength=_BINS).tolist() for c in range(3)]
