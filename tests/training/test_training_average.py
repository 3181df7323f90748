"""The averaged weights: slow, without a trace of first values, and a copy."""

from __future__ import annotations

import pytest
import torch

from adacode_cli.training.optimisation import Average


def test_an_average_follows_slowly_and_keeps_what_does_not_change():
    fixed = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    average = Average({"moving": torch.zeros(1), "fixed": fixed}, decay=0.9)
    seen = []
    for _ in range(200):
        average.update({"fixed": fixed, "moving": torch.ones(1), "of no interest": torch.ones(3)})
        seen.append(float(average.values["moving"]))
    assert seen[0] == pytest.approx(1 - 2 / 11)  # a young average forgets its first value faster
    assert seen[-1] == pytest.approx(1, abs=1e-6)
    assert seen == sorted(seen)
    assert torch.equal(average.values["fixed"], fixed)
    assert average.values["fixed"] is not fixed
    assert average.updates == 200


def test_an_old_average_moves_by_its_decay():
    average = Average({"x": torch.zeros(1)}, decay=0.9)
    average.updates = 10_000
    average.update({"x": torch.ones(1)})
    assert float(average.values["x"]) == pytest.approx(0.1)


def test_an_average_is_no_part_of_the_graph_nor_of_what_it_averages():
    weight = torch.nn.Parameter(torch.zeros(2))
    average = Average({"w": weight}, decay=0.5)
    average.update({"w": weight})
    with torch.no_grad():
        weight += 1
    assert average.values["w"].tolist() == [0, 0]
    assert not average.values["w"].requires_grad
    average.update({"w": weight})
    assert average.values["w"].tolist() == pytest.approx([0.75, 0.75])  # 1 - 3/12
    assert weight.tolist() == [1, 1]
