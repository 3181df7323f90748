"""Plans part the image on the latent grid, keep to the memory that there is, and say what a run really takes."""

import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_networks import CPU, LAYOUTS, network

from adacode_cli.engine import plan as plan_module
from adacode_cli.engine.device import rounded
from adacode_cli.engine.halves import halves_of
from adacode_cli.engine.maps import Grid
from adacode_cli.engine.plan import Costs, Memory, RunOptions, plan_tiles, require_room
from adacode_cli.errors import DeviceError

DEVICES = [CPU, torch.device("cuda")]
PLENTY = Memory(1 << 60, 1 << 60)
layouts, tile_choices = st.sampled_from(list(LAYOUTS)), st.sampled_from(["auto", "none", 64, "100", 128, 1000])


@cache
def parts_of(layout):
    """Encoder and decoder of a network of this layout. Not to be changed."""
    return halves_of(network(LAYOUTS[layout]), torch.float32)


def plan(layout, height, width, *, room=PLENTY, device=CPU, **options):
    config = LAYOUTS[layout]
    grid = Grid.of(config, height, width)
    costs = Costs(parts_of(layout), config, grid, torch.float32, on_host=device == CPU)
    return plan_tiles(costs, RunOptions(**options), device, room), grid


@settings(deadline=None, max_examples=40)
@given(layouts, st.integers(1, 3000), st.integers(1, 3000), tile_choices, st.sampled_from(DEVICES), st.integers(0, 32))
def test_any_plan_parts_the_latent_grid(layout, height, width, tile, device, room_bits):
    made, grid = plan(layout, height, width, tile=tile, device=device, room=Memory(1 << room_bits, 1 << room_bits))
    for boxes in (made.encoder, made.decoder):
        count = np.zeros((grid.height, grid.width), np.int64)
        for box in boxes:
            count[box.slices] += 1
        assert (count == 1).all()
    if tile not in ("auto", "none"):
        assert max(max(b.height, b.width) for b in made.decoder) * grid.cell_px <= max(int(tile), grid.cell_px)
    assert (tile != "none") or len(made.decoder) == 1


@settings(deadline=None, max_examples=40)
@given(layouts, st.integers(200, 2000), st.integers(200, 2000), st.floats(0.05, 1.5), st.sampled_from(DEVICES))
def test_what_fits_is_chosen_if_anything_does(layout, height, width, share, device):
    easy, grid = plan(layout, height, width, device=device)
    room = Memory(int(share * easy.memory.host_bytes), int(share * easy.memory.device_bytes))
    made, _ = plan(layout, height, width, device=device, room=room)
    if not made.memory.fits(room):
        smallest, _ = plan(layout, height, width, device=device, room=room, tile=grid.smallest_tile * grid.cell_px)
        assert made.memory.fits(smallest.memory)
    assert len(made.decoder) >= len(easy.decoder)
    assert not made.sampled or parts_of(layout).normalise


def test_tiles_of_an_image_are_about_the_same_size():
    made, _ = plan("compact reconstruct", 1030, 64 * 40)
    heights = {box.height for box in made.decoder}
    assert max(heights) - min(heights) <= 1
    assert len(made.decoder) == 2 * 3


def test_memory_fragmentation_is_part_of_the_plan():
    """Where more than four tiles follow one another the host holds a tile twice; a device's own memory does not."""
    config = LAYOUTS["compact sr ×4"]

    def memory(num_tiles: int, *, on_host: bool) -> Memory:
        side = 400
        grid = replace(Grid.of(config, 8, 8), height=num_tiles * side, width=side)
        costs = Costs(parts_of("compact sr ×4"), config, grid, torch.float32, on_host=on_host)
        return costs.of((8, 8), (side, side), sampled=False)

    host = [memory(n, on_host=True).host_bytes for n in (3, 4, 5, 6)]
    grown = np.diff(host)
    assert grown[0] == pytest.approx(grown[2], rel=1e-6)
    segment = parts_of("compact sr ×4").decoder.whole
    assert grown[1] - grown[0] == pytest.approx(segment.bytes_per_cell * 400 * (400 + 2 * segment.halo), rel=1e-6)
    assert memory(4, on_host=False).device_bytes == memory(5, on_host=False).device_bytes


