"""The two halves of a run: a padded picture → codes and mixing weights, and those → pixels, each by tiles.

Between them everything lies on the latent grid, which has 1/64 of the pixels, and is computed for the whole picture at
once: attention looks across all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adacode_cli.engine.memory import trim_heap
from adacode_cli.engine.parts import latent_maps
from adacode_cli.engine.program import CODES, FEATURE, IMAGE, LATENT, WEIGHTS
from adacode_cli.engine.sampling import measure, sample
from adacode_cli.engine.segments import Part
from adacode_cli.engine.tiled import Map, Tiler
from adacode_cli.geometry import Box
from adacode_cli.model.network import AdaCode


@dataclass(frozen=True)
class Coded:
    """A picture as codes: what `Runner.decode` needs.

    codes: an h×w int64 tensor a basis. weights_KHW: float32 mixing weights. Both of the whole padded latent grid, on
    the CPU. height, width: sides of the picture in output pixels, without the padding.
    """

    codes: tuple[Tensor, ...]
    weights_KHW: Tensor
    height: int
    width: int

    def maps(self, dtype: torch.dtype, home: torch.device) -> dict[str, Map]:
        """The maps that `decode` starts from, on the device `home`, weights in the dtype of the run."""
        codes, weights = torch.stack(self.codes).to(home), self.weights_KHW.to(home, dtype)
        return {CODES: Map(codes[None], 1), WEIGHTS: Map(weights[None], 1)}


def encode(network: AdaCode, part: Part, tiler: Tiler, boxes: Sequence[Box], prepared_BCHW: Tensor) -> dict[str, Map]:
    """prepared: B×C×H×W padded inputs on the tiler's home → the maps that `decode` starts from, with the encoder's
    skips.

    A tiler with known sums goes by sums gathered beforehand: here, over the whole picture. Raises DeviceError when not
    even the smallest tile fits, NonFiniteError as `Finiteness` does.
    """
    maps = {IMAGE: Map(prepared_BCHW, tiler.grid.input_cell_px)}
    if tiler.known_sums is not None:
        measure(part, tiler, maps, boxes)
    tiler.run(part, maps, boxes)
    _tidy(tiler)
    made = latent_maps(network, maps.pop(FEATURE).data_BCHW.to(tiler.device))
    tiler.finiteness.look_at(made.weights_BKHW)
    maps[LATENT] = Map(made.latent_BCHW.to(tiler.home), 1)
    maps[CODES] = Map(torch.stack(made.codes, 1).to(tiler.home), 1)
    maps[WEIGHTS] = Map(made.weights_BKHW.to(tiler.home), 1)
    return maps


def coded(maps: dict[str, Map], height: int, width: int) -> Coded:
    """Codes and weights among the maps of one picture, of height × width output pixels."""
    codes, weights = (maps[name].data_BCHW[0].cpu() for name in (CODES, WEIGHTS))
    return Coded(codes.unbind(0), weights.float(), height, width)


def decode(part: Part, tiler: Tiler, boxes: Sequence[Box], maps: dict[str, Map]) -> None:
    """Maps, which are used up → the DETAIL that the network adds to the base picture, handed to the tiler's
    `take_detail`, padding included.

    A tiler with known sums goes by a sample of the picture here. Raises as `encode` does.
    """
    _tidy(tiler)
    if tiler.known_sums is not None:
        measure(part, tiler, maps, sample(tiler.grid))
    tiler.run(part, maps, boxes)


def _tidy(tiler: Tiler) -> None:
    if tiler.home.type == "cpu":
        trim_heap()
