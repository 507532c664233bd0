"""Positions of the plates: in network order, the first layer nearest to the viewer.

Every layer has a slot at a regular distance, with its plates side by side; each is further right
than the one before it, by its size, so that it does not stand behind it. A long line would be a
thin band: it is cut into shelves, one below the other, read like lines of text. Deep networks are
folded: the layers of a repeated block share a row; see `folding`.
The size of a plate grows slowly with its number of weights, so that biases stay visible and
embeddings do not cover everything, unless true scale is on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from accweight_core.metrics.totals import Floats
from accweight_viewer.model.folding import DEPTH_STEP, blocks_of, folded_rows
from accweight_viewer.model.plates import ShownLayer

GROWTH = 0.22
"""Exponent of the side of a plate as a function of its texels."""

SMALLEST, LARGEST = 0.4, 2.4
"""Limits of the side of a plate, relative to the median plate."""

LONGEST = 6.0
"""Aspect ratio up to which plates are not distorted."""

TRUE_LARGEST = 6.0
"""Side of the largest plate at true scale."""

PLATE_GAP = 0.12
LINE_GAP = 0.22
COLUMN_GAP = 0.55
LINE_STEP = 0.9
"""The same between the layers of a line."""

SIDE_STEP = 0.35
"""How far a layer of a line is right of the one before, as a share of their mean width."""

RANGE = " \N{EN DASH} "
"""Between the first and the last block of a row, in its title."""

LINE_LIMIT = 24
"""Most layers that stand in lines."""

SHELF = 8
"""Most layers of a line on one shelf; a network of as many has a single line."""

SHELF_GAP = 0.65
"""Space above the plates of a shelf, for names and the line on the ground, as a share of them."""


@dataclass(frozen=True)
class Arrangement:
    """Positions of plates, by plate number.

    Attributes:
        corners: (plates, 3) upper left corners.
        sizes: (plates, 2) width and height; plates are vertical and face +z.
        rows: (plates,) row of each, counted from the viewer.
        folded: Whether several layers share a row.
        spots: (rows, 3) middles of the rows on the ground, also of those without plates.
        titles: Row, name and upper left corner of each repeated block.
        prefixes: For each layer in such a block, the part of its name that is in the title.
    """

    corners: Floats
    sizes: Floats
    rows: npt.NDArray[np.int64]
    folded: bool
    spots: Floats = field(default_factory=lambda: np.zeros((0, 3)))
    titles: tuple[tuple[int, str, tuple[float, float, float]], ...] = ()
    prefixes: dict[str, str] = field(default_factory=dict)

    @property
    def has_shelves(self) -> bool:
        """Whether a line is cut into several, one below the other."""
        return len(np.unique(self.spots[:, 1])) > 1

    @property
    def title_ends(self) -> list[tuple[int, str, tuple[float, float, float]]]:
        """Row, title, and the position after the last plate of the row, at half its height."""
        ends = []
        for row, title, (left, _, depth) in self.titles:
            here = self.rows == row
            right = float((self.corners[here, 0] + self.sizes[here, 0]).max(initial=left))
            half = float(self.sizes[here, 1].max(initial=0)) / 2
            ends.append((row, title, (right, half, depth)))
        return ends

    def box(self, plates: Sequence[int] | None = None) -> Floats:
        """Return (n, 3): all corners of some plates, or of all for None."""
        chosen = slice(None) if plates is None else list(plates)
        corners, sizes = self.corners[chosen], self.sizes[chosen]
        if not len(corners):
            return np.zeros((1, 3))
        across = np.stack([sizes[:, 0], np.zeros(len(sizes)), np.zeros(len(sizes))], axis=1)
        down = np.stack([np.zeros(len(sizes)), -sizes[:, 1], np.zeros(len(sizes))], axis=1)
        return np.concatenate([corners, corners + across, corners + down, corners + across + down])

    def centre(self, plates: Sequence[int]) -> Floats:
        """Return the centre of some plates."""
        box = self.box(plates)
        middle: Floats = (box.min(axis=0) + box.max(axis=0)) / 2
        return middle


def arrange(
    layers: Sequence[ShownLayer],
    how: Literal["auto", "line", "rows"] = "auto",
    *,
    true_scale: bool = False,
    slots: Sequence[str] | None = None,
    beside: Sequence[Sequence[ShownLayer]] = (),
) -> Arrangement:
    """Return the positions of the plates of some layers.

    Args:
        layers: In network order.
        how: One layer per row in a single line, repeated blocks in rows, or as fits the number of
            layers: a line, lines on shelves, or rows.
        true_scale: Whether texels have the same size on all plates.
        slots: Names of all layers with a slot, for two runs with different layers.
        beside: Layers of the other runs, whose shelves are at the same heights.
    """
    names = list(slots or [layer.name for layer in layers])
    fold = how == "rows" or (how == "auto" and len(names) > LINE_LIMIT)
    rows = folded_rows(names) if fold else [[name] for name in names]
    sizes = _sizes(layers, true_scale=true_scale)
    by_name = {layer.name: layer for layer in layers}
    count = sum(len(layer.plates) for layer in layers)
    corners, row_of = np.zeros((count, 3)), np.zeros(count, dtype=np.int64)
    columns = _column_widths(rows, by_name, sizes) if fold else []
    folded = any(len(members) > 1 for members in rows)
    step = DEPTH_STEP if folded else LINE_STEP
    others = [({o.name: o for o in run}, _sizes(run, true_scale=true_scale)) for run in beside]
    runs = [(by_name, sizes), *others]
    step *= max([1.0, *(float(np.median(own[:, 0])) for _, own in runs if len(own))])
    spots = np.zeros((len(rows), 3))
    spots[:, 2] = -step * np.arange(len(rows))
    if not folded:
        lines = _shelves(names) if how == "auto" else [names]
        heights = np.max([_heights(lines, *run) for run in runs], axis=0)
        spots = _line(lines, heights, by_name, sizes, step, shared=slots is not None)
    for row, members in enumerate(rows):
        x = -sum(columns) / 2
        _, floor, depth = spots[row].tolist()
        aligned = len(members) > 1  # a single layer is centred
        for column, name in enumerate(members):
            group = _grouped(by_name.get(name), sizes)
            middle = x + columns[column] / 2 if aligned else float(spots[row, 0])
            for plate, across, top in group.places:
                corners[plate] = middle - group.width / 2 + across, floor + top, depth
                row_of[plate] = row
            x += columns[column] if aligned else 0.0
    titles, prefixes = _titles(rows, -sum(columns) / 2, step) if folded else ((), {})
    return Arrangement(corners, sizes, row_of, folded, spots, titles, prefixes)


def _shelves(names: Sequence[str]) -> list[list[str]]:
    """Return names cut into lines of equal length, if they are many."""
    count = max(-(-len(names) // SHELF), 1)
    return [part.tolist() for part in np.array_split(np.array(names, object), count)]


def _heights(
    lines: Sequence[Sequence[str]], by_name: Mapping[str, ShownLayer], sizes: Floats
) -> Floats:
    """Return (lines,): the height of the highest layer of each."""
    return np.array(
        [
            max((_grouped(by_name.get(name), sizes).height for name in line), default=0.0)
            for line in lines
        ]
    )


def _line(
    lines: Sequence[Sequence[str]],
    heights: Floats,
    by_name: Mapping[str, ShownLayer],
    sizes: Floats,
    step: float,
    *,
    shared: bool,
) -> Floats:
    """Return (layers, 3): where the layers of a line stand, on shelves if it is long.

    Args:
        lines: All slots, in network order, a line for each shelf.
        heights: (lines,) heights of the shelves.
        by_name: The layers that there are.
        sizes: (plates, 2) width and height.
        step: Distance between two layers.
        shared: Whether two runs stand at the same places.
    """
    floors = np.cumsum((heights * (1 + SHELF_GAP))[::-1])[::-1] - heights * (1 + SHELF_GAP)
    spots = [
        np.stack(
            [
                _middles(line, by_name, sizes, shared),
                np.full(len(line), floor),
                -step * np.arange(len(line)),
            ],
            axis=1,
        )
        for line, floor in zip(lines, floors, strict=True)
    ]
    return np.concatenate(spots)


def _middles(
    names: Sequence[str], by_name: Mapping[str, ShownLayer], sizes: Floats, are_shared: bool
) -> Floats:
    """Return where the layers of a line have their middles, to the right with every layer.

    Those of two runs stand at the same places, whatever the sizes of their layers are.
    """
    widths = np.array([_grouped(by_name.get(name), sizes).width for name in names])
    known = widths[widths > 0]
    if are_shared or not len(known):
        widths = np.ones(len(names))
    widths = np.where(widths > 0, widths, np.median(known) if len(known) else 1.0)
    steps = SIDE_STEP * (widths[1:] + widths[:-1]) / 2
    middles = np.concatenate([[0.0], np.cumsum(steps)])[: len(names)]
    centred: Floats = middles - (middles[-1] / 2 if len(middles) else 0.0)
    return centred


class _Group(NamedTuple):
    """The plates of one layer: total width and height, and the position of each."""

    width: float
    height: float
    places: list[tuple[int, float, float]]


def _grouped(layer: ShownLayer | None, sizes: Floats) -> _Group:
    """Return the plates of a layer in lines of equal length, about as wide as they are high.

    For example, the four plates of a two-layer GRU, three times as high as wide, are one line.
    """
    plates = [plate.number for plate in layer.plates] if layer else []
    count = len(plates)
    if not count:
        return _Group(0.0, 0.0, [])
    divisors = [n for n in range(1, count + 1) if count % n == 0]
    return min((_in_lines(plates, lines, sizes) for lines in divisors), key=_elongation)


def _elongation(group: _Group) -> float:
    """Return how far a group is from a square, as wide ones are as from high ones."""
    return abs(math.log(group.width / group.height))


def _in_lines(plates: Sequence[int], lines: int, sizes: Floats) -> _Group:
    """Return plates in lines of equal length, one below the other."""
    grid = np.array(plates).reshape(lines, -1)
    widths, heights = sizes[grid, 0].max(axis=0), sizes[grid, 1].max(axis=1)
    lefts = np.concatenate([[0.0], np.cumsum(widths + PLATE_GAP)[:-1]])
    floors = np.cumsum((heights + LINE_GAP)[::-1])[::-1] - heights - LINE_GAP
    places = [
        (int(plate), float(left), float(floor + sizes[plate, 1]))
        for line, floor in zip(grid, floors, strict=True)
        for plate, left in zip(line, lefts, strict=True)
    ]
    width = float(widths.sum() + PLATE_GAP * (len(widths) - 1))
    return _Group(width, max(top for _, _, top in places), places)


def _titles(
    rows: Sequence[Sequence[str]], left: float, step: float
) -> tuple[tuple[tuple[int, str, tuple[float, float, float]], ...], dict[str, str]]:
    """Return the titles of the rows of repeated blocks, and the name prefixes in them."""
    blocks = dict(zip(_flat(rows), blocks_of(_flat(rows)), strict=True))
    titles: list[tuple[int, str, tuple[float, float, float]]] = []
    prefixes: dict[str, str] = {}
    for row, members in enumerate(rows):
        first, last = blocks[members[0]], blocks[members[-1]]
        if first and len(members) > 1:
            title = first if first == last else f"{first}{RANGE}{last}"
            titles.append((row, title, (left, 0.0, -row * step)))
            prefixes |= {name: name[: len(blocks[name]) + 1] for name in members if name}
    return tuple(titles), prefixes


def _flat(rows: Sequence[Sequence[str]]) -> list[str]:
    return [name for members in rows for name in members]


def _sizes(layers: Sequence[ShownLayer], *, true_scale: bool) -> Floats:
    """Return (plates, 2) width and height."""
    texels = np.array([p.size[::-1] for layer in layers for p in layer.plates], float)
    if not len(texels):
        return np.zeros((0, 2))
    if true_scale:
        scaled: Floats = texels * (TRUE_LARGEST / texels.max())
        return scaled
    side = np.sqrt(texels[:, 0] * texels[:, 1])
    side = np.clip((side / np.median(side)) ** GROWTH, SMALLEST, LARGEST)
    aspect = np.sqrt(np.clip(texels[:, 0] / texels[:, 1], 1 / LONGEST, LONGEST))
    return np.stack([side * aspect, side / aspect], axis=1)


def _column_widths(
    rows: Sequence[Sequence[str]], by_name: dict[str, ShownLayer], sizes: Floats
) -> list[float]:
    """Return the width of each column of the folded rows."""
    widths = [0.0] * max((len(row) for row in rows), default=0)
    for row in rows:
        for column, name in enumerate(row):
            width = _grouped(by_name.get(name), sizes).width + COLUMN_GAP
            widths[column] = max(widths[column], width)
    return widths
