"""`adacode weights show`: what the codes of each basis look like, and which codes photographs use."""

from __future__ import annotations

from collections.abc import Iterator
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from adacode_cli import formats
from adacode_cli.cli.boundary import ended_by_interruption, invocation_of
from adacode_cli.cli.options import AsJson, DeviceName, HubRepo, Verbose, flag
from adacode_cli.cli.status import Show, TimedCount, showing
from adacode_cli.cli.streams import printable, stderr_console, write_line
from adacode_cli.errors import OutputError, UsageError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from adacode_cli.evaluation.code_usage import Usage
    from adacode_cli.model.network import AdaCode

EPILOG = """Examples:

  adacode weights show compact -o atlas.png
  adacode weights show compact -o atlas.png --usage photos
  adacode weights show mine.safetensors --usage photos --json

A table of the bases, and a line on int8, are printed on standard output."""


Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A name from 'adacode weights list', a file, a folder of a bundle, or hub:OWNER/REPO[/FILE].",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Draw every code as a patch of this image, in the format of its suffix.",
    ),
]
UsageDir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Count which codes these photographs use, and show for each code the mean of the places that use it.",
    ),
]
Patch = Annotated[
    int,
    typer.Option(min=8, max=128, metavar="PIXELS", help="Side of a patch in the image, from 8 to 128; a row has 64."),
]
_LOSSY = formats.listed(each for each in formats.every() if each.lossy)
Quality = Annotated[int, typer.Option(min=1, max=100, metavar="N", help=f"Quality of {_LOSSY} files, from 1 to 100.")]
Overwrite = Annotated[bool, flag("--overwrite", help="Replace the image if it exists.")]


def show(
    context: typer.Context,
    name: Name,
    *,
    output: Output = None,
    usage: UsageDir = None,
    patch: Patch = 32,
    quality: Quality = 85,
    overwrite: Overwrite = False,
    hub_repo: HubRepo = None,
    device: DeviceName = "auto",
    json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """Show the basis codebooks: sizes, use by photographs, and an atlas image; and the ranges for int8.

    For a family with several tasks, the ranges are those of its network for reconstruct.
    """
    invocation_of(context, json=json, verbose=verbose)
    if output is not None:
        _check_output(output, usage, overwrite=overwrite)
    with ended_by_interruption(), showing(f"loading {name}", quiet=json) as show_line:
        from adacode_cli.checkpoints.load import WeightsSource
        from adacode_cli.engine.device import choose_device

        chosen = choose_device(device)
        network, _ = WeightsSource(name, hub_repo).own_network()
        found = _usage(network, usage, chosen, show_line) if usage else None
        if output is not None:
            from adacode_cli.evaluation.atlas import atlas_of

            show_line(f"drawing {output}")
            _draw(output, atlas_of(network, printable(name), found, chosen, patch), quality, quiet=json)
    rows = _rows(network, found)
    if json:
        write_line(dumps(_json_object(name, rows, found, output) | {"int8": _int8_object(network)}))
        return
    for line in (*_table(rows), "", _int8_line(network)):
        write_line(line)


def _check_output(path: Path, photographs: Path | None, *, overwrite: bool) -> None:
    """Raises the errors of the output path before the slow steps begin."""
    from adacode_cli import atomic
    from adacode_cli.batch.kept import Kept
    from adacode_cli.imaging.encode import format_of

    if format_of(path) is None:
        raise UsageError(f"-o {path} names no image", hint="Choose a name such as atlas.png or atlas.jpg.")
    if path.exists() and not overwrite:
        raise OutputError("exists already", path=path, hint="Add --overwrite, or choose another name.")
    if path.exists() and photographs is not None:
        Kept(folders=(photographs,)).refuse_original(path)
    atomic.check_writable(path)


def _usage(network: AdaCode, folder: Path, device: torch.device, show_line: Show) -> Usage:
    from adacode_cli.evaluation.code_usage import measure_usage, photographs_in

    show_line(f"looking for photographs in {folder}")
    photographs = photographs_in(folder)
    count = TimedCount(len(photographs))
    return measure_usage(network, photographs, device, lambda path: show_line(f"{count.next()} {path.name}"))


def _draw(path: Path, sheet: NDArray[np.uint8], quality: int, *, quiet: bool) -> None:
    from adacode_cli import atomic
    from adacode_cli.imaging.encode import encode, format_of
    from adacode_cli.imaging.image import Decoded

    format_name = format_of(path)
    assert format_name is not None, "checked before"
    atomic.write_bytes(path, encode(Decoded(sheet), format=format_name, quality=quality))
    if not quiet:
        stderr_console().print(Text(printable(f"{path}: {sheet.shape[1]}×{sheet.shape[0]} pixels")))


Row = dict[str, object]


def _rows(network: AdaCode, usage: Usage | None) -> list[Row]:
    rows: list[Row] = []
    for k, (basis, (size, dim)) in enumerate(zip(network.config.names(), network.config.codebooks, strict=True)):
        use = usage.bases[k] if usage else None
        rows.append(
            {
                "name": basis,
                "codes": size,
                "dim": dim,
                "used": use.used if use else None,
                "perplexity": use.perplexity if use else None,
                "counts": use.counts.tolist() if use else None,
            }
        )
    return rows


def _json_object(name: str, rows: list[Row], usage: Usage | None, output: Path | None) -> Row:
    return {
        "weights": name,
        "photographs": usage.num_photographs if usage else None,
        "cells": usage.num_cells if usage else None,
        "strength": usage.strength if usage else None,
        "atlas": str(output) if output else None,
        "bases": rows,
    }


def _int8_object(network: AdaCode) -> Row | None:
    if not network.ranges:
        return None
    return {"convolutions": len(network.ranges), "psnr_db": network.int8_psnr_db}


def _int8_line(network: AdaCode) -> str:
    begins = f"int8 for {network.config.task}: "
    if not network.ranges:
        return f"{begins}no ranges (adacode weights quantize)"
    stated = network.int8_psnr_db
    near = f"{stated:.1f} dB to float32" if stated is not None else "how near images are to float32 is not stated"
    return f"{begins}ranges for {len(network.ranges)} convolutions, {near}"


def _table(rows: list[Row]) -> Iterator[str]:
    lines = [("BASIS", "CODES", "DIM", "USED", "PERPLEXITY")]
    for row in rows:
        used, perplexity = row["used"], row["perplexity"]
        shown = "" if used is None else str(used), f"{perplexity:.1f}" if isinstance(perplexity, float) else ""
        lines.append((str(row["name"]), str(row["codes"]), str(row["dim"]), *shown))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for name, *numbers in lines:
        cells = [name.ljust(widths[0]), *(n.rjust(width) for n, width in zip(numbers, widths[1:], strict=True))]
        yield "  ".join(cells).rstrip()
