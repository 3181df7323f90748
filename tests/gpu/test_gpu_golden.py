"""The published networks on a GPU: recorded codes, mixing weights and images of five full-size checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from published_reference import LAYOUTS, golden, published_state

from adacode_cli.checkpoints.load import build
from adacode_cli.checkpoints.published import PublishedLayout
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.runner import Runner

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize("tile", ["none", 64])
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_published_checkpoint_gives_the_recorded_output(name, tile, cuda, tmp_path):
    """On a CPU this is test_model_parity's. A code may differ where two are equally near; random weights have such."""
    known = golden(name)
    published = PublishedLayout(published_state(name, int(known["seed"])))
    network = build(published.config, published.translated(), tmp_path)
    image = torch.from_numpy(known["image"]).permute(2, 0, 1)[None].float() / 255
    found = Runner(network, cuda, RunOptions("fp32", tile)).run(image, deep=False)
    for k, codes in enumerate(found.codes):
        rows, columns = codes.shape
        assert np.mean(codes.numpy() == known[f"indices_{k}"][:rows, :columns]) > 0.98
    rows, columns = found.mixing_KHW.shape[1:]
    if name != "basis":
        wanted = known["mixing_weights"][:, :rows, :columns]
        np.testing.assert_allclose(found.mixing_KHW, wanted, rtol=0, atol=1e-3)
    difference = np.abs(found.image_CHW.permute(1, 2, 0).numpy() - known["output"])
    assert np.quantile(difference, 0.98) < 1e-3
