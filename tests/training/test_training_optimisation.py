"""One step and what it leaves: learning rates, averaged weights, and the state that the next step depends on."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_families import clean_batch, packed
from tiny_recipes import CPU, tiny_optimisation, tiny_recipe, tiny_restoring

from adacode_cli.errors import TrainingError
from adacode_cli.training.batches import Batch
from adacode_cli.training.initialise import fresh_network
from adacode_cli.training.optimisation import Average, Optimisation, learning_rate, step_seed
from adacode_cli.training.recipe import Optimiser
from adacode_cli.training.stages import FuseStage, StageContext


def degraded_pair(seed: int) -> Batch:
    clean = clean_batch(seed).target_BCHW
    return Batch(torch.nn.functional.avg_pool2d(clean, 2), clean)


def test_learning_rate_rises_then_falls_to_its_share():
    s = Optimiser(rate=1e-3, warmup=4, final_share=0.1)
    assert [learning_rate(s, step, 0.0) for step in range(5)] == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3])
    assert learning_rate(s, 100, 0.5) == pytest.approx(0.55e-3)
    assert learning_rate(s, 100, 1.0) == pytest.approx(1e-4)
    constant = Optimiser(rate=1e-3, warmup=1, final_share=1.0)
    assert {learning_rate(constant, step, step / 9) for step in range(10)} == {1e-3}


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_learning_rate_never_rises_after_the_warm_up_and_stays_within_bounds(a, b, share):
    early, late = sorted((a, b))
    s = Optimiser(warmup=4, final_share=share)
    assert learning_rate(s, 9, late) <= learning_rate(s, 9, early)
    assert share * s.rate * (1 - 1e-9) <= learning_rate(s, 9, late) <= s.rate


@given(st.integers(0, 2**40), st.integers(0, 2**32), st.integers(0, 2**32))
def test_seeds_of_steps_fit_torch_and_differ(seed, a, b):
    assert 0 <= step_seed(seed, a) < 2**63
    assert (step_seed(seed, a) == step_seed(seed, b)) == (a == b)
    assert step_seed(seed, a) != step_seed(seed + 1, a)


@settings(max_examples=50)
@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=40), st.floats(0, 0.999))
def test_an_average_is_the_weighted_mean_that_its_decay_says(values, decay):
    average = Average({"x": torch.zeros(2)}, decay)
    expected = 0.0
    for n, value in enumerate(values, 1):
        average.update({"x": torch.full((2,), value)})
        share = min(decay, (1 + n) / (10 + n))
        expected = share * expected + (1 - share) * value
    assert average.updates == len(values)
    assert average.values["x"].tolist() == pytest.approx([expected, expected], rel=1e-4, abs=1e-4)


def test_what_a_stage_does_not_train_is_in_its_result_bit_for_bit():
    run = tiny_restoring()
    before = copy.deepcopy(run.network.state_dict())
    for step in range(3):
        run.step(degraded_pair(step), step, 0.5)
    result, last = run.result(), run.network.state_dict()
    assert result.keys() == before.keys()
    frozen = [k for k in before if k.startswith(run.stage.frozen)]
    learnt = [k for k, _ in run.network.named_parameters() if not k.startswith(run.stage.frozen)]
    assert len(frozen) > 10
    assert all(torch.equal(result[k], before[k]) for k in frozen)
    assert [k for k in learnt if torch.equal(result[k], before[k]) or torch.equal(result[k], last[k])] == []


def test_the_average_begins_with_the_codes_that_k_means_found():
    run, key = tiny_optimisation(), "codebook.books.0.embedding.weight"
    fresh = run.network.state_dict()[key].clone()
    run.begin(clean_batch)
    found = run.network.state_dict()[key]
    assert not torch.equal(found, fresh)
    assert torch.equal(run.result()[key], found)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("make", [tiny_optimisation, tiny_restoring])
def test_a_state_is_all_that_the_next_step_depends_on(make, precision):
    draw = degraded_pair if make is tiny_restoring else clean_batch
    run, other = make(precision=precision), make(precision=precision)
    run.begin(draw)
    for step in range(3):
        run.step(draw(step), step, 0.5)
    tensors, counters = run.state(slim=False)
    other.load(copy.deepcopy(tensors), counters)
    again, counted = other.state(slim=False)
    assert (again.keys(), counted) == (tensors.keys(), counters)
    assert [k for k in tensors if not torch.equal(again[k], tensors[k])] == []
    assert all(t.dtype == torch.float32 for t in tensors.values() if t.is_floating_point())
    lines = [[o.step(draw(step), step, 0.5) for step in (3, 4)] for o in (run, other)]
    first, second = ([{k: float(v) for k, v in line.items()} for line in lines_of_run] for lines_of_run in lines)
    assert first == second
    assert [k for k, v in run.result().items() if not torch.equal(v, other.result()[k])] == []


def test_moments_come_back_in_the_layout_of_their_parameters():
    """Others would be slower on CUDA."""
    run, other = tiny_optimisation(), tiny_optimisation()
    run.step(clean_batch(0), 0, 0.5)
    tensors, counters = run.state(slim=False)
    other.load({k: v.clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}, counters)
    for o in (run, other):
        states = o.optimiser.state
        assert all(s["exp_avg"].stride() == p.stride() for p, s in states.items())
        assert any(not p.is_contiguous() for p in states)


def test_losses_are_weighted_into_a_total_and_the_adversary_joins_when_it_is_time():
    run = tiny_restoring(adversarial=0.25)
    run.recipe = replace(run.recipe, adversarial_from=0.5)
    discriminator = copy.deepcopy(run.adversary.network.state_dict())
    early = run.step(degraded_pair(0), 0, 0.49)
    assert not {"adversarial", "discriminator"} & early.keys()
    assert all(torch.equal(v, discriminator[k]) for k, v in run.adversary.network.state_dict().items())
    late = run.step(degraded_pair(1), 1, 0.5)
    assert late.keys() - early.keys() >= {"adversarial", "discriminator"}
    for values in (early, late):
        terms = {k: float(v) for k, v in values.items() if hasattr(run.stage.loss, k)}
        assert terms.keys() >= {"pixel", "codebook", "feature", "contrastive"}
        weighted = sum(getattr(run.stage.loss, k) * v for k, v in terms.items())
        assert float(values["total"]) == pytest.approx(weighted, rel=1e-5)
    idle = [k for k, v in run.adversary.network.named_parameters() if torch.equal(v, discriminator[k])]
    assert idle in ([], ["last.bias"]), "real and restored pull at the last bias alike as long as logits are small"


def test_the_adversary_learns_to_tell_images_apart_and_its_verdict_teaches_the_image_alone():
    run = tiny_restoring()
    real, fake = clean_batch(0).target_BCHW, (clean_batch(0).target_BCHW * 0.3).requires_grad_()
    losses = []
    for _ in range(40):
        loss = run.adversary.losses(real, fake)
        run.adversary.learn(loss)
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert fake.grad is None
    for parameter in run.adversary.network.parameters():
        parameter.grad = None
    verdict = run.adversary.verdict(fake)
    verdict.backward()
    assert float(verdict.detach()) > float(run.adversary.verdict(real).detach())
    assert float(fake.grad.abs().sum()) > 0
    assert all(p.grad is None and p.requires_grad for p in run.adversary.network.parameters())


def test_gradients_are_clipped_and_the_norm_before_is_reported():
    run = tiny_optimisation(replace(tiny_recipe().basis, optimiser=Optimiser(clip=1e-3, warmup=1)))
    gradients = [float(run.step(clean_batch(step), step, 0.1)["gradient"]) for step in range(2)]
    assert min(gradients) > 1e-3
    kept = torch.stack([p.grad.norm() for p in run.stage.named_parameters().values()]).norm()
    assert float(kept) == pytest.approx(1e-3, rel=1e-3)


def test_a_slim_state_is_the_result_and_everything_else_begins_anew():
    run, other = tiny_optimisation(), tiny_optimisation(seed=9)
    for step in range(3):
        run.step(clean_batch(step), step, 0.5)
    tensors, counters = run.state(slim=True)
    assert counters == {}
    assert tensors.keys() == {f"network.{k}" for k in run.network.state_dict()}
    other.load(copy.deepcopy(tensors), counters)
    for weights in (other.network.state_dict(), other.result()):
        assert all(torch.equal(v, run.result()[k]) for k, v in weights.items())
    assert (other.average.updates, other.state(slim=False)[1]["adam"]) == (0, 0)
    totals = [float(other.step(clean_batch(0), step, 0.1)["total"]) for step in range(12)]
    assert totals[-1] < totals[0]


@pytest.mark.parametrize("slim", [False, True])
def test_a_state_of_another_network_is_an_error_and_changes_nothing(slim):
    recipe = tiny_recipe().fuse
    stage = FuseStage(fresh_network(packed("reconstruct"), 0), StageContext(recipe.loss, None, CPU))
    tensors, counters = Optimisation(stage, recipe, 0, "fp32").state(slim=slim)
    run = tiny_optimisation()
    before = copy.deepcopy(run.network.state_dict())
    with pytest.raises(TrainingError, match="another network") as found:
        run.load(tensors, counters)
    assert "--overwrite" in found.value.hint
    assert all(torch.equal(v, before[k]) for k, v in run.network.state_dict().items())


def test_an_average_follows_slowly_and_keeps_what_does_not_change():
    fixed = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    average = Average({"moving": torch.zeros(1), "fixed": fixed}, decay=0.9)
    seen = []
    for _ in range(200):
        average.update({"fixed": fixed, "moving": torch.ones(1), "of no interest": torch.ones(3)})
        seen.append(float(average.values["moving"]))
    assert seen[0] == pytest.approx(1 - 2 / 11)  # a young average forgets its first value faster
    assert seen[-1] == pytest.approx(1, abs=1e-6)
    assert seen == sorted(seen)
    assert torch.equal(average.values["fixed"], fixed)
    assert average.values["fixed"] is not fixed
    assert average.updates == 200


def test_an_old_average_moves_by_its_decay():
    average = Average({"x": torch.zeros(1)}, decay=0.9)
    average.updates = 10_000
    average.update({"x": torch.ones(1)})
    assert float(average.values["x"]) == pytest.approx(0.1)


def test_an_average_is_no_part_of_the_graph_nor_of_what_it_averages():
    weight = torch.nn.Parameter(torch.zeros(2))
    average = Average({"w": weight}, decay=0.5)
    average.update({"w": weight})
    with torch.no_grad():
        weight += 1
    assert average.values["w"].tolist() == [0, 0]
    assert not average.values["w"].requires_grad
    average.update({"w": weight})
    assert average.values["w"].tolist() == pytest.approx([0.75, 0.75])  # 1 - 3/12
    assert weight.tolist() == [1, 1]
