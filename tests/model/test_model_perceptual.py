"""LPIPS: a distance, and the same one as the reference function's."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
import torch.nn.functional as F

from adacode_cli.errors import WeightsError
from adacode_cli.evaluation.perceptual import load_perceptual
from adacode_cli.model.perceptual import Lpips

# A checkout of the project may lie beside a folder with the trained perceptual network; a bare clone has none.
SHARED = Path(__file__).parents[3] / "shared" / "perceptual"
FIRES = {2: (64, 16, 64), 3: (128, 16, 64), 4: (128, 32, 128), 5: (256, 32, 128), 6: (256, 48, 192)}
FIRES |= {7: (384, 48, 192), 8: (384, 64, 256), 9: (512, 64, 256)}
TAP_CHANNELS = (64, 128, 256, 384, 384, 512, 512)


def random_tensors() -> dict[str, torch.Tensor]:
    """SqueezeNet 1.1 with random filters and positive heads: already a distance, if not a trained one."""
    generator = torch.Generator().manual_seed(0)

    def conv(channels_out, channels_in, side):
        weight = torch.randn(channels_out, channels_in, side, side, generator=generator)
        return weight * (2 / (channels_in * side**2)) ** 0.5, torch.full((channels_out,), 0.01)

    tensors = dict(zip(("conv1.w", "conv1.b"), conv(64, 3, 3), strict=True))
    for i, (channels, squeezed, expanded) in FIRES.items():
        for name, layer in (
            ("squeeze1x1", conv(squeezed, channels, 1)),
            ("expand1x1", conv(expanded, squeezed, 1)),
            ("expand3x3", conv(expanded, squeezed, 3)),
        ):
            tensors[f"fire{i}/{name}_w"], tensors[f"fire{i}/{name}_b"] = layer
    heads = {f"head_{i}": torch.rand(1, c, 1, 1, generator=generator) / c for i, c in enumerate(TAP_CHANNELS)}
    return tensors | heads


@pytest.fixture(scope="module", params=["random", "trained"])
def lpips(request) -> Lpips:
    if request.param == "random":
        return Lpips(random_tensors()).eval()
    if not SHARED.is_dir():
        pytest.skip("no trained perceptual network beside this checkout")
    return load_perceptual(SHARED / "squeezenet_lpips.safetensors")


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    image = np.ascontiguousarray(skimage.data.chelsea()[60:188, 120:248])
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def blurred(image, sigma):
    reach = torch.arange(-12, 13).float()
    kernel = torch.exp(-(reach**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, 25)
    padded = F.pad(image, (12,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel, groups=3), kernel.transpose(2, 3), groups=3)


@torch.inference_mode()
def test_an_image_has_no_distance_from_itself(lpips, photo):
    assert lpips(photo, photo).tolist() == [0.0]


@torch.inference_mode()
def test_the_distance_is_the_same_both_ways_and_for_each_of_a_batch(lpips, photo):
    other = photo.flip(3)
    there = lpips(photo, other)
    torch.testing.assert_close(there, lpips(other, photo))
    both = lpips(torch.cat((photo, photo)), torch.cat((other, photo)))
    torch.testing.assert_close(both, torch.stack((there[0], torch.zeros(()))), rtol=1e-4, atol=1e-6)


@torch.inference_mode()
def test_the_more_blur_the_farther(lpips, photo):
    distances = [lpips(photo, blurred(photo, sigma)).item() for sigma in (0.5, 1.0, 2.0, 4.0)]
    assert distances == sorted(distances)
    assert 0 < distances[0] < distances[3] / 2


def test_the_distance_has_a_gradient_that_lessens_it(lpips, photo):
    moving = blurred(photo, 2.0).requires_grad_()
    distance = lpips(photo, moving)
    (gradient,) = torch.autograd.grad(distance.sum(), moving)
    assert torch.isfinite(gradient).all()
    step = 1e-3 * distance.item() / gradient.square().sum()
    assert lpips(photo, moving - step * gradient).item() < distance.item()


@torch.inference_mode()
def test_the_smallest_images_have_a_distance(lpips):
    torch.manual_seed(0)
    assert lpips(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)).item() > 0


def test_colours_are_not_interchangeable(lpips, photo):
    assert lpips(photo, photo.flip(1)).item() > 0


def test_the_first_filters_see_blue_first(photo):
    """The trained features expect blue, green, red."""
    tensors = random_tensors()
    tensors["conv1.w"][:, 1:] = 0
    sees_blue = Lpips(tensors)
    for channel, seen in ((0, False), (1, False), (2, True)):
        changed = photo.clone()
        changed[:, channel] = changed[:, channel].flip(2)
        assert (sees_blue(photo, changed).item() > 0) == seen


@pytest.mark.parametrize("name", ["conv1_w", "fire5/expand3x3_b", "head_6"])
def test_an_incomplete_file_is_refused_by_name(name):
    tensors = {k.replace(".", "_"): v for k, v in random_tensors().items() if k.replace(".", "_") != name}
    with pytest.raises(WeightsError, match=f"lacks {name.replace('/', '_')}$"):
        Lpips(tensors)


@torch.inference_mode()
def test_the_trained_distance_is_the_reference_functions(photo):
    if not (SHARED / "lpips_squeeze.py").is_file():
        pytest.skip("no reference function beside this checkout")
    reference = runpy.run_path(str(SHARED / "lpips_squeeze.py"))["LpipsSqueeze"](
        SHARED / "squeezenet_lpips.safetensors"
    )
    ours = load_perceptual(SHARED / "squeezenet_lpips.safetensors")
    torch.manual_seed(0)
    for other in (blurred(photo, 1.5), photo.flip(3), torch.rand(photo.shape), photo.clamp(0.2, 0.6)):
        torch.testing.assert_close(ours(photo, other), reference(photo, other), rtol=1e-4, atol=1e-6)
