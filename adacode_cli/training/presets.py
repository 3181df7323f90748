"""Recipes by name: `compact`, the family that is included in the tool, and `published`, the paper's sizes and settings.

The design of `compact` (docs/compact.md has the measurements): all convolutions run on grids of 1/4 and 1/8 of the
output, a pixel shuffle is the last step, only the tokens of the Swin blocks are normalised, and a restored image is an
interpolated image plus the output of the network.
"""

from __future__ import annotations

from dataclasses import replace

from adacode_cli.errors import UsageError
from adacode_cli.model.config import PAPER_CATEGORIES, NetworkConfig, SwinConfig, TrunkConfig
from adacode_cli.tasks import TASKS
from adacode_cli.training.degradation import PUBLISHED as PUBLISHED_DEGRADATION
from adacode_cli.training.family import PAPER_CODES, Family
from adacode_cli.training.holes import DAMAGED_PRINTS, PUBLISHED_STROKES
from adacode_cli.training.recipe import LossWeights, Optimiser, Recipe, StageRecipe

_COMPACT_FAMILY = Family(
    channels=(64, 128),
    grid=4,
    stem="shuffle",
    norm="none",
    codes=PAPER_CODES,
    code_dim=32,
    stem_depth=3,
    clean_depth=2,
    restore_depth=1,
    up_depth=1,
    decoder_depth=5,
    fuse_depth=7,
    head_depth=1,
    skip="fuse",
    num_skips=1,
    add_base=True,
    mask_channel=True,
    coarse_passes=3,
    trunk=TrunkConfig(),
    encoder_swin=SwinConfig(groups=2, blocks=2, heads=4),
    predictor_swin=SwinConfig(groups=1, blocks=2, heads=4),
)
_COMPACT = Recipe(
    preset="compact",
    network=_COMPACT_FAMILY,
    restore=StageRecipe(loss=LossWeights(perceptual=0.25, feature=0.1)),
    holes=DAMAGED_PRINTS,
    perceptual="lpips",
)

# 73,000 steps for each basis, 730,000 for the others, 64 crops a step, a constant rate, and every loss from the start.
_PAPER_LOSS = LossWeights(perceptual=1.0, adversarial=0.1)
_PAPER_STAGE = StageRecipe(
    steps=730_000,
    batch=64,
    patch=256,
    adversarial_from=0.0,
    discriminator_channels=64,
    optimiser=Optimiser(rate=1e-4, warmup=1, final_share=1.0),
    loss=_PAPER_LOSS,
)
_PUBLISHED = Recipe(
    preset="published",
    network=Family(),
    basis=replace(_PAPER_STAGE, steps=73_000 * len(PAPER_CATEGORIES), loss=replace(_PAPER_LOSS, semantic=0.1)),
    fuse=_PAPER_STAGE,
    restore=replace(_PAPER_STAGE, loss=replace(_PAPER_LOSS, feature=1.0, contrastive=1.0)),
    degradation=PUBLISHED_DEGRADATION,
    holes=PUBLISHED_STROKES,
    start_share=0.0,
    perceptual="lpips-vgg",
)

RECIPES: dict[str, Recipe] = {recipe.preset: recipe for recipe in (_COMPACT, _PUBLISHED)}


def named_recipe(name: str) -> Recipe:
    """The recipe of that name. Raises UsageError for an unknown one."""
    if name not in RECIPES:
        raise UsageError(f"unknown preset {name!r}", hint=f"Choose one of: {', '.join(RECIPES)}; or a recipe.json.")
    return RECIPES[name]


def family_network(name: str, task: str, scale: int = 1) -> NetworkConfig:
    """One task's network of a preset's family, over the paper's categories. Raises UsageError for an unknown one."""
    family = named_recipe(name).network
    if task == "basis":
        return family.basis()
    clean = family.clean(PAPER_CATEGORIES)
    return clean if TASKS[task].from_codes else family.restoring(task, scale, clean)
