"""One passage through a network: padding, the whole-image parts, both halves by tiles, and what is retried with less
memory.

On a GPU an image is queued as a whole, from the upload of its samples to the copy of the result; the caller waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor

from adacode_cli.engine import progress
from adacode_cli.engine.canvas import BaseImage, Canvas, RawCanvas
from adacode_cli.engine.device import INT8, map_dtype, rounded, unfolds
from adacode_cli.engine.halves import Coded, Halves, coded, halves_of, latent_work, run_decoder, run_encoder
from adacode_cli.engine.images import Pixels
from adacode_cli.engine.int8 import EightBit
from adacode_cli.engine.maps import Grid, Map, Patch
from adacode_cli.engine.memory import free_bytes, is_out_of_memory, release
from adacode_cli.engine.plan import SHARE, Costs, Memory, RunOptions, TilePlan, plan_tiles, require_room
from adacode_cli.engine.program import CODES, WEIGHTS
from adacode_cli.engine.segments import Half, run_steps
from adacode_cli.engine.tiled import Finiteness, TakeDetail, Tiler
from adacode_cli.engine.transfer import Outbox, network_input
from adacode_cli.errors import DeviceError
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.input import fill_from, halve, pad_mirrored, padded_size, prepare_input
from adacode_cli.model.network import AdaCode

_SAMPLED = (
    "there is too little memory for exact tiling of this image: it was normalised with a sample (--tiling sampled)"
)

# The part of the work that fills holes coarsely: a quarter of the pixels, a sixteenth, and so on.
_COARSE_SHARE = 0.2
# Multiplications in 8 bits, as tiles do them then, for each in float32 in the same time: about so many.
_EIGHT_BIT_SPEED = 4

C = TypeVar("C", bound=Canvas)
T = TypeVar("T")


@dataclass(frozen=True)
class Kind:
    """What images have in common that can run together: precision, bytes a sample, and their padded grid."""

    dtype: torch.dtype
    sample_bytes: int
    grid: Grid


@dataclass(frozen=True)
class Attempt:
    """One try at images of one kind: what is queued on the device, and what will come back of it.

    slots: how many run together; unused slots stay black.
    """

    kind: Kind
    slots: int
    outbox: Outbox
    finiteness: Finiteness


@dataclass(frozen=True)
class Group(Generic[C]):
    """Images of one padded size that run together.

    load: the device that whole maps lie on → images of one padded size, as the network takes them (1×C×H×W each).
    blank: the same → a canvas for each of them. passes: how many coarser ones fill their holes first. size: height and
    width of the largest of the images.
    """

    grid: Grid
    size: tuple[int, int]
    load: Callable[[torch.device], Sequence[Tensor]]
    blank: Callable[[torch.device], Sequence[C]]
    passes: int


class Passage:
    """A network on its device, in every precision that was requested. The caller must hold the device's turn."""

    def __init__(self, network: AdaCode, device: torch.device, options: RunOptions) -> None:
        self.network, self.device, self.options = network, device, options
        self._rounded: dict[torch.dtype, AdaCode] = {torch.float32: network}
        self._halves: dict[torch.dtype, Halves] = {}
        self._eight_bit: EightBit | None = None

    @property
    def config(self) -> NetworkConfig:
        return self.network.config

    def through(self, group: Group[C], attempt: Attempt) -> tuple[Sequence[C], dict[str, Map], tuple[str, ...]]:
        """Canvases, once all is queued that will be on them; codes and mixing weights; and notes."""
        own = replace(attempt, kind=replace(attempt.kind, grid=group.grid))
        return self._where_it_fits(own.kind, group.size, attempt.slots, lambda plan: self._planned(group, plan, own))

    def code(self, image: Pixels, attempt: Attempt) -> Coded:
        """The encoder's half alone, of one image as `check_image` has it, without alpha."""
        config, (h, w), dtype = self.config, image.shape[:2], attempt.kind.dtype

        def planned(plan: TilePlan) -> Coded:
            half, latent = self._halves_in(dtype).encoder, self._latent_work(dtype)
            tiler = self._tiler(plan, attempt, None, _work(half) + latent)
            x = network_input(image, None, mask_channel=config.mask_channel, device=tiler.home)
            prepared = self._prepared([x], attempt, config.coarse_passes)
            maps = run_encoder(self._network_in(dtype), half, tiler, plan.encoder, prepared)
            tiler.did(latent * attempt.kind.grid.num_cells)
            return coded(maps, h * config.scale, w * config.scale)

        return self._where_it_fits(attempt.kind, (h, w), 1, planned)

    def draw(self, code: Coded, canvas: Canvas, attempt: Attempt) -> None:
        """The decoder's half alone: the image of codes and mixing weights onto a canvas."""
        dtype = attempt.kind.dtype

        def planned(plan: TilePlan) -> None:
            half = self._halves_in(dtype).from_codes
            tiler = self._tiler(plan, attempt, lambda detail: canvas.put(detail, None), _work(half))
            run_decoder(half, tiler, plan.decoder, code.maps(map_dtype(dtype), tiler.home))

        self._where_it_fits(attempt.kind, (code.height, code.width), 1, planned)

    def _where_it_fits(self, kind: Kind, size: tuple[int, int], slots: int, planned: Callable[[TilePlan], T]) -> T:
        """What `planned` makes by a plan. If maps do not fit the device after all, they lie in host memory in a
        second try. Raises DeviceError before any work if an image of that size clearly does not fit.
        """
        plan = self.plan(kind, slots)
        require_room(plan, size, self.options, self.device)
        if plan.resident:
            try:
                return planned(plan)
            except (DeviceError, RuntimeError, MemoryError) as error:
                if not (isinstance(error, DeviceError) or is_out_of_memory(error)):
                    raise
            release(self.device)
            plan = self.plan(kind, slots, resident=False)
            require_room(plan, size, self.options, self.device)
        return planned(plan)

    def _planned(
        self, group: Group[C], plan: TilePlan, attempt: Attempt
    ) -> tuple[Sequence[C], dict[str, Map], tuple[str, ...]]:
        home, dtype, begins = self._home(plan), attempt.kind.dtype, _COARSE_SHARE if group.passes else 0.0
        with progress.part(0, begins):
            prepared = self._prepared(group.load(home), attempt, group.passes)
        canvases = group.blank(home)
        bases = [BaseImage(prepared[i : i + 1], self.config) for i in range(len(canvases))]

        def take(detail: Patch) -> None:
            for i, (canvas, base) in enumerate(zip(canvases, bases, strict=True)):
                canvas.put(detail.of_image(i), base)

        halves, latent = self._halves_in(dtype), self._latent_work(dtype)
        with progress.part(begins, 1):
            tiler = self._tiler(plan, attempt, take, _work(halves.encoder) + latent + _work(halves.decoder))
        maps = run_encoder(self._network_in(dtype), halves.encoder, tiler, plan.encoder, prepared)
        tiler.did(latent * attempt.kind.grid.num_cells)
        found = {name: maps[name] for name in (CODES, WEIGHTS)}
        run_decoder(halves.decoder, tiler, plan.decoder, maps)
        return canvases, found, (_SAMPLED,) if plan.sampled and self.options.tiling == "exact" else ()

    def _prepared(self, images: Sequence[Tensor], attempt: Attempt, passes: int) -> Tensor:
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
        group = Group(
            Grid.of(config, h, w),
            (h, w),
            lambda home: [half.to(home)],
            lambda home: [RawCanvas(h, w, 1, home) for _ in range(slots)],
            passes - 1,
        )
        coarse, _, _ = self.through(group, attempt)
        return fill_from(padded, torch.stack([canvas.image_CHW for canvas in coarse]).to(padded.device))

    def plan(self, kind: Kind, slots: int = 1, *, resident: bool = True) -> TilePlan:
        """How `slots` images of one kind would be cut with the memory that is free now."""
        costs = Costs(
            self._halves_in(kind.dtype),
            self.config,
            kind.grid,
            map_dtype(kind.dtype),
            on_host=self.device.type == "cpu",
            sample_bytes=kind.sample_bytes,
            images=slots,
        )
        room = Memory(*(int(SHARE * free_bytes(device)) for device in (torch.device("cpu"), self.device)))
        return plan_tiles(costs, self.options, self.device, room, resident=resident)

    def _network_in(self, precision: torch.dtype) -> AdaCode:
        """The network for the parts that look across the whole image, and for the steps that are not in 8 bits."""
        dtype = map_dtype(precision)
        if dtype not in self._rounded:
            self._rounded[dtype] = rounded(self.network, dtype)
        return self._rounded[dtype]

    def _halves_in(self, precision: torch.dtype) -> Halves:
        dtype = map_dtype(precision)
        if dtype not in self._halves:
            self._halves[dtype] = halves_of(self._network_in(dtype), dtype, unfolds=unfolds(dtype, self.device))
        return self._halves[dtype]

    def _in_eight_bits(self) -> EightBit:
        if self._eight_bit is None:
            self._eight_bit = EightBit(self.network, self._halves_in(INT8))
        return self._eight_bit

    def prepare(self) -> None:
        """Begins what the first image in 8 bits would wait for, in another thread."""
        halves = self._halves_in(INT8)
        if not halves.normalise:
            self._in_eight_bits().prepare(halves.encoder, halves.decoder)

    def _home(self, plan: TilePlan) -> torch.device:
        return self.device if plan.resident else torch.device("cpu")

    def _latent_work(self, dtype: torch.dtype) -> float:
        """Multiplications of the latent parts for each cell, as if they took as long as those of the tiles."""
        return latent_work(self.network) * (_EIGHT_BIT_SPEED if dtype == INT8 else 1)

    def _tiler(self, plan: TilePlan, attempt: Attempt, take_detail: TakeDetail | None, work_per_cell: float) -> Tiler:
        """What runs tiles, and tells of its progress. work_per_cell: multiplications that it will do in all."""
        grid = attempt.kind.grid
        meter = progress.Meter(grid.num_cells * work_per_cell)
        return Tiler(
            grid,
            self.device,
            home=self._home(plan),
            known_sums={} if plan.sampled else None,
            take_detail=take_detail,
            finiteness=attempt.finiteness,
            run_steps=self._in_eight_bits().run if attempt.kind.dtype == INT8 else run_steps,
            on_work=meter.add if self.device.type == "cpu" else None,  # others only queue the work here
        )


def _work(half: Half) -> float:
    """Multiplications of a half for each latent cell."""
    return half.whole.work_per_cell
