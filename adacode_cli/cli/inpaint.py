"""`adacode inpaint`: fill holes in images."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adacode_cli.cli.option_group import with_option_groups
from adacode_cli.cli.restore_command import restore
from adacode_cli.cli.restore_options import Inputs, RestoreOptions, is_stdin
from adacode_cli.cli.restore_plan import Request
from adacode_cli.errors import UsageError

if TYPE_CHECKING:
    from adacode_cli.batch.mask_pairs import MaskPairs
    from adacode_cli.batch.masks import HoleSource

EPILOG = """[bold]Examples[/bold]

  adacode inpaint a.png --mask hole.png      fill what is white in hole.png
  adacode inpaint scans --mask-dir masks     one mask per image, by name
  adacode inpaint logo.png --mask-alpha      fill what is transparent
  adacode inpaint a.png --mask-color '#ff00ff' --grow 2 --feather 4"""

_PANEL = "The hole (exactly one)"
_EDGE = "Its edge"
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


def _color(value: str | None) -> str | None:
    if value is None or _COLOR.fullmatch(value):
        return value
    raise typer.BadParameter(f"{value!r} is not a colour such as '#ffffff' (quoted, because # begins a comment).")


@dataclass(frozen=True)
class HoleOptions:
    """Where the hole of each image is, and how its edge is treated."""

    mask: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_PANEL,
            help="A picture of the image's size, white where the hole is, or with strokes on a transparent layer; used "
            "for all inputs.",
        ),
    ] = None
    mask_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=_PANEL,
            help="A directory with a mask per image: at the image's path there (1931/p1.png for 1931/p1.jpg), or with "
            "_mask behind its name, or anywhere under a name that is unique.",
        ),
    ] = None
    mask_alpha: Annotated[
        bool,
        typer.Option(
            "--mask-alpha", metavar="", rich_help_panel=_PANEL, help="What is transparent; it is opaque afterwards."
        ),
    ] = False
    mask_color: Annotated[
        str | None,
        typer.Option(
            metavar="COLOR", callback=_color, rich_help_panel=_PANEL, help="What has exactly this colour: '#rrggbb'."
        ),
    ] = None
    grow: Annotated[
        int,
        typer.Option(min=0, max=1024, metavar="PIXELS", rich_help_panel=_EDGE, help="Make the hole larger by so much."),
    ] = 0
    feather: Annotated[
        int,
        typer.Option(
            min=0,
            max=1024,
            metavar="PIXELS",
            rich_help_panel=_EDGE,
            help="Blend over so much outside the hole. Everything beyond stays bit-identical.",
        ),
    ] = 0

    def paths(self) -> tuple[Path, ...]:
        """Files and directories that hold masks, not images."""
        return tuple(path for path in (self.mask, self.mask_dir) if path is not None)

    def source(self) -> Callable[[MaskPairs | None], HoleSource]:
        """What builds the chosen source of holes. Raises UsageError unless exactly one is chosen."""
        chosen = [self.mask is not None, self.mask_dir is not None, self.mask_alpha, self.mask_color is not None]
        if sum(chosen) != 1:
            problem = "no hole is given" if not any(chosen) else "more than one hole is given"
            raise UsageError(problem, hint="Use exactly one of --mask, --mask-dir, --mask-alpha, --mask-color.")
        return self._build

    def kind(self) -> str:
        """Where the holes come from, in a word; their files' contents are looked at for each image."""
        if self.mask_color is not None:
            return self.mask_color.lower()
        return "alpha" if self.mask_alpha else "file"

    def _build(self, pairs: MaskPairs | None) -> HoleSource:
        from adacode_cli.batch import masks

        edge = masks.Edge(self.grow, self.feather)
        if self.mask is not None:
            return masks.OneFile(self.mask, edge)
        if pairs is not None:
            return masks.PairedFiles(pairs, edge)
        if self.mask_color is not None:
            return masks.OneColor(self.mask_color, edge)
        return masks.Transparency(edge)


@with_option_groups
def inpaint(context: typer.Context, hole: HoleOptions, options: RestoreOptions, inputs: Inputs = None) -> None:
    """Fill holes in images; what lies outside stays bit-identical.

    The hole comes from a mask file, a directory of masks, transparency or a colour. Files of lossy formats, such as
    JPEG, are encoded anew, which moves every pixel a little: for results that are exact on disk, choose --format png or
    tiff.
    """
    source = hole.source()
    if hole.mask_dir is not None and is_stdin(inputs):
        raise UsageError("--mask-dir needs file names to pair, and standard input has none", hint="Use --mask FILE.")
    request = Request(
        "inpaint",
        "inpaint",
        holes=source,
        mask_dir=hole.mask_dir,
        mask_kind=hole.kind(),
        mask_paths=hole.paths(),
        grow_px=hole.grow,
        feather_px=hole.feather,
        opaque_hole=hole.mask_alpha,
    )
    restore(context, inputs, options, request)
