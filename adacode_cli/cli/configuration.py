"""Commands whose options can also be set by variables, files and presets, and the order in which these count.

The command line comes first, then the environment, then a preset that either of them names, then the file, then a
preset that the file names, then the default. click does the rest: what files and presets set becomes the `default_map`
of the command's context, and the names of variables follow from `auto_envvar_prefix`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from adacode_cli.cli import help_text
from adacode_cli.cli.alternatives import overruled
from adacode_cli.cli.boundary import SOURCES, ClickException, Invocation, came_from, variable_of
from adacode_cli.cli.config_file import NAME, NONE, ConfigFile, read_config
from adacode_cli.cli.settings import (
    PRESET,
    PRESETS,
    Option,
    Reader,
    Setting,
    Settings,
    Words,
    has_presets,
    long_name,
    options_of,
    preset_settings,
)
from adacode_cli.cli.slips import closest_option
from adacode_cli.cli.streams import printable, stderr_console
from adacode_cli.cli.usage_text import as_usage_error, no_command, refuse_single_hyphens
from adacode_cli.errors import UsageError

VARIABLES = "ADACODE"
CONFIG_VARIABLE = "ADACODE_CONFIG"
_CONFIG = "config"
_HELP_ALL = "help_all"
_ADDED = "Settings and help"
_WITHOUT_FILE = (("doctor",), ("man",))
_KEPT = "adacode_cli.cli.configuration"
_ALL = f"{_KEPT}.all"
Lines = Callable[[Any, str, Sequence[Any], int], Iterable[Text]]
Function = TypeVar("Function", bound=Callable[..., Any])
_TRUE = ("1", "true", "t", "yes", "y", "on")  # the values of a flag's variable, as click reads them
_HOW = "'adacode config show {}' shows where options come from."


@dataclass(frozen=True)
class Loaded:
    """The file that is used, or None, and what it sets for each command.

    problem: why there is a file that cannot be used.
    """

    file: ConfigFile | None
    settings: dict[Words, Settings]
    problem: UsageError | None = None


class ConfiguredCommand(TyperCommand):
    """A command that has --config and, if it restores, --preset, as every command has --help."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 (a class that cannot be named, see `cli.boundary`)
        options: list[Any] = super().get_params(ctx)
        *own, help_option = options
        for option in own:
            option.show_envvar = option.envvar is not None
        help_option.rich_help_panel = _ADDED
        help_option.help = "Show the options that are used most." if _has_two_helps(ctx) else "Show this help."
        return [*own, *self._added(ctx), *without_variables([help_option])]

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
        """Writes the help: of a command with very many options those that are used most, or all with --help-all."""
        is_first = _has_two_helps(ctx) and not ctx.meta.get(_ALL)
        lines = help_text.first_lines if is_first else help_text.command_lines
        _write_help(lines, self, ctx, formatter)

    def make_parser(self, ctx: Any) -> Any:  # noqa: ANN401
        """The parser, which also knows the opposite of each flag: files and presets may set what nobody wants now.

        These opposites are not listed in the help, which would be twice as long.
        """
        parser = super().make_parser(ctx)
        own = without_variables(self.get_params(ctx), only=())
        taken = {name for option in own for name in (*option.opts, *option.secondary_opts)}
        for option in own:
            is_counted = getattr(option, "count", False)
            is_flag = (getattr(option, "is_flag", False) and not option.is_eager) or is_counted
            if is_flag and not option.secondary_opts and (opposite := _opposite(long_name(option))) not in taken:
                off = 0 if is_counted else False
                parser.add_option(obj=option, opts=[opposite], dest=option.name, action="store_const", const=off)
        return parser

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        """As in click, with defaults from the file of settings and from presets; options that do not count are unset.

        A command that needs something, and gets nothing, shows its usage and ends with the exit code of a wrong usage.
        Raises UsageError for a file or a preset that cannot be used, and for what cannot stand on the command line.
        """
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            _end_with(help_text.usage_lines(self, ctx.command_path, stderr_console().width))
        if not ctx.resilient_parsing:
            self._report_as_asked(ctx, args)
            refuse_single_hyphens(ctx, args)
        typed = list(args)
        with in_our_errors(ctx, typed):
            if args or not self.no_args_is_help:
                self._settle(ctx, typed)
            rest = super().parse_args(ctx, args)
        ctx.params |= without_overruled(ctx, ctx.params, is_run=True)
        return rest

    def _report_as_asked(self, ctx: Any, args: list[str]) -> None:  # noqa: ANN401
        """With --json, mistakes on the command line are reported as an event too."""
        option = next((one for one in self.params if one.name == "json"), None)
        if option is not None and isinstance(ctx.obj, Invocation):
            typed = args[: args.index("--")] if "--" in args else args
            ctx.obj.json = "--json" in typed or os.environ.get(variable_of(ctx, option), "").lower() in _TRUE

    def _settle(self, ctx: Any, args: list[str]) -> None:  # noqa: ANN401
        """Makes what the file of settings and presets set the defaults of the command. Raises as `parse_args` does."""
        given, _, _ = self.make_parser(ctx).parse_args(list(args))
        helps = {self.get_params(ctx)[-1].name, _HELP_ALL}
        if helps.intersection(given) or ctx.resilient_parsing:
            return
        options = {option.name: option for option in self._added(ctx)}
        # The stages of training have a --config of their own, for a recipe.
        named = _given(ctx, options[_CONFIG], given) if _CONFIG in options else _variable()
        ctx.meta[_KEPT] = loaded = load(ctx, named)
        settle(ctx, loaded, _given(ctx, options[PRESET], given) if PRESET in options else None)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        """As in click. Says before what a file sets; the hint of a UsageError names the options that were not typed."""
        elsewhere, words = set_elsewhere(ctx), " ".join(words_of(ctx))
        loaded, quiet = loaded_of(ctx), ctx.params.get("quiet")
        lines = [] if quiet else self._unknown_variables(ctx)
        # A file that nobody named changes no result in silence.
        if not quiet or (loaded.file and loaded.file.is_found):
            lines += _set_by_file(loaded, elsewhere)
        for line in lines if not ctx.params.get("json") else ():
            stderr_console().print(printable(line), style="dim")
        try:
            return super().invoke(ctx)
        except UsageError as error:
            if elsewhere:
                places = ", ".join(f"--{name} ({place})" for name, place in elsewhere.items())
                where = f"Not from the command line: {places}. {_HOW.format(words)}"
                error.hint = f"{error.hint} {where}" if error.hint else where
            raise

    def _unknown_variables(self, ctx: Any) -> list[str]:  # noqa: ANN401
        """A warning for each variable that begins as those of this command, and sets no option."""
        start = f"{ctx.auto_envvar_prefix}_"
        options = [option for option in self.get_params(ctx) if option.opts[0].startswith("-")]
        known = {option.name.replace("_", "-"): option for option in options if option.allow_from_autoenv}
        found = sorted(name for name in os.environ if ctx.auto_envvar_prefix and name.startswith(start))
        warnings = []
        for name in found:
            plain = name.removeprefix(start).lower().replace("_", "-")
            if plain not in known or name != name.upper():
                near = closest_option(plain, known)
                question = f"; did you mean '{start}{known[near].name.upper()}'?" if near else ""
                warnings.append(f"warning: the variable {name} sets no option{question}")
        return warnings

    def _added(self, ctx: Any) -> list[Option]:  # noqa: ANN401
        taken = {name for option in self.params for name in option.opts}
        wanted = {_CONFIG}
        if has_presets(words_of(ctx)):
            wanted.add(PRESET)
        if _has_two_helps(ctx):
            wanted.add(_HELP_ALL)
        return [each for each in _options() if each.name in wanted and not taken.intersection(each.opts)]


