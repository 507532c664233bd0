"""Format the list of probes, and their results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from accweight_core.analysis.probe_names import in_files
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.cli.output import Page
from accweight_core.cli.tables import Table, number
from accweight_core.errors import StoreError, UnknownNameError, reason_of
from accweight_core.io.target import target_at
from accweight_core.probes.options import options_of, spec_of
from accweight_core.probes.probe import RUNS_NETWORK, Probe
from accweight_core.probes.registry import probes
from accweight_core.text import plain, steps_said

if TYPE_CHECKING:
    import pandas as pd

MOST_STEPS = 20
"""Rows of a table of steps; of more steps, evenly chosen ones are shown."""

MOST_LAYERS = 20
"""Rows of a table of layers; of more layers, those of the largest first number are shown."""

MOST_COLUMNS = 7
"""Numbers per row."""

PICTURES = (".png", ".svg", ".pdf", ".jpg", ".jpeg", ".gif")
"""Endings that a folder of figures does not have, unless it is there."""


def list_page() -> Page:
    """Return the installed probes with their options."""
    found = probes()
    rows = [(name, _needs(kind), plain(_help(kind))) for name, kind in found.items()]
    page: list[str | Table] = [Table.of_rows(("probe", "needs", "what it does"), rows), ""]
    for name, kind in found.items():
        for option in options_of(kind):
            takes = ", ".join(filter(None, (option.takes, str(option.limits))))
            page.append(
                f"{name}:{option.name}={_shown(option.default)}  ({takes}) {plain(option.text)}"
            )
    return page


def list_json() -> dict[str, Any]:
    """Return the document for ``probe --list --json``."""
    return {
        "probes": [
            {
                "name": name,
                "text": _help(kind),
                "needs": _needs(kind),
                "options": [
                    {"name": o.name, "takes": o.takes, "default": o.default, "text": o.text}
                    for o in options_of(kind)
                ],
            }
            for name, kind in probes().items()
        ]
    }


def _help(kind: type[Probe]) -> str:
    return (kind.__doc__ or "").strip().split("\n")[0]


def _needs(kind: type[Probe]) -> str:
    return "model, data" if kind.needs & RUNS_NETWORK else "weights"


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "+".join(map(str, value))
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def results_json(results: Mapping[str, ProbeResult]) -> dict[str, Any]:
    """Return the document for ``probe --json``."""
    return {
        "probes": [
            {
                "name": result.name,
                "options": result.options,
                "proof": result.proof or None,
                "engine": result.engine or None,
                "data": result.data or None,
                "steps": result.steps.tolist(),
                "path": str(result.path),
                "table": result.records(),
            }
            for result in results.values()
        ]
    }


def write_figures(results: Mapping[str, ProbeResult], folder: str) -> list[Path]:
    """Draw all figures of results into a folder; return the files.

    Raises:
        MissingLibraryError: If Matplotlib is not installed.
        StoreError: If a file cannot be written.
    """
    from accweight_core.analysis.figures.plots import check_can_draw, write_figure

    check_can_draw()
    from accweight_core.analysis.figures.of_probes.choosing import figures_of

    home, called = folder_of_figures(folder), in_files(results)
    return [
        write_figure(draw(), home / f"{called[name]}-{figure}.png", overwrite=True)
        for name, result in results.items()
        for figure, draw in figures_of(result).items()
    ]


def check_is_folder(name: str) -> Path:
    """Return the path of a folder for figures, checked before any work is done.

    Raises:
        StoreError: If there is a file, it has the name of a picture, or it cannot be there.
    """
    home = target_at(name, "a folder of figures")
    is_file = home.exists() and not home.is_dir()
    if is_file or (home.suffix.lower() in PICTURES and not home.exists()):
        raise StoreError(
            f"{home}: is {'a file' if is_file else 'the name of a picture'}; expected a folder, as "
            "several figures are written into it. Name a folder, such as figures; it is made if "
            "there is none"
        )
    return home


def folder_of_figures(name: str) -> Path:
    """Return a folder for figures, which is made.

    Raises:
        StoreError: If it cannot be made.
    """
    home = check_is_folder(name)
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{home}: cannot be made ({reason_of(error)})") from None
    return home


def film_at(name: str) -> Path:
    """Return the path of a movie, checked before any work is done.

    Raises:
        MissingLibraryError: If it cannot be drawn or written.
        StoreError: If it cannot be there.
        UnknownNameError: If movies are not written under such a name.
    """
    from accweight_core.analysis.figures.film import check_can_write
    from accweight_core.analysis.figures.plots import check_can_draw

    check_can_draw()
    path = target_at(name, "a movie")
    check_can_write(path)
    return path


def write_movies(results: Mapping[str, ProbeResult], path: Path) -> list[Path]:
    """Film results with pictures, points or a path, replacing older movies; return the files.

    Args:
        results: The results.
        path: The movie; of several, each has probe and array in its name.

    Raises:
        StoreError: If a result is damaged, or a file cannot be written.
        UnknownNameError: If no result has pictures, points or a path.
    """
    from accweight_core.analysis.figures.film import frame_rate, write_movie
    from accweight_core.analysis.figures.of_probes.moving import movies_of
    from accweight_core.cli import output

    called = in_files(results)
    films = {
        f"{called[name]}-{array}": draw
        for name, result in results.items()
        for array, draw in movies_of(result).items()
    }
    if not films:
        raise UnknownNameError(
            f"{path}: nothing to film; {', '.join(results)} found no pictures, "
            "no points and no path"
        )
    written = []
    for name, draw in films.items():
        own = path if len(films) == 1 else path.with_name(f"{path.stem}-{name}{path.suffix}")
        with output.progress(f"film {name}", "frames") as advance:
            write_movie(own, draw(frame_rate(own)), advance, overwrite=True)
        written.append(own)
    return written


def write_page(results: Mapping[str, ProbeResult], out: str) -> Path:
    """Write a page of results, with the commands that make it and each of them; return its path.

    Raises:
        MissingLibraryError: If Jinja2 is not installed.
        StoreError: If the file cannot be written.
    """
    from accweight_core.cli.command_line import command_line
    from accweight_core.reports.probe_page import probe_page

    found, drawn = list(results.values()), ("png", "html", "movie", "json")
    commands = {
        one.path.name: command_line(drawn, {"probes": (spec_of(one.name, one.options),)})
        for one in found
    }
    return probe_page(found, out, command=command_line(), commands=commands, overwrite=True)


def doubts(result: ProbeResult) -> list[str]:
    """Return a warning if the weights are not known to be in their places."""
    if result.proof != "not verified":
        return []
    return [f"{result.name}: not verified that the weights are in their places in the network"]


def page(result: ProbeResult) -> Page:
    """Return the heading, remarks and table of a result."""
    asked = spec_of(result.name, result.options)
    proof = f"; weights {result.proof}" if result.proof else ""
    data = f"; {plain(result.data)}" if result.data else ""
    lines: list[str | Table] = [
        f"{plain(asked)}: {steps_said(result.steps.tolist())}{proof}{data}",
        *([result.left_out] if result.left_out else []),
        *(f"note: {plain(note)}" for note in result.notes),
    ]
    if not len(result.steps):
        return [*lines, ""]
    lines += [*(plain(line) for line in _summary(result)), ""]
    table = result.table()
    if len(table.columns) <= (2 if "layer" in table else 1):
        return lines
    if "layer" in table:
        kind = probes().get(result.name)
        step = result.steps[0 if kind is not None and kind.told_at == "first" else -1]
        table = table[table["step"] == step].drop(columns="step")
        table, which = _leading(table)
        lines[-1:] = [f"at step {step}{which}:", ""]
    elif len(table) > MOST_STEPS:
        places = np.unique(np.linspace(0, len(table) - 1, MOST_STEPS).round().astype(int))
        table = table.iloc[places]
    table = table[list(table.columns[: MOST_COLUMNS + 1])]
    rows = [
        tuple(_cell(value) for value in row) for row in table.itertuples(index=False, name=None)
    ]
    heads = tuple(str(name) for name in table.columns)
    return [*lines, Table.of_rows(heads, rows, *heads[0 if heads[0] == "step" else 1 :]), ""]


def _leading(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the rows of the largest values of many layers, and which they are, in words."""
    known = [name for name in table.columns[1:] if table[name].notna().any()]
    if len(table) <= MOST_LAYERS or not known:
        return table, ""
    by, left = known[0], len(table) - MOST_LAYERS
    first = table.sort_values(by, ascending=False, kind="stable", na_position="last")
    return first.head(MOST_LAYERS), (
        f", the {MOST_LAYERS} layers of the largest {by} ({left:,} more; --json has all)"
    )


def _summary(result: ProbeResult) -> list[str]:
    kind = probes().get(result.name)
    return [] if kind is None else list(kind.summary(result))


def _cell(value: Any) -> str:
    return number(float(value)) if isinstance(value, (float, int, np.number)) else plain(value)
