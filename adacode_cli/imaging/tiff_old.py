"""Pages of a TIFF that libtiff decodes best, through Pillow: fax, old-style JPEG, Thunderscan.

The strips of old-style JPEG do not say enough, nobody else knows Thunderscan, and lines of a fax that the telephone has
spoilt come out as in other programs. Everything else goes through `tiff_strips`.
"""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile
from tifffile import COMPRESSION, TiffPage

from adacode_cli.imaging import exif
from adacode_cli.imaging.image import Samples
from adacode_cli.imaging.refusals import not_supported
from adacode_cli.imaging.tiff_strips import GREY, OTHER_PROGRAM, RGB, checked

# (samples of a pixel, bits of each) that may be packed so
_KINDS: dict[int, tuple[tuple[int, int], ...]] = {
    COMPRESSION.CCITTRLE: ((1, 1),),
    COMPRESSION.CCITT_T4: ((1, 1),),
    COMPRESSION.CCITT_T6: ((1, 1),),
    COMPRESSION.OJPEG: ((1, 8), (3, 8)),
    COMPRESSION.THUNDERSCAN: ((1, 4),),
}
KINDS = frozenset(_KINDS)


class Rereadable:
    """A file, and a copy of it whose header names any page as the first: Pillow cannot pass by what it cannot read."""

    def __init__(self, data: bytes, byteorder: str, *, is_big: bool) -> None:
        self._stream = BytesIO(data)  # copied when it is first written to
        self._order = byteorder
        self._first_at, self._number = (8, byteorder + "Q") if is_big else (4, byteorder + "I")

    def samples(self, page: TiffPage, *, name: str) -> Samples:
        """H×W×C uint8: indices of a palette as stored, everything else as grey or RGB, which `page` says afterwards.

        Raises InputError, and what libraries raise for damaged data.
        """
        kind = page.samplesperpixel, checked(page, name=name)
        if kind not in _KINDS[page.compression]:
            what = f"a TIFF with {kind[0]} samples of {kind[1]} bits as {COMPRESSION(page.compression).name}"
            raise not_supported(what, name=name, program=OTHER_PROGRAM)
        with TiffImageFile(self._beginning_at(page)) as picture:
            # Given an image to fill, Pillow does not ask its process-wide pixel limit.
            picture.im = Image.new(picture.mode, picture.size, None).im
            picture.info.pop("xmp", None)  # Pillow would turn the picture as that says, where no tag does.
            picture.load()
            if picture.mode == "P":
                return np.array(picture)[..., None]
            is_grey = picture.mode in ("1", "L")
            page.photometric, page.bitspersample = GREY if is_grey else RGB, 8
            found = np.array(picture.convert("L" if is_grey else "RGB"))
        return found[..., None] if is_grey else found

    def _beginning_at(self, page: TiffPage) -> BytesIO:
        self._write(self._first_at, struct.pack(self._number, page.offset))
        tag = page.tags.get(exif.ORIENTATION)
        if tag is not None and isinstance(tag.value, int):
            self._write(tag.valueoffset, struct.pack(self._order + "H", 1))  # Pillow would turn the picture.
        self._stream.seek(0)
        return self._stream

    def _write(self, at: int, value: bytes) -> None:
        self._stream.seek(at)
        self._stream.write(value)
