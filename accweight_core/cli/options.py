"""Options that several commands share, each declared once, and what their values stand for.

`takes_selection` gives a command all options that say what is taken of a source; every command
gets ``--debug`` where it is added to the application (`with_debug`). Nothing heavy is imported
here: asking for help is quick.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from accweight_core.runs.selection import Selection
    from accweight_core.schema import Role

    Selected = Selection
else:
    Selected = Any  # the class brings numpy

Command = Callable[..., None]


class Per(StrEnum):
    """What a row of a ranking stands for."""

    layer = "layer"
    parameter = "parameter"


Source = Annotated[
    list[str], typer.Argument(help="A file, a folder, a glob, or several files in order; or URLs.")
]
StoredAnalysis = Annotated[Path, typer.Argument(help="An analysis (NAME.accw).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
ReaderName = Annotated[
    str | None, typer.Option("--reader", help="Reader to use instead of looking at the content.")
]
Model = Annotated[
    str | None,
    typer.Option("--model", help="ONNX model that supplies layer kinds and network order."),
]
Skip = Annotated[
    list[str] | None, typer.Option("--skip", help="Leave out parameters of this name (pattern).")
]
Exclude = Annotated[
    list[str] | None, typer.Option("--exclude", help="Leave out files of this name (pattern).")
]
GroupChoice = Annotated[
    str | None,
    typer.Option(
        "--group",
        help="Of checkpoints with different parameters, take this group: a number, or 'largest'.",
    ),
]
GivenOrder = Annotated[
    bool, typer.Option("--given-order", help="Take the files in the order given.")
]
Map = Annotated[
    Path | None,
    typer.Option(
        "--map",
        help="Map file: which names mean the same; inspect --write-map and align -o write one.",
    ),
]
WriteMap = Annotated[
    Path | None,
    typer.Option("--write-map", help="Write a map file with every name, to be edited."),
]
Metric = Annotated[
    str, typer.Option("--by", help="Metric to rank by; accweight metrics lists them.")
]
Step = Annotated[int | None, typer.Option("--at", help="Step to look at; the last by default.")]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="Threads, or processes of dask; one per processor by default."),
]
Roles = Annotated[str, typer.Option("--roles", help="Roles that count in layers, comma-separated.")]
PerRow = Annotated[Per, typer.Option("--per", help="What a row stands for.")]

_SELECTION: Mapping[str, tuple[Any, Any]] = {
    "reader": (ReaderName, None),
    "model": (Model, None),
    "skip": (Skip, None),
    "exclude": (Exclude, None),
    "group": (GroupChoice, None),
    "given_order": (GivenOrder, False),
    "map": (Map, None),
}
"""The options behind `takes_selection`, each with its default."""


def takes_selection(command: Command) -> Command:
    """Give a command, in place of its argument `selection`, the options that make one.

    The command is written ``def check(source: Source, selection: Selected, ...)``.
    """

    @wraps(command)
    def run(**values: Any) -> None:
        from accweight_core.runs.selection import Selection

        told = {name: values.pop(name) for name in _SELECTION}
        in_given_order = told.pop("given_order")
        command(selection=Selection.of(**told, in_given_order=in_given_order), **values)

    return _declared(run, command, {"selection": _SELECTION})


def with_debug(command: Command) -> Command:
    """Give a command ``--debug``, unless it has one; what it does is done in `app.run`."""
    if "debug" in signature(command).parameters:
        return command

    @wraps(command)
    def run(*, debug: bool = False, **values: Any) -> None:
        command(**values)

    return _declared(run, command, {"": {"debug": (Debug, False)}})


def _declared(
    run: Command, command: Command, options: Mapping[str, Mapping[str, tuple[Any, Any]]]
) -> Command:
    """Return `run` with the parameters of `command`, some replaced by options; "" stands last."""
    declared: list[Parameter] = []
    own = signature(command, eval_str=True).parameters
    for name in (*own, ""):
        declared += [
            Parameter(option, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for option, (annotation, default) in options.get(name, {}).items()
        ]
        if name and name not in options:
            declared.append(own[name].replace(kind=Parameter.KEYWORD_ONLY))
    run.__signature__ = Signature(declared)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in declared}
    return run


def named(source: list[str]) -> str | list[str]:
    """Return what the user named as the library takes it: one name, or several."""
    return source[0] if len(source) == 1 else source


_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parsed_size(text: str) -> int:
    """Return the bytes that a size such as ``256M`` or ``1GiB`` stands for.

    >>> parsed_size("256M") == 256 * 1024**2
    True
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if not match:
        raise typer.BadParameter(f"{text!r} is not a size; expected a number such as 0, 256M, 1G")
    return int(float(match[1]) * _UNITS[match[2]])


def parsed_roles(text: str) -> tuple[Role, ...]:
    """Return the roles in a comma-separated list."""
    from accweight_core.schema import Role

    names = [name.strip() for name in text.split(",") if name.strip()]
    known = {role.value for role in Role if role is not Role.OPTIMIZER}
    unknown = [name for name in names if name not in known]
    listed = ", ".join(sorted(known))
    if not names:
        raise typer.BadParameter(f"no role given; roles are {listed}")
    if unknown:
        verb = "is not a role" if len(unknown) == 1 else "are not roles"
        raise typer.BadParameter(f"{', '.join(unknown)} {verb}; roles are {listed}")
    return tuple(Role(name) for name in names)
