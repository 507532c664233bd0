"""DeepEyes: which layers are stable, and which filters are of no use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accweight_adapters.demo.gallery.made import Made
from accweight_adapters.demo.gallery.networks.digits import DIGITS
from accweight_adapters.demo.gallery.system import Paper, ProbePart, System, Truth

STABILITY, PATCHES = "stability", "top_images:layer=conv2,units=16,count=4"
ALMOST_0 = 0.01
"""Norm of a filter, by that of its layer's median, below which the probe calls it degenerate."""


def truths(made: Made) -> Sequence[Truth]:
    """Return since when the frozen layer rests, and the filters of no use."""
    planted, found = made.of(DIGITS), made.result(DIGITS, STABILITY)
    layers = found.labels("layer")
    since = float(found.array("since")[layers.index("conv1")])
    small = _named(layers, found.array("norms")[-1] < ALMOST_0)
    alike = _named(layers, found.array("twin")[-1] >= found.options["alike"])
    twins = planted["twins"]
    return (
        Truth("step since which conv1 is stable", planted["frozen_from"],
              -1 if np.isnan(since) else since, since == planted["frozen_from"]),
        Truth("filters that are almost 0", planted["zero"], ", ".join(small) or "none",
              small == [planted["zero"]]),
        Truth("filters that point the same way", " and ".join(twins), " and ".join(alike) or "none",
              alike == twins),
    )  # fmt: skip


def _named(layers: Sequence[str], mask: np.ndarray) -> list[str]:
    return [f"{layers[at]}/{unit}" for at, unit in np.argwhere(mask)]


DEEPEYES = System(
    name="deepeyes",
    title="DeepEyes",
    year="2018",
    papers=(
        Paper(
            "Pezzotti and others, DeepEyes: Progressive Visual Analytics for Designing Deep "
            "Neural Networks",
            "https://doi.org/10.1109/TVCG.2017.2744358",
        ),
    ),
    question="Is a layer done, and is it larger than it has to be?",
    showed="Which layers are stable already, and which filters could be left out.",
    lesson="""
        Speed is how much a layer changes from one step to the next, as a share of its size:
        once a curve stays near 0 the layer is stable, and more training will not change it
        much.

        Below, each cell is a filter: in the first map its colour is its size, and the
        darkest is almost 0; in the second it is how alike the most similar other filter is,
        and the two brightest do the same work twice.

        We froze conv1 at step 3, kept filter conv1/5 at 0 and made conv2/11 a copy of
        conv2/3: the pictures at the bottom show that 3 and 11 answer to the same patches.
    """,
    parts=(
        ProbePart(
            DIGITS,
            "Speed of the layers, size and twins of the filters",
            STABILITY,
            ("speed", "settled", "norms", "twin"),
        ),
        ProbePart(
            DIGITS,
            "Which part of which digit each filter of conv2 answers to",
            PATCHES,
            ("images",),
        ),
    ),
    truths=truths,
)
