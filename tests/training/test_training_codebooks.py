"""Codes in training: gradients pass, first values lie on features, none twice, dead codes come back to life."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_families import packed
from torch import Tensor

from adacode_cli.errors import TrainingError
from adacode_cli.model.codebook import AdaptiveCodebook, Codebook
from adacode_cli.training import codebooks
from adacode_cli.training.codebooks import (
    CELLS_PER_CODE,
    CodeUsage,
    codebook_loss,
    count_codes,
    health_warning,
    kmeans_codes,
    quantise,
    straight_through,
)


def cells_of(feature_BCHW):
    """B×C×H×W → B·H·W×C float32 cells."""
    return feature_BCHW.detach().permute(0, 2, 3, 1).flatten(0, 2).float()


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(num: int, dim: int, spread: float) -> torch.Tensor:
    """A 4×dim×8×8 map of cells near well separated centres."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(num, dim, generator=generator) * 10
    cells = centres[torch.arange(4 * 64) % num] + spread * torch.randn(4 * 64, dim, generator=generator)
    return cells.reshape(4, 8, 8, dim).permute(0, 3, 1, 2)


def test_straight_through_has_the_value_of_the_code_and_the_gradient_of_the_feature():
    feature, vector = torch.randn(2, 3, 4, 4, requires_grad=True), torch.randn(2, 3, 4, 4, requires_grad=True)
    weight = torch.randn(2, 3, 4, 4)
    out = straight_through(feature, vector)
    assert torch.allclose(out, vector, atol=1e-6)
    (out * weight).sum().backward()
    assert torch.equal(feature.grad, weight)
    assert vector.grad is None


def test_codebook_loss_pulls_both_sides_with_their_own_strength():
    feature, vector = torch.zeros(1, 2, 1, 1, requires_grad=True), torch.ones(1, 2, 1, 1, requires_grad=True)
    loss = codebook_loss(feature, vector, 0.25)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(1.25)
    assert torch.allclose(feature.grad, torch.full_like(feature, -0.25))  # d/df ¼·mean (f-v)² over two elements
    assert torch.allclose(vector.grad, torch.full_like(vector, 1.0))


def test_quantise_agrees_with_the_network():
    torch.manual_seed(0)
    codebook = AdaptiveCodebook(packed("reconstruct"))
    latent = torch.randn(2, 24, 8, 8)
    features, vectors, codes = quantise(codebook, latent)
    assert all(torch.equal(a, b) for a, b in zip(codes, codebook.nearest(latent), strict=True))
    for book, feature, vector in zip(codebook.books, features, vectors, strict=True):
        apart = (feature[:, None] - book.embedding.weight[None, :, :, None, None]).square().sum(2)
        assert torch.allclose((feature - vector).square().sum(1), apart.min(1).values, atol=1e-4)


def test_cells_are_the_vectors_of_a_map():
    feature = torch.randn(2, 3, 4, 5, requires_grad=True)
    cells = cells_of(feature.double())
    assert cells.shape == (40, 3)
    assert cells.dtype == torch.float32
    assert not cells.requires_grad
    assert torch.equal(cells[20 + 2 * 5 + 3], feature.detach()[1, :, 2, 3])


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.integers(0, 10**6))
def test_only_images_of_its_own_category_move_a_basis_and_all_are_committed_to_it(own, seed):
    shape = (len(own), 3, 2, 2)
    feature = torch.randn(shape, generator=seeded(seed)).requires_grad_()
    vector = torch.randn(shape, generator=seeded(seed + 1)).requires_grad_()
    loss = codebook_loss(feature, vector, 0.25, torch.tensor(own))
    loss.backward()
    apart = (feature - vector).detach()
    weight = torch.tensor(own).float().view(-1, 1, 1, 1)
    expected = 0.25 * apart.square().mean() + (weight * apart.square()).mean()
    assert float(loss.detach()) == pytest.approx(float(expected), rel=1e-4)
    assert torch.allclose(vector.grad, -2 * weight * apart / apart.numel(), atol=1e-6)
    assert torch.allclose(feature.grad, 0.5 * apart / apart.numel(), atol=1e-6)
    everything = codebook_loss(feature, vector, 0.25, torch.ones(len(own)))
    assert torch.allclose(everything, codebook_loss(feature, vector, 0.25))


