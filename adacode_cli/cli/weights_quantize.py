"""`adacode weights quantize`: makes a file of weights that can run in 8 bits."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from adacode_cli.cli.boundary import ended_by_interruption, invocation_of
from adacode_cli.cli.options import AsJson, HubRepo, Verbose
from adacode_cli.cli.status import showing
from adacode_cli.cli.streams import printable, stderr_console, write_line
from adacode_cli.cli.weights_make import Output, Overwrite
from adacode_cli.errors import InputError, OutputError, UsageError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adacode_cli.checkpoints.load import WeightsSource
    from adacode_cli.evaluation.calibration import Calibrated

EPILOG = """Example:

  pip install 'adacode-cli[int8]'
  adacode weights quantize mine.safetensors --photos photos \\
      -o fast.safetensors
  adacode sr photos --weights fast.safetensors --precision int8

The file's path is printed on standard output."""
# Without a terminal, a line of progress is printed after this time at the earliest.
_LINE_EVERY_S = 10.0
# With fewer photographs, the ranges may be too small for other images.
_FEW_PHOTOGRAPHS = 8


def quantize(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A name from 'adacode weights list', a file, a task of a bundle (DIR/NAME), or hub:OWNER/REPO[/FILE].",
        ),
    ],
    *,
    photos: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Photographs like those that the weights will restore."),
    ],
    output: Output,
    most: Annotated[
        int, typer.Option("--most", metavar="N", min=1, help="Use at most N of the photographs, spread over all.")
    ] = 32,
    keep_ranges: Annotated[
        bool, typer.Option("--keep-ranges", help="Keep NAME's ranges and filters; only measure how near images are.")
    ] = False,
    overwrite: Overwrite = False,
    hub_repo: HubRepo = None,
    json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """Measure the ranges that --precision int8 needs.

    OUT has the same weights as NAME, and for most convolutions the range of their inputs, measured on photographs.
    Where that is not good enough, it also has other weights for int8. With --precision fp32 it restores as NAME does.
    How near images in 8 bits are to those in float32 is printed, and stated in OUT: --precision auto takes int8 only
    for weights that are near enough. If NAME is one task of a family, the files that it shares with other tasks are
    copied beside OUT.
    """
    invocation_of(context, json=json, verbose=verbose)
    notes = Notes(quiet=json)
    with ended_by_interruption():
        from adacode_cli.checkpoints.companions import copy, missing_at
        from adacode_cli.checkpoints.load import WeightsSource

        _check_output(output, overwrite=overwrite)
        photographs = _photographs(photos, output, most)
        source = WeightsSource(name, hub_repo)
        _refuse_own_file(output, source.own_file())
        copies = missing_at(output, source)
        found = _calibrated(source, photographs, notes, keep_ranges=keep_ranges)
        copy(copies)
        _write(output, found, source.own_file())
        copied = [place.name for place in copies]
        _report(found, copied, notes, kept=keep_ranges)
    write_line(dumps(_json_object(output, found, copied, notes)) if json else str(output))


@dataclass(frozen=True)
class Notes:
    """Collects what a person should know, and says it at once unless it is quiet."""

    quiet: bool
    texts: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """A note that stays."""
        self.texts.append(text)
        self.show(text)

    def show(self, text: str) -> None:
        """What is being done."""
        if not self.quiet:
            stderr_console().print(Text(printable(text), style="dim"))


def _json_object(output: Path, found: Calibrated, copied: Sequence[str], notes: Notes) -> dict[str, object]:
    """Keys and meanings as docs/json.md has them."""
    return {
        "version": 1,
        "file": str(output),
        "copied": list(copied),
        "photographs": found.used,
        "psnr_db": found.psnr_db if math.isfinite(found.psnr_db) else None,
        "least_psnr_db": found.least_db if math.isfinite(found.least_db) else None,
        "notes": notes.texts,
    }


