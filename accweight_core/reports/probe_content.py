"""What a page says of the results of a probe, as plain values: by kinds of arrays, not by names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.probe_kinds import ResultKind, arrays_of
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.errors import AccweightError
from accweight_core.probes.options import spec_of
from accweight_core.probes.probe import Probe
from accweight_core.probes.registry import probes
from accweight_core.reports.probe_views import Room, view_of

READING: Mapping[ResultKind, str] = {
    ResultKind.PICTURES: (
        "A picture is read against itself through time; between pictures, only if they share a "
        "scale, which stands below them."
    ),
    ResultKind.POINTS: (
        "A point is a sample, the same at all steps. Points that are near are alike for the "
        "network; how far apart distant groups are, and which way is up, says little. The lower "
        "trustworthiness is, the less the picture says."
    ),
    ResultKind.STAGES: (
        "The same samples at every stage: a layer moves them (an affine map), its activation "
        "function bends them. Each stage is seen from its own side, so a turn is no finding; that "
        "classes come apart is one."
    ),
    ResultKind.AGAINST: "Both axes are the same at all steps; colours tell groups apart.",
    ResultKind.PATH: (
        "The weights of all steps in the plane in which they moved most. A random walk is a smooth "
        "curve here, too: only shares of variance above its own are structure."
    ),
    ResultKind.STEPS: "How alike two steps are: bright is alike; a bright block is a time of rest.",
    ResultKind.CELLS: "A row is the class of samples, a column the class they are taken for.",
    ResultKind.UNITS: "A row is a layer, a cell one of its units; grey where there is no number.",
    ResultKind.MATRIX: "One scale for all rows and steps, dark to bright; grey without a number.",
}
"""How each kind of picture is read."""

MOST_ROWS = 200
"""Rows of a table of numbers."""

Content = dict[str, Any]


def probes_content(analysis: Analysis, room: Room, but: Iterable[str] = ()) -> list[Content]:
    """Return what is said of all results of an analysis; what is damaged is said to be so.

    Args:
        analysis: The analysis.
        room: How much may be shown of one probe.
        but: Probes that are shown elsewhere.
    """
    found = []
    for name in analysis.probes:
        try:
            result = analysis.probes[name]
            if result.name in but or not len(result.steps):
                continue
            found.append(probe_content(result, room, title=name))
        except (AccweightError, OSError) as error:
            found.append(_broken(name, str(error)))
    return found


def _broken(name: str, reason: str) -> Content:
    empty: Content = {
        "options": "",
        "spec": "",
        "command": "",
        "proof": "",
        "engine": "",
        "data": "",
        "gaps": "",
    }
    said = {"what": "", "said": [f"cannot be read: {reason}"], "reading": []}
    rest: Content = {"notes": [], "names": [], "steps": [], "views": [], "table": None}
    return {"name": name, "title": name, "of": "", **empty, **said, **rest}


def probe_content(result: ProbeResult, room: Room, command: str = "", title: str = "") -> Content:
    """Return what is said of a result.

    Args:
        result: The result.
        room: How much may be shown of it.
        command: The command that makes it again.
        title: What it is called beside other results; by default as the probe.

    Raises:
        StoreError: If it is damaged.
    """
    kind, attributes = probes().get(result.name), result.attributes
    views = [view for name in _shown(result) if (view := view_of(result, name, room)) is not None]
    told = [view for view in views if _has_numbers(view)]
    views = told or views
    if any(view["kind"] == ResultKind.LINKS for view in views):  # which shows the same pictures
        views = [view for view in views if view["name"] != "images"]
    kinds = dict.fromkeys(ResultKind(view["kind"]) for view in views)
    said = list(kind.summary(result)) if kind is not None else []
    reading = [getattr(kind, "reading", ""), *(READING.get(one, "") for one in kinds)]
    return {
        "name": result.name,
        "title": title or result.name,
        "of": str(attributes.get("parameter") or attributes.get("node") or ""),
        "options": spec_of(result.name, result.options).partition(":")[2],
        "spec": spec_of(result.name, result.options),
        "command": command,
        "proof": result.proof,
        "data": result.data,
        "gaps": result.left_out,
        "engine": result.engine,
        "what": _what(kind),
        "said": said,
        "notes": list(result.notes),
        "names": names_at_front(result, said),
        "reading": [line for line in reading if line],
        "steps": result.steps.tolist(),
        "views": views,
        "table": _table(result),
    }


def _has_numbers(view: Content) -> bool:
    """Tell whether there is something to see: curves without any number are none."""
    lines = [line for chart in view.get("charts", ()) for line in chart["lines"]]
    return "charts" not in view or any(one is not None for line in lines for one in line)


def names_at_front(result: ProbeResult, lines: Iterable[str]) -> list[str]:
    """Return the names of layers, options and the like with which lines begin: no capitals."""
    axes = {axis for field in result.fields.values() for axis in field.axes}
    known = {name for axis in axes for name in result.labels(axis)} | set(result.layers_of_run)
    known |= {name.split(" ", 1)[0] for name in known}
    known |= {word for word in (*result.options.values(), *result.attributes.values())
              if isinstance(word, str)}  # fmt: skip
    firsts = dict.fromkeys(line.split(" ", 1)[0].rstrip(",:;") for line in lines)
    return [first for first in firsts if first in known]


def _what(kind: type[Probe] | None) -> str:
    return ((kind.__doc__ if kind else "") or "").strip().split("\n")[0]


def _shown(result: ProbeResult) -> list[str]:
    """Return the arrays with a view: networks, pictures, then points and maps, then curves.

    Arrays of the same curves are one view, which stands for the first of them.
    """
    order = (
        (ResultKind.LINKS, ResultKind.PICTURES),
        (ResultKind.STAGES, ResultKind.POINTS, ResultKind.AGAINST, ResultKind.PATH),
        (ResultKind.CELLS, ResultKind.STEPS, ResultKind.MATRIX, ResultKind.UNITS),
    )
    found = [name for kinds in order for name in arrays_of(result, *kinds)]
    if arrays_of(result, ResultKind.STAGES):  # the same points, and more of them
        found = [name for name in found if name not in arrays_of(result, ResultKind.POINTS)]
    along: dict[tuple[str, ...], str] = {}
    for name in arrays_of(result, ResultKind.NUMBERS, ResultKind.LAYERS, ResultKind.ROWS):
        along.setdefault(result.fields[name].axes, name)
    return [*found, *along.values()]


def _table(result: ProbeResult) -> Content | None:
    """Return the numbers of the last step per layer, or of all steps; None without any."""
    frame = result.table()
    if "layer" in frame:
        frame = frame[frame["step"] == result.steps[-1]].drop(columns="step")
    if len(frame.columns) < 2 or frame.empty:
        return None
    left_out = max(len(frame) - MOST_ROWS, 0)
    rows = [[_plain(cell) for cell in row] for row in frame.head(MOST_ROWS).itertuples(index=False)]
    title = f"at step {result.steps[-1]}" if "layer" in frame else "at every step"
    return {
        "columns": [str(name) for name in frame.columns],
        "rows": rows,
        "title": title,
        "left_out": left_out,
    }


def _plain(cell: Any) -> str | float | int | None:
    if isinstance(cell, str):
        return cell
    if isinstance(cell, (int, np.integer)):
        return int(cell)
    return float(cell) if math.isfinite(cell) else None


def summary_rows(found: Sequence[Content]) -> list[list[str]]:
    """Return name, options and what was found of each probe, for forms without pictures."""
    return [[one["name"], one["options"], "; ".join(one["said"])] for one in found]
