"""Recipes by name: what the presets hold, and that JSON keeps all of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors import safe_open

from adacode_cli.errors import UsageError
from adacode_cli.model.config import PAPER_CATEGORIES, NetworkConfig, ResidualConfig, TrunkConfig
from adacode_cli.training.overrides import read_recipe, recipe_from
from adacode_cli.training.presets import RECIPES, family_network, named_recipe
from adacode_cli.training.recipe import STAGES, without_effect

BUNDLED = Path(__file__).parent.parent.parent / "weights"
COMPACT, PUBLISHED = RECIPES["compact"], RECIPES["published"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_preset_is_the_same_after_json(name, tmp_path):
    recipe = named_recipe(name)
    assert recipe.preset == name
    assert recipe_from(recipe.to_dict()) == recipe
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe.to_dict(), allow_nan=False))
    assert read_recipe(path) == recipe
    assert hash(read_recipe(path)) == hash(recipe)  # no list is left where a tuple was


def test_the_published_preset_has_the_published_settings():
    """The numbers of the paper and its published settings, as NETWORK.md has them."""
    p = PUBLISHED
    assert [p.stage(name).steps for name in STAGES] == [5 * 73_000, 730_000, 730_000]  # 73,000 for each of five bases
    assert p.perceptual == "lpips-vgg"
    for name in STAGES:
        stage = p.stage(name)
        assert (stage.batch, stage.patch, stage.minutes) == (64, 256, 0)
        assert (stage.optimiser.rate, stage.optimiser.discriminator_rate) == (1e-4, 4e-4)
        assert (stage.optimiser.betas, stage.optimiser.final_share) == ((0.9, 0.99), 1.0)  # a constant rate
        loss = stage.loss
        assert (loss.pixel, loss.perceptual, loss.adversarial, loss.codebook) == (1.0, 1.0, 0.1, 1.0)
        assert loss.commitment == 0.25
        assert (stage.adversarial_from, stage.discriminator_channels) == (0, 64)
    assert p.basis.loss.semantic == 0.1
    assert (p.fuse.loss.semantic, p.restore.loss.semantic) == (0, 0)
    assert (p.restore.loss.feature, p.restore.loss.contrastive) == (1.0, 1.0)
    assert (p.network.codes, p.network.code_dim) == ((512, 256, 512, 256, 256), 256)
    d, h = p.degradation, p.holes
    assert (d.noise_least, d.noise, d.quality, d.kernels, d.steps_apart) == (2, 25, (30, 95), "here", True)
    assert d.noise_share == 1
    assert min(d.noise_kinds) > 0
    assert (h.holes, h.vertices, h.width) == ((1, 3), (8, 28), (12 / 512, 80 / 512))
    assert h.shares[0] == 1
    assert p.start_share == 0  # every basis from its own beginning


@pytest.mark.parametrize("name", ["basis", "fused", "reconstruct", "sr-x4", "inpaint"])
def test_compact_is_the_family_of_the_bundled_weights(name):
    with safe_open(BUNDLED / f"compact-{name}.safetensors", "numpy") as weights:
        found = NetworkConfig.from_dict(json.loads(weights.metadata()["adacode"])["config"])
    assert set(found.categories) == set(PAPER_CATEGORIES)
    family = COMPACT.network
    assert (found.trunk is not None) == (found.task == "sr")
    clean = family.clean(found.categories)
    if found.task == "reconstruct" and name == "reconstruct":  # it has learnt on by itself
        assert found == replace(family, residual=ResidualConfig()).reconstructing(clean)
        found = clean
    assert found == (clean if found.task == "reconstruct" else family.restoring(found.task, found.scale, clean))
    if family == COMPACT.network:
        assert replace(found, categories=PAPER_CATEGORIES) == family_network("compact", found.task, found.scale)


def test_settings_that_change_nothing_are_named():
    recipe = replace(named_recipe("compact"), perceptual="lpips")
    assert without_effect(recipe, "restore") == []
    trunk = recipe.with_stage("restore", replace(recipe.restore, learns="trunk"))
    assert set(without_effect(trunk, "restore")) == {"restore.loss.codebook", "restore.loss.feature"}
    for name in ("basis", "fuse"):
        assert f"{name}.learns" not in without_effect(recipe, name)
        other = recipe.with_stage(name, replace(recipe.stage(name), learns="codes"))
        assert f"{name}.learns" in without_effect(other, name)
    levels = replace(recipe, network=replace(recipe.network, residual=ResidualConfig()))
    assert "network.residual" in without_effect(levels, "fuse")
    own = levels.with_stage("fuse", replace(recipe.fuse, learns="reconstruction"))
    assert not {"network.residual", "fuse.learns", "fuse.loss.codebook"} & set(without_effect(own, "fuse"))
    with pytest.raises(UsageError, match="residual codes of 9 levels"):
        replace(recipe.network, residual=ResidualConfig(9))


@pytest.mark.parametrize("scale", [2, 4])
def test_super_resolution_of_compact_has_a_trunk_and_the_other_tasks_have_none(scale):
    config = family_network("compact", "sr", scale)
    assert (config.trunk, config.base, config.skip, config.stem_depth) == (TrunkConfig(), "nearest", "none", 0)
    assert (config.channels, config.codebooks) == (family_network("compact", "reconstruct").channels, config.codebooks)
    for task in ("basis", "reconstruct", "inpaint"):
        assert family_network("compact", task).trunk is None
    assert family_network("published", "sr", scale).trunk is None
    fusing = replace(COMPACT.network, trunk=None).restoring("sr", scale, family_network("compact", "reconstruct"))
    assert (fusing.skip, fusing.num_skips, fusing.base, fusing.fuse_depth) == ("fuse", 1, "upsampled", 7)


def test_the_network_of_one_basis_has_that_basis_alone():
    assert family_network("published", "basis").codebooks == ((512, 256),)
    assert family_network("compact", "basis").task == "basis"
    assert COMPACT.network.basis(6).codebooks == ((256, 32),)  # over again: 512, 256, 512, …
    with pytest.raises(UsageError, match="unknown preset 'compct'") as found:
        family_network("compct", "sr", 4)
    assert "compact, published" in found.value.hint
