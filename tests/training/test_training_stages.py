"""The stages learn: losses fall, what is theirs changes, what is frozen stays bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from perceptual_fixture import save_perceptual
from tiny_families import CATEGORIES, FAMILIES, clean_batch, packed, picture

from adacode_cli.evaluation.perceptual import load_perceptual
from adacode_cli.model.config import ResidualConfig
from adacode_cli.model.input import prepare_input
from adacode_cli.model.network import AdaCode
from adacode_cli.training.batches import Batch, painted
from adacode_cli.training.degradation import DegradationSettings, degrade
from adacode_cli.training.holes import random_hole
from adacode_cli.training.initialise import adopt_fused, fresh_network
from adacode_cli.training.optimisation import Optimisation
from adacode_cli.training.processes import OneProcess
from adacode_cli.training.recipe import LossWeights, Optimiser, StageRecipe
from adacode_cli.training.stages import (
    RESEED_EVERY,
    BasisStage,
    FuseStage,
    JointStage,
    RestoreStage,
    Stage,
    StageContext,
)

STEPS = {"packed": 16, "plain": 10}
STAGES = ("basis", "fuse", "joint", "sr-2", "sr-4", "inpaint")
ALL_LOSSES = LossWeights(adversarial=0.1, semantic=0.1, feature=1.0, contrastive=0.5)
FROZEN = {"basis": (), "joint": (), "fuse": ("codebook.books.",)}
FROZEN_IN_THREE = ("codebook.books.", "codebook.after.", "decoder.")


def recipe(**values) -> StageRecipe:
    fast = Optimiser(rate=2e-3, warmup=2)
    return StageRecipe(**({"batch": 2, "patch": 64, "optimiser": fast, "adversarial_from": 0.0} | values))


def ground(loss: LossWeights = LossWeights(), perceptual=None) -> StageContext:  # noqa: B008 - frozen
    return StageContext(loss, perceptual, OneProcess(torch.device("cpu")))


def make_stage(name: str, family: str, on: StageContext | None = None) -> Stage:
    config, on = FAMILIES[family], on or ground()
    if name == "basis":
        return BasisStage(fresh_network(config("basis", 1), 0), on)
    fused = fresh_network(config("reconstruct", 1), 0)
    if name in ("fuse", "joint"):
        return (FuseStage if name == "fuse" else JointStage)(fused, on)
    task, _, scale = name.partition("-")
    network = fresh_network(config(task, int(scale or 1)), 1)
    adopt_fused(network, fused)
    return RestoreStage(network, on, fused)


def make_batch(name: str, network: AdaCode) -> Batch:
    clean = clean_batch(0)
    target = clean.target_BCHW
    if name.startswith("sr"):
        scale, rng = int(name[-1]), np.random.default_rng(0)
        degraded = [degrade(picture(i, 64, 64), scale, rng, DegradationSettings()) for i in range(2)]
        return Batch(torch.from_numpy(np.stack(degraded)).permute(0, 3, 1, 2).float() / 255, target)
    if name == "inpaint":
        rng = np.random.default_rng(0)
        hole = torch.from_numpy(np.stack([random_hole(64, rng) for _ in range(2)]))[:, None].float()
        return Batch(painted(target, hole, mask_channel=network.config.mask_channel), target, hole)
    return replace(clean, category_B=torch.arange(len(CATEGORIES)))


def trained(stage: Stage, batch: Batch, steps: int, precision: str = "fp32") -> tuple[Optimisation, list[dict]]:
    """The stage after some steps on one batch, and the losses of each."""
    optimisation, lines = Optimisation(stage, recipe(), 0, precision), []
    optimisation.begin(lambda _: batch)
    for step in range(steps):
        values = optimisation.step(batch, step, step / steps)
        lines.append({k: float(v) for k, v in values.items()})
    return optimisation, lines


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", STAGES)
def test_a_stage_learns_what_is_its_own_and_leaves_the_rest(name, family):
    stage = make_stage(name, family)
    frozen = FROZEN.get(name, FROZEN_IN_THREE)
    first = {k: v.clone() for k, v in stage.network.state_dict().items()}
    optimisation, lines = trained(stage, make_batch(name, stage.network), STEPS[family])
    totals = [line["total"] for line in lines]
    assert sum(totals[-3:]) < 0.9 * sum(totals[:3])
    last, result = stage.network.state_dict(), optimisation.result()
    assert result.keys() == last.keys()
    for key, parameter in stage.network.named_parameters():
        if key.startswith(frozen) if frozen else False:
            assert not parameter.requires_grad
            assert torch.equal(first[key], last[key]), key
            assert torch.equal(first[key], result[key]), key
        else:
            assert parameter.grad is not None, key
            assert not torch.equal(first[key], last[key]), key
            assert not torch.equal(first[key], result[key]), key


def test_images_are_made_of_one_level_of_codes_or_of_more():
    """At random for each step, so the decoder learns each number."""
    network = fresh_network(replace(packed("reconstruct"), residual=ResidualConfig(3, 0.4)), 0)
    stage, batch = FuseStage(network, ground()), make_batch("fuse", network)
    made = []
    for seed in range(12):
        torch.manual_seed(seed)
        made.append(stage.losses(batch)[1].detach())
    with torch.no_grad():
        latent = network.encode(batch.input_BCHW).latent_BCHW
        codes, weights = network.codebook.nearest(latent), network.codebook.weights(latent)
        planes = len(network.codebook.books)
        expected = [network.render(network.codebook.mixed(codes[: planes * n], weights)) for n in (1, 2, 3)]
    matches = [[bool(torch.allclose(image, one, atol=1e-4)) for one in expected] for image in made]
    assert all(sum(found) == 1 for found in matches)
    assert all(any(column) for column in zip(*matches, strict=True))


@pytest.mark.parametrize("name", STAGES)
def test_every_loss_of_the_paper_takes_part(name, tmp_path):
    perceptual = load_perceptual(save_perceptual(tmp_path / "lpips.safetensors"))
    stage = make_stage(name, "packed", ground(ALL_LOSSES, perceptual))
    optimisation, lines = trained(stage, make_batch(name, stage.network), 3)
    terms = {"pixel", "perceptual", "codebook", "adversarial"}
    terms |= {"semantic"} if name == "basis" else set()
    terms |= set() if name in ("basis", "fuse", "joint") else {"feature", "contrastive"}
    assert lines[0].keys() == terms | {"total", "gradient", "discriminator", "discriminator_gradient"}
    for line in lines:
        expected = sum(getattr(ALL_LOSSES, term) * line[term] for term in terms)
        assert line["total"] == pytest.approx(expected, rel=1e-4)
    assert all(p.grad is not None for p in stage.extra.parameters())
    assert optimisation.adversary is not None
    assert all(p.grad is not None for p in optimisation.adversary.network.parameters())


def test_a_discriminator_joins_when_its_time_has_come():
    stage = make_stage("fuse", "packed", ground(ALL_LOSSES))
    optimisation, batch = (
        Optimisation(stage, recipe(adversarial_from=0.5), 0, "fp32"),
        make_batch("fuse", stage.network),
    )
    before = {k: v.clone() for k, v in optimisation.adversary.network.state_dict().items()}
    assert "adversarial" not in optimisation.step(batch, 0, 0.4)
    now = optimisation.adversary.network.state_dict()
    assert all(torch.equal(before[k], now[k]) for k in before)
    assert {"adversarial", "discriminator"} <= optimisation.step(batch, 1, 0.5).keys()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", STAGES)
def test_the_image_that_is_compared_is_the_one_that_the_network_returns(name, family):
    stage = make_stage(name, family)
    batch = make_batch(name, stage.network)
    _, compared = stage.losses(batch)
    assert compared.shape == batch.target_BCHW.shape
    if family == "plain":
        return  # the published arrangement pads even what fits, and GroupNorm sees the padding
    with torch.inference_mode():
        returned = stage.network.eval()(batch.input_BCHW).image_BCHW
    if batch.hole_B1HW is not None:
        returned = torch.where(batch.hole_B1HW > 0, returned, batch.target_BCHW)
    assert torch.allclose(compared, returned, atol=1e-4)


def test_the_teacher_of_stage_three_stays_as_it_is():
    stage = make_stage("sr-2", "packed")
    before = {k: v.clone() for k, v in stage.teacher.state_dict().items()}
    trained(stage, make_batch("sr-2", stage.network), 2)
    assert not stage.teacher.training
    assert all(torch.equal(before[k], v) for k, v in stage.teacher.state_dict().items())


def test_a_teacher_of_several_levels_of_codes_teaches_the_first():
    """A task's codes have one level, so those of the others cannot be its targets."""
    plain = fresh_network(packed("reconstruct"), 0)
    fine = fresh_network(replace(packed("reconstruct"), residual=ResidualConfig(3, 0.4)), 0)
    terms = []
    for teacher in (plain, fine):
        network = fresh_network(packed("sr", 2), 1)
        adopt_fused(network, teacher)
        torch.manual_seed(3)
        terms.append(RestoreStage(network, ground(), teacher).losses(make_batch("sr-2", network))[0])
    for name, expected in terms[0].items():
        torch.testing.assert_close(terms[1][name], expected, rtol=0, atol=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_perceptual_network_takes_part(tmp_path, precision):
    perceptual = load_perceptual(save_perceptual(tmp_path / "lpips.safetensors"))
    batch = clean_batch(0)
    stage = make_stage("basis", "packed", ground(LossWeights(), perceptual))
    _, lines = trained(stage, batch, 2, precision)
    for line in lines:
        assert line["perceptual"] > 0
        expected = line["pixel"] + 0.5 * line["perceptual"] + line["codebook"]
        assert line["total"] == pytest.approx(expected, rel=1e-2)
    first_rows, shares = set(), []
    for _ in range(24):
        output = (batch.target_BCHW * 0.5).requires_grad_()
        stage.image_terms(output, output, batch)["perceptual"].backward()
        seen = (output.grad != 0).any(1)
        shares.append(float(seen.float().mean()))
        first_rows.add(int(seen.any(2).float().argmax()))
    assert len(first_rows) > 2, "crops are compared at one phase only"
    assert max(shares) > 0.7, "never as they are"
    assert 0.1 < min(shares) < 0.5, "never magnified"


def test_codes_begin_where_features_are():
    stage, batch = make_stage("basis", "packed"), clean_batch(0)
    stage.begin(lambda _: batch)
    cells = stage._cells(batch, 0)
    distance = torch.cdist(stage.network.codebook.books[0].embedding.weight, cells).min(1).values
    fresh = fresh_network(packed("basis"), 0).codebook.books[0].embedding.weight
    assert bool(distance.mean() < 0.1 * torch.cdist(fresh, cells).min(1).values.mean())


@pytest.mark.parametrize("name", ["basis", "joint"])
def test_dead_codes_are_moved_until_late_in_the_run(name):
    stage = make_stage(name, "packed")
    batch = make_batch(name, stage.network)
    stage.begin(lambda _: batch)
    books = [book.embedding.weight for book in stage.network.codebook.books]

    def moved(step: int, progress: float) -> list[bool]:
        for usage in stage.usage:
            usage.share.zero_()[0] = 1
        before = [book.detach().clone() for book in books]
        stage.after_step(step, progress, batch)
        return [not torch.equal(a, b) for a, b in zip(before, books, strict=True)]

    assert all(moved(RESEED_EVERY, 0.1))
    assert not any(moved(RESEED_EVERY + 1, 0.1))
    assert not any(moved(2 * RESEED_EVERY, 0.9))


def test_only_its_own_category_moves_the_codes_of_a_joint_basis():
    stage = make_stage("joint", "packed")
    batch = replace(make_batch("joint", stage.network), category_B=torch.tensor([1, 1]))
    passed = stage._run(batch)
    stage.code_terms(passed, batch)["codebook"].backward()
    first, second = (book.embedding.weight.grad for book in stage.network.codebook.books)
    assert first is None or not bool(first.any())
    assert bool(second.any())


def test_inpainting_learns_from_smooth_fills_and_from_its_own_coarser_results():
    config = replace(FAMILIES["packed"]("inpaint", 1), coarse_passes=2)
    fused = fresh_network(FAMILIES["packed"]("reconstruct", 1), 0)
    network = fresh_network(config, 1)
    stage = RestoreStage(network, ground(), fused)
    batch, seen = make_batch("inpaint", network), []
    batch = replace(batch, input_BCHW=batch.input_BCHW.repeat(1, 1, 2, 2), hole_B1HW=batch.hole_B1HW.repeat(1, 1, 2, 2))
    batch = replace(batch, target_BCHW=batch.target_BCHW.repeat(1, 1, 2, 2))
    network.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    ways = set()
    for seed in range(12):
        torch.manual_seed(seed)
        seen.clear()
        stage.losses(batch)
        ways.add(tuple(x.shape[-1] for x in seen))
        finest = seen[-1]
        smooth, coarse = prepare_input(batch.input_BCHW, "filled"), network.prepared(batch.input_BCHW, 1)
        torch.testing.assert_close(finest, smooth if len(seen) == 2 else coarse, rtol=0, atol=1e-5)
    assert ways == {(128,), (64, 128)}, "one coarser pass, and that half of the time"
