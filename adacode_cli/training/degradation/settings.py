"""Ranges of the random degradation, checked, and the two sets of them in use.

`PUBLISHED` has the ranges of the paper, `MODERATE` milder ones: the damage of a good camera and of one or two savings
as JPEG.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field

from adacode_cli.errors import UsageError

# Low-resolution pixels cut from each side afterwards, so that neither borders nor the JPEG grid are at fixed places.
MARGIN = 4
RESIZES = ("nearest", "bilinear", "bicubic", "area", "gaussian")
KERNELS = ("low", "here")
_WHAT = "this degradation is"


@dataclass(frozen=True)
class HeavySettings:
    """Heavy damage, two rounds of it (second-order degradation: Wang et al. 2021, arXiv:2107.10833, section 3.2).

    Each round blurs, resizes, adds noise and compresses; the first one ends at a size between that of the image and
    half of the final one, the second at the final size. Raises UsageError for impossible values.

    share: how often an image gets this damage instead of the other degradation.
    blur_px, second_blur_px: largest deviation of the Gaussian of each round, in pixels of the final size.
    second_blur_share: how often there is a second blur.
    between: smallest and largest size after the first round, in units of the final size.
    noise, second_noise: largest deviation of each round, of 255.
    noise_share: how often each round has noise.
    shot_share: how often noise grows with the square root of the brightness, as shot noise does.
    grain_share: how often noise is blurred to grain, as in film.
    grain_px: smallest and largest deviation of that blur.
    halftone_share: how often the image was printed in between, as a screen of dots.
    quality: lowest and highest of both JPEGs, whose grids of blocks lie anywhere.
    jpeg_share: how often there is the first JPEG.
    """

    share: float = 0.0
    blur_px: float = 0.7
    second_blur_px: float = 0.3
    second_blur_share: float = 0.6
    between: tuple[float, float] = (0.8, 3.0)
    noise: float = 30.0
    second_noise: float = 14.0
    noise_share: float = 0.9
    shot_share: float = 0.4
    grain_share: float = 0.2
    grain_px: tuple[float, float] = (0.4, 0.9)
    halftone_share: float = 0.04
    quality: tuple[int, int] = (30, 95)
    jpeg_share: float = 0.8

    def __post_init__(self) -> None:
        shares = [name for name in asdict(self) if name.endswith("share") and not 0 <= getattr(self, name) <= 1]
        low, high = self.quality
        refuse(
            _WHAT,
            *((True, f"heavy.{name} is a share from 0 to 1") for name in shares),
            *(
                (not 0 <= getattr(self, name) < math.inf, f"heavy.{name} is 0 or more")
                for name in ("blur_px", "second_blur_px")
            ),
            *(
                (not 0 <= getattr(self, name) <= 255, f"heavy.{name} is from 0 to 255")
                for name in ("noise", "second_noise")
            ),
            (not 0.5 <= self.between[0] <= self.between[1] <= 8, "heavy.between is a range from 0.5 to 8"),
            (not 0.1 <= self.grain_px[0] <= self.grain_px[1] <= 4, "heavy.grain_px is a range from 0.1 to 4"),
            (not 1 <= low <= high <= 100, "heavy.quality, of JPEG, is from 1 to 100"),
        )


@dataclass(frozen=True)
class DegradationSettings:
    """Ranges of the random degradation; the defaults are `MODERATE`. Raises UsageError for impossible ones.

    Blur:
    kernels: "low": a Gaussian, isotropic or not, of deviations up to `blur_px` low-resolution pixels at any place in
        the chain; "here": as in the paper, an isotropic blur and an anisotropic one, in pixels of the image as it
        is at that point.
    blur_px (of "low"): largest deviation.
    isotropic (of "here"): smallest deviation, largest one, and what is added to that for each unit of scale, in pixels.
    anisotropic (of "here"): the same for the variances along both axes, in square pixels.
    kernel_px (of "here"): smallest and largest side of a kernel, both odd.
    second_blur_share: how often there is a second blur.
    second_blur_strength (of "low"): factor of its `blur_px`.

    Downsampling:
    resizes: kinds, equally likely, out of `RESIZES`; "gaussian" is a blur, then every scale-th pixel.
    two_step_share: how often there is a size in between (only for bilinear, bicubic or area).
    first_step: that size is uniform from the larger one of first_step[0] of the high-resolution side and first_step[1]
        of the low-resolution side, up to the high-resolution side.
    steps_apart: other steps may come between the two.
    halving_share: how often, at a scale of 4 or more, the image is halved first and then degraded at half the scale.
    subsample_blur: smallest deviation of "gaussian" in pixels, and the largest for each unit of scale.

    Noise, of 255:
    noise_least, noise: smallest and largest deviation.
    noise_share: how often there is any.
    noise_kinds: shares of grey, colour, and correlated across channels.
    noise_shuffled: it comes anywhere in the chain, not near its end.

    JPEG:
    quality: lowest and highest.
    jpeg_share: how often there is one before the last one, which there always is.

    heavy: how often there is heavy damage instead, and its ranges.
    clean_share: how often the image is only made smaller and compressed at a quality of 90 or more, so that a network
        does not learn to smooth or sharpen good images.
    """

    kernels: str = "low"
    blur_px: float = 0.65
    isotropic: tuple[float, float, float] = (0.1, 2.0, 0.2)
    anisotropic: tuple[float, float, float] = (0.5, 4.0, 1.0)
    kernel_px: tuple[int, int] = (7, 21)
    second_blur_share: float = 0.3
    second_blur_strength: float = 0.5
    resizes: tuple[str, ...] = ("area", "bilinear", "bicubic")
    two_step_share: float = 0.3
    first_step: tuple[float, float] = (0.5, 1.0)
    steps_apart: bool = False
    halving_share: float = 0.0
    subsample_blur: tuple[float, float] = (0.1, 0.6)
    noise_least: float = 0.0
    noise: float = 12.0
    noise_share: float = 0.8
    noise_kinds: tuple[float, float, float] = (0.4, 0.6, 0.0)
    noise_shuffled: bool = False
    quality: tuple[int, int] = (50, 96)
    jpeg_share: float = 0.3
    heavy: HeavySettings = field(default_factory=HeavySettings)
    clean_share: float = 0.0

    def __post_init__(self) -> None:
        refuse(_WHAT, *self._shares(), *self._blurs(), *self._sizes(), *self._noises())

    def _shares(self) -> list[tuple[bool, str]]:
        names = [name for name in self.__dataclass_fields__ if name.endswith("_share")]
        both = self.clean_share + self.heavy.share
        return [
            *((not 0 <= getattr(self, name) <= 1, f"{name} is a share from 0 to 1") for name in names),
            (both > 1, "clean_share and heavy.share are parts of 1"),
        ]

    def _blurs(self) -> list[tuple[bool, str]]:
        smallest, largest = self.kernel_px
        ranges = {"isotropic": self.isotropic, "anisotropic": self.anisotropic}
        return [
            (self.kernels not in KERNELS, f"kernels {self.kernels!r} is not {' or '.join(KERNELS)}"),
            (not 0 <= self.blur_px < math.inf, "blur_px is 0 or more"),
            (not 0 <= self.second_blur_strength < math.inf, "second_blur_strength is 0 or more"),
            (
                not 1 <= smallest <= largest or smallest % 2 + largest % 2 < 2,
                "kernel_px are odd, the smaller one first",
            ),
            *(
                (not (0.01 <= least <= most < math.inf and 0 <= more < math.inf), f"{name} is a range from 0.01")
                for name, (least, most, more) in ranges.items()
            ),
        ]

    def _sizes(self) -> list[tuple[bool, str]]:
        unknown = [kind for kind in self.resizes if kind not in RESIZES]
        least, most = self.subsample_blur
        return [
            (bool(unknown) or not self.resizes, f"resizes are some of {', '.join(RESIZES)}"),
            (not (0 <= self.first_step[0] <= 1 and 0 < self.first_step[1] <= 1), "first_step are shares from 0 to 1"),
            (not 0.1 <= least <= most < math.inf, "subsample_blur is a range from 0.1"),
        ]

    def _noises(self) -> list[tuple[bool, str]]:
        low, high = self.quality
        kinds = self.noise_kinds
        return [
            (not 0 <= self.noise_least <= self.noise <= 255, "noise is a range from 0 to 255"),
            (len(kinds) != 3 or min(kinds) < 0 or abs(sum(kinds) - 1) > 1e-6, "noise_kinds are three shares of 1"),
            (not 1 <= low <= high <= 100, "JPEG quality is from 1 to 100"),
        ]


def refuse(what: str, *checks: tuple[bool, str]) -> None:
    """Raises UsageError if any of the checks (is wrong, what is right) failed: "WHAT impossible: …"."""
    problems = [text for wrong, text in checks if wrong]
    if problems:
        raise UsageError(f"{what} impossible: {'; '.join(problems)}")


MODERATE = DegradationSettings()
"""What the compact weights are trained with: one or two slight blurs, little noise, JPEG as written by cameras."""

PUBLISHED = DegradationSettings(
    kernels="here",
    second_blur_share=1.0,
    second_blur_strength=1.0,
    resizes=RESIZES,
    two_step_share=0.25,
    first_step=(0.0, 0.5),
    steps_apart=True,
    halving_share=0.25,
    noise_least=2.0,
    noise=25.0,
    noise_share=1.0,
    noise_kinds=(0.4, 0.4, 0.2),
    noise_shuffled=True,
    quality=(30, 95),
    jpeg_share=0.75,
)
"""The ranges of the paper, section 3, without its sensor noise, which AdaCode's restoration networks do not use.

The paper's "length of an axis" is read as a variance: the square root of its 6 and 8 square pixels (scale 2 and 4) is
the 2.4 and 2.8 pixels that it gives for isotropic kernels. Area averaging is an additional kind of downsampling.
"""
