"""LPIPS (Zhang et al. 2018, arXiv:1801.03924) on SqueezeNet 1.1 features: a perceptual distance of two images.

It is only the network; the caller provides the tensors: weights "NAME_w" and biases "NAME_b" of `conv1` and, for i from
2 to 9, of `fire{i}_squeeze1x1`, `fire{i}_expand1x1` and `fire{i}_expand3x3`; and one linear head for each tap, `head_0`
… `head_6`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adacode_cli.errors import WeightsError

# Mean of ImageNet's blue, green and red on the scale 0 … 255; the weights were trained with it.
MEAN_BGR = (103.939, 116.779, 123.68)
_POOL_BEFORE = (2, 4, 6)
_TAPPED_FIRES = (3, 5, 6, 7, 8, 9)
# The map after the second pooling's fires: its grid is the nearest to 1/8 of the image's.
_SEMANTIC_TAP = 2
_CONVS = ("conv1", *(f"fire{i}_{conv}" for i in range(2, 10) for conv in ("squeeze1x1", "expand1x1", "expand3x3")))
_TENSORS = (*(f"{conv}_{kind}" for conv in _CONVS for kind in "wb"), *(f"head_{i}" for i in range(7)))


class Lpips(nn.Module):
    """forward(x, y): two B×3×H×W float RGB tensors in [0, 1], sides of at least 32 px → B distances, differentiable.

    Raises WeightsError when tensors are missing; a dot or slash in a name counts as an underscore.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(_attribute(name), tensor.float(), persistent=False)
        self.register_buffer("mean_BGR", torch.tensor(MEAN_BGR).view(1, 3, 1, 1), persistent=False)
        missing = [name for name in _TENSORS if not hasattr(self, name)]
        if missing:
            what = f"the perceptual network lacks {', '.join(missing)}"
            raise WeightsError(what, hint="Give a SqueezeNet LPIPS file.")
        self.semantic_channels: int = self.get_buffer(f"head_{_SEMANTIC_TAP}").shape[1]

    def _relu_conv(self, x: Tensor, name: str, *, stride: int = 1, padding: int = 0) -> Tensor:
        weight, bias = self.get_buffer(f"{name}_w"), self.get_buffer(f"{name}_b")
        return F.relu(F.conv2d(x, weight, bias, stride=stride, padding=padding))

    def _fire(self, x: Tensor, i: int) -> Tensor:
        squeezed = self._relu_conv(x, f"fire{i}_squeeze1x1")
        one = self._relu_conv(squeezed, f"fire{i}_expand1x1")
        three = self._relu_conv(squeezed, f"fire{i}_expand3x3", padding=1)
        return torch.cat((one, three), 1)

    def _maps(self, image_BCHW: Tensor) -> Iterator[Tensor]:
        bgr = image_BCHW.flip(1) * 255 - self.get_buffer("mean_BGR")
        x = self._relu_conv(bgr.contiguous(memory_format=torch.channels_last), "conv1", stride=2)
        yield x
        for i in range(2, 10):
            if i in _POOL_BEFORE:
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            x = self._fire(x, i)
            if i in _TAPPED_FIRES:
                yield x

    def taps(self, image_BCHW: Tensor) -> list[Tensor]:
        """Seven unit-length feature maps, fine to coarse."""
        return [unit_length(found) for found in self._maps(image_BCHW)]

    def semantic(self, image_BCHW: Tensor) -> Tensor:
        """B×3×H×W float RGB in [0, 1] → B×semantic_channels×h×w, about H/8×W/8: what is seen where; values are not
        negative.

        Fire 5's map with a mean square of 1 over the channels of each position; deeper layers are not computed.
        """
        return even_strength(next(islice(self._maps(image_BCHW), _SEMANTIC_TAP, None)))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        distance = x.new_zeros(x.shape[0])
        for i, (a, b) in enumerate(zip(self.taps(x), self.taps(y), strict=True)):
            difference = a - b
            distance = distance + F.conv2d(difference * difference, self.get_buffer(f"head_{i}")).mean((1, 2, 3))
        return distance


def unit_length(features_BCHW: Tensor) -> Tensor:
    """Features of length 1 over the channels of each position; zeros stay zeros."""
    # A product instead of square(): under autocast it stays in the convolutions' precision, at half the time.
    squares = (features_BCHW * features_BCHW).sum(1, keepdim=True)
    unit: Tensor = features_BCHW * squares.clamp(min=1e-20).rsqrt().to(features_BCHW.dtype)
    return unit


def even_strength(features_BCHW: Tensor) -> Tensor:
    """Features with a mean square of 1 over the channels of each position; zeros stay zeros.

    So mean square errors are comparable between networks and between scales of features.
    """
    return unit_length(features_BCHW) * math.sqrt(features_BCHW.shape[1])


def _attribute(name: str) -> str:
    return name.replace(".", "_").replace("/", "_")