class ConfiguredGroup(TyperGroup):
    """A group of commands, whose own options (--help, --version) no variable sets."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401
        options = without_variables(super().get_params(ctx))
        options[-1].help = "Show this help."
        return options

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
        """Writes the help of the group: its commands."""
        _write_help(help_text.group_lines, self, ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        """As in click; but help that nobody asked for goes to standard error.

        Raises UsageError for an option that the group does not have.
        """
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            width = stderr_console().width
            _end_with(help_text.group_lines(self, ctx.command_path, self.get_params(ctx), width))
        with in_our_errors(ctx, list(args)):
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401
        """As in click. Raises UsageError for a command that does not exist."""
        if (
            args
            and not args[0].startswith("-")
            and not ctx.resilient_parsing
            and self.get_command(ctx, args[0]) is None
        ):
            raise no_command(args[0], ctx, args[1:])
        return super().resolve_command(ctx, args)


@contextmanager
def in_our_errors(context: Any, typed: list[str]) -> Iterator[None]:  # noqa: ANN401
    """Within the block, an exception of the command-line library about the words `typed` becomes a UsageError."""
    try:
        yield
    except ClickException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        raise as_usage_error(error, context, typed) from error


class Program(typer.Typer):
    """A Typer whose commands and groups are configured ones."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 (as Typer's)
        super().__init__(cls=ConfiguredGroup, **settings)

    def command(self, *name: Any, **settings: Any) -> Callable[[Function], Function]:  # noqa: ANN401
        return super().command(*name, cls=ConfiguredCommand, **settings)


