"""Options that several commands share, and the parsing of their values.

`takes_selection` adds all options of a `Selection` to a command; `with_debug` adds ``--debug`` to
every command of the application. No heavy library is imported here, so that --help is fast.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from accweight_core.schema import Role

FILE = click.Path(path_type=Path)
"""A file or folder; the library checks whether it exists."""

OUT = click.STRING
"""A result; a `Path` would make an empty name "." and break the slashes of a URL."""

AT_LEAST_ONE = click.IntRange(min=1)

source = click.argument(
    "source",
    nargs=-1,
    required=True,
    metavar="SOURCE...",
    help="A file, a folder, a glob, or several files in order; or URLs, or git:FOLDER.",
)
analysis = click.argument("analysis", type=FILE, help="An analysis (NAME.accw).")
as_json = click.option("--json", is_flag=True, help="Print one JSON document on stdout.")
reader = click.option(
    "--reader", metavar="NAME", help="Reader to use; by default chosen by the content of the files."
)
model = click.option(
    "--model",
    metavar="FILE",
    help="ONNX model that supplies layer kinds and network order.",
)
skip = click.option(
    "--skip", multiple=True, metavar="PATTERN", help="Leave out parameters of this name (pattern)."
)
exclude = click.option(
    "--exclude", multiple=True, metavar="PATTERN", help="Leave out files of this name (pattern)."
)
group = click.option(
    "--group",
    metavar="WHICH",
    help="Group to use if checkpoints have different parameters: a number, or 'largest'.",
)
series = click.option(
    "--series",
    metavar="NAME",
    help="Series of checkpoints to take if the source holds several; inspect lists them.",
)
revisions = click.option(
    "--revisions",
    metavar="PATTERN",
    help="Branches and tags of a repository to take as its checkpoints: 'step*'.",
)
given_order = click.option("--given-order", is_flag=True, help="Take the files in the order given.")
map_file = click.option(
    "--map",
    type=FILE,
    metavar="FILE",
    help="Map file with names that mean the same; inspect --write-map and align -o write one.",
)
METRIC_HELP = "Metric to take; accweight metrics lists them."
metric = click.option("--by", show_default="relative", metavar="METRIC", help=METRIC_HELP)
metrics = click.option("--by", multiple=True, metavar="METRIC", help=METRIC_HELP)
step = click.option("--at", type=int, metavar="STEP", help="Step to show; the last by default.")
overwrite = click.option("--overwrite", is_flag=True, help="Replace what is there.")
threads = click.option(
    "--threads",
    type=AT_LEAST_ONE,
    metavar="N",
    help="Threads, or processes of dask; one per processor by default.",
)
picture_budget = click.option(
    "--picture-budget",
    metavar="SIZE",
    help="Limit of the size of stored pictures, such as 256M; 0 for none. "
    "By default a sixteenth of the checkpoints, 64M to 1G.",
)
per_row = click.option(
    "--per",
    type=click.Choice(["layer", "parameter", "head"]),
    default="layer",
    show_default=True,
    help="One row per layer, parameter, or attention head (measured from the checkpoints).",
)

Command = Callable[..., None]

_SELECTION = (reader, model, skip, exclude, group, series, revisions, given_order, map_file)
_TOLD = ("reader", "model", "skip", "exclude", "group", "series", "revisions", "map")


def roles(default: str) -> Callable[[Command], Command]:
    """Return the option for the roles that count in layers."""
    return click.option(
        "--roles",
        default=default,
        show_default=bool(default),
        metavar="ROLES",
        help="Roles that count in layers, comma-separated.",
    )


def takes_selection(command: Command) -> Command:
    """Add the options of a `Selection`; the command gets it as the argument `selection`."""
    return _taking(command, _SELECTION, _TOLD)


def takes_selection_without_model(command: Command) -> Command:
    """Add the options of a `Selection` to a command whose ``--model`` is what it runs."""
    told = tuple(name for name in _TOLD if name != "model")
    return _taking(command, [option for option in _SELECTION if option is not model], told)


def _taking(command: Command, options: Sequence[Any], names: Sequence[str]) -> Command:
    @wraps(command)
    def run(**values: Any) -> None:
        from accweight_core.runs.selection import Selection

        told = {name: values.pop(name) for name in names}
        in_given_order = values.pop("given_order")
        command(selection=Selection.of(**told, in_given_order=in_given_order), **values)

    for option in reversed(options):
        run = option(run)
    return run


def with_debug(command: click.Command) -> click.Command:
    """Add ``--debug`` to a command that does not have it; `app.run` handles the option."""
    if all(parameter.name != "debug" for parameter in command.params):
        text = "Show the traceback of an error."
        command.params.append(
            click.Option(["--debug"], is_flag=True, expose_value=False, help=text)
        )
    return command


def named(source: tuple[str, ...]) -> str | list[str]:
    """Return the source for the library: a single name as text, several as a list."""
    return source[0] if len(source) == 1 else list(source)


_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parsed_size(text: str) -> int:
    """Return a size such as ``256M`` or ``1GiB`` in bytes.

    >>> parsed_size("256M") == 256 * 1024**2
    True
    """
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if not match:
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        raise click.BadParameter(f"{shown!r} is not a size; expected a number such as 0, 256M, 1G")
    return int(float(match[1]) * _UNITS[match[2]])


def parsed_roles(text: str) -> tuple[Role, ...]:
    """Return the roles in a comma-separated list."""
    from accweight_core.schema import Role
    from accweight_core.text import meant

    names = [name.strip() for name in text.split(",") if name.strip()]
    known = {role.value for role in Role if role is not Role.OPTIMIZER}
    unknown = [name for name in names if name not in known]
    listed = ", ".join(sorted(known))
    if not names:
        raise click.BadParameter(f"no role given; roles are {listed}")
    if unknown:
        verb = "is not a role" if len(unknown) == 1 else "are not roles"
        close = meant(unknown[0], sorted(known)) if len(unknown) == 1 else ""
        raise click.BadParameter(f"{', '.join(unknown)} {verb}; {close}roles are {listed}")
    return tuple(Role(name) for name in names)
