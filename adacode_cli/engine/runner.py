"""One image through one network: padding, the whole-image parts, both halves by tiles, precision, and the way back
from trouble.

On a GPU all of a picture is queued at once, from the upload of its samples to the copy of the result: the host waits a
single time, at the end, and by then another thread may have queued the next picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adacode_cli.engine.arrays import network_input
from adacode_cli.engine.canvas import Base, Canvas, RawCanvas, SampleCanvas
from adacode_cli.engine.costs import Costs, Memory
from adacode_cli.engine.device import choose_precision, exact_arithmetic, unfolds
from adacode_cli.engine.grid import Grid
from adacode_cli.engine.halves import Coded, coded, decode, encode
from adacode_cli.engine.memory import free_bytes, is_out_of_memory, release
from adacode_cli.engine.options import RunOptions
from adacode_cli.engine.parts import Parts, parts_of
from adacode_cli.engine.patch import Patch
from adacode_cli.engine.pictures import Pixels
from adacode_cli.engine.plan import SHARE, Plan, make_plan, pictures_together, require_room
from adacode_cli.engine.program import CODES, WEIGHTS
from adacode_cli.engine.rounded import rounded
from adacode_cli.engine.tiled import Finiteness, Map, NonFiniteError, TakeDetail, Tiler
from adacode_cli.engine.together import Together
from adacode_cli.engine.transfer import Outbox
from adacode_cli.errors import DeviceError, InputError
from adacode_cli.model.base import fill_from, halve, prepare_input
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode
from adacode_cli.model.padding import pad_mirrored, padded_size

_SAMPLED = "memory is too small for exact tiling of this picture: it was normalised by a sample (--tiling sampled)"

C = TypeVar("C", bound=Canvas)
# Of all that runs on CUDA devices: how they compute is set for the whole process (`exact_arithmetic`).
_CUDA_TURN = Lock()
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
class _Picture:
    """What `Runner.restore` was given."""

    image: Pixels
    hole: npt.NDArray[np.bool_] | None


@dataclass(frozen=True)
class _Kind:
    """What pictures have in common that can run together: precision, bytes a sample, and their padded grid."""

    dtype: torch.dtype
    sample_bytes: int
    grid: Grid


@dataclass(frozen=True)
class _Attempt:
    """One try at pictures of one kind: what is queued on the device, and what will come back of it.

    slots: how many run together; where there are fewer, the rest is left black.
    """

    kind: _Kind
    slots: int
    outbox: Outbox
    finiteness: Finiteness


@dataclass(frozen=True)
class _Job(Generic[C]):
    """load: the device that whole maps lie on → pictures of one padded size, as the network takes them (1×C×H×W each).
    blank: the same → a canvas for each of them. passes: how many coarser ones fill their holes first. size: height and
    width of the largest of the pictures.
    """

    grid: Grid
    size: tuple[int, int]
    load: Callable[[torch.device], Sequence[Tensor]]
    blank: Callable[[torch.device], Sequence[C]]
    passes: int


class Runner:
    """A network on its device. Calls from several threads take turns on it, and small pictures share a turn.

    What was queued on a GPU is waited for without the turn, so that the next picture is queued meanwhile. All networks
    on CUDA devices share one turn.
    """

    def __init__(self, network: AdaCode, device: torch.device, options: RunOptions) -> None:
        self.device, self.options = device, options
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network
        self._turn = _CUDA_TURN if device.type == "cuda" else Lock()
        self._together = Together[_Kind, _Picture, tuple[Finished, bool]](self._turn, self._begin)
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
        grid = Grid.of(self.config, *image.shape[:2])

        def attempt(dtype: torch.dtype) -> tuple[Finished, bool]:
            most = pictures_together(grid, self.device, normalise=self.config.norm == "group")
            return self._together.ask(_Kind(dtype, image.itemsize, grid), _Picture(image, hole), most)

        finished, notes = self._finite(image.dtype != np.uint8, attempt)
        return replace(finished, notes=(*notes, *finished.notes))

    def run(self, image_BCHW: Tensor, *, deep: bool) -> RunResult:
        """The network's own result for 1×C×H×W float32 in [0, 1] (C as the network's); `deep`: the picture has more
        than 8 bits a channel. Raises as `restore` does.
        """
        config, (h, w), s = self.config, image_BCHW.shape[-2:], self.config.scale
        grid = Grid.of(config, h, w)

        def begin(attempt: _Attempt) -> RunResult:
            """Queues all of the picture, and waits for it."""
            canvas, maps, notes = self._through(
                _Job(
                    grid,
                    (h, w),
                    lambda home: [image_BCHW.to(home)],
                    lambda home: [RawCanvas(h * s, w * s, s, home)],
                    config.coarse_passes,
                ),
                attempt,
            )
            codes, mixing = (_touched(maps[name], 0, grid, h, w).cpu() for name in (CODES, WEIGHTS))
            return RunResult(canvas[0].image_CHW.cpu(), mixing.float(), codes.unbind(0), notes)

        result, notes = self._finite(deep, lambda dtype: self._alone(_Kind(dtype, 4, grid), begin))
        return replace(result, notes=(*notes, *result.notes))

    def encode(self, image: Pixels) -> tuple[Coded, tuple[str, ...]]:
        """The first half of `restore`: codes and mixing weights of the whole padded latent grid, and notes.

        Raises as `restore` does.
        """
        config, (h, w) = self.config, image.shape[:2]
        grid = Grid.of(config, h, w)

        def begin(attempt: _Attempt) -> Coded:
            """Queues the first half, and waits for it."""
            dtype = attempt.kind.dtype

            def planned(plan: Plan) -> Coded:
                tiler = self._tiler(plan, attempt, None)
                x = network_input(image, None, mask_channel=config.mask_channel, device=tiler.home)
                prepared = self._prepared([x], attempt, config.coarse_passes)
                maps = encode(self._network_in(dtype), self._parts_in(dtype).encoder, tiler, plan.encoder, prepared)
                return coded(maps, h * config.scale, w * config.scale)

            return self._where_it_fits(attempt.kind, (h, w), 1, planned)

        deep = image.dtype != np.uint8
        return self._finite(deep, lambda dtype: self._alone(_Kind(dtype, image.itemsize, grid), begin))

    def decode(self, code: Coded, *, dtype: npt.DTypeLike, grey: bool) -> tuple[Pixels, tuple[str, ...]]:
        """What codes and mixing weights alone say: height×width×3 pixels of `dtype`, or height×width; and notes.

        It is `restore`'s picture for a network without encoder skips, trunk and base picture. Raises as it does.
        """
        height, width = code.weights_KHW.shape[1:]
        grid = replace(Grid.of(self.config, 1, 1), height=height, width=width)
        sample = np.dtype(dtype)

        def begin(attempt: _Attempt) -> SampleCanvas:
            """Queues the second half; its picture is on the canvas when the attempt has been waited for."""
            computed = attempt.kind.dtype
            canvas = SampleCanvas(code.height, code.width, 1, attempt.outbox, dtype=sample, grey=grey)

            def planned(plan: Plan) -> SampleCanvas:
                tiler = self._tiler(plan, attempt, lambda detail: canvas.put(detail, None))
                maps = code.maps(computed, tiler.home)
                decode(self._parts_in(computed).from_codes, tiler, plan.decoder, maps)
                return canvas

            return self._where_it_fits(attempt.kind, (code.height, code.width), 1, planned)

        deep = sample != np.uint8
        canvas, notes = self._finite(deep, lambda d: self._alone(_Kind(d, sample.itemsize, grid), begin))
        return canvas.pixels, notes

    def plan(self, height: int, width: int, *, deep: bool) -> Plan:
        """How an image of height × width input pixels would be cut now, and the memory that it would take alone."""
        dtype = choose_precision(self.options.precision, self.device, deep=deep)
        with self._turn:
            return self._plan(_Kind(dtype, 4 if deep else 1, Grid.of(self.config, height, width)))

    def _finite(self, deep: bool, attempt: Callable[[torch.dtype], tuple[T, bool]]) -> tuple[T, tuple[str, ...]]:
        """What `attempt` makes in the chosen precision, and notes; in float32 where it says that it is not finite."""
        dtype = choose_precision(self.options.precision, self.device, deep=deep)
        for chosen in dict.fromkeys((dtype, torch.float32)):
            try:
                result, is_finite = attempt(chosen)
            except NonFiniteError:
                continue
            if is_finite:
                note = f"{str(dtype).removeprefix('torch.')} overflowed: the image was computed again in float32"
                return result, () if chosen is dtype else (note,)
        raise InputError(
            "the network's result for this picture is not finite, not even in float32",
            hint="Look for extreme values in the picture (samples are 0 to 1), or use other weights.",
        )

    def _alone(self, kind: _Kind, begin: Callable[[_Attempt], T]) -> tuple[T, bool]:
        with self._turn:
            wait = self._queued(kind, 1, begin)
        result, finite = wait()
        return result, finite[0]

    def _begin(self, kind: _Kind, pictures: Sequence[_Picture]) -> Callable[[], Sequence[tuple[Finished, bool]]]:
        # By powers of two, so that there are few shapes that kernels have to be chosen for.
        slots = 1 << (len(pictures) - 1).bit_length()
        wait = self._queued(kind, slots, lambda attempt: self._restored(pictures, attempt))
        return lambda: list(zip(*wait(), strict=False))  # slots beyond the pictures answer nobody

    def _queued(self, kind: _Kind, slots: int, begin: Callable[[_Attempt], T]) -> Callable[[], tuple[T, list[bool]]]:
        """Has `begin` queue its work; what waits until that has come back, and says which slots' results are finite.

        For who has the turn; without it one may wait.
        """
        attempt = _Attempt(kind, slots, Outbox(self.device), Finiteness(self.device))
        finite = torch.empty(slots, dtype=torch.bool)
        with torch.inference_mode(), exact_arithmetic(self.device):
            result = begin(attempt)
            assert attempt.finiteness.all_finite is not None, "something was looked at"
            attempt.outbox.send(attempt.finiteness.all_finite, finite)

        def wait() -> tuple[T, list[bool]]:
            attempt.outbox.close()
            return result, finite.tolist()

        return wait

    def _restored(self, pictures: Sequence[_Picture], attempt: _Attempt) -> list[Finished]:
        config, s, outbox = self.config, self.config.scale, attempt.outbox
        sizes = [picture.image.shape[:2] for picture in pictures]

        def load(home: torch.device) -> list[Tensor]:
            channel = config.mask_channel
            return [network_input(p.image, p.hole, mask_channel=channel, device=home) for p in pictures]

        def blank(_: torch.device) -> list[SampleCanvas]:
            images = [picture.image for picture in pictures]
            return [
                SampleCanvas(h * s, w * s, s, outbox, dtype=image.dtype, grey=image.ndim == 2)
                for image, (h, w) in zip(images, sizes, strict=True)
            ]

        job = _Job(attempt.kind.grid, max(sizes, key=math.prod), load, blank, config.coarse_passes)
        canvases, maps, notes = self._through(job, attempt)
        finished = []
        for i, (canvas, size) in enumerate(zip(canvases, sizes, strict=True)):
            mixing = _touched(maps[WEIGHTS], i, attempt.kind.grid, *size).float().contiguous()
            host = torch.empty(mixing.shape)
            outbox.send(mixing, host)
            finished.append(Finished(canvas.pixels, canvas.shrunk, host, notes))
        return finished

    def _through(self, job: _Job[C], attempt: _Attempt) -> tuple[Sequence[C], dict[str, Map], tuple[str, ...]]:
        """Canvases, once all is queued that will be on them; codes and mixing weights; and notes."""
        of_job = replace(attempt, kind=replace(attempt.kind, grid=job.grid))
        return self._where_it_fits(of_job.kind, job.size, attempt.slots, lambda plan: self._planned(job, plan, of_job))

    def _where_it_fits(self, kind: _Kind, size: tuple[int, int], slots: int, planned: Callable[[Plan], T]) -> T:
        """What `planned` makes by a plan. Maps that did not fit the device after all lie in host memory for a second
        try. Raises DeviceError before any work where a picture of that size clearly does not fit.
        """
        plan = self._plan(kind, slots)
        require_room(plan, size, self.options, self.device)
        if plan.resident:
            try:
                return planned(plan)
            except (DeviceError, RuntimeError, MemoryError) as error:
                if not (isinstance(error, DeviceError) or is_out_of_memory(error)):
                    raise
            release(self.device)
            plan = self._plan(kind, slots, resident=False)
            require_room(plan, size, self.options, self.device)
        return planned(plan)

    def _planned(
        self, job: _Job[C], plan: Plan, attempt: _Attempt
    ) -> tuple[Sequence[C], dict[str, Map], tuple[str, ...]]:
        home, dtype = self._home(plan), attempt.kind.dtype
        prepared, canvases = self._prepared(job.load(home), attempt, job.passes), job.blank(home)
        bases = [Base(prepared[i : i + 1], self.config) for i in range(len(canvases))]

        def take(detail: Patch) -> None:
            for i, (canvas, base) in enumerate(zip(canvases, bases, strict=True)):
                canvas.put(detail.of_picture(i), base)

        tiler, parts = self._tiler(plan, attempt, take), self._parts_in(dtype)
        maps = encode(self._network_in(dtype), parts.encoder, tiler, plan.encoder, prepared)
        found = {name: maps[name] for name in (CODES, WEIGHTS)}
        decode(parts.decoder, tiler, plan.decoder, maps)
        return canvases, found, (_SAMPLED,) if plan.sampled and self.options.tiling == "exact" else ()

    def _prepared(self, images: Sequence[Tensor], attempt: _Attempt, passes: int) -> Tensor:
        """The padded inputs, one a slot, their holes filled as `AdaCode.prepared` does: each coarse pass is a run of
        its own.
        """
        config, slots = self.config, attempt.slots
        size = padded_size(config, *images[0].shape[-2:])
        every = [pad_mirrored(x, *size) for x in images]
        padded = every[0] if len(every) == 1 else torch.cat(every)
        if len(padded) < slots:
            padded = torch.cat((padded, padded.new_zeros((slots - len(padded), *padded.shape[1:]))))
        if not passes or min(size) <= config.pad_multiple:
            return prepare_input(padded, config.base)
        half = halve(padded)
        h, w = half.shape[-2:]
        job = _Job(
            Grid.of(config, h, w),
            (h, w),
            lambda home: [half.to(home)],
            lambda home: [RawCanvas(h, w, 1, home) for _ in range(slots)],
            passes - 1,
        )
        coarse, _, _ = self._through(job, attempt)
        return fill_from(padded, torch.stack([canvas.image_CHW for canvas in coarse]).to(padded.device))

    def _plan(self, kind: _Kind, slots: int = 1, *, resident: bool = True) -> Plan:
        costs = Costs(
            self._parts_in(kind.dtype),
            self.config,
            kind.grid,
            kind.dtype,
            on_host=self.device.type == "cpu",
            sample_bytes=kind.sample_bytes,
            pictures=slots,
        )
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

    def _home(self, plan: Plan) -> torch.device:
        return self.device if plan.resident else torch.device("cpu")

    def _tiler(self, plan: Plan, attempt: _Attempt, take_detail: TakeDetail | None) -> Tiler:
        return Tiler(
            attempt.kind.grid,
            self.device,
            home=self._home(plan),
            known_sums={} if plan.sampled else None,
            take_detail=take_detail,
            finiteness=attempt.finiteness,
        )


def _touched(whole: Map, picture: int, grid: Grid, height: int, width: int) -> Tensor:
    """Of a latent map, the cells that a picture of height × width input pixels touches: channels first."""
    rows, columns = (-(-side // grid.input_cell_px) for side in (height, width))
    return whole.data_BCHW[picture, :, :rows, :columns]