def test_dead_codes_move_onto_features_and_living_ones_stay():
    cells = cells_of(blobs(4, 5, 0.1))
    book = Codebook(16, 5)
    usage = CodeUsage(16, decay=0.5)
    living = torch.arange(4)
    for _ in range(20):
        usage.update_counts(count_codes(living, len(usage.share)))
    assert usage.used == 4 / 16
    before = book.embedding.weight.detach().clone()
    assert usage.reseed_dead(book, cells, seeded(0)) == 12
    after = book.embedding.weight.detach()
    assert torch.equal(after[:4], before[:4])
    assert all((cells == code).all(1).any() for code in after[4:])
    assert usage.reseed_dead(book, cells, seeded(0)) == 0  # they get time to be chosen
    usage.update_counts(count_codes(torch.arange(8), len(usage.share)))
    usage.update_counts(count_codes(torch.arange(8), len(usage.share)))
    assert usage.reseed_dead(book, cells, seeded(0)) == 8  # and four of them have been


def test_dead_codes_move_to_the_same_places_for_the_same_generator():
    cells = cells_of(blobs(4, 5, 0.1))

    def moved(seed: int) -> torch.Tensor:
        book, usage = Codebook(16, 5), CodeUsage(16)
        book.embedding.weight.data.zero_()
        usage.update_counts(count_codes(torch.arange(4), len(usage.share)))
        usage.reseed_dead(book, cells, seeded(seed))
        return book.embedding.weight.detach()

    first = moved(0)
    torch.manual_seed(77)
    assert torch.equal(moved(0), first)
    assert not torch.equal(moved(1), first)


def test_with_fewer_features_than_dead_codes_as_many_move():
    book, usage = Codebook(16, 5), CodeUsage(16)
    usage.update_counts(count_codes(torch.zeros(3, dtype=torch.int64), len(usage.share)))
    assert usage.reseed_dead(book, torch.ones(2, 5), seeded(0)) == 2
    assert usage.reseed_dead(book, torch.zeros(0, 5), seeded(0)) == 0
    assert int((book.embedding.weight.detach() == 1).all(1).sum()) == 2


def test_codes_that_were_never_chosen_are_known_from_the_first_update_on():
    usage = CodeUsage(100)
    usage.update_counts(count_codes(torch.arange(30), len(usage.share)))
    assert usage.used == pytest.approx(0.3)
    assert usage.perplexity == pytest.approx(30)
    usage.update_counts(count_codes(torch.arange(30, 60), len(usage.share)))
    assert usage.used == pytest.approx(0.6)
    assert usage.perplexity == pytest.approx(60)


@given(st.lists(st.integers(0, 15), min_size=1, max_size=50), st.floats(0.1, 0.99))
def test_perplexity_lies_between_one_and_the_number_of_codes(codes, decay):
    usage = CodeUsage(16, decay)
    assert usage.perplexity == pytest.approx(16)
    for _ in range(3):
        usage.update_counts(count_codes(torch.tensor(codes), len(usage.share)))
    assert 1 - 1e-4 <= usage.perplexity <= 16 + 1e-3
    assert 0 <= usage.used <= 1


def test_perplexity_of_an_even_and_of_a_single_choice():
    usage = CodeUsage(8, decay=0.0)
    usage.update_counts(count_codes(torch.arange(8), len(usage.share)))
    assert usage.perplexity == pytest.approx(8)
    usage.update_counts(count_codes(torch.tensor([0, 1]), len(usage.share)))
    assert usage.perplexity == pytest.approx(2)
    usage.update_counts(count_codes(torch.tensor([3]), len(usage.share)))
    assert math.isclose(usage.perplexity, 1, abs_tol=1e-6)