@pytest.mark.parametrize("layout", ["compact sr ×4", "published sr ×4"])
def test_maps_lie_on_a_device_of_its_own_memory_while_they_fit(layout):
    cuda = torch.device("cuda")
    easy, _ = plan(layout, 500, 600, device=cuda, tile=256)
    assert easy.resident
    tight, _ = plan(layout, 500, 600, device=cuda, tile=256, room=Memory(1 << 60, easy.memory.device_bytes - 1))
    assert not tight.resident
    assert tight.encoder == easy.encoder  # codes must not depend on the memory that is free
    assert tight.memory.device_bytes < easy.memory.device_bytes
    assert tight.memory.host_bytes > easy.memory.host_bytes
    assert not plan(layout, 500, 600, device=CPU)[0].resident


@pytest.mark.parametrize("layout", ["compact sr ×4", "trunk sr ×4"])
def test_where_the_encoder_alone_does_not_fit_tiles_of_the_decoder_are_no_smaller_than_helps(layout):
    cuda = torch.device("cuda")
    tight, grid = plan(layout, 2000, 2000, device=cuda, room=Memory(1 << 60, 1 << 20))
    least, _ = plan(layout, 2000, 2000, device=cuda, room=Memory(1 << 60, 1 << 20), tile=64)
    assert tight.memory.device_bytes <= least.memory.device_bytes
    assert len(tight.decoder) < len(grid.boxes(grid.tile(64)))


def test_more_memory_is_planned_for_maps_that_wait_for_normalisation():
    exact, _ = plan("published sr ×4", 1000, 1000)
    sampled, _ = plan("published sr ×4", 1000, 1000, tiling="sampled")
    assert sampled.sampled
    assert not exact.sampled
    assert sampled.memory.host_bytes < 0.6 * exact.memory.host_bytes


def test_a_processor_that_lacks_the_precision_copies_neighbourhoods():
    """Torch's own convolution for a CPU lays out k² values for each input channel and output position."""
    net = rounded(network(LAYOUTS["compact sr ×4"]), torch.bfloat16)
    plain, unfolded = (halves_of(net, torch.bfloat16, unfolds=how).encoder for how in (False, True))
    stem = net.encoder.stem.conv
    side = plain.shapes[plain.separate[0].steps[0].writes].per_cell
    beside = unfolded.separate[0].bytes_per_cell - plain.separate[0].bytes_per_cell
    assert beside == pytest.approx(stem.weight[0].numel() * 2 * side**2, rel=0.02)  # a margin around the traced part
    assert unfolded.shapes == plain.shapes
    assert [s.halo for s in unfolded.separate] == [s.halo for s in plain.separate]


@pytest.fixture
def there(monkeypatch):
    """there(host, device): what could be had at all, in bytes; None for what nobody knows."""

    def say(host, device=None):
        monkeypatch.setattr(plan_module, "obtainable_bytes", lambda on: host if on.type == "cpu" else device)

    return say


def test_what_clearly_does_not_fit_is_refused_with_the_figures(there):
    tight, _ = plan("compact sr ×4", 4000, 3000, room=Memory(210_000_000))
    need = tight.lacks.host_bytes
    assert need == tight.memory.host_bytes > 400_000_000
    there(210_000_000)
    message = r"image of 3000×4000 pixels needs about [\d.]+ (GB|MB) of memory, and 210 MB are free"
    with pytest.raises(DeviceError, match=message) as refused:
        require_room(tight, (4000, 3000), RunOptions(), CPU)
    assert refused.value.only_this_image
    assert "--tile" not in refused.value.hint
    for enough in (need, int(0.81 * need), None):  # a plan may be wrong, and swapping a little is not as bad
        there(enough)
        require_room(tight, (4000, 3000), RunOptions(), CPU)
    there(0)
    require_room(plan("compact sr ×4", 4000, 3000)[0], (4000, 3000), RunOptions(), CPU)


