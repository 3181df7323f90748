"""Links between the pages of a TIFF may lead around in a circle; each page is read once."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
import pytest
import tifffile

from adacode_cli.imaging.decode import decode


def in_a_circle(num_pages: int, back_to: int) -> bytes:
    """A TIFF of 16 bits whose last page names page `back_to` as the next one."""
    stream = BytesIO()
    with tifffile.TiffWriter(stream, byteorder="<") as file:
        for page in range(num_pages):
            file.write(np.full((8, 9), 100 * page, np.uint16), contiguous=False, metadata=None)
    data = bytearray(stream.getvalue())
    with tifffile.TiffFile(BytesIO(data)) as file:
        offsets = [page.offset for page in file.pages]
    (count,) = struct.unpack_from("<H", data, offsets[-1])
    struct.pack_into("<I", data, offsets[-1] + 2 + 12 * count, offsets[back_to])
    return bytes(data)


@pytest.mark.parametrize(("num_pages", "back_to"), [(1, 0), (3, 0), (3, 1), (3, 2), (150, 149)])
def test_each_page_is_read_once(num_pages, back_to):
    image = decode(in_a_circle(num_pages, back_to), name="x")
    assert [int(page.pixels[0, 0]) for page in image.pages] == [100 * page for page in range(num_pages)]
