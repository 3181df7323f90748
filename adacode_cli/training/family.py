"""The shape of a family of networks: what its tasks have in common, and the network of each task."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from adacode_cli.errors import UsageError, WeightsError
from adacode_cli.model.config import (
    Base,
    ContextConfig,
    DecoderConfig,
    NetworkConfig,
    Norm,
    ResidualConfig,
    Skip,
    Stem,
    SwinConfig,
    TrunkConfig,
)
from adacode_cli.tasks import TASKS

PAPER_CODES = (512, 256, 512, 256, 256)


@dataclass(frozen=True)
class Family:
    """Sizes and choices of all networks of a family; names as in `NetworkConfig`. Raises UsageError.

    codes: number of codes of each basis; the list is repeated if there are more categories than numbers.
    code_dim: length of a code.
    clean_depth, restore_depth: `encoder_depth` of stages I and II, and of stage III.
    add_base: restored = interpolated input + network's output.
    mask_channel: a fourth input channel marks the holes.
    coarse_passes: of tasks that fill holes, which are trained to continue from their own coarser results.
    context: of tasks that fill holes.
    own_decoder, residual: of reconstruction, once it learns on by itself (`StageRecipe.learns`).
    trunk: of tasks that enlarge, in place of stem blocks, skips and the interpolated base.
    """

    channels: tuple[int, ...] = (64, 128, 256, 256)
    grid: int = 1
    stem: Stem = "conv4"
    norm: Norm = "group"
    codes: tuple[int, ...] = PAPER_CODES
    code_dim: int = 256
    softmax: bool = False
    uniform: bool = False
    stem_depth: int = 0
    clean_depth: int = 2
    restore_depth: int = 2
    up_depth: int = 2
    decoder_depth: int = 2
    fuse_depth: int = 0
    head_depth: int = 0
    skip: Skip = "add"
    num_skips: int = 2
    add_base: bool = False
    mask_channel: bool = False
    coarse_passes: int = 0
    context: ContextConfig | None = None
    own_decoder: DecoderConfig = field(default_factory=DecoderConfig)
    residual: ResidualConfig | None = None
    trunk: TrunkConfig | None = None
    encoder_swin: SwinConfig = field(default_factory=SwinConfig)
    predictor_swin: SwinConfig = field(default_factory=SwinConfig)

    def __post_init__(self) -> None:
        if not self.codes or min(self.codes) < 1 or self.code_dim < 1:
            raise UsageError("codes and code_dim: a codebook has at least one code of at least one number")
        if self.trunk and self.trunk.shuffle not in (None, self.grid):
            raise UsageError(f"trunk.shuffle: stage III learns from maps of stage II's grid, {self.grid}; leave it out")
        try:  # tasks differ in their parts
            clean = self.clean(("one",))
            for task in TASKS.values():
                self.restoring(task.name, 1, clean)
            self.reconstructing(clean)
        except WeightsError as error:
            raise UsageError(error.message) from error

    def codebooks(self, num: int) -> tuple[tuple[int, int], ...]:
        """(number of codes, length) of each of `num` bases."""
        return tuple((self.codes[k % len(self.codes)], self.code_dim) for k in range(num))

    def basis(self, k: int = 0) -> NetworkConfig:
        """Stage I's autoencoder over the k-th codebook."""
        one = replace(self, uniform=False).clean(("one",))
        return replace(one, task="basis", codebooks=(self.codebooks(k + 1)[k],), categories=(), predictor_swin=None)

    def clean(self, categories: tuple[str, ...], codebooks: tuple[tuple[int, int], ...] | None = None) -> NetworkConfig:
        """Stage II's network, which reconstructs clean images over a codebook for each category."""
        return NetworkConfig(
            task="reconstruct",
            channels=self.channels,
            grid=self.grid,
            stem=self.stem,
            stem_depth=self.stem_depth,
            encoder_depth=self.clean_depth,
            decoder_depth=self.decoder_depth,
            head_depth=self.head_depth,
            norm=self.norm,
            codebooks=codebooks or self.codebooks(len(categories)),
            categories=categories,
            predictor_swin=None if self.uniform else self.predictor_swin,
            softmax=self.softmax,
            uniform=self.uniform,
        )

    def reconstructing(self, clean: NetworkConfig) -> NetworkConfig:
        """Stage II's network `clean` with what reconstruction has of its own, once it learns on by itself."""
        return replace(clean, own_decoder=self.own_decoder, residual=self.residual)

    def restoring(self, task: str, scale: int, clean: NetworkConfig) -> NetworkConfig:
        """Stage III's network for one task, over the codebooks and decoder of the network `clean`."""
        of_task: dict[str, Any] = {"task": task, "scale": scale, "encoder_depth": self.restore_depth}
        of_task["encoder_swin"] = self.encoder_swin
        if TASKS[task].enlarges and self.trunk is not None:
            return replace(clean, **of_task, stem_depth=0, trunk=self.trunk, base="nearest")
        filled = TASKS[task].fills_hole
        base: Base = "none"
        if self.add_base:
            base = "filled" if filled else "upsampled"
        return replace(
            clean,
            **of_task,
            up_depth=self.up_depth,
            fuse_depth=self.fuse_depth,
            skip=self.skip,
            num_skips=self.num_skips,
            base=base,
            mask_channel=self.mask_channel and filled,
            coarse_passes=self.coarse_passes if base == "filled" else 0,
            encoder_context=self.context if filled else None,
        )
