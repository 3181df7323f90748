"""The steps of a degradation, their order, and the random values of each step: the same for both implementations.

`draw_chain` draws kinds, order and sizes; each step then draws its values for one image (a kernel, a noise
matrix, a quality), so that images that share a chain still differ in all of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from adacode_cli.errors import UsageError
from adacode_cli.training.degradation.settings import DegradationSettings, HeavySettings

Kernel = npt.NDArray[np.float32]
Size = tuple[int, int]
_MIN_BLUR_PX = 0.15
# Kinds without aliasing at any ratio; the others skip pixels.
_SMOOTH = ("bilinear", "bicubic", "area")
_CLEAN_QUALITY = (90, 100)


def gaussian_kernel(
    sigma_x: float, sigma_y: float, angle: float, half: int | None = None, shift: float = 0.0
) -> Kernel:
    """Kernel of an anisotropic Gaussian turned by `angle` radians: (2·half+1)² float32, sum 1.

    sigma_x, sigma_y: deviations in pixels along its own axes, more than 0. half: pixels from the middle to the edge,
    by default 3 deviations. shift: pixels by which its centre lies to the lower right of the middle.
    """
    if half is None:
        half = max(1, int(np.ceil(3 * max(sigma_x, sigma_y))))
    r = np.arange(-half, half + 1, dtype=np.float64) - shift
    y, x = np.meshgrid(r, r, indexing="ij")
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    exponent = -0.5 * ((u / sigma_x) ** 2 + (v / sigma_y) ** 2)
    kernel = np.exp(exponent - exponent.max())
    return np.asarray(kernel / kernel.sum(), np.float32)


@dataclass(frozen=True)
class Blur:
    """A Gaussian blur, "isotropic", "anisotropic" or "either" (each one half of the time).

    span: least and greatest deviation in pixels, or, with `of_variance`, variance along an axis. halves: least and
    greatest half side of the kernel, None for 3 deviations. room: the greatest half side that the image has room for.
    """

    form: str
    span: tuple[float, float]
    room: int
    halves: tuple[int, int] | None = None
    of_variance: bool = False

    def kernel(self, rng: np.random.Generator) -> Kernel:
        """A kernel for one image."""
        x = y = self._deviation(rng)
        if self.form == "anisotropic" or (self.form == "either" and rng.random() < 0.5):
            y = self._deviation(rng)
        angle = rng.uniform(0, np.pi)
        if self.halves is None:
            half = max(1, int(np.ceil(3 * max(x, y))))
        else:
            half = int(rng.integers(*self.halves, endpoint=True))
        return gaussian_kernel(x, y, angle, min(half, self.room))

    def _deviation(self, rng: np.random.Generator) -> float:
        value = float(rng.uniform(*self.span))
        return value**0.5 if self.of_variance else value


@dataclass(frozen=True)
class Resize:
    """Another size (height, width) in pixels. stride, span (of deviations, in pixels), room: for "gaussian" alone."""

    kind: str
    size: Size
    stride: int = 1
    span: tuple[float, float] = (0.1, 0.1)
    room: int = 0

    def kernel(self, rng: np.random.Generator) -> Kernel:
        """The blur of one image before every stride-th pixel, from stride // 2 on, is taken ("gaussian").

        An even number of pixels has no middle one. Therefore the kernel is shifted by half a pixel, so that the result
        is not: the paper, section 3.2, shifts its kernels for the same reason.
        """
        sigma = float(rng.uniform(*self.span))
        half = min(int(np.ceil(3 * sigma)) + 1, self.room)
        return gaussian_kernel(sigma, sigma, 0.0, half, (self.stride - 1) / 2 - self.stride // 2)


@dataclass(frozen=True)
class Noise:
    """Gaussian noise: span of deviations (of 1), share of images that have it, shares of the kinds.

    shot: it grows with the square root of the brightness. grain_px: deviation of a blur that turns it into grain of the
    same strength; 0: none. room: the greatest half side of that blur's kernel that the image has room for.
    """

    span: tuple[float, float]
    share: float
    kinds: tuple[float, float, float]
    shot: bool = False
    grain_px: float = 0.0
    room: int = 1 << 30

    def mixing(self, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """3×3 matrix that turns three independent standard deviates into the noise of one image's R, G and B."""
        there, level = rng.random() < self.share, rng.uniform(*self.span)
        kind = int(rng.choice(3, p=self.kinds))
        if kind == 0:
            mixing = np.zeros((3, 3))
            mixing[:, 0] = 1
        else:
            mixing = np.eye(3) if kind == 1 else _rotation(rng) * np.sqrt(rng.uniform(0, 1, 3))
        return np.asarray(mixing * (level * there), np.float32)

    def grain(self) -> Kernel | None:
        """The kernel of the grain, of unit power, so that noise keeps its deviation; None without grain."""
        if not self.grain_px:
            return None
        half = min(max(1, int(np.ceil(3 * self.grain_px))), self.room)
        kernel = gaussian_kernel(self.grain_px, self.grain_px, 0.0, half)
        return np.asarray(kernel / np.sqrt(np.square(kernel).sum()), np.float32)


