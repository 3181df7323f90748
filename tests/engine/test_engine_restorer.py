"""The Python API: any image in, any size and factor, and the same layout and depth out."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_networks import ATTENTIVE, CPU, LOCAL, PUBLISHED, TinyWeights, photograph, psnr, restorer

import adacode_cli
from adacode_cli.engine.images import resize
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.restorer import Restored, Restorer
from adacode_cli.engine.runner import Runner
from adacode_cli.errors import DeviceError, UsageError

DEPTHS = [np.uint8, np.uint16, np.float32]
TASKS = ["sr", "inpaint", "reconstruct"]
LOCAL_RESTORER = restorer(LOCAL)


def restore(task, image, by=LOCAL_RESTORER, **options):
    mask = np.zeros(image.shape[:2], np.bool_)
    mask[:2, :3] = True
    mask[-1, -1] = False  # a hole that is the whole image is refused
    return by.restore(task, image, **({"mask": mask} if task == "inpaint" else {}), **options)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", DEPTHS)
@pytest.mark.parametrize("task", TASKS)
def test_layout_and_depth_stay(task, dtype, channels):
    image = photograph(21, 34, dtype, channels)
    kept = image.copy()
    restored = restore(task, image)
    factor = 4 if task == "sr" else 1
    assert isinstance(restored, Restored)
    assert restored.image.dtype == dtype
    assert restored.image.shape == (21 * factor, 34 * factor, *image.shape[2:])
    assert restored.image.flags.c_contiguous
    assert restored.mixing_weights.shape == (2, math.ceil(21 * factor / 8), math.ceil(34 * factor / 8))
    assert restored.weights_extent == (math.ceil(21 * factor / 8) * 8 / (21 * factor), 40 / 34 if factor == 1 else 1)
    assert restored.mixing_weights.dtype == np.float32
    assert restored.categories == ("meadow", "brick")
    assert restored.notes == ()
    np.testing.assert_array_equal(image, kept)
    if dtype == np.float32:
        assert 0 <= restored.image.min() <= restored.image.max() <= 1


@pytest.mark.parametrize("family", [LOCAL, PUBLISHED])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (2, 3), (63, 65), (64, 64)])
def test_any_size(family, task, size):
    restored = restore(task, photograph(*size), restorer(family))
    factor = 4 if task == "sr" else 1
    assert restored.image.shape == (size[0] * factor, size[1] * factor, 3)


@pytest.mark.parametrize("dtype", DEPTHS)
def test_depths_agree(dtype):
    """The same image in more bits gives the same result, to the 8 bits that they share."""
    coarse = photograph(20, 20)
    fine = {np.uint8: coarse, np.uint16: coarse * np.uint16(257), np.float32: coarse.astype(np.float32) / 255}[dtype]
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    assert psnr(LOCAL_RESTORER.sr(fine, 2) / top, LOCAL_RESTORER.sr(coarse, 2) / 255) > 55


def test_grey_is_what_grey_rgb_gives():
    grey = photograph(20, 30, np.uint16, 1)
    for_rgb = LOCAL_RESTORER.sr(np.dstack([grey] * 3), 2).astype(np.float64)
    unclipped = ((for_rgb > 0) & (for_rgb < 65535)).all(2)
    assert unclipped.mean() > 0.5
    np.testing.assert_allclose(LOCAL_RESTORER.sr(grey, 2)[unclipped], for_rgb.mean(2)[unclipped], atol=1)


@pytest.mark.parametrize("dtype", DEPTHS)
def test_alpha_passes_by_the_network(dtype):
    image = photograph(20, 30, dtype, 4)
    top = image[..., 3].max()
    image[..., 3] = np.maximum(image[..., 3], top / 8)  # where nothing is seen, colours are covered
    opaque = image.copy()
    opaque[..., 3] = top
    for task in TASKS:
        mine, other = restore(task, image).image, restore(task, opaque).image
        np.testing.assert_array_equal(mine[..., :3], other[..., :3])
        if task != "sr":
            np.testing.assert_array_equal(mine[..., 3], image[..., 3])
    enlarged = LOCAL_RESTORER.sr(image, 2.5)[..., 3]
    wanted = cv2.resize(image[..., 3].astype(np.float64), (75, 50), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_allclose(enlarged / top, np.clip(wanted / top, 0, 1), atol=0.006)
    np.testing.assert_array_equal(LOCAL_RESTORER.sr(image, 1)[..., 3], image[..., 3])


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 24), st.integers(1, 24), st.floats(1, 4))
def test_any_factor(height, width, scale):
    image = photograph(height, width)
    out = LOCAL_RESTORER.sr(image, scale)
    for side, given_side in zip(out.shape[:2], (height, width), strict=True):
        assert side >= 1
        assert abs(side - given_side * scale) <= 0.5 + 1e-9


@pytest.mark.parametrize(("side", "scale", "wanted"), [(1, 1, 1), (1, 1.5, 2), (3, 1.5, 5), (5, 2.5, 13), (5, 3.5, 18)])
def test_halves_are_rounded_up(side, scale, wanted):
    assert LOCAL_RESTORER.sr(photograph(side, side), scale).shape == (wanted, wanted, 3)


def test_a_factor_takes_the_next_larger_network_and_an_area_resize():
    weights = TinyWeights(LOCAL)
    r = Restorer(weights, CPU, RunOptions("fp32"))
    image = photograph(20, 28)
    for scale in (1, 1.3, 2, 2.1, 3, 4, 2, 4):
        r.sr(image, scale)
    assert weights.asked == [("sr", 2), ("sr", 4)], "each once, and then kept"
    np.testing.assert_array_equal(r.sr(image, 3), cv2.resize(r.sr(image, 4), (84, 60), interpolation=cv2.INTER_AREA))
    np.testing.assert_array_equal(r.sr(image, 1), cv2.resize(r.sr(image, 2), (28, 20), interpolation=cv2.INTER_AREA))


def test_a_single_file_of_a_larger_factor_serves_smaller_ones():
    r = Restorer(TinyWeights(LOCAL, only_scale=4), CPU, RunOptions("fp32"))
    image = photograph(8, 9)
    np.testing.assert_array_equal(r.sr(image, 2), cv2.resize(r.sr(image, 4), (18, 16), interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize("dtype", DEPTHS)
@pytest.mark.parametrize("channels", [1, 3])
def test_shrinking_averages_areas(dtype, channels):
    image = photograph(12, 20, dtype, channels)
    mean = image.reshape(6, 2, 10, 2, -1).astype(np.float64).mean((1, 3)).reshape(6, 10, *image.shape[2:])
    small = resize(image, 6, 10)
    assert small.dtype == dtype
    np.testing.assert_allclose(small, mean, atol=1e-6 if dtype == np.float32 else 0.5)
    assert resize(image, 12, 20) is image
    constant = np.full((7, 9), image.max(), dtype)
    np.testing.assert_array_equal(resize(constant, 5, 4), np.full((5, 4), image.max()))


def test_long_images_are_resized_too():
    assert resize(np.zeros((2, 70_000, 3), np.uint8), 1, 50_000).shape == (1, 50_000, 3)


@pytest.mark.parametrize("dtype", DEPTHS)
def test_growing_stays_in_range(dtype):
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    edge = np.zeros((8, 8), dtype)
    edge[:, 4:] = top
    large = resize(edge, 20, 21)
    assert (large.min(), large.max()) == (0, top)


@pytest.mark.parametrize("options", [{"tile": 64}, {"tile": "200"}, {"tile": "none"}, {"tile": "auto"}])
def test_tiles_through_the_api(options):
    image = photograph(40, 50)
    for task in TASKS:
        whole = restore(task, image, restorer(ATTENTIVE, tile="none")).image
        assert np.abs(restore(task, image, restorer(ATTENTIVE, **options)).image.astype(int) - whole).max() <= 1


def test_sixteen_bits_and_floats_are_not_computed_in_short_precision():
    """`auto` may compute 8-bit images in bf16, whose 8 significant bits would show in deeper ones."""
    auto, exact = restorer(ATTENTIVE, precision="auto"), restorer(ATTENTIVE)
    for dtype in (np.uint16, np.float32):
        image = photograph(20, 20, dtype)
        np.testing.assert_array_equal(auto.reconstruct(image), exact.reconstruct(image))


def test_the_package_offers_it():
    assert adacode_cli.Restorer is Restorer
    assert adacode_cli.Restored is Restored


@pytest.mark.parametrize("in_a_batch", [False, True])
@pytest.mark.parametrize("message", ["CUDA error: unspecified launch failure\nmore", "cuDNN error: CUDNN_STATUS_BAD"])
def test_a_device_that_stops_working_ends_the_run(monkeypatch, message, in_a_batch):
    """Every other image would fail alike."""

    def fails(*_args):
        if in_a_batch:
            raise RuntimeError("the batch that contained this image was given up") from RuntimeError(message)
        raise RuntimeError(message)

    monkeypatch.setattr(Runner, "restore", fails)
    with pytest.raises(DeviceError, match=r"the device has stopped working: (CUDA|cuDNN) error") as caught:
        restorer().reconstruct(photograph(20, 20))
    assert not caught.value.only_this_image
    assert "--device cpu" in caught.value.hint
    assert "more" not in str(caught.value)


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (7, 60), (40, 60)])
def test_a_size_that_the_network_reaches(size):
    assert restore("sr", photograph(20, 30), scale=2, size=size).image.shape == (*size, 3)


@pytest.mark.parametrize(
    ("task", "size", "words"),
    [
        ("sr", (41, 60), "a result of 60×41 pixels is not possible: with scale 2, it has from 1×1 to 60×40 pixels"),
        ("sr", (40, 61), "61×40 pixels"),
        ("sr", (0, 60), "60×0 pixels"),
        ("sr", (40, -1), "-1×40 pixels"),
        ("inpaint", (20, 30), "inpaint makes no results of another size"),
        ("reconstruct", (10, 15), "reconstruct makes no results of another size"),
    ],
)
def test_an_impossible_size(task, size, words):
    with pytest.raises(UsageError, match=words):
        restore(task, photograph(20, 30), scale=2, size=size)
