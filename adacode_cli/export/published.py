"""A network in the published key layout, where that layout has a place for all that the network consists of.

The layout states no configuration: a program derives it from the shapes of the tensors. Therefore the tensors are read
back as such a program reads them, and a network that would be read as another one is refused.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from adacode_cli.checkpoints.format import METADATA_KEY, Weights, write_file
from adacode_cli.checkpoints.published import PublishedLayout, published_name
from adacode_cli.errors import WeightsError
from adacode_cli.model.config import PAPER_CATEGORIES, NetworkConfig
from adacode_cli.tasks import BASIS

_HINT = "Use --to single or --to onnx, which have a place for every network."


def write_published(weights: Weights, source: Path, target: Path) -> list[str]:
    """Writes whole weights as a `.pth` in the published layout, float32, atomically.

    The result says in words what the layout has no place for and is left out, if anything. Raises WeightsError, naming
    `source`, for a network that is more than the layout holds; OutputError.
    """
    state = published_state(weights, source)
    buffer = io.BytesIO()
    # Programs that read the layout look for "params" and ignore what is beside it.
    torch.save({"params": state, METADATA_KEY: asdict(weights.provenance)}, buffer)
    write_file(target, buffer.getvalue())
    return list(_left_out(weights))


def published_state(weights: Weights, source: Path) -> dict[str, Tensor]:
    """The tensors of whole weights under the published names. Raises WeightsError, naming `source`."""
    config = weights.config
    if parts := [words for wrong, words in _lacking(config) if wrong]:
        what = f"the published layout has no place for: {', '.join(parts)}"
        raise WeightsError(what, path=source, hint=_HINT)
    num_down = len(config.channels) - 1 - config.input_level
    is_basis = config.task == BASIS.name
    state = {
        published_name(key, num_down, is_basis=is_basis): tensor.detach().cpu().contiguous()
        for key, tensor in weights.tensors.items()
    }
    try:
        layout = PublishedLayout(state)
        layout.translated()
    except WeightsError as error:
        what = f"the published layout cannot hold it: {error.message}"
        raise WeightsError(what, path=source, hint=_HINT) from error
    ours, read = (replace(one, categories=()).to_dict() for one in (config, layout.config))
    if others := [f"{name} {read[name]} instead of {ours[name]}" for name in ours if ours[name] != read[name]]:
        what = f"in the published layout, it would be read as another network: {', '.join(others)}"
        raise WeightsError(what, path=source, hint=_HINT)
    return state


def _lacking(config: NetworkConfig) -> list[tuple[bool, str]]:
    """What the layout has no place for: whether the network has it, and its name."""
    depths = (config.encoder_depth, config.decoder_depth, config.up_depth if config.num_skips else 2)
    return [
        (config.trunk is not None, "a trunk"),
        (config.encoder_context is not None, "a context"),
        (config.own_decoder is not None, "a decoder of its own"),
        (config.residual is not None, "further levels of codes"),
        (config.stem != "conv4" or config.grid != 1, "a stem or a head for blocks of pixels"),
        (config.stem_depth > 0 or config.head_depth > 0, "residual blocks in the stem or the head"),
        (depths != (2, 2, 2), "stages of more or fewer than two residual blocks"),
        (config.norm != "group", "a network without normalisation"),
        (config.skip == "fuse", "learnt fusions of encoder maps"),
        (config.base != "none", "a base image that the output is added to"),
        (config.mask_channel, "a mask channel"),
        (config.coarse_passes > 0, "coarse passes"),
        (config.softmax, "mixing weights of a softmax"),
        (config.uniform, "uniform mixing weights"),
    ]


def _left_out(weights: Weights) -> Iterator[str]:
    if weights.faithful:
        yield "the values that keep noise: the file is for --denoise 1"
    if weights.ranges:
        yield "the ranges for --precision int8"
    if weights.config.categories not in ((), PAPER_CATEGORIES):
        yield "the names of the bases"
