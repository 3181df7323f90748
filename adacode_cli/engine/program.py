"""The network's parts on pixel grids as lists of steps: each step makes one named map from others.

A step looks no farther than one convolution, so it can run on parts of its maps. The parts on the latent grid that look
across the whole image (attention, codes, weight predictor) lie between the two lists and are the network's own.
`AdaCode.forward` computes the same in a simpler way; tests compare the two. A faster way to compute a step is another
`run` with the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adacode_cli.engine.maps import (
    Patch,
    add,
    add_to,
    concatenate,
    convolve,
    pack,
    unpack,
    upsample_convolve,
)
from adacode_cli.model.blocks import DownBlock, GroupNorm, ResBlock, UpBlock, enlarging_weight
from adacode_cli.model.codebook import AdaptiveCodebook
from adacode_cli.model.network import AdaCode, Fusion, Stem, Trunk

# Names of the maps that cross between the lists, the latent parts and the caller.
IMAGE, FEATURE, LATENT, CODES, WEIGHTS, DETAIL = "image", "feature", "latent", "codes", "weights", "detail"


@dataclass(frozen=True)
class Step:
    """reads: names of the maps that `run` takes patches of, in its order. writes: name of the map it makes a patch of.

    norm: normalises the first map read, before `run` sees it. A step that writes a map that it reads replaces it place
    by place: it looks at no neighbours there.
    """

    reads: tuple[str, ...]
    writes: str
    run: Callable[..., Patch]
    norm: GroupNorm | None = None


Steps = tuple[Step, ...]


def encoder_steps(network: AdaCode) -> Steps:
    """IMAGE → FEATURE, the latent map before attention, and the maps on the way: "down0" (finest) and so on, or the
    trunk's "trunk1" and so on where there is one.
    """
    return tuple(_encoder(network))


def decoder_steps(network: AdaCode, *, skips: bool) -> Steps:
    """CODES and WEIGHTS → DETAIL; with `skips` also from LATENT and the encoder's or trunk's maps, as in stage III."""
    return tuple(_decoder(network, network.config.num_skips if skips else 0, network.trunk if skips else None))


def _encoder(network: AdaCode) -> Iterator[Step]:
    down = cast("list[DownBlock]", list(network.encoder.down))
    names = [*(f"down{i}" for i in range(len(down))), FEATURE]
    if network.trunk is None:
        stem = cast(Stem, network.encoder.stem)
        yield Step((IMAGE,), names[0], partial(_packed, stem.conv, None, stem.pack))
        yield from _residuals(names[0], stem.body)
    else:
        names[0] = _after(network.trunk.tap)
        yield from _trunk(network.trunk, IMAGE, 0, network.trunk.tap)
    for i, block in enumerate(down):
        yield Step((names[i],), names[i + 1], partial(convolve, block.conv))
        yield from _residuals(names[i + 1], block.body)


def _decoder(network: AdaCode, num_skips: int, trunk: Trunk | None) -> Iterator[Step]:
    stages, head = network.drawing.stages, network.drawing.head
    names = ["mixed", *(f"stage{i}" for i in range(len(stages)))]
    yield Step((CODES, WEIGHTS), names[0], partial(_mix, network.codebook))
    yield from _residuals(names[0], network.drawing.body)
    for i, stage in enumerate(stages):
        # A skip is made when its stage comes, so that not all of them are held at once.
        if i < num_skips:
            yield from _skip(network, i)
        yield from _up(names[i], names[i + 1], cast(UpBlock, stage))
        if i < num_skips:
            yield from _join(network, i, names[i + 1])
    if trunk is None:
        yield from _residuals(names[-1], head.body)
        yield Step((names[-1],), DETAIL, lambda x: unpack(convolve(head.conv, x), head.grid))
    else:
        yield from _finished_trunk(trunk, names[-1])


def _finished_trunk(trunk: Trunk, decoded: str) -> Iterator[Step]:
    """The trunk from where the codes' branch began, with the decoded codes, to the image."""
    yield from _trunk(trunk, _after(trunk.tap), trunk.tap, trunk.joined_at)
    yield Step((decoded, _after(trunk.joined_at)), "joined", lambda x, t: add_to(convolve(trunk.join, x), t))
    last = len(trunk.body) // 2
    yield from _trunk(trunk, "joined", trunk.joined_at, last)
    finished = _after(last) if last > trunk.joined_at else "joined"
    yield Step((finished,), DETAIL, lambda x: unpack(convolve(trunk.layer(last)[0], x), trunk.shuffle))


