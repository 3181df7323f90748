"""The one place where an exception becomes a message and an exit code.

A user sees what failed, on which file, and what to do next; the traceback is shown only with -vv. With `--json` the
same is written as an event. Every exception that is not an `AdaCodeError` is a bug in adacode: its traceback is shown,
and the exit code is 1. An error of the operating system is not a bug, even if the command did not expect it.
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
from adacode_cli.cli.signals import interruptible, last_words, say_at_a_signal
from adacode_cli.cli.streams import (
    StdoutClosedError,
    error_text,
    printable,
    show_trace,
    stderr_console,
    write_line,
)
from adacode_cli.errors import (
    EXIT_BUG,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    AdaCodeError,
    InputError,
    JournalError,
    OutputError,
    UsageError,
    reason,
)

# The base of what the command-line library raises. Its class is not Typer's own, and which one it is depends on Typer.
ClickException: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
_WRITE_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EPIPE})
_BUG_TEXT = "This is a bug in adacode, not a mistake of yours. Please report it with all of the text above."


@dataclass
class Invocation:
    """What the boundary must know about the running command; commands set it as soon as they can.

    `exit_code` is that of a command that ends without an exception.
    """

    json: bool = False
    verbose: int = 0
    exit_code: int = EXIT_DONE


def invocation_of(context: typer.Context, *, json: bool = False, verbose: int = 0) -> Invocation:
    """The invocation of a command; `json` and `verbose`, the number of -v, choose how its errors are reported."""
    invocation = context.ensure_object(Invocation)
    invocation.json, invocation.verbose = json, verbose
    return invocation


def guarded(command: Callable[[Invocation], object]) -> int:
    """Runs `command` and returns its exit code, also if it ends with an exception."""
    invocation = Invocation()
    try:
        command(invocation)
    except AdaCodeError as error:
        return _report(error, invocation)
    except StdoutClosedError:
        return OutputError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        say_last_words()
        return EXIT_INTERRUPTED
    except SystemExit as end:  # the command-line library raises it if nobody reads standard output any more
        return _code_of(end, invocation)
    except Exception as error:  # noqa: BLE001 - the boundary: shown with its traceback, never swallowed
        return _report_other(error, invocation)
    return invocation.exit_code


def _report_other(error: Exception, invocation: Invocation) -> int:
    """Reports an exception of the command-line library or of the system, which is no bug; or a bug."""
    if isinstance(error, ClickException):
        return _report(_usage_error(error), invocation)
    known = _system_error(error) if isinstance(error, OSError | MemoryError) else None
    return _report(known, invocation) if known else _report_bug(error, invocation)


def _usage_error(error: Any) -> UsageError:  # noqa: ANN401 (a class that cannot be named, see above)
    message = in_our_words(str(error.format_message()))
    context, option = getattr(error, "ctx", None), getattr(error, "param", None)
    hint = help_hint(context.command_path if context else "adacode")
    if context and option and came_from(context, option.name) == "ENVIRONMENT":
        hint = f"The value is that of the variable {variable_of(context, option)}. {hint}"
    return UsageError(message[:1].lower() + message[1:], hint=hint)


def help_hint(command: str) -> str:
    """What to do where nothing better is known about a mistake on the command line. command: with its full name."""
    return f"'{command} --help' lists what can be given."


def in_our_words(message: str) -> str:
    """A message of the library that checks values, which calls each of them "input"; here an input is an image."""
    message = message.rstrip(".").replace(": Value error, ", ": ").replace(": Input should be ", ": it must be ")
    return message.removeprefix("Value error, ").replace("Input should be ", "it must be ")


SOURCES = ("DEFAULT", "DEFAULT_MAP", "ENVIRONMENT", "COMMANDLINE")
"""Where the value of a parameter can come from; each counts more than those before it."""


def came_from(context: typer.Context, name: str) -> str:
    """Of `SOURCES`, where the value of the parameter `name` came from."""
    source = context.get_parameter_source(name)
    return source.name if source else "DEFAULT"


def variable_of(context: typer.Context, option: Any) -> str:  # noqa: ANN401 (a class that cannot be named, see above)
    """The environment variable that gives an option its value, if it is set."""
    own = [option.envvar] if isinstance(option.envvar, str) else option.envvar or ()
    return next((name for name in own if os.environ.get(name)), f"{context.auto_envvar_prefix}_{option.name.upper()}")


def _system_error(error: OSError | MemoryError) -> AdaCodeError | None:
    """What to report for an error of the system that no command expected, such as a path that is too long."""
    if isinstance(error, MemoryError):
        return InputError("there is not enough memory", hint="Close other programs, or use smaller inputs.")
    if error.filename is not None:
        is_permission = error.errno in (errno.EACCES, errno.EPERM)
        hint = "Check its permissions." if is_permission else "Check the path and its disk."
        return InputError(reason(error), path=os.fsdecode(error.filename), hint=hint)
    if error.errno == errno.ENOENT:
        return InputError("the working directory does not exist any more", hint="Change to one that exists.")
    if error.errno in _WRITE_ERRNOS:
        return OutputError(f"cannot be written: {reason(error)}", hint="Check where standard output is redirected to.")
    return None


def _report(error: AdaCodeError, invocation: Invocation) -> int:
    if invocation.verbose > 1:
        show_trace(error)
    if invocation.json:
        _emit(json_events.error(error))
    else:
        stderr_console().print(error_text(error))
    return error.exit_code


def _report_bug(error: Exception, invocation: Invocation) -> int:
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
        return  # the exit code still reports the error


def _code_of(end: SystemExit, invocation: Invocation) -> int:
    if end.code in (None, EXIT_DONE):
        return invocation.exit_code
    if end.code == EXIT_BUG:  # how Typer and rich end when nobody reads standard output any more
        return OutputError.exit_code
    return end.code if isinstance(end.code, int) else EXIT_BUG


def say_last_words() -> None:
    """Shows the last line of a command that a signal ended, unless it has shown one."""
    if last_words():
        stderr_console().print(printable(last_words()))
    say_at_a_signal("")


@contextmanager
def interruptions_named(limit_s: float | None = None) -> Iterator[None]:
    """As `interruptible`, and what a library makes of the KeyboardInterrupt, such as a ValueError, becomes one again.

    Results and journals that cannot be written are reported also after a signal.
    """
    with interruptible(limit_s) as was_interrupted:
        try:
            yield
        except (OutputError, JournalError):
            raise
        except Exception as error:
            if was_interrupted():
                raise KeyboardInterrupt from error
            raise


@contextmanager
def ended_by_interruption(
    what: str | Callable[[], str] = "the command was not finished; run it again",
) -> Iterator[None]:
    """Within the block, SIGINT, SIGTERM and SIGHUP stop the work and end the command. Use it in the main thread.

    what: what an interruption leaves, for a last line.
    """
    try:
        with interruptions_named():
            yield
    except KeyboardInterrupt as error:
        say_at_a_signal(f"interrupted: {what if isinstance(what, str) else what()}")
        say_last_words()
        raise typer.Exit(EXIT_INTERRUPTED) from error
