"""Networks of a few thousand weights, one for each way in which tiles can matter, and a source that hands them out."""

from dataclasses import replace
from functools import cache

import numpy as np
import torch
from skimage import data

from adacode_cli.engine.canvas import RawCanvas
from adacode_cli.engine.device import rounded
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.restorer import Restorer
from adacode_cli.model.config import (
    ContextConfig,
    DecoderConfig,
    NetworkConfig,
    ResidualConfig,
    SwinConfig,
    TrunkConfig,
)
from adacode_cli.model.network import AdaCode

CPU = torch.device("cpu")

# Convolutions alone: what lies farther than 40 output pixels away does not matter.
LOCAL = NetworkConfig(
    task="reconstruct",
    channels=(8, 16),
    grid=4,
    stem="shuffle",
    encoder_depth=0,
    decoder_depth=0,
    norm="none",
    codebooks=((8, 4), (6, 4)),
    categories=("meadow", "brick"),
)
ATTENTIVE = replace(
    LOCAL,
    encoder_depth=1,
    encoder_swin=SwinConfig(1, 2, heads=2, window=8, mlp_ratio=2),
    predictor_swin=SwinConfig(1, 2, heads=2, window=8, mlp_ratio=2),
)
# Layout and normalisation of the published networks.
PUBLISHED = NetworkConfig(
    task="reconstruct",
    channels=(32, 32, 32, 32),
    encoder_depth=1,
    decoder_depth=1,
    codebooks=((8, 4), (6, 4)),
    encoder_swin=SwinConfig(1, 2, heads=2, window=4, mlp_ratio=2),
    predictor_swin=SwinConfig(1, 2, heads=2, window=4, mlp_ratio=2),
)


def varied(config, **changes):
    """The same with other windows and a finer grid, so that an image of many tiles is small."""
    return replace(config, encoder_swin=SwinConfig(1, 2, 2, 2, 1), predictor_swin=SwinConfig(1, 1, 1, 2, 1), **changes)


# Every way of normalising, of joining skips, of entering and of leaving; attention or none; the mask channel; trunks
# whose codes join in the middle, before the last convolution, and where they left.
LAYOUTS = {
    "compact sr ×4": varied(LOCAL, task="sr", scale=4, stem_depth=1, encoder_depth=1, up_depth=1, decoder_depth=1,
                            fuse_depth=1, head_depth=1, skip="fuse", num_skips=1, base="upsampled"),
    "compact inpaint": varied(LOCAL, task="inpaint", decoder_depth=1, skip="fuse", num_skips=1, base="filled",
                              mask_channel=True),
    "compact inpaint with context": varied(LOCAL, task="inpaint", decoder_depth=1, skip="fuse", num_skips=1,
                                           base="filled", mask_channel=True, encoder_context=ContextConfig(8, 2, 5)),
    "compact reconstruct": replace(LOCAL, decoder_depth=2),
    "compact reconstruct, own decoder": replace(LOCAL, own_decoder=DecoderConfig(1, 2, 1)),
    "published reconstruct, own decoder": replace(PUBLISHED, channels=(32, 32), encoder_swin=None, predictor_swin=None,
                                                  own_decoder=DecoderConfig(1, 1, 0)),
    "compact reconstruct, three levels of codes": replace(LOCAL, decoder_depth=1, residual=ResidualConfig(3, 0.4)),
    "three levels, no attention": replace(LOCAL, task="sr", scale=2, grid=2, channels=(8, 12, 16), decoder_depth=1,
                                          skip="fuse", num_skips=2, softmax=True),
    "added skips, no norm": varied(LOCAL, task="inpaint", stem="conv4", grid=1, channels=(8, 8, 16), encoder_depth=1,
                                   skip="add", num_skips=2),
    "published sr ×4": varied(PUBLISHED, task="sr", scale=4, skip="add", num_skips=2, up_depth=1),
    "published sr ×2": varied(PUBLISHED, task="sr", scale=2, skip="add", num_skips=2, up_depth=1),
    "published inpaint": varied(PUBLISHED, task="inpaint", channels=(32, 32, 32), skip="add", num_skips=1, up_depth=2),
    "published reconstruct": replace(PUBLISHED, channels=(32, 32), encoder_swin=None, predictor_swin=None),
    "norm everywhere": varied(PUBLISHED, task="sr", scale=2, stem="shuffle", grid=4, channels=(32, 64), stem_depth=1,
                              skip="fuse", num_skips=1, fuse_depth=1, head_depth=1, base="upsampled"),
    "basis": replace(LOCAL, task="basis", codebooks=((9, 4),), categories=()),
    "uniform": replace(LOCAL, uniform=True),
    "trunk sr ×4": varied(LOCAL, task="sr", scale=4, encoder_depth=1, decoder_depth=1, head_depth=1,
                          trunk=TrunkConfig(depth=7, tap=2, join=4), base="nearest"),
    "trunk sr ×2, joined last": varied(LOCAL, task="sr", scale=2, decoder_depth=1,
                                       trunk=TrunkConfig(depth=4, tap=1, join=3), base="nearest"),
    "trunk sr ×4, halved": varied(LOCAL, task="sr", scale=2, encoder_depth=1, decoder_depth=1, head_depth=1,
                                  trunk=TrunkConfig(depth=7, tap=2, join=4, shuffle=2), base="nearest"),
    "trunk of three levels": replace(LOCAL, task="sr", scale=2, grid=2, channels=(8, 12, 16), decoder_depth=1,
                                     trunk=TrunkConfig(depth=3, tap=1, join=1)),
}  # fmt: skip


