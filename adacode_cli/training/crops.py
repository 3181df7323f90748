"""Crops of photographs for training, and the random windows of them that are used in one step.

Both stores use the same random choices: `HostCrops` keeps or reads images in main memory and cuts them one by one,
`DeviceCrops` keeps the whole corpus as bytes in the device's memory and cuts a batch there.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adacode_cli.errors import TrainingError
from adacode_cli.model.config import NetworkConfig
from adacode_cli.training.shard_check import PREPARE_AGAIN
from adacode_cli.training.shards import Crop, Pixels, Shards, Split, read_crop

MIN_SHRINK = 0.5
# A network with coarse passes is trained on smaller windows too.
MIN_COARSE_SHRINK = 0.25
# In levels: single contours, even strong ones, are not much detail to learn from.
_STRONG = 40
_HINT = "Cut larger crops with `adacode train prepare --crop`, or choose a smaller --patch."


@dataclass(frozen=True)
class Window:
    """Where one sample comes from: crop number, top left corner, side before it is shrunk, quarter turns, mirror."""

    crop: int
    y: int
    x: int
    span: int
    turns: int
    mirrored: bool


@dataclass(frozen=True)
class Wanted:
    """What is drawn for a sample.

    side: pixels a side that a window gives.
    category: the only one; None for a random one.
    shrink: smallest factor that a window is shrunk by, in a share `shrunk` of the draws.
    candidates: number of windows that are drawn; the one of most detail is used, because a third of an average
        photograph is sky or wall, with little to learn from.
    """

    side: int
    category: str | None = None
    shrink: float = MIN_SHRINK
    candidates: int = 1
    shrunk: float = 0.5


class Contents:
    """What a split holds: `crop_px`, `categories`, and which crops are of which category."""

    def __init__(self, shards: Shards, split: Split) -> None:
        self.crops: Sequence[Crop] = shards.crops(split)
        self.crop_px, self.categories, self.folder = shards.crop_px, shards.categories, shards.folder
        self._of = {
            c: np.array([i for i, crop in enumerate(self.crops) if crop.category == c], np.int64)
            for c in self.categories
        }

    @property
    def decoded_bytes(self) -> int:
        """Size of all crops once they are decoded."""
        return len(self.crops) * self.crop_px**2 * 3

    def numbers(self, category: str) -> npt.NDArray[np.int64]:
        """Numbers of a category's crops; there may be none."""
        return self._of[category]

    def read(self, crop: Crop) -> Pixels:
        """crop_px × crop_px × 3 uint8 RGB, from the disk. Raises TrainingError for damage and for other sizes."""
        pixels = read_crop(crop)
        if pixels.shape[:2] != (self.crop_px, self.crop_px):
            h, w = pixels.shape[:2]
            what = f"holds a crop of {w}×{h} px ({crop.key}) where the manifest states {self.crop_px}"
            raise TrainingError(what, path=crop.shard, hint=PREPARE_AGAIN)
        return pixels

    def require(self, side: int) -> None:
        """Raises TrainingError where windows of `side` px do not fit, or where a category has no crop."""
        if side > self.crop_px:
            what = f"windows of {side} px are wanted from crops of {self.crop_px} px"
            raise TrainingError(what, path=self.folder, hint=_HINT)
        empty = [name for name in self.categories if not len(self._of[name])]
        if empty:
            raise TrainingError(f"the category {empty[0]} has no crops", path=self.folder, hint=PREPARE_AGAIN)

    def draw(self, rng: np.random.Generator, wanted: Wanted) -> list[Window]:
        """Random windows of one category, as many as there are candidates; nothing is ever enlarged."""
        numbers = self._of[wanted.category or self.categories[rng.integers(len(self.categories))]]
        return [self._window(rng, numbers, wanted) for _ in range(wanted.candidates)]

    def _window(self, rng: np.random.Generator, numbers: npt.NDArray[np.int64], wanted: Wanted) -> Window:
        side = wanted.side
        crop = int(numbers[rng.integers(len(numbers))])
        min_shrink = max(wanted.shrink, side / self.crop_px)
        shrink = rng.uniform(min_shrink, 1.0) if rng.random() < wanted.shrunk else 1.0
        span = min(round(side / shrink), self.crop_px)
        y, x = (int(v) for v in rng.integers(0, self.crop_px - span + 1, 2))
        return Window(crop, y, x, span, int(rng.integers(4)), bool(rng.random() < 0.5))


def shrink_for(config: NetworkConfig, wanted: float = MIN_SHRINK) -> float:
    """The smallest factor for the training windows of a network, if the recipe has `wanted`."""
    return min(wanted, MIN_COARSE_SHRINK) if config.coarse_passes else wanted


