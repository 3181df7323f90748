"""Every integer sample survives a round trip, whatever the layout and however large the image is."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from adacode_cli.engine.canvas import STRIP_PX, SampleCanvas, strips
from adacode_cli.engine.images import check_image
from adacode_cli.engine.maps import Patch
from adacode_cli.engine.transfer import Outbox, to_tensor
from adacode_cli.errors import InputError
from adacode_cli.geometry import Box

shapes = arrays.array_shapes(min_dims=2, max_dims=2, max_side=9).flatmap(
    lambda shape: st.sampled_from([shape, (*shape, 3)])
)


def to_image(values_CHW, like, strip_px=STRIP_PX):
    """What a canvas makes of a whole image's values, in the dtype and layout of `like`."""
    outbox, (height, width) = Outbox(torch.device("cpu")), values_CHW.shape[1:]
    canvas = SampleCanvas(height, width, 1, outbox, dtype=like.dtype, grey=like.ndim == 2, strip_px=strip_px)
    canvas.put(Patch(values_CHW[None].clone(), Box(0, 0, height, width), height, width, 1), None)
    outbox.close()
    return canvas.pixels


pictures = st.sampled_from([np.uint8, np.uint16]).flatmap(lambda dtype: arrays.arrays(dtype, shapes))


@settings(deadline=None)
@given(pictures)
def test_integers_survive_the_round_trip(image):
    check_image(image)
    x = to_tensor(image)
    assert x.shape == (1, 3, *image.shape[:2])
    assert x.dtype == torch.float32
    assert x.is_contiguous()
    assert 0 <= x.min() <= x.max() <= 1
    back = to_image(x[0], image)
    assert back.dtype == image.dtype
    np.testing.assert_array_equal(back, image)


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_every_value_there_is(dtype, top):
    image = np.arange(top + 1, dtype=dtype).reshape(-1, 16)
    np.testing.assert_array_equal(to_image(to_tensor(image)[0], image), image)
    assert to_tensor(image).max() == 1


@settings(deadline=None)
@given(arrays.arrays(np.float32, shapes, elements=st.floats(0, 1, width=32)))
def test_floats_survive_the_round_trip(image):
    back = to_image(to_tensor(image)[0], image)
    assert back.dtype == np.float32
    # the mean of three equal numbers may differ from them in the last bit
    np.testing.assert_allclose(back, image, rtol=2e-7, atol=1e-44)
    if image.ndim == 3:
        np.testing.assert_array_equal(back, image)


def test_results_are_rounded_and_clipped():
    values = torch.tensor([-0.5, 0.49 / 255, 0.51 / 255, 254.6 / 255, 1.5])
    like = np.zeros((1, 1, 3), np.uint8)
    np.testing.assert_array_equal(to_image(values.expand(3, 1, 5), like)[0, :, 1], [0, 0, 1, 255, 255])
    grey = torch.tensor([0.2, 0.4, 0.9]).reshape(3, 1, 1)
    assert to_image(grey, np.zeros((1, 1), np.uint16)) == round(0.5 * 65535)


def test_the_image_given_is_neither_changed_nor_shared():
    image = np.full((2, 3, 3), 0.5, np.float32)
    image.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of memory that it could write to and must not
        x = to_tensor(image)
        to_tensor(image[::-1, ::2])
    x.zero_()
    assert (image == 0.5).all()


def test_large_images_are_converted_in_strips():
    width = STRIP_PX // 2 - 1
    image = np.random.default_rng(0).integers(0, 256, (3, width), np.uint8)
    np.testing.assert_array_equal(to_image(to_tensor(image)[0], image), image)


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 400))
def test_strips_are_the_rows_in_order(height, width, max_px):
    rows = list(strips(height, width, max_px))
    assert [row for part in rows for row in range(height)[part]] == list(range(height))
    assert all((part.stop - part.start) * width <= max_px or part.stop - part.start == 1 for part in rows)


@pytest.mark.parametrize("shape", [(), (4,), (0, 4), (4, 0), (4, 4, 0), (4, 4, 1), (4, 4, 5), (1, 4, 4, 3)])
def test_shapes_that_are_no_images(shape):
    with pytest.raises(InputError, match="not an image") as caught:
        check_image(np.zeros(shape, np.uint8))
    assert str(shape) in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.int32, np.float16, np.float64, np.complex64, ">u2", object])
def test_types_that_are_no_images(dtype):
    with pytest.raises(InputError, match="not an image"):
        check_image(np.zeros((4, 4, 3), dtype))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_counted(value):
    image = np.zeros((5, 4, 3), np.float32)
    image[1, 2, 0] = image[4, 3, 2] = value
    with pytest.raises(InputError, match="2 of the image's 60 samples are not finite") as caught:
        check_image(image)
    assert caught.value.exit_code == 3
    assert "inpaint" in caught.value.hint
