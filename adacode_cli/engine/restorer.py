"""The tool as a Python object: pictures in, restored pictures out. The command line is built on it.

restorer = Restorer.from_pretrained("compact")
large = restorer.sr(image, scale=4)                # H×W×3 uint8 → 4H×4W×3 uint8
whole = restorer.inpaint(image, mask)              # mask: H×W bool, True = hole
clean = restorer.reconstruct(image)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import RLock
from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt
import torch

from adacode_cli.checkpoints.load import WeightsSource
from adacode_cli.checkpoints.location import HUB_PREFIX
from adacode_cli.codes.picture import Codes
from adacode_cli.engine.arrays import Pixels, check_picture
from adacode_cli.engine.codes import Coder
from adacode_cli.engine.composite import composite
from adacode_cli.engine.device import choose_device, choose_precision
from adacode_cli.engine.identity import network_digest
from adacode_cli.engine.memory import is_device_failure, is_out_of_memory
from adacode_cli.engine.options import RunOptions
from adacode_cli.engine.runner import Finished, Runner
from adacode_cli.errors import DeviceError, InputError, UsageError
from adacode_cli.geometry import enlarged, feather_mask, grow_mask

Task = Literal["sr", "inpaint", "reconstruct"]
MAX_SCALE = 4
_LANES = 16


@dataclass(frozen=True)
class Restored:
    """image: in the input's layout and dtype. mixing_weights: K×h×w float32, a value for each basis and latent cell.

    categories: the K names of the bases. notes: what a person should know about this image. shrunk: the means of the
    image's colours over each pixel of the input, H×W×3 or H×W×1 float32 in [0, 1], where the engine had them at hand.
    """

    image: Pixels
    mixing_weights: npt.NDArray[np.float32]
    categories: tuple[str, ...]
    notes: tuple[str, ...]
    shrunk: npt.NDArray[np.float32] | None = None


class Restorer:
    """Restores pictures with one family of weights, or with one file.

    Networks are loaded when their task is first asked for, then kept; of each, the one for the last `denoise`.
    Pictures: H×W (grey), H×W×3 (RGB) or H×W×4 (RGBA) of uint8, uint16 or float32 in [0, 1]; results have their layout
    and dtype. Calls from several threads take turns on the device; on a GPU the next one is queued while it works.
    """

    def __init__(self, source: WeightsSource, device: torch.device, options: RunOptions) -> None:
        self._source, self._device, self._options = source, device, options
        self._runners: dict[tuple[Task, int], tuple[float, Runner]] = {}
        self._coder: Coder | None = None
        self._loading = RLock()

    @property
    def lanes(self) -> int:
        """How many threads keep the device busy; see `lanes_of`."""
        return lanes_of(self._device)

    @classmethod
    def from_pretrained(
        cls,
        name: str = "compact",
        *,
        device: str = "auto",
        precision: str = "auto",
        tile: str | int = "auto",
        tiling: str = "exact",
        hub_repo: str | None = None,
    ) -> Restorer:
        """`name`: a family ("compact"), a catalogue entry ("compact-sr-x4"), a .safetensors or published .pth file, or
        "hub:OWNER/REPO[@REVISION]/FILE". `tile`: "auto", "none" or a side in output pixels; `tiling`: "exact" or
        "sampled".

        Raises UsageError for impossible options, DeviceError for a device that is not there or cannot compute in
        `precision`, WeightsError for unknown weights.
        """
        options, chosen = RunOptions(precision, tile, tiling), choose_device(device)
        choose_precision(precision, chosen, deep=False)
        return cls(WeightsSource(name, hub_repo), chosen, options)

    def sr(self, image: Pixels, scale: float = 4, *, denoise: float = 1.0) -> Pixels:
        """Enlarges by `scale` (1 to 4): the next larger network, then an area resize. Sides are rounded, half up.

        `denoise`: how much noise and grain to remove, from 0 to 1. Weights without that choice have 1 alone.
        """
        return self.restore("sr", image, scale=scale, denoise=denoise).image

    def inpaint(self, image: Pixels, mask: npt.NDArray[np.bool_], *, grow: int = 0, feather: int = 0) -> Pixels:
        """Fills the holes (`mask` True), grown by `grow` pixels and blended over `feather` more, and nothing else."""
        return self.restore("inpaint", image, mask=mask, grow=grow, feather=feather).image

    def reconstruct(self, image: Pixels) -> Pixels:
        """The picture as the codebooks see it: rebuilt from codes alone."""
        return self.restore("reconstruct", image).image

    def encode(self, image: Pixels) -> Codes:
        """The picture as codes and mixing weights; `codes.file` makes bytes of them. An alpha channel is kept beside.

        Raises InputError for what is no picture, WeightsError for a network that sees more than codes, DeviceError.
        """
        check_picture(image)
        color = image[..., :3] if image.shape[2:] == (4,) else image
        with _working(*image.shape[:2]):
            codes = self._codes().encode(color)
        return codes if color is image else replace(codes, alpha=np.ascontiguousarray(image[..., 3]))

    def decode(self, codes: Codes) -> Restored:
        """The picture that codes hold, in the layout and dtype that they were made from; grey with alpha comes as RGBA.

        The same bits each time, on one machine, device and precision. Raises WeightsError for codes that were made
        with other weights, InputError, DeviceError.
        """
        with _working(codes.height, codes.width):
            decoded = self._codes().decode(codes)
            image = decoded.pixels
            if codes.alpha is not None:
                image = np.dstack((image, image, image)) if codes.grey else image
                image = np.dstack((image, codes.alpha))
        names = self._runner("reconstruct", 1).config.names()
        return Restored(image, codes.touched_mixing, names, (*codes.notes, *decoded.notes))

    def prepare(self, task: Task, scale: float = 4, denoise: float = 1.0) -> str:
        """Loads what `restore` will need, before a long run; its digest (`network_digest`). Raises WeightsError."""
        runner = self._runner("sr", _network_scale(scale), denoise) if task == "sr" else self._runner(task, 1)
        return network_digest(runner.network)

    def restore(
        self,
        task: Task,
        image: Pixels,
        *,
        scale: float = 4,
        denoise: float = 1.0,
        mask: npt.NDArray[np.bool_] | None = None,
        grow: int = 0,
        feather: int = 0,
    ) -> Restored:
        """One picture through one task, with the mixing weights; `scale` and `denoise` are for "sr", the rest for
        "inpaint".

        An alpha channel passes by the network: enlarged for "sr", unchanged otherwise. Raises UsageError for
        impossible values, InputError for what is no picture or no mask of it, WeightsError, and DeviceError when
        there is not enough memory.
        """
        if task not in get_args(Task):
            raise UsageError(f"unknown task {task!r}", hint=f"Choose one of: {', '.join(get_args(Task))}.")
        check_picture(image)
        color = image[..., :3] if image.shape[2:] == (4,) else image
        with _working(*image.shape[:2]):
            if task == "sr":
                restored = self._enlarge(color, scale, denoise)
            elif task == "inpaint":
                restored = self._fill(color, mask, grow, feather)
            else:
                runner = self._runner("reconstruct", 1)
                restored = _finished(runner, runner.restore(color))
            if color is image:
                return restored
            alpha = resize(np.ascontiguousarray(image[..., 3]), *restored.image.shape[:2])
            return replace(restored, image=np.dstack((restored.image, alpha)))

    def _enlarge(self, image: Pixels, scale: float, denoise: float) -> Restored:
        if not 1 <= scale <= MAX_SCALE:
            raise UsageError(f"scale {scale:g} is not between 1 and {MAX_SCALE}", hint="Enlarge twice for more.")
        runner = self._runner("sr", _network_scale(scale), denoise)
        restored = _finished(runner, runner.restore(image))
        h, w = (enlarged(side, scale) for side in image.shape[:2])
        if restored.image.shape[:2] == (h, w):
            return restored
        return replace(restored, image=resize(restored.image, h, w), shrunk=None)

    def _fill(self, image: Pixels, mask: npt.NDArray[np.bool_] | None, grow: int, feather: int) -> Restored:
        if mask is None or mask.shape != image.shape[:2] or mask.dtype != np.bool_:
            found = "no mask" if mask is None else f"a {mask.dtype} mask of shape {mask.shape}"
            raise InputError(
                f"{found} for an image of {image.shape[:2]}", hint="Give a boolean mask, True in the holes."
            )
        hole = grow_mask(mask, grow)
        runner = self._runner("inpaint", 1)
        restored = _finished(runner, runner.restore(image, hole))
        return replace(restored, image=composite(image, restored.image, feather_mask(hole, feather)))

    def _codes(self) -> Coder:
        with self._loading:
            if self._coder is None:
                name = self._source.name
                # Of a file, not the folders: they are nobody's business who gets the codes.
                shown = name if name.startswith(HUB_PREFIX) else Path(name).name
                self._coder = Coder(self._runner("reconstruct", 1), shown)
            return self._coder

    def _runner(self, task: Task, scale: int, denoise: float = 1.0) -> Runner:
        with self._loading:
            earlier, runner = self._runners.get((task, scale), (None, None))
            if runner is None or earlier != denoise:
                with _loading():
                    network, _ = self._source.network(task, scale, denoise)
                runner = Runner(network, self._device, self._options)
                self._runners[task, scale] = denoise, runner  # of one strength alone: memory would grow with each
            return runner


def lanes_of(device: torch.device) -> int:
    """How many threads keep a device busy: on a GPU others queue pictures while the first one waits, and small pictures
    of theirs run together.
    """
    return _LANES if device.type == "cuda" else 1


def resize(image: Pixels, height: int, width: int) -> Pixels:
    """Area interpolation where it shrinks, cubic where it grows; same dtype, clipped."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return np.asarray(np.clip(resized, 0, 1) if image.dtype == np.float32 else resized, image.dtype)


