"""JPEG, with Pillow; kinds that Pillow does not read (deeper, lossless, JPEG-LS) are decoded by imagecodecs.

The header of a file gives its kind. Kinds that no library reads (hierarchical files, CMYK of 12 bits) are refused as
not supported, before anything is decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from typing import Any

import imagecodecs
import numpy.typing as npt
from PIL.JpegImagePlugin import JpegImageFile

from adacode_cli.imaging import jpeg_segments, photoshop, pillow, xmp_editing
from adacode_cli.imaging.codec import Codec, Header, Page, one_page
from adacode_cli.imaging.image import Raster, Samples
from adacode_cli.imaging.iso_boxes import Bytes
from adacode_cli.imaging.metadata import Metadata
from adacode_cli.imaging.refusals import check_size, not_supported, parsing
from adacode_cli.imaging.resolution import CENTIMETRE, INCH, NO_UNIT, Resolution, resolution, whole
from adacode_cli.imaging.samples import to_full_range
from adacode_cli.limits import MAX_SCANS

_LOSSLESS, _LS = 0xC3, 0xF7
_READ = frozenset({0xC0, 0xC1, 0xC2, _LOSSLESS, 0xC9, 0xCA, _LS})
_FRAMES = frozenset({*range(0xC0, 0xD0), _LS}) - {0xC4, 0xC8, 0xCC}
_KINDS = {_LOSSLESS: "lossless JPEG", 0xCB: "lossless arithmetic-coded JPEG", _LS: "JPEG-LS"}
_KINDS |= dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical JPEG")
_KINDS |= dict.fromkeys((0xC9, 0xCA), "arithmetic-coded JPEG")
_ADOBE = 0xEE
_HEAD_BYTES = 10
_MAX_SEGMENTS = 10_000  # that may precede the header of the image
_END = b"\xff\xd9"
_MIN_SCAN_BYTES = 64  # From fewer bytes, a decoder makes only a few blocks, which may be noise.
_RGB_NOTE = "its colours were read as RGB, as is usual for lossless JPEG"
_UNITS = {0: NO_UNIT, 1: INCH, 2: CENTIMETRE}
_FULL_COLOR_QUALITY = 90  # From this quality on, chroma is not subsampled.
_MAX_SEGMENT = 65533  # of JPEG, whose length field includes itself
_MAX_EXIF = _MAX_SEGMENT - len(b"Exif\0\0")
_MAX_XMP = _MAX_SEGMENT - len(jpeg_segments.XMP_HEAD)
_MAX_IPTC = _MAX_SEGMENT - len(photoshop.SIGNATURE) - 13
_DENSITY_AT = 13  # in Pillow's JPEG: after SOI, the APP0 marker, its length, "JFIF\0" and the version
_MAX_U16 = 65535


def read(data: bytes, max_pixels: int, *, name: str) -> list[Raster]:
    """The first image of a JPEG. Raises InputError."""
    jpeg_segments.check_scans(data, name=name)
    frame = frame_of(data)
    if frame is not None and not frame.is_for_pillow:
        return [_read_unusual(data, frame, max_pixels, name=name)]
    with parsing("jpeg", name=name):
        data, extracted, lost = jpeg_segments.taken_apart(data)
        image = pillow.opened(JpegImageFile, data)
    check_size(*image.size, max_pixels, name=name)
    with parsing("jpeg", name=name):
        image.load()
        metadata, lost_of_metadata = pillow.metadata_of(image, extracted, _resolution_in)
        return [pillow.loaded(image, metadata, lost + lost_of_metadata)]


@dataclass(frozen=True)
class Frame:
    """The header of the image: the marker `kind` at `at`, and the number of `components` of `bits` per sample.

    has_adobe: whether Adobe's segment precedes it, which defines the colours.
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
        """The kind of file, for messages."""
        components = f"{self.components} component{'s' * (self.components != 1)}"
        return f"a {_KINDS.get(self.kind, 'JPEG')} with {components} of {self.bits} bits"

    @property
    def is_for_pillow(self) -> bool:
        """Whether Pillow reads such files."""
        is_plain = self.kind in _READ and self.kind not in (_LOSSLESS, _LS)
        return is_plain and self.bits == 8 and self.components in (1, 3, 4)


