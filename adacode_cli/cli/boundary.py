"""The one place where an exception becomes a message and an exit code.

A person sees what failed, on which file, and what to do next, and no traceback unless they ask with -v; a program
that asked for `--json` gets the same as an event. Whatever is not an `AdaCodeError` is a bug of ours: its traceback is
kept and shown, with exit code 1. An error of the system is not a bug, even where the command did not expect it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import typer

from adacode_cli.cli import json_events
from adacode_cli.cli.signals import interruptible
from adacode_cli.cli.streams import StdoutClosedError, error_text, show_trace, stderr_console, write_line
from adacode_cli.errors import (
    EXIT_BUG,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    AdaCodeError,
    InputError,
    OutputError,
    UsageError,
    reason,
)

# The base of what the command-line library raises. Its class is not Typer's own, and which one it is depends on Typer.
_ClickException = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
_NO_WRITING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EPIPE})
_BUG_TEXT = "This is a bug in adacode, not a mistake of yours. Please report it with all of the text above."


@dataclass
class Invocation:
    """What the boundary must know about the command that is running; commands set it as soon as they can.

    `exit_code` is that of a command that ends without an exception.
    """

    json: bool = False
    verbose: bool = False
    exit_code: int = EXIT_DONE


def invocation_of(context: typer.Context, *, json: bool = False, verbose: bool = False) -> Invocation:
    """The invocation that a command runs in, with how the command was asked to report errors."""
    invocation = context.ensure_object(Invocation)
    invocation.json, invocation.verbose = json, verbose
    return invocation


def guarded(command: Callable[[Invocation], object]) -> int:
    """Runs `command` and returns the exit code of whatever becomes of it."""
    invocation = Invocation()
    try:
        command(invocation)
    except AdaCodeError as error:
        return _told(error, invocation)
    except StdoutClosedError:
        return OutputError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except SystemExit as end:  # how the command-line library ends where nobody reads standard output any more
        return _code_of(end, invocation)
    except Exception as error:  # noqa: BLE001 - the boundary: shown with its traceback, never swallowed
        return _told_other(error, invocation)
    return invocation.exit_code


def _told_other(error: Exception, invocation: Invocation) -> int:
    """What the command-line library or the system says is no bug."""
    if type(error).__name__ == "NoArgsIsHelpError":  # the help was shown when this was made
        return UsageError.exit_code
    if isinstance(error, _ClickException):
        return _told(_usage_error(error), invocation)
    known = _of_the_system(error) if isinstance(error, OSError | MemoryError) else None
    return _told(known, invocation) if known else _told_bug(error, invocation)


def _usage_error(error: Any) -> UsageError:  # noqa: ANN401 (a class that cannot be named, see above)
    message = str(error.format_message()).rstrip(".")
    # What checks the values calls them "input", which is an image here.
    message = message.replace(": Value error, ", ": ").replace(": Input should be ", ": it must be ")
    command = error.ctx.command_path if getattr(error, "ctx", None) else "adacode"
    return UsageError(message[:1].lower() + message[1:], hint=f"'{command} --help' shows what there is.")


def _of_the_system(error: OSError | MemoryError) -> AdaCodeError | None:
    """What a person can do about an answer of the system that no command expected, such as to an overlong path."""
    if isinstance(error, MemoryError):
        return InputError("there is not enough memory", hint="Close other programs, or give it less to do at once.")
    if error.filename is not None:
        return InputError(reason(error), path=os.fsdecode(error.filename), hint="Check the path and its disk.")
    if error.errno == errno.ENOENT:
        return InputError("the working directory does not exist any more", hint="Change to one that exists.")
    if error.errno in _NO_WRITING:
        return OutputError(f"cannot be written: {reason(error)}", hint="Check where standard output leads to.")
    return None


def _told(error: AdaCodeError, invocation: Invocation) -> int:
    if invocation.verbose:
        show_trace(error)
    if invocation.json:
        _emit(json_events.error(error))
    else:
        stderr_console().print(error_text(error))
    return error.exit_code


def _told_bug(error: Exception, invocation: Invocation) -> int:
    show_trace(error)
    summary = f"{type(error).__name__}: {error}"
    if invocation.json:
        _emit(json_events.bug(summary))
    stderr_console().print(_BUG_TEXT)
    return EXIT_BUG


def _emit(line: str) -> None:
    try:
        write_line(line)
    except (StdoutClosedError, OutputError):
        return  # the exit code still tells


def _code_of(end: SystemExit, invocation: Invocation) -> int:
    if end.code in (None, EXIT_DONE):
        return invocation.exit_code
    if end.code == EXIT_BUG:  # how Typer and rich end when nobody reads standard output any more
        return OutputError.exit_code
    return end.code if isinstance(end.code, int) else EXIT_BUG


@contextmanager
def ended_by_interruption() -> Iterator[None]:
    """Within the block SIGINT, SIGTERM and SIGHUP unwind the work and end the command. For the main thread."""
    try:
        with interruptible():
            yield
    except KeyboardInterrupt as error:
        raise typer.Exit(EXIT_INTERRUPTED) from error
