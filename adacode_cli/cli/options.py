"""Options that several commands share are written once: as a type of a parameter, or as a field of a dataclass.

Typer reads a command's options from its signature. `with_option_groups` gives a function whose parameter is annotated
with such a dataclass the signature in which that parameter is replaced by the dataclass's fields.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, Literal, get_type_hints

import typer


def with_option_groups(function: Callable[..., None]) -> Callable[..., None]:
    """`function` as Typer should see it; every parameter whose annotation is a dataclass is spread into its fields."""
    hints = get_type_hints(function, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if isinstance(hint, type) and is_dataclass(hint)}

    @functools.wraps(function)
    def spread(**values: Any) -> None:  # noqa: ANN401 - whatever Typer parsed
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


Weights = Annotated[
    str,
    typer.Option(
        "--weights", "-w", metavar="NAME", help="A name from 'adacode weights list', a file, or hub:OWNER/REPO/FILE."
    ),
]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"], typer.Option(metavar="TYPE", help="auto, fp32, bf16 or fp16.")
]
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="One JSON object on standard output.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", metavar="", help="Tracebacks of errors.")]
