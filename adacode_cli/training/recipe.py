"""Every number of the three stages in one frozen tree, written beside its results and into the weights themselves.

What does not change the result (threads, caches, how often something is logged or kept) is not part of it.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from adacode_cli.errors import UsageError
from adacode_cli.training.degradation import DegradationSettings
from adacode_cli.training.degradation.settings import refuse
from adacode_cli.training.family import Family
from adacode_cli.training.holes import HoleSettings

# Windows of attention are 8 latent cells of 8 output pixels a side in both families.
WINDOW_PX = 64
# Each is cut and measured.
MAX_CANDIDATES = 16
# Each stage adds 32 bits of its own, and generators take 64.
NUM_SEEDS = 2**32
StageName = Literal["basis", "fuse", "restore"]
_WHAT = "these training settings are"
Learns = Literal["all", "trunk", "codes"]
STAGES: tuple[StageName, ...] = ("basis", "fuse", "restore")


@dataclass(frozen=True)
class LossWeights:
    """Factors of the loss terms; 0 switches a term off. Paper, section 3 and its published settings.

    Raises UsageError for negative or infinite ones.

    pixel: L1.
    perceptual: LPIPS.
    adversarial: hinge GAN.
    codebook: codes and features are drawn to one another.
    commitment: the features' part of `codebook`.
    semantic: a perceptual network's features are predicted from the codes (stage I).
    feature: the clean image's feature before the decoder (stage III).
    contrastive: restored and clean features (stage III).
    grid: a pattern that repeats itself with the cells of the pixel shuffle.
    """

    pixel: float = 1.0
    perceptual: float = 0.5
    adversarial: float = 0.0
    codebook: float = 1.0
    commitment: float = 0.25
    semantic: float = 0.0
    feature: float = 0.0
    contrastive: float = 0.0
    grid: float = 0.0

    def __post_init__(self) -> None:
        wrong = [name for name, value in asdict(self).items() if not 0 <= value < math.inf]
        if wrong:
            raise UsageError(f"the weight of a loss is 0 or more: {', '.join(wrong)}")


@dataclass(frozen=True)
class Optimiser:
    """Adam, for the network and for the discriminator. Raises UsageError for impossible values.

    rate: learning rate; it rises over `warmup` steps, then falls on a cosine to `final_share` of itself (1: constant).
    trunk_share: the rate of a trunk's weights, in units of `rate`; 0: they stay as they are.
    discriminator_rate: learning rate of the discriminator, constant.
    betas: Adam's decay rates, of the network and of the discriminator.
    clip: largest norm of a gradient.
    ema: decay a step of the averaged weights, which are the result.
    """

    rate: float = 5e-4
    trunk_share: float = 1.0
    discriminator_rate: float = 4e-4
    betas: tuple[float, float] = (0.9, 0.99)
    warmup: int = 100
    final_share: float = 0.02
    clip: float = 1.0
    ema: float = 0.999

    def __post_init__(self) -> None:
        refuse(
            _WHAT,
            (
                not 0 < self.rate < math.inf or not 0 < self.discriminator_rate < math.inf,
                "rate, discriminator_rate: more than 0",
            ),
            (not 0 <= self.trunk_share < math.inf, "trunk_share is 0 or more"),
            (not all(0 <= b < 1 for b in self.betas), "betas are from 0 to below 1"),
            (self.warmup < 1, "warmup is at least 1"),
            (not 0 <= self.final_share <= 1, "final_share is from 0 to 1"),
            (not 0 < self.clip < math.inf, "clip is more than 0"),
            (not 0 <= self.ema < 1, "ema is from 0 to below 1"),
        )


@dataclass(frozen=True)
class StageRecipe:
    """One stage. Raises UsageError for values that no run can have.

    steps, minutes: the run ends after `steps`, or after `minutes` where they are not 0, whichever comes first.
    batch: crops a step, of all processes together.
    patch: output pixels a side of a crop.
    candidates: crops drawn for each that is used, which is the one of most detail.
    shrunk: how often a crop is cut larger and shrunk, since photographs are rarely sharp at full size.
    shrink: smallest factor of that, up to 1.
    learns: "all" that the stage trains; of stage III also the "trunk" alone (a branch of codes that does not add
        anything yet is not computed then), or the "codes": all except the trunk.
    magnified: how often the parts that perception compares are magnified, so that it sees what lies between the pixels
        that it steps on.
    adversarial_from: part of the run, 0 to 1, after which the discriminator joins.
    discriminator_channels: width of its narrowest layer.
    """

    steps: int = 10_000
    minutes: float = 0.0
    batch: int = 16
    patch: int = 128
    candidates: int = 1
    shrunk: float = 0.5
    shrink: float = 0.5
    learns: Learns = "all"
    magnified: float = 0.6
    adversarial_from: float = 0.5
    discriminator_channels: int = 32
    optimiser: Optimiser = field(default_factory=Optimiser)
    loss: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        refuse(
            _WHAT,
            (self.patch < 1 or self.patch % WINDOW_PX != 0, f"patch {self.patch} is not a multiple of {WINDOW_PX}"),
            (self.steps < 1 or self.batch < 1, "steps and batch are at least 1"),
            (not 1 <= self.candidates <= MAX_CANDIDATES, f"candidates are from 1 to {MAX_CANDIDATES}"),
            (not 0 <= self.minutes < math.inf, "minutes are 0 or more"),
            (not 0 <= self.adversarial_from <= 1, "adversarial_from is from 0 to 1"),
            (not 0 <= self.magnified <= 1, "magnified is from 0 to 1"),
            (not 0 <= self.shrunk <= 1, "shrunk is from 0 to 1"),
            (not 0.1 <= self.shrink <= 1, "shrink is from 0.1 to 1"),
            (self.learns == "trunk" and not self.optimiser.trunk_share, "with a trunk_share of 0 no trunk learns"),
            (self.discriminator_channels < 1, "a discriminator has at least one channel"),
        )


@dataclass(frozen=True)
class Recipe:
    """The whole training. Raises UsageError for values that no run can have.

    preset: the recipe that this one comes from.
    network: the family's shape.
    degradation, holes: how the inputs of stage III are made.
    start_share: part of stage I that goes to an autoencoder on all categories, from which each one's own starts.
    perceptual: name or file of the perceptual network, none if empty.
    precision: "bf16" or "fp32".
    seed: random seed of everything that is drawn.
    """

    preset: str
    network: Family
    basis: StageRecipe = field(default_factory=StageRecipe)
    fuse: StageRecipe = field(default_factory=StageRecipe)
    restore: StageRecipe = field(default_factory=StageRecipe)
    degradation: DegradationSettings = field(default_factory=DegradationSettings)
    holes: HoleSettings = field(default_factory=HoleSettings)
    start_share: float = 0.4
    perceptual: str = ""
    precision: Literal["bf16", "fp32"] = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        refuse(
            _WHAT,
            (not 0 <= self.start_share < 1, "start_share is from 0 to below 1"),
            (not 0 <= self.seed < NUM_SEEDS, f"seed is from 0 to below {NUM_SEEDS}"),
        )

    def stage(self, name: StageName) -> StageRecipe:
        """The part for one stage."""
        part: StageRecipe = getattr(self, name)
        return part

    def with_stage(self, name: StageName, part: StageRecipe) -> Recipe:
        """The same recipe with another part for one stage."""
        changed: dict[str, Any] = {name: part}
        return replace(self, **changed)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, as `overrides.recipe_from` reads it."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values


def without_effect(recipe: Recipe, name: StageName) -> list[str]:
    """Settings that change nothing: weights of losses that a stage does not have, or that need a perceptual network, a
    pixel shuffle or codes that learn, and what learns where a stage has no choice.
    """
    missing = {"basis": ("feature", "contrastive"), "fuse": ("semantic", "feature", "contrastive")}
    unused = [*missing.get(name, ("semantic",)), *(() if recipe.perceptual else ("perceptual", "semantic"))]
    unused += ["grid"] if recipe.network.grid == 1 else []
    stage = recipe.stage(name)
    unused += ["codebook", "feature", "contrastive"] if name == "restore" and stage.learns == "trunk" else []
    found = [f"{name}.loss.{term}" for term in dict.fromkeys(unused) if getattr(stage.loss, term)]
    return found + ([f"{name}.learns"] if name != "restore" and stage.learns != "all" else [])
