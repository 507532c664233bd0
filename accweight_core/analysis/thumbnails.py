"""Small pictures of parameters, coloured as the viewer colours them.

They come from the stored pictures. An analysis without any, in memory or of a model in training,
has them drawn from exact values, if the parameter is small enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from accweight_core.analysis.sources import Source
from accweight_core.analysis.summary import Measured
from accweight_core.colours.scale import ColourScale, Entries, bright_end, colour_table, fitted
from accweight_core.colours.themes import DARK
from accweight_core.metrics.table import Floats
from accweight_core.pictures.canvas import TileCanvas
from accweight_core.pictures.plan import Picture, PicturePlan
from accweight_core.pictures.texel_map import Layout
from accweight_core.pictures.tiling import whole
from accweight_core.remote import is_url
from accweight_core.schema import Parameter

COLOURS = colour_table("grey")
"""The colour map of the viewer unless its user chooses another."""

PAINTS = np.concatenate([COLOURS, [list(bytes.fromhex(DARK.line[1:]))]]).astype(np.uint8)
"""Colours of the map, and the one of gaps, in which there is no weight: dark, but not black."""

MOST_ELEMENTS = 1 << 22
"""Elements up to which a parameter without a stored picture is drawn from exact values."""


@dataclass(frozen=True)
class Thumbnails:
    """The pictures of an analysis, each layer on a scale of its own.

    Attributes:
        source: Source of the analysis.
        rows: Its layers, with their metrics.
    """

    source: Source
    rows: Sequence[Measured]

    @cached_property
    def scale(self) -> ColourScale:
        """From A_t, as a share of the layer's largest A_T, to colours: the scale of the viewer."""
        high = bright_end(self._last("mean"), self._last("std"), self._last("max"), np.median)
        return ColourScale(COLOURS, high=fitted([high]))

    def _last(self, metric: str) -> Floats:
        unknown = np.full(len(self.source.header.steps), np.nan)
        return np.array([row.metrics.get(metric, unknown)[-1] for row in self.rows])

    def parameters(self) -> Iterator[tuple[Measured, Parameter]]:
        """Yield every parameter that has a picture, with its layer, in network order."""
        for row in self.rows:
            if np.isfinite(self._largest(row)):
                for parameter in sorted(row.parameters, key=self._position):
                    if self._has_picture(parameter):
                        yield row, parameter

    def _position(self, parameter: Parameter) -> int:
        return self.source.header.parameter_index(parameter.name)

    @property
    def _are_stored(self) -> bool:
        return bool(self.source.store and self.source.header.picture_bases)

    def _has_picture(self, parameter: Parameter) -> bool:
        return self._are_stored or parameter.elements <= MOST_ELEMENTS

    def is_at_hand(self, row: Measured, parameter: Parameter) -> bool:
        """Tell whether a picture is there, or drawn in a moment: nothing is fetched from URLs."""
        header = self.source.header
        if not np.isfinite(self._largest(row)) or not self._has_picture(parameter):
            return False
        is_small = parameter.elements * len(header.steps) <= MOST_ELEMENTS
        return self._are_stored or (is_small and not is_url(header.checkpoints[-1].path))

    def _largest(self, row: Measured) -> float:
        """Return the largest A_T of a layer; NaN if it is not known."""
        return float(row.metrics["max"][-1]) if "max" in row.metrics else math.nan

    def layout(self, parameter: Parameter) -> Layout:
        """Return the layout of the picture of a parameter."""
        return self.source.header.layouts[self._position(parameter)]

    def entries(self, row: Measured, parameter: Parameter, step_index: int, most: int) -> Entries:
        """Return the picture of a parameter as indices of `COLOURS`; 255 where no weight is.

        Args:
            row: The layer.
            parameter: One of its parameters.
            step_index: Index of the step.
            most: Texels along the longer side that are wanted; some more if no coarser level is
                stored.

        Raises:
            StoreError: If the stored picture cannot be read.
            SourceError: If exact values are needed and not to be had.
        """
        largest = np.float32(self._largest(row))
        picture = self._picture(parameter, step_index, most)
        return self.scale.entries(picture / largest if largest > 0 else picture)

    def _picture(self, parameter: Parameter, step_index: int, most: int) -> Picture:
        """Return A_t of every texel; NaN in gaps."""
        header, index = self.source.header, self._position(parameter)
        store = self.source.store
        if store is not None and header.picture_bases:
            plan = header.plan(index)
            level = next((n for n in plan.levels if max(plan.size(n)) <= most), plan.levels[-1])
            return store.picture(index, level, "mean", step_index)
        layout, level = header.layouts[index], 0
        while max(layout.rows, layout.cols) > most << level:
            level += 1
        return drawn(layout, level, self.source.cumulative(parameter, step_index))


def drawn(layout: Layout, level: int, values: Floats) -> Picture:
    """Return the picture of a whole parameter at a level: the mean of every texel, NaN in gaps.

    Args:
        layout: Its layout.
        level: Level of the picture; 0 has a texel per element.
        values: In the shape of the parameter.
    """
    planes: list[Picture] = []
    canvas = TileCanvas(
        PicturePlan(layout, level, 1),
        whole(layout, level).first,
        1,
        lambda step, found: planes.append(found[0][0]),
    )
    canvas.draw(0, values.reshape(-1).astype(np.float32))
    rows, cols = PicturePlan(layout, level, 1).size(level)
    return planes[0][:rows, :cols]
