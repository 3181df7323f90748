"""JPEG files of the kinds that Pillow does not read: more or fewer than 8 bits, without loss, and JPEG-LS.

The header of a file says which it is. What no library reads (hierarchical files, inks of 12 bits) is refused as not
supported, before anything is decoded.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import imagecodecs
import numpy.typing as npt
from PIL.JpegImagePlugin import JpegImageFile

from adacode_cli.imaging import jpeg_scans
from adacode_cli.imaging.image import Samples
from adacode_cli.imaging.parsing import check_size, not_supported, parsing
from adacode_cli.imaging.pillow_metadata import metadata_of, taken_apart
from adacode_cli.imaging.raster import Raster
from adacode_cli.imaging.samples import over_whole_range

_LOSSLESS, _LS = 0xC3, 0xF7
_READ = frozenset({0xC0, 0xC1, 0xC2, _LOSSLESS, 0xC9, 0xCA, _LS})
_FRAMES = frozenset({*range(0xC0, 0xD0), _LS}) - {0xC4, 0xC8, 0xCC}
_KINDS = {_LOSSLESS: "lossless JPEG", 0xCB: "lossless arithmetic-coded JPEG", _LS: "JPEG-LS"}
_KINDS |= dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical JPEG")
_KINDS |= dict.fromkeys((0xC9, 0xCA), "arithmetic-coded JPEG")
_ADOBE = 0xEE
_END = b"\xff\xd9"
_HEAD_BYTES = 10
_RGB_NOTE = "its colours were taken for RGB, as those of lossless JPEGs are"


@dataclass(frozen=True)
class Frame:
    """The header of the picture: the marker `kind` at `at`, and how many `components` have samples of `bits`.

    `has_adobe`: whether Adobe's segment says before it what the colours are.
    """

    kind: int
    at: int
    bits: int
    width: int
    height: int
    components: int
    has_adobe: bool

    @property
    def title(self) -> str:
        """What the file is, for a person."""
        components = f"{self.components} component{'s' * (self.components != 1)}"
        return f"a {_KINDS.get(self.kind, 'JPEG')} with {components} of {self.bits} bits"

    @property
    def is_for_pillow(self) -> bool:
        """Whether Pillow reads such files."""
        is_plain = self.kind in _READ and self.kind not in (_LOSSLESS, _LS)
        return is_plain and self.bits == 8 and self.components in (1, 3, 4)


def frame_of(data: bytes) -> Frame | None:
    """The frame of the first picture; None where none is found in front of the pixels."""
    has_adobe = False
    for kind, at, end in jpeg_scans.markers(data):
        has_adobe |= kind == _ADOBE
        if kind == jpeg_scans.SCAN:
            return None
        if kind in _FRAMES and min(end, len(data)) - at >= _HEAD_BYTES:
            bits, height, width, components = struct.unpack_from(">BHHB", data, data.index(bytes([kind]), at) + 3)
            return Frame(kind, at, bits, width, height, components, has_adobe)
    return None


def read(data: bytes, frame: Frame, max_pixels: int, *, name: str) -> Raster:
    """The picture of a JPEG that is not for Pillow. Raises InputError."""
    check_size(frame.width, frame.height, max_pixels, name=name)
    if frame.kind not in _READ or frame.components not in (1, 3) or not 2 <= frame.bits <= 16:
        raise not_supported(frame.title, name=name)
    with parsing("jpeg", name=name):
        # Without an end libjpeg only warns, and charls can take half a minute for a few hundred bytes.
        end = data.rfind(_END, frame.at)
        if end < 0 or (frame.kind != _LS and not jpeg_scans.is_whole(data)):
            raise EOFError("truncated")
        head, beside, lost = taken_apart(_as_baseline(data, frame), "jpeg")
        said, lost_of_head = metadata_of(JpegImageFile(BytesIO(head)), "jpeg", beside)
        samples, notes = _decoded(data[: end + len(_END)], frame)
        if samples is not None and samples.shape[:2] != (frame.height, frame.width):
            raise ValueError("header and data differ in size")
    if samples is None:
        raise not_supported(f"{frame.title} in colours that are not converted", name=name)
    pixels: Samples = over_whole_range(samples, frame.bits)
    bits = frame.bits if 8 < frame.bits < 16 else None
    return Raster(pixels, None, said, notes=notes, lost=lost + lost_of_head, bits=bits)


def _decoded(data: bytes, frame: Frame) -> tuple[npt.NDArray[Any] | None, tuple[str, ...]]:
    """(samples as stored, RGB where they are colours; notes); None for colours that the library does not convert."""
    if frame.kind == _LS:
        return imagecodecs.jpegls_decode(data), ()
    try:
        return imagecodecs.jpeg8_decode(data), ()
    except imagecodecs.Jpeg8Error as error:
        if "color conversion" not in str(error):
            raise
    # The library takes the colours for luma and chroma by default; of those without loss only Adobe's are.
    if frame.has_adobe:
        return None, ()
    return imagecodecs.jpeg8_decode(data, colorspace="RGB", outcolorspace="RGB"), (_RGB_NOTE,)


def _as_baseline(data: bytes, frame: Frame) -> bytes:
    """The head of the file as that of a kind that Pillow opens, for what else it says."""
    places = {kind: (at, end) for kind, at, end in jpeg_scans.markers(data) if kind in (frame.kind, jpeg_scans.SCAN)}
    length_at = data.index(bytes([frame.kind]), frame.at) + 1
    frame_end, scan_end = places[frame.kind][1], places[jpeg_scans.SCAN][1]
    baseline = b"\xff\xc0" + data[length_at : length_at + 2] + b"\x08" + data[length_at + 3 : frame_end]
    return data[: frame.at] + baseline + data[frame_end:scan_end]
