"""`adacode weights`: lists and downloads weights, and makes files of weights from checkpoints and training runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.text import Text

from adacode_cli.cli import (
    weights_export,
    weights_make,
    weights_plan,
    weights_push,
    weights_quantize,
    weights_show,
)
from adacode_cli.cli.boundary import ended_by_interruption, invocation_of
from adacode_cli.cli.configuration import Program
from adacode_cli.cli.options import AsJson, HubRepo, Verbose, flag
from adacode_cli.cli.status import showing
from adacode_cli.cli.streams import printable, stderr_console, write_line
from adacode_cli.errors import OutputError, UsageError

if TYPE_CHECKING:
    from adacode_cli.checkpoints.catalogue import Catalogue, Entry
    from adacode_cli.checkpoints.location import Location
    from adacode_cli.checkpoints.release import OnProgress

app = Program(
    help="List, download, convert, export, average, pair, bundle, push, quantize and show weights.",
    no_args_is_help=True,
)

_LIST_EPILOG = """Examples:

  adacode weights list
  adacode weights list --json | jq -r '.[] | select(.state == "absent") | .name'"""

_PULL_EPILOG = """Examples:

  adacode weights pull published-sr-x4
  adacode weights pull published --yes
  adacode weights pull compact --hub-repo OWNER/REPO
  adacode weights pull hub:OWNER/REPO@v2
  adacode weights pull hub:OWNER/REPO@v2/my.safetensors

The files' paths are printed on standard output."""

_CONVERT_EPILOG = """Example:

  adacode weights convert AdaCode_SR_X4_model_g.pth mine.safetensors
  adacode sr photos --weights mine.safetensors"""

# Columns of the table, and of its last column where names are very long.
_WIDTH, _MIN_LICENCE = 80, 16
# Columns of a download: its bar, and all beside name and bar, with room for the echo of Ctrl-C.
_BAR, _NARROW_BAR, _BESIDE_NAME_AND_BAR, _BESIDE_IN_NARROW = 16, 8, 43, 31


@app.command("list", epilog=_LIST_EPILOG)
def list_weights(
    context: typer.Context,
    json: Annotated[bool, flag("--json", help="Write a JSON array to standard output.")] = False,
    hub_repo: HubRepo = None,
) -> None:
    """List every set of weights by name, and whether its files are on this machine."""
    from adacode_cli.checkpoints import catalogue_file, store

    invocation_of(context, json=json)
    catalogue = catalogue_file.load()
    rows = [_row(entry, catalogue, store.state(entry, catalogue, hub_repo=hub_repo)) for entry in catalogue.entries]
    if json:
        write_line(dumps(rows))
        return
    for line in _table(rows):
        write_line(line)


@app.command("pull", epilog=_PULL_EPILOG, no_args_is_help=True)
def pull(
    context: typer.Context,
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME", help="Names or families from 'adacode weights list', or hub:OWNER/REPO[/FILE]."),
    ],
    *,
    yes: Annotated[
        bool, flag("--yes", "-y", help="Do not ask before several published checkpoints are downloaded.")
    ] = False,
    hub_repo: HubRepo = None,
    json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """Download weights that are not bundled, and verify them.

    If several published checkpoints are to be downloaded, their sizes and licences, and where they go, are printed
    first; a terminal asks once.
    """
    from adacode_cli.checkpoints import catalogue_file, location

    invocation_of(context, json=json, verbose=verbose)
    catalogue, pulled = catalogue_file.load(), list[dict[str, str]]()

    def arrived(name: str, path: Path) -> None:
        pulled.append({"name": name, "path": str(path)})
        if not json:
            write_line(str(path))

    wanted = [location.parse(name, catalogue) for name in names]
    weights_plan.announce(
        (entry for place in wanted for entry in _entries(place, catalogue)), catalogue, yes=yes, quiet=json
    )
    with ended_by_interruption("what has arrived is kept; the same command continues"):
        for name, place in zip(names, wanted, strict=True):
            for entry in _entries(place, catalogue):
                _pull_entry(entry, catalogue, hub_repo, arrived, quiet=json)
            for path in _pulled_from_hub(name, place, quiet=json):
                arrived(name, path)
    if json:
        write_line(dumps({"version": 1, "files": pulled}))


@app.command("convert", epilog=_CONVERT_EPILOG, no_args_is_help=True)
def convert(
    context: typer.Context,
    source: Annotated[
        Path, typer.Argument(metavar="FILE.pth", help="A published AdaCode checkpoint (.pth, .pt, .ckpt).")
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="The file to write.")],
    *,
    overwrite: Annotated[bool, flag("--overwrite", help="Replace OUT if it exists.")] = False,
    json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """Convert a published checkpoint into a file for --weights."""
    invocation_of(context, json=json, verbose=verbose)
    if target.suffix.lower() != ".safetensors":
        raise UsageError(f"{target} does not end in .safetensors", hint="Choose a name that ends in .safetensors.")
    if target.exists() and not overwrite:
        raise OutputError("exists already", path=target, hint="Add --overwrite, or choose another name.")
    with ended_by_interruption(), showing(f"converting {source}", quiet=json):
        from adacode_cli.batch.kept import Kept
        from adacode_cli.checkpoints.load import convert_published

        Kept().refuse([source], [target], "OUT.safetensors")
        convert_published(source, target)
    if json:
        write_line(dumps({"version": 1, "source": str(source), "file": str(target)}))
        return
    stderr_console().print(printable(f"{source} -> {target}"))


