"""Draws the results of the suite on one page: a panel per question, the goal or limit in each.

python benchmarks/picture.py benchmarks/out/quick.json
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from machine import in_words
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import FuncFormatter, NullFormatter
from rounds import threads_of

PAGE, PANEL, INK, DIM, LINE = "#f3f5f8", "#ffffff", "#1b222b", "#5f6b78", "#cfd6de"
OURS, LIGHT, OTHERS, LEAST, ASKED = "#1f6fb4", "#a9cbe8", "#c98a4b", "#aab4bf", "#c62828"

STYLE = {
    "font.family": "DejaVu Sans", "font.size": 8.5, "text.color": INK,
    "axes.facecolor": PANEL, "axes.edgecolor": LINE, "axes.labelcolor": DIM,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.titlepad": 20, "grid.color": LINE, "grid.linewidth": 0.6,
    "xtick.color": DIM, "ytick.color": INK, "xtick.major.size": 0, "ytick.major.size": 0,
    "ytick.minor.size": 0, "xtick.minor.size": 0,
    "figure.facecolor": PAGE, "svg.hashsalt": "accweight",
}  # fmt: skip

Rows = Sequence[Mapping[str, Any]]
NS = "nanoseconds per weight and checkpoint"


def draw(results: Mapping[str, Any], stem: Path) -> list[Path]:
    """Draw results as `stem`.png and `stem`.svg; return both."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(15, 11.5), layout="none")
        above, middle, below = (
            figure.add_gridspec(1, columns, left=left, right=0.975, top=top, bottom=top - 0.2,
                                wspace=space)
            for columns, left, top, space in ((3, 0.125, 0.86, 0.6), (3, 0.05, 0.555, 0.1),
                                              (2, 0.155, 0.25, 0.38))
        )  # fmt: skip
        for at, panel in enumerate((scripts, formats, budget)):
            panel(figure.add_subplot(above[at]), results)
        growths(figure, middle, results)
        disk(figure.add_subplot(below[0]), results)
        memory(figure.add_subplot(below[1]), results)
        figure.text(0.03, 0.952, "accweight: what a weight costs", size=19, weight="bold")
        facts = textwrap.fill(f"Size {results['size']}. {in_words(results['machine'])}.", 190)
        figure.text(0.03, 0.94, facts, size=8.5, color=DIM, va="top")
        key = (("accweight", OURS), ("scripts", OTHERS), ("reading alone", LEAST))
        for at, (name, colour) in enumerate(key):
            left = 0.765 + (0, 0.075, 0.13)[at]
            figure.text(left, 0.953, "\N{BLACK SQUARE}", size=13, color=colour)
            figure.text(left + 0.014, 0.955, name, size=9)
        paths = [stem.with_name(f"{stem.name}{suffix}") for suffix in (".png", ".svg")]
        for path in paths:
            figure.savefig(path, dpi=130, metadata={} if path.suffix == ".png" else {"Date": None})
    return paths


def rows_of(results: Mapping[str, Any], name: str, table: int = 0) -> Rows:
    """Return the rows of a table of a benchmark; nothing if it was not measured."""
    tables = results["benchmarks"].get(name, {}).get("tables", ())
    return tables[table]["rows"] if table < len(tables) else ()


def headed(axes: Axes, title: str, below: str, rows: Rows) -> bool:
    """Write what a panel shows; say so and return False if nothing was measured."""
    axes.set_title(title)
    axes.text(0, 1.025, below, transform=axes.transAxes, size=8, color=DIM)
    if not rows:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, color=DIM, ha="center")
    return bool(rows)


def bars(
    axes: Axes,
    labels: Sequence[str],
    values: Sequence[float],
    colours: Sequence[str],
    form: str = "{:.2f}",
) -> None:
    """Draw bars from top to bottom, their values written beside them."""
    places = range(len(labels))[::-1]
    axes.barh(places, values, color=colours, height=0.62)
    axes.set_yticks(places, labels)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.margins(y=0.03)
    room = 1.16 * max(max(values), 1e-9)
    axes.set_xlim(min(0, *values), max(room, axes.get_xlim()[1]))
    for place, value in zip(places, values, strict=True):
        axes.annotate(form.format(value), (max(value, 0), place), (4, 0), color=INK, size=8,
                      textcoords="offset points", va="center")  # fmt: skip


def asked(axes: Axes, bound: float, text: str) -> None:
    """Draw the line of a goal, and say above the panel what it is."""
    axes.set_xlim(axes.get_xlim()[0], max(axes.get_xlim()[1], bound * 1.16))
    axes.axvline(bound, color=ASKED, linewidth=1.2, linestyle=(0, (4, 2)), zorder=3)
    axes.text(1, 1.025, f"- -  {text}", transform=axes.transAxes, size=8, color=ASKED, ha="right")


