"""One image through one network: padding, the whole-image parts, both halves by tiles, precision, and the way back
from trouble.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from adacode_cli.engine.arrays import STRIP_PX, strips
from adacode_cli.engine.costs import Costs, Memory
from adacode_cli.engine.device import choose_precision, unfolds
from adacode_cli.engine.grid import Grid
from adacode_cli.engine.halves import Coded, coded, decode, encode
from adacode_cli.engine.memory import free_bytes
from adacode_cli.engine.options import RunOptions
from adacode_cli.engine.parts import Parts, parts_of
from adacode_cli.engine.plan import SHARE, Plan, make_plan
from adacode_cli.engine.rounded import rounded
from adacode_cli.engine.tiled import NonFiniteError, Tiler
from adacode_cli.errors import InputError
from adacode_cli.model.base import base_picture, fill_from, halve, prepare_input
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode
from adacode_cli.model.padding import pad_mirrored, padded_size

# Rows that bicubic interpolation looks at beyond the ones it makes: two are enough for whole factors.
_BASE_CONTEXT = 2
_SAMPLED = "memory is too small for exact tiling of this picture: it was normalised by a sample (--tiling sampled)"

T = TypeVar("T")


@dataclass(frozen=True)
class RunResult:
    """image_CHW: 3×(H·s)×(W·s) float32 on the CPU, unclipped. mixing_KHW: float32, the latent cells that the picture
    touches; codes: an h×w int64 tensor a basis, of the same cells. notes: what a person should know.
    """

    image_CHW: Tensor
    mixing_KHW: Tensor
    codes: tuple[Tensor, ...]
    notes: tuple[str, ...] = ()


class Runner:
    """A network on its device. Not to be shared between threads."""

    def __init__(self, network: AdaCode, device: torch.device, options: RunOptions) -> None:
        self.device, self.options = device, options
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network
        self._rounded: dict[torch.dtype, AdaCode] = {torch.float32: network}
        self._parts: dict[torch.dtype, Parts] = {}

    @property
    def config(self) -> NetworkConfig:
        return self.network.config

    @torch.inference_mode()
    def run(self, image_BCHW: Tensor, *, deep: bool) -> RunResult:
        """image: 1×C×H×W float32 in [0, 1] on the CPU (C as the network's); `deep`: it has more than 8 bits a channel.

        A result that is not finite is computed again in float32, with a note. Raises InputError where it stays so,
        and DeviceError when the smallest tile does not fit the device.
        """
        result, notes = self._finite(deep, lambda dtype: self._run(image_BCHW, dtype))
        return replace(result, notes=(*notes, *result.notes))

    @torch.inference_mode()
    def encode(self, image_BCHW: Tensor, *, deep: bool) -> tuple[Coded, tuple[str, ...]]:
        """The first half of `run`: codes and mixing weights of the whole padded latent grid, and notes.

        Raises as `run` does.
        """
        return self._finite(deep, lambda dtype: self._encode(image_BCHW, dtype))

    @torch.inference_mode()
    def decode(self, coded: Coded, *, deep: bool) -> tuple[Tensor, tuple[str, ...]]:
        """What codes and mixing weights alone say: 3×height×width float32 on the CPU, unclipped, and notes.

        It is `run`'s picture for a network without encoder skips, trunk and base picture. Raises as `run` does.
        """
        return self._finite(deep, lambda dtype: self._decode(coded, dtype))

    def plan(self, height: int, width: int, *, deep: bool) -> Plan:
        """How an image of height × width input pixels would be cut now, and the memory that it would take."""
        dtype = choose_precision(self.options.precision, self.device, deep=deep)
        return self._plan(Grid.of(self.config, height, width), dtype, self.options)

    def _finite(self, deep: bool, attempt: Callable[[torch.dtype], T]) -> tuple[T, tuple[str, ...]]:
        dtype = choose_precision(self.options.precision, self.device, deep=deep)
        for chosen in dict.fromkeys((dtype, torch.float32)):
            try:
                result = attempt(chosen)
            except NonFiniteError:
                continue
            note = f"{str(dtype).removeprefix('torch.')} overflowed: the image was computed again in float32"
            return result, () if chosen is dtype else (note,)
        raise InputError(
            "the network's result for this picture is not finite, not even in float32",
            hint="Look for extreme values in the picture (samples are 0 to 1), or use other weights.",
        )

    def _run(self, image_BCHW: Tensor, dtype: torch.dtype, coarse_passes: int | None = None) -> RunResult:
        config, (h, w) = self.config, image_BCHW.shape[-2:]
        passes = config.coarse_passes if coarse_passes is None else coarse_passes
        prepared, grid = self._prepared(image_BCHW, dtype, passes), Grid.of(config, h, w)
        plan, parts = self._plan(grid, dtype, self.options), self._parts_in(dtype)
        tiler = self._tiler(grid, plan)
        maps = encode(self._network_in(dtype), parts.encoder, tiler, plan.encoder, prepared)
        found = coded(maps, h * config.scale, w * config.scale)
        image = decode(parts.decoder, tiler, plan.decoder, maps)
        add_base(image, prepared, config)
        rows, columns = (-(-side // grid.input_cell_px) for side in (h, w))
        return RunResult(
            image[:, : found.height, : found.width],
            found.weights_KHW[:, :rows, :columns],
            tuple(codes[:rows, :columns] for codes in found.codes),
            (_SAMPLED,) if plan.sampled and self.options.tiling == "exact" else (),
        )

    def _encode(self, image_BCHW: Tensor, dtype: torch.dtype) -> Coded:
        config, (h, w) = self.config, image_BCHW.shape[-2:]
        prepared, grid = self._prepared(image_BCHW, dtype, config.coarse_passes), Grid.of(config, h, w)
        plan = self._plan(grid, dtype, self.options)
        network, part = self._network_in(dtype), self._parts_in(dtype).encoder
        maps = encode(network, part, self._tiler(grid, plan), plan.encoder, prepared)
        return coded(maps, h * config.scale, w * config.scale)

    def _decode(self, code: Coded, dtype: torch.dtype) -> Tensor:
        grid = replace(Grid.of(self.config, 1, 1), height=code.weights_KHW.shape[1], width=code.weights_KHW.shape[2])
        plan = self._plan(grid, dtype, self.options)
        image = decode(self._parts_in(dtype).from_codes, self._tiler(grid, plan), plan.decoder, code.maps(dtype))
        return image[:, : code.height, : code.width]

    def _prepared(self, image_BCHW: Tensor, dtype: torch.dtype, coarse_passes: int) -> Tensor:
        """The padded input, its holes filled as `AdaCode.prepared` does: each coarse pass is a run of its own."""
        config, size = self.config, padded_size(self.config, *image_BCHW.shape[-2:])
        padded, coarse = pad_mirrored(image_BCHW, *size), None
        if coarse_passes and min(size) > config.pad_multiple:
            coarse = self._run(halve(padded), dtype, coarse_passes - 1).image_CHW[None]
        return prepare_input(padded, config.base) if coarse is None else fill_from(padded, coarse)

    def _plan(self, grid: Grid, dtype: torch.dtype, options: RunOptions) -> Plan:
        costs = Costs(self._parts_in(dtype), self.config, grid, dtype, on_host=self.device.type == "cpu")
        cpu = torch.device("cpu")
        room = Memory(int(SHARE * free_bytes(cpu)), int(SHARE * free_bytes(self.device)))
        return make_plan(costs, options, self.device, room)

    def _network_in(self, dtype: torch.dtype) -> AdaCode:
        if dtype not in self._rounded:
            self._rounded[dtype] = rounded(self.network, dtype)
        return self._rounded[dtype]

    def _parts_in(self, dtype: torch.dtype) -> Parts:
        if dtype not in self._parts:
            self._parts[dtype] = parts_of(self._network_in(dtype), dtype, unfolds=unfolds(dtype, self.device))
        return self._parts[dtype]

    def _tiler(self, grid: Grid, plan: Plan) -> Tiler:
        return Tiler(grid, self.device, known_sums={} if plan.sampled else None)


def add_base(image_CHW: Tensor, prepared_BCHW: Tensor, config: NetworkConfig, strip_px: int = STRIP_PX) -> None:
    """Adds the network's base picture in place, in strips: whole, it would be as large as the image itself."""
    s, (height, width) = config.scale, prepared_BCHW.shape[-2:]
    for rows in strips(height, width * s * s, strip_px):
        top, bottom = max(0, rows.start - _BASE_CONTEXT), min(height, rows.stop + _BASE_CONTEXT)
        base = base_picture(prepared_BCHW[:, :, top:bottom], config.base, s)
        if base is None:
            return
        image_CHW[:, rows.start * s : rows.stop * s].add_(base[0, :, (rows.start - top) * s : (rows.stop - top) * s])
