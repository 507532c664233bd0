"""An analysis as figures and pages show it: short names, rows in order, what is not counted."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.ranking import descending, left_out, left_out_text
from accweight_core.analysis.sources import Source
from accweight_core.analysis.summary import Measured
from accweight_core.analysis.thumbnails import Thumbnails
from accweight_core.analysis.training_figures import check_is_no_figure
from accweight_core.metrics.table import TABLE, Floats, checked_metric
from accweight_core.store.beside import name_of
from accweight_core.text import plain

MOST = 0.8
"""Share of the names that must begin alike for the beginning to be left out."""

LONGEST_NAME = 36
"""Letters of a name that are shown; of a longer one, its two ends."""


@dataclass(frozen=True)
class Shown:
    """An analysis to be shown.

    Attributes:
        source: Its source.
        rows: Layers, or other rows, in network order.
    """

    source: Source
    rows: Sequence[Measured]

    @cached_property
    def names(self) -> dict[str, str]:
        """Short name of every layer, by its full name."""
        full = [row.name for row in self.rows]
        return dict(zip(full, short_names(full), strict=True))

    @property
    def run(self) -> str:
        """Name of the run: of the stored analysis, or else the last part of its source."""
        store = self.source.store
        if store is not None:
            return plain(name_of(store.path))
        return plain(os.path.basename(self.source.header.source.rstrip("/")) or "run")

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        """Steps, ascending."""
        return self.source.header.steps

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, in the order of tables."""
        return self.source.header.metrics

    @cached_property
    def thumbnails(self) -> Thumbnails:
        """Pictures of the layers."""
        return Thumbnails(self.source, self.rows)

    @property
    def not_counted(self) -> str:
        """The parameters that no layer counts, in a sentence; empty if there are none."""
        header = self.source.header
        return left_out_text(left_out(header.parameters, header.roles))

    def series(self, metric: str) -> Floats:
        """Return (layers, steps) of a metric, in network order.

        Raises:
            UnknownNameError: If there is no such metric.
        """
        check_is_no_figure(self.source.header, metric)
        checked_metric(metric, self.metrics)
        if not self.rows:
            return np.empty((0, len(self.steps)))
        return np.stack([row.metrics[metric] for row in self.rows])

    def largest_first(self, metric: str, step_index: int) -> list[int]:
        """Return positions of the layers, by a metric at a step; layers without a value come last.

        Raises:
            UnknownNameError: If there is no such metric.
        """
        values = self.series(metric)[:, step_index].tolist()
        return sorted(range(len(values)), key=lambda at: descending(values[at]))


def unit_text(metric: str) -> str:
    """Return a metric with its unit, as axes have it.

    >>> unit_text("mean"), unit_text("nonfinite")
    ('mean (unit: that of the weights)', 'nonfinite (unit: a count)')
    """
    return f"{metric} (unit: {TABLE[metric].unit})"


def short_names(names: Sequence[str]) -> list[str]:
    """Return names without the leading parts that most of them share, shortened in the middle.

    >>> short_names(["model.embed", *(f"model.layers.{n}.mlp" for n in range(3)), "lm_head"])
    ['embed', 'layers.0.mlp', 'layers.1.mlp', 'layers.2.mlp', 'lm_head']
    """
    found = list(names)
    while len(found) > 1:
        part, holders = Counter(map(_first_part, found)).most_common(1)[0]
        shorter = [name.removeprefix(part) for name in found]
        is_shared = part and holders >= MOST * len(found)
        is_clear = len(set(shorter)) == len(set(found)) and not any(map(_is_number, shorter))
        if not (is_shared and is_clear):
            break
        found = shorter
    return [_shortened(plain(name)) for name in found]


def _is_number(name: str) -> bool:
    """Tell whether a name begins with a number, which says nothing without what it numbers."""
    return name[:1].isdigit()


def _first_part(name: str) -> str:
    """Return the leading part of a name with its mark; empty if it has no parts."""
    match = re.match(r"[^./]*[./]", name)
    return match[0] if match else ""


def _shortened(name: str) -> str:
    if len(name) <= LONGEST_NAME:
        return name
    half = (LONGEST_NAME - 1) // 2
    return f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"
