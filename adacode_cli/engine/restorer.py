"""The tool as a Python object: images in, restored images out. The command line is built on it.

restorer = Restorer.from_pretrained("compact")
large = restorer.sr(image, scale=4)                # H×W×3 uint8 → 4H×4W×3 uint8
whole = restorer.inpaint(image, mask)              # mask: H×W bool, True = hole
clean = restorer.reconstruct(image)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import RLock

import numpy as np
import numpy.typing as npt
import torch

from adacode_cli.checkpoints.hub import access_of
from adacode_cli.checkpoints.load import WeightsSource
from adacode_cli.checkpoints.location import HUB_PREFIX
from adacode_cli.codes.image import Codes
from adacode_cli.codes.prior import Prior
from adacode_cli.engine.codes import Coder, prior_of
from adacode_cli.engine.device import choose_device, choose_precision
from adacode_cli.engine.exemplars import with_exemplars
from adacode_cli.engine.images import Pixels, apart, check_image, composite, covered, joined, opaque_in, resize
from adacode_cli.engine.memory import is_out_of_memory, working
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.runner import Runner
from adacode_cli.errors import DeviceError, InputError, UsageError, WeightsError
from adacode_cli.geometry import Hole
from adacode_cli.model.network import AdaCode
from adacode_cli.sizes import Size, enlarged
from adacode_cli.tasks import TASKS, Task

_LANES = 16


@dataclass(frozen=True)
class Restored:
    """image: in the input's layout and dtype. mixing_weights: K×h×w float32, a value for each basis and latent cell.

    categories: the K names of the bases. notes: messages for the user about this image. shrunk: the means of the
    image's colours over each pixel of the input, H×W×3 or H×W×1 float32 in [0, 1], if the engine has computed them.
    alpha: of the image, H×W, where the input's alpha was given beside its colours; otherwise the image has its own.
    found: the mask of the marks that a detector has found, H×W bool; None if none has looked for them.
    precision: in which the network made the image, `fp32`, `bf16`, `fp16` or `int8`.
    """

    image: Pixels
    mixing_weights: npt.NDArray[np.float32]
    categories: tuple[str, ...]
    notes: tuple[str, ...]
    precision: str
    shrunk: npt.NDArray[np.float32] | None = None
    alpha: Pixels | None = None
    found: npt.NDArray[np.bool_] | None = None

    def with_found(self, mask: npt.NDArray[np.bool_]) -> Restored:
        """The same with the mask of the marks that were found, H×W bool."""
        return replace(self, found=mask)


class Restorer:
    """Restores images with one family of weights, or with one file.

    A network is loaded when its task is first used, and then kept, for the last `denoise` only.
    Images: H×W (grey), H×W×2 (grey and alpha), H×W×3 (RGB) or H×W×4 (RGBA) of uint8, uint16 or float32 in [0, 1];
    results have their layout and dtype. Alpha is not premultiplied, and does not pass through the network: it is
    resized separately. Before that, fully transparent pixels take the colours of visible ones; inpainting leaves them
    bit-identical. Calls from several threads take turns on the device; on a GPU the next one is queued while it works.
    """

    def __init__(self, source: WeightsSource, device: torch.device, options: RunOptions) -> None:
        self._source, self._device, self._options = source, device, options
        self._runners: dict[tuple[str, int], tuple[float, Runner]] = {}
        self._coder: Coder | None = None
        self._prior: tuple[Prior | None] | None = None
        self._loading = RLock()

    @property
    def lanes(self) -> int:
        """How many threads keep the device busy; see `lanes_of`."""
        return lanes_of(self._device)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = "compact",
        *,
        device: str = "auto",
        precision: str = "auto",
        tile: str | int = "auto",
        tiling: str = "exact",
        hub_repo: str | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> Restorer:
        """`name`: a family ("compact"), a catalogue entry ("compact-sr-x4"), a .safetensors or published .pth file, a
        folder that `adacode weights bundle` made, such a folder on the Hugging Face Hub ("OWNER/REPO" or
        "hub:OWNER/REPO[@REVISION]"), or a file there ("hub:OWNER/REPO[@REVISION]/FILE"). A Path is always a file or a
        folder. `tile`: "auto", "none" or a side in output pixels; `tiling`: "exact" or "sampled".

        For the Hub: `revision` is a branch, a tag or a commit; `token` a token, True if one must be stored on this
        machine, or False for none; `cache_dir` the folder of the cache; with `local_files_only`, the network is not
        used. What a branch names is asked for once, so all networks of a Restorer are of one commit.

        Raises UsageError for impossible options, DeviceError for a device that is unavailable or cannot compute in
        `precision`, WeightsError for unknown weights.
        """
        options, chosen = RunOptions(precision, tile, tiling), choose_device(device)
        choose_precision(precision, chosen, deep=False)
        access = access_of(token, cache_dir, local_files_only=local_files_only)
        return cls(WeightsSource(name, hub_repo, access=access, revision=revision, bare_hub=True), chosen, options)

    def sr(self, image: Pixels, scale: float = 4, *, denoise: float = 1.0) -> Pixels:
        """Enlarges by `scale` (1 to 4): the next larger network, then an area resize. Sides are rounded, half up.

        `denoise`: how much noise and grain to remove, from 0 to 1. Weights without strengths of noise removal only have
        1.
        """
        return self.restore("sr", image, scale=scale, denoise=denoise).image

    def inpaint(
        self, image: Pixels, mask: npt.NDArray[np.bool_], *, grow: int = 0, feather: int = 0, exemplars: bool = True
    ) -> Pixels:
        """Fills the holes (`mask` True), grown by `grow` pixels and blended over `feather` more, and nothing else.

        `exemplars`: wide holes get texture from known parts of the image.
        """
        return self.restore("inpaint", image, mask=mask, grow=grow, feather=feather, exemplars=exemplars).image

    def reconstruct(self, image: Pixels) -> Pixels:
        """The image as the codebooks see it: rebuilt from codes alone."""
        return self.restore("reconstruct", image).image

    def encode(self, image: Pixels, alpha: Pixels | None = None) -> Codes:
        """The image as codes and mixing weights; `codes.file` makes bytes of them. Alpha, in the image or beside it,
        is kept as it is.

        Raises InputError for an array that is not an image, WeightsError for a network that needs more than codes,
        DeviceError.
        """
        check_image(image, alpha)
        color, inside = apart(image)
        coverage = inside if alpha is None else alpha
        with working(*image.shape[:2]):
            codes = self._codes().encode(covered(color, coverage))
        return replace(codes, alpha=coverage)

    def decode(self, codes: Codes) -> Restored:
        """The image that codes hold, in the layout and dtype that they were made from; grey with alpha comes as RGBA.

        The same bits each time, on one machine, device and precision. Raises WeightsError for codes that were made
        with other weights, InputError, DeviceError.
        """
        with working(codes.height, codes.width):
            decoded = self._codes().decode(codes)
            image = decoded.pixels
            if codes.alpha is not None:
                image = np.dstack((image, image, image)) if codes.grey else image
                image = np.dstack((image, codes.alpha))
        names = self._runner(TASKS["reconstruct"], 1).config.names()
        return Restored(image, codes.touched_mixing, names, (*codes.notes, *decoded.notes), decoded.precision)

    def code_levels(self) -> int:
        """Number of levels of codes that `encode` makes."""
        return len(self._runner(TASKS["reconstruct"], 1).config.code_scales)

    def prior(self) -> Prior | None:
        """What `codes.file` packs and unpacks codes with: the prior of the family, None where it has none that fits.

        Raises WeightsError for a damaged file.
        """
        with self._loading:
            if self._prior is None:
                sizes = tuple(size for size, _ in self._runner(TASKS["reconstruct"], 1).config.codebooks)
                self._prior = (prior_of(self._source, sizes),)
            return self._prior[0]

    @property
    def device(self) -> str:
        """The device that computes: "cpu", "cuda", "cuda:1", "mps"."""
        return str(self._device)

    def needs_download(self, task: str, scale: float = 4) -> bool:
        """Whether `prepare` would download weights first. Raises UsageError, WeightsError."""
        return self._source.needs_download(task, _factor(_known(task), scale))

    def prepare(self, task: str, scale: float = 4, denoise: float = 1.0) -> str:
        """Loads what `restore` will need, before a long run; its digest (`network_digest`). Raises WeightsError."""
        return network_digest(self._runner(_known(task), scale, denoise).network)

    def factors(self, task: str) -> tuple[int, ...]:
        """Of the task's scales, those for which the weights have networks. Raises WeightsError."""
        known = _known(task)
        most = self._source.largest_scale(known.name)
        found = tuple(scale for scale in known.scales if scale <= most)
        if not found:
            self._runner(known, min(known.scales))  # It raises the error.
        return found

    def require_room(
        self, task: str, height: int, width: int, *, deep: bool, scale: float = 4, denoise: float = 1.0
    ) -> None:
        """Raises DeviceError if an image of height × width pixels clearly does not fit the memory; `deep`: it has more
        than 8 bits a channel.
        """
        self._runner(_known(task), scale, denoise).require_room(height, width, deep=deep)

    def restore(
        self,
        task: str,
        image: Pixels,
        *,
        alpha: Pixels | None = None,
        scale: float = 4,
        size: Size | None = None,
        denoise: float = 1.0,
        mask: npt.NDArray[np.bool_] | Hole | None = None,
        grow: int = 0,
        feather: int = 0,
        exemplars: bool = True,
    ) -> Restored:
        """One image through one task, with the mixing weights.

        task: a name of `tasks.TASKS`.
        image: as in the class. alpha: its alpha, H×W, if that is not its last channel; the alpha of the result is then
            `Restored.alpha`.
        scale, denoise: for tasks that have a choice of them, as `sr` does. size: (height, width) of the result in
            pixels, for tasks that enlarge, if `scale` is only to choose the network: each side from 1 to that of the
            image times the factor of the network, which is the smallest that is at least `scale`.
        mask, grow, feather, exemplars: for tasks that fill holes: the mask (bool H×W, True in the hole), how far it
            grows and how far it blends beyond that, in pixels, and whether wide holes get texture from known parts of
            the image (`engine.exemplars`); or the whole `Hole`, whose `opaque` makes alpha full in the hole.

        Raises UsageError for impossible values, InputError for an array that is not an image or not its mask
        and for a hole that is the whole image, WeightsError, and DeviceError when there is not enough memory.
        """
        known = _known(task)
        check_image(image, alpha)
        color, inside = apart(image)
        hole = _hole_of(mask, image, grow, feather, exemplars=exemplars) if known.fills_hole else None
        _check_size(known, scale, size, image.shape)
        coverage = inside if alpha is None else alpha
        with working(*image.shape[:2]):
            # Outside a filled hole every value stays bit-identical, also hidden colours; other tasks replace these.
            seen = color if hole is not None else covered(color, coverage)
            restored = self._restored(known, seen, hole, scale, denoise, size=size, coverage=coverage)
            if coverage is not None:
                coverage = resize(coverage, *restored.image.shape[:2])
                coverage = opaque_in(coverage, hole.mask) if hole is not None and hole.opaque else coverage
            if inside is None:
                return replace(restored, alpha=coverage)
            return replace(restored, image=joined(restored.image, coverage))

    def _restored(
        self,
        task: Task,
        color: Pixels,
        hole: Hole | None,
        scale: float,
        denoise: float,
        *,
        size: Size | None,
        coverage: Pixels | None,
    ) -> Restored:
        """Colours through a task's network, in the requested size, with the filled hole composed into the image.

        coverage: the image's alpha, whose hidden pixels are no texture to copy.
        """
        runner = self._runner(task, scale, denoise)
        result = runner.restore(color, None if hole is None else hole.grown)
        image, shrunk = result.pixels, result.shrunk
        if task.enlarges:
            height, width = size or (enlarged(side, scale) for side in color.shape[:2])
            if image.shape[:2] != (height, width):
                image, shrunk = resize(image, height, width), None
        if hole is not None:
            if hole.exemplars:
                image = with_exemplars(color, image, hole.grown, None if coverage is None else coverage > 0)
            image = composite(color, image, hole.weights)
        return Restored(image, result.mixing_KHW.numpy(), runner.config.names(), result.notes, result.precision, shrunk)

    def _codes(self) -> Coder:
        with self._loading:
            if self._coder is None:
                name = self._source.name
                # The name of a file without its folders, which are private to the user.
                shown = name if name.startswith(HUB_PREFIX) else Path(name).absolute().name
                self._coder = Coder(self._runner(TASKS["reconstruct"], 1), shown)
            return self._coder

    def _runner(self, task: Task, scale: float, denoise: float = 1.0) -> Runner:
        """The network for a task: of the smallest of its scales that is at least `scale`."""
        factor = _factor(task, scale)
        denoise = denoise if task.denoises else 1.0
        with self._loading:
            earlier, runner = self._runners.get((task.name, factor), (None, None))
            if runner is None or earlier != denoise:
                with _loading():
                    network, _ = self._source.network(task.name, factor, denoise)
                if self._options.precision == "int8" and denoise != 1 and not network.ranges:
                    what = "int8 needs full noise removal (--denoise 1)"
                    raise WeightsError(what, hint="Leave out --denoise, or use another precision.")
                runner = Runner(network, self._device, self._options)
                self._runners[task.name, factor] = denoise, runner  # for one strength only: each more would take memory
            return runner


