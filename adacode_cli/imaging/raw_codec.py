"""Camera raw files, which are read and not written: LibRaw develops them, through rawpy, which is optional.

They get the white balance that the camera has stored, and otherwise LibRaw's defaults: 16 bits in sRGB, upright, with
the brightness raised until one pixel in a hundred is white.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
from tifffile import TiffFile, TiffPage

from adacode_cli import formats
from adacode_cli.errors import InputError, OutputError
from adacode_cli.imaging import exif, jpeg_codec, tiff_codec
from adacode_cli.imaging.codec import Codec, Page, required
from adacode_cli.imaging.exif_editing import with_tags
from adacode_cli.imaging.image import Item, Raster
from adacode_cli.imaging.inventory import EXIF, XMP
from adacode_cli.imaging.metadata import Allowance, Metadata
from adacode_cli.imaging.refusals import LIBRARY_ERRORS, check_size, not_supported, parsing
from adacode_cli.imaging.tiff_tags import items_of_exif
from adacode_cli.limits import MAX_SUM_OF_METADATA_BYTES

DEVELOPED_NOTE = "developed from camera raw by LibRaw, with the white balance of the camera"
_CONVERTER = "darktable-cli a.cr2 a.tif"
_SRGB_CURVE = (2.4, 12.92)
# Tags about the sensor's samples, which the developed image does not have: the mosaic of TIFF/EP, and all of DNG.
_OF_SENSOR = frozenset({33421, 33422, *range(50700, 65536)})
_METADATA_LOST = ("EXIF (of this kind of camera raw)",)


def read(data: bytes, max_pixels: int, *, name: str) -> list[Raster]:
    """The developed image. Raises InputError, also if rawpy is not installed."""
    rawpy = required(formats.named("raw"), InputError, name)
    assert rawpy is not None, "camera raw has an optional package"
    with parsing("raw", name=name), _refusing(rawpy, name), rawpy.imread(BytesIO(data)) as raw:
        check_size(raw.sizes.iwidth, raw.sizes.iheight, max_pixels, name=name)
        metadata, lost = _metadata(data, raw)
        pixels = raw.postprocess(use_camera_wb=True, output_bps=16, gamma=_SRGB_CURVE)
    return [Raster(np.ascontiguousarray(pixels), None, metadata, orientation=1, notes=(DEVELOPED_NOTE,), lost=lost)]


@contextmanager
def _refusing(rawpy: Any, name: str) -> Iterator[None]:  # noqa: ANN401 (a class of an optional package)
    """Errors of LibRaw become an InputError."""
    try:
        yield
    except rawpy.LibRawFileUnsupportedError as error:
        raise not_supported("a camera raw that LibRaw does not know", name=name, program=_CONVERTER) from error
    except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
        raise OSError(str(error)) from error  # `parsing` makes the message.


def _metadata(data: bytes, raw: Any) -> tuple[Metadata, tuple[str, ...]]:  # noqa: ANN401 (as above)
    """(metadata of the first directory, or of the preview in a file that is no TIFF; losses)."""
    found = _in_tiff(data)
    if found is None and raw is not None:
        found = _in_preview(raw)
    if found is None:
        return Metadata(), _METADATA_LOST
    return found, ()


def _in_tiff(data: bytes) -> Metadata | None:
    if not data.startswith((b"II*\0", b"MM\0*")):
        return None
    with suppress(*LIBRARY_ERRORS), TiffFile(BytesIO(data)) as file:
        page = file.pages.first
        if isinstance(page, TiffPage):
            allowance = Allowance(max(MAX_SUM_OF_METADATA_BYTES, len(data)))
            metadata, _ = tiff_codec.metadata_of_page(page, data, allowance)
            return replace(metadata, icc=None, exif=_of_image(metadata.exif))
    return None


def _of_image(block: bytes | None) -> bytes | None:
    with suppress(exif.DamagedExif):
        return with_tags(block, (), without=_OF_SENSOR) if block is not None else None
    return None


def _in_preview(raw: Any) -> Metadata | None:  # noqa: ANN401 (as above)
    """The metadata of the JPEG that cameras store beside the samples of the sensor."""
    with suppress(*LIBRARY_ERRORS, Exception):  # Errors of LibRaw have no common class with others.
        preview = raw.extract_thumb()
        if preview.format.name == "JPEG":
            (metadata,) = jpeg_codec.CODEC.metadata_in(bytes(preview.data))
            return replace(metadata, icc=None, resolution=None) if metadata.exif is not None else None
    return None


def _items(data: bytes) -> Sequence[Iterator[Item]]:
    return (_items_of(data),)


def _items_of(data: bytes) -> Iterator[Item]:
    metadata = _in_tiff(data)
    if metadata is None:
        yield EXIF, ""
        return
    if metadata.exif is not None:
        yield from items_of_exif(metadata.exif)
    if metadata.xmp is not None:
        yield XMP, ""


def _write(_pages: Sequence[Page], _quality: int) -> bytes:
    raise OutputError("camera raw is read and not written", hint="Choose another format.")


CODEC = Codec(read, _write, lambda _data: (), items=_items)
