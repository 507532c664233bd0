"""Points in the plane: samples at chosen steps side by side, and the path of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.figures.of_probes.curves import (
    class_colours,
    heading,
    line_colours,
    subtitle,
)
from accweight_core.analysis.figures.page import (
    MARGIN,
    SMALL,
    THEME,
    Drawing,
    cut,
    page,
    text_width,
    write_key,
)
from accweight_core.analysis.probe_kinds import ResultKind, kind_of
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.text import plain

MOST_STEPS, COLUMNS = 8, 4
SIDE, GAP, CAPTION = 1.9, 0.15, 0.24
LINE = 0.16
"""Inches of a second line above a panel."""

KEY = 0.2
"""Inches of the line that says which colour is which class."""

MOST_STAGES = 7
STEPS = 0.6
"""Inches of the names of steps at the left."""

PATH = 4.2
"""Inches of the sides of a path."""

OF_PATHS = "a random walk, too, is a smooth curve here; only shares above its own are structure"

QUALITY = {"trustworthiness": "trust", "purity": "purity", "jump": "jump"}
"""Numbers per step that say what a picture of points is worth, and their short names."""

PLAIN = 100
"""From which on they have all their digits, as two would give powers of ten."""

Floats = npt.NDArray[np.float64]


def scatter_figure(result: ProbeResult, name: str) -> Drawing:
    """Draw the points at chosen steps on common axes, coloured by class."""
    chosen = np.unique(np.linspace(0, len(result.steps) - 1, MOST_STEPS).round().astype(int))
    points = result.array(name)[chosen].astype(np.float64)
    columns = min(COLUMNS, len(chosen))
    lines = -(-len(chosen) // columns)
    worth = [_quality(result, int(place)) for place in chosen]
    caption = CAPTION + (LINE if any(worth) else 0)
    body = lines * (SIDE + caption) + KEY
    wide = max(2 * MARGIN + columns * (SIDE + GAP) - GAP, 5.2)
    notes = [str(result.attributes.get("said", "")), *_axis_words(result, name)]
    figure, bottom = page(wide, body, heading(result), subtitle(result), notes)
    classes, paint, colours = painted(result)
    bounds = square_around(points)
    if known := result.attributes.get("bounds"):
        bounds = square_around(np.array([[known[0]] * 2, [known[1]] * 2], np.float64))
    for number, place in enumerate(chosen):
        left = MARGIN + number % columns * (SIDE + GAP)
        top = bottom + body - KEY - number // columns * (SIDE + caption)
        figure.write(left, top - 0.15, f"step {result.steps[place]}", SMALL)
        size = SMALL * min(1.0, SIDE / max(text_width(worth[number], SMALL), SIDE))
        figure.write(left, top - 0.15 - LINE, worth[number], size, color=THEME.dim)
        _points(figure, points[number], left, top - caption, paint, bounds)
    _key(figure, result, classes, colours, bottom + body - 0.12)
    return figure


def _axis_words(result: ProbeResult, name: str) -> list[str]:
    """Return what is across and upwards, where axes have a meaning."""
    if kind_of(result.fields[name]) is not ResultKind.AGAINST:
        return []
    across, up = result.labels("coordinate")[:2]
    return [f"across: {plain(across)}", f"upwards: {plain(up)}"]


def stages_figure(result: ProbeResult, name: str) -> Drawing:
    """Draw the points at every stage of the network, at the first, middle and last step."""
    count = len(result.steps)
    chosen = list(dict.fromkeys([0, (count - 1) // 2, count - 1]))
    stages = result.labels("stage")
    shown = np.unique(np.linspace(0, len(stages) - 1, MOST_STAGES).round().astype(int))
    body = len(chosen) * (SIDE + GAP) + CAPTION + KEY
    figure, bottom = page(
        2 * MARGIN + STEPS + len(shown) * (SIDE + GAP), body, heading(result), subtitle(result),
        ["each stage has its own scale, the same at all steps"],
    )  # fmt: skip
    classes, paint, colours = painted(result)
    views = np.stack([result.array(name, int(result.steps[at])) for at in chosen])
    for column, stage in enumerate(shown):
        left = MARGIN + STEPS + column * (SIDE + GAP)
        title = cut(plain(stages[stage]), SIDE, SMALL)
        figure.write(left, bottom + body - KEY - 0.15, title, SMALL, color=THEME.dim)
        bounds = square_around(views[:, stage, :, :2])
        for line in range(len(chosen)):
            top = bottom + body - KEY - CAPTION - line * (SIDE + GAP)
            _points(figure, views[line, stage], left, top, paint, bounds)
    for line, place in enumerate(chosen):
        middle = bottom + body - KEY - CAPTION - line * (SIDE + GAP) - SIDE / 2
        figure.write(MARGIN, middle, f"step {result.steps[place]}", SMALL, color=THEME.dim)
    _key(figure, result, classes, colours, bottom + body - 0.12)
    return figure


Colour = tuple[float, float, float]
Bounds = tuple[tuple[float, float], tuple[float, float]]


def painted(result: ProbeResult) -> tuple[list[int], object, list[Colour]]:
    """Return the classes, the colour of every point, and the colour of every class."""
    targets: list[int] = list(result.attributes.get("targets", []))
    classes = sorted(set(targets))
    if not targets or len(classes) == len(targets):
        return [], THEME.curves[0], []
    colours = class_colours(len(classes))
    return classes, [colours[classes.index(target)] for target in targets], colours


def square_around(points: Floats) -> Bounds:
    """Return the bounds of a square with all points, those that are not finite left out."""
    flat = points[..., :2].reshape(-1, 2)
    finite = flat[np.isfinite(flat).all(axis=1)]
    if not len(finite):
        return (-1, 1), (-1, 1)
    low, high = finite.min(axis=0), finite.max(axis=0)
    (x, y), half = (low + high) / 2, 0.53 * float((high - low).max() or 1.0)
    return (float(x - half), float(x + half)), (float(y - half), float(y + half))


def _points(
    figure: Drawing, points: Floats, left: float, top: float, paint: object, bounds: Bounds
) -> None:
    """Draw points in a square."""
    axes = figure.panel(left, top - SIDE, SIDE, SIDE)
    axes.spines[:].set(visible=True, color=THEME.line, linewidth=0.6)
    colour: Any = paint
    axes.scatter(points[:, 0], points[:, 1], s=4, c=colour, linewidths=0, alpha=0.8)
    axes.set(xlim=bounds[0], ylim=bounds[1])


def _quality(result: ProbeResult, place: int) -> str:
    """Return what the picture of a step is worth; empty if that is not known."""
    found = {
        short: float(result.array(name)[place])
        for name, short in QUALITY.items()
        if name in result.arrays
    }
    return ", ".join(
        f"{short} {value:.2g}" if abs(value) < PLAIN else f"{short} {value:.0f}"
        for short, value in found.items()
        if np.isfinite(value)
    )


def _key(
    figure: Drawing,
    result: ProbeResult,
    classes: Sequence[int],
    colours: Sequence[tuple[float, float, float]],
    bottom: float,
) -> None:
    """Write the names of the classes in their colours."""
    names = result.attributes.get("classes") or []
    named = [plain(names[at]) if 0 <= at < len(names) else str(at) for at in classes]
    room = float(figure.get_size_inches()[0]) - 2 * MARGIN
    write_key(figure, MARGIN, bottom, room, list(zip(named, colours, strict=False)))


def path_in_plane(result: ProbeResult, name: str) -> Floats:
    """Return (steps, 2): the first two components of a path, 0 for one that it does not have."""
    path = result.array(name).astype(np.float64)[:, :2]
    return np.pad(path, [(0, 0), (0, 2 - path.shape[1])])


def path_labels(result: ProbeResult, name: str) -> list[str]:
    """Return the names of the axes of a path, with what they explain of the variance."""
    shares = result.array("variance") if "variance" in result.arrays else np.full(2, np.nan)
    null = result.attributes.get("random_walk") or [np.nan, np.nan]
    count = min(2, len(shares), len(null), result.fields[name].shape[1])
    return [
        f"component {k + 1}: {shares[k]:.0%} of the variance (of a random walk {null[k]:.0%})"
        for k in range(count)
    ]


def path_figure(result: ProbeResult, name: str) -> Drawing:
    """Draw the path of the weights in its first two principal components."""
    path, labels = path_in_plane(result, name), path_labels(result, name)
    figure, bottom = page(
        PATH + 2 * MARGIN + 1.4, PATH + 0.3, heading(result), subtitle(result),
        [OF_PATHS],
    )  # fmt: skip
    axes = figure.panel(MARGIN + 0.3, bottom + 0.3, PATH, PATH)
    axes.spines[:].set(visible=True, color=THEME.line, linewidth=0.6)
    axes.plot(path[:, 0], path[:, 1], color=THEME.line, linewidth=1, zorder=1)
    axes.scatter(path[:, 0], path[:, 1], c=line_colours(len(path)), s=22, zorder=2)
    axes.axhline(0, color=THEME.line, linewidth=0.5, zorder=0)
    axes.axvline(0, color=THEME.line, linewidth=0.5, zorder=0)
    axes.margins(0.08)
    for place in dict.fromkeys([0, len(path) // 2, len(path) - 1]):
        axes.annotate(
            f"step {result.steps[place]}", tuple(path[place]), xytext=(5, 4),
            textcoords="offset points", fontsize=SMALL, color=THEME.ink,
        )  # fmt: skip
    figure.write(MARGIN + 0.3, bottom + 0.1, labels[0], SMALL, color=THEME.dim)
    if len(labels) > 1:
        figure.write(
            MARGIN + 0.16, bottom + 0.3, labels[1], SMALL, color=THEME.dim, rotation=90, va="bottom"
        )
    return figure
