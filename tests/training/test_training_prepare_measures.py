"""Each measure on images that it must and must not object to."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_families import picture

from adacode_cli.training.prepare import measures
from adacode_cli.training.prepare.examine import Examined, duplicates
from adacode_cli.training.prepare.settings import Limits

LIMITS = Limits()
SEEDS = range(8)


def luma(rgb):
    return measures.luma_of(np.ascontiguousarray(rgb))


def jpeg(rgb, quality):
    return cv2.imdecode(cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def edge(width_px, contrast):
    """A slanted ideal edge, blurred by a Gaussian of σ = `width_px` (painted fourfold, then shrunk)."""
    y, x = np.mgrid[:1024, :1024].astype(np.float32)
    step = np.where(x + 0.3 * y > 660, 128 + contrast / 2, 128 - contrast / 2).astype(np.float32)
    large = cv2.GaussianBlur(step, (0, 0), 4 * width_px)
    return cv2.resize(large, (256, 256), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("contrast", [60, 120, 240])
@pytest.mark.parametrize("width", [0.5, 1.0, 1.5, 2.5, 4.0])
def test_the_width_of_an_edge_is_found_whatever_its_contrast(width, contrast):
    # A pixel's own area blurs an edge too, by 0.3 px at least.
    assert measures.blur_px(edge(width, contrast)) == pytest.approx(width, abs=0.35)


@pytest.mark.parametrize("seed", SEEDS)
def test_sharp_images_pass_and_blurred_ones_do_not(seed):
    image = picture(seed, 256, 256)
    assert measures.blur_px(luma(image)) < LIMITS.blur_px / 2
    assert measures.blur_px(luma(cv2.GaussianBlur(image, (0, 0), 2.5))) > LIMITS.blur_px


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sharp_subject_before_a_blurred_ground_is_sharp(seed):
    image = cv2.GaussianBlur(picture(seed, 256, 256), (0, 0), 4)
    image[64:192, 64:192] = picture(seed, 256, 256)[64:192, 64:192]
    assert measures.blur_px(luma(image)) < LIMITS.blur_px


def test_noise_makes_no_blurred_image_sharp():
    image = cv2.GaussianBlur(picture(0, 256, 256), (0, 0), 4).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 4, image.shape)
    assert measures.blur_px(luma(np.clip(image + noise, 0, 255).astype(np.uint8))) > LIMITS.blur_px


def test_without_edges_nothing_is_sharp():
    assert measures.blur_px(np.full((64, 64), 100, np.float32)) == 10


def test_plain_and_noisy_walls_are_flat_and_images_are_not():
    noise = np.random.default_rng(0).normal(128, 4, (128, 128)).astype(np.float32)
    slope = np.tile(np.linspace(90, 130, 512, dtype=np.float32), (512, 1))
    for flat in (np.full((128, 128), 200, np.float32), noise, slope):
        assert measures.detail(flat) < LIMITS.detail
    for seed in SEEDS:
        assert measures.detail(luma(picture(seed))) > LIMITS.detail


@settings(max_examples=40, deadline=None)
@given(st.floats(-60, 60), st.sampled_from([1.0, 0.5, 0.25]))
def test_detail_follows_contrast_and_not_brightness(shift, factor):
    image = np.random.default_rng(3).uniform(0, 255, (64, 64)).astype(np.float32)
    expected = factor * measures.detail(image)
    assert measures.detail(image * np.float32(factor) + np.float32(shift)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("quality", [20, 30, 50, 75, 76, 90, 95])
def test_the_quality_of_a_jpeg_is_read_from_its_tables(quality, tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(picture(0)).save(path, quality=quality)
    with Image.open(path) as image:
        assert measures.jpeg_quality(image.quantization[0]) == pytest.approx(quality, abs=0.6)


def test_the_lowest_qualities_read_as_low():
    assert measures.jpeg_quality([255] * 64) < 20


@pytest.mark.parametrize("seed", SEEDS)
def test_a_grid_of_blocks_is_found_wherever_it_begins(seed):
    image = picture(seed, 256, 256)
    bad = jpeg(image, 10)
    assert measures.blockiness(luma(image)) < LIMITS.blockiness / 2
    assert measures.blockiness(luma(jpeg(image, 90))) < LIMITS.blockiness
    strength = measures.blockiness(luma(bad))
    assert strength > LIMITS.blockiness
    assert measures.blockiness(luma(bad[3:, 5:])) == pytest.approx(strength, rel=0.3)


def test_stripes_are_no_blocks():
    stripes = np.tile(np.where(np.arange(256) % 16 < 8, 100, 110).astype(np.float32), (256, 1))
    assert measures.blockiness(stripes) < LIMITS.blockiness / 2


def bits(a, b):
    return (a ^ b).bit_count()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_hash_outlasts_shrinking_and_compression(seed):
    image = picture(seed, 320, 352)
    own = measures.perceptual_hash(luma(image))
    assert bits(own, measures.perceptual_hash(luma(jpeg(image, 40)))) <= LIMITS.duplicate_bits
    for factor in (0.3, 0.5, 0.8):
        small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        assert bits(own, measures.perceptual_hash(luma(small))) <= LIMITS.duplicate_bits


def test_hashes_of_different_images_are_far_apart():
    hashes = [measures.perceptual_hash(luma(picture(seed))) for seed in range(30)]
    assert min(bits(a, b) for i, a in enumerate(hashes) for b in hashes[:i]) > 4 * LIMITS.duplicate_bits


def photo(file, hash, side=100):
    return Examined(file, side, side, hash, (), 0, None)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(1, 3)), min_size=1, max_size=12),
    st.integers(0, 20),
    st.randoms(),
)
def test_what_stays_is_far_apart_and_what_goes_is_near_something_as_large(found, most, random):
    photos = [photo(f"{i:02}", hash, side) for i, (hash, side) in enumerate(found)]
    photos += [photo(f"{p.file}b", p.hash ^ 0b101, p.width) for p in photos]
    gone = duplicates(photos, most)
    by_name = {p.file: p for p in photos}
    kept = [p for p in photos if p.file not in gone]
    assert all(bits(a.hash, b.hash) > most for i, a in enumerate(kept) for b in kept[:i])
    for file, (other, distance) in gone.items():
        assert other not in gone
        assert by_name[other].width >= by_name[file].width
        assert distance == bits(by_name[other].hash, by_name[file].hash) <= most
    shuffled = list(photos)
    random.shuffle(shuffled)
    assert duplicates(shuffled, most) == gone


def test_duplicates_can_be_kept():
    assert duplicates([photo("a", 7), photo("b", 7)], -1) == {}
