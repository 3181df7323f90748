"""BMP, with Pillow; the profile and the alpha mask, which Pillow does not read, are read from the header here."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from io import BytesIO

from PIL.BmpImagePlugin import BmpImageFile

from adacode_cli.imaging import pillow
from adacode_cli.imaging.codec import Codec, Header, Page, one_page
from adacode_cli.imaging.image import Item, Raster
from adacode_cli.imaging.inventory import COLOR_PROFILE, trailing_items
from adacode_cli.imaging.iso_boxes import Bytes
from adacode_cli.imaging.metadata import Metadata
from adacode_cli.imaging.refusals import check_size, not_supported, parsing
from adacode_cli.imaging.resolution import CENTIMETRE, Resolution, resolution, whole

_FILE_HEADER, _FIRST_WITH_ALPHA, _WITH_PROFILE = 14, 56, 124
_EMBEDDED, _BIT_FIELDS, _ALPHA_MASK_AT = b"DEBM", (3, 6), 52
_INCHES_PER_METRE = 39.3701  # with the digits of Pillow's own conversion
_RESOLUTION_AT = 38
_PIXELS_AT, _MIN_HEADER = 10, 40
_MAX_I32 = 2**31 - 1


def read(data: bytes, max_pixels: int, *, name: str) -> list[Raster]:
    """The image of a BMP. Raises InputError."""
    try:
        with parsing("bmp", name=name):
            extracted = Metadata(icc=_profile_in(data))
            image = _opened(data)
    except _OfAnotherKind as error:
        raise not_supported(str(error), name=name) from error
    check_size(*image.size, max_pixels, name=name)
    with parsing("bmp", name=name):
        image.load()
        metadata, lost = pillow.metadata_of(image, extracted, _resolution_in)
        return [pillow.loaded(image, metadata, lost + _alpha_lost(data, image.mode))]


class _OfAnotherKind(Exception):  # noqa: N818 (the reason of an InputError)
    """An undamaged file of a kind that Pillow does not read."""


def _opened(data: bytes) -> BmpImageFile:
    try:
        return BmpImageFile(BytesIO(data))
    except OSError as error:
        if "Unsupported BMP" in str(error) and "Palette size" not in str(error):
            raise _OfAnotherKind(str(error).replace("Unsupported BMP", "a BMP of another")) from error
        raise


def _profile_in(file: bytes) -> bytes | None:
    """The ICC profile, which the fifth version of the header can contain."""
    if len(file) < _FILE_HEADER + _WITH_PROFILE or _header_bytes(file) != _WITH_PROFILE:
        return None
    if file[_FILE_HEADER + 56 : _FILE_HEADER + 60] != _EMBEDDED:
        return None
    at, size = struct.unpack_from("<2I", file, _FILE_HEADER + 112)
    profile = file[_FILE_HEADER + at : _FILE_HEADER + at + size]
    return profile if profile[36:40] == b"acsp" and len(profile) == size else None


def _alpha_lost(file: bytes, mode: str) -> tuple[str, ...]:
    """The loss of alpha, if the header has bits for it and Pillow reads the file in a `mode` without it."""
    if mode == "RGBA" or len(file) < _FILE_HEADER + _FIRST_WITH_ALPHA or _header_bytes(file) < _FIRST_WITH_ALPHA:
        return ()
    (packing,) = struct.unpack_from("<I", file, _FILE_HEADER + 16)
    (mask,) = struct.unpack_from("<I", file, _FILE_HEADER + _ALPHA_MASK_AT)
    return ("alpha (its layout is not supported)",) if packing in _BIT_FIELDS and mask else ()


def _header_bytes(file: bytes) -> int:
    (size,) = struct.unpack_from("<I", file, _FILE_HEADER)
    return int(size)


def _resolution_in(info: pillow.Info) -> Resolution | None:
    if "dpi" not in info:
        return None
    return resolution([Fraction(round(value * _INCHES_PER_METRE), 100) for value in info["dpi"]], CENTIMETRE)


def header(file: Bytes) -> Header | None:
    """Reads the header, in any of its versions."""
    (size,) = struct.unpack("<I", file[14:18])
    form = "<HHHH" if size == 12 else "<iiHH"
    width, height, _, bits = struct.unpack(form, file[18 : 18 + struct.calcsize(form)])
    return Header(width, abs(height), 3 if bits > 8 else 1)


def write(pages: Sequence[Page], _quality: int) -> bytes:
    """A BMP file of H×W×C uint8 samples, C = 1 or 3, with their resolution. Raises OutputError."""
    samples, metadata = pages[0]
    by_centimetre = metadata.resolution.per(CENTIMETRE) if metadata.resolution is not None else None
    by_metre = [whole(n * 100, _MAX_I32) for n in by_centimetre] if by_centimetre is not None else [0, 0]
    data = bytearray(pillow.saved(pillow.image_of(samples), "bmp", {}))
    struct.pack_into("<2i", data, _RESOLUTION_AT, *by_metre)  # Pillow would write 96 dpi if there is no resolution.
    return bytes(data)


def _completed(data: bytes, max_pixels: int, name: str) -> tuple[bytes, str]:
    """An uncompressed BMP whose missing pixels are zeros."""
    header_bytes, width, height, _, bits, packing = struct.unpack_from("<IiiHHI", data, _FILE_HEADER)
    if header_bytes < _MIN_HEADER:
        raise ValueError("a header of an old version")
    check_size(abs(width), abs(height), max_pixels, name=name)
    (start,) = struct.unpack_from("<I", data, _PIXELS_AT)
    size = start + (abs(width) * bits + 31) // 32 * 4 * abs(height)
    if packing not in (0, 3) or not start < len(data) < size:
        raise ValueError("none of its pixels are present")
    share = (len(data) - start) * 100 // (size - start)
    if not share:
        raise ValueError("none of its pixels are present")
    return data + bytes(size - len(data)), f"{share} % of it were read, the missing part is black"


def _metadata_in(file: bytes) -> list[Metadata]:
    return pillow.metadata_in(BmpImageFile, file, Metadata(icc=_profile_in(file)), _resolution_in)


def _listed(file: bytes) -> Iterator[Item]:
    """The items of a BMP file: its newest kind of header can have a profile. Raises struct.error."""
    (header_bytes,) = struct.unpack_from("<I", file, 14)
    profile_end = 0
    if header_bytes >= 124 and file[70:74] in (b"DEBM", b"KNIL"):  # "MBED" and "LINK", least significant byte first
        yield COLOR_PROFILE, ""
        profile_end = 14 + sum(struct.unpack_from("<2I", file, 126))
    file_bytes, _, pixels_at = struct.unpack_from("<3I", file, 2)
    if header_bytes >= 40:
        width, height, _, bits, packing = struct.unpack_from("<iiHHI", file, 18)
        rows_end = pixels_at + (abs(width) * bits + 31) // 32 * 4 * abs(height)
        # The file size in the header may be wrong, so it is used only for compressed rows.
        yield from trailing_items(file, max(profile_end, rows_end if packing in (0, 3, 6) else file_bytes))


CODEC = Codec(read, write, _metadata_in, header, one_page(_listed), complete=_completed)