def _trunk(trunk: Trunk, source: str, first: int, end: int) -> Iterator[Step]:
    """The convolutions from number `first` to before `end`, each into its own map."""
    for i in range(first, end):
        conv, activation = trunk.layer(i)
        yield Step((source,), _after(i + 1), partial(_packed, conv, activation, trunk.pack if i == 0 else 1))
        source = _after(i + 1)


def _after(num_layers: int) -> str:
    """Name of the trunk's map after `num_layers` convolutions."""
    return f"trunk{num_layers}"


def _packed(conv: nn.Conv2d, activation: nn.PReLU | None, factor: int, x: Patch) -> Patch:
    """A convolution of blocks of factor × factor positions, and its activation."""
    made = convolve(conv, pack(x, factor).to(conv.weight.dtype))
    return made if activation is None else made.apply(activation)


def _skip(network: AdaCode, i: int) -> Iterator[Step]:
    encoder = network.encoder
    yield from _up(f"skip{i - 1}" if i else LATENT, f"skip{i}", cast(UpBlock, encoder.up[i]))
    same_grid = len(encoder.down) - 1 - i
    if encoder.long_skips and same_grid >= encoder.first_long:
        yield Step((f"skip{i}", f"down{same_grid}"), f"skip{i}", add)


def _join(network: AdaCode, i: int, stage: str) -> Iterator[Step]:
    if network.config.skip == "add":
        yield Step((stage, f"skip{i}"), stage, add)
        return
    fusion, joined = cast(Fusion, network.skips.fusions[i]), f"joined{i}"
    yield Step((stage, f"skip{i}"), joined, lambda x, s: convolve(fusion.join, concatenate(x, s)))
    yield from _residuals(joined, fusion.body)
    yield Step((joined,), stage, partial(_activated, fusion.out))


def _up(source: str, target: str, block: UpBlock) -> Iterator[Step]:
    yield Step((source,), target, partial(upsample_convolve, block.conv, enlarging_weight(block.conv)))
    yield from _residuals(target, block.body)


def _residuals(name: str, body: nn.Sequential) -> Iterator[Step]:
    for block in cast("list[ResBlock]", list(body)):
        inner = f"{name}.inner"
        norms = _norm(block.norm1), _norm(block.norm2)
        # No other step reads the result of normalisation, nor the map between both convolutions if all is one pass.
        yield Step((name,), inner, partial(_activated, block.conv1, ours=norms[0] is not None), norms[0])
        yield Step((inner, name), name, partial(_residual, block.conv2), norms[1])


def _norm(module: nn.Module) -> GroupNorm | None:
    return module if isinstance(module, GroupNorm) else None


def _activated(conv: nn.Conv2d, x: Patch, *, ours: bool = False) -> Patch:
    """The convolution of SiLU(x); `ours`: no other step reads x, so it may be overwritten."""
    return convolve(conv, x.apply(partial(F.silu, inplace=ours)))


def _residual(conv: nn.Conv2d, y: Patch, x: Patch) -> Patch:
    return add_to(_activated(conv, y, ours=True), x)


def _mix(codebook: AdaptiveCodebook, codes: Patch, weights: Patch) -> Patch:
    def decode(both: Tensor) -> Tensor:
        return codebook.mixed(both.unbind(1), weights.data_BCHW)

    assert codes.box == weights.box, "codes and weights come together"
    mixed = convolve(cast(nn.Conv2d, codebook.after[0]), codes, decode)
    return mixed.apply(lambda x: x.contiguous(memory_format=torch.channels_last))
