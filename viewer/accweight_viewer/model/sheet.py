"""A contact sheet: the pictures of one array of a probe at the step that is shown."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.probe_kinds import ResultKind
from accweight_core.analysis.probe_pictures import (
    ABOVE,
    BELOW,
    are_strips,
    as_seen,
    is_signed,
    pictures_at,
    scale_text,
    token_rows,
    unit_names,
)
from accweight_viewer.model.chosen_array import ChosenArray
from accweight_viewer.model.found import FoundArray
from accweight_viewer.model.linked_units import is_linked
from accweight_viewer.model.session import Session

Pixels = npt.NDArray[np.uint8]

GAP = 6
"""Pixels between two pictures."""

STRIPS = 8, 26
"""Least and largest pixels of the height of a sequence."""

NAMES = 64
"""Pixels at the left of sequences for their names."""

SIDES = 24, 128
"""Least and largest pixels of the longer side of a picture."""


@dataclass(frozen=True)
class SheetGrid:
    """Where pictures are, in pixels.

    Attributes:
        columns: Pictures of a row.
        rows: Rows.
        width: Width of a picture.
        height: Its height.
        shown: Pictures that there is room for.
        indent: Pixels at the left of each for its name, of sequences.
    """

    columns: int
    rows: int
    width: int
    height: int
    shown: int
    indent: int = 0

    def place(self, number: int) -> tuple[int, int]:
        """Return the left and upper edge of a picture."""
        row, column = divmod(number, self.columns)
        return self.indent + column * (self.width + GAP), row * (self.height + GAP)

    def number_at(self, x: float, y: float) -> int | None:
        """Return the picture at a point, or None."""
        x -= self.indent
        column, row = int(x // (self.width + GAP)), int(y // (self.height + GAP))
        inside = x >= 0 and y >= 0 and column < self.columns
        number = row * self.columns + column
        left, top = self.place(number)
        hit = inside and x + self.indent - left < self.width and y - top < self.height
        return number if hit and number < self.shown else None


class Sheet(ChosenArray):
    """The pictures of a session's probes.

    Attributes:
        over: Whether ratings are shown over their inputs, where these are stored.
    """

    kinds = (ResultKind.PICTURES,)

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.over = True
        self._drawn: tuple[object, Pixels] | None = None

    @property
    def choices(self) -> list[FoundArray]:
        """The arrays that can be shown, but those of a network of pictures with links."""
        return [one for one in super().choices if not is_linked(one.result)]

    def follow_selection(self) -> bool:
        """Show the pictures of the selected layer, if there are any; return whether that is new."""
        layer, now = self.session.layer, self.chosen
        of_layer = next((one for one in self.choices if layer and one.layer == layer), None)
        if of_layer is None or now is None or now.layer == layer:
            return False
        self.choose(of_layer)
        return True

    @property
    def can_be_over(self) -> bool:
        """Whether ratings can be shown over their inputs."""
        chosen = self.chosen
        if chosen is None or not is_signed(chosen.result):
            return False
        shape = chosen.result.fields[chosen.array].shape
        samples = self._samples(chosen)
        return samples is not None and samples.shape[:3] == tuple(shape[1:4])

    def _samples(self, chosen: FoundArray) -> Pixels | None:
        """Return the samples that pictures are of: those kept, else those that the user gave."""
        field, given = chosen.result.fields[chosen.array], self.session.given
        if field.axes[1] != "picture":
            return None
        kept = chosen.result.samples
        if kept is not None or given is None:
            return kept
        return given.pictures(chosen.result, side=max(field.shape[2:4]))

    def pictures(self) -> Pixels:
        """Return (units, height, width, 3 or 4) of the step; see `as_seen`.

        Raises:
            StoreError: If they are damaged.
        """
        chosen = self.chosen
        if chosen is None:
            return np.zeros((0, 1, 1, 3), np.uint8)
        over = self.over and self.can_be_over
        key = (chosen.result, chosen.array, self.step, over)
        if self._drawn is None or self._drawn[0] != key:
            pictures = pictures_at(chosen.result, chosen.array, self.step)
            samples = self._samples(chosen) if over else None
            seen = as_seen(chosen.result, chosen.array, pictures)
            self._drawn = key, seen if samples is None else rated(pictures, samples)
        return self._drawn[1]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the pictures."""
        chosen = self.chosen
        if chosen is None:
            return ()
        return unit_names(chosen.result, chosen.array, len(self.pictures()))

    @property
    def tokens(self) -> list[list[str]]:
        """The tokens of every sequence, one for each of its pixels; nothing if not known."""
        chosen = self.chosen
        return [] if chosen is None else token_rows(chosen.result, chosen.array, self.pictures())

    @property
    def note(self) -> str:
        """What black and white are."""
        chosen = self.chosen
        if chosen is None:
            return ""
        if self.over and self.can_be_over:
            return "orange speaks for the output, blue against it"
        return scale_text(chosen.result, chosen.array) or chosen.result.fields[chosen.array].words

    def grid(self, width: int, height: int) -> SheetGrid:
        """Return where the pictures are in a room of so many pixels: as large as all fit."""
        pictures, chosen = self.pictures(), self.chosen
        count, high, wide = pictures.shape[:3]
        if chosen is not None and are_strips(chosen.result, chosen.array, pictures):
            return _lines(count, high, width, height)
        return grid_for(count, high, wide, width, height)


def grid_for(count: int, high: int, wide: int, width: int, height: int) -> SheetGrid:
    """Return a grid of pictures in a room: as large as all fit, not smaller than can be seen.

    Args:
        count: Number of pictures.
        high: Pixels of one.
        wide: Likewise.
        width: Pixels of the room.
        height: Likewise.
    """
    longer = max(high, wide, 1)
    found = SheetGrid(1, 1, 1, 1, 0)
    for side in range(SIDES[1], SIDES[0] - 1, -2):
        w, h = max(round(side * wide / longer), 1), max(round(side * high / longer), 1)
        columns = max((width + GAP) // (w + GAP), 1)
        fitting = max((height + GAP) // (h + GAP), 0)
        shown = min(count, columns * fitting)
        found = SheetGrid(columns, math.ceil(shown / columns), w, h, shown)
        if shown == count:
            break
    return found


def _lines(count: int, high: int, width: int, height: int) -> SheetGrid:
    """Return sequences below each other, each as wide as the room."""
    each = (height + GAP) // max(count, 1) - GAP
    tall = max(min(each, STRIPS[1] * high), STRIPS[0] * high)
    shown = min(count, max((height + GAP) // (tall + GAP), 0))
    return SheetGrid(1, shown, max(width - NAMES, 1), tall, shown, NAMES)


def rated(pictures: Pixels, samples: Pixels) -> Pixels:
    """Return ratings over their inputs, (units, height, width, 3).

    Args:
        pictures: (units, height, width, 1), 128 for 0.
        samples: (units, height, width, channels), the inputs.
    """
    rating = (pictures[..., :1].astype(np.float32) - 128) / 127
    share = np.minimum(np.sqrt(np.abs(rating)) * 1.15, 1)
    tone = np.where(rating > 0, np.array(ABOVE, np.float32), np.array(BELOW, np.float32))
    below = samples.astype(np.float32) * 0.55
    mixed: Pixels = np.rint(below * (1 - share) + tone * share).astype(np.uint8)
    return mixed
