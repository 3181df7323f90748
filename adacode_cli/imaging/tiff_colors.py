"""Interprets the samples of a TIFF page (depth, colours, palette, CMYK, chroma, extra samples) as pixels and alpha."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tifffile import COMPRESSION, TiffPage

from adacode_cli.imaging import conversions
from adacode_cli.imaging.cicp import SRGB
from adacode_cli.imaging.conversions import LumaScale
from adacode_cli.imaging.exif import ALPHA, PLAIN_ALPHA, PREMULTIPLIED
from adacode_cli.imaging.image import PALETTE_NOTE, Raster, Samples
from adacode_cli.imaging.metadata import Metadata
from adacode_cli.imaging.refusals import not_supported
from adacode_cli.imaging.samples import to_depth, to_full_range, top_of, unpremultiplied
from adacode_cli.imaging.tiff_strips import GREY, INKS, OTHER_PROGRAM, RGB, YCBCR

_WHITE_IS_ZERO, _PALETTE, _LAB, _ICC_LAB = 0, 3, 8, 9
_COLORS = {_WHITE_IS_ZERO: 1, GREY: 1, RGB: 3, _PALETTE: 1, INKS: 4, YCBCR: 3, _LAB: 3, _ICC_LAB: 3}
_MAX_BITS = {_PALETTE: (16,), YCBCR: (8, 16), _LAB: (8, 16), _ICC_LAB: (8, 16)}
_PHOTOMETRIC, _COLOR_MAP, _INK_SET, _LUMA_WEIGHTS, _BLACK_WHITE = 262, 320, 332, 529, 532
_OTHER_INKS = 2
_RATIONAL = 5
_LAB_LOST = "L*a*b* colours (converted to sRGB)"


def raster(page: TiffPage, stored: Samples, metadata: Metadata, *, name: str) -> Raster:
    """The image of a page with the H×W×C samples `stored`, and its `metadata` (without an inapplicable profile).

    Raises InputError for colours that are not supported, and ValueError or LookupError for damaged tags.
    """
    kind, bits = int(page.photometric), int(page.bitspersample)
    colors = _num_colors(page, stored, name=name)
    plain, lost = _in_our_depth(stored, bits)
    alpha, is_premultiplied, lost_channels = _alpha(page, plain, colors)
    pixels, notes = plain[..., :colors], (PALETTE_NOTE,) if kind == _PALETTE else ()
    if kind == _WHITE_IS_ZERO:
        pixels = np.asarray(top_of(pixels.dtype), pixels.dtype) - pixels
    elif kind == _PALETTE:
        pixels = _looked_up(page, stored[..., 0])
    elif kind == YCBCR and colors > 1:
        pixels = conversions.rgb_from_luma(stored[..., :colors], _luma_scale(page, bits), pixels.dtype)
    elif kind in (_LAB, _ICC_LAB):
        pixels = conversions.rgb_from_lab(pixels, is_offset=kind == _ICC_LAB)
        lost, metadata = (*lost, _LAB_LOST), replace(metadata, icc=None, cicp=SRGB)
    elif kind == INKS:
        if alpha is not None and is_premultiplied:
            pixels, is_premultiplied = unpremultiplied(pixels, alpha), False
        pixels, conversion = conversions.rgb_from_cmyk(pixels, metadata.icc)
        lost, metadata = (*lost, conversion), replace(metadata, icc=None, cicp=SRGB)
    pixels = np.ascontiguousarray(pixels[..., 0] if colors == 1 and kind != _PALETTE else pixels)
    if alpha is not None:
        alpha = to_depth(alpha, pixels.dtype)
        pixels = unpremultiplied(pixels, alpha) if is_premultiplied else pixels
    shallow = bits if pixels.dtype == np.uint16 and bits < 16 else None
    return Raster(pixels, alpha, metadata, notes=notes, lost=(*lost, *lost_channels), bits=shallow)


def _num_colors(page: TiffPage, stored: Samples, *, name: str) -> int:
    """The number of colour samples of a pixel. Raises InputError for unsupported colours."""
    kind, bits, count = int(page.photometric), int(page.bitspersample), stored.shape[2]
    colors = 1 if kind == YCBCR and count == 1 else _COLORS.get(kind, count + 1)
    known_bits = _MAX_BITS.get(kind)
    fits = known_bits is None or (stored.dtype.kind == "u" and (bits in known_bits or bits <= known_bits[0]))
    if count > 2 and _PHOTOMETRIC not in page.tags and page.compression != COMPRESSION.OJPEG:
        raise not_supported("a TIFF with colours of an unstated kind", name=name)
    if kind == INKS and page.tags.valueof(_INK_SET) == _OTHER_INKS:
        raise not_supported("a TIFF with other inks than CMYK", name=name, program=OTHER_PROGRAM)
    if colors > count or not fits:
        title = getattr(page.photometric, "name", kind)
        what = f"a TIFF with {title} colours in {count} samples of {bits} bits"
        raise not_supported(what, name=name, program=OTHER_PROGRAM)
    return colors


def _in_our_depth(samples: Samples, bits: int) -> tuple[Samples, tuple[str, ...]]:
    """(the samples as uint8, uint16 or float32 in [0, 1], each of full range; the losses)."""
    if samples.dtype.kind == "u":
        if bits <= 16:
            return to_full_range(samples, bits), ()
        top = np.float64(2**bits - 1)
        return (samples / top).astype(np.float32), (f"{bits}-bit integers (read as 32-bit float)",)
    lost: tuple[str, ...] = ("64-bit float (read as 32-bit float)",) if samples.dtype == np.float64 else ()
    if not np.isfinite(samples).all():
        samples, lost = np.nan_to_num(samples, nan=0.0), (*lost, "values that are not numbers (set to 0)")
    if samples.min() < 0 or samples.max() > 1:
        samples, lost = np.clip(samples, 0, 1), (*lost, "values outside 0 to 1 (clipped)")
    return samples.astype(np.float32, copy=False), lost


def _looked_up(page: TiffPage, indices: Samples) -> Samples:
    """H×W×3 of palette indices: uint16 if these have more than 8 bits and the palette has too, else uint8."""
    tag = page.tags.get(_COLOR_MAP)
    if tag is None:
        raise ValueError("no palette")
    table = np.asarray(tag.value, np.uint16).reshape(3, -1).T
    # Some programs write entries of 8 bits although the format has 16.
    if table.max() <= 255:
        table = table.astype(np.uint8)
    elif indices.dtype == np.uint8:
        table = (table // 256).astype(np.uint8)
    return np.take(table, indices, axis=0)  # takes a third of the time of table[indices]


def _luma_scale(page: TiffPage, bits: int) -> LumaScale:
    weights, ranges = _numbers(page, _LUMA_WEIGHTS), _numbers(page, _BLACK_WHITE)
    plain = LumaScale.of_bits(bits)
    return LumaScale(
        weights if len(weights) == 3 else plain.weights, ranges if len(ranges) == 6 else plain.ranges, bits
    )


def _numbers(page: TiffPage, code: int) -> tuple[float, ...]:
    """The values of a tag of fractions or integers; empty if it is missing."""
    tag = page.tags.get(code)
    if tag is None:
        return ()
    if tag.dtype != _RATIONAL:
        return tuple(float(value) for value in tag.value)
    return tuple(above / below for above, below in zip(tag.value[::2], tag.value[1::2], strict=True))


def _alpha(page: TiffPage, stored: Samples, colors: int) -> tuple[Samples | None, bool, tuple[str, ...]]:
    """(alpha, whether the colours are premultiplied, the losses).

    A single undeclared extra sample beside grey or RGB is alpha.
    """
    count = stored.shape[2] - colors
    kinds = [int(kind) for kind in page.extrasamples][:count]
    if not kinds and count == 1 and page.photometric != INKS:
        kinds = [PLAIN_ALPHA]
    at = next((i for i, kind in enumerate(kinds) if kind in ALPHA), None)
    if at is None:
        return None, False, (f"{count} extra channel(s) of unknown meaning",) if count else ()
    lost = (f"{count - 1} extra channel(s) beyond alpha",) if count > 1 else ()
    return np.ascontiguousarray(stored[..., colors + at]), kinds[at] == PREMULTIPLIED, lost
