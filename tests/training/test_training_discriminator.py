"""The discriminator: normalised as it says, the same whenever it is the same, and able to learn."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from adacode_cli.training.discriminator import (
    UNetDiscriminator,
    fresh_discriminator,
    hinge_discriminator,
    hinge_generator,
)


def pictures(seed: int, num: int = 2, height: int = 32, width: int = 32) -> Tensor:
    return torch.rand(num, 3, height, width, generator=torch.Generator().manual_seed(seed))


def normalised(network: UNetDiscriminator) -> list[nn.Conv2d]:
    return [m for m in network.modules() if isinstance(m, nn.Conv2d) and hasattr(m, "parametrizations")]


def singular_values(network: UNetDiscriminator) -> Tensor:
    """Largest singular value of every normalised convolution's weight as it is used."""
    with torch.no_grad():
        return torch.stack([torch.linalg.svdvals(conv.weight.flatten(1))[0] for conv in normalised(network)])


@pytest.mark.parametrize(("channels", "millions"), [(64, 4.38), (32, 1.09)])
def test_it_has_as_many_parameters_as_it_says(channels, millions):
    with torch.device("meta"):
        network = UNetDiscriminator(channels)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (32, 40), (33, 47), (9, 15), (70, 12)])
def test_it_judges_every_pixel_whatever_the_sides(height, width):
    network = fresh_discriminator(4, 0)
    assert network(pictures(0, 2, height, width)).shape == (2, 1, height, width)


def reach(network: UNetDiscriminator) -> int:
    """How many rows of the image the verdict on one pixel depends on."""
    image = pictures(0, 1, 96, 96).requires_grad_()
    network(image)[0, 0, 48, 48].backward()
    assert float(image.grad[0, :, 48, 48].abs().sum()) > 0
    rows = image.grad.abs().sum((0, 1, 3)).nonzero()
    return int(rows.max() - rows.min()) + 1


def test_a_pixels_verdict_depends_on_far_ones_and_through_skips_on_detail():
    reaches = [reach(fresh_discriminator(4, 0).eval())]
    for level in range(3):  # the way up from the lowest level, the second, the third is cut: its skip is what is left
        network = fresh_discriminator(4, 0).eval()
        network.up[level].register_forward_hook(lambda conv, image, output: torch.zeros_like(output))
        reaches.append(reach(network))
    assert reaches == sorted(set(reaches), reverse=True)
    assert reaches[0] > 60
    assert reaches[-1] == 9  # five 3×3 convolutions less the cut one


def test_the_largest_singular_values_are_one_after_some_passes():
    network = fresh_discriminator(8, 0)
    assert len(normalised(network)) == 8
    for conv in normalised(network):  # as after a long way of training
        original = conv.parametrizations.weight.original
        noise = torch.randn(original.shape, generator=torch.Generator().manual_seed(1))
        original.data.add_(0.2 * noise).mul_(5)
    with torch.no_grad():
        for _ in range(60):
            network(pictures(0, 1, 8, 8))
    assert torch.allclose(singular_values(network), torch.ones(8), atol=0.02)


def test_autocast_does_not_touch_the_power_iteration():
    plain, cast = fresh_discriminator(4, 0), fresh_discriminator(4, 0)
    inside = []
    for conv in normalised(cast):
        norm = conv.parametrizations.weight[0]
        norm.register_forward_pre_hook(lambda *_: inside.append(torch.is_autocast_enabled("cpu")))
    for _ in range(3):
        plain(pictures(0))
        with torch.autocast("cpu", torch.bfloat16):
            logits = cast(pictures(0))
    assert inside == [False] * 24
    assert logits.dtype == torch.bfloat16
    assert hinge_generator(logits).dtype == torch.float32
    for (name, a), (_, b) in zip(plain.named_buffers(), cast.named_buffers(), strict=True):
        assert torch.equal(a, b), name


def test_the_state_is_all_there_is():
    network, other = fresh_discriminator(4, 0), fresh_discriminator(4, 1)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    for i in range(3):
        optimiser.zero_grad()
        hinge_discriminator(network(pictures(i)), network(pictures(i + 9))).backward()
        optimiser.step()
    assert not torch.equal(network.eval()(pictures(0)), other.eval()(pictures(0)))
    other.load_state_dict({name: value.clone() for name, value in network.state_dict().items()})
    assert torch.equal(network(pictures(0)), other(pictures(0)))
    network.train(), other.train()
    for i in range(3):  # and they stay alike while the power iterations go on
        assert torch.equal(network(pictures(i)), other(pictures(i)))


def test_looking_in_evaluation_mode_changes_nothing():
    network = fresh_discriminator(4, 0).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first = network(pictures(0))
    assert torch.equal(network(pictures(0)), first)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_seed_makes_one_discriminator_and_leaves_the_global_one_alone():
    torch.manual_seed(5)
    a = fresh_discriminator(4, 7).state_dict()
    drawn = torch.rand(3)
    b = fresh_discriminator(4, 7).state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], value) for name, value in fresh_discriminator(4, 8).state_dict().items())
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), drawn)
    weight = fresh_discriminator(4, 7).down[0].parametrizations.weight.original
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_it_learns_to_distinguish_noise_from_smooth_images_and_says_which_way_to_go():
    network = fresh_discriminator(8, 0)
    optimiser = torch.optim.Adam(network.parameters(), 3e-3, (0.9, 0.99))

    def smooth(seed: int) -> Tensor:
        return nn.functional.interpolate(pictures(seed, 4, 4, 4), (32, 32), mode="bilinear")

    for i in range(60):
        optimiser.zero_grad()
        hinge_discriminator(network(smooth(i)), network(pictures(1000 + i, 4))).backward()
        optimiser.step()
    network.eval().requires_grad_(False)
    assert float(network(smooth(5000)).mean()) > 0.5
    assert float(network(pictures(6000, 4)).mean()) < -0.5
    noisy = (
        smooth(5000) + 0.2 * torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    ).requires_grad_()
    before = hinge_generator(network(noisy))
    (gradient,) = torch.autograd.grad(before, noisy)
    after = hinge_generator(network(noisy.detach() - 0.05 * gradient.sign()))
    assert float(after) < float(before.detach())
