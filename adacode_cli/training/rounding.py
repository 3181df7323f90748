"""Training for `--precision int8`: filters and ranges for 8 bits, which give the images of the network in float32.

The network's weights for float32 stay as they are. The targets are its own images, not photographs, so it does not
matter what the photographs show, and results in 8 bits do not move away from those that were judged in float32.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import replace

import torch
from torch import Tensor, nn

from adacode_cli.model.input import base_image
from adacode_cli.model.network import AdaCode
from adacode_cli.model.ranges import Filters, Ranges, filters_of
from adacode_cli.training.batches import Batch
from adacode_cli.training.eight_bits import LearntRanges, rounded_within
from adacode_cli.training.recipe import Learns
from adacode_cli.training.stages import Stage, StageContext

_TRUNK = "trunk."
# Standard deviation of the strongest noise; most noise is much weaker.
_MOST_NOISE = 0.25
# Share of the images that have noise.
_NOISY = 0.5


class RoundingStage(Stage):
    """Filters and steps of the convolutions that have `ranges` learn; those of the trunk, those of the codes, or all.

    network: in float32. Its copy `exact` makes the targets; the network itself becomes the one in 8 bits.
    """

    def __init__(self, network: AdaCode, context: StageContext, ranges: Ranges, learns: Learns = "all") -> None:
        self.exact = copy.deepcopy(network).eval().requires_grad_(False).to(context.processes.device)
        self._ranges = ranges
        with torch.no_grad():
            for name, conv in _convolutions(network, ranges).items():
                filters = filters_of(conv, ranges[name])
                conv.weight.copy_(filters.weight_OIHW)
                conv.bias.copy_(filters.bias_O)  # type: ignore[union-attr]
        super().__init__(network, context)
        self.learnt = {n for n in ranges if learns == "all" or n.startswith(_TRUNK) == (learns == "trunk")}
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name.rpartition(".")[0] in self.learnt)
        self.learnt_ranges = LearntRanges(ranges, self.device, _digest(self.exact, ranges))
        self.learnt_ranges.keep_all_but(self.learnt)

    def losses(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """Those of the image, compared with the image in float32."""
        assert self.learnt_ranges is not None, "it is set when the stage is made"
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            # Both images begin with the same fillings of holes.
            prepared = self._prepared(self._with_noise(batch.input_BCHW), self.exact)
            wanted = self._image(self.exact, prepared)
        with rounded_within(self.network, self.learnt_ranges.ranges()):
            image = self._image(self.network, prepared)
        completed = image
        if batch.hole_B1HW is not None:  # around a hole, the pixels are the known ones
            completed, wanted = (
                x * batch.hole_B1HW + batch.target_BCHW * (1 - batch.hole_B1HW) for x in (image, wanted)
            )
        return self.image_terms(image, completed, replace(batch, target_BCHW=wanted)), completed

    def _with_noise(self, image_BCHW: Tensor) -> Tensor:
        """Noise for about half of the images that are enlarged, as when ranges are measured: without it, images in 8
        bits of noisy inputs were further from those in float32 than before training.
        """
        if not self.network.config.purpose.enlarges:
            return image_BCHW
        strength_B111 = _MOST_NOISE * torch.rand(len(image_BCHW), 1, 1, 1).square()
        strength_B111 *= torch.rand(len(image_BCHW), 1, 1, 1) < _NOISY
        noise = strength_B111 * torch.randn(image_BCHW.shape)
        return (image_BCHW + noise.to(image_BCHW)).clamp(0, 1)

    @staticmethod
    def _image(network: AdaCode, prepared_BCHW: Tensor) -> Tensor:
        base = base_image(prepared_BCHW, network.config.base, network.config.scale)
        detail = network.detail(prepared_BCHW).image_BCHW.float()
        return detail if base is None else detail + base

    def result(self, state: dict[str, Tensor], ranges: Ranges) -> tuple[dict[str, Tensor], Ranges]:
        """The state in float32, and ranges with the learnt filters; those that did not learn are as before."""
        found = dict(self._ranges)
        for name in self.learnt:
            filters = Filters(state[f"{name}.weight"].float().cpu(), state[f"{name}.bias"].float().cpu())
            found[name] = replace(ranges[name], filters=filters)
        return {key: value.detach() for key, value in self.exact.state_dict().items()}, found

    def report(self) -> dict[str, float]:
        """Nothing: codes are those of the network in float32, or nearly so."""
        return {}


def _convolutions(network: AdaCode, ranges: Ranges) -> dict[str, nn.Conv2d]:
    return {n: m for n, m in network.named_modules() if n in ranges and isinstance(m, nn.Conv2d)}


def _digest(network: AdaCode, ranges: Ranges) -> bytes:
    """Identifies the network's weights, and ranges with their filters."""
    values = dict(network.state_dict())
    for name, one in ranges.items():
        filters = filters_of(network.get_submodule(name), one)  # type: ignore[arg-type]
        found = (one.steps_C, torch.tensor(one.zero), filters.weight_OIHW, filters.bias_O)
        values |= {f"{name} {i}": value for i, value in enumerate(found)}
    digest = hashlib.sha256()
    for name, value in sorted(values.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.digest()
