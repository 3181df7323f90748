"""An image format that is defined outside of the package: plain samples behind a line of text that says how many.

A file is `TOY HEIGHT WIDTH CHANNELS XMP-BYTES`, a line end, the packet of XMP, and the samples of 8 bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adacode_cli.formats import Format
from adacode_cli.imaging.codec import Codec, Header, Page
from adacode_cli.imaging.image import Raster
from adacode_cli.imaging.metadata import Metadata
from adacode_cli.imaging.refusals import check_size, parsing

FORMAT = Format(
    "toy",
    "Toy",
    codec="toy_codec",
    suffixes=(".toy",),
    input_suffixes=(".toy1",),
    signatures=(((0, b"TOY "),),),
    metadata=frozenset({"xmp"}),
    max_side=500,
    lossy=True,
    package="numpy",
    install="pip install numpy",
)


def _parts(data: bytes) -> tuple[tuple[int, int, int], bytes, bytes]:
    line, _, rest = bytes(data).partition(b"\n")
    height, width, channels, num_xmp = map(int, line.split()[1:])
    return (height, width, channels), rest[:num_xmp], rest[num_xmp:]


def read(data: bytes, max_pixels: int, *, name: str) -> list[Raster]:
    """The image of a toy file. Raises InputError."""
    with parsing("toy", name=name):
        shape, packet, samples = _parts(data)
    check_size(shape[1], shape[0], max_pixels, name=name)
    with parsing("toy", name=name):
        planes = np.frombuffer(samples, np.uint8).reshape(shape)
    pixels = planes[..., 0] if shape[2] < 3 else planes[..., :3]
    alpha = planes[..., -1].copy() if shape[2] in (2, 4) else None
    return [Raster(pixels.copy(), alpha, Metadata(xmp=packet or None))]


def write(pages: Sequence[Page], quality: int) -> bytes:
    """A toy file; every sample is a multiple of 100 / quality, rounded down."""
    samples, said = pages[0]
    packet = said.xmp or b""
    head = "TOY {} {} {} {}\n".format(*samples.shape, len(packet)).encode()
    step = max(1, round(100 / quality))
    return head + packet + (samples // step * step).tobytes()


def metadata_in(file: bytes) -> list[Metadata]:
    """The packet."""
    return [Metadata(xmp=_parts(file)[1] or None)]


def header(file) -> Header:
    """Of the first line."""
    (height, width, channels), packet, _ = _parts(file[:100])
    return Header(width, height, 1 if channels < 3 else 3, metadata=frozenset({"xmp"} if packet else ()))


CODEC = Codec(read, write, metadata_in, header)