def frame_of(data: bytes) -> Frame | None:
    """The frame of the first image; None if there is none before the pixels."""
    has_adobe = False
    for kind, at, end in jpeg_segments.markers(data):
        has_adobe |= kind == _ADOBE
        if kind == jpeg_segments.SCAN:
            return None
        if kind in _FRAMES and min(end, len(data)) - at >= _HEAD_BYTES:
            bits, height, width, components = struct.unpack_from(">BHHB", data, data.index(bytes([kind]), at) + 3)
            return Frame(kind, at, bits, width, height, components, has_adobe)
    return None


def _read_unusual(data: bytes, frame: Frame, max_pixels: int, *, name: str) -> Raster:
    """The image of a JPEG that Pillow does not read. Raises InputError."""
    check_size(frame.width, frame.height, max_pixels, name=name)
    if frame.kind not in _READ or frame.components not in (1, 3) or not 2 <= frame.bits <= 16:
        raise not_supported(frame.title, name=name)
    with parsing("jpeg", name=name):
        # Without an end marker libjpeg only warns, and charls can take half a minute for a few hundred bytes.
        end = data.rfind(_END, frame.at)
        if end < 0 or (frame.kind != _LS and not jpeg_segments.is_whole(data)):
            raise EOFError("truncated")
        head, extracted, lost = jpeg_segments.taken_apart(_as_baseline(data, frame))
        metadata, lost_of_head = pillow.metadata_of(JpegImageFile(BytesIO(head)), extracted, _resolution_in)
        samples, notes = _decoded(data[: end + len(_END)], frame)
        if samples is not None and samples.shape[:2] != (frame.height, frame.width):
            raise ValueError("header and data differ in size")
    if samples is None:
        raise not_supported(f"{frame.title} in colours that are not converted", name=name)
    pixels: Samples = to_full_range(samples, frame.bits)
    bits = frame.bits if 8 < frame.bits < 16 else None
    return Raster(pixels, None, metadata, notes=notes, lost=lost + lost_of_head, bits=bits)


def _decoded(data: bytes, frame: Frame) -> tuple[npt.NDArray[Any] | None, tuple[str, ...]]:
    """(samples as stored, grey or RGB; notes); None for colours that the library does not convert."""
    if frame.kind == _LS:
        return imagecodecs.jpegls_decode(data), ()
    try:
        return imagecodecs.jpeg8_decode(data), ()
    except imagecodecs.Jpeg8Error as error:
        if "color conversion" not in str(error):
            raise
    # By default the library assumes luma and chroma, which lossless files have only with Adobe's segment.
    if frame.has_adobe:
        return None, ()
    return imagecodecs.jpeg8_decode(data, colorspace="RGB", outcolorspace="RGB"), (_RGB_NOTE,)


def _as_baseline(data: bytes, frame: Frame) -> bytes:
    """The head of the file, changed to a kind that Pillow opens, for its metadata."""
    places = {
        kind: (at, end) for kind, at, end in jpeg_segments.markers(data) if kind in (frame.kind, jpeg_segments.SCAN)
    }
    length_at = data.index(bytes([frame.kind]), frame.at) + 1
    frame_end, scan_end = places[frame.kind][1], places[jpeg_segments.SCAN][1]
    baseline = b"\xff\xc0" + data[length_at : length_at + 2] + b"\x08" + data[length_at + 3 : frame_end]
    return data[: frame.at] + baseline + data[frame_end:scan_end]


def _resolution_in(info: pillow.Info) -> Resolution | None:
    """The resolution in the JFIF segment."""
    if "jfif_density" not in info:
        return None
    return resolution(info["jfif_density"], _UNITS.get(info["jfif_unit"], 0))


