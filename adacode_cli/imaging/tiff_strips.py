"""Deep samples of a TIFF page through tifffile, its strips unpacked here: no further than the picture needs them.

tifffile unpacks a strip as a whole, and a few hundred kilobytes of deflated or LZMA data may be gigabytes.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable
from math import prod

import numpy as np
from tifffile import COMPRESSION, TiffPage

from adacode_cli.imaging.image import Samples

_REVERSED_BITS = 2  # a fill order, which tifffile has to undo before anything is unpacked
_BYTES_BESIDE = 1 << 20


def samples(page: TiffPage) -> Samples:
    """What `page.asarray` gives. Raises what it does, and OSError or EOFError for strips of another size."""
    unpack = _UNPACK.get(page.compression)
    if unpack is None or page.fillorder == _REVERSED_BITS or page.is_subsampled or 0 in page.shaped:
        return np.asarray(page.asarray(maxworkers=1))
    found = np.zeros(page.shaped, page.dtype)
    size, file = prod(page.chunks) * found.itemsize, page.parent.filehandle
    page.compression = COMPRESSION.NONE  # to tifffile, which is given what is unpacked already
    for index, (at, count) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=False)):
        file.seek(at)
        part, (sample, z, y, x, _), (depth, height, width, _) = page.decode(unpack(file.read(count), size), index)
        assert part is not None, "there are bytes of every strip"
        part = part[: page.imagedepth - z, : page.imagelength - y, : page.imagewidth - x]
        found[sample, z : z + depth, y : y + height, x : x + width] = part
    return found.reshape(page.shape)


def _inflated(data: bytes, size: int) -> bytes:
    reader = zlib.decompressobj()
    found = reader.decompress(data, size)
    if not reader.eof:
        reader.decompress(reader.unconsumed_tail, size + _BYTES_BESIDE)
    return _complete(found, eof=reader.eof, stopped=bool(reader.unconsumed_tail))


def _unlzma(data: bytes, size: int) -> bytes:
    reader = lzma.LZMADecompressor()
    found = reader.decompress(data, size)
    if not reader.eof and not reader.needs_input:
        reader.decompress(b"", size + _BYTES_BESIDE)
    return _complete(found, eof=reader.eof, stopped=not reader.eof and not reader.needs_input)


def _complete(found: bytes, *, eof: bool, stopped: bool) -> bytes:
    if stopped:
        raise OSError("a strip or tile unpacks to more than the picture has")
    if not eof:
        raise EOFError("a strip or tile is truncated")
    return found


_UNPACK: dict[int, Callable[[bytes, int], bytes]] = {
    COMPRESSION.ADOBE_DEFLATE: _inflated,
    COMPRESSION.DEFLATE: _inflated,
    COMPRESSION.LZMA: _unlzma,
}
