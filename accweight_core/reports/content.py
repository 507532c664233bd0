"""The content of a report as plain values: its pages and its JSON say the same."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from accweight_core.analysis.analysis import Analysis
from accweight_core.metrics.table import DEFAULT, METRICS
from accweight_core.reports.comparison_content import comparison_content
from accweight_core.reports.run_content import metric_words, run_content

READING = (
    "Movement tells whether the training of a layer mattered, not whether the layer is needed.",
    (
        f"{DEFAULT} was tested: over the layers of 24 small networks trained on MNIST its rank "
        "correlation with what is lost when a layer is put back to its first weights was 0.71 "
        "(0.23 for mean); in 47 runs of five other small tasks it was 0.52 (0.41), but 0.09 in "
        "their LSTMs, where rotation had 0.77. Large networks were not part of these tests."
    ),
    "The first checkpoint is the reference: what moved before it is not seen.",
    (
        "Between two checkpoints weights go farther than the straight line that is measured: the "
        "more checkpoints, the longer the path."
    ),
    (
        "mean and max grow with the learning rate, the scale of the weights and the number of "
        "checkpoints; they compare layers of one run, and runs only if all of these are equal."
    ),
)
"""How to read a report, in sentences."""

Content = dict[str, Any]


def content_of(analyses: Sequence[Analysis], by: str | None, command: str) -> Content:
    """Return what a report says.

    Args:
        analyses: The analyses, one or more.
        by: Metric of the rankings; None for the default.
        command: The command that makes the report again.

    Raises:
        UnknownNameError: If there is no such metric.
        StoreError: If an analysis is damaged.
    """
    names = _names(analyses)
    return {
        "accweight": version("accweight"),
        "command": command,
        "runs": [run_content(one, by, name) for one, name in zip(analyses, names, strict=True)],
        "comparison": comparison_content(analyses, names),
        "reading": list(READING),
        "metrics": metric_words(METRICS),
    }


def _names(analyses: Sequence[Analysis]) -> list[str]:
    """Return a different name for every run, with its folder where several are called alike."""
    found: list[str] = []
    plain = [analysis.shown.run for analysis in analyses]
    for analysis, run in zip(analyses, plain, strict=True):
        folder = analysis.path.absolute().parent.name if analysis.path else ""
        own = name = f"{folder}/{run}" if plain.count(run) > 1 and folder else run
        number = 2
        while name in found:
            name, number = f"{own} ({number})", number + 1
        found.append(name)
    return found
