"""Format the result of `layers`: heat strips, when each layer moved, numbers if they fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from accweight_core.analysis.timing import RESTING
from accweight_core.cli.output import Page, room
from accweight_core.cli.tables import Table, number
from accweight_core.text import plain

SHADES = "▁▂▃▄▅▆▇█"
LONGEST_STRIP = 40
"""Characters of a strip; of more checkpoints, each shows the largest of several."""

TIMES = ("path_50_step", "path_90_step", "last_to_largest", "settled_step")


def layers_page(document: dict[str, Any]) -> Page:
    """Return what ``layers`` prints."""
    by, per = document["by"], document["per"]
    steps = document["steps"]
    lines: list[str | Table] = [
        f"{plain(document['source'])}: {by} of every {per}, steps {steps[0]} to {steps[-1]}",
        "",
        _strips(document),
        "",
        f"over the steps: each {per} by its own largest {by}; · is 0",
        *_reading(document),
    ]
    numbers = _numbers(document)
    if numbers.width <= room():
        lines += ["", numbers]
    else:
        lines.append("the numbers: --csv or --json; as a picture: --png FILE")
    lines += ["", f"{document['evidence']}."]
    return lines


def _reading(document: dict[str, Any]) -> list[str]:
    """Return how to read the columns."""
    per_step = ", per step as checkpoints lie unevenly" if document["uneven"] else ""
    return [
        "50%, 90%: the step by which that much of the path was behind",
        f"last: the last movement over the largest{per_step}",
        f"settled: every movement after that step is at most {RESTING:.0%} of the largest",
    ]


def _strips(document: dict[str, Any]) -> Table:
    per, rows = document["per"], document["layers"]
    largest = [max((v for v in row["values"] if math.isfinite(v)), default=0.0) for row in rows]
    columns = {
        per: [plain(row[per]) for row in rows],
        "over the steps": [strip(row["values"]) for row in rows],
        "largest": [number(value) for value in largest],
        "50%": [_step(row["path_50_step"]) for row in rows],
        "90%": [_step(row["path_90_step"]) for row in rows],
        "last": [_share(row["last_to_largest"]) for row in rows],
        "settled": [_settled(row) for row in rows],
    }
    return Table(columns, frozenset(columns) - {per, "over the steps"})


def _numbers(document: dict[str, Any]) -> Table:
    per, rows = document["per"], document["layers"]
    columns = {per: [plain(row[per]) for row in rows]} | {
        f"{step:,}": [number(row["values"][at]) for row in rows]
        for at, step in enumerate(document["steps"])
    }
    return Table(columns, frozenset(columns) - {per})


def strip(values: Sequence[float], longest: int = LONGEST_STRIP) -> str:
    """Return values as a row of blocks, the largest full; several share one if there are many.

    >>> strip([0, 1, 2, 4, float("nan"), 8])
    '·▁▂▄ █'
    """
    count = min(len(values), longest)
    edges = [round(at * len(values) / count) for at in range(count + 1)] if count else [0]
    cells = []
    top = max((v for v in values if math.isfinite(v)), default=0.0)
    for first, stop in pairwise(edges):
        known = [v for v in values[first:stop] if math.isfinite(v)]
        if not known:
            cells.append(" ")
        elif max(known) <= 0 or top <= 0:
            cells.append("·")
        else:
            place = math.ceil(max(known) / top * len(SHADES)) - 1
            cells.append(SHADES[min(max(place, 0), len(SHADES) - 1)])
    return "".join(cells)


def _step(step: int | None) -> str:
    return "-" if step is None else f"{step:,}"


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0%}"


def _settled(row: dict[str, Any]) -> str:
    if row["path_50_step"] is None:
        return "never moved"
    return "moving" if row["settled_step"] is None else f"from {row['settled_step']:,}"


def layer_rows(document: dict[str, Any]) -> list[list[Any]]:
    """Return the rows of ``layers --csv``: a row per layer, a column per step at the end."""
    per = document["per"]
    head = [per, "kind", "elements", *TIMES, *document["steps"]]
    return [head] + [
        [
            plain(row[per]),
            row["kind"],
            row["elements"],
            *("" if _is_none(row[name]) else row[name] for name in TIMES),
            *("" if _is_none(value) else repr(value) for value in row["values"]),
        ]
        for row in document["layers"]
    ]


def _is_none(value: float | None) -> bool:
    return value is None or math.isnan(value)
