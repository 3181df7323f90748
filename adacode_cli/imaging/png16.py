"""PNG of any depth is read by libpng (imagecodecs); what has 16 bits a channel is written here.

Pillow cannot hold more than 8 bits, beyond grey, and reads a picture whose data end too early; OpenCV cannot write grey
with alpha. The writer is short enough to be our own.
"""

from __future__ import annotations

import struct
import zlib

import imagecodecs
import numpy as np
import numpy.typing as npt

from adacode_cli.imaging.image import Samples
from adacode_cli.imaging.png_chunks import chunk

MAX_SIDE = 1_000_000
"""Pixels that libpng reads a side."""

_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BAND_ROWS = 64
_CHUNK_BYTES = 1 << 20
_LEVEL = 4  # Level 6 costs a third more time and saves nothing on photographs.


def read(data: bytes) -> tuple[Samples, Samples | None]:
    """(H×W or H×W×3, H×W alpha or None), uint8 or uint16, of a PNG of any kind; transparent colours are alpha 0.

    Of an animation it is what programs show that know no animations. Raises EOFError or ValueError for a damaged
    file.
    """
    try:
        samples = imagecodecs.png_decode(data)
    except imagecodecs.PngError as error:
        if "too small" in str(error) or "Not enough" in str(error):
            raise EOFError("truncated") from error
        raise ValueError(str(error)) from error
    except UnicodeDecodeError as error:  # of the library's own message
        raise ValueError from error
    if samples.ndim == 2:
        return samples, None
    has_alpha = samples.shape[2] in (2, 4)
    pixels = samples[..., 0] if samples.shape[2] < 3 else samples[..., :3]
    return np.ascontiguousarray(pixels), np.ascontiguousarray(samples[..., -1]) if has_alpha else None


def write(samples: Samples) -> bytes:
    """A PNG file of H×W×C uint16 samples, C = 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha)."""
    height, width, channels = samples.shape
    parts = [_SIGNATURE, chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _COLOR_TYPES[channels], 0, 0, 0))]
    stream = _compressed(samples)
    parts += [chunk(b"IDAT", stream[at : at + _CHUNK_BYTES]) for at in range(0, len(stream), _CHUNK_BYTES)]
    parts.append(chunk(b"IEND", b""))
    return b"".join(parts)


def _compressed(samples: Samples) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)
    row_bytes = samples.shape[1] * samples.shape[2] * 2
    above = np.zeros((1, row_bytes), np.uint8)
    pieces = []
    for top in range(0, samples.shape[0], _BAND_ROWS):
        band = samples[top : top + _BAND_ROWS].astype(">u2")
        rows = np.frombuffer(band.tobytes(), np.uint8).reshape(-1, row_bytes)
        pieces.append(packer.compress(_filtered(rows, above, samples.shape[2] * 2).tobytes()))
        above = rows[-1:]
    return b"".join([*pieces, packer.flush()])


def _filtered(rows: npt.NDArray[np.uint8], above: npt.NDArray[np.uint8], step: int) -> npt.NDArray[np.uint8]:
    """Rows of bytes, each led by the number of the PNG filter that left the smallest residuals.

    `above` is the row before the first, `step` the bytes from a pixel to the next.
    """
    up = np.concatenate([above, rows[:-1]])
    left = np.zeros_like(rows)
    left[:, step:] = rows[:, :-step]
    corner = np.zeros_like(rows)
    corner[:, step:] = up[:, :-step]
    average = ((left.astype(np.uint16) + up) >> 1).astype(np.uint8)
    candidates = np.stack([rows, rows - left, rows - up, rows - average, rows - _paeth(left, up, corner)])
    # The usual rule of thumb: bytes as signed numbers, the smallest sum of magnitudes.
    cost = np.minimum(candidates, -candidates).sum(axis=2, dtype=np.int64)
    best = cost.argmin(axis=0)
    return np.concatenate([best[:, None].astype(np.uint8), candidates[best, np.arange(len(rows))]], axis=1)


def _paeth(
    left: npt.NDArray[np.uint8], up: npt.NDArray[np.uint8], corner: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """Of the three neighbours, the one nearest to left + up − corner, ties in that order (PNG, section 9.4)."""
    a, b, c = (plane.astype(np.int16) for plane in (left, up, corner))
    to_left, to_up, to_corner = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    use_left = (to_left <= to_up) & (to_left <= to_corner)
    return np.where(use_left, left, np.where(to_up <= to_corner, up, corner))