def for_task(config, task, scale=1):
    """The network of another task of the same family."""
    if task == "reconstruct":
        return config
    if config.norm == "group":
        return replace(config, task=task, scale=scale, skip="add", num_skips=1)
    base, mask = ("filled", True) if task == "inpaint" else ("upsampled", False)
    return replace(config, task=task, scale=scale, skip="fuse", num_skips=1, base=base, mask_channel=mask)


def network(config, seed=0):
    """Random weights; the same for the same seed."""
    torch.manual_seed(seed)
    return AdaCode(config).eval()


def lively(config, seed=0):
    """A network as after training: biases and norms are not at rest, and what it makes is as large as an image."""
    net, generator = network(config, seed), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        strength = net(tensor(config, 32, 32)).image_BCHW.std()
        for last in (net.decoder.head.conv, *([net.trunk.body[-1]] if net.trunk else [])):
            last.weight *= 0.3 / strength
            last.bias *= 0.3 / strength
    return net


@cache
def network_of(layout):
    """A lively network of this layout, the same for all tests. Not to be changed."""
    return lively(LAYOUTS[layout])


@torch.inference_mode()
def whole(net, x, precision="fp32"):
    """What the plain forward pass makes of an image."""
    net = net if precision == "fp32" else rounded(net, torch.bfloat16)
    return net(x.contiguous(memory_format=torch.channels_last))


def detail_canvas(grid):
    """A canvas for all that a network makes on a grid, and what puts tiles on it."""
    canvas = RawCanvas(grid.height * grid.cell_px, grid.width * grid.cell_px, 1, CPU)
    return canvas, lambda detail: canvas.put(detail, None)


class TinyWeights:
    """Stands where `WeightsSource` stands: a family of one configuration for each task, remembering what was asked."""

    def __init__(self, config, *, only_scale=None):
        self.config, self.only_scale, self.asked = config, only_scale, []
        self.name = "tiny"

    def network(self, task, scale, denoise=1.0):
        self.asked.append((task, scale))
        return network(for_task(self.config, task, self.only_scale or scale)), None


def restorer(config=LOCAL, **options):
    """A Restorer on the CPU in float32 by default."""
    return Restorer(TinyWeights(config), CPU, RunOptions(**{"precision": "fp32", **options}))


@cache
def _photographs():
    """Two photographs beside each other: H×W×3."""
    return np.concatenate([data.astronaut(), data.chelsea()[:, :300].repeat(2, 0)[:512, :300]], 1)


def photograph(height, width, dtype=np.uint8, channels=3, seed=0):
    """A part of a real photograph: H×W×channels, or H×W for 1; a fourth channel is a soft oval."""
    rng = np.random.default_rng(seed)
    whole = _photographs()
    top, left = (rng.integers(0, side - length + 1) for side, length in zip(whole.shape, (height, width), strict=False))
    image = whole[top : top + height, left : left + width].astype(np.float64) / 255
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    image = np.dstack([image, np.clip(1.5 - x**2 - y**2, 0, 1)])[..., :channels]
    image = image[..., 0] if channels == 1 else image
    top_value = 1 if dtype == np.float32 else np.iinfo(dtype).max
    return np.ascontiguousarray((image * top_value).astype(dtype))


def tensor(config, height, width, seed=0):
    """1×C×height×width photograph in [0, 1], with a round hole where the network takes one."""
    image = torch.from_numpy(photograph(height, width, np.float32, seed=seed)).permute(2, 0, 1)[None].contiguous()
    if not config.mask_channel:
        return image
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    hole = torch.from_numpy((x**2 + y**2 < 0.2).astype(np.float32))[None, None]
    return torch.cat((image * (1 - hole), hole), 1)


def psnr(a, b):
    """dB, of two arrays or tensors in [0, 1]."""
    a, b = (np.clip(np.asarray(v, np.float64), 0, 1) for v in (a, b))
    return -10 * np.log10(np.mean((a - b) ** 2) + 1e-20)