def scripts(axes: Axes, results: Mapping[str, Any]) -> None:
    """Draw what is compared with the scripts."""
    rows = rows_of(results, "against_numpy")
    if not headed(axes, "Against scripts and the raw read", NS, rows):
        return
    colour = {"accweight": OURS, "raw": LEAST}
    labels = [f"{_way(row['way'])}, {threads_of(row['threads'])}" for row in rows]
    colours = [colour.get(row["way"].split()[0].strip(":"), OTHERS) for row in rows]
    bars(axes, labels, [row["ns"] for row in rows], colours)


def _way(way: str) -> str:
    """Return a way in few words; colours tell whose it is."""
    return way.removeprefix("accweight: ").partition(":")[0]


def formats(axes: Axes, results: Mapping[str, Any]) -> None:
    """Draw the share of the raw read that each format reaches."""
    rows = rows_of(results, "formats")
    if not headed(axes, "Formats", "rate, as a share of the raw read", rows):
        return
    most = max(row["threads"] for row in rows)
    shown = [row for row in rows if row["threads"] == most]
    bars(axes, [r["format"] for r in shown], [r["of_raw"] for r in shown], [OURS] * len(shown))
    asked(axes, 0.5, "goal: half")
    axes.set_xlabel(threads_of(most))


def budget(axes: Axes, results: Mapping[str, Any]) -> None:
    """Draw what each part costs, and the least it could."""
    rows = rows_of(results, "budget")
    if not headed(axes, "Where the time goes", NS, rows):
        return
    colours = [LIGHT if row["item"].startswith(("all", "without")) else OURS for row in rows]
    labels = [row["item"].partition(" (")[0] for row in rows]
    bars(axes, labels, [row["ns"] for row in rows], colours)
    axes.text(1, 1.025, "|  limit", transform=axes.transAxes, size=8, ha="right")
    axes.set_xlabel("1 thread unless said")
    for place, row in zip(range(len(rows))[::-1], rows, strict=True):
        if row["limit"] is not None:
            axes.vlines(row["limit"], place - 0.42, place + 0.42, color=INK, linewidth=1.6)


def growths(figure: Figure, grid: GridSpec, results: Mapping[str, Any]) -> None:
    """Draw how the cost of a weight grows along each axis, all at one scale."""
    first: Axes | None = None
    for number, name in enumerate(("tensors", "checkpoints", "weights")):
        axes = figure.add_subplot(grid[number], sharey=first)
        axes.tick_params(labelleft=first is None)
        first = first or axes
        growth(axes, rows_of(results, "growth", number), name)


def growth(axes: Axes, rows: Rows, name: str) -> None:
    """Draw one axis: analyses above the raw reads of the same files."""
    title = {"tensors": "More tensors", "checkpoints": "More checkpoints", "weights": "Larger"}
    if not headed(axes, title[name], NS, rows):
        return
    at = [row["point"] for row in rows]
    for key, colour, label in (("ns", OURS, "analyze"), ("raw_ns", DIM, "raw read")):
        values = [row[key] for row in rows]
        axes.plot(at, values, color=colour, linewidth=2, marker="o", markersize=5)
        axes.annotate(label, (at[0], values[0]), (0, 8), textcoords="offset points",
                      color=colour, weight="bold", size=8)  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(at, [brief(value) for value in at])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(axis="y")
    axes.margins(x=0.08, y=0.18)
    axes.set_xlabel(name)


def brief(value: float) -> str:
    """Return a round number in few letters."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def disk(axes: Axes, results: Mapping[str, Any]) -> None:
    """Draw the rates from a cold disk."""
    rows = rows_of(results, "disk")
    if not headed(axes, "A cold disk", "gigabytes per second, nothing in the page cache", rows):
        return
    colours = [OURS if row["way"].startswith("accweight") else LEAST for row in rows]
    bars(axes, [row["way"] for row in rows], [row["rate"] for row in rows], colours)
    asked(axes, 0.95 * rows[0]["rate"], "goal: 0.95 of reading in order")


def memory(axes: Axes, results: Mapping[str, Any]) -> None:
    """Draw the peak of each case."""
    rows = rows_of(results, "memory")
    if not headed(axes, "Peak memory", "megabytes above imports, pictures drawn", rows):
        return
    labels = [f"{row['case']}, {brief(round(row['weights'] * 1e6, -5))}" for row in rows]
    bars(axes, labels, [row["peak_megabytes"] for row in rows], [OURS] * len(rows), "{:.0f}")
    asked(axes, 1024**3 / 1e6, "goal: 1 GiB")


def main() -> None:
    """Draw stored results anew."""
    path = Path(sys.argv[1])
    print(*draw(json.loads(path.read_text()), path.with_suffix("")), sep="\n")


if __name__ == "__main__":
    main()
