"""Every setting of the three stages in one frozen tree, stored with the results and in the metadata of the weights.

Settings that do not change the result (threads, caches, how often something is logged) are not part of it.
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

# In both families the side of an attention window is 8 latent cells of 8 output pixels.
WINDOW_PX = 64
# Each candidate is cut and measured.
MAX_CANDIDATES = 16
# Each stage adds another 32 bits, and generators take 64.
NUM_SEEDS = 2**32
StageName = Literal["basis", "fuse", "restore"]
_WHAT = "these training settings are"
Learns = Literal["all", "trunk", "codes", "decoder", "reconstruction"]
OWN_DECODER: tuple[Learns, ...] = ("decoder", "reconstruction")
"""What can learn once reconstruction has a decoder of its own."""
STAGES: tuple[StageName, ...] = ("basis", "fuse", "restore")


@dataclass(frozen=True)
class LossWeights:
    """Factors of the loss terms; 0 switches a term off. Paper, section 3 and its published settings.

    Raises UsageError for negative or infinite ones.

    pixel: L1.
    perceptual: LPIPS.
    adversarial: hinge GAN.
    codebook: distance between codes and features.
    commitment: the part of `codebook` that moves the features.
    semantic: a perceptual network's features are predicted from the codes (stage I).
    feature: the clean image's feature before the decoder (stage III).
    contrastive: restored and clean features (stage III).
    grid: a pattern that repeats with the cells of the pixel shuffle.
    tint: the colour along the inner border of holes (stage III, inpainting).
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
    tint: float = 0.0

    def __post_init__(self) -> None:
        wrong = [name for name, value in asdict(self).items() if not 0 <= value < math.inf]
        if wrong:
            raise UsageError(f"the weight of a loss must be 0 or more: {', '.join(wrong)}")


@dataclass(frozen=True)
class Optimiser:
    """Adam, for the network and for the discriminator. Raises UsageError for impossible values.

    rate: learning rate; it rises over `warmup` steps, then decays on a cosine to `final_share` of it (1: constant).
    trunk_share: the rate of a trunk's weights, in units of `rate`; 0: they do not change.
    range_share: the rate of the logarithms of the steps of ranges (`StageRecipe.int8`), in units of `rate`.
    discriminator_rate: learning rate of the discriminator, constant.
    betas: Adam's decay rates, of the network and of the discriminator.
    clip: largest norm of a gradient.
    ema: decay of the averaged weights for each step; they are the result.
    """

    rate: float = 5e-4
    trunk_share: float = 1.0
    range_share: float = 1.0
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
            (not 0 <= self.range_share < math.inf, "range_share is 0 or more"),
            (not all(0 <= b < 1 for b in self.betas), "betas are from 0 to below 1"),
            (self.warmup < 1, "warmup is at least 1"),
            (not 0 <= self.final_share <= 1, "final_share is from 0 to 1"),
            (not 0 < self.clip < math.inf, "clip is more than 0"),
            (not 0 <= self.ema < 1, "ema is from 0 to below 1"),
        )


@dataclass(frozen=True)
class StageRecipe:
    """One stage. Raises UsageError for values that no run can have.

    steps, minutes: the run ends after `steps`, or after `minutes` if they are not 0, whichever comes first.
    batch: crops for each step, of all processes together.
    patch: side of a crop in output pixels.
    candidates: crops drawn for each one that is used; the one with most detail is used.
    shrunk: share of crops that are cut larger and then reduced, because photographs are rarely sharp at full size.
    shrink: smallest factor of that, up to 1.
    learns: "all" that the stage trains; in stage II also only the "decoder", one that reconstruction has of its own, or
        "reconstruction": that decoder and the encoder and weight predictor, which no other task has;
        in stage III also only the "trunk" (then a branch of codes that adds nothing yet is not computed), or only the
        "codes": all except the trunk.
    int8: what the convolutions of earlier weights multiply with in `--precision int8` learns, and their ranges; the
        weights for float32 stay.
    magnified: how often the parts for the perceptual loss are enlarged, so that its strides do not skip
        pixels.
    adversarial_from: part of the run, 0 to 1, after which the discriminator is used.
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
    int8: bool = False
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
    start_share: share of stage I for an autoencoder on all categories, from which that of each category starts.
    perceptual: name or file of the perceptual network, none if empty.
    precision: "bf16" or "fp32".
    seed: random seed of all random choices.
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
    """Settings without effect: weights of losses that a stage does not have, or that need a perceptual network, a
    pixel shuffle or codes that are trained; `learns` if a stage has no choice; and further levels of codes where
    reconstruction does not learn on by itself.
    """
    missing = {"basis": ("feature", "contrastive", "tint"), "fuse": ("semantic", "feature", "contrastive", "tint")}
    unused = [*missing.get(name, ("semantic",)), *(() if recipe.perceptual else ("perceptual", "semantic"))]
    unused += ["grid"] if recipe.network.grid == 1 else []
    stage = recipe.stage(name)
    unused += ["codebook", "feature", "contrastive"] if stage.learns in ("trunk", "decoder") or stage.int8 else []
    found = [f"{name}.loss.{term}" for term in dict.fromkeys(unused) if getattr(stage.loss, term)]
    if name == "fuse" and stage.learns not in OWN_DECODER and recipe.network.residual:
        found.append("network.residual")
    chosen = {"basis": ("all",), "fuse": ("all", *OWN_DECODER)}.get(name, (stage.learns,))
    return found + ([f"{name}.learns"] if stage.learns not in chosen else [])
