"""Codes on a GPU: the same bits each time, and the codes that the CPU finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gpu_networks import PRECISIONS
from tiny_networks import photograph, psnr

from adacode_cli.codes.file import from_bytes, to_bytes
from adacode_cli.engine.restorer import Restorer

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize("precision", PRECISIONS)
def test_encoding_and_decoding_twice_gives_the_same_bits(precision, device):
    image = photograph(70, 100)
    images, files = [], []
    for tile in ("none", 64):  # in two objects, so that nothing is remembered
        restorer = Restorer.from_pretrained("compact", device=device.type, precision=precision, tile=tile)
        codes = restorer.encode(image)
        files.append(to_bytes(codes))
        again = to_bytes(restorer.encode(image))
        assert again == files[-1]
        first, second = (restorer.decode(from_bytes(files[0], name="x")).image for _ in range(2))
        np.testing.assert_array_equal(first, second)
        images.append(first)
    one, other = (from_bytes(data, name="x") for data in files)
    np.testing.assert_array_equal(one.codes_KHW, other.codes_KHW)
    assert np.abs(images[0].astype(int) - images[1]).max() <= 1


def test_the_device_finds_the_codes_that_the_cpu_finds(device):
    image = photograph(90, 120)
    here, there = (Restorer.from_pretrained("compact", device=name, precision="fp32") for name in ("cpu", device.type))
    ours, theirs = here.encode(image), there.encode(image)
    assert np.mean(ours.codes_KHW == theirs.codes_KHW) > 0.99
    assert np.abs(ours.steps_KHW.astype(int) - theirs.steps_KHW).max() <= 1
    # Whichever made them, either makes an image of them.
    assert psnr(here.decode(theirs).image / 255, there.decode(theirs).image / 255) > 50
    assert ours.decoder.digest == theirs.decoder.digest


@torch.inference_mode()
def test_the_nearest_code_is_found_exactly(device):
    """Distances in float64 on the CPU decide; a search in a short float would miss one in a hundred."""
    from adacode_cli.model.codebook import Codebook

    torch.manual_seed(0)
    book = Codebook(512, 32)
    cells = torch.randn(1, 32, 90, 80)
    flat = cells.double().permute(0, 2, 3, 1).reshape(-1, 32)
    apart = torch.cdist(flat, book.embedding.weight.double())
    found = book.to(device).nearest(cells.to(device)).cpu().flatten()
    chosen, least = apart.gather(1, found[:, None])[:, 0], apart.min(1).values
    assert float((chosen - least).max()) < 1e-5
