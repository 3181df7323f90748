"""Interprets the samples of a JPEG 2000 file: palette, order of channels, colours.

A codestream contains numbered components without a meaning. The boxes of the file define which components are indices
of a palette, which one is alpha, the order of the colours, and the colour space. Channels and ranges follow the
standard (ISO 15444-1 and -2, annexes on colour).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from adacode_cli.imaging import conversions
from adacode_cli.imaging.image import Samples
from adacode_cli.imaging.iso_boxes import box, boxes
from adacode_cli.imaging.jp2_boxes import CODESTREAM, SIGNATURE
from adacode_cli.imaging.samples import to_full_range, unpremultiplied

SRGB, GREY, SYCC, ESYCC, CIELAB, CMYK = 16, 17, 18, 24, 14, 12
"""Colour spaces, with their numbers in the standard."""

COLOUR, COVERAGE, PREMULTIPLIED = 0, 1, 2
"""Kinds of channels."""

_MAX_PRECINCTS = 1 << 20
_FIRST_TILE_PART, _STYLE, _STYLE_OF_COMPONENT = 0xFF90, 0xFF52, 0xFF53
_STYLES = {_STYLE: 5, _STYLE_OF_COMPONENT: 2}  # marker → offset of the number of levels after its length
_MAX_OF_ONE_BYTE = 256  # components whose number has one byte
_SIZE_AT, _COMPONENTS_AT = 8, 40  # in a codestream: after SOC, SIZ and two lengths; the number of components
_MAX_PALETTE = 1024
_BITS, _SIGNED = 0x7F, 0x80
_MAX_GRID = 2**31 - 1
_COLOURS_OF = {GREY: 1, SRGB: 3, SYCC: 3, ESYCC: 3, CIELAB: 3, CMYK: 4}
_LAB_DETAILS = 28  # bytes: six numbers, and the illuminant


@dataclass(frozen=True)
class Component:
    """How the samples of a component are stored; `across` and `down`: pixels from one sample to the next."""

    bits: int
    signed: bool
    across: int
    down: int


@dataclass(frozen=True, eq=False)
class Palette:
    """N×K `entries`, K columns of `bits` each; `sources`: (component, column or None for the component itself)."""

    entries: npt.NDArray[np.int64]
    bits: tuple[int, ...]
    sources: tuple[tuple[int, int | None], ...]


@dataclass(frozen=True)
class Jp2Header:
    """The description of the samples.

    definitions: channel → (its kind, the number of its colour from 1, or 0 for all colours).
    space: the colour space, or None if it is not stated.
    details: the data after the number of the colour space.
    num_streams: the number of images in the file.
    """

    width: int
    height: int
    components: tuple[Component, ...]
    palette: Palette | None = None
    definitions: dict[int, tuple[int, int]] = field(default_factory=dict)
    space: int | None = None
    details: bytes = b""
    num_streams: int = 1


def codestream_of(file: bytes) -> bytes:
    """The first codestream of a file, or a bare codestream itself. Raises ValueError if there is none."""
    if file.startswith(CODESTREAM):
        return file
    for kind, body in boxes(file):
        if kind == b"jp2c":
            return body
    return file[file.index(CODESTREAM) :]  # It is in a truncated box; the decoder will report this.


def header_of(file: bytes, codestream: bytes) -> Jp2Header:
    """The description of the samples in the `codestream` of a file.

    Raises ValueError or struct.error for a damaged file, and for one that needs much more memory than its pixels.
    """
    if not codestream.startswith(CODESTREAM):
        raise ValueError("it contains no codestream")
    right, bottom, left, top = struct.unpack_from(">4I", codestream, _SIZE_AT)
    (count,) = struct.unpack_from(">H", codestream, _COMPONENTS_AT)
    if max(right, bottom) > _MAX_GRID or not count:
        raise ValueError("its header is invalid")
    described = struct.iter_unpack(">3B", codestream[_COMPONENTS_AT + 2 : _COMPONENTS_AT + 2 + 3 * count])
    components = tuple(
        Component((depth & _BITS) + 1, bool(depth & _SIGNED), across, down) for depth, across, down in described
    )
    if len(components) != count or not all(part.across and part.down for part in components):
        raise ValueError("its header is invalid")
    outer = [(kind, body) for kind, body in boxes(file) if kind in (b"jp2h", b"jp2c")]
    inner: dict[bytes, bytes] = {}
    for kind, body in outer:
        for name, content in boxes(body) if kind == b"jp2h" else ():
            inner.setdefault(name, content)
    space, details = _colour_space(inner.get(b"colr", b""))
    streams = sum(kind == b"jp2c" for kind, _ in outer)
    header = Jp2Header(
        right - left,
        bottom - top,
        components,
        _palette(inner, count),
        _definitions(inner.get(b"cdef", b"")),
        space,
        details,
        max(1, streams),
    )
    _check_precincts(codestream, header)
    return header


def _check_precincts(codestream: bytes, header: Jp2Header) -> None:
    """Raises ValueError if the image has so many precincts that their list needs too much memory.

    The library makes this list before it reads any data, with about a hundred bytes for each precinct.
    """
    at, count = len(CODESTREAM) - 2, 0
    while at + 4 <= len(codestream):
        marker, length = struct.unpack_from(">2H", codestream, at)
        if marker == _FIRST_TILE_PART:
            return
        body = codestream[at + 4 : at + 2 + length]
        if marker in _STYLES:
            is_wide = len(header.components) > _MAX_OF_ONE_BYTE
            begins = _STYLES[marker] + is_wide if marker == _STYLE_OF_COMPONENT else _STYLES[marker]
            count += _num_precincts(body, begins, header) * (len(header.components) if marker == _STYLE else 1)
        if count > _MAX_PRECINCTS:
            raise ValueError("it has too many precincts")
        at += 2 + max(2, length)


def _num_precincts(style: bytes, begins: int, header: Jp2Header) -> int:
    """The precincts of one component, with the sizes in a style segment from `begins` on; 0 if there are none."""
    has_sizes = bool(style[0 if begins == _STYLES[_STYLE] else begins - 1] & 1)
    if not has_sizes or len(style) <= begins + 5:
        return 0
    levels, sizes = style[begins], style[begins + 5 :]
    count = 0
    for level, size in enumerate(sizes[: levels + 1]):
        shrunk = levels - level
        across, down = shrunk + (size & 15), shrunk + (size >> 4)
        count += ((header.width >> across) + 1) * ((header.height >> down) + 1)
    return count


def is_coarse_chroma(parts: tuple[Component, ...]) -> bool:
    """Whether the second and third component have half the resolution of the first, like subsampled chroma."""
    if len(parts) not in (3, 4) or len({(part.bits, part.signed) for part in parts}) > 1:
        return False
    grids = [(part.across, part.down) for part in parts]
    return grids[0] == grids[-1 if len(grids) == 4 else 0] == (1, 1) and grids[1] == grids[2] in ((2, 1), (2, 2))


def as_ycc_file(codestream: bytes, header: Jp2Header) -> bytes:
    """A JP2 file of luma and chroma, in the order that `header` defines."""
    first = header.components[0]
    depth = first.bits - 1 | (_SIGNED if first.signed else 0)
    inner = box(b"ihdr", struct.pack(">IIH4B", header.height, header.width, len(header.components), depth, 7, 0, 0))
    inner += box(b"colr", struct.pack(">3BI", 1, 0, 0, SYCC))
    if header.definitions:
        records = [value for channel, (kind, colour) in header.definitions.items() for value in (channel, kind, colour)]
        inner += box(b"cdef", struct.pack(f">{1 + len(records)}H", len(header.definitions), *records))
    start = SIGNATURE + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    return start + box(b"jp2h", inner) + box(b"jp2c", codestream)


def as_rgb_header(header: Jp2Header) -> Jp2Header:
    """The header of a file whose luma and chroma were converted to RGB."""
    definitions = {channel: definition for channel, definition in header.definitions.items() if definition[0] != COLOUR}
    component = replace(header.components[0], signed=False)
    components = tuple(component for _ in header.components)
    return replace(header, components=components, definitions=definitions, space=SRGB, details=b"")


def _colour_space(body: bytes) -> tuple[int | None, bytes]:
    return (struct.unpack_from(">I", body, 3)[0], body[7:]) if body[:1] == b"\1" and len(body) >= 7 else (None, b"")


def _definitions(body: bytes) -> dict[int, tuple[int, int]]:
    return {
        channel: (kind, colour)
        for channel, kind, colour in struct.iter_unpack(">3H", body[2 : _end_of_records(body, 2, 6)])
    }


def _palette(inner: dict[bytes, bytes], num_components: int) -> Palette | None:
    if b"pclr" not in inner:
        return None
    body = inner[b"pclr"]
    count, columns = struct.unpack_from(">HB", body)
    depths = body[3 : 3 + columns]
    if not 0 < count <= _MAX_PALETTE or len(depths) != columns or not columns or any(d & _SIGNED for d in depths):
        raise ValueError("its palette is invalid")
    widths = [(depth & _BITS) // 8 + 1 for depth in depths]
    at, entries = 3 + columns, np.zeros((count, columns), np.int64)
    if max(widths) > 4 or len(body) < at + count * sum(widths):
        raise ValueError("its palette is incomplete")
    for entry in range(count):
        for column, width in enumerate(widths):
            entries[entry, column] = int.from_bytes(body[at : at + width], "big")
            at += width
    mapped = inner.get(b"cmap", b"")
    sources = tuple(
        (component, column if through else None)
        for component, through, column in struct.iter_unpack(">HBB", mapped[: _end_of_records(mapped, 0, 4)])
    )
    # Without a map of channels, each column of the palette is a channel.
    sources = sources or tuple((0, column) for column in range(columns))
    if any(source >= num_components or (column or 0) >= columns for source, column in sources):
        raise ValueError("its palette is invalid")
    return Palette(entries, tuple((depth & _BITS) + 1 for depth in depths), sources)


def _end_of_records(body: bytes, start: int, size: int) -> int:
    """The end of the last complete record of `size` bytes; the first one begins at `start`."""
    return start + max(0, len(body) - start) // size * size


class NotSupported(Exception):  # noqa: N818 (the reason of an InputError)
    """The colours are not supported; the message describes them."""


@dataclass(frozen=True, eq=False)
class Jp2Image:
    """H×W or H×W×3 pixels, or H×W×4 CMYK, and H×W alpha, uint8 or uint16. `bits`: of a stored sample.

    `lost`: losses, for messages.
    """

    pixels: Samples
    alpha: Samples | None
    bits: int
    lost: tuple[str, ...] = ()

    @property
    def is_inks(self) -> bool:
        """Whether the pixels are cyan, magenta, yellow and black (0 = no ink)."""
        return self.pixels.ndim == 3 and self.pixels.shape[2] == 4


def image_of(planes: list[npt.NDArray[Any]], header: Jp2Header, *, inks_in_profile: bool = False) -> Jp2Image:
    """The image of H×W components of unsigned integers. Raises NotSupported, ValueError.

    inks_in_profile: the file is CMYK, which only its profile states.
    """
    channels = _channels(planes, header)
    colours, alpha_at, is_multiplied = _channel_roles(header, len(channels), 4 if inks_in_profile else None)
    used = [channels[index] for index in (*colours, *([] if alpha_at is None else [alpha_at]))]
    bits = max(depth for _, depth in used)
    if bits > 16:
        raise NotSupported(f"{bits} bits a sample")
    deepest = np.uint16 if bits > 8 else np.uint8
    fitted = [to_full_range(plane, depth, deepest) for plane, depth in used]
    pixels = fitted[0] if len(colours) == 1 else np.dstack(fitted[: len(colours)])
    alpha = fitted[-1] if alpha_at is not None else None
    if alpha is not None and is_multiplied:
        pixels = unpremultiplied(pixels, alpha)
    left = len(channels) - len(used)
    lost = (f"{left} of {len(channels)} channels",) if left else ()
    return Jp2Image(_as_rgb(pixels, header, used[0][1]), alpha, bits, lost)


def _channels(planes: list[npt.NDArray[Any]], header: Jp2Header) -> list[tuple[npt.NDArray[Any], int]]:
    """(samples, bits) of each channel."""
    if header.palette is None:
        return [(plane, part.bits) for plane, part in zip(planes, header.components, strict=True)]
    channels = []
    for component, column in header.palette.sources:
        plane = planes[component]
        if column is None:
            channels.append((plane, header.components[component].bits))
            continue
        bits, entries = header.palette.bits[column], header.palette.entries[:, column]
        table = entries.astype(np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.int64)
        channels.append((table[np.minimum(plane, len(table) - 1)], bits))
    return channels


def _channel_roles(header: Jp2Header, count: int, inks: int | None) -> tuple[list[int], int | None, bool]:
    """(the channels of the colours in order, the channel of alpha or None, whether colours are premultiplied)."""
    definitions = header.definitions
    num_colours = inks or _COLOURS_OF.get(header.space if header.space is not None else -1)
    if num_colours is None and header.space is not None:
        raise NotSupported(f"colours in space {header.space}")
    if num_colours is None:
        num_colours = sum(kind == COLOUR for kind, _ in definitions.values()) if definitions else 3
    if num_colours == 3 and count < 3:
        num_colours = 1  # It is grey that is declared as RGB or has no colour space.
    by_colour = {
        colour: channel for channel, (kind, colour) in definitions.items() if kind == COLOUR and channel < count
    }
    colours = [by_colour[colour] for colour in range(1, num_colours + 1) if colour in by_colour]
    if len(colours) < num_colours:
        # Without usable definitions, colours are the first channels, as in a bare codestream.
        colours = list(range(min(count, num_colours)))
    if len(colours) not in (1, 3, 4) or len(colours) < num_colours:
        raise NotSupported(f"{count} channels whose colours are not known")
    alphas = [
        channel
        for channel, (kind, colour) in definitions.items()
        if kind in (COVERAGE, PREMULTIPLIED) and colour == 0 and channel < count
    ]
    if alphas:
        return colours, alphas[0], definitions[alphas[0]][0] == PREMULTIPLIED
    # Many writers do not declare that the channel after the colours is alpha.
    is_alpha = count == len(colours) + 1 and count - 1 not in colours and count - 1 not in definitions and inks is None
    return colours, count - 1 if is_alpha else None, False


def _as_rgb(pixels: Samples, header: Jp2Header, bits: int) -> Samples:
    if pixels.ndim == 2 or pixels.shape[2] != 3:
        return pixels
    if header.space in (SYCC, ESYCC):
        return conversions.rgb_from_ycc(pixels, bits)
    if header.space != CIELAB:
        return pixels
    return conversions.rgb_from_ranged_lab(pixels, _lab_ranges(header.details, bits), _illuminant(header))


def _lab_ranges(details: bytes, bits: int) -> tuple[tuple[float, float], ...]:
    """(smallest value, range) of L*, a* and b*."""
    top = (1 << bits) - 1
    numbers = [100, 0, 170, 1 << (bits - 1), 200, (1 << (bits - 2)) + (1 << (bits - 3))]
    if len(details) >= _LAB_DETAILS:
        numbers = list(struct.unpack_from(">6I", details))
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return tuple((-extent * offset / top, float(extent)) for extent, offset in pairs)


def _illuminant(header: Jp2Header) -> bytes:
    """The illuminant of CIELab. Raises NotSupported."""
    illuminant = header.details[24:_LAB_DETAILS] if len(header.details) >= _LAB_DETAILS else b"\0D50"
    if illuminant not in conversions.ILLUMINANTS:
        raise NotSupported("CIELab with an illuminant other than D50 and D65")
    return illuminant
