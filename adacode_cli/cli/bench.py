"""`adacode bench`: how fast this machine restores images, and how much of its speed the engine does not use."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adacode_cli.cli.boundary import came_from, ended_by_interruption, invocation_of
from adacode_cli.cli.options import AsJson, DeviceName, Precision, Verbose, Weights, flag, with_option_groups
from adacode_cli.cli.status import showing
from adacode_cli.cli.streams import write_line
from adacode_cli.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from adacode_cli.benchmark.whole import BenchSettings

_MIN_PX, _MAX_PX, _MAX_FILES, _MAX_MEGAPIXELS = 16, 1024, 10_000, 1000.0
_MAX_PROFILED = 200  # the profiler reserves too little memory for the record of a longer run

_FULL = "Measurements of --full (each of these options includes it)"
_of_full = partial(typer.Option, rich_help_panel=_FULL)
_ONLY_FULL = ("photo", "side", "files", "megapixels", "growth", "profile", "repeats")

EPILOG = """What the figures are:

  seconds    for a megapixel of results; MP/s: their megapixels in a second
  ratio      how many times as fast as fp32, or as the plain pass
  spread     how much the share of a round's time differs between rounds
  *          what --precision auto takes

Figures are not final if other programs disturbed the measurement: if its
threads waited for the processor for more than 10 % of their time, or if a
spread is above 15 %.

What the figures of --full are:

  plain      the network as any program would run it: float32, the whole
             image in one pass
  GFLOP/s    of the network as defined; "at most" is what large matrix
             products and convolutions reach
  PSNR       of the result to the plain one, in dB
  yardstick  a usual network, 34 convolutions of 64 channels, in float32
  files      a whole run, with reading and writing, as a multiple of the
             time of the engine alone
  profile    how such a run spends its time, under torch's profiler:
             stages, kernels and copies on CUDA, operators on a CPU

Examples:

  adacode bench                              takes about 20 seconds
  adacode bench --full                       takes more than a minute
  adacode bench --files 60 --megapixels 1    a run over 60 photographs
  adacode bench --growth                     does time grow with the image?
  adacode bench --device cuda --profile      is the device idle at times?"""


@dataclass(frozen=True)
class BenchOptions:
    """What is measured."""

    weights: Weights = "compact"
    scale: Annotated[int, typer.Option("--scale", "-s", metavar="N", help="2 or 4, for super-resolution.")] = 4
    full: Annotated[bool, flag("--full", help="Also take the measurements below, in about a minute more.")] = False
    photo: Annotated[Path | None, _of_full(metavar="FILE", help="The image to enlarge. Default: a synthetic one.")] = (
        None
    )
    side: Annotated[int, _of_full(metavar="PIXELS", help="Side of the square part of it that is enlarged.")] = 256
    files: Annotated[int, _of_full(metavar="N", help="Number of JPEGs in the timed run; 0: no run.")] = 4
    megapixels: Annotated[float, _of_full(metavar="MEGAPIXELS", help="Size of each JPEG.")] = 0.25
    growth: Annotated[bool, flag("--growth", panel=_FULL, help="Also time outputs of 1, 4, 16 and 64 megapixels.")] = (
        False
    )
    profile: Annotated[bool, flag("--profile", panel=_FULL, help="Also report how a run spends its time.")] = False
    repeats: Annotated[int, _of_full(metavar="N", help="Timed calls of each pass; the median is reported.")] = 3
    device: DeviceName = "auto"
    precision: Precision = "auto"
    json: AsJson = False
    verbose: Verbose = 0


@with_option_groups
def bench(context: typer.Context, options: BenchOptions) -> None:
    """Measure how fast this machine restores images.

    It takes about 20 seconds: every task with the given weights, in each precision that the device offers. Close other
    programs first.
    """
    invocation_of(context, json=options.json, verbose=options.verbose)
    _check(options)
    unfinished = ended_by_interruption("the measurement was not finished; no figures are shown")
    with unfinished, showing(f"loading {options.weights}", quiet=options.json) as show_line:
        typed = any(came_from(context, name) == "COMMANDLINE" for name in _ONLY_FULL)
        settings = _settings(options, full=options.full or typed)

        from adacode_cli.benchmark.whole import measure
        from adacode_cli.cli import bench_text

        found = measure(settings, lambda step: show_line(f"measuring {step}"))
    if options.json:
        write_line(json.dumps(bench_text.json_object(settings, found), allow_nan=False))
        return
    for line in bench_text.lines(settings, found):
        write_line(line)


def _check(options: BenchOptions) -> None:
    if options.scale not in (2, 4):
        raise UsageError(f"--scale {options.scale} is not 2 or 4", hint="Networks exist for these two scales.")
    if not _MIN_PX <= options.side <= _MAX_PX:
        raise UsageError(f"--side {options.side} is not from {_MIN_PX} to {_MAX_PX}", hint="256 is enough.")
    if not 0 <= options.files <= _MAX_FILES:
        raise UsageError(f"--files {options.files} is not from 0 to {_MAX_FILES}", hint="With 0, no run is timed.")
    if not options.megapixels >= 0.001 or options.files * options.megapixels > _MAX_MEGAPIXELS:
        raise UsageError(
            f"--megapixels {options.megapixels:g} is less than 0.001, or more than {_MAX_MEGAPIXELS:g} for all files",
            hint="Try 1.",
        )
    if options.profile:
        _check_profile(options)
    if options.repeats < 1:
        raise UsageError(f"--repeats {options.repeats} is less than 1", hint="Three is the default.")


def _check_profile(options: BenchOptions) -> None:
    if not options.files:
        hint = "Leave out --files, or give 1 or more."
        raise UsageError("--profile needs a run over files, and --files 0 leaves it out", hint=hint)
    if options.files > _MAX_PROFILED:
        raise UsageError(
            f"--profile cannot record a run over {options.files} files; the limit is {_MAX_PROFILED}",
            hint=f"Use --files {_MAX_PROFILED}, or fewer.",
        )


def _settings(options: BenchOptions, *, full: bool) -> BenchSettings:
    photo = _photo(options)  # a file that cannot be read is reported before torch is imported

    from adacode_cli.benchmark.speed import MEGAPIXELS
    from adacode_cli.benchmark.whole import BenchSettings

    return BenchSettings(
        options.weights,
        options.scale,
        photo,
        options.side,
        options.files,
        options.megapixels,
        MEGAPIXELS if options.growth else (),
        options.repeats,
        options.device,
        options.precision,
        options.profile,
        full,
    )


def _photo(options: BenchOptions) -> NDArray[np.uint8]:
    import numpy as np

    from adacode_cli.benchmark.image import synthetic_image
    from adacode_cli.imaging.decode import read_image

    if options.photo is None:
        return synthetic_image(options.side, options.side)
    pixels = read_image(options.photo).pixels
    deepest = 1 if pixels.dtype == np.float32 else np.iinfo(pixels.dtype).max
    eight = (pixels.astype(np.float32) * (255 / deepest)).round().astype(np.uint8)
    return eight if eight.ndim == 3 else np.repeat(eight[..., None], 3, axis=2)
