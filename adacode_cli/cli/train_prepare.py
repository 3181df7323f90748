"""`adacode train prepare`: packs photographs into shards for training, and reports what it left out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.text import Text

from adacode_cli.cli.boundary import ended_by_interruption, invocation_of
from adacode_cli.cli.options import AsJson, flag, verbosity, with_option_groups
from adacode_cli.cli.status import showing
from adacode_cli.cli.streams import printable, stderr_console, write_line

if TYPE_CHECKING:
    from adacode_cli.training.prepare.run import Prepared
    from adacode_cli.training.prepare.settings import PrepareSettings

EPILOG = """Examples:

  adacode train prepare photos -o shards --licence CC0-1.0
                    photos/nature, photos/indoor, … are the categories
  adacode train prepare holiday -o shards --categories 5 --max-mb 2000

SHARDS/manifest.json lists every file that is left out, with its measured value and the limit."""

_CUTTING = "What is written"
_LIMITS = "What is left out"
_CONSOLE = "What is shown"


@dataclass(frozen=True)
class LimitOptions:
    """The limits for photographs, as Typer parses them."""

    max_blur: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="PIXELS",
            rich_help_panel=_LIMITS,
            help="The largest blur: the width (standard deviation) of the sharpest edges; 10 keeps all.",
        ),
    ] = 1.2
    min_detail: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="LEVELS",
            rich_help_panel=_LIMITS,
            help="The lowest contrast, of 255 levels, in the quarter of a crop with the most detail; 0 keeps all.",
        ),
    ] = 2.0
    duplicate_bits: Annotated[
        int,
        typer.Option(
            min=-1,
            max=32,
            metavar="N",
            rich_help_panel=_LIMITS,
            help="The largest Hamming distance between duplicates, of 64 bits; -1 keeps all.",
        ),
    ] = 2
    min_jpeg_quality: Annotated[
        float,
        typer.Option(
            min=0, max=100, metavar="N", rich_help_panel=_LIMITS, help="The lowest quality of JPEG files; 0 keeps all."
        ),
    ] = 75.0
    max_blockiness: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="LEVELS",
            rich_help_panel=_LIMITS,
            help="The greatest strength of a JPEG's 8×8 grid, in files of any format; 255 keeps all.",
        ),
    ] = 1.2


@dataclass(frozen=True)
class PrepareOptions:
    """How shards are made, as Typer parses it."""

    categories: Annotated[
        int | None,
        typer.Option(min=1, metavar="K", help="Find K categories of similar photographs. Default: the sub-folders."),
    ] = None
    features: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Weights whose features compare photographs. Default: compact-reconstruct."),
    ] = None
    crop: Annotated[
        int,
        typer.Option(
            min=32,
            metavar="PIXELS",
            rich_help_panel=_CUTTING,
            help="Side of a crop; smaller photographs are left out.",
        ),
    ] = 512
    encoding: Annotated[
        Literal["jpeg", "webp"],
        typer.Option(metavar="KIND", rich_help_panel=_CUTTING, help="jpeg (quality 95, 4:4:4) or webp (lossless)."),
    ] = "jpeg"
    validation: Annotated[
        float,
        typer.Option(
            min=0,
            max=0.5,
            metavar="SHARE",
            rich_help_panel=_CUTTING,
            help="Share of each category's photographs that training does not use; of its crops, where one photograph "
            "is more than that.",
        ),
    ] = 0.02
    shard_mb: Annotated[
        float, typer.Option(metavar="N", rich_help_panel=_CUTTING, help="The largest size of a shard in megabytes.")
    ] = 64.0
    max_mb: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            rich_help_panel=_CUTTING,
            help="The largest size of all shards together in megabytes; crops of large categories are left out.",
        ),
    ] = None
    seed: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", rich_help_panel=_CUTTING, help="The random seed of the order and of all random choices."
        ),
    ] = 0
    licence: Annotated[
        str,
        typer.Option(
            metavar="TEXT", rich_help_panel=_CUTTING, help="Licence of the photographs, which model cards state."
        ),
    ] = ""
    source: Annotated[
        str, typer.Option(metavar="TEXT", rich_help_panel=_CUTTING, help="Where the photographs are from.")
    ] = ""
    overwrite: Annotated[
        bool,
        flag("--overwrite", panel=_CUTTING, help="Replace shards that exist."),
    ] = False
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Number of photographs that are measured at a time. Default: the number of cores."
        ),
    ] = None
    json: AsJson = False
    quiet: Annotated[bool, flag("--quiet", "-q", panel=_CONSOLE, help="Show no summary, only warnings and errors.")] = (
        False
    )
    verbose: Annotated[int, verbosity("Show each file that is left out.", _CONSOLE)] = 0

    def settings(self, limits: LimitOptions) -> PrepareSettings:
        """The settings in the form that the training package takes. Raises UsageError."""
        from adacode_cli.training.prepare.settings import Limits, PrepareSettings

        return PrepareSettings(
            crop_px=self.crop,
            categories=self.categories,
            features=self.features,
            limits=Limits(
                blur_px=limits.max_blur,
                detail=limits.min_detail,
                duplicate_bits=limits.duplicate_bits,
                jpeg_quality=limits.min_jpeg_quality,
                blockiness=limits.max_blockiness,
            ),
            encoding=self.encoding,
            validation=self.validation,
            shard_mb=self.shard_mb,
            max_mb=self.max_mb,
            seed=self.seed,
            licence=self.licence,
            source=self.source,
            overwrite=self.overwrite,
            workers=self.workers or os.cpu_count() or 1,
        )


@with_option_groups
def prepare(
    context: typer.Context,
    photos: Annotated[
        Path, typer.Argument(metavar="PHOTOS", help="A directory of photographs, searched through all levels.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="SHARDS", help="The directory for shards and their manifest.")
    ],
    options: PrepareOptions,
    limits: LimitOptions,
) -> None:
    """Cut photographs into crops, leave out poor ones, and pack the crops into shards.

    The stages of training read shards. The same photographs and options give the same bytes.
    """
    invocation_of(context, json=options.json, verbose=options.verbose)
    with ended_by_interruption():
        import cv2

        from adacode_cli.training.prepare.run import prepare as run

        settings = options.settings(limits)
        cv2.setNumThreads(1)  # several photographs are measured at the same time
        with showing("looking for photographs", quiet=options.json) as show_line:

            def show(done: int, total: int, file: str) -> None:
                if not options.quiet:
                    show_line(f"{done}/{total} {file}")

            prepared = run(photos, output, settings, show)
    if options.json:
        write_line(dumps(_json_object(prepared)))
        return
    for name, why in prepared.manifest["left_out"]["categories"].items():
        for line in (f"warning: the category {name} is left out: {why['what']}", f"  {why['hint']}"):
            stderr_console().print(Text(printable(line)))
    if not options.quiet:
        for line in _summary(prepared.manifest, verbose=options.verbose > 0):
            stderr_console().print(Text(printable(line)))
    write_line(str(prepared.path))


def _json_object(prepared: Prepared) -> dict[str, Any]:
    """Keys and meanings as docs/json.md has them."""
    manifest = prepared.manifest
    kept = ("photographs", "megapixels", "categories", "crops", "held_out_by")
    left_out = {key: manifest["left_out"][key] for key in ("counts", "categories", "crops")}
    return {
        "version": 1,
        "manifest": str(prepared.path),
        **{key: manifest[key] for key in kept},
        "shards": len(manifest["shards"]),
        "bytes": sum(shard["bytes"] for shard in manifest["shards"]),
        "left_out": left_out,
    }


def _summary(manifest: dict[str, Any], *, verbose: bool) -> list[str]:
    left_out, crops = manifest["left_out"], manifest["crops"]
    lines = [_left_out_line(entry) for entry in left_out["files"]] if verbose else []
    if left_out["counts"]:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out["counts"].items())
        lines.append(f"left out: {reasons}" + ("" if verbose else " (-v and the manifest list them)"))
    lines += [f"crops left out: {count} {reason}" for reason, count in left_out["crops"].items() if count]
    for category in manifest["categories"]:
        counts = ", ".join(f"{crops[split][category]} crops for {split}" for split in crops)
        shared = manifest["held_out_by"][category] == "crops" and crops["validation"][category]
        lines.append(f"{category}: {counts}" + (" (from photographs that training uses too)" if shared else ""))
    megabytes = sum(shard["bytes"] for shard in manifest["shards"]) / 1e6
    photos = f"{manifest['photographs']} photographs, {manifest['megapixels']:.0f} megapixels"
    return [*lines, f"{photos}: {len(manifest['shards'])} shards, {megabytes:.1f} MB"]


def _left_out_line(entry: dict[str, Any]) -> str:
    measured = f" ({entry['value']:g}, limit {entry['limit']:g})" if entry["value"] is not None else ""
    return f"left out: {entry['file']}: {entry['reason']}{measured} {entry.get('detail', '')}".rstrip()
