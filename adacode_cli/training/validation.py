"""Validation of the averaged weights on photographs that are not used in training: scores, and sheets of samples.

Scores are measured as `adacode eval` does."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adacode_cli.atomic import write_bytes
from adacode_cli.errors import OutputError, translated
from adacode_cli.evaluation.metrics import perceptual_distance, psnr_in_hole, psnr_luma, ssim_luma
from adacode_cli.evaluation.perceptual import PerceptualNetwork
from adacode_cli.model.network import AdaCode
from adacode_cli.model.ranges import Ranges
from adacode_cli.training.batches import Batch
from adacode_cli.training.eight_bits import rounded_within
from adacode_cli.training.shards import Pixels

# Input, output and target of a network: H×W×3 uint8 RGB each.
SampleRow = tuple[Pixels, Pixels, Pixels]

MAX_ROWS = 6
LINE_PX = 2
_PREFIX = "validation/"
_WHITE = 255


class Validation:
    """A fixed choice of held-out crops, degraded like the task's training images, always in the same way."""

    def __init__(self, batches: list[Batch], perceptual: PerceptualNetwork | None, bf16: bool) -> None:
        self._batches, self._perceptual, self._bf16 = batches, perceptual, bf16

    def measure(
        self, network: AdaCode, weights: Mapping[str, Tensor], ranges: Ranges | None = None
    ) -> tuple[dict[str, float], list[SampleRow]]:
        """Scores of a network like `network` with `weights`, and a row of images for each crop.

        With ranges, the convolutions that have one compute in 8 bits.
        Scores are means of PSNR in dB (luma, or inside holes), SSIM and LPIPS, by their keys in the log.
        """
        judged = copy.deepcopy(network).eval()
        judged.load_state_dict(dict(weights))
        device = next(judged.parameters()).device
        rows: list[SampleRow] = []
        scores = []
        for batch in self._batches:
            image = self._image(judged, batch.input_BCHW.to(device), ranges or {})
            hole = batch.hole_B1HW
            output, target = _pixels(image), _pixels(batch.target_BCHW)
            if hole is not None:
                inside = hole[0, 0].numpy() > 0
                output = np.where(inside[..., None], output, target)
            scores.append(self._scores(output, target, None if hole is None else inside))
            rows.append((_pixels(batch.input_BCHW[:, :3]), output, target))
        means = {_PREFIX + name: fmean(s[name] for s in scores) for name in scores[0]}
        return means | {_PREFIX + "crops": float(len(scores))}, rows

    def _image(self, network: AdaCode, input_BCHW: Tensor, ranges: Ranges) -> Tensor:
        autocast = torch.autocast(input_BCHW.device.type, torch.bfloat16, enabled=self._bf16)
        # As if for gradients, all convolutions are called as modules; otherwise some would not be rounded.
        with torch.inference_mode(), torch.set_grad_enabled(bool(ranges)), autocast, rounded_within(network, ranges):
            image: Tensor = network(input_BCHW).image_BCHW
        return image

    def _scores(self, output: Pixels, target: Pixels, hole: npt.NDArray[np.bool_] | None) -> dict[str, float]:
        psnr = psnr_luma(output, target) if hole is None else psnr_in_hole(output, target, hole)
        scores = {"psnr": psnr, "ssim": ssim_luma(output, target)}
        if self._perceptual is not None:
            scores["lpips"] = perceptual_distance(self._perceptual, output, target)
        return scores


def _pixels(image_1CHW: Tensor) -> Pixels:
    pixels = (image_1CHW[0].float().clamp(0, 1) * 255).round().permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(pixels.astype(np.uint8))


def sample_sheet(rows: Sequence[SampleRow]) -> Pixels:
    """H×W×3 uint8 RGB: input | output | target of each of the first 6 rows, white lines of 2 px between.

    An image that is smaller than its target is enlarged to it by nearest neighbour, so that its own pixels can be
    seen; rows narrower than the widest are filled with white at their right. Raises ValueError for no rows, for
    another dtype or shape, and for an image that is higher or wider than its target.
    """
    if not rows:
        raise ValueError("a sheet needs at least one row")
    drawn = [_beside([_enlarged(image, row[2]) for image in row]) for row in rows[:MAX_ROWS]]
    width = max(row.shape[1] for row in drawn)
    widened = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=_WHITE) for row in drawn]
    line = np.full((LINE_PX, width, 3), _WHITE, np.uint8)
    return np.concatenate(_between(widened, line), axis=0)


def split_sheet(sheet: Pixels) -> list[tuple[Pixels, Pixels, Pixels]]:
    """The rows of a sheet of square crops as (input, output, target); empty for another image."""
    height, width = sheet.shape[:2]
    side, rest = divmod(width - 2 * LINE_PX, 3)
    if rest or side < 1 or (height + LINE_PX) % (side + LINE_PX):
        return []
    step = side + LINE_PX
    return [
        (
            sheet[top : top + side, :side],
            sheet[top : top + side, step : step + side],
            sheet[top : top + side, 2 * step : 2 * step + side],
        )
        for top in range(0, height, step)
    ]


def write_sample_sheet(path: Path, sheet: Pixels) -> None:
    """Writes a sheet as a PNG file; its directory is made. It is written completely or not at all.

    Raises OutputError if it cannot be written.
    """
    encoded, data = cv2.imencode(".png", np.ascontiguousarray(sheet[..., ::-1]))
    if not encoded:
        raise OutputError(
            f"a PNG cannot hold {sheet.shape[0]}×{sheet.shape[1]} pixels", path=path, hint="Use smaller crops."
        )
    with translated(OutputError, "cannot be made", path.parent, hint="Choose a writable run folder."):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, data.tobytes())


def _enlarged(image: Pixels, target: Pixels) -> Pixels:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"an image of {image.dtype} {image.shape} is not H×W×3 uint8")
    (height, width), (full_height, full_width) = image.shape[:2], target.shape[:2]
    if height > full_height or width > full_width:
        raise ValueError(f"an image of {height}×{width} is larger than its target of {full_height}×{full_width}")
    rows, columns = np.arange(full_height) * height // full_height, np.arange(full_width) * width // full_width
    enlarged: Pixels = image[rows][:, columns]
    return enlarged


def _beside(images: list[Pixels]) -> Pixels:
    line = np.full((images[0].shape[0], LINE_PX, 3), _WHITE, np.uint8)
    return np.concatenate(_between(images, line), axis=1)


def _between(images: list[Pixels], line: Pixels) -> list[Pixels]:
    """The images with a line after each except the last."""
    return [part for image in images for part in (image, line)][:-1]
