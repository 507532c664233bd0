"""Labels next to the plates: names, kinds, shapes, gates.

A label is attached to a point of the world and has a fixed size on the screen. `label_places` says
which of them fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from accweight_core.naming import leaf_of
from accweight_core.short_names import DOT, elided
from accweight_viewer.model.arrangement import RANGE, Arrangement
from accweight_viewer.model.ground import ground_ends, ground_marks
from accweight_viewer.model.plates import Plate, ShownLayer

LEAST_HEIGHT = 30.0
"""Least height of a plate in pixels for its name, unless there are few plates."""

IN_ROW_LEAST = 60.0
"""The same for names within the row of a block, which has a title; there are as many as layers."""

TITLE_LEAST = 12.0
"""The same for titles of rows."""

LEAST_ON_GROUND = 1.0
"""The same for what is on the ground, which does not show through plates."""

LEAF_LEAST, SECTION_LEAST = 60.0, 13.0
"""The same for names of parameters, and for sections."""

FEW = 12
LONGEST_TEXT = 44
GAP_PIXELS = 5.0
LINE_PIXELS = 17.0

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

    @property
    def hangs(self) -> bool:
        """Whether it is the name of a parameter, below its plate."""
        return self.own[1] > self.own[0] and self.down == 0


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
    """Return what stands at the plates of a layer: its name, of several their names, sections."""
    labels = _names(layer, places, least, only_in, short)
    for plate in layer.plates:
        if len(layer.plates) > 1:
            labels.append(_leaf(plate, layer, places))
        if len(plate.layout.sections) <= MOST_SECTIONS:
            labels += _sections(plate, layer, places)
    return labels


def _names(
    layer: ShownLayer, places: Arrangement, least: float, only_in: str, short: Mapping[str, str]
) -> list[Label]:
    """Return the lines above the plates of a layer: what it is, and above that its name."""
    first = layer.plates[0].number
    x, _, z = _point(places.corners[first])
    top = float(places.corners[[plate.number for plate in layer.plates], 1].max())
    is_alone = layer.name not in places.prefixes
    name = short.get(layer.name, layer.name)
    if not is_alone:  # the title of its row says the rest
        _, dot, rest = name.partition(DOT)
        name = rest if dot else layer.name.removeprefix(places.prefixes[layer.name])
    shape = layer.shape if len(layer.plates) == 1 else f"{len(layer.plates)} parameters"
    detail = f"{layer.kind} {shape}" + (f" \N{BULLET} only in {only_in}" if only_in else "")
    detail_tone = Tone.MARK if only_in else Tone.DIM
    lines = ((detail, detail_tone, 0.0, False), (name, Tone.INK, -LINE_PIXELS, True))
    return [
        Label(
            text=_shortened(text),
            anchor=(x, top, z),
            across=0,
            down=-1,
            offset=(0, rise - GAP_PIXELS),
            tone=tone,
            layer=layer.name,
            height=float(places.sizes[first, 1]),
            least=least if is_alone else max(least, IN_ROW_LEAST),
            row=int(places.rows[first]),
            bold=is_name and is_alone,
            names=is_name,
            detail=not is_name,
            own=(first, first + 1),
        )
        for text, tone, rise, is_name in lines
    ]


def _leaf(plate: Plate, layer: ShownLayer, places: Arrangement) -> Label:
    """Return the name of one of several parameters, below its plate."""
    x, y, z = _point(places.corners[plate.number])
    high = float(places.sizes[plate.number, 1])
    return Label(
        text=_shortened(leaf_of(plate.name, layer.name)),
        anchor=(x, y - high, z),
        across=0,
        down=0,
        offset=(0, GAP_PIXELS),
        tone=Tone.DIM,
        layer=layer.name,
        height=high,
        least=LEAF_LEAST,
        row=int(places.rows[plate.number]),
        own=(plate.number, plate.number + 1),
    )


def _sections(plate: Plate, layer: ShownLayer, places: Arrangement) -> list[Label]:
    """Return the names of the parts of a plate, gates for example, at its left."""
    x, y, z = _point(places.corners[plate.number])
    texel = float(places.sizes[plate.number, 1]) / plate.size[0]
    return [
        Label(
            text=section.name,
            anchor=(x, y - texel * (section.row + section.rows / 2), z),
            across=-1,
            down=-0.5,
            offset=(-GAP_PIXELS, 0),
            tone=Tone.DIM,
            layer=layer.name,
            height=texel * section.rows,
            least=SECTION_LEAST,
            row=int(places.rows[plate.number]),
            own=(plate.number, plate.number + 1),
        )
        for section in plate.layout.sections
    ]


def _shortened(text: str) -> str:
    """Return a text of at most `LONGEST_TEXT` letters."""
    return elided(text, LONGEST_TEXT)
