"""Stage III from what there is already: earlier results, other scales, other codebooks, the files of a bundle."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tiny_families import CATEGORIES
from tiny_sessions import TINY, tiny_session, with_steps
from tiny_shards import save_shards

from adacode_cli.checkpoints.format import PART_KEYS, read_weights, split, write_weights
from adacode_cli.checkpoints.load import load_network
from adacode_cli.errors import TrainingError
from adacode_cli.model.config import ContextConfig, DecoderConfig, ResidualConfig
from adacode_cli.training.runs import run_fuse, run_fuse_again, run_joint, run_restore
from adacode_cli.training.session import Listeners

SHARED = tuple(prefix for prefixes in PART_KEYS.values() for prefix in prefixes)
STILL = with_steps(1, optimiser=replace(TINY.restore.optimiser, rate=1e-9))


def test_restoring_goes_on_from_an_earlier_result(finished, tmp_path, shards):
    earlier = load_file(finished / "sr-x4.safetensors")
    fused, task = finished / "fused.safetensors", {"task": "sr", "scale": 4}
    run_restore(tiny_session(shards, tmp_path / "a", STILL), fused, **task, start=finished / "sr-x4.safetensors")
    went_on = load_file(tmp_path / "a" / "sr-x4.safetensors")
    assert max(float((went_on[k] - earlier[k]).abs().max()) for k in earlier) < 1e-6
    run_restore(tiny_session(shards, tmp_path / "b", STILL), fused, **task)
    afresh = load_file(tmp_path / "b" / "sr-x4.safetensors")
    assert max(float((afresh[k] - earlier[k]).abs().max()) for k in earlier) > 1e-4
    session = tiny_session(shards, tmp_path / "c", STILL)
    with pytest.raises(TrainingError, match="not an earlier result of this task"):
        run_restore(session, fused, **task, start=finished / "inpaint.safetensors")


def test_another_scale_and_other_codebooks_leave_what_is_the_tasks_own(finished, tmp_path, shards):
    assert run_joint(tiny_session(shards, tmp_path / "other"))
    fused = tmp_path / "other" / "fused.safetensors"
    session = tiny_session(shards, tmp_path / "run", STILL)
    assert run_restore(session, fused, task="sr", scale=4, start=finished / "sr-x2.safetensors")
    other, earlier = load_file(fused), load_file(finished / "sr-x2.safetensors")
    result = load_file(tmp_path / "run" / "sr-x4.safetensors")
    assert result.keys() == earlier.keys()
    for key, tensor in result.items():
        if key.startswith(SHARED):
            assert torch.equal(tensor, other[key]), key
        elif key == "encoder.stem.conv.weight":  # 2×2 pixels of the one image are a pixel of the other
            sums = earlier[key].unflatten(1, (3, 4)).sum(2)
            assert torch.allclose(tensor, sums, atol=1e-6)
        else:
            assert torch.allclose(tensor, earlier[key], atol=1e-6), key


def test_the_files_of_a_bundle_are_enough(finished, tmp_path, shards):
    """Those are what a fresh clone has."""
    for name in ("fused", "sr-x4"):
        weights = read_weights(finished / f"{name}.safetensors")
        of_family = replace(weights.provenance, family="small")
        for part, holding in split(replace(weights, provenance=of_family)).items():
            write_weights(tmp_path / f"small-{f'task-{name}' if part == 'task' else part}.safetensors", holding)
    start = tmp_path / "small-task-sr-x4.safetensors"
    session = tiny_session(shards, tmp_path / "run", STILL)
    assert run_restore(session, tmp_path / "small-task-fused.safetensors", task="sr", scale=4, start=start)
    whole, went_on = (load_file(folder / "sr-x4.safetensors") for folder in (finished, tmp_path / "run"))
    assert all(torch.allclose(went_on[key], whole[key], atol=1e-6) for key in whole)


def test_the_mean_of_the_bases_can_stand_in_for_predicted_weights(finished, tmp_path, shards):
    """Stage I is the same for both."""
    even = replace(TINY, network=replace(TINY.network, uniform=True))
    assert run_fuse(tiny_session(shards, tmp_path / "run", even), finished)
    fused = tmp_path / "run" / "fused.safetensors"
    assert run_restore(tiny_session(shards, tmp_path / "run", even), fused, task="sr", scale=2)
    for path in (fused, tmp_path / "run" / "sr-x2.safetensors"):
        network, _ = load_network((path,))
        assert network.codebook.predictor is None
        assert network.config.num_bases == len(CATEGORIES)


DEEPER = replace(STILL, network=replace(STILL.network, decoder_depth=2, clean_depth=2, restore_depth=2, fuse_depth=2))


def test_a_deeper_network_goes_on_where_a_shallower_one_was(finished, tmp_path, shards):
    image = torch.rand(1, 3, 64, 64)
    session = tiny_session(shards, tmp_path / "run", DEEPER)
    assert run_fuse_again(session, finished / "fused.safetensors")
    fused = tmp_path / "run" / "fused.safetensors"
    session = tiny_session(shards, tmp_path / "run", DEEPER)
    assert run_restore(session, fused, task="sr", scale=2, start=finished / "sr-x2.safetensors")
    for name in ("fused", "sr-x2"):
        (earlier, _), (deeper, _) = (load_network((f / f"{name}.safetensors",)) for f in (finished, tmp_path / "run"))
        assert deeper.config.decoder_depth > earlier.config.decoder_depth
        with torch.inference_mode():
            before, after = earlier(image), deeper(image)
        assert all(torch.equal(a, b) for a, b in zip(before.codes, after.codes, strict=True))
        assert torch.allclose(before.image_BCHW, after.image_BCHW, atol=1e-5)
    session = tiny_session(shards, tmp_path / "back", STILL)
    with pytest.raises(TrainingError, match="not an earlier result of this task"):
        run_fuse_again(session, fused)


def test_a_network_with_context_goes_on_where_one_without_was(finished, tmp_path, shards):
    """The context adds nothing at first, and it learns."""
    recipe = replace(STILL, network=replace(STILL.network, context=ContextConfig(8, 2, 5)))
    start, fused = finished / "inpaint.safetensors", finished / "fused.safetensors"
    session = tiny_session(shards, tmp_path / "run", recipe)
    assert run_restore(session, fused, task="inpaint", scale=1, start=start)
    (earlier, _), (wider, _) = (load_network((f / "inpaint.safetensors",)) for f in (finished, tmp_path / "run"))
    image = torch.rand(1, 4, 64, 64).round()
    with torch.inference_mode():
        assert torch.allclose(earlier(image).image_BCHW, wider(image).image_BCHW, atol=1e-5)
    learning = replace(recipe, restore=replace(recipe.restore, optimiser=TINY.restore.optimiser))
    session = tiny_session(shards, tmp_path / "on", learning)
    assert run_restore(session, fused, task="inpaint", scale=1, start=tmp_path / "run" / "inpaint.safetensors")
    before, after = (load_file(tmp_path / run / "inpaint.safetensors") for run in ("run", "on"))
    moved = {key for key in after if not torch.allclose(after[key], before[key], atol=1e-5)}
    assert "encoder.context.up.weight" in moved
    session = tiny_session(shards, tmp_path / "back", STILL)
    with pytest.raises(TrainingError, match="not an earlier result of this task"):
        run_restore(session, fused, task="inpaint", scale=1, start=tmp_path / "run" / "inpaint.safetensors")


OWN = DecoderConfig(latent_depth=1, depth=2, head_depth=1)


def test_a_decoder_of_its_own_learns_alone_from_where_the_shared_one_was(finished, tmp_path, shards):
    """Codes and all that tasks share stay bit for bit, so tasks can be trained over the result as before."""
    recipe = replace(TINY, network=replace(TINY.network, own_decoder=OWN), fuse=replace(TINY.fuse, learns="decoder"))
    still = replace(recipe, fuse=replace(recipe.fuse, optimiser=STILL.fuse.optimiser, steps=1))
    fused, image = finished / "fused.safetensors", torch.rand(1, 3, 64, 64)
    assert run_fuse_again(tiny_session(shards, tmp_path / "still", still), fused)
    (earlier, _), (begun, _) = (load_network((f / "fused.safetensors",)) for f in (finished, tmp_path / "still"))
    assert begun.config == replace(earlier.config, own_decoder=OWN)
    with torch.inference_mode():
        assert torch.allclose(begun(image).image_BCHW, earlier(image).image_BCHW, atol=1e-5)
    assert run_fuse_again(tiny_session(shards, tmp_path / "run", recipe), fused)
    result, start = load_file(tmp_path / "run" / "fused.safetensors"), load_file(fused)
    assert all(torch.equal(result[key], start[key]) for key in start)
    own = {key for key in result if key.startswith("own_decoder.")}
    assert own == result.keys() - start.keys()
    learnt = load_file(tmp_path / "still" / "fused.safetensors")
    assert all(not torch.equal(result[key], learnt[key]) for key in own if key.endswith("conv1.weight"))
    again = tiny_session(shards, tmp_path / "again", recipe)
    assert run_fuse_again(again, tmp_path / "run" / "fused.safetensors"), "it can go on"
    session = tiny_session(shards, tmp_path / "sr", STILL)
    assert run_restore(session, tmp_path / "run" / "fused.safetensors", task="sr", scale=4)
    assert load_network((tmp_path / "sr" / "sr-x4.safetensors",))[0].own_decoder is None
    notes: list[str] = []
    session = tiny_session(shards, tmp_path / "all", STILL)
    session.listeners = Listeners(on_note=notes.append)
    assert run_fuse_again(session, tmp_path / "run" / "fused.safetensors")
    whole, _ = load_network((tmp_path / "all" / "fused.safetensors",))
    assert whole.config == earlier.config
    assert torch.allclose(whole(image).image_BCHW, earlier(image).image_BCHW, atol=1e-4), "the shared decoder goes on"
    assert any(
        "its decoder of reconstruction's own, and its further levels of codes, are left out" in note for note in notes
    )


def test_all_that_reconstruction_has_of_its_own_learns_with_codes_of_two_levels(finished, tmp_path, shards):
    """What tasks share stays bit for bit; encoder, predictor and decoder change."""
    network = replace(TINY.network, own_decoder=OWN, residual=ResidualConfig(2, 0.4))
    recipe = replace(TINY, network=network, fuse=replace(TINY.fuse, learns="reconstruction"))
    fused = finished / "fused.safetensors"
    assert run_fuse_again(tiny_session(shards, tmp_path / "run", recipe), fused)
    result, start = load_file(tmp_path / "run" / "fused.safetensors"), load_file(fused)
    shared = {key for key in start if key.startswith(("codebook.books.", "codebook.after.", "decoder."))}
    assert all(torch.equal(result[key], start[key]) for key in shared)
    learnt = ("encoder.stem.conv.weight", "codebook.before.0.weight", "codebook.predictor.out.weight")
    assert not any(torch.equal(result[key], start[key]) for key in learnt)
    made, _ = load_network((tmp_path / "run" / "fused.safetensors",))
    assert len(made(torch.rand(1, 3, 64, 64)).codes) == 2 * made.config.num_bases
    keeps = replace(recipe, network=replace(network, residual=None))
    assert run_fuse_again(tiny_session(shards, tmp_path / "keeps", keeps), tmp_path / "run" / "fused.safetensors")
    assert load_network((tmp_path / "keeps" / "fused.safetensors",))[0].config == made.config
    other = replace(recipe, network=replace(network, residual=ResidualConfig(3, 0.4)))
    with pytest.raises(TrainingError, match="not an earlier result of this task") as caught:
        run_fuse_again(tiny_session(shards, tmp_path / "other", other), tmp_path / "run" / "fused.safetensors")
    assert "network.residual must be equal" in caught.value.hint
    session = tiny_session(shards, tmp_path / "sr", STILL)
    assert run_restore(session, tmp_path / "run" / "fused.safetensors", task="sr", scale=4)
    assert load_network((tmp_path / "sr" / "sr-x4.safetensors",))[0].config.residual is None


def test_a_decoder_of_its_own_comes_after_stage_two(finished, tmp_path, shards):
    recipe = replace(TINY, fuse=replace(TINY.fuse, learns="decoder"))
    with pytest.raises(TrainingError, match="a stage II that has ended"):
        run_fuse(tiny_session(shards, tmp_path / "a", recipe), finished)
    with pytest.raises(TrainingError, match="a stage II that has ended"):
        run_joint(tiny_session(shards, tmp_path / "b", recipe))
    for learns in ("decoder", "reconstruction"):
        recipe = replace(TINY, restore=replace(TINY.restore, learns=learns))
        with pytest.raises(TrainingError, match=f"restore.learns={learns} is for stage II"):
            run_restore(
                tiny_session(shards, tmp_path / "c", recipe), finished / "fused.safetensors", task="inpaint", scale=1
            )


def test_fusing_goes_on_over_codebooks_trained_anew(finished, tmp_path, shards):
    """The codebooks are those of the run, all else is the earlier network's."""
    assert run_joint(tiny_session(shards, tmp_path / "other"))
    earlier = tmp_path / "other" / "fused.safetensors"
    assert run_fuse(tiny_session(shards, tmp_path / "run", STILL), finished, start=earlier)
    result, start, books = (
        load_file(p / "fused.safetensors") for p in (tmp_path / "run", tmp_path / "other", finished)
    )
    for key, tensor in result.items():
        if key.startswith("codebook.books."):
            assert torch.equal(tensor, books[key]), key
        else:
            assert torch.allclose(tensor, start[key], atol=1e-6), key


def test_fusing_goes_on_only_with_the_same_categories(finished, tmp_path):
    one = save_shards(tmp_path / "one", categories=("ground",))
    with pytest.raises(TrainingError, match="has bases of ground, sky; the shards are of ground"):
        run_fuse_again(tiny_session(one, tmp_path / "run"), finished / "fused.safetensors")
