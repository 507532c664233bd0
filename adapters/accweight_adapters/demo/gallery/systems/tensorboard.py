"""TensorBoard: numbers, histograms and pictures over the steps of a training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accweight_adapters.demo.gallery.histograms import HistogramPart
from accweight_adapters.demo.gallery.layer_graph import GraphPart
from accweight_adapters.demo.gallery.made import Made
from accweight_adapters.demo.gallery.networks.digits import DIGITS, FROZEN_FROM
from accweight_adapters.demo.gallery.system import Paper, ProbePart, System, Truth

EVALUATE, FILTERS = "evaluate", "filters"


def truths(made: Made) -> Sequence[Truth]:
    """Return whether numbers are those of the training, and the frozen layer does not move."""
    analysis = made.analysis(DIGITS)
    noted = np.asarray(analysis.header.measures["loss"], float)
    found = made.result(DIGITS, EVALUATE).array("loss")
    (conv1,) = (row for row in analysis.measured("layer", None) if row.name == "conv1")
    moved = float(conv1.metrics["step_max"][FROZEN_FROM + 1 :].max())
    before = float(conv1.metrics["step_max"][FROZEN_FROM])
    return (
        Truth("loss at the last step: noted in training, and computed from the checkpoint",
              float(noted[-1]), float(found[-1]), bool(np.allclose(noted, found, rtol=1e-4))),
        Truth(f"largest change of a weight of conv1 after step {FROZEN_FROM}, when it was frozen "
              f"({before:.2g} until then)", 0.0, moved, moved == 0 < before),
    )  # fmt: skip


TENSORBOARD = System(
    name="tensorboard",
    title="TensorBoard",
    year="2015",
    papers=(
        Paper(
            "Abadi and others, TensorFlow: Large-Scale Machine Learning on Heterogeneous "
            "Distributed Systems",
            "https://arxiv.org/abs/1603.04467",
        ),
    ),
    question="How did the training go?",
    showed="Log numbers, histograms and pictures as you train, and read them along one time line.",
    lesson="""
        The curves are loss and accuracy on digits that were held out, computed from the
        checkpoints: nothing had to be logged while the network was trained.

        The ridges are histograms, one per step and the first at the back: how many weights
        of the layer moved how far since the step before; most move less and less, so the
        ridges slide to the left.

        We froze conv1 at step 3: from then on all its weights are at exactly 0, and its
        filters (the pictures) stand still; filter 5 was kept at 0 all the time.
    """,
    parts=(
        ProbePart(DIGITS, "Numbers", EVALUATE, ("loss", "accuracy")),
        HistogramPart(DIGITS, "Histograms"),
        ProbePart(DIGITS, "Pictures", FILTERS, ("images",)),
        GraphPart(DIGITS, "The graph: layers that moved more are brighter"),
    ),
    truths=truths,
)
