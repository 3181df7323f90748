"""Learning with a trunk: the trunk alone, everything but the trunk, all at two rates, and after a stop."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_families import CATEGORIES, clean_batch, packed
from tiny_recipes import CPU, after, tiny_recipe, tiny_session
from tiny_trunks import TRUNKED, trunked

from adacode_cli.errors import UsageError
from adacode_cli.training.batches import Batch
from adacode_cli.training.checkpoint import read_checkpoint
from adacode_cli.training.initialise import adopt_fused, fresh_network
from adacode_cli.training.optimisation import Optimisation
from adacode_cli.training.recipe import LossWeights, Optimiser, StageRecipe
from adacode_cli.training.run_folder import RunFolder
from adacode_cli.training.runs import run_joint, run_restore
from adacode_cli.training.stages import RestoreStage, StageContext

BODY = "trunk.body."
FROZEN = ("codebook.books.", "codebook.after.", "decoder.")
LOSS = LossWeights(adversarial=0.1, feature=0.1, contrastive=0.5, grid=0.1)
STEPS, HALF = 8, 3
# What a session measures of itself, and not of what it learns.
MEASURED = ("images_per_s", "waiting", "memory_mb", "seconds")


def degraded_pair(seed: int, scale: int = 2) -> Batch:
    clean = clean_batch(seed).target_BCHW
    return Batch(torch.nn.functional.avg_pool2d(clean, scale), clean)


def make_stage(learns: str = "all", scale: int = 2, join: float = 0.0, loss: LossWeights = LOSS) -> RestoreStage:
    """Stage III of the packed family with a trunk; weights of the branch's last convolution are up to `join`."""
    fused, network = fresh_network(TRUNKED.clean(CATEGORIES), 1), fresh_network(trunked(scale), 2)
    adopt_fused(network, fused)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(3)
        shape = network.trunk.join.weight.shape
        network.trunk.join.weight.copy_(join * (2 * torch.rand(shape, generator=generator) - 1))
    return RestoreStage(network, StageContext(loss, None, CPU), fused, learns)


def optimised(stage: RestoreStage, precision: str = "fp32", **settings) -> Optimisation:
    optimiser = Optimiser(**({"rate": 1e-3, "warmup": 1, "ema": 0.5} | settings))
    recipe = StageRecipe(steps=STEPS, batch=2, patch=64, optimiser=optimiser, loss=stage.loss, adversarial_from=0.0)
    return Optimisation(stage, replace(recipe, discriminator_channels=4), 0, precision)


def stepped(run: Optimisation, steps: int, scale: int = 2) -> list[dict[str, float]]:
    return [{k: float(v) for k, v in run.step(degraded_pair(i, scale), i, i / STEPS).items()} for i in range(steps)]


def state(run: Optimisation) -> dict[str, torch.Tensor]:
    return copy.deepcopy(run.network.state_dict())


