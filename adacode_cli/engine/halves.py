"""The two halves of a run: a padded image → codes and mixing weights, and those → pixels, each by tiles.

A network is cut where the whole image comes together. Between its halves everything lies on the latent grid, which
has 1/64 of the pixels, and is computed for the whole image at once: attention looks across all of it.

Where whole maps do not fit into memory, normalisation uses sums that are gathered for one norm after another, and only
these sums are kept. A tile can compute the map before a norm exactly once the sums of all earlier norms are known. So
the first norm's sums are gathered, then with them the second's, and so on. This saves memory and costs time: each norm
needs a pass through all steps before it. The encoder's sums are gathered over the whole image, because codes depend on
them and a code is a discrete decision; the decoder's are gathered over a sample of tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from adacode_cli.engine.maps import Grid, Map, MapShape
from adacode_cli.engine.memory import trim_heap
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
from adacode_cli.engine.segments import Half, trace
from adacode_cli.engine.tiled import Tiler
from adacode_cli.geometry import Box
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode

# Side of a sample's tile in output pixels: smaller ones are spread more evenly, but more of the work is halo.
SAMPLE_TILE_PX = 128
# One of this number of tiles in a row or a column is in the sample; 2 gives a chessboard pattern.
SAMPLE_EVERY = 2


@dataclass(frozen=True)
class Halves:
    """encoder: IMAGE → FEATURE and what the decoder reads of the way there. decoder: CODES, WEIGHTS, LATENT and those →
    DETAIL. from_codes: CODES and WEIGHTS alone → DETAIL. unfolds: whether a convolution first copies the neighbourhood
    of every position.
    """

    encoder: Half
    decoder: Half
    from_codes: Half
    unfolds: bool = False

    @property
    def normalise(self) -> bool:
        return self.encoder.normalises or self.decoder.normalises


def halves_of(network: AdaCode, dtype: torch.dtype, *, unfolds: bool = False) -> Halves:
    """The halves of a network that runs in `dtype`. unfolds: whether a convolution in it first copies the neighbourhood
    of every position, see `device.unfolds`.
    """
    decoder, given = decoder_steps(network, skips=True), _given(network.config, dtype)
    encoder = trace(encoder_steps(network), given, {FEATURE, *_read_first(decoder) - given.keys()}, unfolds=unfolds)
    return Halves(
        encoder,
        trace(decoder, encoder.shapes, {DETAIL}, unfolds=unfolds),
        trace(decoder_steps(network, skips=False), given, {DETAIL}, unfolds=unfolds),
        unfolds,
    )


@dataclass(frozen=True)
class LatentMaps:
    """What the latent parts make of a feature map: latent_BCHW, codes (one B×h×w int64 a plane), weights_BKHW."""

    latent_BCHW: Tensor
    codes: tuple[Tensor, ...]
    weights_BKHW: Tensor


def latent_maps(network: AdaCode, feature_BCHW: Tensor) -> LatentMaps:
    """Context, attention, mixing weights and codes of a whole image's latent map."""
    latent = network.encoder.latent(feature_BCHW)
    return LatentMaps(latent, network.codebook.nearest(latent), network.codebook.weights(latent))


def latent_work(network: AdaCode) -> int:
    """Multiplications of `latent_maps` for each latent cell: every value of its layers and codebooks is used once."""
    encoder, codebook = network.encoder, network.codebook
    parts: list[nn.Module] = [encoder.context, encoder.swin, codebook.before, codebook.books]
    parts += [] if codebook.predictor is None else [codebook.predictor]
    return sum(values.numel() for part in parts for values in part.parameters())


