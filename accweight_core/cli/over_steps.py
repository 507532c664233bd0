"""The commands that follow a run over its steps: `layers`, and `trace` for one weight."""

from __future__ import annotations

import csv
import io
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accweight_core.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from accweight_core.analysis.summary import Per
    from accweight_core.analysis.tracing import Trace
    from accweight_core.cli.output import Page
    from accweight_core.cli.tables import Table

as_csv = click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")


@click.command()
@options.analysis
@click.option(
    "--by", default="step_mean", show_default=True, metavar="METRIC", help=options.METRIC_HELP
)
@options.per_row
@click.option("--png", type=options.OUT, metavar="FILE", help="Write a heat map as well.")
@options.overwrite
@as_csv
@options.as_json
def layers(
    analysis: Path, by: str, per: Per, png: str | None, *, overwrite: bool, as_csv: bool, json: bool
) -> None:
    """Show a metric of every layer at every step, and when each layer moved and settled."""
    from accweight_core.analysis.analysis import open_analysis
    from accweight_core.analysis.over_steps import over_steps
    from accweight_core.cli import output, step_tables

    check_one_format(as_csv=as_csv, json=json)
    opened = open_analysis(analysis)
    document = over_steps(opened, by, per)
    if png is not None:
        from accweight_core.analysis.figures.plots import ending_of, write_figure

        ending_of(Path(png))
        path = write_figure(opened.plot.heatmap(by), png, overwrite=overwrite)
        output.remark(f"heat map written to {path}")
        document["png"] = str(path)
    if as_csv:
        output.show(csv_text(step_tables.layer_rows(document)), is_data=True)
    else:
        output.show(document if json else step_tables.layers_page(document))


@click.command(context_settings={"ignore_unknown_options": True})
@options.analysis
@click.argument("parameter", help="A parameter; or a layer, if it has one parameter.")
@click.argument(
    "index", nargs=-1, type=click.UNPROCESSED, help="Index of the weight, a number per axis from 0."
)
@as_csv
@options.as_json
def trace(
    analysis: Path, parameter: str, index: tuple[str, ...], *, as_csv: bool, json: bool
) -> None:
    """Show one weight at every step: its value, and how far it has travelled."""
    from accweight_core.analysis.analysis import open_analysis
    from accweight_core.cli import output

    check_one_format(as_csv=as_csv, json=json)
    found = open_analysis(analysis).trace(parameter, parsed_index(index))
    rows = _rows(found)
    if as_csv:
        head = ["step", "weight", "moved", "path"]
        output.show(csv_text([head, *map(_cells, rows)]), is_data=True)
    elif json:
        output.show({"parameter": found.parameter, "index": list(found.index), "steps": rows})
    else:
        output.show(_trace_page(found, rows))


def check_one_format(*, as_csv: bool, json: bool) -> None:
    """Raise if two formats are asked for."""
    if as_csv and json:
        raise click.BadParameter("--csv and --json both write to stdout; take one of them")


def parsed_index(words: Sequence[str]) -> tuple[int, ...]:
    """Return an index given as ``3 5``, ``3,5`` or ``[3, 5]``.

    >>> parsed_index(["[3,", "5]"])
    (3, 5)
    """
    numbers = " ".join(words).replace(",", " ").replace("[", " ").replace("]", " ").split()
    wrong = [word for word in numbers if not word.removeprefix("-").isdecimal() or len(word) > 18]
    if wrong:
        raise click.BadParameter(f"{wrong[0][:40]!r} is not a number of an index, such as: 3 5")
    return tuple(map(int, numbers))


def csv_text(rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as comma-separated values."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().rstrip("\n")


def _rows(found: Trace) -> list[dict[str, Any]]:
    """Return one row per step; complex weights are pairs of real and imaginary part."""
    path = found.cumulative.tolist()
    moved = [0.0, *(now - before for before, now in pairwise(path))]
    return [
        {"step": step, "weight": _value(weight), "moved": distance, "path": total}
        for step, weight, distance, total in zip(
            found.steps.tolist(), found.weights, moved, path, strict=True
        )
    ]


def _value(weight: np.number[Any]) -> float | list[float]:
    value = weight.item()
    return [value.real, value.imag] if isinstance(value, complex) else float(value)


def _cells(row: dict[str, Any]) -> list[Any]:
    weight = row["weight"]
    shown = repr(complex(*weight)) if isinstance(weight, list) else repr(weight)
    return [row["step"], shown, repr(row["moved"]), repr(row["path"])]


def _trace_page(found: Trace, rows: Sequence[dict[str, Any]]) -> Page:
    from accweight_core.cli.tables import Table, bar
    from accweight_core.text import plain

    place = f"{plain(found.parameter)}[{', '.join(map(str, found.index))}]"
    largest = max((row["moved"] for row in rows), default=0.0)
    cells = [
        [
            str(row["step"]),
            f"{complex(*row['weight']):.7g}" if isinstance(row["weight"], list)
            else f"{row['weight']:.7g}",
            f"{row['moved']:.4g}",
            bar(row["moved"], largest),
            f"{row['path']:.7g}",
        ]
        for row in rows
    ]  # fmt: skip
    names = ("step", "weight", "moved", "", "path")
    table = Table.of_rows(names, cells, "step", "weight", "moved", "path")
    whole, net = rows[-1]["path"], abs(found.weights[-1] - found.weights[0])
    lines: list[str | Table] = [f"{place} at every step", "", table, ""]
    if whole > 0:
        lines.append(f"path {whole:.4g}, distance from the start {net:.4g} ({net / whole:.0%})")
    else:
        lines.append("it never moved")
    return lines
