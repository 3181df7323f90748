"""AVIF: 8 bits through Pillow, deeper images are read by imagecodecs and written by OpenCV.

It has 8, 10 or 12 bits; deeper images have 16 bits in memory and are written with 12. Sizes are checked before
anything is decoded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any

import cv2
import imagecodecs
import numpy as np
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.ImageFile import ImageFile

from adacode_cli import formats
from adacode_cli.errors import OutputError
from adacode_cli.imaging import av1_header, exif, exif_editing, heif_boxes, pillow
from adacode_cli.imaging.codec import Codec, Page, one_page
from adacode_cli.imaging.image import Raster, Samples, lost_after_first
from adacode_cli.imaging.metadata import EXIF_DAMAGED, Metadata
from adacode_cli.imaging.refusals import check_size, parsing
from adacode_cli.imaging.samples import grey_alpha_as_rgb, narrowed, to_full_range

# The entry of an item in the list of items: version, flags, number (16 or 32 bits), protection, and kind.
_EXIF_ITEM = re.compile(rb"(infe(?:\x02.{3}.{2}|\x03.{3}.{4}).{2})Exif", re.DOTALL)
_MODES = ("L", "LA", "RGB", "RGBA")


def read(data: bytes, max_pixels: int, *, name: str) -> list[Raster]:
    """The first image of an AVIF file. Raises InputError."""
    with parsing("avif", name=name):
        image, damage = _opened(data)
    check_size(*image.size, max_pixels, name=name)
    with parsing("avif", name=name):
        metadata, lost = pillow.metadata_of(image)
        num_frames = getattr(image, "n_frames", 1)
        lost += damage + lost_after_first(num_frames)
        properties = heif_boxes.properties(data)
        cicp = heif_boxes.cicp_of(properties) or av1_header.cicp_of(heif_boxes.beginning_of_primary(data))
        metadata, lost = replace(metadata, cicp=cicp), lost + heif_boxes.lost_of(properties)
        orientation = _orientation(image)
        bits = heif_boxes.avif_bits(data, properties)
        if bits > 8:
            if num_frames > 1:
                _check_still(data, max_pixels, name=name)
            pixels, alpha = _deep(data, bits)
        else:
            image.load()
            pixels, alpha = pillow.planes(image.convert("RGB") if image.mode not in _MODES else image)
    if bits > 8 or num_frames == 1:  # Otherwise it is a frame, to which the properties do not apply.
        crop = heif_boxes.crop_of(properties, pixels.shape[1], pixels.shape[0])
        pixels = np.ascontiguousarray(pixels[crop])
        alpha = np.ascontiguousarray(alpha[crop]) if alpha is not None else None
    return [Raster(pixels, alpha, metadata, orientation=orientation, lost=lost, bits=bits if bits > 8 else None)]


def _orientation(image: ImageFile) -> int:
    """The orientation in the container, which Pillow writes into EXIF in place of the value there."""
    block = Image.Exif()
    block.load(image.info.get("exif") or b"")
    return int(block.get(exif.ORIENTATION, 1))


def _check_still(data: bytes, max_pixels: int, *, name: str) -> None:
    """Checks the size of the still image of an animation, which is read. Raises InputError."""
    still, _ = _opened(heif_boxes.without_frames(data))
    check_size(*still.size, max_pixels, name=name)


def _opened(data: bytes) -> tuple[ImageFile, tuple[str, ...]]:
    """(the opened file, losses). If Pillow refuses a file because of its EXIF, it is opened without it."""
    try:
        return pillow.opened(AvifImageFile, data), ()
    except Exception:  # Pillow does not document its exceptions here.
        bare = _without_exif(data)
        if bare == data:
            raise
        return pillow.opened(AvifImageFile, bare), (EXIF_DAMAGED,)


def _without_exif(file: bytes) -> bytes:
    """The file with another kind for its EXIF item, so that readers ignore it; unchanged if it has none."""
    return _EXIF_ITEM.sub(rb"\1none", file, count=1)


def _deep(file: bytes, bits: int) -> tuple[Samples, Samples | None]:
    """(H×W or H×W×3, alpha or None) uint16 of an AVIF of 10 or 12 bits. Raises ValueError."""
    # OpenCV reads limited range as full range in grey images, and cannot read deep ones that have alpha. With an
    # animation, imagecodecs would write all frames into the memory of one.
    samples: Samples = imagecodecs.avif_decode(heif_boxes.without_frames(file), numthreads=1)
    if samples.dtype != np.uint16:
        raise ValueError("it contains no pixels of more than 8 bits")
    planes = samples if samples.ndim == 3 else samples[..., None]
    colors = 3 if planes.shape[2] > 2 else 1
    alpha = to_full_range(planes[..., colors], bits) if planes.shape[2] > colors else None
    return to_full_range(planes[..., :3] if colors == 3 else planes[..., 0], bits), alpha


def write(pages: Sequence[Page], quality: int) -> bytes:
    """An AVIF file of H×W×C samples, uint8 or uint16, C = 1 to 4. Raises OutputError."""
    samples, metadata = pages[0]
    samples = grey_alpha_as_rgb(samples)  # None of the libraries takes grey with alpha.
    try:
        file = (_written_deep if samples.dtype == np.uint16 else _written)(samples, quality, metadata)
        return heif_boxes.with_cicp(file, metadata.cicp)
    except (OSError, ValueError, RuntimeError, cv2.error) as error:
        raise OutputError(f"cannot be written as AVIF: {error}", hint="Choose another format.") from error


def _written(samples: Samples, quality: int, metadata: Metadata) -> bytes:
    buffer = BytesIO()
    options: dict[str, Any] = {"quality": quality, "max_threads": 1}
    if samples.shape[2] > 1:
        options["subsampling"] = "4:4:4"
    if metadata.icc is not None:
        options["icc_profile"] = metadata.icc
    if metadata.exif is not None:
        # Pillow rewrites a block with an Orientation, which moves maker notes; without the tag it is upright too.
        options["exif"] = b"Exif\0\0" + exif_editing.with_tags(metadata.exif, (), without={exif.ORIENTATION})
    if metadata.xmp is not None:
        options["xmp"] = metadata.xmp
    Image.fromarray(samples if samples.shape[2] > 1 else samples[..., 0]).save(buffer, "AVIF", **options)
    return buffer.getvalue()


def _written_deep(samples: Samples, quality: int, metadata: Metadata) -> bytes:
    bits = formats.named("avif").deep_bits
    stored = narrowed(samples, bits)
    ordered = np.ascontiguousarray(stored[..., [2, 1, 0, 3][: stored.shape[2]]] if stored.shape[2] > 1 else stored)
    kinds = {
        cv2.IMAGE_METADATA_EXIF: metadata.exif,
        cv2.IMAGE_METADATA_XMP: metadata.xmp,
        cv2.IMAGE_METADATA_ICCP: metadata.icc,
    }
    present = {kind: np.frombuffer(data, np.uint8) for kind, data in kinds.items() if data is not None}
    options = [cv2.IMWRITE_AVIF_QUALITY, quality, cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_SPEED, 6]
    done, data = cv2.imencodeWithMetadata(".avif", ordered, list(present), list(present.values()), options)
    if not done:
        raise ValueError("its encoder failed")
    return bytes(data)


def _metadata_in(file: bytes) -> list[Metadata]:
    cicp = heif_boxes.cicp_of(heif_boxes.properties(file))
    return [replace(metadata, cicp=cicp) for metadata in pillow.metadata_in(AvifImageFile, file)]


def _same_exif(written: bytes, found: bytes | None) -> bool:
    """Whether `found` is `written`, possibly without its orientation, which `write` removes."""
    return found in (written, exif_editing.with_tags(written, (), without={exif.ORIENTATION}))


CODEC = Codec(read, write, _metadata_in, heif_boxes.header, one_page(heif_boxes.items), same_exif=_same_exif)
