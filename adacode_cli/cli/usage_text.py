"""Mistakes on the command line, in words of ours: the command-line library's exceptions become a `UsageError`.

The library's own sentences differ between its versions, and some are those of a further library that checks values. So
a message is made from what an exception is about (an option, a value, a command) and from the option's declaration.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from adacode_cli import formats
from adacode_cli.cli.boundary import came_from, help_hint, in_our_words, variable_of
from adacode_cli.cli.reference import Command, has_value, is_option
from adacode_cli.cli.reference import Parameter as Option
from adacode_cli.cli.slips import command_for, is_of_others, option_hint, value_for
from adacode_cli.errors import UsageError

_EXTRA = re.compile(r"Got unexpected extra argument(?:s|\(s\))? \((.*)\)\.?", re.DOTALL)
_NUMBER = re.compile(r"[x×]?(\d{1,9}(?:\.\d{1,9})?) ?[x×%]?", re.IGNORECASE)
_LONG_WITH_ONE_HYPHEN = re.compile(r"-[A-Za-z][A-Za-z_-]+")


def as_usage_error(error: Any, context: typer.Context, typed: Sequence[str]) -> UsageError:  # noqa: ANN401
    """What an exception of the command-line library says about the command of `context` and its words `typed`."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    option = getattr(error, "param", None)
    hint = help_hint(context.command_path)
    if "NoSuchOption" in kinds:
        return no_option(error.option_name, context, typed)
    if "BadOptionUsage" in kinds:
        return UsageError(_bad_use(error.option_name, context), hint=hint)
    if "MissingParameter" in kinds and option is not None:
        return UsageError(f"{_name(option)} is missing", hint=hint)
    if "BadParameter" in kinds and option is not None:
        return _bad_value(str(error.message), option, context, typed)
    message = str(error.format_message())
    if found := _EXTRA.fullmatch(message):
        if context.info_name == "man":
            hint = f"The page is about all commands. One of them: adacode {shlex.quote(found[1])} --help."
        return UsageError(f"too much is given: {found[1]}", hint=hint)
    message = in_our_words(message)
    return UsageError(message[:1].lower() + message[1:], hint=hint)


def no_option(name: str, context: typer.Context, typed: Sequence[str]) -> UsageError:
    """The error for an option that the command of `context` does not have, with the one that may be meant."""
    at = next((at for at, word in enumerate(typed) if _is_this(word, name)), None)
    whole, equals, value = (name if at is None else typed[at]).partition("=")
    following = value if equals else typed[at + 1] if at is not None and at + 1 < len(typed) else None
    takes_inputs = any(parameter.name == "inputs" for parameter in context.command.params)
    suggestion = option_hint(whole, following, option_names(context), takes_inputs=takes_inputs)
    hint = help_hint(context.command_path)
    inner = getattr(context.command, "commands", {})
    if suggestion is None and (users := [child for child, one in inner.items() if whole in _names(one)]):
        suggestion = f"Give it after the command: {context.command_path} {users[0]} … {whole}."
    elif others := _users_of(whole, context):
        suggestion = f"It is an option of {others}."
    return UsageError(f"there is no option {whole}", hint=f"{suggestion} {hint}" if suggestion else hint)


def no_command(word: str, context: typer.Context, following: Sequence[str] = ()) -> UsageError:
    """The error for a command that the group of `context` does not have, with the one that may be meant.

    following: the words after it.
    """
    commands: Mapping[str, Command] = getattr(context.command, "commands", {})
    known = {name: list(getattr(command, "commands", ())) for name, command in commands.items()}
    group = " ".join(context.command_path.split()[1:])
    hint = f"'{context.command_path} --help' lists the commands."
    if word == "help" and following and following[0] in commands:
        hint = f"Did you mean {context.command_path} {following[0]} --help? {hint}"
    elif meant := command_for(word, group, known):
        hint = f"Did you mean {context.command_path} {meant}? {hint}"
    elif not group and os.path.exists(word):  # noqa: PTH110 (Path.exists raises for a name that is too long)
        whole = f"{context.command_path} sr {shlex.quote(word)}"
        hint = f"It is a file or a directory. Say what to do with it: {whole}. {hint}"
    return UsageError(f"there is no command {word!r}", hint=hint)


def refuse_single_hyphens(context: typer.Context, typed: Sequence[str]) -> None:
    """Raises UsageError for a long option with one hyphen. It would be read as a short one with a value: -output as
    -o utput, and the directory after it as an input.
    """
    names, before = option_names(context), ""
    with_value = {
        name for option in context.command.get_params(context) if _takes_value(option) for name in option.opts
    }
    for word in typed:
        if word == "--":
            return
        name = word.partition("=")[0]
        is_long = f"-{name}" in names or is_of_others(name)
        if is_long and name not in names and before not in with_value and _LONG_WITH_ONE_HYPHEN.fullmatch(name):
            raise no_option(name, context, typed)
        before = word


