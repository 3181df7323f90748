"""Shares of the work: told in the thread that computes, tile by tile, up to the whole."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from adacode_cli.engine.progress import Meter, listening, part
from adacode_cli.engine.restorer import Restorer


def told(work) -> list[float]:
    shares: list[float] = []
    with listening(shares.append):
        work()
    return shares


def test_a_meter_tells_shares_and_never_more_than_the_whole():
    def work() -> None:
        meter = Meter(4)
        for _ in range(5):
            meter.add(1)

    assert told(work) == [0.25, 0.5, 0.75, 1, 1]


def test_parts_of_parts_are_shares_of_the_whole():
    def work() -> None:
        Meter(1).add(0.5)
        with part(0.5, 1), part(0.5, 0.75):
            meter = Meter(2)
            meter.add(1)
        meter.add(1)  # it belongs to the part in which it was made
        Meter(0).add(1)

    assert told(work) == [0.5, 0.8125, 0.875]


def test_other_threads_and_later_work_are_not_heard():
    def work() -> None:
        thread = threading.Thread(target=lambda: Meter(1).add(1))
        thread.start()
        thread.join()

    assert told(work) == []
    Meter(1).add(1)
    with part(0, 0.5):
        Meter(1).add(1)


def test_an_exception_of_a_listener_ends_the_work():
    def refuse(_share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), listening(refuse):
        Meter(1).add(1)


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return Restorer.from_pretrained("compact", device="cpu", precision="fp32", tile=128)


@pytest.mark.parametrize("task", ["sr", "inpaint", "reconstruct"])
def test_each_tile_of_an_image_is_told_up_to_the_whole(restorer, task):
    image = np.random.default_rng(0).integers(0, 256, (72, 96, 3), np.uint8)
    scale = 4 if task == "sr" else 1
    options = {"mask": image[..., 0] > 200} if task == "inpaint" else {}
    shares = told(lambda: restorer.restore(task, image, **options))
    tiles = restorer._runners[task, scale][1].plan(72, 96, deep=False)
    assert len(shares) >= len(tiles.encoder) + 1 + len(tiles.decoder)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert shares[0] < 0.5


def test_codes_are_the_first_half_and_their_image_the_second(restorer):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    codes = []
    assert told(lambda: codes.append(restorer.encode(image)))[-1] == pytest.approx(1)
    assert told(lambda: restorer.decode(codes[0]))[-1] == pytest.approx(1)
