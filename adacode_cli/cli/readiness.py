"""What a run needs that can be checked in a moment, before anything else is reported: inputs, a mask, weights and the
device.

A missing input or mask, unknown weights and an absent device are mistakes on the command line. An output that exists
already is none, so it is reported after them.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from adacode_cli import formats
from adacode_cli.cli.executing import device_names
from adacode_cli.cli.restore_options import RestoreOptions
from adacode_cli.cli.restore_plan import Request
from adacode_cli.cli.slips import closest
from adacode_cli.errors import InputError
from adacode_cli.storage.objects import is_folder
from adacode_cli.storage.opening import require_library
from adacode_cli.storage.path import RemotePath, is_address, is_remote, path_of
from adacode_cli.tasks import TASKS

# With these, torch need not be imported to know that the device is there.
_ALWAYS_THERE = ("auto", "cpu")
_MAX_NAMES = 10_000


def check_ready(inputs: Sequence[str], options: RestoreOptions, request: Request) -> None:
    """Raises InputError, WeightsError, DeviceError or UsageError for the first mistake that is found.

    inputs: as they were typed; none for a list or a pipe.
    """
    _check_inputs(inputs, has_output=options.output is not None, are_watched=options.watch)
    check_mask(request)
    check_network(options, request)


def _check_inputs(inputs: Sequence[str], *, has_output: bool, are_watched: bool) -> None:
    """Raises InputError for the first input that does not exist, with what may be meant by it.

    has_output: whether -o is given. are_watched: whether they must be directories.
    """
    for path in (path_of(text) for text in inputs if is_address(text)):
        assert is_remote(path)
        require_library(path)
        is_folder(path)
    missing = [text for text in inputs if not is_address(text) and _is_missing(text)]
    if not missing:
        return
    Path.cwd()  # Where the working directory is gone, nothing is there, and that is the error.
    text, hint = missing[0], "Check the spelling; nothing was restored."
    message = "there is no such directory" if are_watched else "there is no such file or directory"
    if text.startswith("file://"):
        hint = f"Give the path alone: {shlex.quote(text.removeprefix('file://'))}."
    elif missing == [inputs[-1]] and not has_output and _may_be_output(inputs):
        near = _nearest_name(text)
        output = f"-o {shlex.quote(text)}"
        hint = f"Did you mean {output}? Otherwise check the spelling; nothing was restored."
        if near is not None and near not in inputs:
            hint = f"Did you mean {shlex.quote(near)}, or {output}? Nothing was restored."
    elif near := _nearest_name(text):
        hint = f"Did you mean {shlex.quote(near)}? Nothing was restored."
    elif are_watched:
        hint = "Create it, or check the spelling; nothing was restored."
    raise InputError(message, path=text, hint=hint)


def _is_missing(text: str) -> bool:
    """Whether there is no such entry; False for a name that cannot be looked up for another reason."""
    try:
        os.lstat(text)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
    return False


def _may_be_output(inputs: Sequence[str]) -> bool:
    """Whether the last of several inputs can be meant as the output of the others: a file only for one file."""
    *others, last = inputs
    names_file = formats.of_any_suffix(os.path.splitext(last)[1]) is not None  # noqa: PTH122
    return bool(others) and not (names_file and (len(others) > 1 or os.path.isdir(others[0])))  # noqa: PTH112


def check_mask(request: Request) -> None:
    """Raises InputError for a mask for all images that does not exist, or that is a directory."""
    mask = request.hole.mask if request.hole is not None else None
    if mask is None:
        return
    text = str(mask)
    if is_remote(mask):
        _check_remote_mask(mask)
        return
    if os.path.isdir(text):  # noqa: PTH112 (Path.is_dir raises for a name that is too long)
        hint = f"For a directory of masks, use --mask-dir {shlex.quote(text)}. Nothing was restored."
        raise InputError("the mask is a directory", path=text, hint=hint)
    if _is_missing(text):
        near = _nearest_name(text)
        meant = f"Did you mean --mask {shlex.quote(near)}?" if near else "Check the spelling of --mask."
        raise InputError("there is no such mask", path=text, hint=f"{meant} Nothing was restored.")


def _check_remote_mask(mask: RemotePath) -> None:
    require_library(mask)
    try:
        is_directory = is_folder(mask)
    except InputError as error:
        error.message = f"the mask: {error.message}"
        raise
    if is_directory:
        hint = f"For a directory of masks, use --mask-dir {shlex.quote(str(mask))}. Nothing was restored."
        raise InputError("the mask is a directory", path=mask, hint=hint)


def check_network(options: RestoreOptions, request: Request) -> None:
    """Raises WeightsError, DeviceError or UsageError for weights, a device or a precision that are not there."""
    from adacode_cli.checkpoints import presence

    task = TASKS[request.task]
    scales = request.sizing.possible_factors(task.scales) if task.enlarges else task.scales
    presence.require_present(options.weights, request.task, scales)
    if request.hole is not None and request.hole.detect is not None:
        presence.require_detector(request.hole.detect)
    if options.engine == "ray":
        return  # Its workers have devices of their own.
    if options.device not in _ALWAYS_THERE or options.precision == "int8":
        # The run needs torch in any case.
        from adacode_cli.engine import device

        for name in device_names(options):
            device.choose_precision(options.precision, device.choose_device(name), deep=False)


def _nearest_name(text: str) -> str | None:
    """A path beside `text` whose name is nearly the same, or None."""
    folder, name = os.path.split(text.rstrip("/"))
    try:
        names = os.listdir(folder or ".")  # noqa: PTH208 (only names are needed)
    except OSError:
        return None
    near = next((each for each in names if each.lower() == name.lower()), None)
    if near is None and 0 < len(names) <= _MAX_NAMES:
        near = closest(name, names)
    return os.path.join(folder, near) if near else None  # noqa: PTH118 (as it was typed)
