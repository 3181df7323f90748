"""HEIC, with pillow-heif, which is optional because it contains a video encoder under a copyleft licence.

It has 8, 10 or 12 bits; deeper images have 16 bits in memory and are written with 10, because few readers support 12.
Sizes are checked before anything is decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np

from adacode_cli import formats
from adacode_cli.errors import InputError, OutputError
from adacode_cli.imaging import heif_boxes, pillow
from adacode_cli.imaging.codec import Codec, Page, one_page, required
from adacode_cli.imaging.image import Raster, Samples, lost_after_first
from adacode_cli.imaging.metadata import Metadata
from adacode_cli.imaging.refusals import check_size, parsing
from adacode_cli.imaging.samples import grey_alpha_as_rgb, to_full_range


def read(data: bytes, max_pixels: int, *, name: str) -> list[Raster]:
    """The primary image of a HEIC file, which the library makes upright. Raises InputError."""
    with parsing("heic", name=name):
        file = _opened(data, name=name)
        image = file[file.primary_index]
        bits, (width, height) = int(image.info["bit_depth"]), image.size
    check_size(width, height, max_pixels, name=name)
    with parsing("heic", name=name):
        metadata, lost = pillow.metadata_of(image)
        properties = heif_boxes.properties(data)
        metadata, lost = replace(metadata, cicp=heif_boxes.cicp_of(properties)), lost + heif_boxes.lost_of(properties)
        lost += lost_after_first(len(file), "image")
        if image.info.get("depth_images") or image.info.get("aux"):
            lost += ("its depth, brightness or other auxiliary maps",)
        samples = np.asarray(image)
    planes = samples if samples.ndim == 3 else samples[..., None]
    colors = 3 if planes.shape[2] > 2 else 1
    alpha = np.ascontiguousarray(planes[..., colors]) if planes.shape[2] > colors else None
    pixels = np.ascontiguousarray(planes[..., :3] if colors == 3 else planes[..., 0])
    if colors == 1 and heif_boxes.is_limited(properties):
        pixels = _from_limited_range(pixels, bits)
    if bits > 8:
        pixels = to_full_range(pixels, bits)
        alpha = to_full_range(alpha, bits) if alpha is not None else None
    return [Raster(pixels, alpha, metadata, orientation=1, lost=lost, bits=bits if bits > 8 else None)]


def _opened(file: bytes, *, name: str) -> Any:  # noqa: ANN401 (a class of an optional package)
    """The opened HEIC file, with the depth as stored; nothing is decoded yet. Raises InputError, ValueError."""
    module = required(formats.named("heic"), InputError, name)
    assert module is not None, "HEIC has an optional package"
    return module.open_heif(BytesIO(file), convert_hdr_to_8bit=False, hdr_to_16bit=False)


def _from_limited_range(samples: Samples, bits: int) -> Samples:
    """Grey samples of limited range, which libheif returns as stored, in the full range of `bits` bits.

    If samples exceed the limited range, they are of full range despite their description: libheif writes such files.
    """
    black, white = 16 << (bits - 8), 235 << (bits - 8)
    if samples.size == 0 or samples.min() < black or samples.max() > white:
        return samples
    top, span = (1 << bits) - 1, white - black
    return ((((samples.astype(np.uint32) - black) * top) + span // 2) // span).astype(samples.dtype)


def write(pages: Sequence[Page], quality: int) -> bytes:
    """A HEIC file of H×W×C samples, uint8 or uint16, C = 1 to 4. Raises OutputError."""
    samples, metadata = pages[0]
    module = required(formats.named("heic"), OutputError)
    assert module is not None, "HEIC has an optional package"
    samples = grey_alpha_as_rgb(samples)  # The library does not support grey with alpha.
    try:
        kind = {1: "L", 3: "RGB", 4: "RGBA"}[samples.shape[2]] + (";16" if samples.dtype == np.uint16 else "")
        image = module.from_bytes(kind, samples.shape[1::-1], samples.tobytes())
        options: dict[str, Any] = {"quality": quality, "chroma": 444}
        if metadata.exif is not None:
            options["exif"] = b"Exif\0\0" + metadata.exif
        if metadata.xmp is not None:
            options["xmp"] = metadata.xmp
        if metadata.icc is not None:
            image.info["icc_profile"], image.info["icc_profile_type"] = metadata.icc, "prof"
        buffer = BytesIO()
        image.save(buffer, **options)
        return heif_boxes.with_cicp(buffer.getvalue(), metadata.cicp)
    except (OSError, ValueError, RuntimeError) as error:
        raise OutputError(f"cannot be written as HEIC: {error}", hint="Choose another format.") from error


def _metadata_in(file: bytes) -> list[Metadata]:
    container = _opened(file, name="")
    metadata, _ = pillow.metadata_of(container[container.primary_index])
    return [replace(metadata, cicp=heif_boxes.cicp_of(heif_boxes.properties(file)))]


CODEC = Codec(read, write, _metadata_in, heif_boxes.header, one_page(heif_boxes.items))
