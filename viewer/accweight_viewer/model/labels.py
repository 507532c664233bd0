"""Labels next to the plates: names, kinds, shapes, gates; and which of them fit.

A label is attached to a point of the world and has a fixed size on the screen. Those of the
selected layer come first, then the nearest ones; labels that would overlap others are hidden.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from accweight_core.naming import leaf_of
from accweight_core.short_names import DOT, elided
from accweight_viewer.model.arrangement import RANGE, Arrangement
from accweight_viewer.model.camera import Camera
from accweight_viewer.model.ground import ground_ends, ground_marks
from accweight_viewer.model.label_room import lie_across
from accweight_viewer.model.occlusion import are_covered
from accweight_viewer.model.plates import ShownLayer

LEAST_HEIGHT = 30.0
"""Least height of a plate in pixels for its name, unless there are few plates."""

TITLE_LEAST = 12.0
"""The same for titles of rows."""

LEAST_ON_GROUND = 1.0
"""The same for what is on the ground, which does not show through plates."""

FEW = 12
LONGEST_TEXT = 44
GAP_PIXELS = 5.0

EDGE = 3.0
"""Least space in pixels between a text and the edge of the scene."""

MOST_SECTIONS = 12
"""Sections of a plate that get a label; heads of interleaved projections are far more."""


class Tone(IntEnum):
    """Colour of a label."""

    INK = 0
    DIM = 1
    ACCENT = 2
    MARK = 3


@dataclass(frozen=True)
class Label:
    """One line of text.

    Attributes:
        text: The text.
        anchor: Point of the world that it is attached to.
        across: Horizontal shift in widths of the text: 0 starts at the anchor, -1 ends there.
        down: Vertical shift in heights of the text: -1 is above the anchor, 0 below it.
        offset: Further shift in pixels, right and down.
        tone: Its colour.
        layer: Name of the layer.
        height: Height of the labelled object in the world.
        least: Least height of the object in pixels for the label to be shown.
        row: Row of plates that it belongs to.
        names: Whether it is the name of its layer.
        detail: Whether it is shown only together with that name.
        bold: Whether it is bold.
        gives_way: Whether it is left out if it would overlap any other.
        own: The first of the plates that it belongs to, and the one after the last.
    """

    text: str
    anchor: tuple[float, float, float]
    across: float
    down: float
    offset: tuple[float, float]
    tone: Tone
    layer: str
    height: float
    least: float
    row: int
    bold: bool = False
    names: bool = False
    detail: bool = False
    gives_way: bool = False
    own: tuple[int, int] = (0, 0)


def labels_of(
    layers: Sequence[ShownLayer],
    places: Arrangement,
    only_in: dict[str, str] | None = None,
    short: Mapping[str, str] | None = None,
) -> list[Label]:
    """Return all labels of a scene.

    Args:
        layers: In network order.
        places: Positions of their plates.
        only_in: For each layer of one run only, the name of the run.
        short: Short names of layers, by name.
    """
    short = short or {}
    blocks = _block_names(places, short)
    least = 0.0 if len(layers) <= FEW else LEAST_HEIGHT
    labels: list[Label] = []
    for row, title, end in places.title_ends:
        text = _shortened(_title(title, blocks))
        labels.append(
            Label(text, end, 0, -0.5, (8, 0), Tone.DIM, "", 2 * end[1], TITLE_LEAST, row, bold=True)
        )
    labels += _ground_labels(layers, places, least)
    for layer in layers:
        labels += _layer_labels(layer, places, least, (only_in or {}).get(layer.name, ""), short)
    return labels


def _ground_labels(layers: Sequence[ShownLayer], places: Arrangement, least: float) -> list[Label]:
    """Return the ends of the line on the ground, and the numbers of layers beside it."""
    marks = ground_marks(places)
    if not len(marks):
        return []
    begin, end = ground_ends(places)
    beside = (0.0, -0.5, (GAP_PIXELS, 0.0))
    above, below = (-0.5, -1.0, (0.0, -GAP_PIXELS)), (-0.5, 0.0, (0.0, GAP_PIXELS))
    least = max(least, LEAST_ON_GROUND)
    told = [("input", begin, below, "", 1.0, 0)]
    for number, layer in enumerate(layers, start=1):
        plate = layer.plates[0].number
        row, height = int(places.rows[plate]), float(places.sizes[plate, 1])
        told.append((str(number), marks[row], beside, layer.name, height, row))
    told.append(("output", end, above, "", 1.0, len(marks) - 1))
    return [
        Label(text, _point(at), *where, Tone.DIM, layer, height, least, row, gives_way=True)
        for text, at, where, layer, height, row in told
    ]


def _point(at: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    return float(at[0]), float(at[1]), float(at[2])


def _block_names(places: Arrangement, short: Mapping[str, str]) -> dict[str, str]:
    """Return the short name of each block, by the beginning of names that is its title."""
    return {
        prefix[:-1]: short[name].partition(DOT)[0]
        for name, prefix in places.prefixes.items()
        if DOT in short.get(name, "")
    }


def _title(title: str, blocks: Mapping[str, str]) -> str:
    """Return the title of a row of one block or of several, in short names."""
    first, dash, last = title.partition(RANGE)
    ends = [blocks.get(name, name) for name in (first, last) if name]
    if not dash:
        return ends[0]
    (word, _, number), (same, _, until) = (end.rpartition(" ") for end in ends)
    return f"{word} {number}{RANGE}{until}" if word and word == same else RANGE.join(ends)


def _layer_labels(
    layer: ShownLayer,
    places: Arrangement,
    least: float,
    only_in: str,
    short: Mapping[str, str],
) -> list[Label]:
    first = layer.plates[0].number
    x, y, z = (float(v) for v in places.corners[first])
    height = float(places.sizes[first, 1])
    row = int(places.rows[first])
    bold = layer.name not in places.prefixes
    name = short.get(layer.name, layer.name)
    if not bold:  # the title of its row says the rest
        _, dot, rest = name.partition(DOT)
        name = rest if dot else layer.name.removeprefix(places.prefixes[layer.name])
    detail = f"{layer.kind} {layer.shape}" + (f" \N{BULLET} only in {only_in}" if only_in else "")
    lines = [
        (_shortened(detail), Tone.MARK if only_in else Tone.DIM, 0.0, False),
        (_shortened(name), Tone.INK, -17.0, True),
    ]
    labels = [
        Label(
            text,
            (x, y, z),
            0,
            -1,
            (0, rise - GAP_PIXELS),
            tone,
            layer.name,
            height,
            least,
            row,
            named and bold,
            named,
            not named,
            own=(first, layer.plates[-1].number + 1),
        )
        for text, tone, rise, named in lines
    ]
    for plate in layer.plates:
        x, y, z = (float(v) for v in places.corners[plate.number])
        high = float(places.sizes[plate.number, 1])
        rows = plate.size[0]
        if len(layer.plates) > 1:
            text = leaf_of(plate.name, layer.name)
            below = (x, y - high, z)
            labels.append(
                Label(
                    _shortened(text),
                    below,
                    0,
                    0,
                    (0, GAP_PIXELS),
                    Tone.DIM,
                    layer.name,
                    high,
                    60,
                    row,
                    own=(plate.number, plate.number + 1),
                )
            )
        sections = plate.layout.sections
        for section in sections if len(sections) <= MOST_SECTIONS else ():
            middle = y - high * (section.row + section.rows / 2) / rows
            share = high * section.rows / rows
            labels.append(
                Label(
                    section.name,
                    (x, middle, z),
                    -1,
                    -0.5,
                    (-GAP_PIXELS, 0),
                    Tone.DIM,
                    layer.name,
                    share,
                    13,
                    row,
                    own=(plate.number, plate.number + 1),
                )
            )
    return labels


def _shortened(text: str) -> str:
    """Return a text of at most `LONGEST_TEXT` letters."""
    return elided(text, LONGEST_TEXT)


@dataclass(frozen=True)
class PlacedLabels:
    """Labels that are shown now.

    Attributes:
        chosen: Their indices in the list.
        at: (n, 3): upper left corner in pixels, and depth; 0 to be drawn over plates.
    """

    chosen: npt.NDArray[np.int64]
    at: npt.NDArray[np.float64]


def placed(
    labels: Sequence[Label],
    sizes: npt.NDArray[np.float64],
    camera: Camera,
    viewport: tuple[float, float],
    places: Arrangement,
    selected: str | None = None,
    nearer_hidden: int = 0,
    hidden: Collection[str] = (),
) -> PlacedLabels:
    """Return the labels that fit, and their positions.

    Args:
        labels: All labels of the scene.
        sizes: (n, 2) width and height of each text in pixels.
        camera: The camera.
        viewport: Width and height in pixels.
        places: Positions of the plates, which may hide labels.
        selected: Layer whose labels come first.
        nearer_hidden: Rows before this one are hidden.
        hidden: Layers without labels.
    """
    if not labels:
        return PlacedLabels(np.zeros(0, np.int64), np.zeros((0, 3)))
    anchors = np.array([c.anchor for c in labels])
    points = camera.project(anchors, *viewport)
    beneath = anchors - np.array([[0, c.height, 0] for c in labels])
    reach = np.abs(camera.project(beneath, *viewport)[:, 1] - points[:, 1])
    shift = np.array([(c.across, c.down) for c in labels]) * sizes
    at = points[:, :2] + shift + np.array([c.offset for c in labels])
    is_within = (points[:, :2] >= 0) & (points[:, :2] <= viewport)
    seen: npt.NDArray[np.bool_] = np.logical_and.reduce(is_within, axis=1)
    edge = np.maximum(np.array(viewport) - sizes - EDGE, EDGE)
    at = np.where(seen[:, None], np.clip(at, EDGE, edge), at)  # whole, not cut at the edge
    standing = np.array([c.row >= nearer_hidden and c.layer not in hidden for c in labels])
    wanted = reach >= np.array([c.least for c in labels])
    mine = np.array([c.layer == selected and selected is not None for c in labels])
    inside = (at[:, 0] < viewport[0]) & (at[:, 0] + sizes[:, 0] > 0)
    inside &= (at[:, 1] < viewport[1]) & (at[:, 1] + sizes[:, 1] > 0)
    shown = np.flatnonzero(standing & (points[:, 2] > camera.near) & (wanted | mine) & inside)
    covered = np.zeros(len(labels), dtype=bool)
    eye = np.asarray(camera.pose.position)
    covered[shown] = are_covered(anchors[shown], eye, places, nearer_hidden)
    through = mine | np.array([c.least == 0 and selected is None for c in labels])
    shown = shown[~covered[shown] | through[shown]]
    shown = _with_room(shown, labels, at, sizes, mine, camera, viewport, places, nearer_hidden)
    names = np.array([c.names for c in labels])
    weak = [c.gives_way for c in labels]
    order = sorted(
        shown.tolist(), key=lambda i: (weak[i], not mine[i], round(points[i, 2], 3), not names[i])
    )
    chosen = _without_overlap(order, at, sizes, labels)
    depth = np.where(covered, 0.0, points[:, 2])
    return PlacedLabels(chosen, np.column_stack([np.rint(at[chosen]), depth[chosen]]))


def _with_room(
    shown: npt.NDArray[np.int64],
    labels: Sequence[Label],
    at: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.float64],
    mine: npt.NDArray[np.bool_],
    camera: Camera,
    viewport: tuple[float, float],
    places: Arrangement,
    nearer_hidden: int,
) -> npt.NDArray[np.int64]:
    """Return labels without those across another layer's plate, which moves them below their own.

    `at` is changed for labels that are moved. Those of the selected layer stay in any case.
    """
    own = np.array([labels[i].own for i in shown], np.int64).reshape(-1, 2)
    above = own[:, 1] > own[:, 0]
    lower = at[shown].copy()
    left, right = (
        camera.project(_feet([labels[i] for i in shown], places, side), *viewport)[:, :2]
        for side in (0, 1)
    )
    slope = (right[:, 1] - left[:, 1]) / np.maximum(right[:, 0] - left[:, 0], 1.0)
    fall = np.maximum(slope, 0) * np.minimum(sizes[shown, 0], right[:, 0] - left[:, 0])
    lower[:, 0] = left[:, 0]
    lower[:, 1] = left[:, 1] + fall + [GAP_PIXELS + 17 * labels[i].detail for i in shown]

    def with_room(
        corners: npt.NDArray[np.float64], asked: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """Tell for those asked about whether they lie across no other plate there."""
        boxes = np.concatenate([corners, corners + sizes[shown]], axis=1)[asked]
        found = np.zeros(len(shown), bool)
        found[asked] = ~lie_across(boxes, own[asked], camera, viewport, places, nearer_hidden)
        return found

    fits = with_room(at[shown], above)
    crossing = {labels[i].layer for i in shown[above & ~fits]}
    fits_below = with_room(lower, np.array([labels[i].layer in crossing for i in shown], bool))
    fits_below &= (lower + sizes[shown] <= viewport).all(axis=1) & (lower >= 0).all(axis=1)
    named = np.array([labels[i].names for i in shown], bool)
    free = ~above | mine[shown] | (named & np.array([labels[i].least == 0 for i in shown], bool))
    moved = above & ~fits & fits_below & ~mine[shown] & named
    below = {labels[i].layer for i in shown[moved]}
    under = np.array([labels[i].detail and labels[i].layer in below for i in shown], bool)
    at[shown[moved | under]] = lower[moved | under]
    kept: npt.NDArray[np.int64] = shown[np.where(under, fits_below, fits | moved | free)]
    return kept


def _feet(labels: Sequence[Label], places: Arrangement, side: float) -> npt.NDArray[np.float64]:
    """Return (n, 3) the lower left corner of the plates that are labelled, or for 1 the right."""
    first = np.array([label.own[0] for label in labels], np.int64)
    feet: npt.NDArray[np.float64] = places.corners[first].copy()
    feet[:, 0] += side * places.sizes[first, 0]
    feet[:, 1] -= places.sizes[first, 1]
    return feet


def _without_overlap(
    order: Sequence[int],
    at: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.float64],
    labels: Sequence[Label],
) -> npt.NDArray[np.int64]:
    """Return those that do not overlap any before them."""
    kept: list[int] = []
    named: set[str] = set()
    boxes = np.concatenate([at + 2, at + sizes - 2], axis=1)  # without the halo at the edges
    for index in order:
        label = labels[index]
        if label.detail and label.layer not in named:
            continue
        others = boxes[kept]
        box = boxes[index]
        apart = (
            (others[:, 0] >= box[2])
            | (others[:, 2] <= box[0])
            | (others[:, 1] >= box[3])
            | (others[:, 3] <= box[1])
        )
        if apart.all():
            kept.append(index)
            if label.names:
                named.add(label.layer)
    return np.array(kept, dtype=np.int64)
