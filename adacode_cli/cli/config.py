"""`adacode config show`: the value of each option of a command, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from json import dumps
from typing import Annotated, Any

import typer

from adacode_cli.cli.boundary import ClickException, invocation_of
from adacode_cli.cli.configuration import Loaded, Program, loaded_of, set_elsewhere, settle, without_overruled
from adacode_cli.cli.options import AsJson
from adacode_cli.cli.settings import PRESET, PRESETS, Words, commands_of, has_presets, options_of
from adacode_cli.cli.streams import write_line
from adacode_cli.errors import UsageError

app = Program(help="Show which options are set by files, presets and variables.", no_args_is_help=True)

_SHOW_EPILOG = """Examples:

  adacode config show                  what is set for any command
  adacode config show sr               every option of adacode sr
  adacode config show sr --preset web  the same, with a preset
  adacode config show train restore"""
_DEFAULT = "default"


@dataclass(frozen=True)
class Shown:
    """One option of a command: its value, and where it comes from. None is the value of an option that is not set."""

    command: str
    option: str
    value: object
    source: str


@app.command("show", epilog=_SHOW_EPILOG)
def show(
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND",
            help="A command, such as sr or train restore. Default: all commands, and of each the options that are set.",
            show_default=False,
        ),
    ] = None,
    preset: Annotated[str | None, typer.Option(metavar="NAME", help=f"As for sr: {', '.join(PRESETS)}.")] = None,
    json: AsJson = False,
) -> None:
    """Show the value of each option of a command, and where it comes from.

    The order: command line, environment, --preset, file, default.
    """
    invocation_of(context, json=json)
    loaded, words = loaded_of(context), tuple(command or ())
    chosen = [each for each, _ in commands_of(context.find_root().command) if each[: len(words)] == words]
    if not chosen:
        raise UsageError(f"there is no command '{' '.join(words)}'", hint="'adacode --help' lists all commands.")
    if preset is not None and not (words and has_presets(words)):
        raise UsageError("--preset is for sr, inpaint and reconstruct", hint="Name one of these commands.")
    rows = [row for each in chosen for row in _rows(context, each, loaded, preset)]
    if not words:
        rows = [row for row in rows if row.source != _DEFAULT]
    if json:
        path = str(loaded.file.path) if loaded.file else None
        write_line(dumps({"file": path, "options": [asdict(row) for row in rows]}))
        return
    for line in _lines(rows, loaded):
        write_line(line)


def _rows(context: typer.Context, words: Words, loaded: Loaded, preset: str | None) -> Iterator[Shown]:
    """Every option of the command that `words` call. Raises UsageError for a value that cannot be used."""
    each: Any = context.find_root()
    for word in words:
        inner = each.command.commands[word]
        each = inner.context_class(inner, info_name=word, parent=each)
    added = {option.name: option for option in each.command.get_params(each)}
    if preset is None and PRESET in added and has_presets(words):
        preset, _ = added[PRESET].consume_value(each, {})
    settle(each, loaded, preset)
    options = options_of(each.command)
    values: dict[str, object] = {}
    for name, option in options.items():
        value, source = option.consume_value(each, {})
        each.set_parameter_source(option.name, source)
        if option.required and value is None:  # only the command line can give it, and this is another command line
            values[name] = None
            continue
        try:
            values[name] = option.process_value(each, value)
        except ClickException as error:
            error.ctx, error.param = each, option  # type: ignore[attr-defined]
            raise
    by_parameter = {options[name].name: value for name, value in values.items()}
    defaults = without_overruled(each, by_parameter, is_run=False)
    places = set_elsewhere(each)
    for name, value in values.items():
        counting = defaults.get(options[name].name, value)
        yield Shown(" ".join(words), name, _as_json(counting), places.get(name, _DEFAULT))


def _as_json(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_as_json(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _lines(rows: list[Shown], loaded: Loaded) -> Iterator[str]:
    file = loaded.file
    how = " (found)" if file and file.is_found else ""
    yield f"file: {file.path}{how}" if file else "file: none"
    if not rows:
        yield "no option is set: each has its default"
    width = max((len(row.option) for row in rows), default=0)
    width_of_values = min(24, max((len(_text(row.value)) for row in rows), default=0))
    command = ""
    for row in rows:
        if row.command != command:
            command = row.command
            yield ""
            yield f"adacode {command}"
        yield f"  --{row.option:<{width}}  {_text(row.value):<{width_of_values}}  {row.source}"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "-"
    return "-" if value in (None, "") else str(value)
