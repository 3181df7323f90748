"""Options of the commands that measure: `adacode bench` and `adacode eval`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Weights = Annotated[
    str,
    typer.Option(
        "--weights", "-w", metavar="NAME", help="A name from 'adacode weights list', a file, or hub:OWNER/REPO/FILE."
    ),
]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"], typer.Option(metavar="TYPE", help="auto, fp32, bf16 or fp16.")
]
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="One JSON object on standard output.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", metavar="", help="Tracebacks of errors.")]
