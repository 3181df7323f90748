"""JPEG 2000 without loss, 8 and 16 bits: Pillow and OpenCV handle the pixels, `jp2_boxes` what is said of them."""

from __future__ import annotations

from io import BytesIO

import cv2
import numpy as np
from PIL import Image
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

from adacode_cli.errors import OutputError
from adacode_cli.imaging import heif_codec, jp2_boxes, pillow_reader
from adacode_cli.imaging.image import Samples
from adacode_cli.imaging.metadata import Metadata
from adacode_cli.imaging.parsing import check_size, parsing
from adacode_cli.imaging.raster import Raster

_LEAST_SIDE = 32  # OpenCV halves the picture five times.
_LOSSLESS = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000]


def read(data: bytes, max_pixels: int, *, name: str) -> Raster:
    """The picture of a JP2 file or of a bare codestream. Raises InputError."""
    with parsing("jp2", name=name):
        width, height, bits = jp2_boxes.codestream_size(data)
    check_size(width, height, max_pixels, name=name)
    with parsing("jp2", name=name):
        picture = pillow_reader.opened(Jpeg2KImageFile, data)
        said = jp2_boxes.metadata_in(data)
        if picture.size != (width, height):
            raise ValueError("header and data differ in size")
        if bits > 8:
            return _deep(data, said, bits)
        picture.load()
        return pillow_reader.from_pillow(picture, said)


def write(samples: Samples, said: Metadata) -> bytes:
    """A JP2 file of H×W×C samples, uint8 or uint16, C = 1 to 4; 16-bit grey with alpha becomes RGB.

    Raises OutputError, also for 16-bit colour of fewer than 32 pixels a side, which OpenCV cannot write.
    """
    deep = samples.dtype == np.uint16
    if deep and samples.shape[2] == 2:
        samples = np.dstack([samples[..., :1]] * 3 + [samples[..., 1:]])
    data = _by_opencv(samples) if deep and samples.shape[2] > 1 else _by_pillow(samples)
    return jp2_boxes.described(data, said, channels=samples.shape[2])


def _by_pillow(samples: Samples) -> bytes:
    buffer = BytesIO()
    picture = Image.fromarray(samples if samples.shape[2] > 1 else samples[..., 0])
    try:
        picture.save(buffer, "JPEG2000", mct=int(samples.shape[2] > 2))
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot be written as JPEG 2000: {error}", hint="Choose another format.") from error
    return buffer.getvalue()


def _by_opencv(samples: Samples) -> bytes:
    if min(samples.shape[:2]) < _LEAST_SIDE:
        problem = f"a 16-bit JPEG 2000 in colour must have {_LEAST_SIDE} pixels a side"
        raise OutputError(problem, hint="Choose png or tiff.")
    done, data = cv2.imencode(".jp2", np.ascontiguousarray(samples[..., [2, 1, 0, 3][: samples.shape[2]]]), _LOSSLESS)
    if not done:
        raise OutputError("cannot be written as JPEG 2000", hint="Choose another format.")
    return bytes(data)


def _deep(data: bytes, said: Metadata, bits: int) -> Raster:
    samples = cv2.imdecode(np.frombuffer(jp2_boxes.without_profile(data), np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.dtype != np.uint16:
        raise ValueError("no deep pixels in it")
    wide = heif_codec.widened(samples, bits) if bits < 16 else samples
    alpha = np.ascontiguousarray(wide[..., 3]) if wide.ndim == 3 and wide.shape[2] == 4 else None
    pixels = np.ascontiguousarray(wide if wide.ndim == 2 else wide[..., 2::-1])
    return Raster(pixels, alpha, said, bits=bits if bits < 16 else None)
