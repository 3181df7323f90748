"""`--watch`: one run without an end, over folders into which files come at any time.

The files that lie there at the start are taken as an ordinary run takes them, so a start after a break makes what is
missing. Options that mean a single file, a list or a plan are refused.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from adacode_cli.cli.console import console_for
from adacode_cli.cli.executing import executing
from adacode_cli.cli.loading import description_of
from adacode_cli.cli.log_file import logged
from adacode_cli.cli.restore_options import RestoreOptions, is_stdin
from adacode_cli.cli.restore_plan import Request, choice_of, trees_of
from adacode_cli.errors import UsageError

if TYPE_CHECKING:
    from adacode_cli.batch.arrivals import Watched
    from adacode_cli.batch.trees import Trees

DEFAULT_INTERVAL_S = 2.0


def check_watch(inputs: Sequence[str], options: RestoreOptions, request: Request) -> None:
    """Raises UsageError for options and inputs that have no meaning for a watch."""
    if is_stdin(list(inputs)):
        hint = "Name a directory, or leave out --watch."
        raise UsageError("--watch cannot be used with '-', because standard input is one image", hint=hint)
    if options.from_file is not None:
        hint = "Name the directories on the command line; --include and --exclude choose files in them."
        raise UsageError("--watch and --from-file cannot be combined", hint=hint)
    if options.dry_run:
        hint = "Leave out --watch to see what would be done with the files that are there now."
        raise UsageError("--watch and --dry-run cannot be combined", hint=hint)
    if request.hole is not None and request.hole.mask_dir is not None:
        hint = "Use --mask-alpha, --mask-color, --detect or one --mask FILE for all images."
        raise UsageError("--watch and --mask-dir cannot be combined: a mask may come after its image", hint=hint)


def watch_folders(inputs: list[Path], options: RestoreOptions, request: Request, places: dict[str, str]) -> int:
    """Restores what is and what comes in the folders `inputs`, until an error or a signal ends the program.

    places: as in `Report`.

    Raises AdaCodeError and KeyboardInterrupt, after the summary.
    """
    from adacode_cli.batch.arrivals import looks
    from adacode_cli.batch.output_files import check_directories
    from adacode_cli.batch.run import watch

    _check_folders(inputs)
    trees = trees_of(options, request)
    watched = _watched(inputs, options, request, trees)
    _check_places(inputs, watched.roots)
    check_directories(watched.roots)
    trees.begin(watched.roots)
    console = console_for(request.task, quiet=options.quiet, verbose=options.verbose, as_json=options.json, live=False)
    with console.waiting("looking for images, and for results that exist"):
        present = [] if options.skip_existing else watched.search().jobs
        trees.check_options(present)
    interval_s = DEFAULT_INTERVAL_S if options.watch_interval is None else options.watch_interval
    seen_by_all = (*inputs, *request.mask_paths)
    with console, executing(options, description_of(options, request), console, seen_by_all) as (executor, weights):
        trees.with_weights(weights, present)
        del present
        with logged(options.log_file, console.on_event) as log:
            for given in inputs:
                console.note(str(given), f"watched, every {interval_s:g} s; Ctrl-C ends it")
            plans = looks(watched, interval_s)
            report = watch(
                plans,
                executor,
                watched.roots,
                on_event=log.on_event,
                trees=trees,
                log_error=log.error,
                places=places,
            )
        return report.exit_code


def _check_folders(inputs: Sequence[Path]) -> None:
    for given in inputs:
        if not given.is_dir():
            raise UsageError(f"--watch needs directories, and {given} is none", hint="Name the directory it lies in.")


def _check_places(inputs: Sequence[Path], roots: Sequence[Path]) -> None:
    """Raises UsageError if results would come into a watched folder as if they were new images.

    A folder of results inside a watched folder is never searched.
    """
    for root in roots:
        for given in inputs:
            real_root, real = os.path.realpath(root), os.path.realpath(given)
            if real == real_root or real.startswith(real_root.rstrip(os.sep) + os.sep):
                where = "is watched" if real_root == real else f"contains {given}, which is watched"
                hint = "Choose another directory with -o; it may lie inside the one that is watched."
                raise UsageError(f"the directory of results {root} {where}", hint=hint)


def _watched(inputs: list[Path], options: RestoreOptions, request: Request, trees: Trees) -> Watched:
    from adacode_cli.batch.arrivals import Watched

    choice = choice_of(inputs, options, request)
    choice.naming.check(inputs)
    roots = tuple(choice.naming.root_of(given) for given in inputs)
    return Watched(
        tuple(inputs),
        choice.naming,
        choice.selection,
        choice.on_existing,
        choice.writes.kept,
        trees.may_go_on,
        partial(trees.look_again, roots),
        partial(choice.writes.check, wrote=trees.wrote, overwrite=options.overwrite),
        choice.shard,
        choice.refit,
        options.strict and not request.from_codes,
    )