app.command("export", epilog=weights_export.EPILOG, no_args_is_help=True)(weights_export.export)
app.command("average", epilog=weights_make.AVERAGE_EPILOG, no_args_is_help=True)(weights_make.average)
app.command("pair", epilog=weights_make.PAIR_EPILOG, no_args_is_help=True)(weights_make.pair)
app.command("bundle", epilog=weights_make.BUNDLE_EPILOG, no_args_is_help=True)(weights_make.bundle)
app.command("push", epilog=weights_push.EPILOG, no_args_is_help=True)(weights_push.push)
app.command("quantize", epilog=weights_quantize.EPILOG, no_args_is_help=True)(weights_quantize.quantize)
app.command("show", epilog=weights_show.EPILOG, no_args_is_help=True)(weights_show.show)


def _entries(place: Location, catalogue: Catalogue) -> list[Entry]:
    """The entries of the catalogue that a name means; none for files."""
    from adacode_cli.checkpoints import location

    match place:
        case location.EntryName(name):
            return [catalogue.entry(name)]
        case location.FamilyName(name):
            return [entry for entry in catalogue.entries if entry.family == name]
        case _:
            return []


def _pulled_from_hub(name: str, place: Location, *, quiet: bool) -> tuple[Path, ...]:
    """The files of an address on the Hub; none for names of the catalogue. Raises UsageError for what is here."""
    from adacode_cli.checkpoints import bundles, location

    if isinstance(place, location.LocalFile | location.LocalBundle):
        kind = "file" if isinstance(place, location.LocalFile) else "folder"
        raise UsageError(f"{name} is a {kind} on this machine already", hint="Give it to --weights.")
    if isinstance(place, location.EntryName | location.FamilyName):
        return ()
    if not quiet:
        _say(f"asking for {name}")  # the Hub's client draws a bar of its own, when bytes arrive
    if isinstance(place, location.HubFile):
        return (bundles.fetch_file(place),)
    return bundles.open_bundle(place).all_paths()


def _pull_entry(
    entry: Entry, catalogue: Catalogue, hub_repo: str | None, arrived: Callable[[str, Path], None], *, quiet: bool
) -> None:
    from adacode_cli.checkpoints import store

    def convert_late(source: Path, target: Path) -> None:
        from adacode_cli.checkpoints.load import convert_published  # torch, which only this needs

        convert_published(source, target)

    with _download_bar(entry.name, quiet=quiet) as on_progress:
        paths = store.resolve(
            entry, catalogue, convert=convert_late, allow_download=True, hub_repo=hub_repo, on_progress=on_progress
        )
    for path in paths:
        arrived(entry.name, path)


@contextmanager
def _download_bar(name: str, *, quiet: bool) -> Iterator[OnProgress]:
    """A progress bar if standard error is a terminal: amount, speed and remaining time; otherwise nothing."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = stderr_console()
    is_wide = console.width >= _WIDTH
    speed, bar_width = ((TransferSpeedColumn(),), _BAR) if is_wide else ((), _NARROW_BAR)
    room = console.width - bar_width - (_BESIDE_NAME_AND_BAR if is_wide else _BESIDE_IN_NARROW)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width), DownloadColumn())
    off = quiet or not console.can_change_lines
    with Progress(*columns, *speed, TimeRemainingColumn(), console=console, disable=off) as progress:
        shown = printable(name)
        task = progress.add_task(shown if len(shown) <= room else f"{shown[: room - 1]}…", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
        if not progress.tasks[0].completed:  # nothing had to be downloaded
            progress.remove_task(task)


def _say(text: str) -> None:
    if stderr_console().is_terminal:
        stderr_console().print(Text(printable(text), style="dim"))


def _row(entry: Entry, catalogue: Catalogue, state: str) -> dict[str, object]:
    sizes = [catalogue.file(name).bytes for name in entry.files]
    return {
        "name": entry.name,
        "family": entry.family,
        "task": entry.task,
        "scale": entry.scale,
        "scales": list(catalogue.scales_of(entry)),
        "state": state,
        "bytes": None if None in sizes else sum(size for size in sizes if size is not None),
        "files": list(entry.files),
        "licence": entry.licence,
        "source": entry.source,
        "base_model": entry.base_model,
        "denoise": entry.denoise,
    }


def _table(rows: list[dict[str, object]]) -> Iterator[str]:
    """Lines of at most 80 columns: one for each entry (more if its licence is long), then remarks on some entries."""
    header = ("NAME", "TASK", "SIZE", "STATE", "LICENCE")
    cells = [header, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(header) - 1)]
    for *short, licence in cells:
        first = "".join(f"{cell.ljust(width)}  " for cell, width in zip(short, widths, strict=True))
        width = max(_WIDTH, len(first) + _MIN_LICENCE)
        yield from wrap(licence, width, initial_indent=first, subsequent_indent=" " * len(first))
    for base in dict.fromkeys(str(row["base_model"]) for row in rows if row["base_model"]):
        yield from _remark(f"Made from {base}, whose licence and notice apply to them:", rows, "base_model", base)
    if any(row["denoise"] for row in rows):
        yield from _remark("With selectable noise removal (--denoise):", rows, "denoise", True)


def _remark(text: str, rows: list[dict[str, object]], key: str, value: object) -> Iterator[str]:
    """An empty line, the text, and the names of the rows that it is about."""
    names = ", ".join(str(row["name"]) for row in rows if row[key] == value)
    yield ""
    yield from wrap(text, _WIDTH)
    yield from wrap(names, _WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


def _cells(row: dict[str, object]) -> tuple[str, str, str, str, str]:
    size, scales = row["bytes"], cast(list[int], row["scales"])
    task = " ".join((str(row["task"]), *(f"x{scale}" for scale in scales if scale != 1)))
    shown = f"{size / 1e6:.1f} MB" if isinstance(size, int) else "?"
    return str(row["name"]), task, shown, str(row["state"]), str(row["licence"])