def _has_two_helps(context: typer.Context) -> bool:
    """Whether --help of this command shows some options only. ("sr",) is a command, ("eval", "sr") is another."""
    return words_of(context) in [(name,) for name in help_text.FIRST_OPTIONS]


def _write_help(lines: Lines, command: Any, context: Any, formatter: Any) -> None:  # noqa: ANN401
    """Gives the formatter of click a help, whose colours click then keeps if the console shows any."""
    console = help_text.plain_console()
    found = lines(command, context.command_path, command.get_params(context), console.width)
    formatter.write(help_text.shown(found, console))
    context.color = console.color_system is not None


def _end_with(lines: Iterable[Text]) -> NoReturn:
    """Shows lines on standard error, and ends the command with the exit code of a wrong usage. Raises typer.Exit."""
    for line in lines:
        stderr_console().print(line)
    raise typer.Exit(UsageError.exit_code)


def _show_all(context: typer.Context, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        context.meta[_ALL] = True
        typer.echo(context.get_help(), color=context.color)
        raise typer.Exit


def _set_by_file(loaded: Loaded, elsewhere: dict[str, str]) -> list[str]:
    """What the file sets, if it sets anything that counts."""
    if loaded.file is None:
        return []
    names = [f"--{name}" for name, place in elsewhere.items() if str(loaded.file.path) in place]
    return [f"{loaded.file.path} sets {', '.join(names)}"] if names else []


def without_variables(options: list[Option], only: tuple[str, ...] | None = None) -> list[Option]:
    """The options; those of these names, or all, are set by no variable: ADACODE_VERSION has other meanings."""
    for option in options:
        if only is None or option.name in only:
            option.allow_from_autoenv = option.show_envvar = False
    return options


_added_option = partial(typer.Option, rich_help_panel=_ADDED, show_envvar=False, expose_value=False)
_Config = Annotated[
    str | None,
    _added_option(
        "--config",
        metavar="FILE",
        envvar=CONFIG_VARIABLE,
        help=f"Read options from FILE; {NONE}: from no file. Default: {NAME} here or in a folder above.",
        show_default=False,
    ),
]
_Preset = Annotated[
    str | None,
    _added_option(
        "--preset",
        metavar="NAME",
        help=f"Options for a purpose: {', '.join(PRESETS)} (docs/configuration.md).",
        show_default=False,
        autocompletion=lambda incomplete: [name for name in PRESETS if name.startswith(incomplete)],
    ),
]
_HelpAll = Annotated[bool, _added_option("--help-all", is_eager=True, callback=_show_all, help="Show all options.")]


@cache
def _options() -> list[Option]:
    """--config, --preset and --help-all, as Typer makes them. They are for many commands, so no function gets them."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def declared(config: _Config = None, preset: _Preset = None, help_all: _HelpAll = False) -> None:
        """Only its parameters are used."""

    added = [option for option in typer.main.get_command(app).params if option.name in (_CONFIG, PRESET, _HELP_ALL)]
    without_variables(added, only=(_HELP_ALL,))
    return added


def _given(context: typer.Context, option: Option, given: dict[str, Any]) -> str | None:
    """The value of --config or --preset, on the command line or in the environment."""
    value, _ = option.consume_value(context, given)
    return value if isinstance(value, str) else None


def _variable() -> str | None:
    """The file that the variable names; one that is empty counts as not set."""
    return os.environ.get(CONFIG_VARIABLE) or None


def _opposite(name: str) -> str:
    """The option that switches the flag `name` off: --no-strict, and --provenance for no-provenance."""
    return f"--{name.removeprefix('no-')}" if name.startswith("no-") else f"--no-{name}"


def words_of(context: typer.Context) -> Words:
    """The words that call the command of a context, without the program's name."""
    words: list[str] = []
    each: Any = context
    while each.parent is not None:
        words.insert(0, each.info_name or "")
        each = each.parent
    return tuple(words)


def load(context: typer.Context, named: str | None) -> Loaded:
    """The file that `named` names, or that is found, and what it sets.

    Raises UsageError, but not for `adacode doctor`, which reports it, and `adacode man`, which needs no file.
    """
    try:
        file = read_config(named)
        return Loaded(file, Reader(file, context.find_root().command, context).settings() if file else {})
    except UsageError as error:
        if words_of(context) not in _WITHOUT_FILE:
            raise
        return Loaded(None, {}, error)


def loaded_of(context: typer.Context) -> Loaded:
    """What was loaded for the running command."""
    loaded = context.meta.get(_KEPT)
    return loaded if isinstance(loaded, Loaded) else Loaded(None, {})


def settle(context: typer.Context, loaded: Loaded, preset: str | None) -> Settings:
    """Makes what file and presets set the defaults of a command's context, and returns it. Raises UsageError.

    preset: the one that command line or environment name, which counts more than the file.
    """
    own = dict(loaded.settings.get(words_of(context), {}))
    from_file = own.pop(PRESET, None)
    if preset is not None:
        settings = own | preset_settings(preset)
    elif from_file is not None:
        name = str(from_file.value)
        place = f"preset {name} of {from_file.place}"
        settings = {key: Setting(each.value, place) for key, each in preset_settings(name).items()} | own
    else:
        settings = own
    options = options_of(context.command)
    context.default_map = {options[name].name: setting.value for name, setting in settings.items()}
    context.meta[f"{_KEPT}.settings"] = settings
    return settings


def without_overruled(context: typer.Context, params: dict[str, Any], *, is_run: bool) -> dict[str, Any]:
    """The values of those parameters of a command that do not count because of stronger ones: their defaults.

    The context then says that these are defaults. is_run: as for `overruled`.
    """
    if not has_presets(words_of(context)):
        return {}
    options = {name: option for name, option in options_of(context.command).items() if option.name in params}
    strengths = {
        name: SOURCES.index(came_from(context, option.name))
        for name, option in options.items()
        if not _is_off(option, params[option.name])
    }
    defaults: dict[str, Any] = {}
    for name in overruled(strengths, is_run=is_run):
        option: Any = options[name]
        source: Any = context.get_parameter_source(option.name)
        context.set_parameter_source(option.name, type(source).DEFAULT)
        defaults[option.name] = option.default
    return defaults


def _is_off(option: Option, value: object) -> bool:
    """Whether a value says that an option is not given."""
    return value is None or value is False or (getattr(option, "count", False) and value == 0)


def set_elsewhere(context: typer.Context) -> dict[str, str]:
    """The options of a running command that the command line does not give, though they are set, with their places."""
    places: dict[str, str] = {}
    settings = context.meta.get(f"{_KEPT}.settings", {})
    for name, option in options_of(context.command).items():
        source = came_from(context, option.name)
        if source == "ENVIRONMENT":
            places[name] = variable_of(context, option)
        elif source == "DEFAULT_MAP" and name in settings:
            places[name] = settings[name].place
    return places
