"""The views of a probe's results: what the script of a page draws, step by step, as plain values.

Pictures are one PNG per step, with all units side by side; points and curves are numbers of four
digits, which no screen exceeds.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.probe_kinds import ResultKind, arrays_of, kind_of
from accweight_core.analysis.probe_pictures import (
    are_ratings,
    are_strips,
    class_key,
    is_signed,
    pictures_at,
    scale_text,
    token_rows,
    unit_names,
)
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.analysis.probe_scales import (
    are_of_classes,
    bands_of,
    curve_scale,
    matrix_scale,
    told_and_empty,
    without_numbers,
)
from accweight_core.analysis.shown_names import group_borders, marked_places, shown_names
from accweight_core.analysis.unit_network import UnitNetwork, is_network
from accweight_core.colours.png import pixel_png
from accweight_core.pictures.sprites import sprite

Array = npt.NDArray[Any]
Content = dict[str, Any]


@dataclass(frozen=True)
class Room:
    """How much a page shows of one array.

    Attributes:
        pixels: Pixels of pictures, over all units and steps.
        numbers: Numbers of curves, points and maps.
        units: Pictures of a step.
        lines: Curves of a chart.
    """

    pixels: int = 6_000_000
    numbers: int = 400_000
    units: int = 64
    lines: int = 60


REPORT = Room(1_000_000, 100_000, 32, 40)
"""Of a probe that is a part of a report."""

FEWEST_STEPS = 8
"""Steps that are kept however much a step takes."""

MOST_KEYS = 20
"""Classes whose colours are named below pictures."""

MOST_CLASSES = 40
"""Classes whose confusion is shown."""


def view_of(result: ProbeResult, name: str, room: Room) -> Content | None:
    """Return the view of an array, or of all arrays of the same axes if it is of curves.

    Args:
        result: The result.
        name: The array.
        room: How much may be shown.

    Raises:
        StoreError: If it is damaged.
    """
    kind = kind_of(result.fields[name])
    if kind is None:
        return None
    view = _VIEWS[kind](result, name, room)
    title = f"{result.fields[name].words}"
    return None if view is None else {"kind": str(kind), "name": name, "words": title, **view}


def _places(result: ProbeResult, per_step: int, most: int) -> Array:
    """Return which steps are shown: all, or evenly spaced ones, the first and last among them."""
    count = len(result.steps)
    kept = min(count, max(most // max(per_step, 1), FEWEST_STEPS))
    return np.unique(np.linspace(0, count - 1, kept).round().astype(int))


def _brief(values: Array) -> list[Any]:
    """Return numbers with four digits; None where there is none."""
    return [float(f"{v:.4g}") if math.isfinite(v) else None for v in values.reshape(-1).tolist()]


def _curves(result: ProbeResult, name: str, room: Room) -> Content:
    axes = result.fields[name].axes
    alike = [one for one in result.arrays if result.fields[one].axes == axes
             and kind_of(result.fields[one]) is kind_of(result.fields[name])]  # fmt: skip
    labels = list(result.labels(axes[1])) if len(axes) > 1 else []
    shown = min(max(len(labels), 1), room.lines)
    places = _places(result, shown * len(alike), room.numbers)
    told, empty = told_and_empty(result, alike)
    charts, bands = [], bands_of(result)
    for one in told:
        values = result.array(one).astype(np.float64).reshape(len(result.steps), -1)
        bounds = [result.array(bound).astype(np.float64) for bound in bands.get(one, ())]
        scale = curve_scale(np.concatenate([values, *(bound[:, None] for bound in bounds)], axis=1))
        charts.append(
            {
                "name": one,
                "words": result.fields[one].words,
                "lines": [_brief(values[places, at]) for at in range(shown)],
                "band": [_brief(bound[places]) for bound in bounds],
                "range": [scale.low, scale.high],
                "log": scale.logarithmic,
            }
        )
    axis = axes[1] if len(axes) > 1 else ""
    left_out = [f"{len(labels) - shown} more are not drawn"] if len(labels) > shown else []
    left_out += [without_numbers(empty)] if empty else []
    return {
        "words": "",
        "axis": axis,
        "of_classes": bool(axis) and are_of_classes(result, axis),
        "labels": labels[:shown],
        "places": places.tolist(),
        "charts": charts,
        "left_out": "; ".join(left_out),
    }


def _pictures(result: ProbeResult, name: str, room: Room) -> Content:
    first = pictures_at(result, name, int(result.steps[0]))
    shown = min(len(first), room.units)
    places = _places(result, shown * int(np.prod(first.shape[1:])), room.pixels)
    samples = result.samples if result.fields[name].axes[1] == "picture" else None
    over = samples is not None and samples.shape[:3] == first.shape[:3]
    return {
        "labels": list(unit_names(result, name, len(first)))[:shown],
        "height": first.shape[1],
        "width": first.shape[2],
        "places": places.tolist(),
        "signed": is_signed(result),
        "ratings": are_ratings(result, name, first),
        "strips": are_strips(result, name, first),
        "tokens": token_rows(result, name, first)[:shown],
        "blank": result.attributes.get("blank"),
        "sheets": [
            _sheet(pictures_at(result, name, int(result.steps[place]))[:shown]) for place in places
        ],
        "under": _sheet(samples[:shown]) if over and samples is not None else None,
        "scale": scale_text(result, name),
        "key": class_key(result)[:MOST_KEYS],
        "left_out": f"{len(first) - shown} more are not shown" if len(first) > shown else "",
    }


def _sheet(units: Array) -> Content:
    pixels, columns = sprite(units)
    return {"png": b64encode(pixel_png(pixels)).decode("ascii"), "columns": columns}


def _points(result: ProbeResult, name: str, room: Room) -> Content:
    """Return points at all steps; of points on their way, at all stages of each."""
    field = result.fields[name]
    stages = list(result.labels("stage")) if "stage" in field.axes else []
    count, per = field.shape[-2], 2 * max(len(stages), 1)
    shown = min(count, max(room.numbers // (per * FEWEST_STEPS), 1))
    kept = np.unique(np.linspace(0, count - 1, shown).round().astype(int))
    places = _places(result, per * len(kept), room.numbers)
    found = [
        result.array(name, int(result.steps[place]))[..., kept, :2].astype(np.float64)
        for place in places
    ]
    attributes, samples = result.attributes, result.samples
    targets = list(attributes.get("targets") or [])
    rows = list(attributes.get("rows") or range(count))
    known = samples is not None and len(samples) == count
    return {
        "stages": stages,
        "places": places.tolist(),
        "points": [_brief(one) for one in found],
        "classes": [targets[at] for at in kept] if len(targets) == count else [],
        "names": [str(one) for one in attributes.get("classes") or []],
        "rows": [rows[at] for at in kept] if len(rows) == count else kept.tolist(),
        "quality": {
            one: _brief(result.array(one)[places]) for one in arrays_of(result, ResultKind.NUMBERS)
        },
        "samples": _samples(samples[kept]) if known and samples is not None else None,
        "note": str(attributes.get("said", "")),
        "left_out": f"{len(kept)} of {count} points are shown" if len(kept) < count else "",
    }


def _against(result: ProbeResult, name: str, room: Room) -> Content:
    """Return things by two quantities: points with names, on axes with names and bounds."""
    axis, count = result.fields[name].axes[1], result.fields[name].shape[1]
    view, names = _points(result, name, room), result.labels(axis)
    kept = view["rows"] if view["left_out"] else range(count)
    view |= {"rows": [names[at] for at in kept], "quality": {}, "samples": None, "note": ""}
    bounds = list(result.attributes.get("bounds") or [])
    return {**view, "axes": list(result.labels("coordinate"))[:2], "bounds": bounds}


def _samples(samples: Array) -> Content:
    return {**_sheet(samples), "height": samples.shape[1], "width": samples.shape[2]}


def _network(result: ProbeResult, name: str, room: Room) -> Content | None:
    """Return a network as columns of pictures with links; None if it has no room."""
    if not is_network(result) or result.fields["images"].shape[1] > room.units:
        return None
    pictures = _pictures(result, "images", room)
    network = UnitNetwork.of(result, name)
    return {
        **pictures,
        "columns": network.columns,
        "ends": network.ends,
        "inputs": _sheet(result.array("inputs")),
        "names": network.names,
        "weights": [_brief(network.weights[place]) for place in pictures["places"]],
        "high": network.high,
    }


def _path(result: ProbeResult, name: str, room: Room) -> Content:
    values = result.array(name).astype(np.float64)
    flat = np.zeros((len(values), 2))
    flat[:, : min(2, values.shape[1])] = values[:, :2]
    shares = result.array("variance") if "variance" in result.arrays else np.array([])
    null = list(result.attributes.get("random_walk") or [])
    axes = [
        f"component {at + 1}: {shares[at]:.0%} of the variance (random walk {null[at]:.0%})"
        if at < min(len(shares), len(null)) else f"component {at + 1}"
        for at in range(2)
    ]  # fmt: skip
    return {"points": _brief(flat), "axes": axes}


def _steps_map(result: ProbeResult, name: str, room: Room) -> Content | None:
    values = result.array(name).astype(np.float64)
    if values.size > room.numbers:
        return None
    labels = [str(step) for step in result.steps]
    return {"rows": labels, "columns": labels, "values": _brief(values), "low": -1, "high": 1}


def _cells(result: ProbeResult, name: str, room: Room) -> Content | None:
    axes, shape = result.fields[name].axes, result.fields[name].shape
    if max(shape[1:]) > MOST_CLASSES:
        return None
    places = _places(result, int(np.prod(shape[1:])), room.numbers)
    counts = [result.array(name, int(result.steps[place])) for place in places]
    names = [str(one) for one in result.attributes.get("classes") or []]
    rows = names if len(names) == shape[1] else list(result.labels(axes[1]))
    return {
        "rows": rows,
        "columns": rows,
        "borders": group_borders(result, axes[1]),
        "places": places.tolist(),
        "values": [_brief(one) for one in counts],
    }


def _units(result: ProbeResult, name: str, room: Room) -> Content:
    """Return a row per layer, or per place of the first axis of another matrix."""
    rows, columns = result.fields[name].axes[1:]
    width = min(result.fields[name].shape[2], 512)
    whole = list(result.labels(rows))
    layers = whole[: room.lines]
    places = _places(result, width * len(layers), room.numbers)
    found = [
        result.array(name, int(result.steps[place]))[: len(layers), :width].astype(np.float64)
        for place in places
    ]
    low, high = matrix_scale(result, name)
    left_out = len(whole) - len(layers)
    return {
        "rows": layers,
        "places": places.tolist(),
        "values": [_brief(one) for one in found],
        "low": low,
        "high": high,
        "axis": columns,
        "row_axis": rows,
        "columns": list(shown_names(result, columns))[:width],
        "marked": marked_places(result, columns),
        "borders": [group_borders(result, axis) for axis in (rows, columns)],
        "left_out": f"{left_out} more rows are not shown" if left_out else "",
    }


_VIEWS: Mapping[ResultKind, Callable[[ProbeResult, str, Room], Content | None]] = {
    ResultKind.NUMBERS: _curves,
    ResultKind.LAYERS: _curves,
    ResultKind.ROWS: _curves,
    ResultKind.PICTURES: _pictures,
    ResultKind.POINTS: _points,
    ResultKind.STAGES: _points,
    ResultKind.AGAINST: _against,
    ResultKind.LINKS: _network,
    ResultKind.PATH: _path,
    ResultKind.STEPS: _steps_map,
    ResultKind.CELLS: _cells,
    ResultKind.UNITS: _units,
    ResultKind.MATRIX: _units,
}