def test_a_tile_that_was_asked_for_is_refused_where_the_host_has_no_room_for_it(there):
    size, options = (2000, 2000), RunOptions(tile="none")
    room = plan("compact sr ×4", *size, tile=256)[0].memory
    assert plan("compact sr ×4", *size, room=room)[0].lacks is None
    there(room.host_bytes)
    with pytest.raises(DeviceError, match="2000×2000") as refused:
        require_room(plan("compact sr ×4", *size, room=room, tile="none")[0], size, options, CPU)
    assert refused.value.hint.startswith("Leave out --tile")


def test_a_device_that_says_when_memory_runs_out_needs_room_for_the_smallest_tile_alone(there):
    cuda = torch.device("cuda")
    whole, _ = plan("compact sr ×4", 1000, 1000, device=cuda, tile="none", room=Memory(1 << 40, 1 << 28))
    assert whole.lacks.device_bytes < whole.memory.device_bytes / 3
    there(1 << 40, int(1.1 * whole.lacks.device_bytes))
    require_room(whole, (1000, 1000), RunOptions(tile="none"), cuda)
    there(1 << 10, 1 << 40)
    with pytest.raises(DeviceError, match="of memory, and 0 MB are free"):
        require_room(whole, (1000, 1000), RunOptions(tile="none"), cuda)


def test_an_image_that_is_refused_is_not_cut_into_a_million_tiles(there):
    tight, _ = plan("compact sr ×4", 16383, 16383, room=Memory(1 << 30), tile=64)
    there(1 << 30)
    with pytest.raises(DeviceError, match="16383×16383"):
        require_room(tight, (16383, 16383), RunOptions(tile=64), CPU)
    assert not vars(tight).keys() & {"encoder", "decoder"}
    assert not tight.sampled


PEAK = """
    import re, sys
    from pathlib import Path

    import numpy as np
    import torch

    from adacode_cli.checkpoints.load import WeightsSource
    from adacode_cli.engine.plan import RunOptions
    from adacode_cli.engine.runner import Runner
    from adacode_cli.training.presets import family_network
    from tiny_networks import CPU, LAYOUTS, network

    def resident(field):
        return int(re.search(rf"{field}:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10

    torch.set_num_threads(1)
    which, precision, side = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if which == "bundled":
        net = WeightsSource("compact", None).network("sr", 4)[0]
    else:
        net = network(family_network("compact", "sr", 4) if which == "preset" else LAYOUTS[which])
    runner = Runner(net, CPU, RunOptions(precision))
    hole = (lambda side: np.eye(side, dtype=bool)) if net.config.task == "inpaint" else (lambda _: None)
    runner.restore(np.zeros((16, 16, 3), np.uint8), hole(16))
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    before = resident("VmRSS")
    planned = runner.plan(side, side, deep=False).memory.host_bytes
    runner.restore(image, hole(side))
    print(planned, resident("VmHWM") - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads memory as Linux tells it")
@pytest.mark.parametrize(
    ("which", "precision", "side"),
    [
        ("bundled", "fp32", 256),
        ("preset", "fp32", 400),
        ("published inpaint", "fp32", 640),
        ("published inpaint", "bf16", 800),
    ],
)
def test_the_plan_is_what_a_process_takes(which, precision, side):
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])}
    command = [sys.executable, "-c", textwrap.dedent(PEAK), which, precision, str(side)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr
    planned, measured = map(int, run.stdout.split())
    # The same process measures 20 % more or less from run to run: what the allocator gives back, and when, varies.
    assert 0.6 * planned <= measured <= 1.5 * planned