def header(file: Bytes) -> Header | None:
    """The header of the first frame."""
    metadata: set[str] = set()
    for marker, at, end in islice(jpeg_segments.segments(file), _MAX_SEGMENTS):
        if marker in _FRAMES:
            bits, height, width, components = struct.unpack(">BHHB", file[at + 3 : at + 9])
            return Header(width, height, 1 if components == 1 else 3, bits, metadata=frozenset(metadata))
        if (name := jpeg_segments.metadata_field(file, marker, at, end)) is not None:
            metadata.add(name)
    return None


def write(pages: Sequence[Page], quality: int) -> bytes:
    """A JPEG file of H×W×C uint8 samples, C = 1 or 3, with metadata that must fit (`fitting`). Raises OutputError."""
    samples, metadata = pages[0]
    # Not optimize=True: Pillow then needs a buffer for the whole file, and its estimate is too small for noise.
    options = pillow.options_for(metadata)
    options |= {"quality": quality, "subsampling": 0 if quality >= _FULL_COLOR_QUALITY else 2}
    if metadata.iptc is not None:
        body = photoshop.SIGNATURE + photoshop.wrapped(metadata.iptc)
        options["extra"] = b"\xff\xed" + struct.pack(">H", len(body) + 2) + body
    data = pillow.saved(pillow.image_of(samples), "jpeg", options)
    return _with_density(data, metadata.resolution) if metadata.resolution is not None else data


def _with_density(data: bytes, value: Resolution) -> bytes:
    """The file with an integer density per inch, or per centimetre if this is the unit of `value`."""
    pair = value.per(value.unit) or (value.across, value.down)
    unit = {NO_UNIT: 0, INCH: 1, CENTIMETRE: 2}[value.unit]
    if unit == 2 and max(n.denominator for n in pair) > 1:
        # 118.11 per centimetre are 300 per inch, but 118 per centimetre are not.
        pair, unit = value.per(INCH) or pair, 1
    if unit == 0 and pair[0] != pair[1] and max(n.denominator for n in pair) > 1:
        pair = (pair[0] * 1000 / max(pair), pair[1] * 1000 / max(pair))
    body = struct.pack(">B2H", unit, *(whole(n, _MAX_U16) for n in pair))
    return data[:_DENSITY_AT] + body + data[_DENSITY_AT + len(body) :]


def fitting(metadata: Metadata) -> Metadata:
    """The metadata that fit into segments of 64 kB each; the padding of XMP for editing in place is removed first."""
    packet = metadata.xmp
    if packet is not None and len(packet) > _MAX_XMP:
        packet = xmp_editing.compacted(packet)
    return replace(
        metadata,
        exif=metadata.exif if metadata.exif is None or len(metadata.exif) <= _MAX_EXIF else None,
        xmp=packet if packet is None or len(packet) <= _MAX_XMP else None,
        iptc=metadata.iptc if metadata.iptc is None or len(metadata.iptc) <= _MAX_IPTC else None,
    )


def _completed(data: bytes, _max_pixels: int, _name: str) -> tuple[bytes, str]:
    """A JPEG that ends before an incomplete segment, with an end marker; the decoder fills the missing part."""
    scans, end, pixels_at = 0, len(data), len(data)
    for kind, at, segment_end in jpeg_segments.markers(data):
        if segment_end > len(data):
            end = at
            break
        if kind == jpeg_segments.SCAN:
            scans, pixels_at = scans + 1, min(pixels_at, segment_end)
    if not 0 < scans <= MAX_SCANS or end - pixels_at < _MIN_SCAN_BYTES:
        raise ValueError("none of its pixels are present")
    kept = data[:end].rstrip(b"\xff")
    return kept + (b"" if kept.endswith(_END) else _END), "the missing part is grey or coarse"


def _metadata_in(file: bytes) -> list[Metadata]:
    _, extracted, _ = jpeg_segments.taken_apart(file)
    return pillow.metadata_in(JpegImageFile, file, extracted, _resolution_in)


CODEC = Codec(read, write, _metadata_in, header, one_page(jpeg_segments.items), fitting, complete=_completed)
