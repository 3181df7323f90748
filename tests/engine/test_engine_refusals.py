"""Every impossible request to the Python API is refused in words, and so is an image too large for memory."""

import math
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from tiny_networks import LOCAL, TinyWeights, photograph, restorer

from adacode_cli.engine import passage, plan
from adacode_cli.engine.restorer import Restorer
from adacode_cli.errors import DeviceError, InputError, UsageError, WeightsError

TASKS = ["sr", "inpaint", "reconstruct"]
LOCAL_RESTORER = restorer(LOCAL)


@pytest.mark.parametrize("scale", [0, 0.99, 4.01, -2, math.nan, math.inf])
def test_impossible_factors(scale):
    with pytest.raises(UsageError, match="scale") as caught:
        LOCAL_RESTORER.sr(photograph(4, 4), scale)
    assert caught.value.hint


def test_impossible_tasks():
    with pytest.raises(UsageError, match="colorize") as caught:
        LOCAL_RESTORER.restore("colorize", photograph(4, 4))
    assert "reconstruct" in caught.value.hint


@pytest.mark.parametrize("task", TASKS)
def test_what_is_no_image(task):
    bad = photograph(4, 4, np.float32)
    bad[0, 0, 0] = np.nan
    for image in (np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4), np.int64), np.zeros((0, 4), np.uint8), bad):
        with pytest.raises(InputError):
            LOCAL_RESTORER.restore(task, image, mask=np.zeros(image.shape[:2], np.bool_))


@pytest.mark.parametrize(
    ("mask", "advice"),
    [
        (None, "boolean"),
        (np.zeros((4, 5), np.uint8), "boolean"),
        (np.zeros((4, 5), np.float32), "boolean"),
        (np.zeros((5, 4), np.bool_), "height and width"),
        (np.zeros((4, 5, 1), np.bool_), "mask[..., 0]"),
        (np.zeros((2, 2), np.bool_), "height and width"),
    ],
)
def test_what_is_no_mask(mask, advice):
    with pytest.raises(InputError, match="mask") as caught:
        LOCAL_RESTORER.inpaint(photograph(4, 5), mask)
    assert caught.value.exit_code == 3
    assert advice in caught.value.hint


@pytest.mark.parametrize("edge", [{"grow": -1}, {"feather": -1}])
def test_impossible_mask_edges(edge):
    with pytest.raises(UsageError):
        LOCAL_RESTORER.inpaint(photograph(4, 5), np.zeros((4, 5), np.bool_), **edge)


def test_weights_that_there_are_not():
    with pytest.raises(WeightsError):
        Restorer.from_pretrained("no-such-weights", device="cpu")


IMAGE_UNDER_A_LIMIT = """
    import resource, sys
    from pathlib import Path

    import numpy as np
    import torch

    from adacode_cli.errors import DeviceError
    from tiny_networks import LOCAL, photograph, restorer

    torch.set_num_threads(1)
    small, large = photograph(16, 16), np.zeros((1500, 1500, 3), np.uint8)
    r = restorer(LOCAL, tile=128)
    r.sr(small)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 150_000_000, -1))
    try:
        r.sr(large)
    except DeviceError as error:
        print(error.exit_code, error.message, "|", error.hint)
    print(r.sr(small).shape)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits address space as Linux does")
def test_an_image_that_does_not_fit_memory_is_reported_and_the_next_one_works():
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])}
    command = [sys.executable, "-c", textwrap.dedent(IMAGE_UNDER_A_LIMIT)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr
    message, shape = run.stdout.splitlines()
    words = r"5 an image of 1500×1500 pixels needs about \d+ MB of memory, and \d+ MB are free \| "
    remedy = r"(Use --precision bf16, cut|Cut) the image"  # bf16 is advised where the processor has it
    assert re.match(words + remedy, message), message
    assert shape == "(64, 64, 3)"


def test_room_is_asked_for_without_an_image(monkeypatch):
    """What a run of the network would refuse is refused before it, by the size alone."""
    by = restorer(LOCAL)
    by.require_room("sr", 3000, 4000, deep=False)
    monkeypatch.setattr(passage, "free_bytes", lambda on: 100 << 20)
    monkeypatch.setattr(plan, "obtainable_bytes", lambda on: 100 << 20)
    by.require_room("sr", 30, 40, deep=True)
    needs = []
    for deep in (False, True):
        with pytest.raises(DeviceError, match="an image of 4000×3000 pixels needs about") as refused:
            by.require_room("sr", 3000, 4000, deep=deep, scale=2)
        assert refused.value.only_this_image
        needs.append(refused.value.message)
    assert needs[0] != needs[1]  # more for samples of more bytes


@pytest.mark.parametrize("most", [2, 4])
def test_the_factors_are_those_of_the_weights(monkeypatch, most):
    monkeypatch.setattr(TinyWeights, "largest_scale", lambda self, task: most, raising=False)
    assert restorer(LOCAL).factors("sr") == ((4, 2) if most == 4 else (2,))


def test_weights_of_another_task_have_no_factors():
    name = "compact-inpaint"
    with pytest.raises(WeightsError, match=f"{name} is for inpaint, not for sr"):
        Restorer.from_pretrained(name, device="cpu").factors("sr")
