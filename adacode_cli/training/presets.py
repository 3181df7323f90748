"""Network shapes by name: `compact`, the family that ships with the tool, and `published`, the paper's sizes.

Why `compact` looks as it does (measured numbers in docs/compact.md): all convolutions run on grids of 1/4 and 1/8
of the output, a pixel shuffle makes the last step, nothing is normalised but the tokens of the Swin blocks, and a
restored picture is an interpolated one plus what the network knows better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from adacode_cli.errors import UsageError
from adacode_cli.model.config import PAPER_CATEGORIES, NetworkConfig, SwinConfig, Task

PAPER_CODES = (512, 256, 512, 256, 256)
# (task, scale) → the network for it; the task "basis" is stage I's autoencoder of one category.
Family = Callable[[Task, int], NetworkConfig]


def named_family(name: str) -> Family:
    """The family of that name. Raises UsageError for an unknown one."""
    if name not in FAMILIES:
        raise UsageError(f"unknown family {name!r}", hint=f"Choose one of: {', '.join(FAMILIES)}.")
    return FAMILIES[name]


def family_network(name: str, task: Task, scale: int = 1) -> NetworkConfig:
    """Configuration of one task's network of a family. Raises UsageError for an unknown family."""
    return named_family(name)(task, scale)


def _compact(task: Task, scale: int) -> NetworkConfig:
    clean = NetworkConfig(
        task="reconstruct",
        channels=(64, 128),
        grid=4,
        stem="shuffle",
        stem_depth=3,
        encoder_depth=2,
        decoder_depth=3,
        head_depth=1,
        norm="none",
        codebooks=tuple((n, 32) for n in PAPER_CODES),
        categories=PAPER_CATEGORIES,
        predictor_swin=SwinConfig(groups=1, blocks=2, heads=4),
    )
    if task == "basis":
        return replace(clean, task=task, codebooks=((512, 32),), categories=(), predictor_swin=None)
    if task == "reconstruct":
        return clean
    return replace(
        clean,
        task=task,
        scale=scale,
        encoder_depth=1,
        up_depth=1,
        fuse_depth=5,
        skip="fuse",
        num_skips=1,
        base="filled" if task == "inpaint" else "upsampled",
        mask_channel=task == "inpaint",
        encoder_swin=SwinConfig(groups=2, blocks=2, heads=4),
    )


def _published(task: Task, scale: int) -> NetworkConfig:
    clean = NetworkConfig(
        task="reconstruct",
        codebooks=tuple((n, 256) for n in PAPER_CODES),
        categories=PAPER_CATEGORIES,
        predictor_swin=SwinConfig(),
    )
    if task == "basis":
        return replace(clean, task=task, codebooks=((512, 256),), categories=(), predictor_swin=None)
    if task == "reconstruct":
        return clean
    return replace(clean, task=task, scale=scale, skip="add", num_skips=2, encoder_swin=SwinConfig())


FAMILIES: dict[str, Family] = {"compact": _compact, "published": _published}
