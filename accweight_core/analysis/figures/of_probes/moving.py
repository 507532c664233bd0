"""Movies of what probes found: pictures, points and a path over the steps, points through layers.

Points go from step to step on straight lines, slowly at both ends; pictures are those of a step
until the next one. What is between two steps is drawn, not measured: the caption says which step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.figures.film import Frame, even
from accweight_core.analysis.figures.of_probes.curves import (
    heading,
    heading_width,
    line_colours,
    subtitle,
)
from accweight_core.analysis.figures.of_probes.points import (
    OF_PATHS,
    painted,
    path_in_plane,
    path_labels,
    square_around,
)
from accweight_core.analysis.figures.of_probes.sheets import MOST_STRIPS, STRIP, tokens_that_fit
from accweight_core.analysis.figures.page import (
    MARGIN,
    SMALL,
    THEME,
    TITLE,
    cut,
    more,
    page,
)
from accweight_core.analysis.motion import between
from accweight_core.analysis.probe_kinds import ResultKind, arrays_of, kind_of
from accweight_core.analysis.probe_pictures import (
    are_ratings,
    are_strips,
    as_seen,
    on_colour,
    pictures_at,
    scale_text,
    token_rows,
    unit_names,
)
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.text import plain

DPI = 120
SIDE, ROOM = 6.0, 7.6
"""Inches of a plane of points, and of a line of pictures."""

NAMES, CAPTION = 0.16, 1.9
"""Inches of the names above pictures, and of the step beside the title."""

BAR = 0.3
"""Inches of the time below a picture."""

MOST_UNITS = 64
GAP, LEAST = 0.08, 0.2
"""Inches between two pictures, and of the longer side of a picture at least."""

SECONDS = 0.35, 1.1
"""Least and largest duration of a step."""

WHOLE_SECONDS, REST_SECONDS = 14.0, 1.2
"""Duration of all steps if there are many, and of the rest at the last one."""

FLIGHT = 0.75
"""Part of a step in which points move."""

Floats = npt.NDArray[np.float64]
Frames = Iterator[tuple[Frame, float]]
"""Frames, each with the share of the movie that is over then."""


def movies_of(result: ProbeResult) -> Mapping[str, Callable[[int], Frames]]:
    """Return what draws the frames of each movie of a result, for a number of frames per second."""
    found: dict[str, Callable[[int], Frames]] = {}
    if len(result.steps) < 1:
        return found
    for name in arrays_of(result, *_DRAWN):
        draw = _DRAWN[kind_of(result.fields[name]) or ResultKind.POINTS]
        found[name] = partial(draw, result, name)
    return found


class _Stage:
    """A page with a caption and the time, of which only what moves is drawn again."""

    def __init__(self, result: ProbeResult, wide: float, body: float, notes: list[str]) -> None:
        title = cut(heading(result), wide - 2 * MARGIN - CAPTION, TITLE, "bold")
        self.figure, below = page(wide, body + BAR, title, subtitle(result), notes)
        self.bottom = below + BAR
        self.room = wide - 2 * MARGIN
        high = self.figure.get_size_inches()[1]
        self._caption = self.figure.write(
            wide - MARGIN, high - MARGIN - 0.16, "", TITLE, weight="bold", ha="right"
        )
        line: Any = self.figure.panel(MARGIN, below + 0.08, self.room, 0.08)
        line.set(xlim=(0, 1), ylim=(0, 1))
        line.axhline(0.5, color=THEME.line, linewidth=2, solid_capstyle="round")
        (self._time,) = line.plot(
            [0, 0], [0.5, 0.5], color=THEME.accent, linewidth=3, solid_capstyle="round"
        )
        self.figure.set_dpi(DPI)
        self._moving: list[Any] = [self._time, self._caption]
        self._still: Any = None

    def moves(self, *artists: Any) -> None:
        """Draw artists anew in every frame, in this order, above what stays."""
        self._moving = [*artists, *self._moving]

    def renew(self) -> None:
        """Draw once more what stays, in the next frame."""
        self._still = None

    def frame(self, caption: str, share: float) -> tuple[Frame, float]:
        """Return the page as it is now, and how much of the movie is over."""
        self._caption.set_text(caption)
        self._time.set_xdata([0, share])
        canvas: Any = self.figure.canvas
        if self._still is None:
            for artist in self._moving:
                artist.set_animated(True)
            canvas.draw()
            self._still = canvas.copy_from_bbox(self.figure.bbox)
        canvas.restore_region(self._still)
        for artist in self._moving:
            artist.draw(canvas.get_renderer())
        return np.ascontiguousarray(even(np.asarray(canvas.buffer_rgba())[..., :3])), share


def _times(count: int, rate: int) -> Iterator[tuple[int, float, float]]:
    """Yield, per frame, the stop before it, the share of the way to the next, and of all time."""
    each = float(np.clip(WHOLE_SECONDS / max(count, 1), *SECONDS))
    per, last = max(round(each * rate), 1), count - 1
    for at in range(last):
        for part in range(per):
            yield at, _eased(part / per), (at + part / per) / last
    for _ in range(max(round(REST_SECONDS * rate), 1)):
        yield last, 0.0, 1.0


def _eased(share: float) -> float:
    """Return how far points are on their way: they rest, then go, slowly at both ends."""
    way = min(max((share - 1 + FLIGHT) / FLIGHT, 0.0), 1.0)
    return way * way * (3 - 2 * way)


def _sheets(result: ProbeResult, name: str, rate: int) -> Frames:
    """Yield the pictures of each step, framed, with their names; sequences with their tokens."""
    first = pictures_at(result, name, int(result.steps[0]))
    are_lines = are_strips(result, name, first)
    shown = min(len(first), MOST_STRIPS if are_lines else MOST_UNITS)
    high, wide = first.shape[1:3]
    tokens = token_rows(result, name, first)[:shown] if high == 1 else []
    written = [tokens_that_fit(own, ROOM) for own in tokens] if are_lines else []
    head = NAMES * (1 + any(written))
    if are_lines:
        columns, width, height = 1, ROOM, min(max(ROOM * high / wide, STRIP), SIDE / shown - head)
    else:
        columns, scale = _grid(shown, high, wide, head)
        width, height = wide * scale, high * scale
    body = -(-shown // columns) * (head + height + GAP)
    notes = [
        scale_text(result, name),
        more(len(first) - shown, "sequence" if are_lines else "picture"),
    ]
    across = columns * (width + GAP) - GAP
    page_wide = max(across, heading_width(result, ROOM, beside=CAPTION)) + 2 * MARGIN
    stage = _Stage(result, page_wide, body, notes)
    names, images = unit_names(result, name, len(first)), []
    opaque = _opaque(result, name, first[:shown])
    for number in range(shown):
        line, column = divmod(number, columns)
        x = (page_wide - across) / 2 + column * (width + GAP)
        top = stage.bottom + body - line * (head + height + GAP)
        text = cut(plain(names[number]), width, SMALL, keep="end")
        stage.figure.write(x, top - NAMES + 0.04, text, SMALL, color=THEME.dim)
        for at, token in enumerate(written[number] if written else ()):
            middle = x + (at + 0.5) * width / wide
            stage.figure.write(middle, top - head + 0.04, token, SMALL, ha="center")
        axes = stage.figure.panel(x, top - head - height, width, height)
        axes.spines[:].set(visible=True, color=THEME.frame, linewidth=0.5)
        images.append(axes.imshow(opaque[number], aspect="auto", interpolation="none"))
    drawn = 0
    for at, _, share in _times(len(result.steps), rate):
        if at != drawn:
            pictures = pictures_at(result, name, int(result.steps[at]))[:shown]
            for image, seen in zip(images, _opaque(result, name, pictures), strict=True):
                image.set_data(seen)
            stage.renew()
            drawn = at
        yield stage.frame(f"step {result.steps[at]}", share)


def _opaque(result: ProbeResult, name: str, pictures: Any) -> Any:
    """Return (pictures, height, width, 3) of bytes, in colours of figures on that of the page."""
    if are_ratings(result, name, pictures):
        return on_colour(as_seen(result, name, pictures))
    return pictures.repeat(3 // pictures.shape[-1], axis=-1)


def _grid(count: int, high: int, wide: int, head: float) -> tuple[int, float]:
    """Return how many pictures stand in a row, and the inches of a pixel: the most that fit.

    Args:
        count: How many pictures.
        high: Their height in pixels.
        wide: Their width in pixels.
        head: Inches above each.
    """
    found = []
    for columns in range(1, count + 1):
        lines = -(-count // columns)
        across, upwards = ROOM / columns - GAP, SIDE / lines - GAP - head
        found.append((min(across / wide, upwards / high), columns))
    scale, columns = max(found)
    return columns, max(scale, LEAST / max(high, wide))


def _points(result: ProbeResult, name: str, rate: int) -> Frames:
    """Yield points at all steps, on straight lines between them."""
    stops = result.array(name)[..., :2].astype(np.float64)
    captions = [f"step {step}" for step in result.steps]
    note = str(result.attributes.get("said", ""))
    yield from _flown(result, stops, captions, [square_around(stops)] * len(stops), note, rate)


def _stages(result: ProbeResult, name: str, rate: int) -> Frames:
    """Yield points at the last step on their way through the layers."""
    stops = result.array(name, int(result.steps[-1]))[..., :2].astype(np.float64)
    captions = [plain(stage) for stage in result.labels("stage")]
    bounds = [square_around(points) for points in stops]
    note = f"step {result.steps[-1]}; each stage has its own scale"
    yield from _flown(result, stops, captions, bounds, note, rate)


def _path(result: ProbeResult, name: str, rate: int) -> Frames:
    """Yield a path that grows from step to step, on axes that stay."""
    path, labels = path_in_plane(result, name), path_labels(result, name)
    stage = _Stage(result, SIDE + 2 * MARGIN, SIDE, [*labels, OF_PATHS])
    axes = stage.figure.panel(MARGIN, stage.bottom, SIDE, SIDE)
    axes.spines[:].set(visible=True, color=THEME.line, linewidth=0.6)
    (low, high), (bottom, top) = square_around(path[None])
    axes.set(xlim=(low, high), ylim=(bottom, top))
    axes.axhline(0, color=THEME.line, linewidth=0.5, zorder=0)
    axes.axvline(0, color=THEME.line, linewidth=0.5, zorder=0)
    axes.plot(*path.T, color=THEME.line, linewidth=0.8, linestyle=":")  # where it will go
    (line,) = axes.plot([], [], color=THEME.dim, linewidth=1.2)
    colours: Any = line_colours(len(path))
    dots: Any = axes.scatter(path[:1, 0], path[:1, 1], c=colours[:1], s=26, linewidths=0)
    (head,) = axes.plot([], [], "o", color=THEME.accent, markersize=9)
    stage.moves(line, dots, head)
    last = len(path) - 1
    for at, way, share in _times(len(path), rate):
        here = between(path[at], path[min(at + 1, last)], way)
        line.set_data(*np.concatenate([path[: at + 1], here[None]]).T)
        dots.set_offsets(path[: at + 1])
        dots.set_facecolors(colours[: at + 1])
        head.set_data(here[:1], here[1:])
        following = f"step {result.steps[min(at + 1, last)]}"
        yield stage.frame(_on_the_way(f"step {result.steps[at]}", following, way), share)


def _on_the_way(begin: str, end: str, way: float) -> str:
    """Return what is shown between two stops, and at them."""
    return f"{begin} \N{RIGHTWARDS ARROW} {end}" if 0 < way < 1 else begin


def _flown(
    result: ProbeResult, stops: Floats, captions: list[str], bounds: list[Any], note: str, rate: int
) -> Frames:
    """Yield points on their way from stop to stop.

    Args:
        result: Whose points they are.
        stops: (stops, points, 2).
        captions: Of the stops.
        bounds: What is seen at each stop, as limits of both axes.
        note: What is said below.
        rate: Frames per second.
    """
    stage = _Stage(result, SIDE + 2 * MARGIN, SIDE, [note])
    classes, paint, colours = painted(result)
    axes = stage.figure.panel(MARGIN, stage.bottom, SIDE, SIDE)
    axes.spines[:].set(visible=True, color=THEME.line, linewidth=0.6)
    axes.set(xlim=(-1, 1), ylim=(-1, 1))
    size = 14 if stops.shape[1] > 300 else 26
    colour: Any = paint
    dots = axes.scatter(
        np.zeros(stops.shape[1]),
        np.zeros(stops.shape[1]),
        s=size,
        c=colour,
        linewidths=0,
        alpha=0.85,
    )
    names = _names(axes, result, classes, colours)
    stage.moves(dots, *names.values())
    shown = np.stack([_within(points, bound) for points, bound in zip(stops, bounds, strict=True)])
    targets = np.array(result.attributes.get("targets") or [])
    last = len(stops) - 1
    for at, way, share in _times(len(stops), rate):
        following = min(at + 1, last)
        here = between(shown[at], shown[following], way)
        dots.set_offsets(here)
        for label, text in names.items():
            text.set_position(np.nanmedian(here[targets == label], axis=0))
        yield stage.frame(_on_the_way(captions[at], captions[following], way), share)


def _within(points: Floats, bound: Any) -> Floats:
    """Return points with what is seen from -1 to 1."""
    low, high = np.array(bound).T
    placed: Floats = 2 * (points - low) / (high - low) - 1
    return placed


def _names(
    axes: Any, result: ProbeResult, classes: list[int], colours: list[Any]
) -> dict[int, Any]:
    """Return the names of classes, to be moved with their points."""
    if len(classes) > len(THEME.classes):
        return {}
    named = result.attributes.get("classes") or []
    return {
        label: axes.text(
            0, 0, plain(named[label]) if 0 <= label < len(named) else str(label),
            fontsize=SMALL + 2, weight="bold", ha="center", va="center", color=THEME.ink,
            parse_math=False, clip_on=True,
            bbox={"boxstyle": "round,pad=0.25", "fc": THEME.panel, "ec": colour, "lw": 1.3,
                  "alpha": 0.88},
        )
        for label, colour in zip(classes, colours, strict=True)
    }  # fmt: skip


_DRAWN: Mapping[ResultKind, Callable[[ProbeResult, str, int], Frames]] = {
    ResultKind.PICTURES: _sheets,
    ResultKind.POINTS: _points,
    ResultKind.STAGES: _stages,
    ResultKind.PATH: _path,
}
