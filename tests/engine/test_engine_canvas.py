"""An image that is finished tile by tile is the one that was finished whole: base, padding, rounding, means."""

import random

import cv2
import numpy as np
import pytest
import torch
from test_engine_exact import cut
from tiny_networks import CPU, LOCAL, for_task, tensor

from adacode_cli.engine.canvas import BaseImage, RawCanvas, SampleCanvas
from adacode_cli.engine.maps import Patch
from adacode_cli.engine.transfer import Outbox
from adacode_cli.geometry import Box
from adacode_cli.model.input import base_image

TASKS = pytest.mark.parametrize(("task", "scale"), [("sr", 2), ("sr", 4), ("inpaint", 1), ("reconstruct", 1)])
HEIGHT, WIDTH, CELL = 33, 21, 8
LAYOUTS = [(np.uint8, False), (np.uint16, False), (np.float32, False), (np.uint8, True), (np.uint16, True)]


def tiles(scale, seed=0):
    """The cells of a padded image, cut at random, some boxes twice, in any order; in output pixels."""
    rng, cells = random.Random(seed), [-(-side * scale // CELL) + 1 for side in (HEIGHT, WIDTH)]
    boxes = cut(rng, Box(0, 0, *cells), 3)
    boxes += rng.sample(boxes, 2)
    rng.shuffle(boxes)
    return [box.scaled(CELL) for box in boxes], [side * CELL for side in cells]


def put_all(canvas, detail_CHW, boxes, base):
    height, width = detail_CHW.shape[1:]
    for box in boxes:
        part = detail_CHW[(None, slice(None), *box.slices)].clone()
        canvas.put(Patch(part, box, height, width, CELL), base)


@TASKS
@pytest.mark.parametrize("strip_px", [1, 500, 10**9])
def test_the_base_added_in_parts_is_the_base(task, scale, strip_px):
    config = for_task(LOCAL, task, scale)
    x = tensor(config, HEIGHT + CELL, WIDTH + CELL)
    boxes, size = tiles(scale)
    detail = torch.randn(3, *size)
    canvas = RawCanvas(HEIGHT * scale, WIDTH * scale, scale, CPU, strip_px)
    put_all(canvas, detail, boxes, BaseImage(x, config))
    wanted, base = detail[:, : canvas.height, : canvas.width], base_image(x, config.base, scale)
    if base is not None:
        wanted = wanted + base[0, :, : canvas.height, : canvas.width]
    assert torch.equal(canvas.image_CHW, wanted)


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("strip_px", [1, 500, 10**9])
@pytest.mark.parametrize(("dtype", "grey"), LAYOUTS)
def test_samples_and_their_means(scale, strip_px, dtype, grey):
    boxes, size = tiles(scale, seed=scale)
    values = torch.rand(3, *size) * 1.4 - 0.2
    outbox = Outbox(CPU)
    canvas = SampleCanvas(HEIGHT * scale, WIDTH * scale, scale, outbox, dtype=dtype, grey=grey, strip_px=strip_px)
    put_all(canvas, values, boxes, None)
    outbox.close()
    kept = values[:, : canvas.height, : canvas.width].permute(1, 2, 0).numpy()
    clipped = np.clip(kept.mean(2) if grey else kept, 0, 1)
    top = 1 if dtype is np.float32 else np.iinfo(dtype).max
    assert canvas.pixels.dtype == dtype
    assert canvas.pixels.shape == clipped.shape
    if dtype is np.float32:
        np.testing.assert_array_equal(canvas.pixels, clipped)
    else:
        assert np.abs(canvas.pixels - clipped.astype(np.float64) * top).max() <= 0.51
    if scale == 1:
        assert canvas.shrunk is None
        return
    means = cv2.resize(canvas.pixels.astype(np.float32) / top, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(canvas.shrunk, means[..., None] if grey else means, rtol=0, atol=1e-6)


def test_a_tile_in_the_padding_leaves_nothing():
    canvas = RawCanvas(8, 8, 1, CPU)
    canvas.image_CHW.zero_()
    canvas.put(Patch(torch.ones(1, 3, 8, 8), Box(0, 8, 8, 16), 16, 16, 8), None)
    assert not canvas.image_CHW.any()