def changed(before: dict[str, torch.Tensor], later: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == later.keys()
    return {key for key in before if not torch.equal(before[key], later[key])}


@pytest.mark.parametrize(("scale", "join", "precision"), [(2, 0.0, "fp32"), (4, 0.05, "fp32"), (2, 0.05, "bf16")])
def test_a_trunk_that_learns_alone_leaves_all_else_bit_for_bit(scale, join, precision):
    run = optimised(make_stage("trunk", scale, join), precision)
    before = state(run)
    lines = stepped(run, 3, scale)
    body = {key for key in before if key.startswith(BODY)}
    assert len(body) == 14  # five convolutions with biases, four slopes
    assert changed(before, run.network.state_dict()) == body
    assert changed(before, run.result()) == body
    assert {"pixel", "grid", "adversarial"} <= lines[0].keys()
    assert not {"codebook", "feature", "contrastive"} & lines[0].keys()
    for line in lines:
        terms = {key: value for key, value in line.items() if hasattr(LOSS, key)}
        assert line["total"] == pytest.approx(sum(getattr(LOSS, k) * v for k, v in terms.items()), rel=1e-2)


def test_codes_that_learn_alone_leave_the_trunk_and_what_tasks_share_bit_for_bit():
    run = optimised(make_stage("codes", join=0.05))
    before = state(run)
    lines = stepped(run, 3)
    learnt = changed(before, run.network.state_dict())
    assert not any(key.startswith((BODY, "codebook.books.", "codebook.after.", "decoder.")) for key in learnt)
    assert {"trunk.join.weight", "encoder.down.0.conv.weight", "codebook.before.0.weight"} <= learnt
    assert {"pixel", "codebook", "feature"} <= lines[0].keys()


def test_a_trunk_that_learns_alone_learns():
    run = optimised(make_stage("trunk", loss=LossWeights()), rate=3e-3)
    batch = degraded_pair(0)
    losses = [float(run.step(batch, i, i / 30)["pixel"]) for i in range(30)]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("scale", [2, 4])
def test_a_silent_branch_is_left_out_and_changes_no_loss(scale):
    """Beside the same network whose branch adds next to nothing, and is therefore computed."""
    silent, faint = (make_stage("trunk", scale, join) for join in (0.0, 1e-12))
    seen: list[int] = []
    for number, stage in enumerate((silent, faint)):
        stage.network.encoder.register_forward_hook(lambda *_, number=number: seen.append(number))
    batch, gradients = degraded_pair(0, scale), []
    found = []
    for stage in (silent, faint):
        terms, image = stage.losses(batch)
        stage.total(terms).backward()
        gradients.append({k: p.grad for k, p in stage.named_parameters().items()})
        found.append((terms, image))
    assert seen == [1], "only the branch that adds something is computed"
    (terms, image), (others, other) = found
    assert terms.keys() == others.keys()
    for key, value in terms.items():
        torch.testing.assert_close(value, others[key], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(image, other, rtol=0, atol=1e-5)
    assert gradients[0].keys() == gradients[1].keys()
    for key, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][key], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("bias", [0.0, 0.3])
@pytest.mark.parametrize("join", [0.0, 0.05])
@pytest.mark.parametrize("learns", ["all", "trunk"])
@pytest.mark.parametrize("scale", [2, 4])
def test_the_image_that_is_compared_is_the_one_that_the_network_returns(scale, learns, join, bias):
    stage = make_stage(learns, scale, join)
    torch.nn.init.constant_(stage.network.trunk.join.bias, bias)
    batch = degraded_pair(0, scale)
    _, compared = stage.losses(batch)
    with torch.inference_mode():
        returned = stage.network.eval()(batch.input_BCHW).image_BCHW
    assert compared.shape == batch.target_BCHW.shape
    torch.testing.assert_close(compared.detach(), returned, rtol=0, atol=1e-4)


def test_the_use_of_codes_is_reported_only_where_they_are_chosen():
    alone, everything = (optimised(make_stage(learns)) for learns in ("trunk", "all"))
    for run in (alone, everything):
        stepped(run, 1)
    assert alone.stage.report() == {}
    assert {"perplexity/ground", "used/sky"} <= everything.stage.report().keys()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_trunk_without_a_rate_stays_bit_for_bit_while_the_rest_learns(precision):
    run = optimised(make_stage(), precision, trunk_share=0.0)
    before = state(run)
    stepped(run, 5)
    learnt = {key for key, _ in run.network.named_parameters() if not key.startswith((BODY, *FROZEN))}
    assert "trunk.join.weight" in learnt
    for later in (run.network.state_dict(), run.result()):
        assert changed(before, later) == learnt


def test_a_share_scales_the_rate_of_the_trunk_alone():
    """One step of Adam is as long as the rate, whatever the gradient."""
    runs = {share: optimised(make_stage(join=0.05), trunk_share=share) for share in (1.0, 0.25, 2.0)}
    before = state(runs[1.0])
    for run in runs.values():
        stepped(run, 1)
    after_one = {share: run.network.state_dict() for share, run in runs.items()}
    for key in before:
        moved = {share: found[key] - before[key] for share, found in after_one.items()}
        if key.startswith(BODY):
            assert float(moved[1.0].abs().max()) == pytest.approx(1e-3, rel=0.02), key
            for share in (0.25, 2.0):
                torch.testing.assert_close(moved[share], share * moved[1.0], rtol=1e-3, atol=1e-6)
        else:
            assert torch.equal(after_one[0.25][key], after_one[1.0][key]), key
            assert torch.equal(after_one[2.0][key], after_one[1.0][key]), key


def test_a_share_counts_at_every_step_of_the_schedule():
    run = optimised(make_stage(), trunk_share=0.125, warmup=3, final_share=0.1)
    rates = []
    for step in range(6):
        run.step(degraded_pair(step), step, step / 6)
        rates.append([group["lr"] for group in run.optimiser.param_groups])
    assert [trunk / rest for rest, trunk in rates] == pytest.approx([0.125] * 6)
    assert len({rest for rest, _ in rates}) > 3


def test_without_a_trunk_there_is_one_rate():
    fused, network = fresh_network(packed("reconstruct"), 1), fresh_network(packed("sr", 2), 2)
    stage = RestoreStage(network, StageContext(LOSS, None, CPU), fused)
    run = optimised(stage, trunk_share=0.0)
    before = state(run)
    stepped(run, 2)
    assert len(run.optimiser.param_groups) == 1
    learnt = {key for key, _ in network.named_parameters() if not key.startswith(FROZEN)}
    assert changed(before, run.network.state_dict()) == learnt


def test_all_that_learns_beside_a_trunk_learns():
    run = optimised(make_stage())
    before = state(run)
    stepped(run, 3)
    learnt = {key for key, _ in run.network.named_parameters() if not key.startswith(FROZEN)}
    assert changed(before, run.network.state_dict()) == learnt
    assert any(key.startswith("encoder.") for key in learnt)
    assert any(key.startswith("codebook.predictor.") for key in learnt)


@pytest.fixture(scope="module")
def fused(shards, tmp_path_factory) -> Path:
    """A stage-II network of the packed family, trained for a step. Not to be changed."""
    folder = tmp_path_factory.mktemp("fused")
    assert run_joint(tiny_session(shards, RunFolder(folder), tiny_recipe(steps=1)))
    return folder / "fused.safetensors"


def learnt_lines(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "sr-x2.jsonl").read_text().splitlines()]
    return [
        {k: v for k, v in line.items() if k not in ("images_per_s", "waiting", "memory_mb", "seconds")}
        for line in lines
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"restore__optimiser__trunk_share": 0.25, "restore__loss__adversarial": 0.1, "restore__adversarial_from": 0.25},
        {"restore__optimiser__trunk_share": 0.25, "precision": "bf16", "restore__candidates": 3},
        {"restore__optimiser__trunk_share": 0.0, "degradation__heavy__share": 0.5, "degradation__clean_share": 0.3},
        {"restore__learns": "trunk", "restore__loss__adversarial": 0.1},
    ],
    ids=["two rates", "bf16", "no rate", "trunk alone"],
)
def test_stopped_and_gone_on_with_is_bit_for_bit_the_run_that_never_stopped(settings, shards, fused, tmp_path):
    recipe = replace(tiny_recipe(steps=STEPS, **settings), network=TRUNKED)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    task = {"task": "sr", "scale": 2}
    assert run_restore(tiny_session(shards, RunFolder(whole), recipe), fused, **task)
    assert not run_restore(tiny_session(shards, RunFolder(parts), recipe, after(HALF)), fused, **task)
    assert read_checkpoint(parts / "sr-x2.checkpoint").steps == HALF
    assert run_restore(tiny_session(shards, RunFolder(parts, resume=True), recipe), fused, **task)
    assert learnt_lines(parts) == learnt_lines(whole)
    first, second = (load_file(folder / "sr-x2.safetensors") for folder in (whole, parts))
    assert changed(first, second) == set()
    assert any(key.startswith(BODY) for key in first)


def test_a_trunk_of_other_cells_than_stage_two_is_refused():
    with pytest.raises(UsageError, match=r"trunk\.shuffle: stage III learns from maps of stage II's grid"):
        replace(TRUNKED, trunk=replace(TRUNKED.trunk, shuffle=TRUNKED.grid // 2))
    same = replace(TRUNKED, trunk=replace(TRUNKED.trunk, shuffle=TRUNKED.grid))
    assert same.restoring("sr", 2, same.clean(CATEGORIES)).cell_px == TRUNKED.grid
