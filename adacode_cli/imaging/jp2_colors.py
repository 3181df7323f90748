"""From the components of a JPEG 2000 file to a picture: palette, order of channels, and colour spaces beside RGB.

The meaning of channels and ranges is that of the standard (ISO 15444-1 and -2, annexes on colour).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from adacode_cli.imaging import conversions
from adacode_cli.imaging.image import Samples
from adacode_cli.imaging.jp2_header import (
    CIELAB,
    CMYK,
    COLOUR,
    COVERAGE,
    ESYCC,
    GREY,
    PREMULTIPLIED,
    SRGB,
    SYCC,
    Header,
)
from adacode_cli.imaging.samples import over_whole_range, unpremultiplied

_COLOURS_OF = {GREY: 1, SRGB: 3, SYCC: 3, ESYCC: 3, CIELAB: 3, CMYK: 4}
_LAB_DETAILS = 28  # bytes: six numbers, and the light


class NotSupported(Exception):  # noqa: N818 (the reason of an InputError)
    """Colours that this program does not know; the message says what the file has."""


@dataclass(frozen=True, eq=False)
class Picture:
    """H×W or H×W×3 pixels, or H×W×4 inks, and H×W alpha, uint8 or uint16. `bits`: of a sample as stored.

    `lost`: for a person.
    """

    pixels: Samples
    alpha: Samples | None
    bits: int
    lost: tuple[str, ...] = ()

    @property
    def is_inks(self) -> bool:
        """Whether the pixels are cyan, magenta, yellow and black (0 = no ink)."""
        return self.pixels.ndim == 3 and self.pixels.shape[2] == 4


def picture_of(planes: list[npt.NDArray[Any]], header: Header, *, inks_in_profile: bool = False) -> Picture:
    """The picture of H×W components, their samples whole numbers from 0 as stored. Raises NotSupported, ValueError.

    `inks_in_profile`: that only the profile of the file says that it has four inks.
    """
    channels = _channels(planes, header)
    colours, alpha_at, is_multiplied = _ordered(header, len(channels), 4 if inks_in_profile else None)
    used = [channels[index] for index in (*colours, *([] if alpha_at is None else [alpha_at]))]
    bits = max(depth for _, depth in used)
    if bits > 16:
        raise NotSupported(f"{bits} bits a sample")
    deepest = np.uint16 if bits > 8 else np.uint8
    fitted = [over_whole_range(plane, depth, deepest) for plane, depth in used]
    pixels = fitted[0] if len(colours) == 1 else np.dstack(fitted[: len(colours)])
    alpha = fitted[-1] if alpha_at is not None else None
    if alpha is not None and is_multiplied:
        pixels = unpremultiplied(pixels, alpha)
    left = len(channels) - len(used)
    lost = (f"{left} of {len(channels)} channels",) if left else ()
    return Picture(_as_rgb(pixels, header, used[0][1]), alpha, bits, lost)


def _channels(planes: list[npt.NDArray[Any]], header: Header) -> list[tuple[npt.NDArray[Any], int]]:
    """(samples, bits) of each channel."""
    if header.palette is None:
        return [(plane, part.bits) for plane, part in zip(planes, header.components, strict=True)]
    found = []
    for component, column in header.palette.sources:
        plane = planes[component]
        if column is None:
            found.append((plane, header.components[component].bits))
            continue
        bits, entries = header.palette.bits[column], header.palette.entries[:, column]
        table = entries.astype(np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.int64)
        found.append((table[np.minimum(plane, len(table) - 1)], bits))
    return found


def _ordered(header: Header, count: int, inks: int | None) -> tuple[list[int], int | None, bool]:
    """(the channels of the colours in their order, that of the alpha, whether colours are multiplied by it)."""
    said = header.definitions
    num_colours = inks or _COLOURS_OF.get(header.space if header.space is not None else -1)
    if num_colours is None and header.space is not None:
        raise NotSupported(f"colours in space {header.space}")
    if num_colours is None:
        num_colours = sum(kind == COLOUR for kind, _ in said.values()) if said else 3
    if num_colours == 3 and count < 3:
        num_colours = 1  # grey that calls itself RGB, or says nothing
    by_colour = {colour: channel for channel, (kind, colour) in said.items() if kind == COLOUR and channel < count}
    colours = [by_colour[colour] for colour in range(1, num_colours + 1) if colour in by_colour]
    if len(colours) < num_colours:
        # Nothing useful is said: colours stand first, as they do in a codestream alone.
        colours = list(range(min(count, num_colours)))
    if len(colours) not in (1, 3, 4) or len(colours) < num_colours:
        raise NotSupported(f"{count} channels whose colours are not known")
    covering = [
        channel
        for channel, (kind, colour) in said.items()
        if kind in (COVERAGE, PREMULTIPLIED) and colour == 0 and channel < count
    ]
    if covering:
        return colours, covering[0], said[covering[0]][0] == PREMULTIPLIED
    # Many writers do not say that a channel behind the colours is coverage.
    is_alpha = count == len(colours) + 1 and count - 1 not in colours and count - 1 not in said and inks is None
    return colours, count - 1 if is_alpha else None, False


def _as_rgb(pixels: Samples, header: Header, bits: int) -> Samples:
    if pixels.ndim == 2 or pixels.shape[2] != 3:
        return pixels
    if header.space in (SYCC, ESYCC):
        return conversions.rgb_from_ycc(pixels, bits)
    if header.space != CIELAB:
        return pixels
    return conversions.rgb_from_ranged_lab(pixels, _lab_ranges(header.details, bits), _light(header))


def _lab_ranges(details: bytes, bits: int) -> tuple[tuple[float, float], ...]:
    """(smallest value, range) of L*, a* and b*."""
    top = (1 << bits) - 1
    given = [100, 0, 170, 1 << (bits - 1), 200, (1 << (bits - 2)) + (1 << (bits - 3))]
    if len(details) >= _LAB_DETAILS:
        given = list(struct.unpack_from(">6I", details))
    pairs = zip(given[::2], given[1::2], strict=True)
    return tuple((-extent * offset / top, float(extent)) for extent, offset in pairs)


def _light(header: Header) -> bytes:
    """The light that CIELab is meant under. Raises NotSupported."""
    light = header.details[24:_LAB_DETAILS] if len(header.details) >= _LAB_DETAILS else b"\0D50"
    if light not in conversions.LIGHTS:
        raise NotSupported("CIELab under another light than D50 and D65")
    return light
