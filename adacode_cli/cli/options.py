"""How options are declared: each once, as a type of a parameter or as a field of a dataclass that commands share.

Typer reads a command's options from its signature. `with_option_groups` gives a function whose parameter is annotated
with such a dataclass the signature in which that parameter is replaced by the dataclass's fields. An option whose
value does not change what is written is marked in its `Annotated` with `NoEffectOnResult`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def flag(*names: str, help: str, panel: str | None = None) -> Any:  # noqa: ANN401 (as typer.Option)
    """An option without a value and without an opposite (`--no-…`)."""
    return typer.Option(*names, metavar="", rich_help_panel=panel, help=help)


def verbosity(help: str, panel: str | None = None) -> Any:  # noqa: ANN401 (as typer.Option)
    """The option that may be given more than once to see more. help: what is shown where it is given once."""
    help = f"{help} Twice (-vv): tracebacks of errors too."
    return typer.Option("--verbose", "-v", count=True, metavar="", rich_help_panel=panel, show_default=False, help=help)


Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT",
        help="Images and directories (searched through all levels), local or as addresses (s3://BUCKET/FOLDER), or - "
        "for one image on standard input.",
        show_default=False,
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        "--weights",
        "-w",
        metavar="NAME",
        help="A name from 'adacode weights list', a file, a folder of a bundle, or hub:OWNER/REPO[/FILE].",
    ),
]
HubRepo = Annotated[
    str | None,
    typer.Option(
        metavar="OWNER/REPO",
        envvar="ADACODE_HUB_REPO",
        help="Where on the Hugging Face Hub to look for weights that are not bundled.",
    ),
]
DeviceName = Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16", "int8"],
    typer.Option(metavar="TYPE", help="auto, fp32, bf16, fp16, or int8 (on a CPU, with weights that have ranges)."),
]
AsJson = Annotated[bool, flag("--json", help="Write one JSON object to standard output.")]
LIBRARIES_TOO = "Show warnings of libraries."
Verbose = Annotated[int, verbosity(LIBRARIES_TOO)]


@dataclass(frozen=True)
class NoEffectOnResult:
    """In the `Annotated` of a field: its value does not change the files that are written. `because` is the reason."""

    because: str


def effective(options: DataclassInstance) -> dict[str, object]:
    """Names and values of all fields that can change what is written: those without `NoEffectOnResult`."""
    hints = get_type_hints(type(options), include_extras=True)
    marks = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
    names = [field.name for field in fields(options)]
    without_effect = {name for name in names if any(isinstance(mark, NoEffectOnResult) for mark in marks[name])}
    return {name: getattr(options, name) for name in names if name not in without_effect}


def with_option_groups(function: Callable[..., None]) -> Callable[..., None]:
    """`function` as Typer should see it; every parameter whose annotation is a dataclass is spread into its fields."""
    hints = get_type_hints(function, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if isinstance(hint, type) and is_dataclass(hint)}

    @functools.wraps(function)
    def spread(**values: Any) -> None:  # noqa: ANN401 - the values that Typer parsed
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        function(**values)

    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in groups:
            parameters.extend(_parameters_of(groups[name]))
        else:
            keyword = inspect.Parameter.KEYWORD_ONLY
            parameters.append(parameter.replace(annotation=hints[name], kind=keyword))
    spread.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    spread.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return spread


def _parameters_of(group: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]
