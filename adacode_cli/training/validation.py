"""How the averaged weights of a run do on photographs that it never learns from, measured as `adacode eval` does."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice, zip_longest
from statistics import fmean

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adacode_cli.evaluation.metrics import perceptual_distance, psnr_in_hole, psnr_luma, ssim_luma
from adacode_cli.evaluation.perceptual import PerceptualNetwork
from adacode_cli.model.network import AdaCode
from adacode_cli.training.batches import Batch, SampleMaker, painted
from adacode_cli.training.crops import Contents, HostCrops, Window

Picture = npt.NDArray[np.uint8]
NUM_CROPS = 16
_PREFIX = "validation/"


@dataclass(frozen=True)
class Pictures:
    """What one validation saw and made: H×W×3 uint8 RGB each, in the same order."""

    inputs: list[Picture]
    outputs: list[Picture]
    targets: list[Picture]


class Validation:
    """A fixed choice of held-out crops, worn as the task's training pictures are, always in the same way."""

    def __init__(self, batches: list[Batch], perceptual: PerceptualNetwork | None, bf16: bool) -> None:
        self._batches, self._perceptual, self._bf16 = batches, perceptual, bf16

    def measure(self, network: AdaCode, weights: Mapping[str, Tensor]) -> tuple[dict[str, float], Pictures]:
        """Means of PSNR in dB (luma, or inside holes), SSIM and LPIPS of a network like `network` with `weights`."""
        judged = copy.deepcopy(network).eval()
        judged.load_state_dict(dict(weights))
        device = next(judged.parameters()).device
        shown, scores = Pictures([], [], []), []
        for batch in self._batches:
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=self._bf16):
                image = judged(batch.input_BCHW.to(device)).image_BCHW
            hole = batch.hole_B1HW
            output, target = _picture(image), _picture(batch.target_BCHW)
            if hole is not None:
                inside = hole[0, 0].numpy() > 0
                output = np.where(inside[..., None], output, target)
            scores.append(self._scores(output, target, None if hole is None else inside))
            shown.inputs.append(_picture(batch.input_BCHW[:, :3]))
            shown.outputs.append(output)
            shown.targets.append(target)
        means = {_PREFIX + name: fmean(s[name] for s in scores) for name in scores[0]}
        return means | {_PREFIX + "crops": float(len(scores))}, shown

    def _scores(self, output: Picture, target: Picture, hole: npt.NDArray[np.bool_] | None) -> dict[str, float]:
        psnr = psnr_luma(output, target) if hole is None else psnr_in_hole(output, target, hole)
        scores = {"psnr": psnr, "ssim": ssim_luma(output, target)}
        if self._perceptual is not None:
            scores["lpips"] = perceptual_distance(self._perceptual, output, target)
        return scores


def validation_batches(
    contents: Contents, sample: SampleMaker, side: int, category: str | None, *, mask_channel: bool
) -> list[Batch]:
    """Batches of one: the middle of the first crops of the category, or of all in turn. There may be none."""
    names = [category] if category else contents.categories
    in_turn = zip_longest(*(contents.numbers(name) for name in names))
    numbers = [int(n) for group in in_turn for n in group if n is not None]
    corner = (contents.crop_px - side) // 2
    crops = HostCrops(contents, keep=False, workers=1)
    batches = []
    for i, number in enumerate(islice(numbers, NUM_CROPS)):
        rng = np.random.Generator(np.random.PCG64(i))
        pixels = crops.cut(Window(number, corner, corner, side, 0, mirrored=False), side)
        worn, target, hole = sample(rng, pixels)
        goal = _tensor(target)
        if hole is None:
            batches.append(Batch(_tensor(worn), goal))
        else:
            mask = torch.from_numpy(hole)[None, None].float()
            batches.append(Batch(painted(goal, mask, mask_channel=mask_channel), goal, mask))
    return batches


def _tensor(picture: Picture) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255


def _picture(image_1CHW: Tensor) -> Picture:
    pixels = (image_1CHW[0].float().clamp(0, 1) * 255).round().permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(pixels.astype(np.uint8))
