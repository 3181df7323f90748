"""One image through one network: padding, the whole-image parts, both halves by tiles, precision, and the way back
from trouble.

On a GPU all of a picture is queued at once, from the upload of its samples to the copy of the result: the host waits a
single time, at the end, and by then another thread may have queued the next picture.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adacode_cli.engine.arrays import Pixels, network_input
from adacode_cli.engine.canvas import Base, Canvas, RawCanvas, SampleCanvas
from adacode_cli.engine.costs import Costs, Memory
from adacode_cli.engine.device import choose_precision, exact_arithmetic, unfolds
from adacode_cli.engine.grid import Grid
from adacode_cli.engine.halves import Coded, coded, decode, encode
from adacode_cli.engine.memory import free_bytes, is_out_of_memory, release
from adacode_cli.engine.options import RunOptions
from adacode_cli.engine.parts import Parts, parts_of
from adacode_cli.engine.plan import SHARE, Plan, make_plan
from adacode_cli.engine.program import CODES, WEIGHTS
from adacode_cli.engine.rounded import rounded
from adacode_cli.engine.tiled import Finiteness, Map, NonFiniteError, TakeDetail, Tiler
from adacode_cli.engine.transfer import Outbox
from adacode_cli.errors import DeviceError, InputError
from adacode_cli.model.base import fill_from, halve, prepare_input
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode
from adacode_cli.model.padding import pad_mirrored, padded_size

_SAMPLED = "memory is too small for exact tiling of this picture: it was normalised by a sample (--tiling sampled)"

C = TypeVar("C", bound=Canvas)
Load = Callable[[torch.device], Tensor]
"""Where it is wanted → the input, 1×C×H×W float32 in [0, 1], there."""
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


@dataclass(frozen=True)
class Finished:
    """A restored picture. pixels: in the dtype and layout of its input, s times its size. shrunk: the means of the
    pixels over each pixel of the input, C last, float32 in [0, 1]; None where s is 1. mixing_KHW, notes: as in
    `RunResult`.
    """

    pixels: Pixels
    shrunk: npt.NDArray[np.float32] | None
    mixing_KHW: Tensor
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Job(Generic[C]):
    """A picture of height × width input pixels and what it goes on to. blank: the device that whole maps lie on → a
    canvas. passes: how many coarser ones fill its holes first.
    """

    load: Load
    height: int
    width: int
    blank: Callable[[torch.device], C]
    passes: int


@dataclass(frozen=True)
class _Attempt:
    """One try at a picture in one precision: what is queued on the device, and what will come back of it.

    sample_bytes: of a sample of the finished picture.
    """

    dtype: torch.dtype
    sample_bytes: int
    outbox: Outbox
    finiteness: Finiteness


class Runner:
    """A network on its device. Calls from several threads take turns on it.

    turn: the lock by which they do; networks that share a device may share one. What was queued on a GPU is waited for
    without it, so that the next picture is queued meanwhile.
    """

    def __init__(
        self,
        network: AdaCode,
        device: torch.device,
        options: RunOptions,
        turn: AbstractContextManager[Any] | None = None,
    ) -> None:
        self.device, self.options = device, options
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network
        self._turn = turn or Lock()
        self._rounded: dict[torch.dtype, AdaCode] = {torch.float32: network}
        self._parts: dict[torch.dtype, Parts] = {}

    @property
    def config(self) -> NetworkConfig:
        return self.network.config

    def restore(self, image: Pixels, hole: npt.NDArray[np.bool_] | None = None) -> Finished:
        """image: a picture as `check_picture` has it, without alpha; hole: H×W, for a network that fills holes.

        A result that is not finite is computed again in float32, with a note. Raises InputError where it stays so,
        and DeviceError when the smallest tile does not fit the device.
        """
        config, (h, w), s = self.config, image.shape[:2], self.config.scale

        def load(home: torch.device) -> Tensor:
            return network_input(image, hole, mask_channel=config.mask_channel, device=home)

        def begin(attempt: _Attempt) -> Finished:
            def blank(_: torch.device) -> SampleCanvas:
                return SampleCanvas(h * s, w * s, s, attempt.outbox, dtype=image.dtype, grey=image.ndim == 2)

            canvas, maps, notes = self._through(_Job(load, h, w, blank, config.coarse_passes), attempt)
            mixing = self._touched(maps[WEIGHTS], h, w).float().contiguous()
            host = torch.empty(mixing.shape)
            attempt.outbox.send(mixing, host)
            return Finished(canvas.pixels, canvas.shrunk, host, notes)

        finished, notes = self._finite(image.dtype != np.uint8, image.itemsize, begin)
        return replace(finished, notes=(*notes, *finished.notes))

    def run(self, image_BCHW: Tensor, *, deep: bool) -> RunResult:
        """The network's own result for 1×C×H×W float32 in [0, 1] (C as the network's); `deep`: the picture has more
        than 8 bits a channel. Raises as `restore` does.
        """
        config, (h, w), s = self.config, image_BCHW.shape[-2:], self.config.scale

        def begin(attempt: _Attempt) -> RunResult:
            job = _Job(image_BCHW.to, h, w, lambda home: RawCanvas(h * s, w * s, s, home), config.coarse_passes)
            canvas, maps, notes = self._through(job, attempt)
            codes, mixing = (self._touched(maps[name], h, w).cpu() for name in (CODES, WEIGHTS))
            return RunResult(canvas.image_CHW.cpu(), mixing.float(), codes.unbind(0), notes)

        result, notes = self._finite(deep, 4, begin)
        return replace(result, notes=(*notes, *result.notes))

    def encode(self, image: Pixels) -> tuple[Coded, tuple[str, ...]]:
        """The first half of `restore`: codes and mixing weights of the whole padded latent grid, and notes.

        Raises as `restore` does.
        """
        config, (h, w) = self.config, image.shape[:2]

        def begin(attempt: _Attempt) -> Coded:
            grid = Grid.of(config, h, w)
            plan = self._plan(grid, attempt.dtype, attempt.sample_bytes)
            tiler = self._tiler(grid, plan, attempt)
            x = network_input(image, None, mask_channel=config.mask_channel, device=tiler.home)
            prepared = self._prepared(x, attempt, config.coarse_passes)
            network, part = self._network_in(attempt.dtype), self._parts_in(attempt.dtype).encoder
            return coded(encode(network, part, tiler, plan.encoder, prepared), h * config.scale, w * config.scale)

        return self._finite(image.dtype != np.uint8, image.itemsize, begin)

    def decode(self, code: Coded, *, dtype: npt.DTypeLike, grey: bool) -> tuple[Pixels, tuple[str, ...]]:
        """What codes and mixing weights alone say: height×width×3 pixels of `dtype`, or height×width; and notes.

        It is `restore`'s picture for a network without encoder skips, trunk and base picture. Raises as it does.
        """

        def begin(attempt: _Attempt) -> SampleCanvas:
            height, width = code.weights_KHW.shape[1:]
            grid = replace(Grid.of(self.config, 1, 1), height=height, width=width)
            plan = self._plan(grid, attempt.dtype, attempt.sample_bytes)
            canvas = SampleCanvas(code.height, code.width, 1, attempt.outbox, dtype=dtype, grey=grey)
            tiler = self._tiler(grid, plan, attempt, lambda detail: canvas.put(detail, None))
            maps = code.maps(attempt.dtype, tiler.home)
            decode(self._parts_in(attempt.dtype).from_codes, tiler, plan.decoder, maps)
            return canvas

        canvas, notes = self._finite(np.dtype(dtype) != np.uint8, np.dtype(dtype).itemsize, begin)
        return canvas.pixels, notes

    def plan(self, height: int, width: int, *, deep: bool) -> Plan:
        """How an image of height × width input pixels would be cut now, and the memory that it would take."""
        dtype = choose_precision(self.options.precision, self.device, deep=deep)
        return self._plan(Grid.of(self.config, height, width), dtype, 4 if deep else 1)

    def _finite(self, deep: bool, sample_bytes: int, begin: Callable[[_Attempt], T]) -> tuple[T, tuple[str, ...]]:
        """What `begin` queues, once it has come back finite; in float32 where it was not in the chosen precision."""
        dtype = choose_precision(self.options.precision, self.device, deep=deep)
        for chosen in dict.fromkeys((dtype, torch.float32)):
            attempt = _Attempt(chosen, sample_bytes, Outbox(self.device), Finiteness(self.device))
            all_finite = torch.empty((), dtype=torch.bool)
            try:
                with self._turn, torch.inference_mode(), exact_arithmetic(self.device):
                    result = begin(attempt)
                    assert attempt.finiteness.all_finite is not None, "something was looked at"
                    attempt.outbox.send(attempt.finiteness.all_finite, all_finite)
            except NonFiniteError:
                continue
            attempt.outbox.close()
            if not bool(all_finite):
                continue
            note = f"{str(dtype).removeprefix('torch.')} overflowed: the image was computed again in float32"
            return result, () if chosen is dtype else (note,)
        raise InputError(
            "the network's result for this picture is not finite, not even in float32",
            hint="Look for extreme values in the picture (samples are 0 to 1), or use other weights.",
        )

    def _through(self, job: _Job[C], attempt: _Attempt) -> tuple[C, dict[str, Map], tuple[str, ...]]:
        """A canvas, once all is queued that will be on it; codes and mixing weights; and notes.

        Maps that did not fit the device after all lie in host memory for a second try.
        """
        grid = Grid.of(self.config, job.height, job.width)
        plan = self._plan(grid, attempt.dtype, attempt.sample_bytes)
        if plan.resident:
            try:
                return self._planned(job, plan, grid, attempt)
            except (DeviceError, RuntimeError, MemoryError) as error:
                if not (isinstance(error, DeviceError) or is_out_of_memory(error)):
                    raise
            release(self.device)
            plan = self._plan(grid, attempt.dtype, attempt.sample_bytes, resident=False)
        return self._planned(job, plan, grid, attempt)

    def _planned(
        self, job: _Job[C], plan: Plan, grid: Grid, attempt: _Attempt
    ) -> tuple[C, dict[str, Map], tuple[str, ...]]:
        tiler = self._tiler(grid, plan, attempt)
        prepared, canvas = self._prepared(job.load(tiler.home), attempt, job.passes), job.blank(tiler.home)
        base = Base(prepared, self.config)
        tiler.take_detail = lambda detail: canvas.put(detail, base)
        parts = self._parts_in(attempt.dtype)
        maps = encode(self._network_in(attempt.dtype), parts.encoder, tiler, plan.encoder, prepared)
        found = {name: maps[name] for name in (CODES, WEIGHTS)}
        decode(parts.decoder, tiler, plan.decoder, maps)
        return canvas, found, (_SAMPLED,) if plan.sampled and self.options.tiling == "exact" else ()

    def _prepared(self, image_BCHW: Tensor, attempt: _Attempt, passes: int) -> Tensor:
        """The padded input, its holes filled as `AdaCode.prepared` does: each coarse pass is a run of its own."""
        config, size = self.config, padded_size(self.config, *image_BCHW.shape[-2:])
        padded = pad_mirrored(image_BCHW, *size)
        if not passes or min(size) <= config.pad_multiple:
            return prepare_input(padded, config.base)
        half = halve(padded)
        h, w = half.shape[-2:]
        job = _Job(half.to, h, w, lambda home: RawCanvas(h, w, 1, home), passes - 1)
        coarse, _, _ = self._through(job, attempt)
        return fill_from(padded, coarse.image_CHW[None].to(padded.device))

    def _touched(self, whole: Map, height: int, width: int) -> Tensor:
        """Of a latent map, the cells that a picture of height × width input pixels touches."""
        cell_px = Grid.of(self.config, 1, 1).input_cell_px
        rows, columns = (-(-side // cell_px) for side in (height, width))
        return whole.data_CHW[:, :rows, :columns]

    def _plan(self, grid: Grid, dtype: torch.dtype, sample_bytes: int, *, resident: bool = True) -> Plan:
        on_host = self.device.type == "cpu"
        costs = Costs(self._parts_in(dtype), self.config, grid, dtype, on_host=on_host, sample_bytes=sample_bytes)
        room = Memory(*(int(SHARE * free_bytes(device)) for device in (torch.device("cpu"), self.device)))
        return make_plan(costs, self.options, self.device, room, resident=resident)

    def _network_in(self, dtype: torch.dtype) -> AdaCode:
        if dtype not in self._rounded:
            self._rounded[dtype] = rounded(self.network, dtype)
        return self._rounded[dtype]

    def _parts_in(self, dtype: torch.dtype) -> Parts:
        if dtype not in self._parts:
            self._parts[dtype] = parts_of(self._network_in(dtype), dtype, unfolds=unfolds(dtype, self.device))
        return self._parts[dtype]

    def _tiler(self, grid: Grid, plan: Plan, attempt: _Attempt, take_detail: TakeDetail | None = None) -> Tiler:
        return Tiler(
            grid,
            self.device,
            home=self.device if plan.resident else torch.device("cpu"),
            known_sums={} if plan.sampled else None,
            take_detail=take_detail,
            finiteness=attempt.finiteness,
        )