def network_digest(network: AdaCode) -> str:
    """SHA-256, in hexadecimal, of a network's configuration and of all its values as little-endian float32, also of its
    ranges for 8 bits, and of how near these images are as its weights state it, if it has any.

    Weights are identified by their values, not by their file: converted or renamed weights have the same digest.
    """
    digest = hashlib.sha256(json.dumps(network.config.to_dict(), sort_keys=True).encode())
    ranges = {f"{name} {one.zero}": one.steps_C for name, one in network.ranges.items()}
    for name, one in network.ranges.items():
        if one.filters is not None:
            ranges |= {f"{name} weight": one.filters.weight_OIHW, f"{name} bias": one.filters.bias_O}
    for key, value in (*sorted(network.state_dict().items()), *sorted(ranges.items())):
        digest.update(key.encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().astype("<f4").tobytes())
    if network.int8_psnr_db is not None:  # the precision that auto takes depends on it
        digest.update(f"int8_psnr_db {network.int8_psnr_db!r}".encode())
    return digest.hexdigest()


def lanes_of(device: torch.device) -> int:
    """How many threads keep a device busy: on a GPU others queue images while the first one waits, and their small
    images run as one batch.
    """
    return _LANES if device.type == "cuda" else 1


def _factor(task: Task, scale: float) -> int:
    """The smallest of a task's scales that is at least `scale`."""
    return min((s for s in task.scales if s >= scale), default=max(task.scales))


