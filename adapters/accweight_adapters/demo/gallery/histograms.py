"""Histograms of how far the weights of layers moved at each step, as TensorBoard has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from accweight_adapters.demo.gallery.made import Made
from accweight_adapters.demo.gallery.networks.training import ANALYSIS
from accweight_adapters.demo.gallery.system import Content, Part
from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.step_changes import step_change_histograms
from accweight_core.analysis.tensorboard import write_events

EVENTS = "tensorboard"
"""Folder of the export."""

BINS = 40
"""Bins of a ridge, from 0 to the largest change of the layer at any step."""


@dataclass(frozen=True)
class HistogramPart(Part):
    """The histograms that an export for TensorBoard has, and that export."""

    def run(self, made: Made) -> None:
        """Export the run."""
        write_events(made.analysis(self.network), made.home / EVENTS, overwrite=True)

    def content(self, made: Made) -> Content:
        """Return a view of ridges per layer."""
        analysis = made.analysis(self.network)
        return {
            "title": self.title,
            "network": self.network.words,
            "probe": "",
            "said": [],
            "steps": analysis.steps.tolist()[1:],
            "views": [ridges(analysis)],
        }

    def command(self, made: Made) -> list[str]:
        """Return the command that exports the run."""
        return ["accweight", "export", str(made.folder(self.network) / ANALYSIS),
                "--to", "tensorboard", "-o", str(made.home / EVENTS), "--overwrite"]  # fmt: skip


def ridges(analysis: Analysis) -> Content:
    """Return the histograms of the step change of all layers, one below the other, as a view."""
    rows = analysis.measured("layer", None)
    charts = []
    for row, found in step_change_histograms(analysis.run().checkpoints, rows):
        largest = max(one.largest for one in found)
        counts = [_rebinned(one.edges, one.counts, largest) for one in found]
        charts.append({"name": row.name, "largest": largest, "counts": counts})
    return {
        "kind": "ridges",
        "name": "step_change",
        "words": "how far the weights of a layer moved since the step before",
        "places": list(range(len(analysis.steps) - 1)),
        "charts": charts,
    }


def _rebinned(edges: Any, counts: Any, largest: float) -> list[float]:
    """Return the counts in `BINS` bins from 0 to a value that is common to all steps."""
    middles = (edges[1:] + edges[:-1]) / 2
    found, _ = np.histogram(middles, BINS, (0, largest or 1.0), weights=counts)
    return [float(count) for count in found]
