"""WebP, with Pillow; images that exceed the pixel limit of Pillow are read with OpenCV."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO

import cv2
import numpy as np
from PIL import Image
from PIL.WebPImagePlugin import WebPImageFile

from adacode_cli.imaging import pillow
from adacode_cli.imaging.codec import Codec, Header, Page, one_page
from adacode_cli.imaging.image import Item, Raster
from adacode_cli.imaging.inventory import COLOR_PROFILE, CREDENTIALS, FRAMES, XMP, trailing_items
from adacode_cli.imaging.iso_boxes import Bytes
from adacode_cli.imaging.metadata import Metadata
from adacode_cli.imaging.refusals import check_size, parsing, too_many_pixels
from adacode_cli.imaging.tiff_tags import items_of_exif

_MAX_NUM_PIXELS = 16383**2  # of any WebP
_FLAGS = {0x20: "icc", 0x08: "exif", 0x04: "xmp"}
_BLOCKS = {b"ICCP": COLOR_PROFILE, b"XMP ": XMP}
_FRAME_BYTES = 16  # The description of a frame, before its chunks.
_PIXELS = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM"})


def read(data: bytes, max_pixels: int, *, name: str) -> list[Raster]:
    """The first image of a WebP. Raises InputError."""
    try:
        with parsing("webp", name=name):
            image = _opened(data)
    except _BeyondPillow as error:
        if error.num_pixels > max_pixels:
            raise too_many_pixels(f"{error.num_pixels} pixels", max_pixels, name=name) from error
        return [replace(_by_opencv(data, name=name), lossless=_is_lossless(data))]
    check_size(*image.size, max_pixels, name=name)
    with parsing("webp", name=name):
        image.load()
        return [replace(pillow.loaded(image, *pillow.metadata_of(image)), lossless=_is_lossless(data))]


def _is_lossless(data: bytes) -> bool:
    """Whether the first image of a WebP that could be decoded is stored without loss."""
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind in (b"VP8 ", b"VP8L"):
            return bool(kind == b"VP8L")
        # The chunks of the first frame of an animation follow the description of the frame.
        at += 8 + (_FRAME_BYTES if kind == b"ANMF" else length + length % 2)
    return False


class _BeyondPillow(Exception):  # noqa: N818 (a branch, not a failure)
    """The WebP reader of Pillow enforces its global pixel limit, and gives the number of pixels only in a message."""

    def __init__(self, error: Image.DecompressionBombError) -> None:
        super().__init__(str(error))
        numbers = re.findall(r"\d+", str(error))
        self.num_pixels = int(numbers[0]) if numbers else _MAX_NUM_PIXELS


def _opened(data: bytes) -> WebPImageFile:
    try:
        return WebPImageFile(BytesIO(data))
    except Image.DecompressionBombError as error:
        raise _BeyondPillow(error) from error


def _by_opencv(data: bytes, *, name: str) -> Raster:
    with parsing("webp", name=name):
        samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if samples is None:
            raise ValueError("it contains no image")
    alpha = np.ascontiguousarray(samples[..., 3]) if samples.shape[2] == 4 else None
    lost = ("metadata (not read: it exceeds the pixel limit set in Pillow)",)
    return Raster(np.ascontiguousarray(samples[..., 2::-1]), alpha, lost=lost)


def header(file: Bytes) -> Header | None:
    """The header, from the first chunk, in each of the three kinds of files."""
    head = bytes(file[12:30])
    kind, body = head[:4], head[8:]
    if kind == b"VP8X":
        metadata = frozenset(name for flag, name in _FLAGS.items() if body[0] & flag)
        width, height = (int.from_bytes(body[at : at + 3], "little") + 1 for at in (4, 7))
        return Header(width, height, metadata=metadata)
    if kind == b"VP8L" and body[0] == 0x2F:
        packed = int.from_bytes(body[1:5], "little")
        return Header((packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", body[6:10])
        return Header(width & 0x3FFF, height & 0x3FFF)
    return None


def write(pages: Sequence[Page], quality: int) -> bytes:
    """A WebP file of H×W×C uint8 samples, C = 1 to 4, with the metadata that it can hold. Raises OutputError."""
    samples, metadata = pages[0]
    # exact: colours of fully transparent pixels are kept, as in the other formats with alpha.
    options = {"quality": quality, "method": 4, "exact": True} | pillow.options_for(metadata)
    image = pillow.image_of(samples)
    return pillow.saved(image.convert("RGBA" if image.mode in ("LA", "RGBA") else "RGB"), "webp", options)


def _metadata_in(file: bytes) -> list[Metadata]:
    return pillow.metadata_in(WebPImageFile, file)


def _listed(file: bytes) -> Iterator[Item]:
    """The items of a WebP file. Raises struct.error if it is truncated."""
    end = min(len(file), 8 + struct.unpack_from("<I", file, 4)[0])
    at, frames = 12, 0
    while at + 8 <= end:
        kind, length = struct.unpack_from("<4sI", file, at)
        body, at = at + 8, at + 8 + length + length % 2
        if kind == b"EXIF":
            yield from items_of_exif(file[body : body + length])
        elif kind in _BLOCKS:
            yield _BLOCKS[kind], ""
        elif kind == b"ANMF":
            frames += 1
        elif kind == b"C2PA":
            yield CREDENTIALS, ""
        elif kind not in _PIXELS:
            yield "WebP chunks", kind.decode("latin-1").rstrip()
    if frames > 1:
        yield FRAMES, ""
    yield from trailing_items(file, end)


CODEC = Codec(read, write, _metadata_in, header, one_page(_listed))
