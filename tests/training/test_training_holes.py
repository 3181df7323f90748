"""Random holes: sizes, kinds, the same for the same seed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adacode_cli.errors import UsageError
from adacode_cli.training.holes import (
    DAMAGED_PRINTS,
    KINDS,
    MAX_HOLE_SHARE,
    MIXED,
    PUBLISHED_STROKES,
    HoleSettings,
    random_hole,
    with_traces,
)

PRESETS = [MIXED, DAMAGED_PRINTS, PUBLISHED_STROKES]


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def only(kind: str, **more: object) -> HoleSettings:
    return replace(MIXED, shares=tuple(float(k == kind) for k in KINDS), **more)


@settings(max_examples=300)
@given(st.integers(0, 2**32), st.sampled_from([32, 64, 128]), st.sampled_from(PRESETS))
def test_holes_are_between_a_pixel_and_the_most_of_the_image(seed, side, preset):
    hole = random_hole(side, rng(seed), preset)
    assert (hole.shape, hole.dtype) == ((side, side), np.bool_)
    assert 1 <= hole.sum() <= MAX_HOLE_SHARE * side**2
    assert np.array_equal(hole, random_hole(side, rng(seed), preset))


def test_holes_are_of_many_sizes():
    shares = np.array([random_hole(128, rng(seed)).mean() for seed in range(300)])
    assert (shares < 0.02).mean() > 0.02
    assert (shares > 0.25).mean() > 0.02


def test_mixed_holes_stay_those_that_weights_were_trained_with():
    holes = b"".join(random_hole(64, rng(seed)).tobytes() for seed in range(50))
    assert hashlib.sha256(holes).hexdigest()[:16] == "b21d8fc677438f51"


def test_published_strokes_are_brush_strokes_of_the_stated_widths():
    """The largest discs in a stroke are as wide as the brush, except where it crosses itself."""
    settings = replace(PUBLISHED_STROKES, holes=(1, 1), vertices=(8, 8))
    widths = []
    for seed in range(60):
        hole = random_hole(512, rng(seed), settings).astype(np.uint8)
        ridge = cv2.distanceTransform(hole, cv2.DIST_L2, 5)
        local = (ridge >= cv2.dilate(ridge, np.ones((5, 5)))) & (ridge > 3)
        widths.append(2 * np.median(ridge[local]))
        assert hole.mean() > 0.01
    assert 9 < min(widths) < 25
    assert 60 < max(widths) < 100


def test_published_strokes_do_not_run_along_the_edges():
    holes = np.mean([random_hole(128, rng(seed), PUBLISHED_STROKES) for seed in range(200)], 0)
    edge = np.concatenate((holes[0], holes[-1], holes[:, 0], holes[:, -1])).mean()
    assert edge < holes[32:96, 32:96].mean()


def test_number_and_width_of_strokes_count():
    def share(settings: HoleSettings) -> float:
        return float(np.mean([random_hole(128, rng(seed), settings).mean() for seed in range(60)]))

    thin, wide = only("stroke", width=(0.02, 0.02)), only("stroke", width=(0.08, 0.08))
    assert share(wide) > 1.8 * share(thin)
    assert share(replace(thin, holes=(3, 3))) > 1.7 * share(replace(thin, holes=(1, 1)))
    assert share(replace(thin, vertices=(8, 8), turn_back=True)) > 1.7 * share(replace(thin, vertices=(2, 2)))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_can_be_had_alone(kind):
    holes = [random_hole(96, rng(seed), only(kind, holes=(1, 1))) for seed in range(20)]
    corners = [any((h[0, 0], h[0, -1], h[-1, 0], h[-1, -1])) for h in holes]
    boxes = [h[np.ix_(h.any(1), h.any(0))].all() for h in holes]
    assert all(corners) == (kind == "corner")
    assert all(boxes) == (kind == "rectangle")
    # Distances from the middle of a hole to its edge: lines are thin, also long ones.
    widths = [2 * cv2.distanceTransform(np.pad(h, 1).astype(np.uint8), cv2.DIST_L2, 5).max() for h in holes]
    assert (max(widths) < 13) == (kind in ("scratch", "dust", "hair", "crease", "date"))
    crossing = [h.any(0).all() or h.any(1).all() for h in holes]
    assert kind != "crease" or np.mean(crossing) > 0.6
    assert len({h.tobytes() for h in holes}) == 20


def test_settings_survive_json():
    for preset in PRESETS:
        read = json.loads(json.dumps(asdict(preset)))
        assert HoleSettings(**{k: tuple(v) if isinstance(v, list) else v for k, v in read.items()}) == preset


def test_damage_leaves_traces_beside_its_hole_and_nowhere_else():
    """Without JPEG only the border is changed, towards one colour, and less with the distance; with it whole blocks."""
    images, num = torch.full((60, 3, 64, 64), 0.5), 60
    hole = torch.zeros(num, 1, 64, 64)
    hole[..., 24:40, 24:40] = 1
    always = replace(MIXED, traces=1.0)
    marked = with_traces(images, hole, [rng(seed) for seed in range(num)], always)
    assert torch.equal(marked, with_traces(images, hole, [rng(seed) for seed in range(num)], always))
    change = (marked - images).abs().amax(1) * (1 - hole[:, 0])
    assert bool((change[:, 23, 32] > 0.01).all()), "every hole has a border"
    rounding = 3 / 255  # of JPEG, which also moves an even grey
    assert bool((change[:, :16].amax((1, 2)) < rounding).all()), "nothing changes farther away than a block of JPEG"
    beside = change[:, 23, 32] >= change[:, 21, 32]
    assert bool(beside.all())
    inside = marked[:, :, 32, 32]
    assert 0.3 < float((inside.mean(1) > 0.5).float().mean()) < 0.9, "light and dark damage"
    assert torch.equal(with_traces(images, hole, [rng(0)] * num, MIXED), images)
    some = with_traces(images, hole, [rng(seed) for seed in range(num)], replace(MIXED, traces=0.5))
    changed = (some != images).flatten(1).any(1).float().mean()
    assert 0.3 < float(changed) < 0.7


@pytest.mark.parametrize(
    "wrong",
    [
        {"shares": (0.5,)},
        {"shares": (0.1,) * 10},
        {"shares": (0.5, 0.5, 0.5, -0.5, 0.0)},
        {"holes": (0, 2)},
        {"vertices": (5, 2)},
        {"width": (0.0, 0.1)},
        {"step": (0.1, 1.5)},
        {"turn": -1.0},
        {"redraws": -1},
        {"traces": 1.5},
    ],
    ids=str,
)
def test_impossible_holes_are_reported(wrong):
    with pytest.raises(UsageError, match="holes are impossible"):
        HoleSettings(**wrong)
