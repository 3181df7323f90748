"""One image through one network: padding, the whole-image parts, tiles, precision, and the way back from trouble."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from adacode_cli.engine.arrays import STRIP_PX, strips
from adacode_cli.engine.device import choose_precision
from adacode_cli.engine.memory import SHARE, free_bytes
from adacode_cli.engine.options import RunOptions
from adacode_cli.engine.plan import plan_tiles
from adacode_cli.engine.tiled import run_tiled
from adacode_cli.errors import InputError
from adacode_cli.model.base import base_picture, fill_from, halve, prepare_input
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode
from adacode_cli.model.padding import pad_mirrored, padded_size

# Host memory for each output pixel beside the tiles, for input, filled holes, canvas and result: 55 bytes were measured
# for sr, 112 for inpaint.
_HOST_BYTES_PER_PX = 110
# Rows that bicubic interpolation looks at beyond the ones it makes: two are enough for whole factors.
_BASE_CONTEXT = 2


@dataclass(frozen=True)
class RunResult:
    """image_CHW: 3×(H·s)×(W·s) float32 on the CPU, unclipped. mixing_KHW: the latent cells that the picture touches.

    notes: what a person should know.
    """

    image_CHW: Tensor
    mixing_KHW: Tensor
    notes: tuple[str, ...] = ()


class _NonFiniteError(Exception):
    """A tile came back with NaN or infinity in it."""


class Runner:
    """A network on its device. Not to be shared between threads."""

    def __init__(self, network: AdaCode, device: torch.device, options: RunOptions) -> None:
        self.device, self.options = device, options
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network

    @property
    def config(self) -> NetworkConfig:
        return self.network.config

    @torch.inference_mode()
    def run(self, image_BCHW: Tensor, *, deep: bool) -> RunResult:
        """image: 1×C×H×W float32 in [0, 1] on the CPU (C as the network's); `deep`: it has more than 8 bits a channel.

        A result that is not finite is computed again in float32, with a note. Raises InputError where it stays so,
        and DeviceError when the smallest tile does not fit the device.
        """
        dtype = choose_precision(self.options.precision, self.device, deep=deep)
        for attempt in dict.fromkeys((dtype, torch.float32)):
            try:
                result = self._run(image_BCHW, attempt)
            except _NonFiniteError:
                continue
            note = f"{str(dtype).removeprefix('torch.')} overflowed: the image was computed again in float32"
            return result if attempt is dtype else replace(result, notes=(note,))
        raise InputError(
            "the network's result for this picture is not finite, not even in float32",
            hint="Look for extreme values in the picture (samples are 0 to 1), or use other weights.",
        )

    def _run(self, image_BCHW: Tensor, dtype: torch.dtype, coarse_passes: int | None = None) -> RunResult:
        config, (h, w) = self.config, image_BCHW.shape[-2:]
        padded = pad_mirrored(image_BCHW, *padded_size(config, h, w))
        prepared = self._prepared(padded, dtype, config.coarse_passes if coarse_passes is None else coarse_passes)
        plan = plan_tiles(
            config,
            *prepared.shape[-2:],
            tile=self.options.tile,
            overlap_px=self.options.overlap_px,
            budget=SHARE * self._free_for_tiles(h * w * config.scale**2),
            itemsize=dtype.itemsize,
        )
        image, mixing = run_tiled(prepared, config, plan, lambda tile: self._pass(tile, dtype), self.device)
        add_base(image, prepared, config)
        rows, columns = (-(-side * config.scale // config.latent_stride) for side in (h, w))
        return RunResult(image[:, : h * config.scale, : w * config.scale], mixing[:, :rows, :columns])

    def _prepared(self, padded_BCHW: Tensor, dtype: torch.dtype, coarse_passes: int) -> Tensor:
        """As `AdaCode.prepared`, each pass in tiles of its own."""
        if coarse_passes and min(padded_BCHW.shape[-2:]) > self.config.pad_multiple:
            return fill_from(padded_BCHW, self._run(halve(padded_BCHW), dtype, coarse_passes - 1).image_CHW[None])
        return prepare_input(padded_BCHW, self.config.base)

    def _free_for_tiles(self, output_px: int) -> int:
        free = free_bytes(self.device)
        return free if self.device.type == "cuda" else max(0, free - _HOST_BYTES_PER_PX * output_px)

    def _pass(self, tile: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        x = tile.to(self.device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            r = self.network.detail(x)
        image, mixing = r.image_BCHW.float().cpu(), r.weights_BKHW.float().cpu()
        if not bool(torch.isfinite(image).all()):
            raise _NonFiniteError
        return image, mixing


def add_base(image_CHW: Tensor, prepared_BCHW: Tensor, config: NetworkConfig, strip_px: int = STRIP_PX) -> None:
    """Adds the network's base picture in place, in strips: whole, it would be as large as the image itself."""
    s, (height, width) = config.scale, prepared_BCHW.shape[-2:]
    for rows in strips(height, width * s * s, strip_px):
        top, bottom = max(0, rows.start - _BASE_CONTEXT), min(height, rows.stop + _BASE_CONTEXT)
        base = base_picture(prepared_BCHW[:, :, top:bottom], config.base, s)
        if base is None:
            return
        image_CHW[:, rows.start * s : rows.stop * s].add_(base[0, :, (rows.start - top) * s : (rows.stop - top) * s])