@dataclass(frozen=True)
class Halftone:
    """A screen of dots as in print: darker where the image is darker. period: of dots, in pixels; angle: of rows."""

    period: float
    angle: float
    strength: float

    def screen(self, size: Size) -> npt.NDArray[np.float32]:
        """size, from -1 to 1, mean about 0: it is added to mid grey, times the strength."""
        y, x = np.mgrid[: size[0], : size[1]] * (2 * np.pi / self.period)
        u, v = x * np.cos(self.angle) + y * np.sin(self.angle), y * np.cos(self.angle) - x * np.sin(self.angle)
        return np.asarray((np.cos(u) + np.cos(v)) / 2, np.float32)


@dataclass(frozen=True)
class Jpeg:
    """JPEG of a quality between the least and the greatest. shift: rows and columns before the first whole block."""

    span: tuple[int, int]
    shift: tuple[int, int] = (0, 0)

    def quality(self, rng: np.random.Generator) -> int:
        """The quality for one image, as libjpeg counts it."""
        return int(rng.integers(*self.span, endpoint=True))


Step: TypeAlias = Blur | Resize | Noise | Halftone | Jpeg


def nearest_pixels(side: int, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Two pixels of `side` for each of `count` new ones ("nearest"): the same one twice, or both neighbours.

    A new centre that lies between two pixels becomes their mean, so that the image does not move.
    """
    doubled = (2 * np.arange(count) + 1) * side  # the centres, in units of 1 / (2 · count) pixels
    after = np.minimum(doubled // (2 * count), side - 1)
    return np.where(doubled % (2 * count), after, after - 1).clip(0), after


def draw_chain(rng: np.random.Generator, size: Size, scale: int, settings: DegradationSettings) -> tuple[Step, ...]:
    """All steps from an image of `size` (height, width) to one of 1/scale of it; the last one is a JPEG.

    Raises UsageError where the sides are no multiples of the scale.
    """
    if scale < 1 or size[0] % scale or size[1] % scale:
        raise UsageError(f"{size[1]}×{size[0]} pixels cannot be {scale} times smaller: no multiples of {scale}")
    kind = rng.random() if settings.clean_share + settings.heavy.share else 1.0
    if kind < settings.clean_share:
        return Resize(str(rng.choice(_SMOOTH)), (size[0] // scale, size[1] // scale)), Jpeg(_CLEAN_QUALITY)
    if kind < settings.clean_share + settings.heavy.share:
        return tuple(_heavy_rounds(rng, size, scale, settings))
    steps: list[Step] = []
    if scale >= 4 and scale % 2 == 0 and rng.random() < settings.halving_share:
        size, scale = (size[0] // 2, size[1] // 2), scale // 2
        steps.append(Resize(str(rng.choice(_SMOOTH[:2])), size))
    here, resizes = size, _draw_resizes(rng, size, scale, settings)
    for name in _draw_order(rng, len(resizes), settings):
        if name == "resize":
            count = 1 if settings.steps_apart else len(resizes)
            steps += resizes[:count]
            here, resizes = resizes[count - 1].size, resizes[count:]
        elif name == "jpeg":
            steps.append(Jpeg(settings.quality))
        elif name == "noise":
            steps.append(_noise(settings))
        else:
            steps.append(_blur(name == "blur 2", here, size, scale, settings))
    if not settings.noise_shuffled:
        steps.append(_noise(settings))
    return *steps, Jpeg(settings.quality)


def _heavy_rounds(rng: np.random.Generator, size: Size, scale: int, settings: DegradationSettings) -> Iterator[Step]:
    heavy, low = settings.heavy, (size[0] // scale, size[1] // scale)
    part = rng.uniform(*heavy.between)
    between = max(4, round(low[0] * part)), max(4, round(low[1] * part))
    yield _heavy_blur(heavy.blur_px * scale, size)
    yield Resize(str(rng.choice(_SMOOTH)), between)
    if rng.random() < heavy.halftone_share:
        yield Halftone(rng.uniform(2.5, 6.0) * part, rng.uniform(0, np.pi / 2), rng.uniform(0.05, 0.3))
    yield _heavy_noise(rng, heavy.noise, between, settings)
    if rng.random() < heavy.jpeg_share:
        yield _heavy_jpeg(rng, heavy)
    if rng.random() < heavy.second_blur_share:
        yield _heavy_blur(heavy.second_blur_px * part, between)
    yield Resize(str(rng.choice(_SMOOTH)), low)
    yield _heavy_noise(rng, heavy.second_noise, low, settings)
    yield _heavy_jpeg(rng, heavy)


def _heavy_blur(most: float, here: Size) -> Blur:
    return Blur("either", (_MIN_BLUR_PX, max(most, _MIN_BLUR_PX)), min(here) - 1)


def _heavy_noise(rng: np.random.Generator, most: float, here: Size, settings: DegradationSettings) -> Noise:
    heavy = settings.heavy
    grain_px = rng.uniform(*heavy.grain_px) if rng.random() < heavy.grain_share else 0.0
    shot = bool(rng.random() < heavy.shot_share)
    return Noise((0.0, most / 255), heavy.noise_share, settings.noise_kinds, shot, grain_px, min(here) - 1)


def _heavy_jpeg(rng: np.random.Generator, heavy: HeavySettings) -> Jpeg:
    down, right = (int(v) for v in rng.integers(0, 8, 2))
    return Jpeg(heavy.quality, (down, right))


def _draw_order(rng: np.random.Generator, resizes: int, settings: DegradationSettings) -> list[str]:
    names = ["blur 1"] + ["resize"] * (resizes if settings.steps_apart else 1)
    if rng.random() < settings.jpeg_share:
        names.append("jpeg")
    if rng.random() < settings.second_blur_share:
        names.append("blur 2")
    if settings.noise_shuffled:
        names.append("noise")
    return [names[int(i)] for i in rng.permutation(len(names))]


def _draw_resizes(rng: np.random.Generator, size: Size, scale: int, settings: DegradationSettings) -> list[Resize]:
    low = (size[0] // scale, size[1] // scale)
    if rng.random() < settings.two_step_share:
        kinds = [kind for kind in _SMOOTH if kind in settings.resizes] or _SMOOTH
        part = rng.uniform(max(settings.first_step[0], settings.first_step[1] / scale), 1.0)
        between = (max(2, round(size[0] * part)), max(2, round(size[1] * part)))
        return [Resize(str(rng.choice(kinds)), step) for step in (between, low)]
    least, most = settings.subsample_blur
    span = (least, max(least, most * scale))
    return [Resize(str(rng.choice(settings.resizes)), low, stride=scale, span=span, room=min(size) - 1)]


def _blur(second: bool, here: Size, high: Size, scale: int, settings: DegradationSettings) -> Blur:
    room = min(here) - 1
    if settings.kernels == "low":
        strength = settings.second_blur_strength if second else 1.0
        most = strength * settings.blur_px * scale * here[1] / high[1]
        return Blur("either", (_MIN_BLUR_PX, max(most, _MIN_BLUR_PX)), room)
    smallest, largest = settings.kernel_px
    least, most, more = settings.anisotropic if second else settings.isotropic
    return Blur(
        "anisotropic" if second else "isotropic",
        (least, most + more * scale),
        room,
        halves=(smallest // 2, largest // 2),
        of_variance=second,
    )


def _noise(settings: DegradationSettings) -> Noise:
    return Noise((settings.noise_least / 255, settings.noise / 255), settings.noise_share, settings.noise_kinds)


def _rotation(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A rotation of space, all equally likely: that of a random unit quaternion."""
    w, x, y, z = (q := rng.standard_normal(4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
