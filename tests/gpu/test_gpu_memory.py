"""Memory of a GPU that runs out for real, and what plans say of it beside what the allocator has given."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from adacode_process import environment
from gpu_networks import made

from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.runner import Runner
from adacode_cli.model.network import AdaCode
from adacode_cli.training.initialise import initialise
from adacode_cli.training.presets import family_network

pytestmark = pytest.mark.cuda

MAX_BYTES = 4 << 30
# Beside a plan: scratch space of convolutions, which is the library's choice.
SLACK_BYTES = 128 << 20

LIMITED = """
    import json, sys

    import numpy as np
    import torch

    from adacode_cli.checkpoints.load import WeightsSource
    from adacode_cli.engine.plan import RunOptions
    from adacode_cli.engine.runner import Runner
    from adacode_cli.errors import DeviceError

    share, tile, path = float(sys.argv[1]), sys.argv[2], sys.argv[3]
    task, scale = ("sr", 4) if sys.argv[4] == "sr" else ("inpaint", 1)
    network = WeightsSource("compact", None).network(task, scale)[0]
    runner = Runner(network, torch.device("cuda"), RunOptions("fp32", tile))
    side, few = 2800 // scale, 128 // scale
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    hole = np.zeros((side, side), bool) if task == "inpaint" else None
    if hole is not None:
        hole[::50] = True

    def restored(rows):
        return runner.restore(image[:rows, :rows], None if hole is None else hole[:rows, :rows])

    restored(few)  # kernels, and what the libraries keep
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before, kept = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    limit = int(share * runner.plan(side, side, deep=False).memory.device_bytes)
    if sys.argv[5] == "limited":
        torch.cuda.set_per_process_memory_fraction((kept + limit) / torch.cuda.get_device_properties(0).total_memory)
    result = {"error": None}
    try:
        np.save(path, restored(side).pixels)
    except DeviceError as error:
        result = {"error": str(error), "only_this_image": error.only_this_image}
    result |= {"limit": limit, "peak": torch.cuda.max_memory_allocated() - before}
    torch.cuda.set_per_process_memory_fraction(1.0)
    result["finite"] = bool(np.isfinite(restored(few).mixing_KHW).all())  # as good as before
    print(json.dumps(result))
"""


def in_a_process(how, tile, path, task="sr", share=0.35):
    """The result of a process whose run may take, in addition to what it holds, a share of its plan; or all."""
    words = [str(share), tile, str(path), task, how]
    command = [sys.executable, "-c", textwrap.dedent(LIMITED), *words]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["finite"]
    return result


@pytest.mark.parametrize("task", ["sr", "inpaint"])
@pytest.mark.parametrize("tile", ["none", "2800"])
def test_tiles_that_do_not_fit_are_halved_and_the_image_is_the_same(cuda, tmp_path, tile, task):
    free = in_a_process("free", tile, tmp_path / "free.npy", task)
    tight = in_a_process("limited", tile, tmp_path / "tight.npy", task)
    assert free["peak"] > tight["limit"], "the first tile would have fitted"
    assert tight["error"] is None, tight
    one, other = (np.load(tmp_path / name).astype(int) for name in ("free.npy", "tight.npy"))
    # Of noise with 612,500 codes, a few are equally near; other kernels for other sizes of tiles decide them otherwise.
    apart = np.abs(one - other) > 1
    assert apart.mean() < 1e-3, f"{apart.mean():.2%} of the values differ, by up to {np.abs(one - other).max()}"


def test_no_room_for_the_smallest_tile_is_that_images_error(cuda, tmp_path):
    result = in_a_process("limited", "64", tmp_path / "none.npy", share=0.0)
    assert result["error"] is not None
    assert "memory" in result["error"]
    assert result["only_this_image"]


def published() -> AdaCode:
    """The published sr ×4 of full size; values do not matter to memory."""
    torch.manual_seed(0)
    network = AdaCode(family_network("published", "sr", 4))
    initialise(network)
    return network.eval().requires_grad_(requires_grad=False)


def peak(runner: Runner, height: int, width: int) -> tuple[int, int]:
    """Bytes that a run took at its worst moment: beyond what there was before, and in all."""
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    runner.restore(image)
    return torch.cuda.max_memory_allocated() - before, torch.cuda.max_memory_allocated()


def ready(which: str, cuda: torch.device) -> Runner:
    """A runner in bf16 that has restored a small image: kernels, and what the libraries keep, are there."""
    runner = Runner(published() if which == "published" else made(which), cuda, RunOptions("bf16"))
    peak(runner, 16, 16)
    return runner


@pytest.mark.parametrize("size", [(128, 128), (256, 384), (1000, 1000)])
@pytest.mark.parametrize("which", ["published", "sr-x4"])
def test_a_run_takes_what_its_plan_says(cuda, which, size):
    runner = ready(which, cuda)
    planned = runner.plan(*size, deep=False).memory.device_bytes
    taken, _ = peak(runner, *size)
    assert taken <= 1.25 * planned + SLACK_BYTES
    assert planned <= 1.25 * taken + SLACK_BYTES


def test_one_megapixel_of_the_published_network_fits_four_gigabytes_and_is_planned_within_a_quarter(cuda):
    """Where a device has more, whole maps lie on it; with this limit the plan must find another way."""
    runner = ready("published", cuda)
    total = torch.cuda.get_device_properties(cuda).total_memory
    torch.cuda.set_per_process_memory_fraction(MAX_BYTES / total)
    try:
        planned = runner.plan(1000, 1000, deep=False).memory.device_bytes
        taken, in_all = peak(runner, 1000, 1000)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert in_all <= MAX_BYTES
    assert taken == pytest.approx(planned, rel=0.25)


def test_memory_does_not_grow_from_image_to_image(cuda):
    runner = ready("sr-x4", cuda)
    held = []
    for index in range(6):
        peak(runner, 64 + 16 * (index % 3), 80)
        held.append(torch.cuda.memory_allocated())
    assert max(held[3:]) <= max(held[:3])


def test_a_plan_for_the_device_of_these_tests_can_be_made(device):
    """Everywhere: the arithmetic behind the figures above."""
    runner = Runner(made("sr-x4"), device, RunOptions("bf16" if device.type == "cuda" else "fp32"))
    small, large = (runner.plan(side, side, deep=False).memory for side in (64, 512))
    assert small.host_bytes <= large.host_bytes
    assert small.device_bytes <= large.device_bytes <= MAX_BYTES
    assert (large.device_bytes > 0) == (device.type == "cuda")
