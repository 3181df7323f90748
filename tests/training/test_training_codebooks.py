"""Codes in training: gradients pass, first values lie on features, dead codes come back to life."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_families import packed

from adacode_cli.model.codebook import AdaptiveCodebook, Codebook
from adacode_cli.training.codebook_training import (
    CodeUsage,
    codebook_loss,
    kmeans_codes,
    quantise,
    straight_through,
)


def blobs(num: int, dim: int, spread: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Well separated centres (num×dim), and a 4×dim×8×8 map of cells near them."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(num, dim, generator=generator) * 10
    cells = centres[torch.arange(4 * 64) % num] + spread * torch.randn(4 * 64, dim, generator=generator)
    return centres, cells.reshape(4, 8, 8, dim).permute(0, 3, 1, 2)


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
    assert all(torch.equal(a, b) for a, b in zip(codes, codebook.encode(latent), strict=True))
    for book, feature, vector in zip(codebook.books, features, vectors, strict=True):
        apart = (feature[:, None] - book.embedding.weight[None, :, :, None, None]).square().sum(2)
        assert torch.allclose((feature - vector).square().sum(1), apart.min(1).values, atol=1e-4)


def test_kmeans_puts_codes_on_the_features():
    centres, features = blobs(8, 5, 0.1)
    torch.manual_seed(1)
    book = Codebook(24, 5)  # three times as many codes as blobs: random picks then reach every blob
    cells = features.movedim(1, -1).reshape(-1, 5)
    before = float(torch.cdist(cells, book.embedding.weight.detach()).min(1).values.mean())
    kmeans_codes(book, features)
    nearest = torch.cdist(cells, book.embedding.weight.detach()).min(1).values
    assert float(nearest.mean()) < 0.3 < before
    assert float(torch.cdist(centres, book.embedding.weight.detach()).min(1).values.max()) < 0.5


def test_kmeans_with_fewer_features_than_codes_still_uses_features_only():
    features = torch.randn(1, 5, 1, 3)
    book = Codebook(8, 5)
    kmeans_codes(book, features)
    apart = torch.cdist(book.embedding.weight.detach(), features[0, :, 0].T).min(1).values
    assert float(apart.max()) == pytest.approx(0, abs=1e-3)


def test_dead_codes_move_onto_features_and_living_ones_stay():
    _, features = blobs(4, 5, 0.1)
    book = Codebook(16, 5)
    usage = CodeUsage(16, decay=0.5)
    living = torch.arange(4)
    for _ in range(20):
        usage.update(living)
    assert usage.used == 4 / 16
    before = book.embedding.weight.detach().clone()
    assert usage.reseed_dead(book, features) == 12
    after = book.embedding.weight.detach()
    assert torch.equal(after[:4], before[:4])
    cells = features.movedim(1, -1).reshape(-1, 5)
    assert all((cells == code).all(1).any() for code in after[4:])
    assert usage.reseed_dead(book, features) == 0  # they get time to be chosen
    usage.update(torch.arange(8))
    usage.update(torch.arange(8))
    assert usage.reseed_dead(book, features) == 8  # and four of them have been


def test_codes_that_were_never_chosen_are_known_from_the_first_update_on():
    usage = CodeUsage(100)
    usage.update(torch.arange(30))
    assert usage.used == pytest.approx(0.3)
    assert usage.perplexity == pytest.approx(30)
    usage.update(torch.arange(30, 60))
    assert usage.used == pytest.approx(0.6)
    assert usage.perplexity == pytest.approx(60)


@given(st.lists(st.integers(0, 15), min_size=1, max_size=50), st.floats(0.1, 0.99))
def test_perplexity_lies_between_one_and_the_number_of_codes(codes, decay):
    usage = CodeUsage(16, decay)
    assert usage.perplexity == pytest.approx(16)
    for _ in range(3):
        usage.update(torch.tensor(codes))
    assert 1 - 1e-4 <= usage.perplexity <= 16 + 1e-3
    assert 0 <= usage.used <= 1


def test_perplexity_of_an_even_and_of_a_single_choice():
    usage = CodeUsage(8, decay=0.0)
    usage.update(torch.arange(8))
    assert usage.perplexity == pytest.approx(8)
    usage.update(torch.tensor([0, 1]))
    assert usage.perplexity == pytest.approx(2)
    usage.update(torch.tensor([3]))
    assert math.isclose(usage.perplexity, 1, abs_tol=1e-6)
