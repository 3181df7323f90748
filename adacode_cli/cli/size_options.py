"""The options of `sr` that set how large results are, and how much of them is the network's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer

from adacode_cli.cli.options import flag
from adacode_cli.errors import UsageError
from adacode_cli.sizes import DEFAULT_SIZING, MAX_SCALE, Fate, Kind, Sizing

_PANEL = "Size of the results (one of the first six)"
_MAX_SIDE_PX = 1_000_000
_size = partial(typer.Option, rich_help_panel=_PANEL)
_side = partial(_size, min=1, max=_MAX_SIDE_PX, metavar="PIXELS")


Strength = Annotated[
    float,
    typer.Option(
        "--strength",
        min=0.0,
        max=1.0,
        metavar="SHARE",
        help="How much of the network's result to use: from 1 (all of it) to 0 (the input, enlarged by bicubic "
        "interpolation).",
    ),
]


@dataclass(frozen=True)
class SizeOptions:
    """How large results are; the ratio of the sides is kept."""

    scale: Annotated[
        float | None,
        _size(
            "--scale",
            "-s",
            min=1.0,
            max=float(MAX_SCALE),
            metavar="FACTOR",
            help=f"By how much images are enlarged: from 1 to {MAX_SCALE}, fractions too; above 4 the network runs "
            f"more than once. Default: {DEFAULT_SIZING.amount:g}.",
            show_default=False,
        ),
    ] = None
    width: Annotated[int | None, _side("--width", help="Each result is this wide.")] = None
    height: Annotated[int | None, _side("--height", help="Each result is this high.")] = None
    long_edge: Annotated[int | None, _side("--long-edge", help="The longer side of each result.")] = None
    short_edge: Annotated[int | None, _side("--short-edge", help="The shorter side of each result.")] = None
    megapixels: Annotated[
        float | None,
        _size("--megapixels", min=0.0001, max=1e6, metavar="N", help="Millions of pixels of each result."),
    ] = None
    shrink: Annotated[
        bool,
        flag(
            "--shrink",
            panel=_PANEL,
            help="Make images smaller that are larger than this size. Without it, images that are as large already "
            "are copied.",
        ),
    ] = False
    skip_larger: Annotated[
        bool,
        flag("--skip-larger", panel=_PANEL, help="Leave out images that are at least as large as this size already."),
    ] = False

    def sizing(self) -> Sizing:
        """The size that the options ask for. Raises UsageError for options that contradict one another."""
        given = {name: amount for name, amount in self._amounts().items() if amount is not None}
        if given.keys() >= {"width", "height"}:
            hint = "Give one of the two, or --long-edge N: then neither side is longer than N pixels."
            raise UsageError("--width and --height together would change the ratio of the sides", hint=hint)
        if len(given) > 1:
            first, second = list(given)[:2]
            raise UsageError(f"--{first} and --{second} contradict one another", hint="Give one size.")
        if self.shrink and self.skip_larger:
            hint = "Leave out one of the two."
            raise UsageError("--shrink and --skip-larger contradict one another", hint=hint)
        kind, amount = next(iter(given.items()), ("scale", DEFAULT_SIZING.amount))
        if kind == "scale" and (self.shrink or self.skip_larger):
            option = "--shrink" if self.shrink else "--skip-larger"
            hint = f"Give a size such as --long-edge 3840, or leave out {option}."
            raise UsageError(f"{option} has no effect with a scale, which makes every image larger", hint=hint)
        as_large = Fate.SHRUNK if self.shrink else Fate.LEFT_OUT if self.skip_larger else Fate.COPIED
        return Sizing(kind, float(amount), as_large)

    def _amounts(self) -> dict[Kind, float | None]:
        return {
            "scale": self.scale,
            "width": self.width,
            "height": self.height,
            "long-edge": self.long_edge,
            "short-edge": self.short_edge,
            "megapixels": self.megapixels,
        }