def expectation(command: Command, option: Option) -> str:
    """What the value of an option must be, as a sentence that begins with "it"; "" if its declaration does not say."""
    kind, info = _declared(command, option.name)
    if get_origin(kind) is Literal:
        return f"it must be {formats.in_words([str(choice) for choice in get_args(kind)], 'or')}"
    if kind is bool:
        return "it must be true or false"
    if kind not in (int, float):
        return ""
    number = "a whole number" if kind is int else "a number"
    low, high = getattr(info, "min", None), getattr(info, "max", None)
    if low is not None and high is not None:
        return f"it must be {number} from {_plain(low)} to {_plain(high)}"
    return f"it must be {number}" + (f" of at least {_plain(low)}" if low is not None else "")


def option_names(context: typer.Context) -> list[str]:
    """The names of all options that the command of `context` lists."""
    return _names(context.command, context)


def _names(command: Command, context: typer.Context | None = None) -> list[str]:
    options = command.params if context is None else command.get_params(context)
    return [name for one in options for name in (*one.opts, *one.secondary_opts) if name.startswith("-")]


def _users_of(name: str, context: typer.Context) -> str:
    """The commands beside that of `context` that have the option `name`, in words; "" if there are none."""
    commands = getattr(context.parent.command, "commands", {}) if context.parent else {}
    users = [word for word, command in commands.items() if name.startswith("--") and name in _names(command)]
    return formats.in_words([f"adacode {word}" for word in users]) if users else ""


def _takes_value(parameter: Option) -> bool:
    return is_option(parameter) and has_value(parameter)


def _is_this(word: str, name: str) -> bool:
    """Whether `word` is the typed word in which the library found the unknown option `name`."""
    return word.partition("=")[0] == name or (len(name) == 2 and not word.startswith("--") and word.startswith(name))


def _bad_use(name: str, context: typer.Context) -> str:
    option = next((one for one in context.command.get_params(context) if name in one.opts), None)
    if option is None or not _takes_value(option):
        return f"{name} takes no value"
    return f"{name} needs a value: {name} {option.metavar or 'VALUE'}"


def _bad_value(message: str, option: Option, context: typer.Context, typed: Sequence[str]) -> UsageError:
    """The error for a value that an option cannot have; the value and its place are named."""
    must = expectation(context.command, option) or in_our_words(message)
    hint = help_hint(context.command_path)
    name, plain = _name(option), _name(option).lstrip("-")
    if came_from(context, option.name) == "ENVIRONMENT":
        variable = variable_of(context, option)
        value, subject = os.environ.get(variable, ""), f"the variable {variable}"
        hint = f"It gives {name} its value. {hint}"
    else:
        given = context.command.make_parser(context).parse_args(list(typed))[0].get(option.name)
        value = " ".join(map(str, given)) if isinstance(given, list | tuple) else str(given)
        subject = name
    kind, info = _declared(context.command, option.name)
    choices = [str(one) for one in get_args(kind)] if get_origin(kind) is Literal else formats.names()
    if kind in (int, float):
        meant = _number_in(value, kind, getattr(info, "min", None), getattr(info, "max", None))
    else:
        meant = value_for(plain, value, choices if get_origin(kind) is Literal or plain == "format" else ())
    if meant:
        hint = f"Did you mean {name} {meant}? {hint}"
    return UsageError(f"{subject} cannot be {value!r}: {must}", hint=hint)


def _number_in(value: str, kind: type, least: float | None, most: float | None) -> str | None:
    """The number that somebody may mean who typed 4x, x4 or 95%; None where the option does not take it.

    kind: int or float. least, most: of the numbers that the option takes; up to 1, a percentage is a part of it.
    """
    found = _NUMBER.fullmatch(value)
    if found is None:
        return None
    number = float(found[1]) / (100 if value.endswith("%") and most == 1 else 1)
    is_taken = (least is None or number >= least) and (most is None or number <= most)
    return _plain(number) if is_taken and (kind is float or number.is_integer()) else None


def _name(option: Option) -> str:
    """The long name of an option; for an argument, what stands for it in the help."""
    long = [str(name) for name in option.opts if name.startswith("--")]
    return long[0] if long else str(option.metavar or option.name.upper())


def _declared(command: Command, name: str) -> tuple[Any, Any]:
    """(the type of a parameter without None, what Typer knows about it); (str, None) if it is not known."""
    hints = get_type_hints(command.callback, include_extras=True) if command.callback else {}
    annotation, info = hints.get(name, str), None
    if get_origin(annotation) is Annotated:
        annotation, *details = get_args(annotation)
        info = next((one for one in details if hasattr(one, "param_decls")), None)
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    is_optional = NoneType in get_args(annotation) and len(kinds) == 1
    return (kinds[0] if is_optional else annotation), info


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else f"{number:g}"
