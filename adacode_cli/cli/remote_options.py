"""What cannot be done where inputs, outputs or masks are addresses; it is refused before anything else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adacode_cli.cli.option_values import require_writable
from adacode_cli.cli.restore_options import RestoreOptions
from adacode_cli.cli.restore_plan import Request
from adacode_cli.errors import UsageError
from adacode_cli.storage.path import is_remote, was_address

_DOCS = "docs/storage.md lists what works with addresses."


def uses_addresses(paths: Sequence[Path], options: RestoreOptions, request: Request) -> bool:
    """Whether something of a run is at an address: an input, the output, masks, or files beside the outputs."""
    beside = (place for _, place in _beside(options, request))
    return any(is_remote(path) for path in (*paths, options.output, *request.mask_paths, *beside))


def _beside(options: RestoreOptions, request: Request) -> list[tuple[str, Path]]:
    """(option, place) of the options that name places for files beside the outputs."""
    places = {
        "--save-weights-map": options.save_weights_map,
        "--quarantine": options.quarantine,
        "--save-codes": request.save_codes,
        "--save-mask": request.hole.save_mask if request.hole else None,
    }
    return [(option, place) for option, place in places.items() if place is not None]


def check_addresses(paths: Sequence[Path], options: RestoreOptions, request: Request) -> None:
    """Raises UsageError for options that need local files, if something of the run is not local."""
    if options.log_file is not None and was_address(options.log_file):
        raise UsageError("--log-file must be a local path, not an address", hint=_DOCS)
    beside = _beside(options, request)
    for option, place in beside:
        if is_remote(place):
            require_writable(place, option)
        elif was_address(place):
            hint = f"Write an address with two slashes, such as s3://bucket/folder, or a local path. {_DOCS}"
            raise UsageError(f"{option} {place}: this is neither an address nor a local path", hint=hint)
    if not uses_addresses(paths, options, request):
        return
    for path in (*paths, options.output, *request.mask_paths, *(place for _, place in beside)):
        if is_remote(path) and path.scheme == "memory":
            hint = "Use a local path, or the address of a store."
            raise UsageError(
                f"{path}: a command has no files in memory, and would lose what it writes there", hint=hint
            )
    unsupported = {
        "--watch": options.watch,
        "--preserve-times": options.preserve_times,
    }
    for option, is_given in unsupported.items():
        if is_given:
            hint = f"Leave it out, or copy the files to a local disk first. {_DOCS}"
            raise UsageError(f"{option} works with local files only, and an address is given", hint=hint)


def check_no_address(options: RestoreOptions, request: Request) -> None:
    """Raises UsageError if the image on standard input would be written to an address, or has its mask there."""
    if uses_addresses((), options, request):
        hint = "Give the address of the input instead of '-', or use a local file."
        raise UsageError("an image on standard input cannot be combined with an address", hint=hint)
