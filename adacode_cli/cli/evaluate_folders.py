"""`adacode eval folders`: images that any program has restored, against their originals, several methods in a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from adacode_cli.cli.boundary import ended_by_interruption, invocation_of
from adacode_cli.cli.options import AsJson, DeviceName, Verbose, with_option_groups
from adacode_cli.cli.scores_csv import Csv, check_csv, line_of, write_csv
from adacode_cli.cli.scores_table import FORMS, cells_of, drawn
from adacode_cli.cli.status import TimedCount, showing
from adacode_cli.cli.streams import printable, write_line
from adacode_cli.errors import UsageError

if TYPE_CHECKING:
    from adacode_cli.evaluation.folders import MethodScores
    from adacode_cli.evaluation.pairs import Pair

EPILOG = """Examples:

  adacode sr testset/lr_x4 -o ours && adacode eval folders testset/hr ours
  adacode eval folders testset/hr ours theirs=elsewhere/x4 --csv scores.csv

Files belong together by name; that of a restored one may go on, as in
0001x4.png. It may lack up to 7 pixels at the right and the bottom."""


@dataclass(frozen=True)
class FolderOptions:
    """How folders are compared."""

    mask_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Masks of holes (white): PSNR is then measured inside them."),
    ] = None
    perceptual: Annotated[str, typer.Option(metavar="NAME", help="As of 'adacode eval sr'; '' for none.")] = "lpips"
    csv: Csv = None
    device: DeviceName = "auto"
    json: AsJson = False
    verbose: Verbose = 0


@with_option_groups
def folders(
    context: typer.Context,
    originals: Annotated[Path, typer.Argument(metavar="ORIGINALS", help="A directory of originals.")],
    restored: Annotated[
        list[str],
        typer.Argument(metavar="RESTORED", help="A directory for each method, or NAME=DIRECTORY."),
    ],
    options: FolderOptions,
) -> None:
    """Measure restored images that exist already, of one method or several, against their originals.

    PSNR (dB) and SSIM on luma without a border of 4 pixels, LPIPS on RGB; with --mask-dir, PSNR of RGB inside the
    holes.
    """
    invocation_of(context, json=options.json, verbose=options.verbose)
    named, count = _named(restored), TimedCount()
    with ended_by_interruption(count.left_by_an_interruption):
        found = _measured(originals, named, options, count)
    if options.csv is not None:
        rows = ((method.name, row) for method in found for row in method.rows)
        write_csv(options.csv, (line_of(name, row.name, row.scores, cut=row.cut) for name, row in rows))
    if options.json:
        write_line(dumps(_json_object(originals, found, options)))
        return
    for line in _table_lines(found, options):
        write_line(line)


def _named(restored: list[str]) -> dict[str, Path]:
    """Name → folder of each method. Raises UsageError for two of one name."""
    named: dict[str, Path] = {}
    for text in restored:
        before, equals, after = text.partition("=")
        has_name = bool(equals and before and after) and not Path(text).is_dir()
        folder = Path(after if has_name else text)
        name = before if has_name else folder.resolve().name
        if name in named:
            hint = f"Name them: first={named[name]} second={folder}."
            raise UsageError(f"two methods have the name {name}", hint=hint)
        named[name] = folder
    return named


def _measured(
    originals: Path, named: dict[str, Path], options: FolderOptions, count: TimedCount
) -> tuple[MethodScores, ...]:
    with showing("looking for images", quiet=options.json) as show_line:
        from adacode_cli.evaluation.folders import Method, compare_folders, find_masks, find_methods

        methods, masks = find_methods(originals, named), find_masks(originals, options.mask_dir)
        if options.csv is not None:
            read = [path for method in methods for pair in method.pairs for path in (pair.original, pair.restored)]
            check_csv(options.csv, [*read, *masks.values()], [originals, *named.values()])
        from adacode_cli.engine.device import choose_device
        from adacode_cli.evaluation.perceptual import load_perceptual

        count.total = sum(len(method.pairs) for method in methods)

        def show(method: Method, pair: Pair) -> None:
            show_line(f"{count.next()} {method.name}: {pair.name}")

        perceptual = load_perceptual(options.perceptual, choose_device(options.device))
        return compare_folders(methods, masks, perceptual, show)


def _json_object(originals: Path, found: tuple[MethodScores, ...], options: FolderOptions) -> dict[str, object]:
    """All figures, unrounded; keys and meanings as docs/json.md has them."""
    return {
        "version": 1,
        "originals": str(originals),
        "perceptual": options.perceptual or None,
        "border_px": _border_px(options),
        "images": len(found[0].rows),
        "methods": [
            {
                "name": method.name,
                "folder": str(method.folder),
                "means": asdict(method.means),
                "rows": [asdict(row) for row in method.rows],
            }
            for method in found
        ],
        "csv": None if options.csv is None else str(options.csv),
    }


def _border_px(options: FolderOptions) -> int:
    from adacode_cli.evaluation.metrics import BORDER_PX

    return 0 if options.mask_dir is not None else BORDER_PX


def _table_lines(found: tuple[MethodScores, ...], options: FolderOptions) -> list[str]:
    """A line for each method with its means, then what the figures are."""
    from adacode_cli.evaluation.perceptual import perceptual_title

    distance = printable(perceptual_title(options.perceptual))
    kinds = [kind for kind in FORMS if getattr(found[0].means, kind[0]) is not None]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("method", no_wrap=True)
    for key, title, _ in kinds:
        table.add_column(distance if key == "perceptual" else title, justify="right")
    for method in found:
        table.add_row(Text(printable(method.name)), *cells_of(kinds, method.means))
    border = _border_px(options)
    what = "PSNR in dB and SSIM, of luma" if border else "PSNR in dB, of RGB inside the holes"
    lines = [*drawn(table), "", f"means of {len(found[0].rows)} images"]
    lines.append(f"{what}{f' without a border of {border} px' if border else ''}. Higher is better.")
    if options.perceptual:
        lines.append(f"{distance}: {printable(options.perceptual)}, of whole RGB images. Lower is better.")
    lines += [
        f"{printable(method.name)}: {num} originals were cut at the right or the bottom to the size of the image"
        for method in found
        if (num := sum(row.cut for row in method.rows))
    ]
    if options.csv is not None:
        lines.append(f"every image: {printable(str(options.csv))}")
    return lines
