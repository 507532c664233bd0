"""One column of numbers in the layer table: a metric of a run, for all layers and steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from accweight_core.metrics.totals import Floats
from accweight_viewer.panes.formatting import MISSING, number_text

CellTone = Literal["ink", "dim", "mark", "broken"]


class Cell(NamedTuple):
    """Contents of a cell: text, its colour rank, and the length of its bar from 0 to 1."""

    text: str
    tone: CellTone = "ink"
    share: float = 0.0


@dataclass
class MetricColumn:
    """One metric of one run, for all layers of the table.

    Attributes:
        run: Index of the run.
        metric: Its name.
        run_name: Name of the run; '' if there is only one.
        values: (layers, steps of the run); NaN where a layer has no value.
        largest: Largest value at the last step, over all layers and runs: length 1 of the bars.
        texts: Text per layer instead of a number: unfinished, or only in the other run.
        tones: Colour ranks of these texts.
        at: Index of the checkpoint shown.
    """

    run: int
    metric: str
    run_name: str
    values: Floats
    largest: float
    texts: list[str]
    tones: list[CellTone]
    at: int = 0

    @property
    def title(self) -> str:
        """The metric, and its run if there are several."""
        return f"{self.metric} \N{MIDDLE DOT} {self.run_name}" if self.run_name else self.metric

    @property
    def now(self) -> Floats:
        """(layers,) the values shown."""
        shown: Floats = self.values[:, self.at]
        return shown

    def cell(self, layer: int) -> Cell:
        """Return the cell of a layer."""
        value = float(self.values[layer, self.at])
        if self.texts[layer]:
            return Cell(self.texts[layer], self.tones[layer])
        if value != value:
            return Cell(MISSING, "dim")
        share = value / self.largest if self.largest > 0 else 0.0
        return Cell(number_text(value), "ink", min(max(share, 0.0), 1.0))
