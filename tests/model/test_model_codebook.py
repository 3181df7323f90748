"""Nearest codes and their mixture."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import OWN_CONFIGS, SMALL_CONFIGS, network

from adacode_cli.errors import WeightsError
from adacode_cli.model.codebook import SEARCH_CHUNK, AdaptiveCodebook, Codebook
from adacode_cli.model.config import NetworkConfig, SwinConfig


def codebook(vectors: torch.Tensor) -> Codebook:
    book = Codebook(*vectors.shape).requires_grad_(False)
    book.embedding.weight.copy_(vectors)
    return book


def distances(feature_BCHW, vectors):
    """B×n×H×W Euclidean distances in float64, without any shortcut."""
    difference = feature_BCHW.double()[:, None] - vectors.double()[None, :, :, None, None]
    return difference.square().sum(2).sqrt()


@given(
    num_codes=st.integers(1, 40),
    dim=st.integers(1, 48),
    side=st.integers(1, 9),
    seed=st.integers(0, 2**31),
    b=st.integers(1, 3),
)
@settings(deadline=None, max_examples=40)
def test_no_code_is_nearer_than_the_one_found(num_codes, dim, side, seed, b):
    torch.manual_seed(seed)
    vectors, feature = torch.randn(num_codes, dim), 2 * torch.randn(b, dim, side, side + 1)
    codes = codebook(vectors).nearest(feature)
    assert codes.shape == (b, side, side + 1)
    assert codes.dtype == torch.int64
    known = distances(feature, vectors)
    found, best = known.gather(1, codes[:, None])[:, 0], known.amin(1)
    assert bool((found <= best + 1e-5).all())
    if num_codes > 1:
        clear = known.topk(2, 1, largest=False).values.diff(dim=1)[:, 0] > 1e-5
        assert torch.equal(codes[clear], known.argmin(1)[clear])


@pytest.mark.parametrize("dim", [1, 7, 32])
def test_the_lowest_of_equally_near_codes_is_taken(dim):
    torch.manual_seed(0)
    once = torch.randn(5, dim)
    feature = torch.randn(1, dim, 6, 6)
    codes = codebook(once.repeat(4, 1)).nearest(feature)
    assert torch.equal(codes, codebook(once).nearest(feature))
    assert codes.max() < 5
    # A tie of different codes: the origin is as far from e as from -e.
    opposite = torch.cat((once[:1], -once[:1]))
    assert torch.equal(codebook(opposite).nearest(torch.zeros(1, dim, 2, 2)), torch.zeros(1, 2, 2, dtype=torch.int64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("stored", [torch.float16, torch.float32])
def test_the_search_is_in_float32_for_features_of_any_precision(dtype, stored):
    torch.manual_seed(0)
    feature, vectors = torch.randn(2, 16, 5, 4).to(dtype), torch.randn(30, 16).to(stored)
    expected = distances(feature, vectors).argmin(1)
    book = codebook(vectors.float()).to(stored)
    assert torch.equal(book.nearest(feature), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(book.nearest(feature), expected)


def test_more_cells_than_one_chunk_are_searched_alike():
    torch.manual_seed(0)
    width = 129
    height = SEARCH_CHUNK // width + 2
    assert height * width > SEARCH_CHUNK
    # So many cells among so many codes that anything coarser than float32 would err somewhere.
    feature, vectors = torch.randn(1, 3, height, width), torch.randn(200, 3)
    known = distances(feature, vectors)
    nearest_two = known.topk(2, 1, largest=False).values
    clear = (nearest_two[:, 1] - nearest_two[:, 0]) > 1e-5
    assert clear.float().mean() > 0.999
    codes = codebook(vectors).nearest(feature)
    assert torch.equal(codes[clear], known.argmin(1)[clear])
    assert bool((known.gather(1, codes[:, None]) <= nearest_two[:, :1] + 1e-5).all())


def test_looking_a_code_up_returns_its_vector():
    book = codebook(torch.randn(9, 4))
    codes = torch.randint(0, 9, (2, 3, 5))
    vectors = book.look_up(codes)
    assert vectors.shape == (2, 4, 3, 5)
    assert torch.equal(vectors[1, :, 2, 4], book.embedding.weight[codes[1, 2, 4]])
    assert torch.equal(book.nearest(vectors), codes)


@pytest.mark.parametrize("config", SMALL_CONFIGS, ids=lambda c: f"{c.num_bases}-bases")
@torch.inference_mode()
def test_codes_and_weights_alone_give_the_mixture(config):
    adaptive: AdaptiveCodebook = network(config).codebook
    latent = torch.randn(2, config.channels[-1], 12, 12)
    mixture = adaptive(latent)
    assert mixture.weights_BKHW.shape == (2, config.num_bases, 12, 12)
    assert torch.equal(adaptive.mixed(mixture.codes, mixture.weights_BKHW), mixture.latent_BCHW)

    expected = torch.zeros_like(latent)
    for k, (before, book, after) in enumerate(zip(adaptive.before, adaptive.books, adaptive.after, strict=True)):
        assert torch.equal(mixture.codes[k], book.nearest(before(latent)))
        weight = mixture.weights_BKHW[:, k : k + 1]
        expected += weight * after(book.embedding.weight[mixture.codes[k]].permute(0, 3, 1, 2))
    torch.testing.assert_close(mixture.latent_BCHW, expected)
    if config.softmax or config.task == "basis":
        torch.testing.assert_close(mixture.weights_BKHW.sum(1), torch.ones(2, 12, 12))


@torch.inference_mode()
def test_each_level_quantises_what_the_levels_before_it_left():
    """Searched again one cell and one basis at a time; of fewer levels, the vectors are sums of fewer."""
    adaptive, scales = network(OWN_CONFIGS[2]).codebook, (1.0, 0.5, 0.25)
    latent = torch.randn(2, 32, 3, 4)
    codes = adaptive.nearest(latent)
    assert len(codes) == 6
    sums = [[torch.zeros(2, dim, 3, 4) for _, dim in OWN_CONFIGS[2].codebooks]]
    for level, scale in enumerate(scales):
        sums.append([total.clone() for total in sums[-1]])
        for k, (before, book) in enumerate(zip(adaptive.before, adaptive.books, strict=True)):
            left = before(latent) - sums[-2][k]
            apart = (left[:, None] - scale * book.embedding.weight[None, :, :, None, None]).square().sum(2)
            assert torch.equal(codes[2 * level + k], apart.argmin(1))
            sums[-1][k] += scale * book.embedding.weight[codes[2 * level + k]].permute(0, 3, 1, 2)
        torch.testing.assert_close(adaptive.vectors(codes[: 2 * level + 2]), sums[-1])
    weights = adaptive.weights(latent)
    torch.testing.assert_close(adaptive.mixed(codes, weights), adaptive.mix(sums[-1], weights))
    torch.testing.assert_close(adaptive(latent).latent_BCHW, adaptive.mix(sums[-1], weights))


@torch.inference_mode()
def test_uniform_weights_are_the_mean_of_the_bases_and_predict_nothing():
    several = next(c for c in SMALL_CONFIGS if c.num_bases > 1 and c.task != "basis")
    adaptive = network(replace(several, uniform=True, softmax=False, predictor_swin=None)).codebook
    assert not [name for name, _ in adaptive.named_parameters() if "predictor" in name]
    latent = torch.randn(1, several.channels[-1], 12, 8)
    mixture = adaptive(latent)
    assert torch.equal(mixture.weights_BKHW, torch.full((1, several.num_bases, 12, 8), 1 / several.num_bases))
    vectors = [book.look_up(codes) for book, codes in zip(adaptive.books, mixture.codes, strict=True)]
    parts = [after(v) for after, v in zip(adaptive.after, vectors, strict=True)]
    torch.testing.assert_close(mixture.latent_BCHW, torch.stack(parts).mean(0))


def test_uniform_weights_that_are_predicted_contradict_themselves():
    for choice in ({"softmax": True}, {"predictor_swin": SwinConfig(1, 2, heads=2)}):
        with pytest.raises(WeightsError, match="uniform weights are not predicted"):
            NetworkConfig("reconstruct", uniform=True, **choice)
