"""Batches: what the network sees and should return, and that threads, processes and resumed runs change nothing."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import replace
from itertools import islice, pairwise

import cv2
import numpy as np
import pytest
import torch
from tiny_families import CATEGORIES, packed, plain

from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.restorer import Restorer
from adacode_cli.engine.runner import Finished
from adacode_cli.engine.transfer import network_input
from adacode_cli.errors import TrainingError
from adacode_cli.training.batches import (
    BEGINNING,
    HOLES,
    TRAINING,
    Batch,
    HoleStock,
    Order,
    clean_samples,
    degraded_samples,
    degraded_side,
    device_batches,
    holed_samples,
    host_batches,
    ordered,
    painted,
)
from adacode_cli.training.crops import Contents, DeviceCrops, HostCrops, Wanted
from adacode_cli.training.degradation import MODERATE, PUBLISHED
from adacode_cli.training.holes import MIXED, PUBLISHED_STROKES, random_hole
from adacode_cli.training.presets import named_recipe
from adacode_cli.training.recipe import StageRecipe
from adacode_cli.training.shards import Shards

CPU = torch.device("cpu")
PATCH = 64
RECIPE = named_recipe("compact")
KINDS = ["clean", "sky", "sr 2", "sr 4", "mask", "white"]
CONFIGS = {
    "clean": packed("reconstruct"),
    "sky": packed("basis"),
    "sr 2": packed("sr", 2),
    "sr 4": packed("sr", 4),
    "mask": packed("inpaint"),
    "white": plain("inpaint"),
}


@pytest.fixture(scope="module")
def contents(shards) -> Contents:
    return Contents(Shards(shards), "train")


@pytest.fixture(scope="module")
def crops(contents) -> HostCrops:
    return HostCrops(contents, keep=True, workers=1)


def wanted(kind: str) -> Wanted:
    """The windows that a kind of batch is made of."""
    side = degraded_side(PATCH, int(kind[-1])) if kind.startswith("sr") else PATCH
    return Wanted(side, "sky" if kind == "sky" else None)


def maker(crops, kind: str, order: Order | None = None, settings=MODERATE):
    if kind.startswith("sr"):
        make = degraded_samples(int(kind[-1]), settings)
    else:
        make = holed_samples(MIXED) if kind in ("mask", "white") else clean_samples()
    return host_batches(crops, make, order or Order(seed=5, batch=4), wanted(kind), mask_channel=kind == "mask")


def on_device(contents, kind: str, order: Order | None = None):
    order, only = order or Order(seed=5, batch=4), "sky" if kind == "sky" else None
    crops = DeviceCrops(contents, CPU, 1)
    stage = StageRecipe(batch=order.batch, patch=PATCH)
    return device_batches(crops, order, CONFIGS[kind], stage, category=only, recipe=RECIPE)


def tensors(batch: Batch) -> list[torch.Tensor]:
    optional = [t for t in (batch.hole_B1HW, batch.category_B) if t is not None]
    return [batch.input_BCHW, batch.target_BCHW, *optional]


def same(a: Batch, b: Batch) -> bool:
    return all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))


def first(make, num: int, start: int = 0, workers: int = 2) -> list[Batch]:
    with closing(ordered(make, start, workers)) as batches:
        return list(islice(batches, num))


@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_the_same_however_many_threads_make_them_and_wherever_they_begin(crops, kind):
    make = maker(crops, kind)
    alone = first(make, 7, workers=0)
    for workers in (1, 5):
        assert all(same(a, b) for a, b in zip(alone, first(make, 7, workers=workers), strict=True))
    assert all(same(a, b) for a, b in zip(alone[3:], first(make, 4, start=3), strict=True))
    assert same(alone[2], make(2, TRAINING))
    assert not any(same(a, b) for a, b in pairwise(alone))
    assert not same(make(0, BEGINNING), make(0, TRAINING))
    assert not same(make(0, TRAINING), maker(crops, kind, Order(seed=6, batch=4))(0, TRAINING))


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_make_the_halves_of_what_one_makes(crops, kind):
    whole = maker(crops, kind)(3, TRAINING)
    halves = [maker(crops, kind, Order(5, 4, rank, 2))(3, TRAINING) for rank in range(2)]
    for together, parts in zip(tensors(whole), zip(*map(tensors, halves), strict=True), strict=True):
        assert torch.equal(together, torch.cat(parts))
    smaller = maker(crops, kind, Order(5, 2))(3, TRAINING)
    assert same(smaller, halves[0])  # a sample does not depend on how many there are


@pytest.mark.parametrize("on", ["host", "device"])
@pytest.mark.parametrize("kind", KINDS)
def test_shapes_values_and_categories(contents, crops, kind, on):
    make = maker(crops, kind) if on == "host" else on_device(contents, kind)
    batch = make(1, TRAINING)
    low = PATCH // int(kind[-1]) if kind.startswith("sr") else PATCH
    assert batch.input_BCHW.shape == (4, 4 if kind == "mask" else 3, low, low)
    assert batch.target_BCHW.shape == (4, 3, PATCH, PATCH)
    for image in (batch.input_BCHW, batch.target_BCHW):
        assert image.dtype == torch.float32
        assert torch.allclose(image * 255, (image * 255).round(), atol=1e-4)
        assert 0 <= image.min() < image.max() <= 1
    assert batch.category_B.dtype == torch.int64
    rngs = Order(5, 4).generators(1, TRAINING)
    windows = [contents.draw(rng, wanted(kind))[0] for rng in rngs]
    expected = [CATEGORIES.index(contents.crops[w.crop].category) for w in windows]
    assert batch.category_B.tolist() == expected
    assert kind != "sky" or expected == [1] * 4


@pytest.mark.parametrize("on", ["host", "device"])
@pytest.mark.parametrize("kind", ["clean", "sky"])
def test_clean_batches_are_their_own_target_even_elsewhere(contents, crops, kind, on):
    batch = (maker(crops, kind) if on == "host" else on_device(contents, kind))(0, TRAINING)
    assert batch.input_BCHW is batch.target_BCHW
    assert batch.hole_B1HW is None
    moved = batch.to(torch.device("meta"))
    assert moved.input_BCHW is moved.target_BCHW
    assert {t.device.type for t in tensors(moved)} == {"meta"}


def test_a_moved_batch_keeps_different_tensors_apart(crops):
    moved = maker(crops, "mask")(0, TRAINING).to(torch.device("meta"))
    assert [tuple(t.shape) for t in tensors(moved)] == [(4, 4, 64, 64), (4, 3, 64, 64), (4, 1, 64, 64), (4,)]


def correlation(low: np.ndarray, small: np.ndarray) -> float:
    return float(np.corrcoef(low[2:-2, 2:-2].ravel(), small[2:-2, 2:-2].ravel())[0, 1])


@pytest.mark.parametrize("on", ["host", "device"])
@pytest.mark.parametrize("settings", [MODERATE, PUBLISHED], ids=["moderate", "published"])
@pytest.mark.parametrize("scale", [2, 4])
def test_a_degraded_image_lies_upon_its_original(contents, crops, scale, settings, on):
    order, kind = Order(0, 24), f"sr {scale}"
    if on == "host":
        make = maker(crops, kind, order, settings)
    else:
        recipe = replace(RECIPE, degradation=settings)
        device_crops = DeviceCrops(contents, CPU, 1)
        stage = StageRecipe(batch=24, patch=PATCH)
        make = device_batches(device_crops, order, CONFIGS[kind], stage, category=None, recipe=recipe)
    batch = make(0, TRAINING)
    places = [(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)]
    agreement = {place: [] for place in places}
    for low, high in zip(batch.input_BCHW, batch.target_BCHW, strict=True):
        shape = (PATCH // scale, PATCH // scale)
        small = cv2.resize(high.permute(1, 2, 0).numpy(), shape, interpolation=cv2.INTER_AREA)
        degraded = low.permute(1, 2, 0).numpy()
        assert not np.array_equal(degraded, small)
        for place in places:
            agreement[place].append(correlation(np.roll(degraded, place, (0, 1)), small))
    means = {place: np.mean(values) for place, values in agreement.items()}
    assert means[0, 0] > (0.9 if settings is MODERATE else 0.75)
    assert means[0, 0] == max(means.values())
    assert float(batch.input_BCHW.mean() - batch.target_BCHW.mean()) == pytest.approx(0, abs=0.02)


class Recorder:
    """Stands where the engine's `Runner` stands and keeps what the network would see."""

    def __init__(self, config) -> None:
        self.config, self.seen = config, None

    def restore(self, image, hole) -> Finished:
        self.seen = network_input(image, hole, mask_channel=self.config.mask_channel, device=CPU)
        return Finished(image, None, torch.zeros(2, 1, 1), "fp32")


