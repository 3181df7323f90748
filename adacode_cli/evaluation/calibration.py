"""Ranges for `--precision int8`, measured on images: which values the inputs of convolutions have.

For each convolution, the range is the one of a few candidates with which its result is nearest to the exact one, in
mean square, for parts of the maps that it has for these images. In the candidates, the steps of the channels follow
from what their values need and from what their weights need, in different shares (equalisation: Nagel et al. 2019,
arXiv:1906.04721). A range contains all values: clipping the largest ones made single convolutions more exact and whole
images less.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adacode_cli.checkpoints.format import Weights
from adacode_cli.engine.device import has_openvino
from adacode_cli.engine.images import Pixels
from adacode_cli.engine.openvino_graph import import_openvino
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.runner import Runner
from adacode_cli.engine.transfer import to_tensor
from adacode_cli.errors import InputError
from adacode_cli.evaluation.metrics import psnr
from adacode_cli.evaluation.weight_fitting import fitted
from adacode_cli.imaging.decode import read_image
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode, Restoration, Stem
from adacode_cli.model.ranges import TOP, VISIBLE_DB, InputRange, Ranges, filters_of, rounded_weight

# Parts of maps that are kept for each convolution: their number, and their side in positions.
_WINDOWS, _SIDE = 24, 24
# Shares of the values, against those of the weights, in the steps of the channels.
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_LEAST = 1e-6
# Output pixels along the side of the part of a photograph that is used, and photographs that the result is tried on.
_PART_PX, _TRIED = 512, 8
# Standard deviations of the noise that is added to one photograph after the other.
_NOISE = (0.0, 0.1, 0.0, 0.25)
_CPU = torch.device("cpu")
# Attention and what chooses codes and mixing weights: a code is a discrete decision.
_EXACT_PARTS = ("encoder.swin.", "encoder.context.", "codebook.before.", "codebook.predictor.")


@dataclass(frozen=True)
class Calibrated:
    """weights: with ranges. psnr_db, least_db: of images in 8 bits, compared with those in float32: the mean over
    photographs, and that of the worst one. They are the engine's images if OpenVINO can be used; otherwise those that
    torch computes with rounded values. used: the number of photographs.
    """

    weights: Weights
    psnr_db: float
    least_db: float
    used: int


def calibrate(
    weights: Weights,
    network: AdaCode,
    photographs: Sequence[Path],
    on_step: Callable[[str], None] = lambda _: None,
    on_left_out: Callable[[InputError], None] = lambda _: None,
    *,
    keep_ranges: bool = False,
) -> Calibrated:
    """Weights with ranges that were measured on photographs, as they are given to the task. Where images in 8 bits can
    differ visibly, filters for 8 bits are fitted too. network: that of the weights. on_step: is given a few words on
    what is done; on_left_out: why a file was not used, because it cannot be read or is too small. keep_ranges: the
    weights keep the ranges and filters that they have. The network is as before afterwards.

    Raises InputError if no photograph can be read and is large enough.
    """
    images, used = _inputs(photographs, network.config, on_step, on_left_out)
    ranges = weights.ranges
    if not keep_ranges:
        ranges = measured(network, images, lambda name: on_step(f"range of {name}"))
    figures = _compared(network, images, ranges, on_step)
    if mean(figures) < VISIBLE_DB and not keep_ranges:
        with_filters = fitted(network, _to_fit_on(images), ranges, lambda name: on_step(f"filter of {name}"))
        better = _compared(network, images, with_filters, on_step)
        if mean(better) > mean(figures):
            ranges, figures = with_filters, better
    return Calibrated(replace(weights, ranges=ranges), mean(figures), min(figures), used)


def _inputs(
    photographs: Sequence[Path],
    config: NetworkConfig,
    on_step: Callable[[str], None],
    on_left_out: Callable[[InputError], None],
) -> tuple[list[Tensor], int]:
    """`parts_of` all photographs, and how many were used. Raises InputError if it is none."""
    images: list[Tensor] = []
    used = readable = 0
    hint = f"Give photographs of at least {config.pad_multiple} pixels on each side."
    for path in photographs:
        on_step(f"reading {path.name}")
        try:
            pixels = read_image(path).pixels
        except InputError as error:
            on_left_out(error)
            continue
        readable += 1
        if not (parts := parts_of(pixels, config, len(images))):
            on_left_out(InputError("is too small to measure ranges", path=path, hint=hint))
            continue
        images += parts
        used += 1
    if not images:
        what = "no photograph is large enough to measure ranges" if readable else "no photograph can be read"
        raise InputError(what, hint=hint)
    return images, used


def _compared(
    network: AdaCode, images: Sequence[Tensor], ranges: Ranges, on_step: Callable[[str], None]
) -> list[float]:
    """PSNR in dB of a few of the images in 8 bits, compared with float32."""
    on_step("comparing with float32")
    tried = [images[number] for number in _tried(len(images))]
    pairs = zip(_images_in_eight_bits(network, tried, ranges), tried, strict=True)
    return [psnr(_levels(found), _levels(through(network, image))) for found, image in pairs]


def _tried(count: int) -> list[int]:
    """Which of the images are compared: evenly over all, and over those with noise and without."""
    every = -(-count // _TRIED)
    return [min(number + number // every % every, count - 1) for number in range(0, count, every)]


def _to_fit_on(images: Sequence[Tensor]) -> Sequence[Tensor]:
    """Those that are not tried: what filters were fitted on seems nearer than other images. All of a few: most would be
    left out, and all that remain can have noise.
    """
    if len(images) <= 2 * _TRIED:
        return images
    tried = _tried(len(images))
    return [image for number, image in enumerate(images) if number not in tried]


def _images_in_eight_bits(network: AdaCode, images: Sequence[Tensor], ranges: Ranges) -> list[Tensor]:
    """The network's images in 8 bits, 1×3×H×W."""
    if _can_use_openvino():
        with _with_ranges(network, ranges):
            runner = Runner(network, _CPU, RunOptions("int8"))
            return [runner.run(image, deep=False).image_CHW[None] for image in images]
    with in_eight_bits(network, ranges):
        return [through(network, image) for image in images]