class HostCrops:
    """Crops in main memory: decoded once (`keep`), or at each request. Threads may share it."""

    def __init__(self, contents: Contents, *, keep: bool, workers: int) -> None:
        self.contents = contents
        self._kept: list[Pixels] | None = None
        if keep:
            with ThreadPoolExecutor(workers) as pool:
                self._kept = list(pool.map(contents.read, contents.crops))

    def pixels(self, number: int) -> Pixels:
        """crop_px × crop_px × 3 uint8 RGB. Raises TrainingError for a damaged shard."""
        return self._kept[number] if self._kept is not None else self.contents.read(self.contents.crops[number])

    def cut(self, window: Window, side: int) -> Pixels:
        """The window as side×side×3 uint8 RGB."""
        y, x, span = window.y, window.x, window.span
        patch = self.pixels(window.crop)[y : y + span, x : x + span]
        if span != side:
            patch = np.asarray(cv2.resize(patch, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
        patch = np.rot90(patch, window.turns)
        return np.ascontiguousarray(patch[:, ::-1] if window.mirrored else patch)

    def draw(self, rng: np.random.Generator, wanted: Wanted) -> tuple[Window, Pixels]:
        """A random window and its pixels: of the candidates, the one of most detail."""
        windows = self.contents.draw(rng, wanted)
        cuts = [self.cut(window, wanted.side) for window in windows]
        best = int(np.argmax([_detail(cut) for cut in cuts])) if len(cuts) > 1 else 0
        return windows[best], cuts[best]


def _detail(pixels: Pixels) -> float:
    """Mean step of the luma between neighbours, in levels; strong edges count no more than `_STRONG`."""
    luma = cv2.cvtColor(pixels.astype(np.float32), cv2.COLOR_RGB2GRAY)  # not rounded, as on a device
    return float(sum(np.minimum(np.abs(np.diff(luma, axis=axis)), _STRONG).mean() for axis in (0, 1)))


class DeviceCrops:
    """Crops in the device's memory, as N×3×crop_px×crop_px uint8."""

    def __init__(self, contents: Contents, device: torch.device, workers: int) -> None:
        self.contents, self.device = contents, device
        px = contents.crop_px
        self._pixels = torch.empty(len(contents.crops), 3, px, px, dtype=torch.uint8, device=device)
        with ThreadPoolExecutor(workers) as pool:
            for i, pixels in enumerate(pool.map(contents.read, contents.crops)):
                self._pixels[i] = torch.from_numpy(pixels).permute(2, 0, 1).to(device)

    def cut(self, windows: Sequence[Window], side: int) -> Tensor:
        """The windows as B×3×side×side float RGB in [0, 1] on the device, of whole 1/255 steps.

        All windows together are one gather and at most two matrix products, because many small operations would leave
        the device idle.
        """
        place_4B = sent(torch.tensor([(w.crop, w.y, w.x, w.span) for w in windows]).T.contiguous(), self.device)
        crop_B, y_B, x_B, span_B = place_4B
        read = max(w.span for w in windows)
        top_B, left_B = (start.clamp(max=self.contents.crop_px - read) for start in (y_B, x_B))
        along = torch.arange(read, device=self.device)
        rows_BS, columns_BS = top_B[:, None] + along, left_B[:, None] + along
        channels = torch.arange(3, device=self.device)[:, None, None]
        cuts = self._pixels[crop_B[:, None, None, None], channels, rows_BS[:, None, :, None], columns_BS[:, None, None]]
        cuts = cuts.float()
        if any(w.span != side for w in windows):
            down, across = (_shrinking(a - b, span_B, read, side) for a, b in ((y_B, top_B), (x_B, left_B)))
            cuts = (down[:, None] @ cuts @ across[:, None].mT).round_().clamp_(0, 255)
        return turned(cuts, [(w.turns, w.mirrored) for w in windows]) / 255

    def draw(self, draws: Sequence[Sequence[Window]], side: int) -> Tensor:
        """For each sample its candidates' most detailed one, as `cut` gives it; nothing waits for the device."""
        count = len(draws[0])
        cuts = self.cut([window for windows in draws for window in windows], side)
        if count == 1:
            return cuts
        luma = torch.einsum("bchw,c->bhw", cuts, sent(torch.tensor((0.299, 0.587, 0.114)), self.device)) * 255
        steps = [luma.diff(dim=axis).abs().clamp(max=_STRONG).mean((1, 2)) for axis in (1, 2)]
        best = (steps[0] + steps[1]).view(-1, count).argmax(1)
        return cuts[best + count * torch.arange(len(draws), device=self.device)]


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device, without waiting for its queued work."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _shrinking(offset_B: Tensor, span_B: Tensor, read: int, side: int) -> Tensor:
    """B×side×read weights that make `side` values of `span` ones from `offset` on: bilinear with antialiasing.

    A triangle as wide as the step between new values, cut off at the window's edges and of sum 1.
    """
    step_B11, offset_B11 = (span_B / side)[:, None, None], offset_B[:, None, None]
    new, old = (torch.arange(n, device=span_B.device) for n in (side, read))
    centre = (new[:, None] + 0.5) * step_B11 - 0.5 + offset_B11
    inside = (old >= offset_B11) & (old < offset_B11 + span_B[:, None, None])
    weight = (1 - (old - centre).abs() / step_B11.clamp(min=1)).clamp(min=0) * inside
    return weight / weight.sum(2, keepdim=True)


def turned(squares_BCHW: Tensor, ways: Sequence[tuple[int, bool]]) -> Tensor:
    """Each square, turned and mirrored by its entry of `ways`: (quarter turns, mirrored afterwards)."""
    result = torch.empty_like(squares_BCHW)
    for turns, mirrored in sorted(set(ways)):
        alike = [i for i, way in enumerate(ways) if way == (turns, mirrored)]
        chosen = sent(torch.tensor(alike), squares_BCHW.device)
        part = torch.rot90(squares_BCHW[chosen], turns, (2, 3))
        result[chosen] = part.flip(3) if mirrored else part
    return result
