"""One network on one device: it restores, encodes and decodes images, in turns, each in its precision.

On a GPU an image is queued as a whole, from the upload of its samples to the copy of the result: the host waits a
single time, at the end, and by then another thread may have queued the next image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adacode_cli.engine.canvas import RawCanvas, SampleCanvas
from adacode_cli.engine.device import INT8, choose_precision, exact_arithmetic, name_of
from adacode_cli.engine.halves import Coded
from adacode_cli.engine.images import Pixels
from adacode_cli.engine.maps import Grid, Map
from adacode_cli.engine.passage import Attempt, Group, Kind, Passage
from adacode_cli.engine.plan import RunOptions, TilePlan, images_together, require_room
from adacode_cli.engine.program import CODES, WEIGHTS
from adacode_cli.engine.tiled import Finiteness, NonFiniteError
from adacode_cli.engine.together import Together
from adacode_cli.engine.transfer import Outbox, network_input
from adacode_cli.errors import DeviceError, InputError, WeightsError
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode

# The turn of all CUDA devices, because `exact_arithmetic` is a setting of the whole process.
CUDA_TURN = Lock()
T = TypeVar("T")


@dataclass(frozen=True)
class RunResult:
    """image_CHW: 3×(H·s)×(W·s) float32 on the CPU, unclipped. mixing_KHW: float32, the latent cells that the image
    touches; codes: an h×w int64 tensor a plane, of the same cells. notes: messages for the user.
    """

    image_CHW: Tensor
    mixing_KHW: Tensor
    codes: tuple[Tensor, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finished:
    """A restored image. pixels: in the dtype and layout of its input, s times its size. shrunk: the means of the
    pixels over each pixel of the input, C last, float32 in [0, 1]; None where s is 1. mixing_KHW, notes: as in
    `RunResult`. precision: in which it was computed, `fp32`, `bf16`, `fp16` or `int8`.
    """

    pixels: Pixels
    shrunk: npt.NDArray[np.float32] | None
    mixing_KHW: Tensor
    precision: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drawn:
    """The image of codes. pixels: height×width×3, or height×width for grey, in the dtype that was asked for. precision,
    notes: as in `Finished`.
    """

    pixels: Pixels
    precision: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Image:
    """The arguments of `Runner.restore`."""

    image: Pixels
    hole: npt.NDArray[np.bool_] | None


class Runner:
    """A network on its device. Calls from several threads take turns on it, and small images share a turn.

    A thread waits for a GPU without holding the turn, so that the next image can be queued in the meantime. All
    networks on CUDA devices share one turn. Raises WeightsError for int8 and weights without ranges.
    """

    def __init__(self, network: AdaCode, device: torch.device, options: RunOptions) -> None:
        self.device, self.options = device, options
        if options.precision == "int8" and not network.ranges:
            hint = "`adacode weights quantize` makes a file that can; or use another precision."
            raise WeightsError("these weights were not prepared for int8: they have no ranges", hint=hint)
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network
        self._turn = CUDA_TURN if device.type == "cuda" else Lock()
        self._together = Together[Kind, _Image, tuple[Finished, bool]](self._turn, self._begin)
        self._passage = Passage(network, device, options)
        self._int8_failed = False
        if self.in_eight_bits:
            self._passage.prepare()

    @property
    def config(self) -> NetworkConfig:
        return self.network.config

    def restore(self, image: Pixels, hole: npt.NDArray[np.bool_] | None = None) -> Finished:
        """image: an image as `check_image` has it, without alpha; hole: H×W, for a network that fills holes.

        A result that is not finite is computed again in float32, with a note. Raises InputError if it is still not
        finite, and DeviceError when the smallest tile does not fit the device.
        """
        grid = Grid.of(self.config, *image.shape[:2])

        def attempt(dtype: torch.dtype) -> tuple[Finished, bool]:
            most = images_together(grid, self.device, normalise=self.config.norm == "group")
            return self._together.ask(Kind(dtype, image.itemsize, grid), _Image(image, hole), most)

        finished, notes = self._finite(image.dtype != np.uint8, attempt)
        return replace(finished, notes=(*notes, *finished.notes))

    def run(self, image_BCHW: Tensor, *, deep: bool) -> RunResult:
        """The network's own result for 1×C×H×W float32 in [0, 1] (C as the network's); `deep`: the image has more
        than 8 bits a channel. Raises as `restore` does.
        """
        config, (h, w), s = self.config, image_BCHW.shape[-2:], self.config.scale
        grid = Grid.of(config, h, w)

        def begin(attempt: Attempt) -> RunResult:
            """Queues all of the image, and waits for it."""
            canvas, maps, notes = self._passage.through(
                Group(
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

        result, notes = self._finite(deep, lambda dtype: self._alone(Kind(dtype, 4, grid), begin))
        return replace(result, notes=(*notes, *result.notes))

    def encode(self, image: Pixels) -> tuple[Coded, tuple[str, ...]]:
        """The first half of `restore`: codes and mixing weights of the whole padded latent grid, and notes.

        Raises as `restore` does.
        """
        grid, deep = Grid.of(self.config, *image.shape[:2]), image.dtype != np.uint8

        def attempt(dtype: torch.dtype) -> tuple[Coded, bool]:
            return self._alone(Kind(dtype, image.itemsize, grid), lambda begun: self._passage.code(image, begun))

        return self._finite(deep, attempt)

    def decode(self, code: Coded, *, dtype: npt.DTypeLike, grey: bool) -> Drawn:
        """The image of codes and mixing weights alone, with pixels of `dtype`.

        It is `restore`'s image for a network without encoder skips, trunk and base image. Raises as it does.
        """
        height, width = code.weights_KHW.shape[1:]
        grid = replace(Grid.of(self.config, 1, 1), height=height, width=width)
        sample = np.dtype(dtype)

        def begin(attempt: Attempt) -> tuple[SampleCanvas, str]:
            """Queues the second half; its image is on the canvas when the attempt has been waited for."""
            canvas = SampleCanvas(code.height, code.width, 1, attempt.outbox, dtype=sample, grey=grey)
            self._passage.draw(code, canvas, attempt)
            return canvas, name_of(attempt.kind.dtype)

        deep = sample != np.uint8
        (canvas, precision), notes = self._finite(deep, lambda d: self._alone(Kind(d, sample.itemsize, grid), begin))
        return Drawn(canvas.pixels, precision, notes)

    def plan(self, height: int, width: int, *, deep: bool) -> TilePlan:
        """How an image of height × width input pixels would be cut now, and the memory that it would take alone."""
        dtype = self._precision(deep=deep)
        with self._turn:
            return self._passage.plan(Kind(dtype, 4 if deep else 1, Grid.of(self.config, height, width)))

    def require_room(self, height: int, width: int, *, deep: bool) -> None:
        """Raises DeviceError if an image of height × width input pixels clearly does not fit the memory."""
        plan = self.plan(height, width, deep=deep)
        require_room(plan, (height, width), self.options, self.device)

    @property
    def in_eight_bits(self) -> bool:
        """Whether images of 8 bits per channel are computed in 8 bits."""
        return self._precision(deep=False) == INT8

    def _precision(self, *, deep: bool) -> torch.dtype:
        stated = self.network.int8_psnr_db if self.network.ranges and not self._int8_failed else None
        return choose_precision(self.options.precision, self.device, deep=deep, int8_psnr_db=stated)

    def _finite(self, deep: bool, attempt: Callable[[torch.dtype], tuple[T, bool]]) -> tuple[T, tuple[str, ...]]:
        """The result of `attempt` in the chosen precision, and notes. It is computed again in float32 if it is not
        finite, and if `auto` has chosen int8 and OpenVINO fails.
        """
        notes: tuple[str, ...] = ()
        for dtype in dict.fromkeys((self._precision(deep=deep), torch.float32)):
            try:
                result, is_finite = attempt(dtype)
            except NonFiniteError:
                is_finite = False
            except DeviceError as error:
                if self.options.precision != "auto" or not error.only_int8:
                    raise
                # The user did not ask for int8. Later images are computed in float32 at once, without this note.
                self._int8_failed = True
                notes = (f"int8 cannot be used, so images are computed in float32: {error.message}",)
                continue
            if is_finite:
                return result, notes
            notes = (f"{str(dtype).removeprefix('torch.')} overflowed: the image was computed again in float32",)
        raise InputError(
            "the network's result for this image is not finite, not even in float32",
            hint="Look for extreme values in the image (samples are 0 to 1), or use other weights.",
        )

    def _alone(self, kind: Kind, begin: Callable[[Attempt], T]) -> tuple[T, bool]:
        with self._turn:
            wait = self._queued(kind, 1, begin)
        result, finite = wait()
        return result, finite[0]

    def _begin(self, kind: Kind, images: Sequence[_Image]) -> Callable[[], Sequence[tuple[Finished, bool]]]:
        # Powers of two, so that kernels have to be chosen for few shapes only.
        slots = 1 << (len(images) - 1).bit_length()
        wait = self._queued(kind, slots, lambda attempt: self._restored(images, attempt))
        return lambda: list(zip(*wait(), strict=False))  # results of unused slots are dropped

    def _queued(self, kind: Kind, slots: int, begin: Callable[[Attempt], T]) -> Callable[[], tuple[T, list[bool]]]:
        """Lets `begin` queue its work. Returns a function that waits for it and returns which slots have finite
        results.

        The caller must hold the turn, but not while it waits.
        """
        attempt = Attempt(kind, slots, Outbox(self.device), Finiteness(self.device))
        finite = torch.empty(slots, dtype=torch.bool)
        with torch.inference_mode(), exact_arithmetic(self.device):
            result = begin(attempt)
            assert attempt.finiteness.all_finite is not None, "something was looked at"
            attempt.outbox.send(attempt.finiteness.all_finite, finite)

        def wait() -> tuple[T, list[bool]]:
            attempt.outbox.close()
            return result, finite.tolist()

        return wait

    def _restored(self, requests: Sequence[_Image], attempt: Attempt) -> list[Finished]:
        config, s, outbox = self.config, self.config.scale, attempt.outbox
        sizes = [request.image.shape[:2] for request in requests]

        def load(home: torch.device) -> list[Tensor]:
            channel = config.mask_channel
            return [network_input(one.image, one.hole, mask_channel=channel, device=home) for one in requests]

        def blank(_: torch.device) -> list[SampleCanvas]:
            images = [request.image for request in requests]
            return [
                SampleCanvas(h * s, w * s, s, outbox, dtype=image.dtype, grey=image.ndim == 2)
                for image, (h, w) in zip(images, sizes, strict=True)
            ]

        group = Group(attempt.kind.grid, max(sizes, key=math.prod), load, blank, config.coarse_passes)
        canvases, maps, notes = self._passage.through(group, attempt)
        finished = []
        for i, (canvas, size) in enumerate(zip(canvases, sizes, strict=True)):
            mixing = _touched(maps[WEIGHTS], i, attempt.kind.grid, *size).float().contiguous()
            host = torch.empty(mixing.shape)
            outbox.send(mixing, host)
            finished.append(Finished(canvas.pixels, canvas.shrunk, host, name_of(attempt.kind.dtype), notes))
        return finished


def _touched(whole: Map, image: int, grid: Grid, height: int, width: int) -> Tensor:
    """Of a latent map, the cells that an image of height × width input pixels touches: channels first."""
    rows, columns = (-(-side // grid.input_cell_px) for side in (height, width))
    return whole.data_BCHW[image, :, :rows, :columns]
