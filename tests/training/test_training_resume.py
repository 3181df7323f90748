"""A run that is stopped and gone on with is the run that never stopped: the same losses and weights, bit for bit."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_recipes import CPU, after, tiny_recipe, tiny_session

from adacode_cli.model.config import PAPER_CATEGORIES
from adacode_cli.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from adacode_cli.training.codebooks import CodeUsage
from adacode_cli.training.initialise import fresh_network
from adacode_cli.training.loop import Pace
from adacode_cli.training.optimisation import Optimisation
from adacode_cli.training.presets import named_recipe
from adacode_cli.training.recipe import Recipe
from adacode_cli.training.run_folder import RunFolder
from adacode_cli.training.runs import run_basis, run_fuse, run_joint, run_restore
from adacode_cli.training.session import TrainingSession
from adacode_cli.training.stages import BasisStage, RestoreStage, StageContext

STEPS, HALF = 20, 10
# What a session measures of itself, and not of what it learns.
MEASURED = ("images_per_s", "waiting", "memory_mb", "seconds")
ADVERSARIAL = {"restore__loss__adversarial": 0.1, "restore__loss__contrastive": 1.0, "restore__adversarial_from": 0.25}


def learnt(folder: Path, name: str) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in MEASURED} for line in lines]


def same_results(a: Path, b: Path, name: str) -> None:
    first, second = (load_file(folder / f"{name}.safetensors") for folder in (a, b))
    assert first.keys() == second.keys()
    assert [key for key in first if not torch.equal(first[key], second[key])] == []


@pytest.fixture(scope="module")
def fused(shards, tmp_path_factory) -> Path:
    """A run folder with stages I and II of two steps each. Not to be changed."""
    folder = tmp_path_factory.mktemp("fused")
    recipe = tiny_recipe(steps=2)
    assert run_basis(tiny_session(shards, RunFolder(folder), recipe))
    assert run_fuse(tiny_session(shards, RunFolder(folder), recipe), folder)
    return folder


def begun(kind: str, session: TrainingSession, fused: Path) -> bool:
    match kind:
        case "basis":
            return run_basis(session)
        case "fuse":
            return run_fuse(session, fused)
        case "joint":
            return run_joint(session)
        case "inpaint":
            return run_restore(session, fused / "fused.safetensors", task="inpaint", scale=1)
    return run_restore(session, fused / "fused.safetensors", task="sr", scale=2)


@pytest.mark.parametrize(
    ("kind", "names", "settings"),
    [
        ("basis", ["basis-start", "basis-ground", "basis-sky"], {"basis__steps": 66, "start_share": 0.4}),
        ("fuse", ["fused"], {"fuse__loss__adversarial": 0.1}),
        ("joint", ["fused"], {}),
        ("sr", ["sr-x2"], ADVERSARIAL),
        ("sr", ["sr-x2"], ADVERSARIAL | {"precision": "bf16"}),
        ("inpaint", ["inpaint"], {}),
    ],
)
def test_stopped_and_gone_on_with_is_bit_for_bit_the_run_that_never_stopped(
    kind, names, settings, shards, fused, tmp_path
):
    recipe = tiny_recipe(**({"steps": STEPS, "start_share": 0.0} | settings))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert begun(kind, tiny_session(shards, RunFolder(whole), recipe), fused)
    session = tiny_session(shards, RunFolder(parts), recipe, after(HALF))
    assert not begun(kind, session, fused)
    assert (session.stopped, session.written) == (names[0], [])
    assert read_checkpoint(parts / f"{names[0]}.checkpoint").steps == HALF
    assert [line["step"] for line in learnt(parts, names[0])] == list(range(1, HALF + 1))
    assert begun(kind, tiny_session(shards, RunFolder(parts, resume=True), recipe), fused)
    for name in names:
        assert learnt(parts, name) == learnt(whole, name)
        same_results(parts, whole, name)
    ends = {path.stem: read_checkpoint(path).steps for path in parts.glob("*.checkpoint")}
    assert ends == {name: learnt(whole, name)[-1]["step"] for name in names}
    if "adversarial" in learnt(whole, names[0])[-1]:
        assert {"adversarial", "discriminator"} <= learnt(parts, names[0])[-1].keys()


def test_dead_codes_move_on_the_other_side_of_a_stop_as_they_would_have(shards, tmp_path, monkeypatch):
    """Codes are looked at after 100 steps; who is dead then is known from steps before the stop."""
    moved, reseed = [], CodeUsage.reseed_dead
    monkeypatch.setattr(CodeUsage, "reseed_dead", lambda *a: moved.append(reseed(*a)))  # only counts
    recipe = tiny_recipe(basis__steps=260, batch=1, start_share=0.0, network__channels="8,16", network__codes=64)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert not run_basis(tiny_session(shards, RunFolder(whole), recipe, after(102)))
    assert not run_basis(tiny_session(shards, RunFolder(parts), recipe, after(98)))
    assert not run_basis(tiny_session(shards, RunFolder(parts, resume=True), recipe, after(4)))
    assert moved[0] == moved[1] > 5
    found = [read_checkpoint(folder / "basis-ground.checkpoint") for folder in (whole, parts)]
    assert found[0].counters == found[1].counters
    assert found[0].tensors.keys() == found[1].tensors.keys()
    assert [k for k, v in found[0].tensors.items() if not torch.equal(v, found[1].tensors[k])] == []


def test_a_window_of_the_log_that_a_stop_cuts_is_reported_in_two(shards, fused, tmp_path):
    recipe = tiny_recipe(steps=8)

    def session(folder: RunFolder, **more) -> TrainingSession:
        made = tiny_session(shards, folder, recipe, **more)
        made.pace = Pace(log_every=3, validate_every=10**6)
        return made

    assert not run_fuse(session(RunFolder(tmp_path / "a"), stop=after(4)), fused)
    assert run_fuse(session(RunFolder(tmp_path / "a", resume=True)), fused)
    assert run_fuse(session(RunFolder(tmp_path / "b")), fused)
    parts, whole = learnt(tmp_path / "a", "fused"), learnt(tmp_path / "b", "fused")
    assert [line["step"] for line in parts] == [3, 4, 6, 8]
    assert [line["step"] for line in whole] == [3, 6, 8]
    assert (1 * parts[1]["total"] + 2 * parts[2]["total"]) / 3 == pytest.approx(whole[1]["total"], rel=1e-9)
    assert (parts[0], parts[3]) == (whole[0], whole[2])
    same_results(tmp_path / "a", tmp_path / "b", "fused")
    ends = [json.loads(line)["seconds"] for line in (tmp_path / "a" / "fused.jsonl").read_text().splitlines()]
    assert ends == sorted(ends), "time of earlier sessions counts"


def test_lines_after_the_checkpoint_are_trained_and_reported_again(shards, fused, tmp_path):
    """A session that died after its checkpoint has logged steps from which no run can continue."""
    recipe = tiny_recipe(steps=4)
    assert not run_fuse(tiny_session(shards, RunFolder(tmp_path), recipe, after(2)), fused)
    with (tmp_path / "fused.jsonl").open("a") as log:
        log.write('{"step": 3, "total": 1e9}\n{"step": 4, "tot')
    assert run_fuse(tiny_session(shards, RunFolder(tmp_path, resume=True), recipe), fused)
    assert run_fuse(tiny_session(shards, RunFolder(tmp_path / "whole"), recipe), fused)
    assert learnt(tmp_path, "fused") == learnt(tmp_path / "whole", "fused")


def test_a_slim_checkpoint_is_the_averaged_weights_and_learning_goes_on(shards, fused, tmp_path):
    recipe = tiny_recipe(steps=STEPS)
    full, slim = tmp_path / "full", tmp_path / "slim"
    for folder in (RunFolder(full), RunFolder(slim, slim=True)):
        assert not run_fuse(tiny_session(shards, folder, recipe, after(HALF)), fused)
    kept, state = (read_checkpoint(folder / "fused.checkpoint") for folder in (slim, full))
    averages = {k.removeprefix("average."): v for k, v in state.tensors.items() if k.startswith("average.")}
    assert not kept.counters
    assert state.counters
    assert all(torch.equal(kept.tensors[f"network.{k}"], v) for k, v in averages.items())
    assert all(k.startswith("network.") for k in kept.tensors)
    assert run_fuse(tiny_session(shards, RunFolder(slim, resume=True, slim=True), recipe), fused)
    lines = learnt(slim, "fused")
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert all(math.isfinite(v) for line in lines for v in line.values())
    first, last = (sum(line["total"] for line in part) for part in (lines[:5], lines[-5:]))
    assert last < first
    # k-means and first values do not come again: it goes on where it was, not at the beginning.
    assert lines[HALF]["pixel"] < lines[0]["pixel"]


def compact(kind: str) -> tuple[Recipe, Optimisation]:
    """A fresh full-size run of the family that ships, with Adam's moments as large as they get."""
    recipe = named_recipe("compact")
    part = recipe.stage("basis" if kind == "basis" else "restore")
    part = replace(part, loss=replace(part.loss, adversarial=0.1), discriminator_channels=32)
    ground = StageContext(part.loss, None, CPU)
    if kind == "basis":
        stage = BasisStage(fresh_network(recipe.network.basis(), 0), ground)
    else:
        clean = recipe.network.clean(PAPER_CATEGORIES)
        teacher = fresh_network(clean, 0)
        stage = RestoreStage(fresh_network(recipe.network.restoring("sr", 4, clean), 1), ground, teacher)
    optimisation = Optimisation(stage, part, 0, "fp32")
    for adam in (optimisation.optimiser, optimisation.adversary.optimiser):
        for group in adam.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        adam.step()
    return recipe, optimisation


@pytest.mark.parametrize("kind", ["basis", "sr-x4"])
def test_files_of_the_compact_family_are_small(kind, tmp_path):
    recipe, optimisation = compact(kind)
    for slim, max_mb in ((True, 25), (False, 100)):
        path = tmp_path / f"{slim}.checkpoint"
        tensors, counters = optimisation.state(slim=slim)
        write_checkpoint(path, Checkpoint(1, 1.0, recipe.to_dict(), tensors, counters))
        assert 0 < path.stat().st_size <= max_mb * 1e6
        assert read_checkpoint(path).tensors.keys() == tensors.keys()
    assert counters == {"average": 0, "adam": 1, "discriminator_adam": 1}
