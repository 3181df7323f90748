"""A network cut where the whole picture comes together: pixels → latent features, latent parts, codes → pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from adacode_cli.engine.program import (
    CODES,
    DETAIL,
    FEATURE,
    IMAGE,
    LATENT,
    WEIGHTS,
    Steps,
    decoder_steps,
    encoder_steps,
)
from adacode_cli.engine.segments import MapShape, Part, trace
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode


@dataclass(frozen=True)
class Parts:
    """encoder: IMAGE → FEATURE and what the decoder reads of the way there. decoder: CODES, WEIGHTS, LATENT and those →
    DETAIL. from_codes: CODES and WEIGHTS alone → DETAIL. unfolds: whether a convolution first copies the neighbourhood
    of every position.
    """

    encoder: Part
    decoder: Part
    from_codes: Part
    unfolds: bool = False

    @property
    def normalise(self) -> bool:
        return self.encoder.normalises or self.decoder.normalises


def parts_of(network: AdaCode, dtype: torch.dtype, *, unfolds: bool = False) -> Parts:
    """The parts of a network that runs in `dtype`. unfolds: whether a convolution in it first copies the neighbourhood
    of every position, as `device.unfolds` says of a device.
    """
    decoder, given = decoder_steps(network, skips=True), _given(network.config, dtype)
    encoder = trace(encoder_steps(network), given, {FEATURE, *_read_first(decoder) - given.keys()}, unfolds=unfolds)
    return Parts(
        encoder,
        trace(decoder, encoder.shapes, {DETAIL}, unfolds=unfolds),
        trace(decoder_steps(network, skips=False), given, {DETAIL}, unfolds=unfolds),
        unfolds,
    )


@dataclass(frozen=True)
class LatentMaps:
    """What the latent parts make of a feature map: latent_BCHW, codes (one B×h×w int64 a basis), weights_BKHW."""

    latent_BCHW: Tensor
    codes: tuple[Tensor, ...]
    weights_BKHW: Tensor


def latent_maps(network: AdaCode, feature_BCHW: Tensor) -> LatentMaps:
    """Attention, mixing weights and codes of a whole picture's latent map."""
    latent = network.encoder.swin(feature_BCHW)
    return LatentMaps(latent, network.codebook.encode(latent), network.codebook.weights(latent))


def _given(config: NetworkConfig, dtype: torch.dtype) -> dict[str, MapShape]:
    return {
        IMAGE: MapShape(config.in_channels, config.latent_stride // config.scale, dtype),
        LATENT: MapShape(config.channels[-1], 1, dtype),
        CODES: MapShape(config.num_bases, 1, torch.int64),
        WEIGHTS: MapShape(config.num_bases, 1, dtype),
    }


def _read_first(steps: Steps) -> set[str]:
    """Maps that the steps read and do not make."""
    made, read = set[str](), set[str]()
    for step in steps:
        read |= set(step.reads) - made
        made.add(step.writes)
    return read
