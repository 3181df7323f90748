"""Figures can be compared with other people's only if they mean the same."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from adacode_cli.evaluation.metrics import (
    BORDER_PX,
    luma,
    perceptual_distance,
    psnr,
    psnr_in_hole,
    psnr_luma,
    ssim_luma,
)
from adacode_cli.evaluation.perceptual import load_perceptual

SHARED = Path(__file__).parent.parent.parent.parent / "shared"
SCORER = SHARED / "eval" / "score.py"
PERCEPTUAL = SHARED / "perceptual" / "squeezenet_lpips.safetensors"


def degraded(image: np.ndarray, seed: int, strength: float = 12) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, strength, image.shape)
    return np.clip(cv2.GaussianBlur(image, (0, 0), 1.2) + noise, 0, 255).astype(np.uint8)


PICTURES = [skimage.data.astronaut()[:200, 100:333], skimage.data.coffee()[100:260, 200:301]]


def test_luma_has_the_studio_range_and_no_border():
    for colour, value in (((0, 0, 0), 16), ((255, 255, 255), 235), ((255, 0, 0), 81.481), ((0, 0, 255), 40.966)):
        plane = luma(np.full((20, 30, 3), colour, np.uint8))
        assert plane.shape == (20 - 2 * BORDER_PX, 30 - 2 * BORDER_PX)
        assert np.allclose(plane, value, atol=1e-9)


def test_the_border_does_not_count():
    original = PICTURES[0]
    framed = original.copy()
    framed[:4], framed[-4:], framed[:, :4], framed[:, -4:] = 0, 0, 0, 0
    assert psnr_luma(framed, original) == pytest.approx(psnr_luma(original, original))
    framed[4, 4] = 255 - framed[4, 4]
    assert psnr_luma(framed, original) < 100


def test_equal_images_have_the_highest_figures():
    assert psnr_luma(PICTURES[0], PICTURES[0]) == pytest.approx(10 * math.log10(255**2 / 1e-10))
    assert ssim_luma(PICTURES[0], PICTURES[0]) == pytest.approx(1)


@pytest.mark.parametrize("original", PICTURES)
def test_figures_agree_with_another_implementation(original):
    restored = degraded(original, 0)
    x, y = luma(original), luma(restored)
    assert psnr_luma(restored, original) == pytest.approx(peak_signal_noise_ratio(x, y, data_range=255), abs=1e-9)
    _, similarity = structural_similarity(
        x, y, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    assert ssim_luma(restored, original) == pytest.approx(similarity[5:-5, 5:-5].mean(), abs=1e-6)


def test_only_the_hole_counts():
    original = PICTURES[1]
    hole = np.zeros(original.shape[:2], np.bool_)
    hole[30:50, 40:80] = True
    outside, inside = original.copy(), original.copy()
    outside[~hole] = 0
    inside[hole] ^= 1
    assert psnr_in_hole(outside, original, hole) == psnr_in_hole(original, original, hole)
    assert psnr_in_hole(inside, original, hole) == pytest.approx(10 * math.log10(255**2))


@settings(max_examples=30)
@given(st.integers(1, 60))
def test_psnr_of_a_constant_difference(step):
    a = np.zeros((9, 9), np.uint8)
    assert psnr(a, a + np.uint8(step)) == pytest.approx(20 * math.log10(255 / step))
    assert psnr(a + np.uint8(step), a) == psnr(a, a + np.uint8(step))


@pytest.mark.skipif(not SCORER.is_file(), reason="the scorer beside the repository is not here")
@pytest.mark.parametrize("original", PICTURES)
def test_figures_are_those_of_the_scorer_beside_the_repository(original):
    spec = importlib.util.spec_from_file_location("score", SCORER)
    scorer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scorer)
    restored = degraded(original, 1)
    cut_a, cut_b = scorer.luma(original)[4:-4, 4:-4], scorer.luma(restored)[4:-4, 4:-4]
    assert psnr_luma(restored, original) == pytest.approx(scorer.psnr(cut_a, cut_b), abs=1e-9)
    assert ssim_luma(restored, original) == pytest.approx(scorer.ssim(cut_a, cut_b), abs=1e-9)
    hole = np.random.default_rng(0).random(original.shape[:2]) < 0.3
    assert psnr_in_hole(restored, original, hole) == pytest.approx(
        scorer.psnr(original[hole], restored[hole]), abs=1e-9
    )
    ours = load_perceptual(PERCEPTUAL)
    theirs = scorer.LpipsSqueeze()
    expected = float(theirs(scorer.tensor(restored), scorer.tensor(original)))
    assert perceptual_distance(ours, restored, original) == pytest.approx(expected, rel=1e-4)