def _given(config: NetworkConfig, dtype: torch.dtype) -> dict[str, MapShape]:
    return {
        IMAGE: MapShape(config.in_channels, config.latent_stride // config.scale, dtype),
        LATENT: MapShape(config.channels[-1], 1, dtype),
        CODES: MapShape(len(config.book_sizes), 1, torch.int64),
        WEIGHTS: MapShape(config.num_bases, 1, dtype),
    }


def _read_first(steps: Steps) -> set[str]:
    """Maps that the steps read and do not make."""
    made, read = set[str](), set[str]()
    for step in steps:
        read |= set(step.reads) - made
        made.add(step.writes)
    return read


@dataclass(frozen=True)
class Coded:
    """An image as codes: what `Runner.decode` needs.

    codes: an h×w int64 tensor a plane. weights_KHW: float32 mixing weights. Both of the whole padded latent grid, on
    the CPU. height, width: sides of the image in output pixels, without the padding.
    """

    codes: tuple[Tensor, ...]
    weights_KHW: Tensor
    height: int
    width: int

    def maps(self, dtype: torch.dtype, home: torch.device) -> dict[str, Map]:
        """The maps that `decode` starts from, on the device `home`, weights in the dtype of the run."""
        codes, weights = torch.stack(self.codes).to(home), self.weights_KHW.to(home, dtype)
        return {CODES: Map(codes[None], 1), WEIGHTS: Map(weights[None], 1)}


def run_encoder(
    network: AdaCode, half: Half, tiler: Tiler, boxes: Sequence[Box], prepared_BCHW: Tensor
) -> dict[str, Map]:
    """prepared: B×C×H×W padded inputs on the tiler's home → the maps that `run_decoder` starts from, with the encoder's
    skips.

    A tiler with known sums uses sums gathered beforehand, here over the whole image. Raises DeviceError when not
    even the smallest tile fits, NonFiniteError as `Finiteness` does.
    """
    maps = {IMAGE: Map(prepared_BCHW, tiler.grid.input_cell_px)}
    if tiler.known_sums is not None:
        measure(half, tiler, maps, boxes)
    tiler.run(half, maps, boxes)
    _tidy(tiler)
    made = latent_maps(network, maps.pop(FEATURE).data_BCHW.to(tiler.device))
    tiler.finiteness.check(made.weights_BKHW)
    maps[LATENT] = Map(made.latent_BCHW.to(tiler.home), 1)
    maps[CODES] = Map(torch.stack(made.codes, 1).to(tiler.home), 1)
    maps[WEIGHTS] = Map(made.weights_BKHW.to(tiler.home), 1)
    return maps


def coded(maps: dict[str, Map], height: int, width: int) -> Coded:
    """Codes and weights among the maps of one image, of height × width output pixels."""
    codes, weights = (maps[name].data_BCHW[0].cpu() for name in (CODES, WEIGHTS))
    return Coded(codes.unbind(0), weights.float(), height, width)


def run_decoder(half: Half, tiler: Tiler, boxes: Sequence[Box], maps: dict[str, Map]) -> None:
    """Maps, which are used up → the DETAIL that the network adds to the base image, handed to the tiler's
    `take_detail`, padding included.

    A tiler with known sums uses a sample of the image here. Raises as `run_encoder` does.
    """
    _tidy(tiler)
    if tiler.known_sums is not None:
        measure(half, tiler, maps, sample(tiler.grid))
    tiler.run(half, maps, boxes)


def _tidy(tiler: Tiler) -> None:
    if tiler.home.type == "cpu":
        trim_heap()


def sample(grid: Grid) -> tuple[Box, ...]:
    """Evenly spread tiles of an image, each row of tiles shifted against the one before."""
    boxes = grid.boxes(grid.tile(SAMPLE_TILE_PX))
    tops, lefts = (sorted({getattr(box, side) for box in boxes}) for side in ("top", "left"))
    return tuple(b for b in boxes if (tops.index(b.top) + lefts.index(b.left)) % SAMPLE_EVERY == 0)


def measure(half: Half, tiler: Tiler, maps: dict[str, Map], boxes: Sequence[Box]) -> None:
    """Adds the sums over `boxes`, for every norm of the half, to the tiler's `known_sums`."""
    assert tiler.known_sums is not None
    for i, step in enumerate(half.whole.steps):
        if step.norm is not None:
            before = replace(half.whole, steps=half.whole.steps[:i])
            tiler.known_sums[step.norm] = tiler.sums_of(step.reads[0], before, maps, boxes)