def _can_use_openvino() -> bool:
    if not has_openvino():
        return False
    try:
        import_openvino()
    except ImportError:
        return False
    return True


@contextmanager
def _with_ranges(network: AdaCode, ranges: Ranges) -> Iterator[None]:
    """Within, the network has these ranges, and does not state how near its images in 8 bits are."""
    before = network.ranges, network.int8_psnr_db
    network.ranges, network.int8_psnr_db = ranges, None
    try:
        yield
    finally:
        network.ranges, network.int8_psnr_db = before


def _levels(image: Tensor) -> npt.NDArray[np.float32]:
    """An image in [0, 1] on the scale 0 to 255, not rounded."""
    return np.asarray(image.clamp(0, 1).numpy() * 255, np.float32)


def parts_of(pixels: Pixels, config: NetworkConfig, number: int) -> list[Tensor]:
    """The middle of a photograph as the network takes it, 1×C×H×W float32; nothing of one that is too small.

    For a network that fills holes it has some, and for one that enlarges, every second one has noise: without it, the
    ranges would be too small for noisy images. `number` makes them differ.
    """
    side = _PART_PX // config.scale
    height, width = pixels.shape[:2]
    if min(height, width) < config.pad_multiple:
        return []
    top, left = (max(0, length - side) // 2 for length in (height, width))
    image = to_tensor(pixels[top : top + side, left : left + side])
    if config.purpose.enlarges:
        noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(number))
        image = (image + _NOISE[number % len(_NOISE)] * noise).clamp(0, 1)
    if config.mask_channel:
        hole = _hole(image.shape[-2], image.shape[-1], number)
        image = torch.cat((image * (1 - hole), hole), 1)
    return [image]


