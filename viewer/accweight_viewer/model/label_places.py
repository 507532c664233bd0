"""Which labels of a scene fit, and where they stand.

Those of the selected layer come first, then the nearest ones; labels that would overlap others, or
lie across another layer's plate, are moved below their own plate or hidden.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accweight_viewer.model.arrangement import Arrangement
from accweight_viewer.model.camera import Camera
from accweight_viewer.model.label_room import lie_across
from accweight_viewer.model.labels import GAP_PIXELS, LINE_PIXELS, Label
from accweight_viewer.model.occlusion import are_covered

EDGE = 3.0
"""Least space in pixels between a text and the edge of the scene."""


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
    lower[:, 1] = left[:, 1] + fall + [GAP_PIXELS + LINE_PIXELS * labels[i].detail for i in shown]

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
