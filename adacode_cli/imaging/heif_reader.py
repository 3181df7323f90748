"""AVIF and HEIC → samples: sizes are looked at before anything is decoded, deep pixels are not narrowed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.ImageFile import ImageFile

from adacode_cli.imaging import av1_header, exif, heif_boxes, heif_codec, pillow_reader
from adacode_cli.imaging.metadata import EXIF_DAMAGED
from adacode_cli.imaging.parsing import check_size, parsing
from adacode_cli.imaging.pillow_metadata import metadata_of
from adacode_cli.imaging.raster import Raster, lost_beside_first
from adacode_cli.imaging.samples import over_whole_range


def read_avif(data: bytes, max_pixels: int, *, name: str) -> Raster:
    """The first picture of an AVIF file. Raises InputError."""
    with parsing("avif", name=name):
        picture, damaged = _opened(data)
    check_size(*picture.size, max_pixels, name=name)
    with parsing("avif", name=name):
        said, lost = metadata_of(picture, "avif")
        num_frames = getattr(picture, "n_frames", 1)
        lost += damaged + lost_beside_first(num_frames)
        found = heif_boxes.properties(data)
        numbers = heif_boxes.cicp_of(found) or av1_header.cicp_of(heif_boxes.beginning_of_primary(data))
        said, lost = replace(said, cicp=numbers), lost + heif_boxes.lost_of(found)
        orientation = _orientation(picture)
        bits = heif_boxes.avif_bits(data, found)
        if bits > 8:
            if num_frames > 1:
                _check_still(data, max_pixels, name=name)
            pixels, alpha = heif_codec.deep_avif(data, bits)
        else:
            picture.load()
            pixels, alpha = pillow_reader.planes(picture.convert("RGB") if picture.mode not in _MODES else picture)
    if bits > 8 or num_frames == 1:  # else it is a frame, of which nothing is said there
        seen = heif_boxes.crop_of(found, pixels.shape[1], pixels.shape[0])
        pixels = np.ascontiguousarray(pixels[seen])
        alpha = np.ascontiguousarray(alpha[seen]) if alpha is not None else None
    return Raster(pixels, alpha, said, orientation=orientation, lost=lost, bits=bits if bits > 8 else None)


def _orientation(picture: ImageFile) -> int:
    """How the container turns the picture, which Pillow puts into EXIF, whatever that said before."""
    block = Image.Exif()
    block.load(picture.info.get("exif") or b"")
    return int(block.get(exif.ORIENTATION, 1))


def _check_still(data: bytes, max_pixels: int, *, name: str) -> None:
    """Of an animation the picture beside its frames is read, which may have another size. Raises InputError."""
    still, _ = _opened(heif_boxes.without_frames(data))
    check_size(*still.size, max_pixels, name=name)


def _opened(data: bytes) -> tuple[ImageFile, tuple[str, ...]]:
    """(the file, what is lost): Pillow refuses one for EXIF that it cannot read, so it gets it without then."""
    try:
        return pillow_reader.opened(AvifImageFile, data), ()
    except Exception:  # it does not say what it raises
        bare = heif_codec.without_exif(data)
        if bare == data:
            raise
        return pillow_reader.opened(AvifImageFile, bare), (EXIF_DAMAGED,)


def read_heic(data: bytes, max_pixels: int, *, name: str) -> Raster:
    """The primary picture of a HEIC file, which its reader turns by itself. Raises InputError."""
    with parsing("heic", name=name):
        file = heif_codec.heic(data, name=name)
        picture = file[file.primary_index]
        bits, (width, height) = int(picture.info["bit_depth"]), picture.size
    check_size(width, height, max_pixels, name=name)
    with parsing("heic", name=name):
        said, lost = metadata_of(picture, "heic")
        found = heif_boxes.properties(data)
        said, lost = replace(said, cicp=heif_boxes.cicp_of(found)), lost + heif_boxes.lost_of(found)
        lost += lost_beside_first(len(file), "picture")
        if picture.info.get("depth_images") or picture.info.get("aux"):
            lost += ("its depth, brightness or other auxiliary maps",)
        samples = np.asarray(picture)
    planes = samples if samples.ndim == 3 else samples[..., None]
    colors = 3 if planes.shape[2] > 2 else 1
    alpha = np.ascontiguousarray(planes[..., colors]) if planes.shape[2] > colors else None
    pixels = np.ascontiguousarray(planes[..., :3] if colors == 3 else planes[..., 0])
    if colors == 1 and heif_boxes.is_limited(found):
        pixels = heif_codec.of_whole_range(pixels, bits)
    if bits > 8:
        pixels = over_whole_range(pixels, bits)
        alpha = over_whole_range(alpha, bits) if alpha is not None else None
    return Raster(pixels, alpha, said, orientation=1, lost=lost, bits=bits if bits > 8 else None)


_MODES = ("L", "LA", "RGB", "RGBA")
