"""Whatever part of a map a chain of layers is run on, each value that comes out is the whole map's value."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from adacode_cli.engine.maps import Patch, add, add_to, concatenate, convolve, pack, unpack, upsample_convolve
from adacode_cli.engine.segments import Blank, Ledger
from adacode_cli.geometry import Box
from adacode_cli.model.blocks import enlarging_weight

CONVS = {(k, s, p): nn.Conv2d(2, 4, k, s, p) for k, s, p in ((3, 1, 1), (3, 2, 1), (4, 1, 1), (1, 1, 0), (5, 2, 2))}


ENLARGING = nn.Conv2d(4, 8, 3, padding=1)


def whole(height, width, channels=2, per_cell=4, seed=0):
    data = torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(seed))
    return Patch(data, Box(0, 0, height, width), height, width, per_cell)


def assert_part_of(part, all_of_it):
    assert (part.height, part.width, part.per_cell) == (all_of_it.height, all_of_it.width, all_of_it.per_cell)
    torch.testing.assert_close(part.data_BCHW, all_of_it.crop(part.box).data_BCHW, rtol=1e-5, atol=1e-5)


boxes = st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(7, 20)] * 2)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(CONVS)), boxes, st.integers(20, 27), st.integers(20, 27))
@torch.no_grad()
def test_a_convolution_of_a_part_is_that_part_of_the_convolution(kind, place, height, width):
    top, left, rows, columns = place
    box = Box(min(top, height - rows), min(left, width - columns), 0, 0)
    box = Box(box.top, box.left, box.top + rows, box.left + columns)
    x = whole(height, width)
    made = convolve(CONVS[kind], x.crop(box))
    assert_part_of(made, convolve(CONVS[kind], x))
    assert convolve(CONVS[kind], x).is_whole
    kernel, stride, _ = kind
    assert made.box.height >= (rows - kernel) // stride, "no more is cut off than must be"


@settings(deadline=None, max_examples=40)
@given(boxes, st.integers(20, 27), st.integers(20, 27), st.integers(0, 99))
@torch.no_grad()
def test_one_transposed_convolution_enlarges_and_convolves(place, height, width, seed):
    """Wherever the part lies: nearest ×2 and a padded 3×3 convolution of the whole map, and its part."""
    top, left, rows, columns = place
    top, left = min(top, height - rows), min(left, width - columns)
    x, conv = whole(height, width, seed=seed), CONVS[3, 1, 1]
    made = upsample_convolve(conv, enlarging_weight(conv), x.crop(Box(top, left, top + rows, left + columns)))
    large = torch.nn.functional.interpolate(x.data_BCHW, scale_factor=2, mode="nearest")
    wanted = Patch(conv(large), Box(0, 0, 2 * height, 2 * width), 2 * height, 2 * width, 2 * x.per_cell)
    assert_part_of(made, wanted)
    lost = 4 * rows * columns - made.box.area
    assert lost <= 4 * (rows + columns), "one row or column at each inner edge"


@torch.no_grad()
def test_packing_and_joining_keep_places():
    x, box = whole(16, 24, 4), Box(4, 8, 12, 20)
    for function in (lambda p: pack(p, 2), lambda p: unpack(p, 2)):
        assert_part_of(function(x.crop(box)), function(x))
    other = Box(6, 2, 14, 16)
    for function in (add, concatenate):
        joined = function(x.crop(box), x.crop(other))
        assert joined.box == Box(6, 8, 12, 16)
        assert_part_of(joined, function(x, x))
    kept = x.data_BCHW.clone()
    ours = Patch(x.data_BCHW.clone(), x.box, x.height, x.width, x.per_cell)
    assert torch.equal(add_to(ours, x).data_BCHW, 2 * kept)
    assert torch.equal(x.data_BCHW, kept)
    assert torch.equal(ours.data_BCHW, 2 * kept), "the sum takes the first one's place"


def test_what_a_patch_does_not_hold_cannot_be_cut_from_it():
    with pytest.raises(AssertionError, match="is not in"):
        whole(8, 8).crop(Box(2, 2, 6, 6)).crop(Box(1, 2, 5, 6))


@torch.no_grad()
def test_blanks_have_the_shapes_of_tensors_and_count_what_is_alive():
    ledger = Ledger()

    def chain(data):
        p = Patch(data, Box(8, 8, 40, 40), 64, 64, 4)
        y = convolve(CONVS[3, 2, 1], pack(p, 1).apply(torch.nn.functional.silu))
        y = upsample_convolve(ENLARGING, enlarging_weight(ENLARGING), y)
        return concatenate(unpack(y, 2), unpack(y, 2))

    blank = chain(Blank((1, 2, 32, 32), torch.float32, ledger))
    real = chain(torch.zeros(1, 2, 32, 32))
    assert blank.data_BCHW.shape == tuple(real.data_BCHW.shape)
    assert blank.box == real.box
    assert ledger.now == real.data_BCHW.numel() * 4
    assert ledger.peak >= 2 * ledger.now
    with pytest.raises(KeyError):
        torch.sigmoid(blank.data_BCHW)