@given(st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=20), min_size=1, max_size=6), st.integers(1, 3))
def test_counts_summed_over_processes_are_as_good_as_codes(steps, parts):
    whole, summed = CodeUsage(8, 0.7), CodeUsage(8, 0.7)
    for codes in map(torch.tensor, steps):
        whole.update_counts(count_codes(codes, 8))
        summed.update_counts(torch.stack([count_codes(part, 8) for part in codes.tensor_split(parts)]).sum(0).long())
    assert torch.equal(whole.share, summed.share)
    assert float(whole.share.sum()) == pytest.approx(1)
    assert torch.equal(
        count_codes(torch.tensor(steps[0]), 8).long(), torch.bincount(torch.tensor(steps[0]), minlength=8)
    )


def test_a_step_without_any_code_leaves_everything_as_it_was():
    usage = CodeUsage(8)
    usage.update_counts(torch.zeros(8))
    assert usage.perplexity == pytest.approx(8)
    usage.update_counts(count_codes(torch.arange(4), 8))  # still the first that counts
    assert usage.perplexity == pytest.approx(4)
    before = usage.state()
    usage.update_counts(torch.zeros(8))
    assert torch.equal(usage.state(), before)


def test_a_saved_usage_goes_on_as_if_nothing_had_been():
    usage, other = CodeUsage(8), CodeUsage(8)
    for i in range(5):
        usage.update_counts(count_codes(torch.arange(i + 1), len(usage.share)))
    saved = usage.state()
    assert saved.shape == (9,)
    assert other.perplexity == pytest.approx(8)  # a reading before must not stay behind
    other.load(saved)
    usage.update_counts(count_codes(torch.tensor([7]), len(usage.share)))
    other.update_counts(count_codes(torch.tensor([7]), 8))
    assert torch.equal(usage.state(), other.state())
    assert (usage.perplexity, usage.used) == (other.perplexity, other.used)
    assert not torch.equal(saved, usage.state())  # a copy
    with pytest.raises(TrainingError, match="8 codes was recorded, but the basis has 4"):
        CodeUsage(4).load(saved)


def test_readings_follow_updates_and_moved_codes():
    usage, book = CodeUsage(8), Codebook(8, 2)
    usage.update_counts(count_codes(torch.tensor([0]), len(usage.share)))
    assert usage.used == 1 / 8
    usage.reseed_dead(book, torch.randn(20, 2), seeded(0))
    assert usage.perplexity > 1
    usage.update_counts(count_codes(torch.arange(8), len(usage.share)))
    assert usage.used == 1


def test_a_basis_that_leaves_most_codes_unused_gets_a_warning_with_a_remedy():
    assert health_warning("nature", 0.5, 512) is None
    text = health_warning("nature", 0.2, 512)
    assert text is not None
    for part in ("nature", "102 of its 512", "20%", "more steps", "photographs", "`--codes`; 128"):
        assert part in text
    assert "1 of its 256" in (health_warning("street", 1 / 256, 256) or "")


def heaps(num: int, dim: int, each: int, spread: float = 0.1) -> Tensor:
    """each·num cells, `each` of them near every one of well separated centres; the centres take turns."""
    centres = 10 * torch.randn(num, dim, generator=seeded(0))
    cells = centres.repeat(each, 1)
    return cells + spread * torch.randn(cells.shape, generator=seeded(1))


def error(cells: Tensor, codes: Tensor) -> float:
    return float(torch.cdist(cells, codes).min(1).values.square().mean())


@pytest.mark.parametrize("seed", range(8))
def test_every_well_separated_cluster_gets_its_centre(seed):
    cells = heaps(12, 5, 40)
    codes = kmeans_codes(cells, 12, seeded(seed))
    means = cells.unflatten(0, (40, 12)).mean(0)
    assert codes.shape == (12, 5)
    assert codes.dtype == torch.float32
    nearest = torch.cdist(means, codes).argmin(1)
    assert sorted(nearest.tolist()) == list(range(12))
    assert torch.allclose(codes[nearest], means, atol=1e-3)


def test_rare_clusters_are_found_where_random_picks_miss_them():
    cells = heaps(6, 4, 1, 0.0)
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
