"""The tool as a Python object: images in, restored images out. The command line is built on it.

restorer = Restorer.from_pretrained("compact")
large = restorer.sr(image, scale=4)                # H×W×3 uint8 → 4H×4W×3 uint8
whole = restorer.inpaint(image, mask)              # mask: H×W bool, True = hole
clean = restorer.reconstruct(image)

Tensors, PIL images, and lists and iterators of images are taken too, and come back in kind (docs/python.md).
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any, Generic, Self, TypeAlias, TypedDict, Unpack, overload

import numpy as np
import numpy.typing as npt
import torch

from adacode_cli.checkpoints.hub import access_of
from adacode_cli.checkpoints.load import WeightsSource
from adacode_cli.checkpoints.location import HUB_PREFIX
from adacode_cli.codes.image import Codes
from adacode_cli.codes.prior import Prior
from adacode_cli.engine.codes import Coder, prior_of
from adacode_cli.engine.device import choose_device, choose_precision, lanes_of
from adacode_cli.engine.exemplars import with_exemplars
from adacode_cli.engine.identity import network_digest
from adacode_cli.engine.images import Pixels, apart, check_image, composite, covered, joined, opaque_in, resize
from adacode_cli.engine.kinds import Image, ImageT, Mask, Taken, taken
from adacode_cli.engine.memory import loading, release, working
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.requests import (
    check_size,
    factor_of,
    hole_of,
    known_task,
    require_alpha_beside,
    require_codes,
    require_numbers,
)
from adacode_cli.engine.runner import Runner
from adacode_cli.engine.several import One, each
from adacode_cli.errors import UsageError, WeightsError
from adacode_cli.geometry import Hole, extent_of
from adacode_cli.sizes import Size, enlarged
from adacode_cli.tasks import TASKS, Task

Masks: TypeAlias = "Mask | Iterable[Mask]"


class _Edge(TypedDict, total=False):
    """The edge of a hole, as `Restorer.inpaint` takes it."""

    grow: int
    feather: int
    exemplars: bool


@dataclass(frozen=True)
class Restored(Generic[ImageT]):
    """image: of the input's kind, layout and dtype.

    mixing_weights: K×h×w float32, a value for each basis and latent cell. weights_extent: height and width of these
    cells in shares of the image's: 1, or more where the last cells reach beyond its edge.
    categories: the K names of the bases.
    notes: messages for the user about this image. shrunk: the means of the image's colours over each pixel of the
    input, H×W×3 or H×W×1 float32 in [0, 1], if the engine has computed them. alpha: of the image, H×W, where the
    input's alpha was given beside its colours; otherwise the image has its own.
    found: the mask of the marks that a detector has found, H×W bool; None if none has looked for them.
    precision: in which the network made the image, `fp32`, `bf16`, `fp16` or `int8`.
    """

    image: ImageT
    mixing_weights: npt.NDArray[np.float32]
    categories: tuple[str, ...]
    notes: tuple[str, ...]
    precision: str
    shrunk: npt.NDArray[np.float32] | None = None
    alpha: Pixels | None = None
    found: npt.NDArray[np.bool_] | None = None
    weights_extent: tuple[float, float] = (1.0, 1.0)

    def with_found(self, mask: npt.NDArray[np.bool_]) -> Restored[ImageT]:
        """The same with the mask of the marks that were found, H×W bool."""
        return replace(self, found=mask)


class Restorer:
    """Restores images with one family of weights, or with one file.

    A network is loaded when its task is first used, and then kept, for the last `denoise` only, until `close`.

    Images are of one of three kinds, and results have the kind, layout and dtype of their images:
      NumPy arrays: H×W (grey), H×W×2 (grey and alpha), H×W×3 (RGB) or H×W×4 (RGBA) of uint8, uint16, or float32 in
        [0, 1].
      torch tensors: 1×H×W, 2×H×W, 3×H×W or 4×H×W, with the same meanings, of uint8, uint16, or float16, bfloat16 or
        float32 in [0, 1], on any device; results are on the same device, and have no gradient.
      PIL images: pixels as they are stored, without regard to an EXIF orientation. Results have the same mode, except
        that modes 1 and P become L and RGB, and a transparent colour becomes alpha; `info` is kept.
    `sr`, `inpaint` and `reconstruct` also take several images: a list, a tuple or another sequence (the result is a
    list), a B×C×H×W tensor, or any other iterable (the result is a generator, which takes one image at a time).

    Alpha is not premultiplied, and does not pass through the network: it is resized separately. Before that, fully
    transparent pixels take the colours of visible ones; inpainting leaves them bit-identical. Calls from several
    threads take turns on the device; on a GPU the next one is queued while it works.
    """

    def __init__(self, source: WeightsSource, device: torch.device, options: RunOptions) -> None:
        self._source, self._device, self._options = source, device, options
        self._runners: dict[tuple[str, int], tuple[float, Runner]] = {}
        self._coder: Coder | None = None
        self._prior: tuple[Prior | None] | None = None
        self._loading, self._closed = RLock(), False

    def __repr__(self) -> str:
        options, closed = self._options, ", closed" if self._closed else ""
        tiles = f"tile={options.tile!r}, tiling={options.tiling!r}"
        return f"<Restorer {self._source.name!r}: {self.device}, precision={options.precision!r}, {tiles}{closed}>"

    def __enter__(self) -> Self:
        self._require_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees the networks and their memory; `with Restorer.from_pretrained(…) as restorer:` does so at its end.

        What is asked later raises UsageError. Images that other threads have begun are finished.
        """
        with self._loading:
            self._closed, self._prior = True, None
            self._forget_networks()

    def to(self, device: str | torch.device) -> Self:
        """Computes on another device from now on: "auto", "cpu", "cuda", "cuda:1", "mps". Returns this object.

        Networks are loaded again when they are next used. Images that other threads have begun are finished where they
        are. Raises DeviceError or UsageError, as `from_pretrained` does, and then changes nothing.
        """
        chosen = choose_device(device)
        choose_precision(self._options.precision, chosen, deep=False)
        with self._loading:
            self._require_open()
            if chosen != self._device:
                self._forget_networks()
                self._device = chosen
        return self

    @property
    def lanes(self) -> int:
        """How many threads keep the device busy; see `lanes_of`."""
        return lanes_of(self._device)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = "compact",
        *,
        device: str | torch.device = "auto",
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

    @overload
    def sr(self, image: ImageT, scale: float = ..., *, denoise: float = ...) -> ImageT: ...
    @overload
    def sr(self, image: Sequence[ImageT], scale: float = ..., *, denoise: float = ...) -> list[ImageT]: ...
    @overload
    def sr(self, image: Iterator[ImageT], scale: float = ..., *, denoise: float = ...) -> Iterator[ImageT]: ...
    def sr(self, image: object, scale: float = 4, *, denoise: float = 1.0) -> object:
        """Enlarges by `scale` (1 to 4): the next larger network, then an area resize. Sides are rounded, half up.

        `denoise`: how much noise and grain to remove, from 0 to 1. Weights without strengths of noise removal only have
        1.
        """
        return self._each(image, None, lambda one, _: self.restore("sr", one, scale=scale, denoise=denoise).image)

    @overload
    def inpaint(self, image: ImageT, mask: Mask, **edge: Unpack[_Edge]) -> ImageT: ...
    @overload
    def inpaint(self, image: Sequence[ImageT], mask: Masks, **edge: Unpack[_Edge]) -> list[ImageT]: ...
    @overload
    def inpaint(self, image: Iterator[ImageT], mask: Masks, **edge: Unpack[_Edge]) -> Iterator[ImageT]: ...
    def inpaint(
        self, image: object, mask: object, *, grow: int = 0, feather: int = 0, exemplars: bool = True
    ) -> object:
        """Fills the holes (`mask`), grown by `grow` pixels and blended over `feather` more, and nothing else.

        mask: an array, H×W bool, True in the hole; a tensor, H×W, 1×H×W or (of a batch) B×1×H×W, bool or floats in
        [0, 1], more than 0.5 in the hole; or a PIL image of mode 1 or L, more than half of white in the hole. For
        several images, it is one mask for all, or an iterable of as many masks.
        `exemplars`: wide holes get texture from known parts of the image.
        """
        edge: _Edge = {"grow": grow, "feather": feather, "exemplars": exemplars}
        return self._each(image, mask, lambda one, hole: self.restore("inpaint", one, mask=hole, **edge).image)

    @overload
    def reconstruct(self, image: ImageT) -> ImageT: ...
    @overload
    def reconstruct(self, image: Sequence[ImageT]) -> list[ImageT]: ...
    @overload
    def reconstruct(self, image: Iterator[ImageT]) -> Iterator[ImageT]: ...
    def reconstruct(self, image: object) -> object:
        """The image as the codebooks see it: rebuilt from codes alone."""
        return self._each(image, None, lambda one, _: self.restore("reconstruct", one).image)

    def encode(self, image: Image, alpha: Pixels | None = None) -> Codes:
        """The image as codes and mixing weights; `codes.file` makes bytes of them. Alpha, in the image or beside it, if
        both are arrays, is kept as it is. Codes do not know the kind of their image.

        Raises InputError for what is not an image, WeightsError for a network that needs more than codes, DeviceError.
        """
        pixels = _taken_with(image, alpha).pixels
        color, inside = apart(pixels)
        coverage = inside if alpha is None else alpha
        with working(*pixels.shape[:2]):
            codes = self._codes().encode(covered(color, coverage))
        return replace(codes, alpha=coverage)

    def decode(self, codes: Codes) -> Restored[Pixels]:
        """The image that codes hold, as an array, in the layout and dtype that they were made from; grey with alpha
        comes as RGBA.

        The same bits each time, on one machine, device and precision. Raises WeightsError for codes that were made
        with other weights, InputError, DeviceError.
        """
        require_codes(codes)
        with working(codes.height, codes.width):
            decoded = self._codes().decode(codes)
            image = decoded.pixels
            if codes.alpha is not None:
                image = np.dstack((image, image, image)) if codes.grey else image
                image = np.dstack((image, codes.alpha))
        names = self._runner(TASKS["reconstruct"], 1).config.names()
        mixing, notes = codes.touched_mixing, (*codes.notes, *decoded.notes)
        extent = extent_of(mixing.shape[1:], codes.stride, (codes.height, codes.width))
        return Restored(image, mixing, names, notes, decoded.precision, weights_extent=extent)

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
        return self._source.needs_download(task, factor_of(known_task(task), scale))

    def prepare(self, task: str, scale: float = 4, denoise: float = 1.0) -> str:
        """Loads what `restore` will need, before a long run; its digest (`network_digest`). Raises WeightsError."""
        return network_digest(self._runner(known_task(task), scale, denoise).network)

    def factors(self, task: str) -> tuple[int, ...]:
        """Of the task's scales, those for which the weights have networks. Raises WeightsError."""
        known = known_task(task)
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
        self._runner(known_task(task), scale, denoise).require_room(height, width, deep=deep)

    def restore(
        self,
        task: str,
        image: ImageT,
        *,
        alpha: Pixels | None = None,
        scale: float = 4,
        size: Size | None = None,
        denoise: float = 1.0,
        mask: Mask | None = None,
        grow: int = 0,
        feather: int = 0,
        exemplars: bool = True,
    ) -> Restored[ImageT]:
        """One image through one task, with the mixing weights.

        task: a name of `tasks.TASKS`.
        image: as in the class. alpha: its alpha, H×W, if both are arrays and it is not the last channel of the image;
            the alpha of the result is then `Restored.alpha`.
        scale, denoise: for tasks that have a choice of them, as `sr` does. size: (height, width) of the result in
            pixels, for tasks that enlarge, if `scale` is only to choose the network: each side from 1 to that of the
            image times the factor of the network, which is the smallest that is at least `scale`.
        mask, grow, feather, exemplars: for tasks that fill holes: the mask, as in `inpaint`, how far it grows and how
            far it blends beyond that, in pixels, and whether wide holes get texture from known parts of the image
            (`engine.exemplars`); or the whole `Hole`, whose `opaque` makes alpha full in the hole.

        Raises UsageError for impossible values and after `close`, InputError for what is not an image or not its mask
        and for a hole that is the whole image, WeightsError, and DeviceError when there is not enough memory.
        """
        known, given = known_task(task), _taken_with(image, alpha)
        pixels = given.pixels
        color, inside = apart(pixels)
        hole = hole_of(mask, pixels, grow, feather, exemplars=exemplars) if known.fills_hole else None
        check_size(known, scale, size, pixels.shape)
        coverage = inside if alpha is None else alpha
        with working(*pixels.shape[:2]):
            # Outside a filled hole every value stays bit-identical, also hidden colours; other tasks replace these.
            seen = color if hole is not None else covered(color, coverage)
            restored: Restored[Any] = self._restored(known, seen, hole, scale, denoise, size=size, coverage=coverage)
            if coverage is not None:
                coverage = resize(coverage, *restored.image.shape[:2])
                coverage = opaque_in(coverage, hole.mask) if hole is not None and hole.opaque else coverage
            if inside is not None:
                restored, coverage = replace(restored, image=joined(restored.image, coverage)), None
            return replace(restored, image=given.in_kind(restored.image), alpha=coverage)

    def _each(self, images: object, masks: object, one: One) -> object:
        self._require_open()
        return each(images, masks, one)

    def _require_open(self) -> None:
        if self._closed:
            hint = "Make another one by Restorer.from_pretrained, or use it before the end of its `with` block."
            raise UsageError("this Restorer has been closed", hint=hint)

    def _forget_networks(self) -> None:
        self._runners, self._coder = {}, None
        gc.collect()  # The parts of a runner refer to one another.
        release(self._device)

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
    ) -> Restored[Pixels]:
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
        mixing, config = result.mixing_KHW.numpy(), runner.config
        extent = extent_of(mixing.shape[1:], config.latent_stride // config.scale, color.shape[:2])
        names, precision = config.names(), result.precision
        return Restored(image, mixing, names, result.notes, precision, shrunk, weights_extent=extent)

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
        factor = factor_of(task, scale)
        require_numbers(denoise=denoise)
        denoise = denoise if task.denoises else 1.0
        with self._loading:
            self._require_open()
            earlier, runner = self._runners.get((task.name, factor), (None, None))
            if runner is None or earlier != denoise:
                with loading():
                    network, _ = self._source.network(task.name, factor, denoise)
                if self._options.precision == "int8" and denoise != 1 and not network.ranges:
                    what = "int8 needs full noise removal (--denoise 1)"
                    raise WeightsError(what, hint="Leave out --denoise, or use another precision.")
                runner = Runner(network, self._device, self._options)
                self._runners[task.name, factor] = denoise, runner  # for one strength only: each more would take memory
            return runner


def _taken_with(image: object, alpha: Pixels | None) -> Taken:
    """An image of any kind as an array, checked; with the alpha that is given beside it."""
    if alpha is not None:
        require_alpha_beside(alpha, image)
    given = taken(image)
    check_image(given.pixels, alpha)
    return given
