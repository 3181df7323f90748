"""Running out of memory at any call halves tiles, loses nothing that is finished, and changes nothing in the result."""

import weakref
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from tiny_networks import CPU, detail_canvas, network_of, tensor

from adacode_cli.engine.halves import halves_of, run_decoder, run_encoder
from adacode_cli.engine.maps import Grid
from adacode_cli.engine.tiled import Map, Tiler
from adacode_cli.errors import DeviceError
from adacode_cli.geometry import Box
from adacode_cli.model.input import pad_mirrored, padded_size, prepare_input

LAYOUTS = ["compact sr ×4", "published inpaint", "published sr ×4", "norm everywhere", "trunk sr ×4"]


@dataclass(frozen=True)
class Cells(Grid):
    """A grid whose tiles may be halved to fewer pixels than is sensible, so that small images have many."""

    smallest_px: int = 0

    @property
    def smallest_tile(self):
        return max(1, self.smallest_px // self.cell_px)


class Scarce:
    """Memory that runs out at chosen calls of steps, and a record of what each step was asked for and finished."""

    def __init__(self, fails_at=(), max_area=None, error=None):
        self.fails_at, self.max_area = frozenset(fails_at), max_area
        self.error = error or torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB.")
        self.num_calls, self.failed = 0, 0

    def wrap(self, part):
        segments = [replace(s, steps=tuple(map(self._step, s.steps))) for s in (part.whole, *part.separate)]
        return replace(part, whole=segments[0], separate=tuple(segments[1:]))

    def _step(self, step):
        def run(*patches):
            call, self.num_calls = self.num_calls, self.num_calls + 1
            area = patches[0].box.area / patches[0].per_cell ** 2
            if call in self.fails_at or (self.max_area is not None and area > self.max_area):
                self.failed += 1
                raise type(self.error)(*self.error.args)  # a new one, as a kept one would keep its traceback
            return step.run(*patches)

        return replace(step, run=run)


@torch.inference_mode()
def run(net, scarce, boxes, size=(40, 28), *, smallest_px=0):
    config = net.config
    x = tensor(config, *(max(1, side // config.scale) for side in size))
    prepared = prepare_input(pad_mirrored(x, *padded_size(config, *x.shape[-2:])), config.base)
    grid, parts = Grid.of(config, *x.shape[-2:]), halves_of(net, torch.float32)
    canvas, take_detail = detail_canvas(grid)
    tiler = Tiler(Cells(**vars(grid), smallest_px=smallest_px), CPU, take_detail=take_detail)
    tiles = grid.boxes(grid.tile(boxes)) if boxes else (Box(0, 0, grid.height, grid.width),)
    maps = run_encoder(net, scarce.wrap(parts.encoder), tiler, tiles, prepared)
    run_decoder(scarce.wrap(parts.decoder), tiler, tiles, maps)
    return canvas.image_CHW


@pytest.mark.parametrize("boxes", [None, 24])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_out_of_memory_at_each_call_in_turn(layout, boxes):
    net, undisturbed = network_of(layout), Scarce()
    wanted = run(net, undisturbed, boxes)
    step = max(1, undisturbed.num_calls // 20)
    for call in range(0, undisturbed.num_calls, step):
        scarce = Scarce({call})
        np.testing.assert_allclose(run(net, scarce, boxes), wanted, rtol=0, atol=1e-5)
        assert scarce.failed == 1


class Watching(Scarce):
    """Keeps for each pass how many latent cells it was given, tile by tile."""

    def __init__(self):
        super().__init__()
        self.areas = []

    def wrap(self, part):
        segments = [replace(s, steps=(self._watched(s.steps[0]), *s.steps[1:])) for s in (part.whole, *part.separate)]
        return replace(part, whole=segments[0], separate=tuple(segments[1:]))

    def _watched(self, step):
        areas = []
        self.areas.append(areas)

        def run(*patches):
            areas.append(patches[0].box.area // patches[0].per_cell ** 2)
            return step.run(*patches)

        return replace(step, run=run)


def test_the_largest_tiles_come_first():
    """What they leave of the heap is large enough for the others then."""
    watching = Watching()
    run(network_of("compact sr ×4"), watching, 16, (200, 280))
    assert all(areas == sorted(areas, reverse=True) for areas in watching.areas)
    assert any(len(set(areas)) > 2 for areas in watching.areas)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_finished_is_not_computed_again(layout):
    """Sums that counted a tile twice, or a map that was added to twice, would show in the result; calls do too."""
    net = network_of(layout)
    whole, wanted = Scarce(), run(net, Scarce(), 16)
    run(net, whole, 16)
    late = Scarce({whole.num_calls - 1})
    np.testing.assert_allclose(run(net, late, 16), wanted, rtol=0, atol=1e-5)
    per_tile = max(len(p.whole.steps) for p in (halves_of(net, torch.float32).decoder,))
    assert late.num_calls <= whole.num_calls + 2 * per_tile


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_fixed_amount_of_memory_is_found_in_few_attempts(layout):
    """Later tiles and later steps are not tried in vain at a size that has failed."""
    net = network_of(layout)
    wanted = run(net, Scarce(), None)
    segments = halves_of(net, torch.float32).decoder
    halo = max(segments.whole.halo if not segments.normalises else s.halo for s in segments.separate)
    scarce = Scarce(max_area=(2 * halo + 6) ** 2)
    np.testing.assert_allclose(run(net, scarce, None), wanted, rtol=0, atol=1e-4)
    assert scarce.failed <= 12


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no\nroom"), MemoryError("no"), RuntimeError("bad_alloc no")])
def test_out_of_memory_at_the_smallest_tile(layout, error):
    scarce = Scarce(max_area=0, error=error)
    with pytest.raises(DeviceError, match=r"smallest tile.*no$") as caught:
        run(network_of(layout), scarce, None, smallest_px=32)
    assert caught.value.exit_code == 5
    assert caught.value.only_this_image
    assert "--precision bf16" in caught.value.hint
    assert scarce.num_calls <= 8


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes"), KeyError("x"), KeyboardInterrupt()])
def test_other_errors_pass_through(error):
    scarce = Scarce({5}, error=error)
    with pytest.raises(type(error)):
        run(network_of("published inpaint"), scarce, 32)
    assert scarce.num_calls == 6


def test_a_failed_attempt_holds_no_memory():
    """The patches of a failed attempt must be gone before the smaller one starts; a kept traceback would hold them."""
    alive = []

    class Held(torch.Tensor):
        pass

    class Watched(Scarce):
        def _step(self, step):
            inner = super()._step(step).run

            def run(*patches):
                if step.reads[0] == "image":
                    assert all(ref() is None for ref in alive), "a patch of the attempt before"
                    alive.clear()
                made = inner(*patches)
                alive.append(weakref.ref(made.data_BCHW))
                return made

            return replace(step, run=run)

    scarce = Watched({3})
    run(network_of("compact sr ×4"), scarce, None)
    assert scarce.failed == 1


def test_inputs_are_not_written_to():
    net = network_of("published inpaint")
    grid, parts = Grid.of(net.config, 40, 40), halves_of(net, torch.float32)
    image = torch.rand(3, grid.height * 4, grid.width * 4)
    kept = image.clone()
    tiler = Tiler(grid, CPU)
    with torch.inference_mode():
        tiler.run(parts.encoder, {"image": Map(image[None], 4)}, grid.boxes(grid.tile(16)))
    assert torch.equal(image, kept)
