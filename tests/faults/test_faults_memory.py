"""Images and weights that want more memory than there is, or more than they have a right to."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from adacode_process import Program, environment
from safetensors.torch import save_file
from test_faults_disk import names, said

sys.path.insert(0, str(Path(__file__).parent.parent / "checkpoints"))

from small_checkpoints import tiny_network, write_whole

from adacode_cli.checkpoints.format import METADATA_KEY, read_safetensors

LITTLE_IS_LEFT = """
    import resource
    from pathlib import Path

    import numpy as np

    from adacode_cli.cli.main import main
    from adacode_cli.engine.restorer import Restorer

    Restorer.from_pretrained("compact", device="cpu", precision="fp32").sr(np.zeros((16, 16, 3), np.uint8))
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 350_000_000, -1))
    main()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits address space as Linux does")
def test_an_image_that_does_not_fit_the_memory_fails_alone_before_it_is_computed(photo, tmp_path, table):
    photo("p/a.png", (24, 16))
    photo("p/large.png", (1500, 1500))
    photo("p/z.png", (16, 24))
    arguments = ("sr", "p", "-o", "out", "--jobs", "1", "--device", "cpu", "--precision", "fp32")
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LITTLE_IS_LEFT), *arguments],
        cwd=tmp_path,
        env=environment(MALLOC_ARENA_MAX="1"),
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert (result.returncode, names(tmp_path / "out")) == (9, {"a.png", "z.png"}), result.stderr.decode()
    line = said(result, "failed: p/large.png")
    figures = re.search(r"1500×1500 pixels needs about ([\d.]+) GB of memory, and (\d+) MB are free", line)
    assert figures, line
    assert 1 < float(figures[1]) < 5
    assert int(figures[2]) < 400
    masked = re.sub(r"about [\d.]+ GB(.*?)\d+ MB", r"about … GB\1… MB", line)
    table.row("an image needs more memory than there is", 9, masked, "is done")


def hostile(path: Path, change) -> Path:
    """Weights of a small network for sr ×4, their header and tensors changed."""
    tensors, metadata = read_safetensors(write_whole(path, tiny_network("sr", 4)), "")
    header = json.loads(metadata[METADATA_KEY])
    change(header["config"], tensors)
    save_file(tensors, path, {METADATA_KEY: json.dumps(header)})
    return path


def test_weights_that_are_a_bomb_or_no_numbers_are_refused_before_the_run(photo, tmp_path, table):
    photo("p/a.png")
    adacode = Program(tmp_path, network=True)
    run = ("sr", "p", "-o", "out", "--device", "cpu", "--weights", "w.safetensors")
    rest = "nothing is done"
    hostile(tmp_path / "w.safetensors", lambda _, tensors: tensors["decoder.head.conv.bias"].fill_(torch.nan))
    result = adacode(*run)
    assert result.returncode == 4
    table.row("weights hold values that are no numbers", 4, said(result, "error: w.safetensors"), rest)
    hostile(tmp_path / "w.safetensors", lambda config, _: config.update(channels=[100_000, 100_000]))
    result = adacode(*run)
    assert result.returncode == 4
    table.row("weights describe a larger network than they hold", 4, said(result, "error: w.safetensors"), rest)
    assert not (tmp_path / "out").exists()
