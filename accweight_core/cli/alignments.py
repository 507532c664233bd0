"""Format the results of `compare` and `align`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from accweight_core.alignment.cautions import same_reference
from accweight_core.alignment.matching.result import Alignment, Unmatched
from accweight_core.cli.output import Page
from accweight_core.cli.tables import Table, number
from accweight_core.text import plain

if TYPE_CHECKING:
    from accweight_core.alignment.comparison import Comparison
    from accweight_core.alignment.shared_rows import LayerPlace
    from accweight_core.analysis.analysis import Analysis

MOST_MEASURES = 4
"""Figures of a run in a line."""

LEGEND = (
    "sure: 100% is certain (your map, or the same name, kind and shape), from 80% sure, "
    "from 50% likely, below that a guess."
)


def comparison_json(
    result: Comparison, runs: Sequence[tuple[str, Analysis]] = ()
) -> dict[str, Any]:
    """Return the JSON document of ``compare --json``."""
    return {
        "by": result.by,
        "runs": {side: run_json(*run) for side, run in zip("ab", runs, strict=False)},
        "same_reference": same_reference(runs[0][1], runs[1][1]) if runs else None,
        "spearman": result.spearman,
        "kendall": result.kendall,
        "rbo": result.rbo,
        "pairs": result.pairs,
        "spearman_p": result.spearman_p,
        "spearman_low": result.spearman_band[0],
        "spearman_high": result.spearman_band[1],
        "conclusion": result.conclusion,
        "scale": result.scale,
        "top_overlap": dict(result.top_overlap),
        "layers": [
            {
                "layer": place.layer,
                "rank_a": place.rank_a,
                "rank_b": place.rank_b,
                "value_a": place.value_a,
                "value_b": place.value_b,
                "layer_b": place.layer_b,
                "how": place.how,
                "sure": round(place.sure, 2),
                "shape_differs": place.shape_differs,
                **{
                    f"{metric}_{key}": value
                    for metric, (a, b) in place.beside.items()
                    for key, value in (("a", a), ("b", b), ("ratio", _ratio(a, b)))
                },
            }
            for place in result.layers
        ],
        "only_a": list(result.only_a),
        "only_b": list(result.only_b),
        "hints": dict(result.hints),
        "notes": list(result.notes),
    }


def run_json(name: str, run: Analysis) -> dict[str, Any]:
    """Return what a run is and where it ended: steps, and figures of its last checkpoint."""
    return {
        "name": name,
        "source": run.header.source,
        "checkpoints": len(run.steps),
        "first_step": int(run.steps[0]),
        "last_step": int(run.steps[-1]),
        "measures": last_measures(run),
    }


def last_measures(run: Analysis) -> dict[str, float]:
    """Return the last known value of every figure that the checkpoints hold: loss, accuracy."""
    found = {}
    for name, values in run.header.measures.items():
        known = values[np.isfinite(values)]
        if known.size:
            found[name] = float(known[-1])
    return found


def run_text(run: Analysis) -> str:
    """Return the steps of a run and its last figures, losses and accuracies first, in brackets."""
    steps = f"{len(run.steps)} checkpoints, steps {run.steps[0]} to {run.steps[-1]}"
    measures = last_measures(run)
    first = sorted(measures, key=lambda key: not re.search("loss|acc", key))[:MOST_MEASURES]
    figures = ", ".join(f"{plain(key)} {number(measures[key])}" for key in first)
    return f" ({steps}{'; ' + figures if figures else ''})"


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else math.nan


def side_by_side(result: Comparison) -> Table:
    """Return the scale-free metrics of both runs with their ratio, layer by layer."""
    columns = {"layer": [plain(place.layer) for place in result.layers]}
    for metric in result.layers[0].beside if result.layers else ():
        pairs = [place.beside[metric] for place in result.layers]
        cells = [[_short(a), _short(b), _times(_ratio(a, b))] for a, b in pairs]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        columns[f"{metric} a, b, a/b"] = [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in cells
        ]
    return Table(columns, frozenset(columns) - {"layer"})


def _times(ratio: float) -> str:
    return "-" if math.isnan(ratio) else f"{ratio:.2f}x" if ratio < 100 else f"{ratio:.0f}x"


def _short(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"


def _agreement(result: Comparison) -> str:
    """Return Spearman's correlation with its band, Kendall's, and rank-biased overlap."""
    low, high = result.spearman_band
    band = "" if math.isnan(low) else f" (95% {low:.2f} to {high:.2f})"
    return (
        f"agreement by {result.by}, {result.pairs} layers: Spearman {number(result.spearman)}"
        f"{band}, Kendall {number(result.kendall)}, rank-biased overlap {number(result.rbo)}"
    )


def comparison(
    result: Comparison, a: object, b: object, runs: Sequence[tuple[str, Analysis]] = ()
) -> Page:
    """Return a comparison: the values side by side, the ranks, and the measures of agreement."""
    overlap = ", ".join(f"first {k}: {share:.0%}" for k, share in result.top_overlap.items())
    alone = f"{len(result.only_a)} only in a, {len(result.only_b)} only in b"
    shares = f"{len(result.layers)} shared, {alone}"
    lines: list[str | Table] = [
        f"a: {plain(a)}{run_text(runs[0][1]) if runs else ''}",
        f"b: {plain(b)}{run_text(runs[1][1]) if runs else ''}",
        "",
        *((side_by_side(result), "") if any(place.beside for place in result.layers) else ()),
        *((f"{result.scale}", "") if result.scale else ()),
        _places(result),
        "",
        _agreement(result),
        result.conclusion,
        f"shared layers at the top: {overlap}",
    ]
    if any(not _is_plain(place) for place in result.layers):
        lines += [f"layers: {shares}; ranks are among the shared", LEGEND]
    for name, only in (("a", result.only_a), ("b", result.only_b)):
        if only:
            lines.append(f"only in {name}: {', '.join(map(plain, only))}")
    lines += [
        f"  {plain(name)}: {plain(hint)}"
        for name, hint in result.hints.items()
        if name in (*result.only_a, *result.only_b)
    ]
    lines += [f"note: {plain(note)}" for note in result.notes]
    return lines


def _is_plain(place: LayerPlace) -> bool:
    """Tell whether a match is certain, with equal names and shapes."""
    return place.layer == place.layer_b and place.sure == 1 and not place.shape_differs


def _places(result: Comparison) -> Table:
    """Return the table of layers; it shows how they were matched unless all matches are plain."""
    is_asked = any(not _is_plain(place) for place in result.layers)
    is_renamed = any(place.layer != place.layer_b for place in result.layers)
    names = ["a", "b", "", "layer"] + ["layer of b"] * is_renamed
    names += [f"{result.by} a", f"{result.by} b"] + ["matched by", "sure"] * is_asked
    rows = []
    for place in result.layers:
        moved = f"{'▲' if place.moved > 0 else '▼'}{abs(place.moved)}" if place.moved else "="
        cells = [str(place.rank_a), str(place.rank_b), moved, plain(place.layer)]
        cells += [plain(place.layer_b) if place.layer != place.layer_b else "="] * is_renamed
        cells += [number(place.value_a), number(place.value_b)]
        how = place.how + ", other shape" * place.shape_differs
        cells += [how, f"{place.sure:.0%}"] if is_asked else []
        rows.append(cells)
    return Table.of_rows(names, rows, "a", "b", f"{result.by} a", f"{result.by} b", "sure")


def alignment(result: Alignment, a: object, b: object) -> Page:
    """Return the lines and the table that ``align`` prints."""
    rows = [
        (
            plain(match.layer_a),
            plain(match.layer_b) if match.layer_a != match.layer_b else "=",
            match.how,
            f"{match.confidence:.0%}",
            plain(match.reason),
        )
        for match in result.matches
    ]
    table = Table.of_rows(("layer of a", "layer of b", "matched by", "sure", "why"), rows, "sure")
    lines: list[str | Table] = [
        f"a: {plain(a)}",
        f"b: {plain(b)}",
        "",
        table,
        "",
        LEGEND,
    ]
    lines += _alone("a", result.only_a) + _alone("b", result.only_b)
    lines += [f"note: {plain(note)}" for note in result.notes]
    return lines


def _alone(side: str, layers: Sequence[Unmatched]) -> list[str | Table]:
    """Return lines on unmatched layers: one for all without a hint, one for each with a hint."""
    plainly = [item.layer for item in layers if not item.hint]
    lines: list[str | Table] = []
    if plainly:
        lines.append(f"only in {side}: {', '.join(map(plain, plainly))}")
    for item in layers:
        if item.hint:
            lines.append(f"only in {side}: {plain(item.layer)} ({plain(item.hint)})")
    return lines
