"""`adacode weights export`: writes weights in a form that other programs read."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from adacode_cli.cli.boundary import ended_by_interruption, invocation_of
from adacode_cli.cli.options import AsJson, HubRepo, Verbose, flag
from adacode_cli.cli.restore_options import Denoise
from adacode_cli.cli.status import showing
from adacode_cli.cli.streams import printable, stderr_console, write_line
from adacode_cli.errors import OutputError, UsageError

if TYPE_CHECKING:
    from adacode_cli.export.whole import Whole

EPILOG = """Examples:

  adacode weights export compact-sr-x4 --to single -o sr-x4.safetensors
  adacode weights export compact-sr-x4 --to onnx -o sr-x4.onnx
  adacode weights export compact-sr-x4 --to onnx --denoise 0.3 -o grainy.onnx
  adacode weights export mine/mine-sr-x4 --to single -o mine.safetensors

The file's path is printed on standard output."""

_SUFFIXES = {"single": ".safetensors", "published": ".pth", "onnx": ".onnx"}


def export(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A name from 'adacode weights list', a file, DIR/ENTRY of a bundle, or hub:OWNER/REPO[/FILE].",
        ),
    ],
    *,
    to: Annotated[
        Literal["single", "published", "onnx"],
        typer.Option(
            metavar="FORMAT",
            help="single: one .safetensors file with all parts. published: a .pth in the layout of the AdaCode "
            "authors. onnx: an .onnx model.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="The file to write.")],
    denoise: Denoise = 1.0,
    overwrite: Annotated[bool, flag("--overwrite", help="Replace OUT if it exists.")] = False,
    hub_repo: HubRepo = None,
    json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """Write weights in a form that other programs read.

    Nothing in OUT depends on another file. The published layout holds networks of the published shape only. An ONNX
    model takes images of any size; onnxruntime runs it before it is written, and its results have to be those of the
    network. Both have one strength of noise removal, --denoise; a single file keeps all of them.
    """
    invocation_of(context, json=json, verbose=verbose)
    with ended_by_interruption():
        _check_output(output, to, overwrite=overwrite)
        _check_format(to, denoise)
        whole = _loaded(name, hub_repo, output, denoise, quiet=json)
        with showing(f"writing {output}", quiet=json):
            notes = _written(whole, name, to, output)
    size, licence = output.stat().st_size, whole.weights.provenance.whole_licence
    if json:
        found = {"name": name, "to": to, "file": str(output), "bytes": size, "licence": licence or None}
        write_line(dumps({"version": 1, **found, "notes": notes}))
        return
    for note in [f"{size / 1e6:.1f} MB, licence: {licence or 'not stated'}", *notes]:
        stderr_console().print(Text(printable(note), style="dim"))
    write_line(str(output))


def _loaded(name: str, hub_repo: str | None, output: Path, denoise: float, *, quiet: bool) -> Whole:
    """The weights, with an error where the output would replace one of their files."""
    with showing(f"loading {name}", quiet=quiet):
        from adacode_cli.batch.kept import Kept
        from adacode_cli.checkpoints.load import WeightsSource
        from adacode_cli.export.whole import at_strength, whole_of

        whole = at_strength(whole_of(WeightsSource(name, hub_repo)), denoise)
        Kept().refuse(whole.files, [output], "-o OUT")
    return whole


def _check_output(output: Path, to: str, *, overwrite: bool) -> None:
    suffix = _SUFFIXES[to]
    if output.suffix.lower() != suffix:
        raise UsageError(
            f"{output} does not end in {suffix}", hint=f"With --to {to}, the name of OUT ends in {suffix}."
        )
    if output.is_dir():
        raise OutputError("is a directory", path=output, hint="Choose another name.")
    if output.exists() and not overwrite:
        raise OutputError("exists already", path=output, hint="Add --overwrite, or choose another name.")


def _check_format(to: str, denoise: float) -> None:
    """Raises UsageError for a strength that the format does not have, and where libraries for it are missing."""
    if to == "single" and denoise != 1:
        hint = "Leave it out, and give it to `adacode sr` with the new file."
        raise UsageError("--to single keeps every strength of --denoise", hint=hint)
    if to == "onnx":
        from adacode_cli.export.onnx_model import require_libraries

        require_libraries()


def _written(whole: Whole, name: str, to: str, output: Path) -> list[str]:
    """Writes the file. What there is to say about it."""
    notes = []
    if to == "single":
        from adacode_cli.export.whole import write_whole

        write_whole(whole, output)
    elif to == "published":
        from adacode_cli.export.published import write_published

        left_out = write_published(whole.weights, whole.own_file, output)
        notes += [f"note: left out: {what}" for what in left_out]
    else:
        from adacode_cli.checkpoints.location import HUB_PREFIX
        from adacode_cli.export.onnx_model import write_onnx

        # Without its folders, which are private to the user.
        shown = name if name.startswith(HUB_PREFIX) else Path(name).stem
        notes += write_onnx(whole.weights, shown, whole.own_file, output)
    provenance = whole.weights.provenance
    if provenance.base_model:
        notes.append(f"made from {provenance.base_model}; {_about_notice(provenance.base_model, to)}")
    return notes


def _about_notice(base_model: str, to: str) -> str:
    """What somebody who passes the file on has to do for the authors of its base model."""
    from adacode_cli.checkpoints.base_models import notice_of
    from adacode_cli.checkpoints.catalogue_file import weights_folder

    name = notice_of(base_model)
    if name is None:
        return "the licence and the notice of its authors apply to the file"
    if to == "onnx":
        return "the notice of its authors is in the metadata"
    return f"pass on the notice of its authors with the file: {weights_folder() / name}"
