"""Where crops lie, which of them are kept, and which categories are found."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prepared_photos import save_network
from tiny_families import picture

from adacode_cli.errors import UsageError, WeightsError
from adacode_cli.training.prepare.categories import directions, k_means, load_describer, standardised
from adacode_cli.training.prepare.examine import encoded_crop, starts
from adacode_cli.training.prepare.packing import TAR_END, Member, SpooledCrop, packed
from adacode_cli.training.prepare.selection import by_turns, fair_level, validation_photos, within
from adacode_cli.training.prepare.settings import Limits, PrepareSettings

ZERO = np.zeros(3)


@settings(max_examples=200)
@given(st.integers(32, 600), st.integers(0, 5000))
def test_crops_cover_an_axis_with_the_fewest_and_overlap_by_half_at_most(side, more):
    length = side + more
    found = starts(length, side)
    assert found[0] >= 0
    assert found[-1] + side <= length
    steps = np.diff(found)
    if length < 1.5 * side:
        assert len(found) == 1
        assert abs(2 * found[0] + side - length) <= 1
        return
    assert (found[0], found[-1]) == (0, length - side)
    assert len(found) == -(-length // side)
    assert side // 2 <= steps.min() <= steps.max() <= side
    assert steps.max() - steps.min() <= 1


def test_jpeg_keeps_fine_colour_and_webp_keeps_everything():
    # Red and blue by turns from pixel to pixel: half the colour resolution would make it all purple.
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, ::2, 0] = image[:, 1::2, 2] = 200
    for encoding, most in (("jpeg", 25), ("webp", 0)):
        data = np.frombuffer(encoded_crop(image, encoding), np.uint8)
        back = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
        assert np.abs(back.astype(int) - image).mean() <= most
    random = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert np.array_equal(cv2.imdecode(np.frombuffer(encoded_crop(random, "webp"), np.uint8), 1)[..., ::-1], random)


def crop(file, i, size=1000):
    return SpooledCrop(file, 0, i, 0, size, ZERO, ZERO)


CROPS = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 9000)), min_size=1, max_size=40).map(
    lambda found: [crop(file, i, size) for i, (file, size) in enumerate(found)]
)


@given(CROPS, st.integers(0, 3))
def test_every_beginning_of_turns_is_even_over_photographs(crops, seed):
    order = by_turns(crops, seed)
    assert sorted(c.x for c in order) == sorted(c.x for c in crops)
    totals = {c.file: sum(d.file == c.file for d in crops) for c in crops}
    for end in range(len(order) + 1):
        taken = {file: sum(c.file == file for c in order[:end]) for file in totals}
        unfinished = [taken[file] for file in totals if taken[file] < totals[file]]
        assert max(taken.values()) - min(unfinished, default=max(taken.values())) <= 1


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=9), st.integers(0, 5000))
def test_the_fair_level_fills_the_bound_and_no_more(sizes, total):
    level = fair_level(sizes, total)
    assert sum(min(size, level) for size in sizes) <= total
    if sum(sizes) > total:
        assert sum(min(size, level + 1) for size in sizes) > total
    else:
        assert level == max(sizes)


def footprint(crops, category):
    return sum(c.footprint(category) for c in crops)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(CROPS, CROPS), min_size=1, max_size=4), st.floats(0.05, 1.2), st.integers(0, 3))
def test_categories_are_cut_to_one_size(found, share, seed):
    categories = {str(i): {"train": train, "validation": held} for i, (train, held) in enumerate(found)}
    total = sum(footprint(crops, c) for c, splits in categories.items() for crops in splits.values())
    bound = int(share * total)
    kept = within(bound, categories, seed)
    sizes = {c: sum(footprint(crops, c) for crops in splits.values()) for c, splits in kept.items()}
    whole = {c: sum(footprint(crops, c) for crops in splits.values()) for c, splits in categories.items()}
    # One crop of each split stays, whatever the bound.
    largest = max(c.footprint("0") for splits in categories.values() for crops in splits.values() for c in crops)
    assert sum(sizes.values()) <= bound + 2 * largest * len(categories)
    assert all(crops for splits in kept.values() for crops in splits.values())
    level = fair_level(list(whole.values()), bound)
    for c, size in sizes.items():
        assert size >= min(whole[c], level - 2 * largest)
        assert whole[c] > level or kept[c] == categories[c]
        for split, crops in kept[c].items():
            assert {d.x for d in crops} <= {d.x for d in categories[c][split]}


@settings(max_examples=40)
@given(CROPS, st.integers(12_000, 60_000))
def test_shards_are_filled_in_order_and_bounded(crops, most):
    members = [Member(c, "sky") for c in crops]
    groups = packed(members, most)
    assert [m for group in groups for m in group] == members
    for group in groups:
        size = sum(m.crop.footprint("sky") for m in group)
        assert len(group) == 1 or size + TAR_END <= most


@given(st.integers(0, 60), st.sampled_from([0.0, 0.02, 0.1, 0.5]), st.integers(0, 3))
def test_validation_takes_its_share_and_never_all(num, share, seed):
    files = [f"{i}.jpg" for i in range(num)]
    aside = validation_photos(files, share, seed)
    assert aside <= set(files)
    assert validation_photos(files[::-1], share, seed) == aside
    if num < 2 or share == 0:
        assert not aside
    else:
        assert len(aside) == max(1, round(share * num)) < num


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 5), st.integers(0, 50))
def test_k_means_finds_separate_clusters_largest_first(seed, k, order):
    rng = np.random.default_rng(order)
    truth = np.repeat(np.arange(k), 5 + 3 * np.arange(k)[::-1])
    centres = 20 * np.eye(k, 6)
    shuffled = rng.permutation(len(truth))
    rows = (centres[truth] + rng.uniform(-1, 1, (len(truth), 6)))[shuffled]
    assert np.array_equal(k_means(rows, k, seed), truth[shuffled])
    assert np.array_equal(k_means(rows, k, seed), k_means(rows, k, seed))


def test_standardised_columns_weigh_the_same():
    rows = np.random.default_rng(0).normal((5, -3, 0), (1, 100, 0), (200, 3))
    found = standardised(rows)
    assert np.allclose(found.mean(0), 0)
    assert np.allclose(found.std(0), [1, 1, 0])


def test_a_lone_odd_row_is_no_category_of_its_own():
    rng = np.random.default_rng(0)
    rows = np.repeat([[3.0, 0.0], [0.0, 3.0]], 10, axis=0) + rng.uniform(-1, 1, (20, 2))
    rows[3] *= 100
    assert np.bincount(k_means(rows, 2, 0)).tolist() == [19, 1]
    assert np.bincount(k_means(directions(rows), 2, 0)).tolist() == [10, 10]
    assert np.array_equal(directions(np.zeros((2, 3))), np.zeros((2, 3)))


def test_features_tell_kinds_of_images_apart(tmp_path):
    describe = load_describer(save_network(tmp_path / "tiny.safetensors"))
    rng = np.random.default_rng(0)
    rough = [rng.integers(0, 256, (96, 120, 3), np.uint8) for _ in range(4)]
    smooth = [picture(i, 90 + i, 120) for i in range(6)]
    features = np.stack([describe(image) for image in (*rough, *smooth)])
    assert features.dtype == np.float32
    assert list(k_means(directions(standardised(features)), 2, 0)) == [1] * 4 + [0] * 6


def test_features_do_not_depend_on_the_size(tmp_path):
    describe = load_describer(save_network(tmp_path / "tiny.safetensors"))
    large = cv2.resize(picture(0, 384, 384), (1536, 1536), interpolation=cv2.INTER_NEAREST)
    assert np.allclose(describe(large), describe(picture(0, 384, 384)), atol=1e-5)


def test_a_wrong_features_file_is_named(tmp_path):
    path = tmp_path / "no.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(WeightsError, match=r"no\.safetensors"):
        load_describer(path)


@pytest.mark.parametrize(
    "bad",
    [
        {"crop_px": 16},
        {"categories": 0},
        {"features": "x", "categories": None},
        {"encoding": "png"},
        {"validation": 0.6},
        {"validation": -0.1},
        {"shard_mb": 0},
        {"max_mb": 0},
        {"seed": -1},
        {"workers": 0},
    ],
)
def test_impossible_settings_are_refused(bad):
    with pytest.raises(UsageError):
        PrepareSettings(**bad)


@pytest.mark.parametrize(
    "bad", [{"blur_px": -1}, {"detail": -1}, {"duplicate_bits": -2}, {"duplicate_bits": 33}, {"jpeg_quality": 101}]
)
def test_impossible_limits_are_refused(bad):
    with pytest.raises(UsageError):
        Limits(**bad)