@contextmanager
def _working(height: int, width: int) -> Iterator[None]:
    """Says in a person's words that there is no room for the whole picture, or that the device has stopped working;
    room for tiles is `tiled`'s business.
    """
    try:
        yield
    except (RuntimeError, MemoryError, cv2.error) as error:
        if any(is_device_failure(one) for one in (error, error.__cause__)):  # of a batch it is the cause
            hint = "Start the same command again, which does the rest; if it happens again, use --device cpu."
            said = str(error.__cause__ or error).splitlines()[0]
            raise DeviceError(f"the device has stopped working: {said}", hint=hint) from error
        if not is_out_of_memory(error):
            raise
        raise DeviceError(
            f"out of memory for a picture of {width}×{height} pixels, however small its tiles",
            hint="Cut the picture, choose a smaller --scale, or close other programs.",
            only_this_picture=True,
        ) from error


@contextmanager
def _loading() -> Iterator[None]:
    """Says in a person's words that there is no room for the network itself."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        hint = "Close other programs, or use smaller weights."
        raise DeviceError("out of memory while the weights were loaded", hint=hint) from error


def _finished(runner: Runner, result: Finished) -> Restored:
    mixing = result.mixing_KHW.numpy()
    return Restored(result.pixels, mixing, runner.config.names(), result.notes, result.shrunk)


def _network_scale(scale: float) -> int:
    return 2 if scale <= 2 else 4
