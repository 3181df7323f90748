"""The discriminator, which distinguishes photographs from the network's images pixel by pixel, and the hinge losses of
both.

Real-ESRGAN's U-Net discriminator (Wang et al. 2021, arXiv:2107.10833, section 3.2) after Schönfeld et al. 2020
(arXiv:2002.12655). Equal weights, buffers and inputs give equal logits: `state_dict` has the whole state, including the
estimates of the power iteration.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

_SLOPE = 0.2


class UNetDiscriminator(nn.Module):
    """B×3×H×W float RGB in [0, 1] → B×1×H×W logits, above 0 for "photograph"; sides of at least 8 px.

    channels: width of the first level; each of three levels below doubles it. 64 (published) makes 4.38 million
    parameters, 32 (the `compact` presets) 1.09 million. All convolutions except the first and the last are divided by
    their largest singular value (Miyato et al. 2018, arXiv:1802.05957); every forward pass in training mode improves
    the estimate of it by one power iteration; in evaluation mode it does not change.
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        c = channels
        self.first = nn.Conv2d(3, c, 3, padding=1)
        self.down = nn.ModuleList(_normalised(c << i, c << i + 1, 4, stride=2) for i in range(3))
        self.up = nn.ModuleList(_normalised(c << i + 1, c << i, 3) for i in (2, 1, 0))
        self.refine = nn.ModuleList(_normalised(c, c, 3) for _ in range(2))
        self.last = nn.Conv2d(c, 1, 3, padding=1)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """B×3×H×W float RGB in [0, 1] → B×1×H×W logits, positive for what is classified as real."""
        levels = [_leaky(self.first(image_BCHW))]
        for conv in self.down:
            levels.append(_leaky(conv(levels[-1])))
        x = levels.pop()
        for conv in self.up:
            skip = levels.pop()
            # To the skip's size, which is not always exactly twice as large: sides need not be multiples of 8.
            x = F.interpolate(x, skip.shape[-2:], mode="bilinear", align_corners=False)
            x = _leaky(conv(x)) + skip
        for conv in self.refine:
            x = _leaky(conv(x))
        logits: Tensor = self.last(x)
        return logits


class _Conv(nn.Conv2d):
    """A convolution whose normalised weight is computed in float32 also within autocast.

    The power iteration would otherwise run in bf16, whose errors do not average out.
    """

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            weight = self.weight
        y: Tensor = self._conv_forward(x, weight, self.bias)
        return y


def _normalised(inp: int, out: int, kernel: int, stride: int = 1) -> nn.Module:
    conv: nn.Module = spectral_norm(_Conv(inp, out, kernel, stride, 1, bias=False))
    return conv


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, _SLOPE)


def fresh_discriminator(channels: int, seed: int) -> UNetDiscriminator:
    """A discriminator with weights and power iterations drawn from `seed`, in channels-last layout, on the CPU.

    The global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNetDiscriminator(channels).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def hinge_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """mean max(0, 1 − real) + mean max(0, 1 + fake), float32 scalar (Lim & Ye 2017, arXiv:1705.02894).

    What made the fake images must be detached by the caller. 2 when all logits are 0.
    """
    return F.relu(1 - real_logits.float()).mean() + F.relu(1 + fake_logits.float()).mean()


def hinge_generator(fake_logits: Tensor) -> Tensor:
    """−mean of the logits of the network's images, float32 scalar; unbounded on both sides."""
    return -fake_logits.float().mean()
