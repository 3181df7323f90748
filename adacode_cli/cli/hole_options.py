"""The options of `inpaint`: where the hole of each image is, and how its edge is treated."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adacode_cli import formats
from adacode_cli.cli.options import NoEffectOnResult, flag
from adacode_cli.errors import UsageError
from adacode_cli.limits import MASK_HALO_PX, MASK_TOLERANCE
from adacode_cli.storage.path import is_remote, path_of

if TYPE_CHECKING:
    from adacode_cli.batch.description import Detection
    from adacode_cli.batch.mask_pairs import MaskPairs
    from adacode_cli.batch.masks import HoleSource

_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_PLACE = "The hole (exactly one source)"
_place, _edge = partial(typer.Option, rich_help_panel=_PLACE), partial(typer.Option, rich_help_panel="Its edge")
_MASKS = NoEffectOnResult("The journal has the digest of each image's mask.")


def _color(value: str | None) -> str | None:
    if value is None or _COLOR.fullmatch(value):
        return value
    raise typer.BadParameter("it must be a colour such as '#ffffff' (quoted, because # begins a comment)")


def _is_there(folder: Path) -> bool:
    """Whether it is a directory that exists; False in a store, where no folder exists without files."""
    return not is_remote(folder) and folder.is_dir()


@dataclass(frozen=True)
class HoleOptions:
    """Where the hole of each image is, and how its edge is treated."""

    mask: Annotated[
        Path | None,
        _place(
            metavar="FILE",
            parser=path_of,
            help="A mask of the input's size: white where the hole is, or strokes on a transparent layer. It is used "
            "for all inputs.",
        ),
        _MASKS,
    ] = None
    mask_dir: Annotated[
        Path | None,
        _place(
            metavar="DIR",
            parser=path_of,
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
        _place(
            metavar="COLOR",
            callback=_color,
            help="The hole is every pixel of this colour: '#rrggbb', in sRGB. Paint with a strong colour that the "
            "image does not have.",
        ),
    ] = None
    mask_tolerance: Annotated[
        float | None,
        _place(
            min=0.0,
            max=100.0,
            metavar="DISTANCE",
            help="How far the colour of a pixel may be from --mask-color (CIE 1976, in L*a*b*), at most 100; 0: "
            f"exactly this colour. With a distance above 0, {MASK_HALO_PX} pixels around count too. Default: "
            f"{MASK_TOLERANCE} for {formats.listed(each for each in formats.known() if each.lossy)} files, whose "
            "compression changes colours, otherwise 0; also 0 for WebP and JPEG XL without loss.",
            show_default=False,
        ),
    ] = None
    detect: Annotated[
        str | None,
        _place(
            metavar="NAME",
            help="The holes are the scratches, hairs, dust and creases that this detector finds in each image: "
            "'scratches', or a file that 'adacode train detect' wrote. Look at some results before you trust it with "
            "an archive.",
        ),
        NoEffectOnResult("The journal has the digest of the detector's values, together with that of the weights."),
    ] = None
    save_mask: Annotated[
        Path | None,
        _place(
            metavar="DIR",
            parser=path_of,
            help="With --detect: write what was found into this directory, as masks that --mask-dir can use. A mask "
            "that was edited since is replaced only with --overwrite.",
        ),
    ] = None
    grow: Annotated[
        int,
        _edge(min=0, max=1024, metavar="PIXELS", help="Make the hole larger by this number of pixels, at most 1024."),
    ] = 0
    feather: Annotated[
        int,
        _edge(
            min=0,
            max=1024,
            metavar="PIXELS",
            help="Blend over this number of pixels outside the hole, at most 1024. All other pixels stay "
            "bit-identical.",
        ),
    ] = 0

    exemplars: Annotated[
        bool,
        typer.Option(
            "--exemplars/--no-exemplars",
            rich_help_panel="Its filling",
            help="Give holes of 13 pixels and more texture that is copied from similar places of the same image.",
        ),
    ] = True

    def check(self) -> None:
        """Raises UsageError unless exactly one source of holes is chosen, and --save-mask has something to save."""
        given = (self.mask, self.mask_dir, self.mask_color, self.detect)
        num_chosen = sum(value is not None for value in given) + self.mask_alpha
        if num_chosen != 1:
            problem = "no hole is given" if num_chosen == 0 else "more than one hole is given"
            hint = "Use exactly one of --mask, --mask-dir, --mask-alpha, --mask-color, --detect."
            raise UsageError(problem, hint=hint)
        if self.mask_tolerance is not None and self.mask_color is None:
            raise UsageError("--mask-tolerance has no effect without --mask-color", hint="Add --mask-color '#rrggbb'.")
        if self.save_mask is not None and self.detect is None:
            raise UsageError("--save-mask has no effect without --detect", hint="Add --detect scratches.")
        if (
            self.save_mask is not None
            and formats.of_any_suffix(self.save_mask.suffix)
            and not _is_there(self.save_mask)
        ):
            directory = self.save_mask.with_suffix("")
            hint = f"Name a directory, such as {directory}; the mask of each image lies in it, as a PNG file."
            raise UsageError(f"--save-mask {self.save_mask} names a single file", hint=hint)

    def paths(self) -> tuple[Path, ...]:
        """Files and directories that hold masks, not images."""
        return tuple(path for path in (self.mask, self.mask_dir) if path is not None)

    def kind(self) -> str:
        """Where the holes come from, in one word, for the digest; mask files are hashed for each image."""
        if self.mask_color is not None:
            distance = "usual" if self.mask_tolerance is None else f"{self.mask_tolerance:g}"
            return f"{self.mask_color.lower()}, {distance}"
        if self.detect is not None:
            return "detect"  # The digest of the weights has the detector's values.
        return "alpha" if self.mask_alpha else "file"

    def detection(self) -> Detection | None:
        """What is looked for, if holes are not given."""
        from adacode_cli.batch.description import Detection
        from adacode_cli.batch.masks import Edge

        return (
            Detection(self.detect, Edge(self.grow, self.feather, self.exemplars)) if self.detect is not None else None
        )

    def source(self, pairs: MaskPairs | None) -> HoleSource | None:
        """What gives the hole of each image; None if holes are detected. `pairs` are the masks of `mask_dir` for the
        images of the run.
        """
        from adacode_cli.batch import masks

        if self.detect is not None:
            return None

        edge = masks.Edge(self.grow, self.feather, self.exemplars)
        if self.mask is not None:
            return masks.OneFile(self.mask, edge)
        if pairs is not None:
            return masks.PairedFiles(pairs, edge)
        if self.mask_color is not None:
            return masks.OneColor(self.mask_color, edge, self.mask_tolerance)
        return masks.Transparency(edge)
