"""First values of codebooks: on the features, none twice, the same for the same seed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from adacode_cli.errors import TrainingError
from adacode_cli.training import codebooks
from adacode_cli.training.codebooks import CELLS_PER_CODE, kmeans_codes


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(num: int, dim: int, each: int, spread: float = 0.1) -> Tensor:
    """each·num cells, `each` of them near every one of well separated centres; the centres take turns."""
    centres = 10 * torch.randn(num, dim, generator=seeded(0))
    cells = centres.repeat(each, 1)
    return cells + spread * torch.randn(cells.shape, generator=seeded(1))


def error(cells: Tensor, codes: Tensor) -> float:
    return float(torch.cdist(cells, codes).min(1).values.square().mean())


@pytest.mark.parametrize("seed", range(8))
def test_every_well_separated_cluster_gets_its_centre(seed):
    cells = blobs(12, 5, 40)
    codes = kmeans_codes(cells, 12, seeded(seed))
    means = cells.unflatten(0, (40, 12)).mean(0)
    assert codes.shape == (12, 5)
    assert codes.dtype == torch.float32
    nearest = torch.cdist(means, codes).argmin(1)
    assert sorted(nearest.tolist()) == list(range(12))
    assert torch.allclose(codes[nearest], means, atol=1e-3)


def test_rare_clusters_are_found_where_random_picks_miss_them():
    cells = blobs(6, 4, 1, 0.0)
    crowd = cells[0] + 0.1 * torch.randn(700, 4, generator=seeded(2))
    codes = kmeans_codes(torch.cat((crowd, cells[1:].repeat(2, 1))), 12, seeded(0))
    assert float(torch.cdist(cells[1:], codes).min(1).values.max()) < 1e-3


def test_equal_cells_and_generators_give_equal_codes_and_nothing_else_counts():
    cells = torch.randn(3000, 6, generator=seeded(0))
    first = kmeans_codes(cells, 16, seeded(1))
    torch.manual_seed(123)
    assert torch.equal(kmeans_codes(cells, 16, seeded(1)), first)
    assert not torch.equal(kmeans_codes(cells, 16, seeded(2)), first)
    assert torch.equal(kmeans_codes(cells.half().double(), 16, seeded(1)), kmeans_codes(cells.half(), 16, seeded(1)))


def test_rounds_lower_the_error():
    cells = torch.randn(1000, 3, generator=seeded(0))
    errors = [error(cells, kmeans_codes(cells, 16, seeded(1), rounds)) for rounds in (0, 1, 5, 20)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.9 * errors[0]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    distinct=st.integers(1, 24),
    num_codes=st.integers(1, 24),
    copies=st.integers(1, 6),
    offset=st.sampled_from([0.0, 1000.0]),
)
def test_no_code_is_there_twice_as_long_as_there_are_cells_for_all(seed, distinct, num_codes, copies, offset):
    """Also far from zero, where differences of squares would have lost all digits."""
    values = torch.randperm(200, generator=seeded(seed))[:distinct] * 0.37 + offset
    cells = values.repeat(copies).unsqueeze(1).expand(-1, 2)[:, :2]
    cells = cells[: CELLS_PER_CODE * num_codes]
    codes = kmeans_codes(cells, num_codes, seeded(seed))
    assert len(codes.unique(dim=0)) >= min(num_codes, len(cells.unique(dim=0)))  # means of equal cells may be rounded
    assert bool((codes >= cells.min(0).values - 1e-3).all())
    assert bool((codes <= cells.max(0).values + 1e-3).all())


def test_a_code_that_nothing_is_nearest_to_moves_to_the_farthest_cell():
    cells = torch.tensor([[0.0], [1.0], [10.0], [30.0]])
    codes = torch.tensor([[0.5], [100.0], [200.0]])
    codebooks._refill(codes, cells, torch.tensor([False, True, True]))
    assert codes.flatten().tolist() == [0.5, 30.0, 10.0]


def test_first_centres_that_are_all_the_same_part_again(monkeypatch):
    monkeypatch.setattr(codebooks, "_seeds", lambda cells, num, generator: cells[:1].repeat(num, 1))
    cells = torch.randn(100, 3, generator=seeded(0))
    assert len(kmeans_codes(cells, 12, seeded(0), rounds=1).unique(dim=0)) == 12
    assert error(cells, kmeans_codes(cells, 12, seeded(0))) < 0.5 * error(cells, cells.mean(0, keepdim=True))


def test_only_a_sample_of_many_cells_is_looked_at_and_from_everywhere(monkeypatch):
    seen = []
    monkeypatch.setattr(codebooks, "_seeds", lambda cells, num, generator: seen.append(cells) or cells[:num].clone())
    cells = torch.arange(10_000.0).unsqueeze(1)
    kmeans_codes(cells, 4, seeded(0))
    assert seen[0].shape == (4 * CELLS_PER_CODE, 1)
    assert float(seen[0].min()) < 1000
    assert float(seen[0].max()) > 9000


def test_no_features_and_broken_features_are_errors():
    with pytest.raises(TrainingError, match="no features") as raised:
        kmeans_codes(torch.zeros(0, 4), 3, seeded(0))
    assert raised.value.hint
    with pytest.raises(TrainingError, match="not finite"):
        kmeans_codes(torch.tensor([[1.0], [float("nan")]]), 2, seeded(0))
