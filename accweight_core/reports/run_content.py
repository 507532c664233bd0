"""What a report says of one run, as plain values that a page, Markdown and JSON are made from."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from accweight_core.analysis.advice.advise import advise
from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.ranking import chosen_metric, ranking
from accweight_core.analysis.reading import findings_of
from accweight_core.analysis.shown import Shown
from accweight_core.analysis.summary import Measured
from accweight_core.analysis.thumbnails import COLOURS
from accweight_core.analysis.training_figures import check_is_no_figure
from accweight_core.colours.png import indexed_png
from accweight_core.colours.scale import ENTRIES
from accweight_core.errors import AccweightError
from accweight_core.metrics.random_walk import WALKED, random_walk
from accweight_core.metrics.table import BRIEF, TABLE, Floats
from accweight_core.reports.criticality_content import criticality_content
from accweight_core.reports.graph_content import graph_content
from accweight_core.reports.probe_content import probes_content
from accweight_core.reports.probe_views import REPORT
from accweight_core.schema import Parameter, in_short

MOST_VALUES = 300_000
"""Values of all curves of a run; of longer runs, evenly spaced steps are drawn."""

FEWEST_POINTS = 16
"""Points that every curve keeps however many there are."""

MOST_PICTURED = 48
"""Layers with pictures: those that lead the ranking, in network order."""

PICTURED_STEPS = 4
"""Steps at which a layer is pictured, evenly spaced, the last among them."""

TEXELS = 64
"""Texels along a picture; some more if no coarser level is stored."""

Content = dict[str, Any]


def run_content(analysis: Analysis, by: str | None, name: str) -> Content:
    """Return what a report says of a run.

    Args:
        analysis: The analysis.
        by: Metric of the ranking; None for the default.
        name: Name of the run in the report, unlike those of the others.

    Raises:
        UnknownNameError: If there is no such metric.
        StoreError: If the analysis is damaged.
    """
    header, shown = analysis.header, analysis.shown
    check_is_no_figure(header, by)
    chosen = chosen_metric(shown.rows, by)
    found, not_seen = findings_of(analysis)
    order = shown.largest_first(chosen.by, -1)
    curves = curves_content(shown, order)
    return {
        "name": name,
        "source": header.source,
        "store": str(analysis.path) if analysis.path else None,
        "reader": header.reader,
        "summary": in_short(analysis.steps, analysis.layers),
        "steps": analysis.steps.tolist(),
        "parameters": len(analysis.parameters),
        "weights": sum(parameter.elements for parameter in analysis.parameters),
        "roles": list(map(str, header.roles)),
        "not_counted": shown.not_counted,
        "versions": dict(header.versions),
        "is_complete": header.complete,
        "findings": [finding.to_json() for finding in found],
        "warnings": list(header.warnings),
        "notes": [*analysis.restarts, *header.notes, *chosen.notes, *not_seen],
        "by": chosen.by,
        "ranking": _ranking(shown, chosen.by),
        "measures": _measures(analysis),
        "curves": curves,
        "graph": _graph(analysis, chosen.by, order, curves["places"]),
        "pictures": _pictures(shown, order),
        "criticality": criticality_content(analysis),
        "probes": probes_content(analysis, REPORT, but=("rewind",)),
        "advice": [
            {"how_sure": one.how_sure, "details": one.details, **one.to_json()}
            for one in advise(analysis)
        ],
    }


def _graph(
    analysis: Analysis, by: str, order: Sequence[int], places: Sequence[int]
) -> Content | None:
    """Return the graph of a run, if one is known."""
    try:
        graph = analysis.graph
    except (AccweightError, OSError):
        return None
    return None if graph.is_chain else graph_content(analysis, graph, by, order, places)


def _ranking(shown: Shown, by: str) -> list[Content]:
    """Return the layers, the first of the ranking first, with the null of a random walk."""
    totals = {row.name: row.totals for row in shown.rows}
    rows = ranking(shown.rows, by, -1)
    for row in rows:
        walk = random_walk(totals[row["layer"]], -1)
        row["short"] = shown.names[row["layer"]]
        row["random_walk"] = {
            metric: {**expected.to_json(), "explains": expected.holds(row[metric])}
            for metric, expected in walk.items()
            if metric in WALKED and math.isfinite(expected.value) and metric in row
        }
    return rows


def beside(content: Content) -> list[str]:
    """Return the metrics that stand beside the one of the ranking."""
    first = content["ranking"][0] if content["ranking"] else {}
    return [name for name in BRIEF if name != content["by"] and name in first]


def _measures(analysis: Analysis) -> dict[str, list[float | None]]:
    """Return what was recorded beside the checkpoints (loss, accuracy), by name, over the steps."""
    records = [record.figures for record in analysis.header.checkpoints]
    return {name: [r.get(name) for r in records] for name in analysis.header.measures}


def curves_content(
    shown: Shown, order: Sequence[int], steps: Sequence[int] | None = None
) -> Content:
    """Return every metric of every layer over the steps.

    Args:
        shown: The analysis.
        order: Positions of the layers, in the order that they are to have.
        steps: Indices of the steps; by default all, or as many as a page has room for.
    """
    count = len(shown.steps)
    room = MOST_VALUES // max(1, len(order) * len(shown.metrics))
    evenly = np.linspace(0, count - 1, min(count, max(room, FEWEST_POINTS)))
    places = np.unique(evenly.astype(int) if steps is None else np.asarray(steps, int))
    return {
        "places": places.tolist(),
        "metrics": {
            metric: [_brief(shown.rows[at].metrics[metric][places]) for at in order]
            for metric in shown.metrics
        },
    }


def _brief(values: Floats) -> list[float | None]:
    """Return values with four digits, which no screen exceeds; None where there is none."""
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in values.tolist()]


def _pictures(shown: Shown, order: Sequence[int]) -> list[Content]:
    """Return pictures of the leading layers at some steps, in network order."""
    last = len(shown.steps) - 1
    places = np.unique(np.linspace(0, last, min(last, PICTURED_STEPS) + 1).round().astype(int))[1:]
    found = []
    for at in sorted(order[:MOST_PICTURED]):
        row = shown.rows[at]
        with suppress(AccweightError, OSError):  # what cannot be drawn costs its pictures alone
            pictures = _pictures_of(shown, row, places.tolist())
            if pictures:
                found.append(pictures)
    return found


def _pictures_of(shown: Shown, row: Measured, places: Sequence[int]) -> Content | None:
    """Return the pictures of the largest parameter of a layer; None if there are none at hand."""
    parameter = max(row.parameters, key=lambda one: one.elements)
    if not shown.thumbnails.is_at_hand(row, parameter):
        return None
    images = [image for place in places for image in _image(shown, row, parameter, place)]
    if not images:
        return None
    return {
        "layer": row.name,
        "short": shown.names[row.name],
        "parameter": parameter.name,
        "shape": list(parameter.shape),
        "white": float(shown.thumbnails.scale.high) * float(row.metrics["max"][-1]),
        "images": images,
    }


def _image(shown: Shown, row: Measured, parameter: Parameter, place: int) -> Iterator[Content]:
    """Yield the picture of a step, unless a tracker has left it out."""
    entries = shown.thumbnails.entries(row, parameter, place, TEXELS)
    if (entries == ENTRIES).all():
        return
    height, width = entries.shape
    yield {
        "step": int(shown.steps[place]),
        "width": width,
        "height": height,
        "png": b64encode(indexed_png(entries, COLOURS)).decode("ascii"),
    }


def metric_words(names: Sequence[str]) -> list[Content]:
    """Return what some metrics are, and what they are evidence for."""
    return [
        {
            "name": name,
            "line": TABLE[name].line,
            "unit": TABLE[name].unit,
            "reading": TABLE[name].reading,
            "evidence": TABLE[name].sentence,
        }
        for name in names
    ]
