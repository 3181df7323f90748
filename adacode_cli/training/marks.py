"""Damage of prints and film, drawn over photographs: what a detector of marks learns to find.

Scratches, hairs, fibres, dust and creases of many widths, opacities and colours; then the blur, grain and JPEG of a
scan over everything. A mark that nobody can see is no mark to be found, so `Marked` says which ones stand out.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from adacode_cli.training.shards import Pixels

KINDS = ("scratch", "hair", "dust", "crease", "fibre")
_SHARES = (0.5, 0.16, 0.17, 0.1, 0.07)
# A mark can be seen if it changes the mean of the channels by this number of levels, and by this share of the standard
# deviation of its surroundings, because texture hides it (contrast masking).
_VISIBLE_LEVELS, _HIDDEN_SHARE, _SURROUNDINGS_PX = 20, 0.5, 15
# Smaller changes of any channel, and thinner covers, count as untouched.
_TOUCHED_LEVELS, _COVERED = 8, 0.1
# Fixed-point positions of OpenCV: sixteenths of a pixel.
_SHIFT = 4

Path2 = npt.NDArray[np.float64]
Alpha = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Marked:
    """A damaged image, H×W×3 uint8.

    visible: H×W bool, on marks that can be seen. unclear: H×W bool, on the rest of what is covered or changed: a white
    scratch across a white wall is not seen, but nobody would call it wrong to mark it there.
    """

    image: Pixels
    visible: npt.NDArray[np.bool_]
    unclear: npt.NDArray[np.bool_]


def with_marks(image: Pixels, rng: np.random.Generator) -> Marked:
    """An H×W×3 uint8 image with a few random marks, on average half a mark to six of them for 256×256 px."""
    height, width = image.shape[:2]
    out, (seen, cover) = image.astype(np.float32), np.zeros((2, height, width), np.float32)
    unit = 1.0 if rng.random() < 0.5 else rng.uniform(1, 2)  # scans of finer resolution have wider marks
    polarity = rng.choice(["light", "dark", "mixed"], p=(0.55, 0.2, 0.25))
    tint = rng.uniform(-40, 40, 3) * (rng.random() < 0.35)
    for _ in range(1 + int(rng.poisson(rng.uniform(0.5, 6) * height * width / 256**2))):
        kind = str(rng.choice(KINDS, p=_SHARES))
        alpha = _opacity(kind, height, width, unit, rng) * (1.0 if rng.random() < 0.65 else rng.uniform(0.45, 1.0))
        if kind == "crease" and rng.random() < 0.5:
            out = out * (1 + _shade(alpha, rng))
        colour = _colour(kind, polarity, rng) + tint
        marked = out + alpha[..., None] * (np.clip(colour, 0, 255).astype(np.float32) - out)
        seen, cover = np.maximum(seen, np.abs(marked - out).mean(2)), np.maximum(cover, alpha)
        out = marked
    damaged = np.clip(out, 0, 255).astype(np.uint8)
    visible = seen > _VISIBLE_LEVELS + _HIDDEN_SHARE * _spread(image)
    touched = np.abs(damaged.astype(np.float32) - image).max(2) > _TOUCHED_LEVELS
    return Marked(damaged, visible, (touched | (cover > _COVERED)) & ~visible)


def scanned(image: Pixels, rng: np.random.Generator) -> Pixels:
    """What a scan adds to an H×W×3 uint8 image, marks included: blur, grain and JPEG, each in some of the images."""
    x = image
    if rng.random() < 0.5:
        x = _blurred(x, rng.uniform(0.2, 1.1))
    if rng.random() < 0.6:
        grain = rng.normal(0, rng.uniform(1, 9), (*x.shape[:2], 1 if rng.random() < 0.6 else 3))
        if rng.random() < 0.4:
            grain = 1.6 * np.asarray(cv2.GaussianBlur(grain, (0, 0), 0.7), np.float64).reshape(grain.shape)
        x = np.clip(x + grain, 0, 255).astype(np.uint8)
    if rng.random() < 0.75:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 97))]
        x = np.asarray(cv2.imdecode(cv2.imencode(".jpg", x, quality)[1], cv2.IMREAD_COLOR), np.uint8)
    return x


def _blurred(image: Pixels, sigma: float) -> Pixels:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def _spread(image: Pixels) -> Alpha:
    """The standard deviation of the grey levels around each pixel."""
    grey, size = image.astype(np.float32).mean(2), (_SURROUNDINGS_PX, _SURROUNDINGS_PX)
    mean, squares = (cv2.boxFilter(v, -1, size, borderType=cv2.BORDER_REFLECT) for v in (grey, grey * grey))
    return np.asarray(np.sqrt(np.maximum(squares - mean**2, 0)), np.float32)


def _colour(kind: str, polarity: str, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    light = polarity == "light" or (polarity == "mixed" and rng.random() < 0.5)
    if kind in ("hair", "fibre") and rng.random() < 0.5:
        light = not light
    return (rng.uniform(185, 255) if light else rng.uniform(0, 70)) + rng.normal(0, 6, 3)


def _shade(alpha: Alpha, rng: np.random.Generator) -> Alpha:
    """The light and shadow beside a crease: H×W×1, a relative change."""
    height, width = alpha.shape
    moved = np.array([[1, 0, rng.uniform(-3, 3)], [0, 1, rng.uniform(-3, 3)]], np.float32)
    beside = cv2.GaussianBlur(cv2.warpAffine(alpha, moved, (width, height)), (0, 0), rng.uniform(1.5, 5))
    return np.float32(rng.uniform(-0.25, 0.15)) * np.asarray(beside, np.float32)[..., None]


def _opacity(kind: str, height: int, width: int, unit: float, rng: np.random.Generator) -> Alpha:
    """H×W in [0, 1]: how much each pixel is covered by one mark (of dust: by a few grains)."""
    canvas = np.zeros((height, width), np.float32)
    if kind == "dust":
        for _ in range(int(rng.integers(1, 14))):
            _grain(canvas, unit, rng)
    else:
        _line(canvas, kind, unit, rng)
        if kind == "crease":  # the surface is broken off in some places only
            coarse = rng.random((max(2, height // 3), max(2, width // 3))).astype(np.float32)
            canvas *= cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR) > rng.uniform(0, 0.45)
    if rng.random() < 0.7:
        canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.35, 1.1)), np.float32)
    return np.clip(canvas, 0, 1)


def _grain(canvas: Alpha, unit: float, rng: np.random.Generator) -> None:
    height, width = canvas.shape
    radius = unit * (rng.uniform(0.5, 1.5) if rng.random() < 0.7 else rng.uniform(1, 5))
    angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
    bulge = 1 + 0.6 * np.cos(angles * rng.integers(1, 3) + rng.uniform(0, 6))
    radii = np.abs(radius * rng.uniform(0.5, 1.3, 9) * bulge)[:, None]
    outline = rng.uniform(0, 1, 2) * [width, height] + radii * np.stack((np.cos(angles), np.sin(angles)), 1)
    cv2.fillPoly(canvas, [_fixed(outline)], (1.0,), cv2.LINE_AA, _SHIFT)


def _line(canvas: Alpha, kind: str, unit: float, rng: np.random.Generator) -> None:
    """A scratch, hair, fibre or crease, whose width and opacity change along it; some have gaps."""
    path = _smooth(_path(kind, canvas.shape[0], canvas.shape[1], rng))
    widths = unit * _width(kind, rng) * _varied(len(path), rng.uniform(0.5, 1.4, 10))
    if kind == "scratch" and rng.random() < 0.5:  # it thins out at its ends
        widths *= np.sqrt(np.sin(np.linspace(0.15, np.pi - 0.15, len(path))))
    levels = _varied(len(path), rng.uniform(0.45, 1, 12))
    if rng.random() < 0.35:
        levels *= _varied(len(path), rng.uniform(-0.5, 1, 14)) > 0
    for i in range(len(path) - 1):
        if levels[i] > 0:
            level = levels[i] if widths[i] >= 1.5 else levels[i] * min(1, max(0.35, widths[i]))
            start, end = (tuple(map(int, point)) for point in _fixed(path[i : i + 2]))
            cv2.line(canvas, start, end, (float(level),), max(1, round(widths[i])), cv2.LINE_AA, _SHIFT)


def _fixed(points: Path2) -> npt.NDArray[np.int32]:
    return np.asarray(np.round(points * 2**_SHIFT), np.int32)


def _varied(num: int, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """`values` at even distances, interpolated at `num` places."""
    return np.interp(np.arange(num), np.linspace(0, num - 1, len(values)), values)


def _smooth(path: Path2, times: int = 4) -> Path2:
    places = np.linspace(0, len(path) - 1, len(path) * times)
    return np.stack([np.interp(places, np.arange(len(path)), axis) for axis in path.T], 1)


def _width(kind: str, rng: np.random.Generator) -> float:
    """In pixels of a scan of 512 px."""
    if kind == "scratch":
        ranges = ((0.5, 1.5), (1, 3.5), (3, 7))
        return float(rng.uniform(*ranges[int(rng.choice(3, p=(0.5, 0.38, 0.12)))]))
    return float(rng.uniform(*{"hair": (0.6, 2.5), "fibre": (0.6, 2), "crease": (0.8, 6)}[kind]))


def _path(kind: str, height: int, width: int, rng: np.random.Generator) -> Path2:
    """Points (x, y) of a line, which may leave the image."""
    if kind == "crease":
        return _crease(height, width, rng)
    if kind == "scratch" and rng.random() < 0.35:
        return _film_scratch(height, width, rng)
    angle = rng.uniform(0, 2 * np.pi)
    if kind == "scratch":
        num, length = 16, rng.uniform(0.08, 1.2) * max(height, width) * rng.uniform(0.3, 1)
        turns = np.cumsum(rng.normal(0, rng.uniform(0, 0.12), num))
        start = rng.uniform(-0.1, 1.1, 2)
    else:
        num, length = 40, rng.uniform(15, 160) if kind == "hair" else rng.uniform(6, 30)
        curvature = rng.normal(0, rng.uniform(0.02, 0.25))
        turns = np.cumsum(curvature + rng.normal(0, rng.uniform(0.03, 0.15), num))
        start = rng.uniform(0, 1, 2)
    steps = np.stack((np.cos(angle + turns), np.sin(angle + turns)), 1) * length / num
    return start * [width, height] + np.cumsum(steps, 0)


def _film_scratch(height: int, width: int, rng: np.random.Generator) -> Path2:
    """Nearly vertical, or nearly horizontal, over all of the image or a part of it."""
    top, bottom = (-5.0, height + 5.0) if rng.random() < 0.7 else _two(rng, -0.2 * height, 1.2 * height)
    ys = np.linspace(top, bottom, 12)
    lean, wobble = rng.normal(0, 0.03), np.cumsum(rng.normal(0, rng.uniform(0.1, 1.5), 12))
    path = np.stack((rng.uniform(0, width) + wobble + lean * (ys - top), ys), 1)
    return path[:, ::-1] * [width / height, height / width] if rng.random() < 0.3 else path


def _crease(height: int, width: int, rng: np.random.Generator) -> Path2:
    """Nearly straight, over all of the image or a part of it."""
    angle, middle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0, 1, 2) * [width, height], np.hypot(height, width)
    start, end = (-length, length) if rng.random() < 0.6 else _two(rng, -length / 2, length / 2)
    path = middle + np.linspace(start, end, 24)[:, None] * [np.cos(angle), np.sin(angle)]
    return np.asarray(path + np.cumsum(rng.normal(0, rng.uniform(0.2, 2.5), (24, 2)), 0))


def _two(rng: np.random.Generator, low: float, high: float) -> tuple[float, float]:
    """Two numbers of that range, the smaller one first."""
    first, second = sorted(rng.uniform(low, high, 2).tolist())
    return first, second
