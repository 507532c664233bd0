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
from accweight_viewer.model.label_room import MOST_CROSSED, lie_across
from accweight_viewer.model.labels import GAP_PIXELS, LINE_PIXELS, Label
from accweight_viewer.model.occlusion import are_covered

ASIDE = (10.0, 20.0, 30.0, 45.0, 60.0)
"""Pixels by which a name may be moved along the upper edge of its plate."""

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
    view = camera, viewport, places, nearer_hidden
    room = _Room([labels[i] for i in shown], at[shown], sizes[shown], mine[shown], view)
    room.move_aside()
    stay = room.move_below()
    at[shown] = room.at
    covered[shown] |= room.cut()  # a plate in front would hide some of their letters
    shown = shown[stay]
    names = np.array([c.names for c in labels])
    weak = [c.gives_way for c in labels]
    order = sorted(
        shown.tolist(), key=lambda i: (weak[i], not mine[i], round(points[i, 2], 3), not names[i])
    )
    chosen = _without_overlap(order, at, sizes, labels)
    depth = np.where(covered, 0.0, points[:, 2])
    return PlacedLabels(chosen, np.column_stack([np.rint(at[chosen]), depth[chosen]]))


class _Room:
    """The labels that are shown, moved to where they lie across no other layer's plate.

    A name and what is below it move to the right, as far as their plate goes, or else below it.

    Attributes:
        at: (n, 2) the upper left corners, which change.
    """

    def __init__(
        self,
        labels: Sequence[Label],
        at: npt.NDArray[np.float64],
        sizes: npt.NDArray[np.float64],
        mine: npt.NDArray[np.bool_],
        view: tuple[Camera, tuple[float, float], Arrangement, int],
    ) -> None:
        """Use labels where they are wanted.

        Args:
            labels: Those shown.
            at: (n, 2) upper left corners in pixels.
            sizes: (n, 2) widths and heights.
            mine: (n,) which are of the selected layer; they stay where they are.
            view: The camera, the viewport, the plates, and the first row that is not hidden.
        """
        self.at, self._sizes, self._mine, self._view = at.copy(), sizes, mine, view
        self._own = np.array([label.own for label in labels], np.int64).reshape(-1, 2)
        self._of_plates = self._own[:, 1] > self._own[:, 0]
        self._layers = np.array([label.layer for label in labels], object)
        self._named = np.array([label.names for label in labels], bool)
        self._detail = np.array([label.detail for label in labels], bool)
        self._always = np.array([label.least == 0 for label in labels], bool)
        camera, viewport, places, _ = view
        left, right = (
            camera.project(_feet(labels, places, side), *viewport)[:, :2] for side in (0, 1)
        )
        self._wide = np.maximum(right[:, 0] - left[:, 0], 1.0)
        slope = np.maximum((right[:, 1] - left[:, 1]) / self._wide, 0)
        fall = slope * np.minimum(sizes[:, 0], self._wide)
        down = left[:, 1] + fall + GAP_PIXELS + LINE_PIXELS * self._detail
        self._lower = np.column_stack([left[:, 0], down])
        hanging = np.array([label.hangs for label in labels], bool)
        self.at[hanging, 1] += fall[hanging]  # along the lower edge of its plate

    def _clear(
        self, at: npt.NDArray[np.float64], asked: npt.NDArray[np.bool_], most: float
    ) -> npt.NDArray[np.bool_]:
        """Tell which of those asked about lie across no other plate at a place.

        What can be left out may lie across none at all, names by a share `most`.
        """
        camera, viewport, places, nearer_hidden = self._view
        boxes = np.concatenate([at, at + self._sizes], axis=1)[asked]
        shares = np.where(self._detail, 0.0, most)[asked]
        found = np.zeros(len(at), bool)
        own = self._own[asked]
        found[asked] = ~lie_across(boxes, own, camera, viewport, places, nearer_hidden, shares)
        return found

    def _within(self, at: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        inside = (at >= 0) & (at + self._sizes <= self._view[1])
        whole: npt.NDArray[np.bool_] = np.logical_and.reduce(inside, axis=1)
        return whole

    def _of_layers(self, some: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Tell which labels are of the layers of some."""
        found: npt.NDArray[np.bool_] = np.isin(self._layers, list({*self._layers[some]}))
        return found

    def move_aside(self) -> None:
        """Move names that begin across another plate to the right."""
        pairs = (self._named | self._detail) & self._always & ~self._mine
        crossing = pairs & self._of_layers(pairs & ~self._clear(self.at, pairs, 0.0))
        for by in ASIDE:
            crossing &= by < self._wide
            if not crossing.any():
                return
            moved = self.at + np.array((by, 0.0))
            fits = self._clear(moved, crossing, 0.0) & self._within(moved)
            kept = crossing & ~self._of_layers(crossing & ~fits)
            self.at[kept] = moved[kept]
            crossing &= ~kept

    def move_below(self) -> npt.NDArray[np.bool_]:
        """Move names that still lie across another plate below their own; tell which can stay."""
        fits = self._clear(self.at, self._of_plates, MOST_CROSSED)
        crossing = self._of_layers(self._of_plates & ~fits & ~self._detail)
        if not self._view[2].folded:
            crossing &= self._always  # many names would lie across the line on the ground
        fits_below = self._clear(self._lower, crossing, MOST_CROSSED) & self._within(self._lower)
        moved = self._of_plates & ~fits & fits_below & ~self._mine & self._named
        under = self._detail & self._of_layers(moved)
        self.at[moved | under] = self._lower[moved | under]
        free = ~self._of_plates | self._mine | (self._named & self._always)
        stay: npt.NDArray[np.bool_] = np.where(under, fits_below, fits | moved | free)
        return stay

    def cut(self) -> npt.NDArray[np.bool_]:
        """Tell which begin or end across another plate."""
        return self._of_plates & ~self._clear(self.at, self._of_plates, 0.0)


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
        if (label.detail or label.hangs) and label.layer not in named:
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
