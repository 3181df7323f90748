"""Images in the size that was asked for: runs of the network, an area resize, and images that stay as they are."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
from nearest import NearestRestorer

from adacode_cli.batch.enlarging import Enlarging, WithoutNetwork, reduced
from adacode_cli.batch.guard import Guarded
from adacode_cli.batch.restoring import Restoring
from adacode_cli.errors import DeviceError, InputError, QualityError
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.resolution import Resolution
from adacode_cli.imaging.samples import top_of
from adacode_cli.sizes import Fate, Sizing

DTYPES = [np.uint8, np.uint16, np.float32]


def fits(height, width, *, deep, scale):
    """There is room for everything."""


def picture(height=30, width=40, dtype=np.uint8, *, alpha=False, grey=False) -> Decoded:
    rng = np.random.default_rng(height * width)
    values = cv2.resize(rng.random((5, 6, 3)), (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    pixels = (values * top_of(dtype)).astype(dtype)
    coverage = (np.linspace(0, 1, width)[None].repeat(height, 0) * top_of(dtype)).astype(dtype) if alpha else None
    return Decoded(np.ascontiguousarray(pixels[..., 0]) if grey else pixels, coverage, notes=("a note",))


class Runs:
    """A `Restore` for each run; it keeps what each was given. spoilt: the number of a run that makes black images."""

    def __init__(self, *, spoilt: int = 0, restorer: object = None) -> None:
        self.made: list[tuple[float, tuple[int, int] | None, tuple[int, int]]] = []
        self._spoilt, self._restorer = spoilt, restorer or NearestRestorer()

    def __call__(self, scale, size):
        def restore(image, hole):
            self.made.append((scale, size, image.size))
            if len(self.made) in (self._spoilt, self._spoilt and self._spoilt + 1):
                image = replace(image, pixels=image.pixels * 0)
            return Restoring(self._restorer, "sr", scale, 1.0, size)(image, hole)

        return Guarded(restore, lambda: restore)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(
    ("sizing", "made"),
    [
        (Sizing("scale", 3), [(3, None, (30, 40))]),
        (Sizing("width", 70), [(2, (53, 70), (30, 40))]),
        (Sizing("long-edge", 80), [(2, (60, 80), (30, 40))]),
        (Sizing("short-edge", 100), [(4, (100, 133), (30, 40))]),
        (Sizing("scale", 6), [(2, None, (30, 40)), (4, (180, 240), (60, 80))]),
        (Sizing("width", 500), [(4, None, (30, 40)), (4, (375, 500), (120, 160))]),
    ],
)
def test_each_run_gets_the_result_of_the_one_before(dtype, grey, sizing, made):
    runs, image = Runs(), picture(dtype=dtype, alpha=True, grey=grey)
    after, restored = Enlarging(sizing, (4, 2), runs, fits)(image, None)
    assert runs.made == made
    assert after.size == sizing.asked(30, 40) == after.alpha.shape
    assert after.pixels.dtype == after.alpha.dtype == dtype
    assert after.pixels.ndim == image.pixels.ndim
    assert after.notes == ("a note",)
    assert restored.precision == "fp32"


def test_the_guard_sees_every_run():
    image = picture()
    for spoilt in (1, 2):
        runs = Runs(spoilt=spoilt)
        with pytest.raises(QualityError, match="it is black") as caught:
            Enlarging(Sizing("scale", 8), (4, 2), runs, fits)(image, None)
        assert len(runs.made) == spoilt + 1  # the spoilt one, and again in float32
        assert caught.value.image.size == ((60, 80) if spoilt == 1 else (240, 320))


def test_the_resolution_is_scaled_once_and_exactly():
    image = replace(picture(30, 41), resolution=Resolution(Fraction(300), Fraction(300)))
    after, _ = Enlarging(Sizing("width", 400), (4, 2), Runs(), fits)(image, None)
    assert after.size == (293, 400)
    assert after.resolution == Resolution(300 * Fraction(400, 41), 300 * Fraction(293, 30))


def test_the_memory_for_later_runs_is_planned_before_the_first():
    asked = []

    def room(height, width, *, deep, scale):
        asked.append((height, width, deep, scale))
        if height > 100:
            raise DeviceError("needs about 9 TB of memory", hint="Cut the image.", only_this_image=True)

    runs = Runs()
    Enlarging(Sizing("scale", 8), (4, 2), runs, room)(picture(), None)
    assert asked == [(60, 80, False, 4)]
    with pytest.raises(DeviceError, match=r"^run 2 of 2: needs about 9 TB of memory$") as caught:
        Enlarging(Sizing("scale", 16), (4, 2), runs, room)(picture(dtype=np.uint16), None)
    assert asked[1:] == [(120, 160, True, 4)]
    assert caught.value.only_this_image
    assert len(runs.made) == 2  # none for the image that does not fit
    asked.clear()
    Enlarging(Sizing("scale", 15), (2,), Runs(), room)(picture(4, 5), None)
    assert [height for height, *_ in asked] == [8, 16, 32]
    asked.clear()
    Enlarging(Sizing("scale", 4), (4, 2), Runs(), room)(picture(), None)
    assert asked == []  # the run itself looks


def test_an_error_of_a_run_says_which():
    class Small(NearestRestorer):
        def restore(self, task, image, **options):
            if image.shape[0] > 100:
                raise DeviceError("out of memory", only_this_image=True)
            return super().restore(task, image, **options)

    with pytest.raises(DeviceError, match=r"^run 2 of 2: out of memory$"):
        Enlarging(Sizing("scale", 16), (4, 2), Runs(restorer=Small()), fits)(picture(), None)


@pytest.mark.parametrize("as_large", [Fate.COPIED, Fate.LEFT_OUT])
@pytest.mark.parametrize("pixels", [39, 40])
def test_an_image_that_is_as_large_is_kept(as_large, pixels):
    runs, image = Runs(), picture(dtype=np.uint16, alpha=True)
    after, restored = Enlarging(Sizing("width", pixels, as_large), (4, 2), runs, fits)(image, None)
    assert runs.made == []
    assert after.pixels is image.pixels
    assert after.alpha is image.alpha
    assert after.without_network
    assert isinstance(restored, WithoutNetwork)
    assert (restored.fate, restored.precision) == (Fate.COPIED, "")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("grey", [False, True])
def test_a_smaller_image_is_means_of_areas(dtype, grey):
    runs, image = Runs(), picture(dtype=dtype, grey=grey)
    after, restored = Enlarging(Sizing("width", 10, Fate.SHRUNK), (4, 2), runs, fits)(image, None)
    assert (runs.made, restored.fate, after.size, after.pixels.dtype) == ([], Fate.SHRUNK, (8, 10), dtype)
    exact, _ = reduced(image.pixels, None, (10, 8))
    blocks = image.pixels.astype(np.float64).reshape(10, 3, 8, 5, -1).mean((1, 3)).reshape(exact.shape)
    tolerance = 1e-6 if dtype is np.float32 else 0.500001
    np.testing.assert_allclose(exact.astype(np.float64), blocks, rtol=0, atol=tolerance)
    top = top_of(dtype)
    assert abs(after.pixels.mean() / top - image.pixels.mean() / top) < 0.01


@pytest.mark.parametrize("dtype", DTYPES)
def test_hidden_colours_do_not_change_visible_ones(dtype):
    top = top_of(dtype)
    pixels = np.zeros((4, 8, 3), dtype)
    pixels[:, ::2] = (0.25 * top, 0.5 * top, 0.75 * top)
    pixels[:, 1::2] = top  # hidden white
    alpha = np.zeros((4, 8), dtype)
    alpha[:, ::2] = top
    after, coverage = reduced(pixels, alpha, (2, 4))
    np.testing.assert_allclose(after / top, np.full((2, 4, 3), (0.25, 0.5, 0.75)), rtol=0, atol=1 / 255)
    np.testing.assert_allclose(coverage / top, np.full((2, 4), 0.5), rtol=0, atol=1 / 255)
    opaque, full = reduced(pixels, np.full_like(alpha, top), (2, 4))
    np.testing.assert_allclose(opaque[0, 0] / top, (0.625, 0.75, 0.875), rtol=0, atol=1 / 255)
    assert (full == top).all()


def test_an_image_that_is_too_small_is_refused_without_a_run():
    runs = Runs()
    with pytest.raises(InputError, match="40×30 pixels are too few for --width 641"):
        Enlarging(Sizing("width", 641), (4, 2), runs, fits)(picture(), None)
    assert runs.made == []
