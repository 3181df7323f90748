"""JPEG XL, which is read and not written: decoded by imagecodecs, except what was a JPEG, which is made again from it.

The library does not say in which colours samples are. They are as the header describes them, or, where the header has a
profile and colours are stored in XYB, in linear sRGB. The profile of other files is read by pillow-jxl-plugin, which is
optional because of its copyleft licence; its samples are not used, because it reduces colours of 16 bits to 8.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import imagecodecs
import numpy as np

from adacode_cli import formats
from adacode_cli.errors import InputError, OutputError
from adacode_cli.imaging import jpeg_codec, jxl_header
from adacode_cli.imaging.codec import Codec, Header, Page
from adacode_cli.imaging.image import Item, Raster, Samples
from adacode_cli.imaging.inventory import (
    CHANNELS,
    COLOR_PROFILE,
    CREDENTIALS,
    EXIF,
    FRAMES,
    FURTHER_PACKET,
    GAIN_MAP,
    XMP,
)
from adacode_cli.imaging.iso_boxes import Bytes, boxes, placed
from adacode_cli.imaging.jxl_header import JxlHeader
from adacode_cli.imaging.metadata import Metadata, over_limit_text
from adacode_cli.imaging.refusals import check_size, not_supported, parsing
from adacode_cli.imaging.samples import quantise, to_full_range, top_of, unpremultiplied
from adacode_cli.imaging.tiff_tags import items_of_exif
from adacode_cli.limits import MAX_METADATA_BYTES

_CONVERTER = "djxl a.jxl a.png"
_SIGNATURE_BOX = b"JXL "
_MAX_BITS = 16
_STORAGE = frozenset({_SIGNATURE_BOX, b"ftyp", b"jxlc", b"jxlp", b"jxll", b"jxli", b"jbrd", b"free", b"skip"})
_NAMES = {b"Exif": "exif", b"xml ": "xmp"}
_OTHER_ITEMS = {b"jumb": CREDENTIALS, b"jhgm": GAIN_MAP}
_PROFILE_APPLIED = "ICC profile (converted to sRGB)"
_HEAD_BYTES = 4096


def read(data: bytes, max_pixels: int, *, name: str) -> list[Raster]:
    """The first frame of a JPEG XL file or codestream. Raises InputError."""
    with parsing("jxl", name=name):
        codestream = _codestream(data)
        header = jxl_header.parsed(codestream)
    check_size(header.width, header.height, max_pixels, name=name, pixel_bytes=2 * (3 + len(header.channels)))
    if (problem := _unsupported(header)) is not None:
        raise not_supported(f"a JPEG XL with {problem}", name=name, program=_CONVERTER)
    if (jpeg := _jpeg_in(data)) is not None:
        return jpeg_codec.read(jpeg, max_pixels, name=name)
    with parsing("jxl", name=name):
        metadata, lost = _metadata(data)
        lost += (CHANNELS,) if len(header.channels) > (header.alpha is not None) else ()
        lost += ("the other frames of its animation",) if header.is_animation else ()
        if header.has_profile:
            metadata = replace(metadata, icc=_profile(codestream, name=name))
        pixels, alpha, bits = _planes(codestream, header)
    colours = header.colours
    if not colours.has_icc:
        metadata = replace(metadata, icc=colours.profile(), cicp=colours.cicp)
    elif header.is_xyb:
        pixels, lost = _from_linear(pixels, bits), (*lost, _PROFILE_APPLIED)
        alpha = _as_deep(alpha, pixels)
    is_partial = pixels.dtype == np.uint16 and bits < _MAX_BITS and not (colours.has_icc and header.is_xyb)
    # What was a JPEG, and cannot be made again from the file, is not in XYB either.
    lossless = not header.is_xyb and not _was_jpeg(data)
    stored_bits = bits if is_partial else None
    return [Raster(pixels, alpha, metadata, orientation=1, lost=lost, bits=stored_bits, lossless=lossless)]


def _profile(codestream: bytes, *, name: str) -> bytes:
    """The ICC profile of a codestream that is not in XYB, as it was stored.

    Raises InputError if the package for it is not installed, RuntimeError or ValueError if it is damaged.
    """
    format = formats.named("jxl")
    try:
        plugin = importlib.import_module("pillow_jxl")
    except ImportError as error:
        package = format.profile_package
        message = f"has an ICC profile, which in a JPEG XL needs the package {package}, which is not installed"
        hint = f"Install it with: {format.install}. Or convert the file: {_CONVERTER}"
        raise InputError(message, path=name, hint=hint) from error
    # Without `num_threads`, it starts a thread for each core.
    profile = bytes(plugin.Decoder(num_threads=0)(codestream)[3])
    if not profile:
        raise ValueError("it has no profile, although its header announces one")
    return profile


def _unsupported(header: JxlHeader) -> str | None:
    if header.bits == 0:
        return "floating-point samples"
    if header.bits > _MAX_BITS:
        return f"{header.bits} bits a sample"
    return "inks" if any(channel.kind == jxl_header.BLACK for channel in header.channels) else None


def _codestream(data: bytes) -> bytes:
    """The codestream of a file, which may be in several boxes. Raises ValueError."""
    if data.startswith(jxl_header.SIGNATURE):
        return data
    parts = [body[4:] if kind == b"jxlp" else body for kind, body in boxes(data) if kind in (b"jxlc", b"jxlp")]
    if not parts:
        raise ValueError("it has no image")
    return b"".join(parts)


def _was_jpeg(data: bytes) -> bool:
    """Whether a file has what is needed beside its codestream to make a JPEG file again."""
    return any(kind == b"jbrd" for kind, _, _ in placed(data, 0, len(data)))


def _jpeg_in(data: bytes) -> bytes | None:
    """The JPEG file from which a JPEG XL was made without loss; None if it was not, or cannot be made again."""
    if not _was_jpeg(data):
        return None
    try:
        return bytes(imagecodecs.jpegxl_decode_jpeg(data, numthreads=1))
    except (RuntimeError, ValueError):  # Its metadata were edited, or it is grey.
        return None


def _planes(codestream: bytes, header: JxlHeader) -> tuple[Samples, Samples | None, int]:
    """(H×W or H×W×3, alpha or None, bits of a stored sample) upright, in the range of their type. Raises ValueError."""
    bits = header.bits
    if header.colours.has_icc and header.is_xyb and bits == 8:
        codestream, bits = jxl_header.with_twelve_bits(codestream, header), 12  # Linear light needs more than 8.
    samples = imagecodecs.jpegxl_decode(codestream, numthreads=1)
    colors = 1 if samples.ndim == 2 or samples.shape[-1] == 2 else 3
    planes = samples if samples.ndim == 3 else samples[..., None]
    has_alpha = header.alpha is not None
    if (
        planes.ndim != 3
        or planes.shape[2] != colors + has_alpha
        or planes.shape[0] * planes.shape[1] != (header.width * header.height)
    ):
        raise ValueError("header and data differ in size or channels")
    pixels = to_full_range(planes[..., :3] if colors == 3 else planes[..., 0], bits)
    if header.alpha is None:
        return np.ascontiguousarray(pixels), None, bits
    alpha = np.ascontiguousarray(to_full_range(planes[..., colors], bits))
    if header.alpha.is_associated:
        pixels = unpremultiplied(pixels, alpha)
    return np.ascontiguousarray(pixels), alpha, bits


def _from_linear(pixels: Samples, bits: int) -> Samples:
    """Samples of uint16 in linear light with the transfer of sRGB: uint8 for up to 12 bits, otherwise uint16."""
    light = np.arange(65536) / 65535
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    kind = np.dtype(np.uint8 if bits <= 12 else np.uint16)
    return np.asarray(quantise(curve * top_of(kind), kind)[pixels])


def _as_deep(alpha: Samples | None, pixels: Samples) -> Samples | None:
    if alpha is None or alpha.dtype == pixels.dtype:
        return alpha
    return quantise(alpha * (top_of(pixels.dtype) / top_of(alpha.dtype)), pixels.dtype)


def _blocks(data: bytes) -> Iterator[tuple[str, bytes | None]]:
    """(field of `Metadata`, block) of each box of metadata, unpacked; None for a block that exceeds its limit."""
    for kind, body in boxes(data if not data.startswith(jxl_header.SIGNATURE) else b""):
        is_packed = kind == b"brob"
        name = _NAMES.get(body[:4] if is_packed else kind)
        if name is None:
            continue
        content: bytes | None = body
        if is_packed:
            try:
                content = bytes(imagecodecs.brotli_decode(body[4:], out=MAX_METADATA_BYTES[name] + 4))
            except imagecodecs.BrotliError:
                content = None
        if content is not None and name == "exif":
            content = content[4 + int.from_bytes(content[:4], "big") :]
        yield name, content


def _metadata(data: bytes) -> tuple[Metadata, tuple[str, ...]]:
    """(EXIF and XMP of a file, losses)."""
    blocks: dict[str, bytes] = {}
    lost: tuple[str, ...] = ()
    for name, content in _blocks(data):
        if content is None:
            lost += (over_limit_text(name),)
        elif content and name not in blocks:
            blocks[name] = content
    return Metadata(exif=blocks.get("exif"), xmp=blocks.get("xmp")), lost


def _items(data: bytes) -> Sequence[Iterator[Item]]:
    jpeg = _jpeg_in(data)
    return (_items_of(data),) if jpeg is None else tuple(jpeg_codec.CODEC.items(jpeg))


def _items_of(data: bytes) -> Iterator[Item]:
    header = jxl_header.parsed(_codestream(data))
    if header.colours.has_icc:
        yield (COLOR_PROFILE if header.has_profile else _PROFILE_APPLIED), ""
    if header.is_animation:
        yield FRAMES, ""
    if len(header.channels) > (header.alpha is not None):
        yield CHANNELS, ""
    seen: set[str] = set()
    for name, content in _blocks(data):
        if name == "exif" and content is not None and name not in seen:
            yield from items_of_exif(content)
        elif name == "exif":
            yield EXIF, ""
        else:
            yield (FURTHER_PACKET if name in seen else XMP), ""
        seen.add(name)
    if data.startswith(jxl_header.SIGNATURE):
        return
    for outer, body in boxes(data):
        kind = body[:4] if outer == b"brob" else outer
        if kind not in _STORAGE and kind not in _NAMES:
            yield _OTHER_ITEMS.get(kind, "JPEG XL boxes"), kind.decode("latin-1")


def header(file: Bytes) -> Header | None:
    """The header of a file, from its beginning."""
    start = bytes(file[:_HEAD_BYTES])
    if not start.startswith(jxl_header.SIGNATURE):
        kinds = (b"jxlc", b"jxlp")
        kind, at = next((kind, at) for kind, at, _ in placed(file, 0, len(file)) if kind in kinds)
        start = bytes(file[at + 4 * (kind == b"jxlp") : at + _HEAD_BYTES])
    found = jxl_header.parsed(start)
    cicp = found.colours.cicp
    described = cicp if cicp is not None and not cicp.is_srgb else None
    known = frozenset({"icc"}) if found.has_profile else frozenset[str]()
    return Header(
        found.width, found.height, 1 if found.colours.is_grey else 3, found.bits, metadata=known, cicp=described
    )


def _write(_pages: Sequence[Page], _quality: int) -> bytes:
    raise OutputError("JPEG XL is read and not written", hint="Choose another format.")


def _metadata_in(data: bytes) -> list[Metadata]:
    with suppress(ValueError):
        return [_metadata(data)[0]]
    return []


CODEC = Codec(read, _write, _metadata_in, header, _items)
