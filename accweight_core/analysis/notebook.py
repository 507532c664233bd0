"""An analysis as a notebook shows it: the ranking with pictures, bars and curves, in HTML.

The page needs no script, no library and no network, and takes its colours from the text around it,
so that it is legible on dark and light pages. Names come from files: they are escaped.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from html import escape

import numpy as np

from accweight_core.analysis.ranking import chosen_metric
from accweight_core.analysis.shown import Shown
from accweight_core.analysis.summary import Measured
from accweight_core.analysis.thumbnails import COLOURS
from accweight_core.colours.png import indexed_png
from accweight_core.colours.scale import Entries
from accweight_core.colours.themes import LIGHT
from accweight_core.errors import AccweightError
from accweight_core.metrics.table import BRIEF, TABLE, Floats
from accweight_core.schema import in_short
from accweight_core.text import count, plain

MOST_ROWS = 24
MOST_WARNINGS = 3
TEXELS = 48
"""Texels along a picture; some more if no coarser level is stored."""

SIDE = 34
"""Pixels of the longer side of a picture."""

MOST_POINTS = 60
"""Points of a curve."""

CURVE = 96, 22
"""Width and height of a curve in pixels."""

STYLE = f"""
.accweight {{ font: 13px/1.4 system-ui, sans-serif; color: inherit; max-width: 60em; }}
.accweight table {{ font: inherit; color: inherit; border-collapse: collapse; border: none;
  margin: .6em 0; }}
.accweight th, .accweight td {{ border: none; padding: 1px 12px 1px 0; background: none;
  text-align: right; vertical-align: middle; white-space: nowrap; }}
.accweight th {{ font-weight: normal; opacity: .65; }}
.accweight .text {{ text-align: left; }}
.accweight .dim {{ opacity: .65; }}
.accweight .bar {{ position: relative; width: 90px; height: 9px; display: inline-block; }}
.accweight .bar i {{ position: absolute; left: 0; top: 0; bottom: 0; background: currentColor;
  opacity: .35; }}
.accweight tr.first .bar i {{ background: {LIGHT.accent}; opacity: 1; }}
.accweight img {{ image-rendering: pixelated; display: block; margin: 0 auto; max-width: none; }}
.accweight polyline {{ fill: none; stroke: currentColor; stroke-width: 1.3; }}
"""


def page_of(shown: Shown, metric: str | None = None) -> str:
    """Return the page of an analysis.

    Args:
        shown: The analysis.
        metric: Metric of the ranking, the bars and the curves; None for the default.
    """
    header = shown.source.header
    chosen_one = chosen_metric(shown.rows, metric)
    metric = chosen_one.by
    order = shown.largest_first(metric, -1)
    chosen = order[:MOST_ROWS]
    hidden = len(order) - len(chosen)
    title = f"{shown.run}: layers by {metric} at step {shown.steps[-1]}"
    about = [
        in_short(shown.steps, header.layers),
        f"{metric}: {TABLE[metric].line}; unit: {TABLE[metric].unit}",
        TABLE[metric].sentence,
    ]
    notes = [
        *chosen_one.notes,
        f"{hidden:,} more layers: see ranking() and plot.heatmap()" if hidden else "",
        shown.not_counted,
        *(f"warning: {warning}" for warning in header.warnings[:MOST_WARNINGS]),
        "" if header.complete else "the analysis is not finished",
    ]
    return "".join(
        [
            f'<div class="accweight"><style>{STYLE}</style>',
            f"<div><b>{_text(title)}</b></div>",
            *(f'<div class="dim">{_text(line)}</div>' for line in about),
            _table(shown, metric, chosen),
            *(f'<div class="dim">{_text(note)}</div>' for note in notes if note),
            "</div>",
        ]
    )


def _table(shown: Shown, metric: str, chosen: Sequence[int]) -> str:
    beside = [name for name in BRIEF if name != metric and name in shown.metrics]
    names = ["", "layer", "kind", "weights", metric, "", "over the steps", *beside]
    left = ("layer", "kind", "over the steps")
    heads = [f"<th{_left(name in left)}>{_text(name)}</th>" for name in names]
    series = shown.series(metric)
    ends = series[:, -1] if len(series) else np.empty(0)
    largest = float(ends[np.isfinite(ends)].max(initial=0.0))
    lines = [
        _line(shown, shown.rows[at], series[at], largest, beside, is_first=place == 0)
        for place, at in enumerate(chosen)
    ]
    return f"<table><tr>{''.join(heads)}</tr>{''.join(lines)}</table>"


def _line(
    shown: Shown,
    row: Measured,
    curve: Floats,
    largest: float,
    beside: Sequence[str],
    *,
    is_first: bool,
) -> str:
    """Return a row of the table."""
    share = curve[-1] / largest if largest > 0 and math.isfinite(curve[-1]) else 0.0
    cells = [
        f"<td>{_picture(shown, row)}</td>",
        f'<td class="text" title="{_text(row.name)}">{_text(shown.names[row.name])}</td>',
        f'<td class="text dim">{_text(row.kind)}</td>',
        f"<td>{count(row.elements)}</td>",
        f"<td>{_number(curve[-1])}</td>",
        f'<td><span class="bar"><i style="width:{share:.1%}"></i></span></td>',
        f'<td class="text">{_curve(curve)}</td>',
        *(f"<td>{_number(row.metrics[name][-1])}</td>" for name in beside),
    ]
    kind = ' class="first"' if is_first else ""
    return f"<tr{kind}>{''.join(cells)}</tr>"


def _picture(shown: Shown, row: Measured) -> str:
    """Return the picture of the largest parameter of a layer at the last step, if there is one."""
    thumbnails = shown.thumbnails
    parameter = max(row.parameters, key=lambda found: found.elements)
    with suppress(AccweightError, OSError):  # files that are gone cost the picture alone
        if thumbnails.is_at_hand(row, parameter):
            entries = thumbnails.entries(row, parameter, len(shown.steps) - 1, TEXELS)
            return _image(entries)
    return ""


def _image(entries: Entries) -> str:
    longer = max(entries.shape)
    height, width = (max(round(SIDE * side / longer), 2) for side in entries.shape)
    content = b64encode(indexed_png(entries, COLOURS)).decode("ascii")
    return f'<img alt="" width="{width}" height="{height}" src="data:image/png;base64,{content}">'


def _curve(series: Floats) -> str:
    """Return a curve from 0 to its largest value; gaps are left out."""
    width, height = CURVE
    at = np.unique(np.linspace(0, len(series) - 1, min(len(series), MOST_POINTS)).astype(int))
    at = at[np.isfinite(series[at])]
    if not at.size:
        return ""
    x = at / max(len(series) - 1, 1) * (width - 2) + 1
    y = height - 1 - series[at] / (float(series[at].max()) or 1.0) * (height - 2)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return f'<svg width="{width}" height="{height}"><polyline points="{points}"/></svg>'


def _left(is_text: bool) -> str:
    return ' class="text"' if is_text else ""


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "-"


def _text(text: object) -> str:
    """Return text without control characters, for HTML and its attributes."""
    return escape(plain(text), quote=True)
