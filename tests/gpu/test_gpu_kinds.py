"""Tensors on the device, and a Restorer that moves there and frees it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_networks import photograph

from adacode_cli.engine.restorer import Restorer
from adacode_cli.errors import DeviceError

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32])
def test_a_tensor_of_the_device_gives_one_there_wherever_the_network_is(dtype, device):
    image = torch.from_numpy(photograph(40, 56)).permute(2, 0, 1)
    image = image if dtype == torch.uint8 else (image / 255).to(dtype)
    mask = torch.zeros(40, 56, dtype=torch.bool)
    mask[10:20, 12:22] = True
    for where in ("cpu", device.type):
        restorer = Restorer.from_pretrained("compact", device=where, precision="fp32")
        for call in (restorer.sr, lambda x, mend=restorer.inpaint: mend(x, mask.to(x.device))):
            on_host, there = call(image), call(image.to(device))
            assert (there.device.type, there.dtype) == (device.type, dtype)
            assert torch.equal(there.cpu(), on_host)
        assert restorer.sr(torch.stack([image, image]).to(device)).device.type == device.type


def test_a_restorer_that_has_moved_is_as_one_made_there(device):
    image = photograph(40, 56)
    wanted = Restorer.from_pretrained("compact", device=device.type, precision="fp32").sr(image)
    moved = Restorer.from_pretrained("compact", device="cpu", precision="fp32")
    on_cpu = moved.sr(image)
    np.testing.assert_array_equal(moved.to(device).sr(image), wanted)
    np.testing.assert_array_equal(moved.to("cpu").sr(image), on_cpu)


def test_the_end_of_a_block_gives_the_memory_of_a_gpu_back(cuda):
    before = torch.cuda.memory_allocated()
    with Restorer.from_pretrained("compact", device="cuda") as restorer:
        restorer.sr(photograph(40, 56))
        assert torch.cuda.memory_allocated() > before
    assert torch.cuda.memory_allocated() == before


def test_a_gpu_that_there_is_not(cuda):
    with pytest.raises(DeviceError, match="there is no cuda:"):
        Restorer.from_pretrained("compact").to(f"cuda:{torch.cuda.device_count()}")
