"""`adacode weights average`, `pair` and `bundle`: make files of weights from other files, or from a training run."""

from __future__ import annotations

import re
from json import dumps
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.text import Text

from adacode_cli.cli.boundary import ended_by_interruption, invocation_of
from adacode_cli.cli.options import AsJson, Verbose, flag
from adacode_cli.cli.status import showing
from adacode_cli.cli.streams import printable, stderr_console, write_line
from adacode_cli.errors import UsageError

AVERAGE_EPILOG = """Examples:

  adacode weights average tuned.safetensors start.safetensors --share 0.7 \\
      -o mean.safetensors
  adacode weights average run/sr-x4.safetensors realesr-general-x4v3.pth \\
      --share 0.8 -o mean.safetensors

The file's path is printed on standard output."""

# `weights pair` uses them too.
Output = Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="The .safetensors file to write.")]
Overwrite = Annotated[bool, flag("--overwrite", help="Replace OUT if it exists.")]


def average(
    context: typer.Context,
    first: Annotated[
        Path,
        typer.Argument(metavar="FIRST", help="A file of weights, or a network of Real-ESRGAN's compact layout."),
    ],
    second: Annotated[Path, typer.Argument(metavar="SECOND", help="A second file for the same network.")],
    *,
    share: Annotated[
        float, typer.Option(metavar="SHARE", help="The share of FIRST in the mean, from 0 to 1; the rest is SECOND.")
    ],
    output: Output,
    dtype: Annotated[
        Literal["fp16", "bf16", "fp32"] | None,
        typer.Option(metavar="TYPE", help="How values are stored: fp16, bf16 or fp32. Default: as in FIRST."),
    ] = None,
    overwrite: Overwrite = False,
    json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """Average two files of weights, such as a tuned network and the one that it started from.

    Both are of the same network. The values that the tasks of a family share must be the same in both.
    A network of Real-ESRGAN's layout is averaged with the trunk of a super-resolution network.
    """
    invocation_of(context, json=json, verbose=verbose)
    with ended_by_interruption(), showing("averaging the weights", quiet=json):
        from adacode_cli.checkpoints import average as averages
        from adacode_cli.checkpoints.format import DTYPES

        stored = DTYPES[dtype] if dtype else None
        num_means, num_kept = averages.average(first, second, share, output, stored, overwrite=overwrite)
    missing = _missing_beside(output)
    if json:
        write_line(dumps({"version": 1, "file": str(output), "means": num_means, "kept": num_kept, "missing": missing}))
        return
    if num_kept:
        note = f"{num_means} tensors of the trunk are means; the other {num_kept} are unchanged"
        stderr_console().print(Text(printable(note), style="dim"))
    note_missing_parts(missing)
    write_line(str(output))


def _missing_beside(output: Path) -> list[str]:
    from adacode_cli.checkpoints.bundles import shared_parts_missing

    return shared_parts_missing(output)


def note_missing_parts(missing: list[str]) -> None:
    """Prints which files must be put beside a task's file of weights, if any is missing."""
    if missing:
        note = f"note: the file is one part of a family; before you use it, put {' and '.join(missing)} beside it"
        stderr_console().print(Text(printable(note), style="dim"))


PAIR_EPILOG = """Example:

  adacode weights pair clean/sr-x4.safetensors faithful/sr-x4.safetensors \\
      -o pair.safetensors
  adacode sr photos --weights pair.safetensors --denoise 0.3

The file's path is printed on standard output."""


def pair(
    context: typer.Context,
    clean: Annotated[Path, typer.Argument(metavar="CLEAN", help="A file of weights that remove noise.")],
    faithful: Annotated[
        Path,
        typer.Argument(
            metavar="FAITHFUL",
            help="A file for the same network that keeps noise, or a network of Real-ESRGAN's compact layout.",
        ),
    ],
    *,
    output: Output,
    dtype: Annotated[
        Literal["fp16", "bf16", "fp32"] | None,
        typer.Option(metavar="TYPE", help="How values are stored: fp16, bf16 or fp32. Default: as in CLEAN."),
    ] = None,
    overwrite: Overwrite = False,
    json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """Pair weights that remove noise with weights that keep it, for --denoise.

    With the new file, adacode sr --denoise 1 restores as CLEAN does, and --denoise 0 as FAITHFUL does. For strengths
    in between, the weights are interpolated. If a file is a pair already, its values for 1 are used as CLEAN, or those
    for 0 as FAITHFUL.
    """
    invocation_of(context, json=json, verbose=verbose)
    with ended_by_interruption(), showing("pairing the weights", quiet=json):
        from adacode_cli.checkpoints import average as averages
        from adacode_cli.checkpoints.format import DTYPES

        stored = DTYPES[dtype] if dtype else None
        num_differing, num_alike = averages.pair(clean, faithful, output, stored, overwrite=overwrite)
    missing = _missing_beside(output)
    if json:
        counts = {"differing": num_differing, "alike": num_alike}
        write_line(dumps({"version": 1, "file": str(output), **counts, "missing": missing}))
        return
    note = f"{num_differing} tensors have two sets of values; the other {num_alike} are the same in both"
    stderr_console().print(Text(printable(note), style="dim"))
    note_missing_parts(missing)
    write_line(str(output))


BUNDLE_EPILOG = """Example:

  adacode weights bundle run -o mine
  adacode sr photos --weights mine
  adacode weights push mine OWNER/REPO --dry-run

The files' paths are printed on standard output."""


def bundle(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A directory that 'train fuse' has finished.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The directory to write to.")],
    family: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the files. Default: the name of DIR.")
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="The licence that is written into the files, which may not demand less than those of the photographs. "
            "Default: those of all photographs and weights that the files were made from.",
        ),
    ] = None,
    dtype: Annotated[
        Literal["fp16", "bf16", "fp32"], typer.Option(metavar="TYPE", help="How values are stored: fp16, bf16 or fp32.")
    ] = "fp16",
    overwrite: Annotated[bool, flag("--overwrite", help="Replace files that exist, including the model card.")] = False,
    json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """Make files for --weights from a training run.

    Values that tasks share are stored once. A catalogue.json and a model card are written too, and the notice of the
    authors of a base model if training started from one.
    """
    invocation_of(context, json=json, verbose=verbose)
    notes: list[str] = []

    def on_note(note: str) -> None:
        notes.append(note)
        if not json:
            stderr_console().print(Text(printable(note), style="dim"))

    with ended_by_interruption(), showing(f"bundling {run}", quiet=json):
        from adacode_cli.checkpoints.format import DTYPES
        from adacode_cli.training import bundle as bundling

        name = _family_of(output) if family is None else family
        paths = bundling.bundle(run, name, output, DTYPES[dtype], licence=licence, overwrite=overwrite, on_note=on_note)
    if json:
        write_line(dumps({"version": 1, "family": name, "files": [str(path) for path in paths], "notes": notes}))
        return
    for path in paths:
        write_line(str(path))


def _family_of(folder: Path) -> str:
    """The name of a family from that of its folder. Raises UsageError where it gives none, or one that is taken."""
    from adacode_cli.checkpoints import catalogue_file
    from adacode_cli.checkpoints.catalogue import is_name

    name = re.sub("[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")
    if not is_name(name):
        raise UsageError(f"the name of -o {folder} does not name a family", hint="Name it: --family mine.")
    if any(entry.family == name for entry in catalogue_file.load().entries):
        raise UsageError(f"{name} is a family of adacode's own weights", hint="Choose another name: --family mine.")
    return name
