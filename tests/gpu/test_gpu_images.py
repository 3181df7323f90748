"""Images of every kind through `Restorer` on a GPU, and a folder of them through the program."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from adacode_process import REAL, environment
from gpu_networks import PRECISIONS
from PIL import Image
from tiny_networks import photograph, psnr

from adacode_cli.engine.restorer import Restorer

pytestmark = pytest.mark.cuda

DTYPES = (np.uint8, np.uint16, np.float32)
TOPS = {np.uint8: 255, np.uint16: 65535, np.float32: 1}


@pytest.fixture(scope="module")
def restorers(device):
    """One on the device and one on the CPU, both in float32."""
    return [Restorer.from_pretrained("compact", device=name, precision="fp32") for name in (device.type, "cpu")]


def both(restorers, task, image, **how):
    results = [restorer.restore(task, image, **how) for restorer in restorers]
    for result in results:
        assert result.image.dtype == image.dtype
        assert np.isfinite(result.image.astype(np.float64)).all()
    return results


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_kinds_of_images_are_what_they_are_on_the_cpu(restorers, dtype, channels):
    image = photograph(20, 30, dtype, channels)
    there, here = both(restorers, "sr", image, scale=4)
    assert there.image.shape == (80, 120, *image.shape[2:])
    assert psnr(there.image / TOPS[dtype], here.image / TOPS[dtype]) > 60
    if channels == 4:
        np.testing.assert_array_equal(there.image[..., 3], here.image[..., 3])


@pytest.mark.parametrize("scale", [1, 1.5, 2, 3])
def test_other_scales(restorers, scale):
    image = photograph(20, 26)
    there, here = both(restorers, "sr", image, scale=scale)
    assert there.image.shape == here.image.shape
    assert psnr(there.image / 255, here.image / 255) > 50


def test_outside_of_a_hole_nothing_changes(restorers):
    image, hole = photograph(90, 120), np.zeros((90, 120), bool)
    hole[30:50, 40:70] = True
    there, here = both(restorers, "inpaint", image, mask=hole)
    np.testing.assert_array_equal(there.image[~hole], image[~hole])
    assert (there.image[hole] != image[hole]).any()
    assert psnr(there.image / 255, here.image / 255) > 50


@pytest.mark.parametrize("denoise", [0, 0.5])
def test_noise_that_is_to_stay(restorers, denoise):
    there, here = both(restorers, "sr", photograph(20, 25), scale=4, denoise=denoise)
    assert psnr(there.image / 255, here.image / 255) > 50


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_flat_images_stay_flat_and_finite(device, value, precision):
    image = np.full((32, 40, 3), value, np.uint8)
    large = Restorer.from_pretrained("compact", device=device.type, precision=precision).sr(image, 4)
    assert np.abs(large.astype(int) - value).max() < 40


def test_a_folder_through_the_program_is_what_the_restorer_makes(device, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    sizes = [(20, 28), (32, 17), (9, 45)]
    for index, size in enumerate(sizes):
        Image.fromarray(photograph(*size, seed=index)).save(photos / f"{index}.png")
    arguments = ("sr", str(photos), "-o", str(tmp_path / "out"), "--device", device.type, "--format", "png")
    command = [*REAL, *arguments, "--precision", "fp32"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    restorer = Restorer.from_pretrained("compact", device=device.type, precision="fp32")
    for index, size in enumerate(sizes):
        made = np.asarray(Image.open(tmp_path / "out" / f"{index}.png"))
        wanted = restorer.sr(photograph(*size, seed=index), 4)
        assert np.abs(made.astype(int) - wanted).max() <= 1