def _hole(height: int, width: int, number: int) -> Tensor:
    """1×1×H×W, 1 in the holes: a few scratches and a patch, at random places."""
    random = torch.Generator().manual_seed(number)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    hole = torch.zeros(height, width, dtype=torch.bool)
    for _ in range(4):
        angle, at, half = torch.rand(3, generator=random).tolist()
        across = x * math.cos(math.pi * angle) + y * math.sin(math.pi * angle)
        lowest, highest = float(across.min()), float(across.max())
        hole |= (across - lowest - at * (highest - lowest)).abs() < 1 + 4 * half
    top, left = (int(torch.randint(length, (), generator=random)) for length in (height, width))
    hole[top : top + height // 8, left : left + width // 8] = True
    return hole.float()[None, None]


def convolutions_for(network: AdaCode) -> dict[str, nn.Conv2d]:
    """The convolutions that run in 8 bits, by name.

    The first one, which reads pixels, and the last one, which makes them, are exact, and so are attention, weight
    predictor and the search for codes. The encoder is exact too, so that codes are the same, unless a trunk restores
    the image and the codes are a branch of it.
    """
    exact = [*_EXACT_PARTS]
    if network.own_decoder is not None:
        exact.append("decoder.")
    if network.trunk is not None:
        ends = [network.trunk.layer(0)[0], network.trunk.layer(len(network.trunk.body) // 2)[0]]
        exact.append("decoder.head.")
    else:
        ends = [cast(Stem, network.encoder.stem).conv, network.drawing.head.conv]
        exact += ["encoder.stem.", "encoder.down."]
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module not in ends and not name.startswith(tuple(exact))
    }


def measured(network: AdaCode, images: Iterable[Tensor], on_range: Callable[[str], None] = lambda _: None) -> Ranges:
    """Ranges for all `convolutions_for`. images: 1×C×H×W float32, as the network takes them; at least one.

    on_range: is given the name of each convolution whose range is found.
    """
    wanted = convolutions_for(network)
    samples = {name: _Samples() for name in wanted}
    with _watched(wanted, lambda name, x: samples[name].add(x)):
        for image in images:
            through(network, image)
    ranges = {}
    for name, conv in wanted.items():
        ranges[name] = _nearest(conv, samples[name].windows)
        on_range(name)
    return ranges


def through(network: AdaCode, image: Tensor) -> Tensor:
    """The network's image, 1×3×H×W. Every convolution is called as a module, also those that usually are not."""
    # With gradients, the convolutions after an enlargement are not replaced by faster functions. No value needs one.
    with torch.enable_grad():
        restoration: Restoration = network(image.contiguous())
    return restoration.image_BCHW.detach()


@contextmanager
def in_eight_bits(network: AdaCode, ranges: Ranges) -> Iterator[None]:
    """Within, the network's convolutions compute what they would in 8 bits, slowly. For `through`."""
    wanted = {n: m for n, m in network.named_modules() if n in ranges and isinstance(m, nn.Conv2d)}
    exact = {name: (conv.weight, conv.bias) for name, conv in wanted.items()}
    handles = [
        conv.register_forward_pre_hook(lambda _, inputs, given=ranges[name]: (given.rounded(inputs[0]),))
        for name, conv in wanted.items()
    ]
    try:
        for name, conv in wanted.items():
            filters = filters_of(conv, ranges[name])
            values = rounded_weight(filters.weight_OIHW, ranges[name]), filters.bias_O
            conv.weight, conv.bias = (nn.Parameter(value, requires_grad=False) for value in values)
        yield
    finally:
        for name, conv in wanted.items():
            conv.weight, conv.bias = exact[name]
        for handle in handles:
            handle.remove()


@contextmanager
def _watched(wanted: Mapping[str, nn.Conv2d], watch: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Within, `watch` is given the name of each convolution that is called, and its input."""

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, inputs: watch(name, inputs[0].detach())

    handles = [module.register_forward_pre_hook(hook(name)) for name, module in wanted.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass
class _Samples:
    """Parts of a convolution's inputs, of the first images and evenly over the later ones, at random places."""

    windows: list[Tensor] = field(default_factory=list)
    _seen: int = 0
    _random: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))

    def add(self, x_BCHW: Tensor) -> None:
        """Keeps a part of the map, or not (Vitter's reservoir)."""
        self._seen += 1
        at = len(self.windows) if len(self.windows) < _WINDOWS else self._whole(self._seen)
        if at >= _WINDOWS:
            return
        top, left = (self._whole(max(1, side - _SIDE + 1)) for side in x_BCHW.shape[-2:])
        part = x_BCHW[:1, :, top : top + _SIDE, left : left + _SIDE].float().clone()
        self.windows[at : at + 1] = [part]

    def _whole(self, below: int) -> int:
        return int(torch.randint(below, (), generator=self._random))


@torch.no_grad()
def _nearest(conv: nn.Conv2d, windows: list[Tensor]) -> InputRange:
    """The candidate with which the convolution's results are nearest to the exact ones."""
    values = torch.cat([x.flatten(2).squeeze(0) for x in windows], 1)
    lowest, highest = (-values.amin(1)).clamp(min=0), values.amax(1).clamp(min=0)
    inputs = _batches(windows)
    exact = [_applied(conv, x, conv.weight) for x in inputs]
    best: tuple[float, InputRange] | None = None
    for given in _candidates(torch.maximum(lowest, highest), lowest, highest, conv.weight):
        weight = rounded_weight(conv.weight, given)
        results = (_applied(conv, given.rounded(x), weight) for x in inputs)
        error = sum(float(F.mse_loss(y, right, reduction="sum")) for y, right in zip(results, exact, strict=True))
        if best is None or error < best[0]:
            best = error, given
    assert best is not None, "there are candidates"
    return best[1]


def _batches(windows: list[Tensor]) -> list[Tensor]:
    """The windows of each size together."""
    sizes = dict.fromkeys(x.shape for x in windows)
    return [torch.cat([x for x in windows if x.shape == size]) for size in sizes]


def _candidates(largest_C: Tensor, lowest_C: Tensor, highest_C: Tensor, weight: Tensor) -> Iterator[InputRange]:
    of_values, of_weights = largest_C.clamp(min=_LEAST), weight.abs().amax((0, 2, 3)).clamp(min=_LEAST)
    for share in _SHARES:
        relative = torch.ones_like(of_values) if share == 0 else of_values**share * of_weights ** (share - 1)
        below, above = float((lowest_C / relative).amax()), float((highest_C / relative).amax())
        step = max(below + above, _LEAST) / TOP
        yield InputRange((relative * step).clamp(min=_LEAST / TOP), min(TOP, round(below / step)))


def _applied(conv: nn.Conv2d, x_BCHW: Tensor, weight: Tensor) -> Tensor:
    """The convolution with another weight, without its bias."""
    return F.conv2d(x_BCHW, weight, None, conv.stride, conv.padding)
