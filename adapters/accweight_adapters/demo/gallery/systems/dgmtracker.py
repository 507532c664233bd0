"""DGMTracker: where a training that breaks down begins to, among many units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accweight_adapters.demo.gallery.made import Made
from accweight_adapters.demo.gallery.networks.broken import BROKEN
from accweight_adapters.demo.gallery.system import Paper, ProbePart, System, Truth

SERIES, FAILURE = "unit_series:of=norm,keep=24", "failure"


def truths(made: Made) -> Sequence[Truth]:
    """Return where the failure starts, what feeds it, and the curve that leaves the others."""
    planted, found = made.of(BROKEN), made.result(BROKEN, FAILURE)
    step, layer, unit = found.array("failed")
    known = bool(np.isfinite(step))
    name = f"{found.labels('layer')[int(layer)]}/{unit:.0f}" if known else "none"
    feeds = found.labels("candidate")[0] if known else "none"
    series = made.result(BROKEN, SERIES)
    outlier = series.labels("unit")[int(np.argmax(series.array("deviation")))]
    return (
        Truth("step at which the training fails", planted["step"], float(step) if known else -1,
              step == planted["step"]),
        Truth("unit that fails first", planted["unit"], name, name == planted["unit"]),
        Truth("unit without which the values fall most", planted["unit"], feeds,
              feeds == planted["unit"]),
        Truth(f"curve of {series.attributes['filters']} that is farthest from the others",
              planted["unit"], outlier, outlier == planted["unit"]),
    )  # fmt: skip


DGMTRACKER = System(
    name="dgmtracker",
    title="DGMTracker",
    year="2018",
    papers=(
        Paper(
            "Liu and others, Analyzing the Training Processes of Deep Generative Models",
            "https://doi.org/10.1109/TVCG.2017.2744938",
        ),
    ),
    question="The training broke down: where did it begin?",
    showed="Of thousands of curves those that matter, and which unit a failure comes from.",
    lesson="""
        Each curve is the size of one of 394 filters; 24 are kept, those that leave all
        others first, then some that stand for the rest: drawn all at once, or as a mean,
        the one that matters would be lost.

        Below, a cell is a unit and its colour the power of ten that its values reach: play
        the steps, and at step 6 one cell of fc1 lights up, and everything behind it with
        it.

        Who is to blame is tested by ablation: units are set to 0 one at a time in that
        checkpoint, and the one without which the values fall most feeds the failure: fc1/5,
        whose weights we have multiplied by 100,000.
    """,
    parts=(
        ProbePart(BROKEN, "Curves of the filters, thinned", SERIES, ("series", "outliers")),
        ProbePart(
            BROKEN,
            "The largest value of every unit, as a power of ten",
            FAILURE,
            ("values", "exploded"),
        ),
    ),
    truths=truths,
)
