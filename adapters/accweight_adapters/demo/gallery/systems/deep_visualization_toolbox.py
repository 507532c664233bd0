"""Deep Visualization Toolbox: everything about a unit, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accweight_adapters.demo.gallery.made import Made
from accweight_adapters.demo.gallery.networks.shapes import FILTER, PLACE, SHAPES, SIDE
from accweight_adapters.demo.gallery.system import Paper, ProbePart, System, Truth

TOP = "top_images:layer=conv1"
BEST = "feature_visualization:layers=conv1"
MAPS = "activations:node=conv1,rows=2+17,units=8"
ORANGE = 60
"""By how much red is above blue in what raises a unit."""


def truths(made: Made) -> Sequence[Truth]:
    """Return what excites the unit that is a template, where, and what would most."""
    planted, found = made.of(SHAPES), made.result(SHAPES, TOP)
    unit, step = planted["filter"], int(found.steps[-1])
    first = int(found.array("rows", step)[unit, 0])
    tile = found.array("images", step)[unit][:SIDE, :SIDE].astype(int)
    lit = tile[..., 0] - tile[..., 2] > ORANGE
    inside = lit[PLACE : PLACE + FILTER, PLACE : PLACE + FILTER].sum() / max(lit.sum(), 1)
    optimum = made.result(SHAPES, BEST).array("optimum", step)[unit, 0]
    rows, columns = (np.flatnonzero(np.abs(optimum).sum(axis=axis) > 0) for axis in (1, 0))
    patch = optimum[rows[0] : rows[0] + FILTER, columns[0] : columns[0] + FILTER]
    wanted = planted["template"]
    cosine = float((patch * wanted).sum() / np.linalg.norm(patch) / np.linalg.norm(wanted))
    return (
        Truth(f"test picture that excites unit {unit} most", planted["holder"], first,
              first == planted["holder"]),
        Truth("share of what raises the unit that is where the arrow was put",
              1.0, float(inside), inside > 0.99, is_share=True),
        Truth(f"cosine of what would excite unit {unit} most with its filter",
              1.0, cosine, cosine > 0.999),
    )  # fmt: skip


DEEP_VISUALIZATION_TOOLBOX = System(
    name="deep_visualization_toolbox",
    title="Deep Visualization Toolbox",
    year="2015",
    papers=(
        Paper(
            "Yosinski and others, Understanding Neural Networks Through Deep Visualization",
            "https://arxiv.org/abs/1506.06579",
        ),
    ),
    question="What is one unit looking for?",
    showed="All evidence about a unit at once: its map, the pictures it likes best, and why.",
    lesson="""
        For each of eight units you see the nine test pictures that excite it most, with
        what raises it in orange and what it does not look at dark.

        Below is a picture that would excite it more than any of these, found by changing
        the pixels, and then its map for two pictures: bright where it answers.

        Unit 2 was made by hand and is kept through the training: it looks for a small arrow
        head, and one test picture (17) has nothing else in it, so this one has to come
        first.
    """,
    parts=(
        ProbePart(SHAPES, "The pictures that each unit likes best", TOP, ("images",)),
        ProbePart(SHAPES, "What each unit would like even more", BEST, ("images",)),
        ProbePart(
            SHAPES, "The map of each unit for pictures 2 and 17, as picture/unit", MAPS, ("images",)
        ),
    ),
    truths=truths,
)
