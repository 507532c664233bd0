"""Positions of the plates: in network order, the first layer nearest to the viewer.

Every layer has a slot at a regular distance, with its plates side by side; each is further right
than the one before it, by its size, so that it does not stand behind it. Deep networks are folded:
the layers of a repeated block share a row, so a hundred blocks are a hundred rows of the same
pattern.
The size of a plate grows slowly with its number of weights, so that biases stay visible and
embeddings do not cover everything, unless true scale is on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from accweight_core.metrics.totals import Floats
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
DEPTH_STEP = 1.3
"""Distance between folded rows, for plates of median size."""

LINE_STEP = 0.9
"""The same between the layers of a line."""

SIDE_STEP = 0.35
"""How far a layer of a line is right of the one before, as a share of their mean width."""

COLUMN_PITCH = 1.55
"""Width of a column of folded rows, for plates of median size."""

STREET = 1.8
"""Ratio of depth to width of folded rows above which blocks are placed side by side."""

RANGE = " \N{EN DASH} "
"""Between the first and the last block of a row, in its title."""

LINE_LIMIT = 24
"""Most layers in a single line."""


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
) -> Arrangement:
    """Return the positions of the plates of some layers.

    Args:
        layers: In network order.
        how: One layer per row, repeated blocks in rows, or rows if a line is too long.
        true_scale: Whether texels have the same size on all plates.
        slots: Names of all layers with a slot, for two runs with different layers.
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
    step *= max(1.0, float(np.median(sizes[:, 0])) if count else 1.0)
    middles = np.zeros(len(rows)) if folded else _middles(names, by_name, sizes, slots is not None)
    for row, members in enumerate(rows):
        x = -sum(columns) / 2
        aligned = len(members) > 1  # a single layer is centred
        for column, name in enumerate(members):
            group = _grouped(by_name.get(name), sizes)
            middle = x + columns[column] / 2 if aligned else middles[row]
            for plate, across, top in group.places:
                corners[plate] = middle - group.width / 2 + across, top, -row * step
                row_of[plate] = row
            x += columns[column] if aligned else 0.0
    spots = np.stack([middles, np.zeros(len(rows)), -step * np.arange(len(rows))], axis=1)
    titles, prefixes = _titles(rows, -sum(columns) / 2, step) if folded else ((), {})
    return Arrangement(corners, sizes, row_of, folded, spots, titles, prefixes)


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
    """The plates of one layer: total width, and the position of each."""

    width: float
    places: list[tuple[int, float, float]]


def _grouped(layer: ShownLayer | None, sizes: Floats) -> _Group:
    """Return the plates of a layer side by side, or in lines of equal length if they are many.

    For example, the four plates of a two-layer LSTM form a square.
    """
    plates = [plate.number for plate in layer.plates] if layer else []
    count = len(plates)
    if not count:
        return _Group(0.0, [])
    divisors = [n for n in range(1, count + 1) if count % n == 0]
    lines = min(divisors, key=lambda n: abs(n - math.sqrt(count)))
    grid = np.array(plates).reshape(lines, count // lines)
    widths, heights = sizes[grid, 0].max(axis=0), sizes[grid, 1].max(axis=1)
    lefts = np.concatenate([[0.0], np.cumsum(widths + PLATE_GAP)[:-1]])
    floors = np.cumsum((heights + LINE_GAP)[::-1])[::-1] - heights - LINE_GAP
    places = [
        (int(plate), float(left), float(floor + sizes[plate, 1]))
        for line, floor in zip(grid, floors, strict=True)
        for plate, left in zip(line, lefts, strict=True)
    ]
    return _Group(float(widths.sum() + PLATE_GAP * (len(widths) - 1)), places)


def _titles(
    rows: Sequence[Sequence[str]], left: float, step: float
) -> tuple[tuple[tuple[int, str, tuple[float, float, float]], ...], dict[str, str]]:
    """Return the titles of the rows of repeated blocks, and the name prefixes in them."""
    blocks = dict(zip(_flat(rows), _blocks(_flat(rows)), strict=True))
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


def folded_rows(names: Sequence[str]) -> list[list[str]]:
    """Return layers in rows: one per repeated block; without blocks, lines of equal length.

    >>> folded_rows(["embed", "h.0.q", "h.0.k", "h.1.q", "h.1.k", "head"])
    [['embed'], ['h.0.q', 'h.0.k'], ['h.1.q', 'h.1.k'], ['head']]
    """
    blocks = _blocks(names)
    if len({block for block in blocks if block}) < 2:
        return _lines(names)
    rows: list[list[str]] = []
    longest = max(1, math.ceil(1.5 * math.sqrt(len(names))))
    before: str | None = None
    for name, block in zip(names, blocks, strict=True):
        if rows and block and block == before and len(rows[-1]) < longest:
            rows[-1].append(name)
        else:
            rows.append([name])
        before = block
    if max(map(len, rows)) == 1:  # a layer per block, as adapters have
        return _lines(names)
    return _side_by_side(rows, {block for block in blocks if block})


def _lines(names: Sequence[str]) -> list[list[str]]:
    """Return names in lines of equal length."""
    width = max(1, math.ceil(math.sqrt(len(names) / 2)))
    return [list(names[start : start + width]) for start in range(0, len(names), width)]


def _side_by_side(rows: list[list[str]], blocks: Collection[str]) -> list[list[str]]:
    """Return rows of several blocks, where one block per row would be long and narrow.

    An empty slot, named "", separates the blocks of a row.
    """
    long = [row for row in rows if len(row) > 1]
    width = COLUMN_PITCH * float(np.median([len(row) for row in long] or [1]))
    beside = max(1, round(math.sqrt(len(blocks) * DEPTH_STEP / (width * STREET))))
    joined: list[list[str]] = []
    held = 0
    for row in rows:
        alike = held and joined[-1][-len(row) :] and len(row) > 1
        if alike and held < beside and _pattern(joined[-1][-len(row) :]) == _pattern(row):
            joined[-1] += ["", *row]
            held += 1
        else:
            joined.append(list(row))
            held = 1 if len(row) > 1 else 0
    return joined


def _pattern(names: Sequence[str]) -> list[str]:
    """Return names without numbers, which are equal for repeated blocks."""
    return [re.sub(r"\d+", "#", name) for name in names]


def _blocks(names: Sequence[str]) -> list[str]:
    """Return the numbered block of each layer: "h.3" for "h.3.attn.q", or ""."""
    numbered = [re.match(r"(.*?(?:^|[./_]))(\d+)[./_]", name) for name in names]
    families: dict[str, set[str]] = {}
    for match in numbered:
        if match:
            families.setdefault(match[1], set()).add(match[2])
    return [
        match[1] + match[2] if match and len(families[match[1]]) > 1 else "" for match in numbered
    ]


def merged_names(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Return the names of both runs in one order that agrees with the order of each.

    >>> merged_names(["a", "b", "d"], ["a", "c", "d"])
    ['a', 'c', 'b', 'd']
    """
    merged, known, after = list(first), set(first), -1
    for name in second:
        if name in known:
            after = merged.index(name)
        else:
            after += 1
            merged.insert(after, name)
    return merged
