"""What torch's own convolutions copy where oneDNN's are missing: counted as torch allocates it, to the byte."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny_networks import CPU, network
from torch import nn
from torch.profiler import profile

from adacode_cli.engine.device import unfolds
from adacode_cli.engine.halves import halves_of, latent_maps
from adacode_cli.engine.maps import Grid
from adacode_cli.engine.plan import Costs
from adacode_cli.engine.segments import Blank, Ledger
from adacode_cli.training.presets import family_network

CONVOLUTIONS = {
    "3x3": nn.Conv2d(24, 8, 3, 1, 1),
    "1x1": nn.Conv2d(24, 8, 1),
    "half": nn.Conv2d(24, 8, 3, 2, 1),
    "enlarging": nn.ConvTranspose2d(24, 12, 4, 2, 1),
}


def allocated(work: Callable[[], object]) -> int:
    """Bytes that torch's allocator gives out for `work` and that are held at once, at most. Without oneDNN."""
    with torch.inference_mode(), torch.backends.mkldnn.flags(enabled=False):
        work()
        with profile(profile_memory=True) as seen:
            work()
    now = most = 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


def test_who_copies_neighbourhoods(monkeypatch):
    """A precision that oneDNN does not have on this CPU, and all of them where it is missing; a GPU never."""
    assert not unfolds(torch.float32, CPU)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        conv, x = CONVOLUTIONS["3x3"].to(dtype), torch.rand(1, 24, 40, 40).to(dtype)
        with torch.inference_mode(), profile(profile_memory=True) as seen:
            conv(x)
        names = {event.name for event in seen.events()}
        assert unfolds(dtype, CPU) is ("aten::mkldnn_convolution" not in names)
        assert not unfolds(dtype, torch.device("cuda"))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert unfolds(torch.float32, CPU)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_convolution_is_counted_with_its_copies(kind, dtype):
    conv, x = CONVOLUTIONS[kind].to(dtype), torch.rand(1, 24, 40, 40).to(dtype)
    ledger = Ledger(unfolds=True)
    blank = Blank(x.shape, dtype, ledger)
    if kind == "enlarging":
        torch.conv_transpose2d(blank, conv.weight, conv.bias, conv.stride[0], conv.padding[0])
    else:
        torch.conv2d(blank, conv.weight, conv.bias, conv.stride, conv.padding)
    assert ledger.peak - x.nbytes == allocated(lambda: conv(x))


def test_the_latent_parts_are_counted_with_their_copies():
    """A group of attention blocks ends in a convolution over the whole latent map."""
    config = family_network("compact", "sr", 4)
    net = network(config)
    grid = Grid.of(config, 16 * 16, 16 * 16)
    feature = torch.rand(1, config.channels[-1], grid.height, grid.width)
    taken = allocated(lambda: latent_maps(net, feature)) + feature.nbytes
    plain, unfolded = (
        Costs(halves_of(net, torch.float32, unfolds=how), config, grid, torch.float32, on_host=True)._latent_bytes()
        for how in (False, True)
    )
    assert plain < 0.9 * taken
    assert 0.95 * taken <= unfolded <= 1.4 * taken
