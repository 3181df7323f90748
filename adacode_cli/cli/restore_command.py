"""What `sr`, `inpaint` and `reconstruct` have in common: from options to a finished run.

The order is: check the options, plan, (dry run ends here,) load the weights, run. So a mistake in a path is told
before anybody waits for a download or for torch to be imported.
"""

from __future__ import annotations

from pathlib import Path

import typer

from adacode_cli.cli.boundary import session_of
from adacode_cli.cli.console import console_for
from adacode_cli.cli.dry_run import show_plan
from adacode_cli.cli.loading import description_of
from adacode_cli.cli.log_file import logged
from adacode_cli.cli.pipe import restore_pipe
from adacode_cli.cli.restore_options import RestoreOptions, is_stdin
from adacode_cli.cli.restore_plan import Request, foresight_of, keeping_of, plan_of, trees_of
from adacode_cli.cli.signals import interruptible
from adacode_cli.errors import EXIT_INTERRUPTED, UsageError
from adacode_cli.limits import DECODING_LIMIT_S

# A run has this long to write what it has and to say how it ended; then the process ends in whatever it is doing.
_STOPS_WITHIN_S = 1.7


def restore(context: typer.Context, inputs: list[str] | None, options: RestoreOptions, request: Request) -> None:
    """Carries out a command and leaves its exit code in the session. Raises AdaCodeError."""
    session = session_of(context)
    session.json, session.verbose = options.json, options.verbose
    _check(options)
    with interruptible(limit_s=_STOPS_WITHIN_S):
        try:
            session.exit_code = _restored(_texts(inputs, options), options, request)
        except KeyboardInterrupt:
            session.exit_code = EXIT_INTERRUPTED


def _restored(inputs: list[str], options: RestoreOptions, request: Request) -> int:
    if options.from_file is None and is_stdin(inputs):
        return restore_pipe(options, request)
    return _files(inputs, options, request)


def _check(options: RestoreOptions) -> None:
    if options.skip_existing and options.overwrite:
        raise UsageError("--skip-existing and --overwrite contradict one another", hint="Drop one of the two.")
    if options.quiet and options.verbose:
        raise UsageError("--quiet and --verbose contradict one another", hint="Drop one of the two.")
    if not options.isolate and options.decode_timeout != DECODING_LIMIT_S:
        hint = "Drop one of the two: what is decoded in the run itself cannot be stopped."
        raise UsageError("--decode-timeout has no effect with --no-isolate", hint=hint)
    if options.null and options.from_file is None:
        raise UsageError("--null is about --from-file, which is not given", hint="Add --from-file LIST or drop it.")


def _texts(inputs: list[str] | None, options: RestoreOptions) -> list[str]:
    if options.from_file is None:
        if not inputs:
            raise UsageError("no input is given", hint="Name images or directories, or give --from-file a list.")
        if "" in inputs:
            hint = "A variable in a script may be empty; '.' is the working directory."
            raise UsageError("an input has an empty name", hint=hint)
        return inputs
    if inputs:
        raise UsageError("--from-file and inputs on the command line are both given", hint="Put all into the list.")
    return []


def _files(inputs: list[str], options: RestoreOptions, request: Request) -> int:
    from adacode_cli.batch.local import LocalExecutor
    from adacode_cli.batch.run import run
    from adacode_cli.cli.path_list import read_paths
    from adacode_cli.imaging.decoder_pool import decoding

    paths = [Path(text) for text in inputs]
    if options.from_file is not None:
        paths = read_paths(options.from_file, null=options.null)
    trees = trees_of(options, request)
    plan = plan_of(paths, options, request, trees)
    console = console_for(request.task, quiet=options.quiet, verbose=options.verbose, as_json=options.json)
    if options.dry_run:
        return show_plan(plan, console, trees, foresight_of(options, request), keeping_of(options))
    with console, decoding(isolated=options.isolate, limit_s=options.decode_timeout) as decoder:
        with console.waiting(f"loading {options.weights}"):
            stages, weights = description_of(options, request, plan.masks).stages(decoder)
        if plan.has_tree:
            trees.with_weights(weights, plan.jobs)
        with logged(options.log_file, console.on_event) as log:
            executor = LocalExecutor(stages, jobs=options.jobs)
            report = run(plan, executor, on_event=log.on_event, trees=trees, log_error=log.error)
        return report.exit_code
