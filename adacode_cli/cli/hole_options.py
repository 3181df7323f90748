"""The options of `inpaint`: where the hole of each image is, and how its edge is treated."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adacode_cli.cli.options import NoEffectOnResult, flag
from adacode_cli.errors import UsageError

if TYPE_CHECKING:
    from adacode_cli.batch.mask_pairs import MaskPairs
    from adacode_cli.batch.masks import HoleSource

_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_PLACE = "The hole (exactly one)"
_place, _edge = partial(typer.Option, rich_help_panel=_PLACE), partial(typer.Option, rich_help_panel="Its edge")
_MASKS = NoEffectOnResult("The journal has the digest of each image's mask.")


def _color(value: str | None) -> str | None:
    if value is None or _COLOR.fullmatch(value):
        return value
    raise typer.BadParameter(f"{value!r} is not a colour such as '#ffffff' (quoted, because # begins a comment).")


@dataclass(frozen=True)
class HoleOptions:
    """Where the hole of each image is, and how its edge is treated."""

    mask: Annotated[
        Path | None,
        _place(
            metavar="FILE",
            help="A mask of the input's size: white where the hole is, or strokes on a transparent layer. It is used "
            "for all inputs.",
        ),
        _MASKS,
    ] = None
    mask_dir: Annotated[
        Path | None,
        _place(
            metavar="DIR",
            help="A directory with a mask for each image: under the image's path (1931/p1.png for 1931/p1.jpg), with "
            "_mask after its name, or anywhere in it if the name is unique.",
        ),
        _MASKS,
    ] = None
    mask_alpha: Annotated[
        bool,
        flag("--mask-alpha", panel=_PLACE, help="The hole is the transparent part; it is opaque afterwards."),
    ] = False
    mask_color: Annotated[
        str | None,
        _place(metavar="COLOR", callback=_color, help="The hole is every pixel of exactly this colour: '#rrggbb'."),
    ] = None
    grow: Annotated[
        int, _edge(min=0, max=1024, metavar="PIXELS", help="Make the hole larger by this number of pixels.")
    ] = 0
    feather: Annotated[
        int,
        _edge(
            min=0,
            max=1024,
            metavar="PIXELS",
            help="Blend over this number of pixels outside the hole. All other pixels stay bit-identical.",
        ),
    ] = 0

    def check(self) -> None:
        """Raises UsageError unless exactly one source of holes is chosen."""
        chosen = [self.mask is not None, self.mask_dir is not None, self.mask_alpha, self.mask_color is not None]
        if sum(chosen) != 1:
            problem = "no hole is given" if not any(chosen) else "more than one hole is given"
            raise UsageError(problem, hint="Use exactly one of --mask, --mask-dir, --mask-alpha, --mask-color.")

    def paths(self) -> tuple[Path, ...]:
        """Files and directories that hold masks, not images."""
        return tuple(path for path in (self.mask, self.mask_dir) if path is not None)

    def kind(self) -> str:
        """Where the holes come from, in one word, for the digest; mask files are hashed for each image."""
        if self.mask_color is not None:
            return self.mask_color.lower()
        return "alpha" if self.mask_alpha else "file"

    def source(self, pairs: MaskPairs | None) -> HoleSource:
        """What makes the hole of each image. `pairs` are the masks of `mask_dir` for the images of the run."""
        from adacode_cli.batch import masks

        edge = masks.Edge(self.grow, self.feather)
        if self.mask is not None:
            return masks.OneFile(self.mask, edge)
        if pairs is not None:
            return masks.PairedFiles(pairs, edge)
        if self.mask_color is not None:
            return masks.OneColor(self.mask_color, edge)
        return masks.Transparency(edge)
