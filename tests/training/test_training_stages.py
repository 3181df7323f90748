"""The three stages learn: losses fall, what is theirs changes, what is frozen stays bit for bit."""

from __future__ import annotations

import pytest
import torch
from perceptual_fixture import save_perceptual
from tiny_families import FAMILIES, clean_batch, packed, repeated

from adacode_cli.errors import WeightsError
from adacode_cli.training.batches import Batch, degraded_batches, holed_batches, ordered
from adacode_cli.training.initialise import adopt_fused, fresh_network
from adacode_cli.training.loop import train
from adacode_cli.training.losses import feature_loss, gram
from adacode_cli.training.perceptual_file import load_perceptual
from adacode_cli.training.settings import LossWeights, TrainSettings
from adacode_cli.training.stages import RESEED_EVERY, BasisStage, FuseStage, RestoreStage, Stage

STEPS = {"packed": 16, "plain": 10}
STAGES = ("basis", "fuse", "sr-2", "sr-4", "inpaint")


def settings(**values) -> TrainSettings:
    plain = {"batch": 2, "patch": 64, "precision": "fp32", "warmup": 2, "learning_rate": 2e-3, "log_every": 1}
    return TrainSettings(**(plain | values))


def make_stage(name: str, family: str, perceptual=None) -> Stage:
    config = FAMILIES[family]
    weights = LossWeights()
    if name == "basis":
        return BasisStage(fresh_network(config("basis", 1), 0), weights, perceptual)
    fused = fresh_network(config("reconstruct", 1), 0)
    if name == "fuse":
        return FuseStage(fused, weights, perceptual)
    task, _, scale = name.partition("-")
    network = fresh_network(config(task, int(scale or 1)), 1)
    adopt_fused(network, fused)
    return RestoreStage(network, weights, perceptual, fused)


def make_batch(name: str, stage: Stage, corpus) -> Batch:
    if name.startswith("sr"):
        make = degraded_batches(corpus, settings(), int(name[-1]))
    elif name == "inpaint":
        make = holed_batches(corpus, settings(), mask_channel=stage.network.config.mask_channel)
    else:
        return clean_batch(0)
    batches = ordered(make, seed=0)
    batch = next(batches)
    batches.close()
    return batch


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", STAGES)
def test_a_stage_learns_what_is_its_own_and_leaves_the_rest(name, family, corpus):
    stage = make_stage(name, family)
    frozen = {"basis": (), "fuse": ("codebook.books.",)}.get(name, ("codebook.books.", "codebook.after.", "decoder."))
    batch, lines = make_batch(name, stage, corpus), []
    first = {k: v.clone() for k, v in stage.network.state_dict().items()}
    trained = train(stage, repeated(batch), settings(steps=STEPS[family]), lines.append)
    totals = [line["total"] for line in lines]
    assert sum(totals[-3:]) < 0.9 * sum(totals[:3])
    last = stage.network.state_dict()
    for key, parameter in stage.network.named_parameters():
        if key.startswith(frozen) if frozen else False:
            assert not parameter.requires_grad
            assert torch.equal(first[key], last[key]), key
            assert torch.equal(first[key], trained.state[key]), key
        else:
            assert parameter.grad is not None, key
            assert not torch.equal(first[key], last[key]), key
            assert not torch.equal(first[key], trained.state[key]), key


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", STAGES)
def test_the_picture_that_is_compared_is_the_one_that_the_network_returns(name, family, corpus):
    seen = []

    class Watched:
        """Keeps the output that the losses see."""

        def picture_terms(self, output, batch):
            seen.append(output.detach())
            return super().picture_terms(output, batch)

    stage = make_stage(name, family)
    stage.__class__ = type("WatchedStage", (Watched, type(stage)), {})
    batch = make_batch(name, stage, corpus)
    stage.losses(batch)
    if family == "plain":
        # The published arrangement pads even what fits, and GroupNorm sees the padding: only the middle is near.
        assert seen[0].shape == batch.target_BCHW.shape
        return
    with torch.inference_mode():
        returned = stage.network.eval()(batch.input_BCHW).image_BCHW
    assert torch.allclose(seen[0], returned, atol=1e-4)


