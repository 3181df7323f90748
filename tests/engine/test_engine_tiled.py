"""Tiles of a function of pixels give that function of the whole, at any size and whatever runs out of memory."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_networks import CPU, LOCAL, PUBLISHED, for_task

from adacode_cli.engine.plan import plan_tiles
from adacode_cli.engine.tiled import run_tiled
from adacode_cli.errors import DeviceError
from adacode_cli.geometry import Box
from adacode_cli.model.config import SwinConfig


def small_windows(config):
    """Windows of two cells, so that an image of many windows is small."""
    return replace(config, predictor_swin=SwinConfig(1, 1, 1, 2, 1), encoder_swin=None)


CONFIGS = [small_windows(for_task(c, "sr", s)) for c in (LOCAL, PUBLISHED) for s in (2, 4)]
CONFIGS += [small_windows(c) for c in (LOCAL, PUBLISHED)]


class Identity:
    """A `RunTile` that enlarges by repeating pixels, and fails where it is told to.

    Channels 0 and 1 of its input are the row and the column of each pixel, so it knows the boxes that it is given.
    """

    def __init__(self, config, *, fails_at=(), most_area=None, error=None):
        self.config, self.fails_at, self.most_area = config, frozenset(fails_at), most_area
        self.error = error or torch.OutOfMemoryError("CUDA out of memory.")
        self.num_calls, self.done, self.failed = 0, [], []

    def __call__(self, tile):
        call, self.num_calls = self.num_calls, self.num_calls + 1
        top, left = (int(tile[0, axis, 0, 0]) for axis in (0, 1))
        box = Box(top, left, top + tile.shape[2], left + tile.shape[3])
        if call in self.fails_at or (self.most_area is not None and box.area > self.most_area):
            self.failed.append(box)
            raise type(self.error)(*self.error.args)  # a new one, as a kept one would keep its traceback
        self.done.append(box)
        scale = self.config.scale
        cell = self.config.latent_stride // scale
        detail = tile[:, :3].repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        return detail, tile[:, : self.config.num_bases, ::cell, ::cell]


def prepared(height, width, seed=0):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    noise = torch.rand(height, width, generator=torch.Generator().manual_seed(seed))
    return torch.stack((y.float(), x.float(), noise))[None]


def run(config, identity, height, width, *, tile, overlap_px):
    plan = plan_tiles(config, height, width, tile=tile, overlap_px=overlap_px, budget=0, itemsize=4)
    return run_tiled(prepared(height, width), config, plan, identity, CPU)


def assert_identity(config, result, height, width):
    image, mixing = result
    whole_image, whole_mixing = Identity(config)(prepared(height, width))
    # coordinates are large, so the bound is relative there and absolute for the noise
    for got, wanted in ((image, whole_image[0]), (mixing, whole_mixing[0])):
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def counted(boxes, height, width):
    count = np.zeros((height, width), np.int64)
    for box in boxes:
        count[box.slices] += 1
    return count


sizes = st.tuples(st.integers(1, 7), st.integers(1, 7))
tile_sides = st.sampled_from(["none", "auto", 8, 16, 40, 64])
overlaps = st.sampled_from([0, 1, 16, 64])


@settings(deadline=None)
@given(st.sampled_from(CONFIGS), sizes, tile_sides, overlaps)
def test_identity_survives_any_tile_and_overlap(config, windows, tile, overlap_px):
    height, width = (n * config.pad_multiple for n in windows)
    identity = Identity(config)
    assert_identity(config, run(config, identity, height, width, tile=tile, overlap_px=overlap_px), height, width)
    assert (counted(identity.done, height, width) >= 1).all()


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(CONFIGS), sizes, tile_sides, overlaps, st.sets(st.integers(0, 25), max_size=12))
def test_identity_survives_running_out_of_memory_at_any_calls(config, windows, tile, overlap_px, fails_at):
    height, width = (n * config.pad_multiple for n in windows)
    identity = Identity(config, fails_at=fails_at)
    try:
        result = run(config, identity, height, width, tile=tile, overlap_px=overlap_px)
    except DeviceError:
        step = config.pad_multiple
        assert identity.failed[-1].grown(0, height, width).area <= (step + 2 * 64 * step) ** 2
        return
    assert_identity(config, result, height, width)


@pytest.mark.parametrize("windows", [(7, 2), (2, 7), (1, 10), (10, 1), (4, 4), (5, 6)])
@pytest.mark.parametrize("config", CONFIGS[:3])
def test_out_of_memory_at_each_call_in_turn(config, windows):
    height, width = (n * config.pad_multiple for n in windows)
    side = 4 * config.pad_multiple * config.scale
    undisturbed = Identity(config)
    run(config, undisturbed, height, width, tile=side, overlap_px=0)
    for call in range(undisturbed.num_calls + 1):
        identity = Identity(config, fails_at={call})
        assert_identity(config, run(config, identity, height, width, tile=side, overlap_px=0), height, width)
        assert len(identity.failed) == (call < undisturbed.num_calls)
        assert identity.done[:call] == undisturbed.done[:call]


@settings(deadline=None)
@given(st.sampled_from(CONFIGS), sizes, tile_sides, st.sets(st.integers(0, 12), max_size=6))
def test_what_is_finished_is_not_computed_again(config, windows, tile, fails_at):
    height, width = (n * config.pad_multiple for n in windows)
    identity = Identity(config, fails_at=fails_at)
    try:
        run(config, identity, height, width, tile=tile, overlap_px=0)
    except DeviceError:
        assert (counted([*identity.done, identity.failed[-1]], height, width) <= 1).all()
        return
    assert (counted(identity.done, height, width) == 1).all()


@settings(deadline=None)
@given(st.sampled_from(CONFIGS), sizes, st.integers(1, 60))
def test_a_fixed_amount_of_memory_is_found_in_few_attempts(config, windows, most_windows):
    """No more failures than halvings from the whole image to what fits: later tiles are not tried in vain."""
    step = config.pad_multiple
    height, width = (n * step for n in windows)
    identity = Identity(config, most_area=most_windows * step**2)
    assert_identity(config, run(config, identity, height, width, tile="none", overlap_px=0), height, width)
    assert max(box.area for box in identity.done) <= most_windows * step**2
    assert len(identity.failed) <= int(np.ceil(np.log2(max(2, windows[0] * windows[1])))) + 1


@pytest.mark.parametrize("overlap_px", [0, 64])
@pytest.mark.parametrize("windows", [(1, 1), (3, 5)])
def test_out_of_memory_at_the_smallest_tile(windows, overlap_px):
    config = CONFIGS[0]
    height, width = (n * config.pad_multiple for n in windows)
    identity = Identity(config, most_area=0, error=RuntimeError("can't allocate memory: you tried to\nallocate"))
    with pytest.raises(DeviceError, match=r"smallest tile.*you tried to$") as caught:
        run(config, identity, height, width, tile="none", overlap_px=overlap_px)
    assert caught.value.exit_code == 5
    assert caught.value.only_this_picture
    assert "--overlap 0" in caught.value.hint
    assert identity.num_calls <= 6


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes"), KeyError("x"), KeyboardInterrupt()])
def test_other_errors_pass_through(error):
    config = CONFIGS[0]
    identity = Identity(config, fails_at={2}, error=error)
    side = config.pad_multiple
    with pytest.raises(type(error)):
        run(config, identity, 4 * side, 4 * side, tile=side * config.scale, overlap_px=0)
    assert identity.num_calls == 3


def test_a_failed_attempt_holds_no_memory():
    """The maps of a failed pass must be gone before the smaller one starts; a kept traceback would hold them."""
    alive = []

    class Map:
        def __init__(self):
            alive.append(self.__class__)

        def __del__(self):
            alive.pop()

    identity = Identity(CONFIGS[0], fails_at={0, 1})

    def run_tile(tile):
        held = Map()
        assert len(alive) == 1, "a map of the attempt before"
        result = identity(tile)
        del held
        return result

    side = 4 * CONFIGS[0].pad_multiple
    run(CONFIGS[0], run_tile, side, side, tile="none", overlap_px=0)
    assert not alive


def test_a_single_tile_is_handed_on_without_a_copy():
    config, returned = LOCAL, []

    def run_tile(tile):
        returned.extend(Identity(config)(tile))
        return returned[0], returned[1]

    results = run(config, run_tile, 128, 64, tile="none", overlap_px=64)
    assert [r.data_ptr() for r in results] == [r.data_ptr() for r in returned]


def test_what_a_tile_returns_is_not_written_to():
    """A tile's result may share memory with the prepared input, as it does here."""
    config = small_windows(LOCAL)
    x = prepared(64, 96)
    before = x.clone()
    plan = plan_tiles(config, 64, 96, tile=32, overlap_px=16, budget=0, itemsize=4)
    run_tiled(x, config, plan, Identity(config), CPU)
    assert torch.equal(x, before)