def _known(name: str) -> Task:
    if name not in TASKS:
        raise UsageError(f"unknown task {name!r}", hint=f"Choose one of: {', '.join(TASKS)}.")
    return TASKS[name]


def _check_size(task: Task, scale: float, size: Size | None, shape: tuple[int, ...]) -> None:
    """Raises UsageError for a scale, or a size of the result, that a task cannot make of an image of this shape."""
    if not task.enlarges:
        if size is not None:
            hint = f"Leave out the size: the results of {task.name} are as large as their images."
            raise UsageError(f"{task.name} makes no results of another size", hint=hint)
        return
    most = max(task.scales)
    if not 1 <= scale <= most:
        raise UsageError(f"scale {scale:g} is not between 1 and {most}", hint="For a larger factor, enlarge twice.")
    height, width = (side * _factor(task, scale) for side in shape[:2])
    if size is not None and not (1 <= size[0] <= height and 1 <= size[1] <= width):
        raise UsageError(
            f"a result of {size[1]}×{size[0]} pixels is not possible: with scale {scale:g}, it has from 1×1 to "
            f"{width}×{height} pixels",
            hint="Choose a smaller size, or a larger scale. For more than that, enlarge twice.",
        )


def _hole_of(
    mask: npt.NDArray[np.bool_] | Hole | None, image: Pixels, grow: int, feather: int, *, exemplars: bool
) -> Hole:
    """The hole of an image. Raises UsageError for an impossible edge.

    Raises InputError without a mask of the image's size, and for a hole that is the whole image.
    """
    hole = mask if isinstance(mask, Hole) or mask is None else Hole(mask, grow, feather, exemplars=exemplars)
    if hole is None or hole.mask.shape != image.shape[:2] or hole.mask.dtype != np.bool_:
        found = "no mask" if hole is None else f"a {hole.mask.dtype} mask of shape {hole.mask.shape}"
        raise InputError(f"{found} for an image of {image.shape[:2]}", hint="Give a boolean mask, True in the holes.")
    if hole.grown.all():  # The network would make a nearly black image of nothing.
        grows = "" if hole.mask.all() else f", which grows by {hole.grow_px} px,"
        raise InputError(
            f"its mask{grows} covers the whole image, so nothing is left from which the hole could be filled",
            hint="Check the mask, or the image with --mask-color or --mask-alpha. White is filled; --grow enlarges it.",
        )
    return hole


@contextmanager
def _loading() -> Iterator[None]:
    """Translates exceptions to DeviceError: too little memory for the network itself."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        hint = "Close other programs, or use smaller weights."
        raise DeviceError("out of memory while the weights were loaded", hint=hint) from error