@pytest.mark.parametrize("kind", ["mask", "white"])
def test_holes_are_painted_as_the_engine_paints_them(crops, kind):
    engine, recorder = Restorer(None, CPU, RunOptions(precision="fp32")), Recorder(CONFIGS[kind])
    engine._runners["inpaint", 1] = 1.0, recorder
    batch = maker(crops, kind)(0, TRAINING)
    assert set(batch.hole_B1HW.unique().tolist()) == {0.0, 1.0}
    for seen, target, hole in zip(batch.input_BCHW, batch.target_BCHW, batch.hole_B1HW, strict=True):
        image = (target * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        engine.inpaint(np.ascontiguousarray(image), hole[0].numpy() > 0)
        assert torch.equal(seen, recorder.seen[0])
    again = painted(batch.target_BCHW, batch.hole_B1HW, mask_channel=kind == "mask")
    assert torch.equal(again, batch.input_BCHW)


@pytest.mark.parametrize("kind", ["clean", "sky", "mask", "white"])
def test_the_device_makes_the_samples_that_the_host_makes(contents, crops, kind):
    here, there = maker(crops, kind)(0, TRAINING), on_device(contents, kind)(0, TRAINING)
    assert torch.equal(here.category_B, there.category_B)
    assert (here.hole_B1HW is None) == (there.hole_B1HW is None)
    rngs = Order(5, 4).generators(0, TRAINING)
    spans = [contents.draw(rng, wanted(kind))[0].span for rng in rngs]
    assert min(spans) == PATCH < max(spans)
    for a, b, span in zip(here.target_BCHW, there.target_BCHW, spans, strict=True):
        assert torch.equal(a, b) or span > PATCH
        assert float((a - b).abs().mean()) < 1.2 / 255  # as in test_training_crops


@pytest.mark.parametrize("settings", [MIXED, PUBLISHED_STROKES])
def test_holes_on_a_device_are_those_of_the_host_turned_and_mirrored(settings):
    stock = HoleStock(48, 5, settings, CPU, count=3)
    rng = np.random.Generator(np.random.PCG64([5, HOLES]))
    drawn = [random_hole(48, rng, settings) for _ in range(3)]
    ways = [np.rot90(hole, k)[:, ::step] for hole in drawn for k in range(4) for step in (1, -1)]
    found = stock.draw(generators(300))
    assert (found.shape, found.dtype) == ((300, 1, 48, 48), torch.float32)
    counts = Counter(hole[0].bool().numpy().tobytes() for hole in found)
    assert set(counts) == {np.ascontiguousarray(way).tobytes() for way in ways}
    assert torch.equal(found, stock.draw(generators(300)))
    assert not torch.equal(found, HoleStock(48, 6, settings, CPU, count=3).draw(generators(300)))


def generators(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(count)]


@pytest.mark.parametrize("kind", ["sr 2", "sr 4", "mask"])
def test_device_batches_come_again_and_differ(contents, kind):
    make, again = on_device(contents, kind), on_device(contents, kind)
    assert same(make(1, TRAINING), again(1, TRAINING))
    assert not same(make(1, TRAINING), make(2, TRAINING))
    assert not same(make(1, TRAINING), make(1, BEGINNING))


@pytest.mark.parametrize("on", ["host", "device"])
@pytest.mark.parametrize("kind", KINDS)
def test_crops_too_small_for_the_windows_are_refused_before_any_work(contents, crops, kind, on, monkeypatch):
    monkeypatch.setitem(globals(), "PATCH", 192)
    with pytest.raises(TrainingError, match="are wanted from crops of 160 px"):
        maker(crops, kind) if on == "host" else on_device(contents, kind)