def test_the_teacher_of_stage_three_stays_as_it_is(corpus):
    stage = make_stage("sr-2", "packed")
    before = {k: v.clone() for k, v in stage.teacher.state_dict().items()}
    train(stage, repeated(make_batch("sr-2", stage, corpus)), settings(steps=2))
    assert not stage.teacher.training
    assert all(torch.equal(before[k], v) for k, v in stage.teacher.state_dict().items())


def test_hole_loss_is_about_the_hole(corpus):
    stage = make_stage("inpaint", "packed")
    batch = make_batch("inpaint", stage, corpus)
    off = 0.1
    inside = stage.picture_terms(batch.target_BCHW + off * batch.hole_B1HW, batch)["pixel"]
    outside = stage.picture_terms(batch.target_BCHW + off * (1 - batch.hole_B1HW), batch)["pixel"]
    assert float(inside) == pytest.approx(off, rel=1e-3)
    assert float(outside) == pytest.approx(0.1 * off, rel=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_perceptual_network_takes_part(tmp_path, precision):
    perceptual = load_perceptual(save_perceptual(tmp_path / "lpips.safetensors"))
    assert perceptual is not None
    batch = clean_batch(0)
    assert float(perceptual(batch.input_BCHW, batch.input_BCHW).sum()) == 0
    stage, lines = make_stage("basis", "packed", perceptual), []
    train(stage, repeated(batch), settings(steps=2, precision=precision), lines.append)
    for line in lines:
        assert line["perceptual"] > 0
        expected = line["pixel"] + 0.5 * line["perceptual"] + line["codebook"]
        assert line["total"] == pytest.approx(expected, rel=1e-2)
    first_rows = set()
    for _ in range(12):
        output = (batch.target_BCHW * 0.5).requires_grad_()
        stage.picture_terms(output, batch)["perceptual"].backward()
        seen = (output.grad != 0).any(1)
        assert float(seen.float().mean()) > 0.7
        first_rows.add(int(seen.any(2).float().argmax()))
    assert len(first_rows) > 2, "crops are compared at one phase only"
    stage.weights = LossWeights(perceptual=0)
    assert stage.losses(batch).keys() == {"pixel", "codebook"}


def test_a_file_that_is_no_perceptual_network_is_an_error(tmp_path):
    (tmp_path / "text.safetensors").write_text("not tensors")
    for name in ("text.safetensors", "missing.safetensors"):
        with pytest.raises(WeightsError, match="cannot be read as safetensors"):
            load_perceptual(tmp_path / name)
    assert load_perceptual(None) is None


def test_dead_codes_are_moved_until_late_in_the_run():
    stage = BasisStage(fresh_network(packed("basis"), 0), LossWeights(), None)
    batch = clean_batch(0)
    stage.begin(batch)
    book = stage.network.codebook.books[0].embedding.weight

    def moved(step: int, progress: float) -> bool:
        stage.usage[0].share.zero_()[0] = 1
        before = book.detach().clone()
        stage.after_step(step, progress, batch)
        return not torch.equal(before, book)

    assert moved(RESEED_EVERY, 0.1)
    assert not moved(RESEED_EVERY + 1, 0.1)
    assert not moved(2 * RESEED_EVERY, 0.9)


def test_channel_correlations_are_exact_within_autocast():
    feature = torch.randn(2, 24, 8, 8)
    exact = gram(feature)
    assert torch.allclose(exact[0, 3, 5], (feature[0, 3] * feature[0, 5]).mean(), atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(gram(feature), exact)
        assert float(feature_loss(feature, feature)) == 0
        assert float(feature_loss(2 * feature, feature)) == pytest.approx(0.25 + 9, rel=1e-3)
