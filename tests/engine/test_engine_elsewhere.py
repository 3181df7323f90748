"""On a device of its own memory nothing mixes tensors of two devices, and nothing asks the device for a value.

Torch's "meta" device stands for a GPU: it has shapes and no values, and cannot be asked for a value at all. Some of its
operations refuse tensors of another device; for all of them that is watched here.
"""

import contextlib
import copy

import numpy as np
import pytest
import torch
from tiny_networks import LAYOUTS, network_of, photograph
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from adacode_cli.engine import passage as passage_module
from adacode_cli.engine import runner as runner_module
from adacode_cli.engine.maps import Grid
from adacode_cli.engine.plan import RunOptions, images_together
from adacode_cli.engine.runner import Runner
from adacode_cli.engine.transfer import Outbox

META = torch.device("meta")


class OneDevice(TorchDispatchMode):
    """Operations between tensors of two devices fail, except copies; a CPU's scalar goes anywhere."""

    copies = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        devices = {tensor.device.type for tensor in tensors if tensor.ndim or tensor.device == META}
        assert func in self.copies or len(devices) < 2, f"{func} of tensors on {devices}"
        return func(*args, **(kwargs or {}))


class Sent(Outbox):
    """Remembers what was sent; an image without values is never complete, so all of it counts as finite."""

    sent: list = []  # noqa: RUF012

    def send(self, values, target):
        assert values.device == META, "what comes from elsewhere has been waited for"
        assert values.is_contiguous()
        assert (values.shape, values.dtype, target.device.type) == (target.shape, target.dtype, "cpu")
        self.sent.append(tuple(target.shape))
        target.fill_(1)


@pytest.fixture
def elsewhere(monkeypatch):
    """A runner of a layout on the device that stands for a GPU, which has 8 GB."""

    def made(layout, tile="auto", precision="fp32"):
        return Runner(copy.deepcopy(network_of(layout)), META, RunOptions(precision, tile))

    monkeypatch.setattr(passage_module, "free_bytes", lambda _: 8 << 30)
    monkeypatch.setattr(runner_module, "Outbox", Sent)
    monkeypatch.setattr(Sent, "sent", [])
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # which meta has not
    return made


# In tiles, one of each kind, because each operation is looked at, and these are many.
TILED = ("compact inpaint", "compact reconstruct, three levels of codes", "published inpaint", "trunk sr ×4, halved")


@pytest.mark.parametrize(
    ("layout", "tile", "precision"),
    [*((layout, "auto", "fp32") for layout in LAYOUTS), *((layout, 64, "bf16") for layout in TILED)],
)
def test_an_image_is_queued_whole(elsewhere, layout, tile, precision):
    runner = elsewhere(layout, tile, precision)
    assert runner.plan(90, 70, deep=False).resident
    image = photograph(90, 70)
    hole = np.eye(90, 70, dtype=bool) if runner.config.task == "inpaint" else None
    with OneDevice():
        found = runner.restore(image, hole)
    scale = runner.config.scale
    assert found.pixels.shape == (90 * scale, 70 * scale, 3)
    assert found.pixels.all(), "every place was sent"
    assert (found.shrunk is None) == (scale == 1)
    assert tuple(found.mixing_KHW.shape) in Sent.sent
    assert (1,) in Sent.sent, "the answer to whether all is finite comes with the image"


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_deep_and_grey_images_too(elsewhere, dtype):
    found = elsewhere("trunk sr ×4").restore(photograph(40, 50, dtype, channels=1))
    assert (found.pixels.shape, found.pixels.dtype) == ((160, 200), dtype)


def test_small_images_share_a_batch_on_a_gpu():
    config, cuda = LAYOUTS["trunk sr ×4"], torch.device("cuda")
    small, middle, large = (Grid.of(config, side, side) for side in (64, 256, 1024))
    for normalise, wanted in ((False, [16, 16, 1]), (True, [16, 2, 1])):
        assert [images_together(grid, cuda, normalise=normalise) for grid in (small, middle, large)] == wanted
    assert {images_together(small, torch.device(name), normalise=False) for name in ("cpu", "mps")} == {1}


def test_asking_for_a_value_would_have_been_seen(elsewhere):
    """What these tests rest on."""
    x = torch.zeros(3, device=META)
    with pytest.raises((RuntimeError, NotImplementedError)):
        bool(x.isfinite().all())
    with pytest.raises((RuntimeError, NotImplementedError)):
        x.cpu()
    weight = torch.zeros(1, 1, 3, 3)
    with OneDevice(), pytest.raises(AssertionError, match="cpu"):
        torch.conv2d(torch.zeros(1, 1, 3, 3, device=META), weight)