def _check_output(output: Path, *, overwrite: bool) -> None:
    if output.suffix.lower() != ".safetensors":
        raise UsageError(f"{output} does not end in .safetensors", hint="Choose a name that ends in .safetensors.")
    if output.exists() and not overwrite:
        raise OutputError("exists already", path=output, hint="Add --overwrite, or choose another name.")
    if output.is_dir():
        raise OutputError("is a directory", path=output, hint="Choose another name.")
    folder = next(place for place in output.absolute().parents if place.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        # Measuring takes minutes, which would be lost.
        hint = "Choose a folder for -o where files can be written."
        raise OutputError(f"cannot be written: {folder} is not a writable folder", path=output, hint=hint)


def _photographs(folder: Path, output: Path, most: int) -> Sequence[Path]:
    """At most `most` photographs of the folder, spread over all. Refuses an output that would replace an original."""
    from adacode_cli.batch.kept import Kept
    from adacode_cli.evaluation.code_usage import photographs_in

    found = photographs_in(folder)
    Kept(folders=(folder,)).refuse_original(output)
    return found[:: -(-len(found) // most)]


def _refuse_own_file(output: Path, path: Path) -> None:
    if output.exists() and output.samefile(path):
        raise OutputError("is the file that is read", path=output, hint="Choose another name.")


def _calibrated(source: WeightsSource, photographs: Sequence[Path], notes: Notes, *, keep_ranges: bool) -> Calibrated:
    from adacode_cli.checkpoints.load import read_any
    from adacode_cli.evaluation.calibration import calibrate

    with showing(f"loading {source.name}", quiet=notes.quiet):
        weights, (network, _) = read_any(source.own_file()), source.own_network()
    if keep_ranges and not weights.ranges:
        raise WeightsError("has no ranges to keep", path=source.own_file(), hint="Leave out --keep-ranges.")

    def left_out(error: InputError) -> None:
        notes.say(f"left out: {error}")

    with _progress(notes) as show:
        return calibrate(weights, network, photographs, show, left_out, keep_ranges=keep_ranges)


@contextmanager
def _progress(notes: Notes) -> Iterator[Callable[[str], None]]:
    """Shows what is done: on a terminal in a line that changes, elsewhere in a line now and then."""
    last = -math.inf
    if notes.quiet:
        yield lambda _text: None
        return
    if stderr_console().can_change_lines:
        with showing("reading") as show_line:
            yield show_line
        return

    def show(text: str) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= _LINE_EVERY_S:
            notes.show(text)
            last = now

    yield show


def _write(output: Path, found: Calibrated, path: Path) -> None:
    from adacode_cli.checkpoints.format import stored_dtype, write_weights

    # Of a few photographs, such as a dark one, the figure says little of other images.
    stated = found.psnr_db if found.used >= _FEW_PHOTOGRAPHS else None
    write_weights(output, replace(found.weights, int8_psnr_db=stated), stored_dtype(path))


def _report(found: Calibrated, copied: Sequence[str], notes: Notes, *, kept: bool) -> None:
    from adacode_cli.model.ranges import VISIBLE_DB

    if copied:
        notes.show(f"copied beside the file, which needs them: {', '.join(copied)}")
    if found.used < _FEW_PHOTOGRAPHS:
        photographs = "1 photograph was" if found.used == 1 else f"{found.used} photographs were"
        why = "other images may be less near" if kept else "the ranges may be too small for other images"
        notes.say(
            f"note: only {photographs} used, so {why}, and `--precision auto` does not take int8 for these weights; "
            f"give {_FEW_PHOTOGRAPHS} or more"
        )
    notes.show(
        f"images in 8 bits are {found.psnr_db:.1f} dB from those in float32, at worst {found.least_db:.1f} dB (PSNR)"
    )
    if found.psnr_db < VISIBLE_DB:
        notes.say(
            f"note: below {VISIBLE_DB:g} dB a difference can be seen, at hard edges first; compare an image before a "
            "run. `--precision auto` does not take int8 for these weights"
        )
