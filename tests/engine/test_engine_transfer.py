"""Parts of an image that arrive late, as from a GPU, are in their places when the image is handed out."""

import threading

import numpy as np
import pytest
import torch
from tiny_networks import ATTENTIVE, CPU, LOCAL, for_task, network, photograph

from adacode_cli.engine import runner as runner_module
from adacode_cli.engine import transfer
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.runner import Runner
from adacode_cli.engine.transfer import Outbox, upload


class Arrival:
    """Counts how often it was waited for."""

    def __init__(self) -> None:
        self.waits = 0

    def synchronize(self) -> None:
        self.waits += 1


class Late(Outbox):
    """As on a GPU: what was sent is read when it arrives, which is when many parts are under way or all are awaited."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.arrivals: list[Arrival] = []

    def close(self) -> None:
        assert not any(arrival.waits for arrival in self.arrivals), "the device was waited for before the end"
        super().close()

    def send(self, values: torch.Tensor, target: torch.Tensor) -> None:
        assert values.is_contiguous()
        assert (values.shape, values.dtype) == (target.shape, target.dtype)
        self.arrivals.append(Arrival())
        self._under_way(self.arrivals[-1], values, target)


def test_everything_arrives_in_order_and_few_bytes_are_under_way_at_once(monkeypatch):
    monkeypatch.setattr(transfer, "_MAX_BYTES_WAITING", 3 * 16)
    outbox, target = Late(CPU), torch.zeros(10, 4)
    for row in range(10):
        outbox.send(torch.full((4,), float(row)), target[row])
        done = [arrival.waits for arrival in outbox.arrivals]
        assert done == [1] * (len(done) - len(outbox._waiting)) + [0] * len(outbox._waiting)
        assert len(outbox._waiting) == min(row + 1, 3)
    Outbox.close(outbox)
    Outbox.close(outbox)
    assert torch.equal(target, torch.arange(10.0)[:, None].expand(10, 4))
    assert [arrival.waits for arrival in outbox.arrivals] == [1] * 10


def test_another_thread_may_wait_for_what_was_sent_in_inference_mode():
    with torch.inference_mode():
        outbox, target = Late(CPU), torch.zeros(3)
        outbox.send(torch.ones(3), target)
    thread = threading.Thread(target=outbox.close)
    thread.start()
    thread.join(30)
    assert target.tolist() == [1, 1, 1]


@pytest.mark.parametrize("tile", ["auto", 64])
@pytest.mark.parametrize(("dtype", "channels"), [(np.uint8, 3), (np.uint8, 1), (np.uint16, 3), (np.float32, 3)])
def test_an_image_that_arrives_late_is_the_same(monkeypatch, tile, dtype, channels):
    net, image = network(for_task(ATTENTIVE, "sr", 2)), photograph(70, 90, dtype, channels)
    wanted = Runner(net, CPU, RunOptions("fp32", tile)).restore(image)
    monkeypatch.setattr(runner_module, "Outbox", Late)
    found = Runner(net, CPU, RunOptions("fp32", tile)).restore(image)
    np.testing.assert_array_equal(found.pixels, wanted.pixels)
    np.testing.assert_array_equal(found.shrunk, wanted.shrunk)
    assert torch.equal(found.mixing_KHW, wanted.mixing_KHW)


def test_codes_and_their_images_arrive_late_too(monkeypatch):
    net, image = network(LOCAL), photograph(70, 90)
    plain = Runner(net, CPU, RunOptions("fp32"))
    code, _ = plain.encode(image)
    wanted = plain.decode(code, dtype=np.uint8, grey=False).pixels
    monkeypatch.setattr(runner_module, "Outbox", Late)
    late = Runner(net, CPU, RunOptions("fp32"))
    again, _ = late.encode(image)
    assert all(torch.equal(a, b) for a, b in zip(code.codes, again.codes, strict=True))
    np.testing.assert_array_equal(late.decode(again, dtype=np.uint8, grey=False).pixels, wanted)


def test_what_lies_in_host_memory_already_is_there_at_once():
    """As the mixing weights of an image whose maps did not fit the device."""
    outbox, target = Outbox(CPU), torch.zeros(3)
    outbox._stream = object()  # of a GPU, which would refuse it
    outbox.send(torch.ones(3), target)
    assert target.tolist() == [1, 1, 1]


def test_an_array_that_is_not_ours_is_copied():
    given = np.arange(12, dtype=np.uint16).reshape(3, 4)
    given.flags.writeable = False
    for array in (given, given[::-1, ::2]):
        assert upload(array, CPU).numpy().tolist() == array.tolist()
