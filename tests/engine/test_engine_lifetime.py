"""A Restorer moves to another device, frees its networks, says what it is, and refuses work after its end."""

import gc
import threading
import weakref

import numpy as np
import pytest
import torch
from tiny_networks import CPU, LOCAL, TinyWeights, photograph, restorer

from adacode_cli.checkpoints.catalogue_file import weights_folder
from adacode_cli.engine import restorer as module
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.restorer import Restorer
from adacode_cli.errors import DeviceError, UsageError

IMAGE = photograph(16, 20)
MASK = np.zeros((16, 20), np.bool_)
MASK[4:8, 5:9] = True


def network_of(one):
    """A weak reference to the only network that a Restorer holds."""
    ((_, runner),) = one._runners.values()
    return weakref.ref(runner.network)


def test_the_end_of_a_block_frees_the_networks_at_once():
    gc.disable()  # what frees them is the end of the block, not the collector when it happens to run
    try:
        with restorer(LOCAL) as one:
            wanted = one.reconstruct(IMAGE)
            network = network_of(one)
            codes = one.encode(IMAGE)
            assert network() is not None
        assert network() is None
    finally:
        gc.enable()
    again = restorer(LOCAL)
    np.testing.assert_array_equal(again.reconstruct(IMAGE), wanted)
    np.testing.assert_array_equal(again.decode(codes).image, again.decode(again.encode(IMAGE)).image)


def test_what_is_asked_after_the_end_is_refused_with_a_remedy():
    one = restorer(LOCAL)
    codes, later = one.encode(IMAGE), one.sr(iter([IMAGE]))
    one.close()
    one.close()
    calls = [
        lambda: one.sr(IMAGE),
        lambda: one.sr([]),
        lambda: one.sr(iter([IMAGE])),
        lambda: next(later),
        lambda: one.inpaint(IMAGE, MASK),
        lambda: one.reconstruct(IMAGE),
        lambda: one.restore("sr", IMAGE),
        lambda: one.encode(IMAGE),
        lambda: one.decode(codes),
        one.prior,
        one.code_levels,
        lambda: one.prepare("sr"),
        lambda: one.require_room("sr", 8, 8, deep=False),
        lambda: one.to("cpu"),
        one.__enter__,
    ]
    for call in calls:
        with pytest.raises(UsageError, match="has been closed") as refused:
            call()
        assert "from_pretrained" in refused.value.hint


def test_an_error_in_the_block_is_not_hidden():
    with pytest.raises(ZeroDivisionError), restorer(LOCAL) as one:
        1 / 0  # noqa: B018
    assert "closed" in repr(one)


def test_an_image_that_another_thread_has_begun_is_finished(monkeypatch):
    one, begun, closed = restorer(LOCAL), threading.Event(), threading.Event()
    wanted, restore = one.reconstruct(IMAGE), module.Runner.restore

    def slow(self, *arguments):
        begun.set()
        assert closed.wait(60)
        return restore(self, *arguments)

    monkeypatch.setattr(module.Runner, "restore", slow)
    results = []
    thread = threading.Thread(target=lambda: results.append(one.reconstruct(IMAGE)))
    thread.start()
    assert begun.wait(60)
    one.close()
    closed.set()
    thread.join(60)
    np.testing.assert_array_equal(results[0], wanted)


@pytest.fixture
def elsewhere(monkeypatch):
    """A second device, "cuda:1" by name, whose networks have no values."""
    choose = module.choose_device
    monkeypatch.setattr(module, "choose_device", lambda n: torch.device("meta") if str(n) == "cuda:1" else choose(n))


@pytest.mark.usefixtures("elsewhere")
def test_networks_move_to_another_device_and_back():
    weights = TinyWeights(LOCAL)
    one = Restorer(weights, CPU, RunOptions("fp32"))
    wanted, codes = one.sr(IMAGE), one.encode(IMAGE)
    asked = len(weights.asked)
    assert one.to("cpu") is one
    assert one.to(torch.device("cpu")) is one
    one.sr(IMAGE)
    assert len(weights.asked) == asked, "it is where it was"
    assert one.to("cuda:1") is one
    assert one.device == "meta"
    assert one._runner(module.TASKS["sr"], 4).network.decoder.head.conv.weight.device.type == "meta"
    np.testing.assert_array_equal(one.to("cpu").sr(IMAGE), wanted)
    np.testing.assert_array_equal(one.encode(IMAGE).codes_KHW, codes.codes_KHW)


def test_a_device_that_there_is_not_changes_nothing(monkeypatch):
    one = restorer(LOCAL)
    wanted, network = one.sr(IMAGE), network_of(one)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for device, error in ("cuda:1", DeviceError), ("tpu", UsageError), (torch.device("xpu"), UsageError):
        with pytest.raises(error) as refused:
            one.to(device)
        assert refused.value.hint
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="no CUDA device"):
        one.to("cuda")
    assert one.device == "cpu"
    assert network_of(one)() is network()
    np.testing.assert_array_equal(one.sr(IMAGE), wanted)


@pytest.mark.usefixtures("elsewhere")
def test_a_device_that_cannot_compute_in_the_precision_changes_nothing():
    pytest.importorskip("openvino")
    one = Restorer(TinyWeights(LOCAL), CPU, RunOptions("int8"))
    with pytest.raises(DeviceError, match="int8 runs on a CPU only"):
        one.to("cuda:1")
    assert one.device == "cpu"


@pytest.mark.skipif(not (weights_folder() / "compact-sr-x4.safetensors").is_file(), reason="no bundled weights")
def test_what_it_shows():
    one = Restorer.from_pretrained("compact", device="cpu", precision="fp32", tile=512)
    assert repr(one) == "<Restorer 'compact': cpu, precision='fp32', tile=512, tiling='exact'>"
    one.close()
    assert repr(one) == "<Restorer 'compact': cpu, precision='fp32', tile=512, tiling='exact', closed>"
