"""Colour descriptions by code points of ITU-T H.273 ("CICP"), which AVIF, HEIC and PNG can have.

Only a reader needs the matrix and the range of the stored samples: the values here describe RGB or grey samples of full
range, except in PNG, where RGB may have narrow range.
"""

from __future__ import annotations

from dataclasses import dataclass

from adacode_cli.imaging import icc_profile
from adacode_cli.imaging.icc_profile import BT709_CURVE, SRGB_CURVE, SRGB_PRIMARIES, Chromaticities, Curve

LIGHT_LEVELS = "its HDR light levels"
"""The loss of metadata on the brightness of an image or of the display on which it was made."""

_UNSPECIFIED, _SRGB, _PQ, _HLG = 2, 13, 16, 18
_BT709 = 1
_D65 = (0.3127, 0.329)
_PRIMARIES: dict[int, tuple[str, Chromaticities]] = {
    1: ("BT.709", SRGB_PRIMARIES),
    4: ("BT.470 M", (0.31, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08)),
    5: ("BT.601 of 625 lines", (*_D65, 0.64, 0.33, 0.29, 0.6, 0.15, 0.06)),
    6: ("BT.601 of 525 lines", (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07)),
    7: ("SMPTE 240M", (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07)),
    8: ("film", (0.31, 0.316, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049)),
    9: ("BT.2020", (*_D65, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046)),
    11: ("DCI-P3", (0.314, 0.351, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)),
    12: ("Display P3", (*_D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)),
    22: ("EBU 3213", (*_D65, 0.63, 0.34, 0.295, 0.605, 0.155, 0.077)),
}
_TRANSFERS: dict[int, tuple[str, Curve | None]] = {
    1: ("BT.709 curve", BT709_CURVE),
    4: ("gamma 2.2", Curve(2.2)),
    5: ("gamma 2.8", Curve(2.8)),
    6: ("BT.709 curve", BT709_CURVE),
    7: ("SMPTE 240M curve", Curve(1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0912)),
    8: ("linear", Curve(1.0)),
    9: ("logarithmic 1:100", None),
    10: ("logarithmic 1:316", None),
    _SRGB: ("sRGB curve", SRGB_CURVE),
    14: ("BT.709 curve", BT709_CURVE),
    15: ("BT.709 curve", BT709_CURVE),
    _PQ: ("PQ", None),
    17: ("SMPTE ST 428-1", None),
    _HLG: ("HLG", None),
}


@dataclass(frozen=True)
class Cicp:
    """`primaries`, `transfer`: code points of H.273, 0 to 255. `full_range`: of the samples in memory."""

    primaries: int
    transfer: int
    full_range: bool = True

    def __str__(self) -> str:
        """For messages: "BT.2020, PQ"."""
        known = _PRIMARIES.get(self.primaries), _TRANSFERS.get(self.transfer)
        numbers = (self.primaries, "primaries"), (self.transfer, "transfer")
        parts = [
            entry[0] if entry else f"unspecified {kind}" if number == _UNSPECIFIED else f"{kind} {number}"
            for entry, (number, kind) in zip(known, numbers, strict=True)
        ]
        return ", ".join(parts if self.full_range else [*parts, "narrow range"])

    @property
    def is_hdr(self) -> bool:
        """Whether samples can be brighter than white, which ICC profiles here cannot express."""
        return self.transfer in (_PQ, _HLG)

    @property
    def is_srgb(self) -> bool:
        """Whether it describes sRGB, which is assumed for images without a description."""
        return self.full_range and self.primaries in (_BT709, _UNSPECIFIED) and self.transfer in (_SRGB, _UNSPECIFIED)

    @property
    def title(self) -> str:
        """The name of the loss if it cannot be kept."""
        return f"{'HDR' if self.is_hdr else 'CICP'} colour description ({self})"

    def profile(self, *, grey: bool) -> bytes | None:
        """An equivalent ICC profile for RGB or grey samples; None if there is none."""
        primaries = _PRIMARIES.get(_BT709 if self.primaries == _UNSPECIFIED else self.primaries)
        transfer = _TRANSFERS.get(_SRGB if self.transfer == _UNSPECIFIED else self.transfer)
        if not self.full_range or primaries is None or transfer is None or transfer[1] is None:
            return None
        name = primaries[0] if transfer[1] == SRGB_CURVE else f"{primaries[0]}, {transfer[0]}"
        return icc_profile.profile("sRGB" if self.is_srgb else name, primaries[1], transfer[1], grey=grey)


SRGB = Cicp(_BT709, _SRGB)
"""The default for images without a description; readers return it if the file states sRGB."""
