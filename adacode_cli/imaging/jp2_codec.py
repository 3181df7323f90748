"""JPEG 2000: decodes codestreams, and writes lossless files of 8 and 16 bits.

Components are read as they are stored, and `jp2_samples` interprets them according to the boxes, so that no library
interprets them twice. `jp2_boxes` handles the metadata.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

from adacode_cli.errors import OutputError
from adacode_cli.imaging import conversions, jp2_boxes, jp2_samples, pillow
from adacode_cli.imaging.cicp import SRGB
from adacode_cli.imaging.codec import Codec, Header, Page, one_page
from adacode_cli.imaging.image import PALETTE_NOTE, Raster, Samples, lost_after_first
from adacode_cli.imaging.iso_boxes import Bytes, placed
from adacode_cli.imaging.jp2_samples import Component, Jp2Header
from adacode_cli.imaging.metadata import Metadata
from adacode_cli.imaging.refusals import check_size, not_supported, parsing

_DECODED_BYTES = 4  # of a sample of any depth, inside the library
_MAX_BITS, _BITS_OF_PILLOW, _MAX_COMPONENTS = 16, 8, 16
_CONVERTER = "opj_decompress -i a.jp2 -o a.png"


def read(data: bytes, max_pixels: int, *, name: str) -> list[Raster]:
    """The image of a JP2 or JPX file, or of a bare codestream. Raises InputError."""
    with parsing("jp2", name=name):
        codestream = jp2_samples.codestream_of(data)
        header = jp2_samples.header_of(data, codestream)
    sample_bytes = _DECODED_BYTES * len(header.components)
    check_size(header.width, header.height, max_pixels, name=name, pixel_bytes=sample_bytes)
    with parsing("jp2", name=name):
        try:
            planes, header = _planes(codestream, header)
            metadata = jp2_boxes.metadata_in(data)
            in_profile = header.space is None and metadata.icc is not None and metadata.icc[16:20] == b"CMYK"
            image = jp2_samples.image_of(planes, header, inks_in_profile=in_profile)
        except jp2_samples.NotSupported as error:
            raise not_supported(f"a JPEG 2000 with {error}", name=name, program=_CONVERTER) from error
    lost = lost_after_first(header.num_streams, "image") + image.lost
    pixels = image.pixels
    if image.is_inks:
        pixels, conversion = conversions.rgb_from_cmyk(pixels, metadata.icc)
        lost, metadata = (*lost, conversion), replace(metadata, icc=None, cicp=SRGB)
    notes = (PALETTE_NOTE,) if header.palette is not None else ()
    return [Raster(pixels, image.alpha, metadata, notes=notes, lost=lost, bits=_partial_depth(image.bits))]


def write(pages: Sequence[Page], _quality: int) -> bytes:
    """A JP2 file of H×W×C samples, uint8 or uint16, C = 1 to 4, without loss. Raises OutputError."""
    samples, metadata = pages[0]
    data = _by_imagecodecs(samples) if samples.dtype == np.uint16 else _by_pillow(samples)
    return jp2_boxes.with_metadata(data, metadata, channels=samples.shape[2])


def _by_pillow(samples: Samples) -> bytes:
    return pillow.saved(pillow.image_of(samples), "jp2", {"mct": int(samples.shape[2] > 2)})


def _by_imagecodecs(samples: Samples) -> bytes:
    """For 16 bits, of which Pillow writes grey alone."""
    try:
        return bytes(
            imagecodecs.jpeg2k_encode(
                np.ascontiguousarray(samples), level=0, codecformat="jp2", reversible=True, mct=samples.shape[2] > 2
            )
        )
    except (RuntimeError, ValueError) as error:
        raise OutputError("cannot be written as JPEG 2000", hint="Choose another format.") from error


def _planes(codestream: bytes, header: Jp2Header) -> tuple[list[npt.NDArray[Any]], Jp2Header]:
    """(H×W samples of each component, as unsigned integers; the header for their interpretation).

    Raises NotSupported, and what the libraries raise.
    """
    parts = header.components
    if len(parts) > _MAX_COMPONENTS:
        raise jp2_samples.NotSupported(f"{len(parts)} components")
    if max(part.bits for part in parts) > _MAX_BITS:
        raise jp2_samples.NotSupported(f"{max(part.bits for part in parts)} bits a sample")
    if all(part == parts[0] for part in parts) and (parts[0].across, parts[0].down) == (1, 1):
        return [_from_zero(plane, parts[0]) for plane in _decoded(codestream, header)], header
    if jp2_samples.is_coarse_chroma(parts):
        # The library upsamples chroma only if it also converts to RGB, in the order of the file.
        planes = _decoded(jp2_samples.as_ycc_file(codestream, header), header)
        return planes, jp2_samples.as_rgb_header(header)
    whole_grid = all((part.across, part.down) == (1, 1) for part in parts)
    if not whole_grid or len(parts) not in (3, 4) or max(part.bits for part in parts) > _BITS_OF_PILLOW:
        raise jp2_samples.NotSupported("components that differ in size or depth")
    # Pillow converts components of different depths to 8 bits.
    image = pillow.opened(Jpeg2KImageFile, codestream)
    if image.size != (header.width, header.height):
        raise ValueError("header and data differ in size")
    image.load()
    samples = np.asarray(image)
    return [samples[..., index] >> (_BITS_OF_PILLOW - part.bits) for index, part in enumerate(parts)], header


def _decoded(file: bytes, header: Jp2Header) -> list[npt.NDArray[Any]]:
    samples = imagecodecs.jpeg2k_decode(file)
    if samples.shape[:2] != (header.height, header.width):
        raise ValueError("header and data differ in size")
    return [samples] if samples.ndim == 2 else [samples[..., index] for index in range(samples.shape[2])]


def _from_zero(plane: npt.NDArray[Any], part: Component) -> npt.NDArray[Any]:
    return (plane.astype(np.int32) + (1 << (part.bits - 1))).astype(np.uint16) if part.signed else plane


def _partial_depth(bits: int) -> int | None:
    return bits if 8 < bits < 16 else None


def header(file: Bytes) -> Header | None:
    """The header of the codestream, in its box or alone."""
    at = 0
    if file[:4] != jp2_boxes.CODESTREAM:
        at = next((start for kind, start, _ in placed(file, 0, len(file)) if kind == b"jp2c"), len(file))
    stream = file[at : at + 43]
    right, bottom, left, top = struct.unpack(">4I", stream[8:24])
    bits = (stream[42] & 0x7F) + 1
    return Header(right - left, bottom - top, 1 if int.from_bytes(stream[40:42], "big") < 3 else 3, bits)


def _metadata_in(file: bytes) -> list[Metadata]:
    try:
        Jpeg2KImageFile(BytesIO(file))  # This checks whether other programs can read it.
    except Image.DecompressionBombError:
        return []
    return [jp2_boxes.metadata_in(file)]


CODEC = Codec(read, write, _metadata_in, header, one_page(jp2_boxes.items))
