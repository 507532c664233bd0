"""TensorFlow Playground and ConvNetJS: the plane as every unit of a small network sees it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accweight_adapters.demo.gallery.made import Made
from accweight_adapters.demo.gallery.networks.spirals import SPIRALS
from accweight_adapters.demo.gallery.system import Paper, ProbePart, System, Truth

UNITS = 8
SURFACE = f"decision_surface:units={UNITS},cells=56"
LEARNED = 0.95


def truths(made: Made) -> Sequence[Truth]:
    """Return whether units turn on where their weights say, and points lie in their colour."""
    found, step = made.result(SPIRALS, SURFACE), int(made.result(SPIRALS, SURFACE).steps[-1])
    low, high = found.attributes["low"], found.attributes["high"]
    surface = found.array("surface", step)[:UNITS]
    side = surface.shape[-1]
    x, y = (np.linspace(low[at], high[at], side) for at in (0, 1))
    grid = np.stack(np.meshgrid(x, y[::-1]), axis=-1)
    weights = made.weights(SPIRALS, "fc1.weight", step)[:UNITS].astype(np.float64)
    line = np.einsum("yxi,ui->uyx", grid, weights)
    line += made.weights(SPIRALS, "fc1.bias", step)[:UNITS, None, None]
    wrong = int(((line > 0) != (surface > 0)).sum())

    planted = made.of(SPIRALS)
    place = (planted["points"] - low) / (np.array(high) - low) * (side - 1)
    across, up = np.rint(place).astype(int).T
    predicted = found.array("predicted", step)[side - 1 - up, across]
    right = float((predicted == planted["classes"]).mean())
    return (
        Truth(f"points of {line.size} on another side of a unit's line than its weights say",
              0, wrong, wrong <= line.size * 1e-3),
        Truth("share of the samples that lie in the area of their own colour in the end",
              1.0, right, right >= LEARNED, is_share=True),
    )  # fmt: skip


PLAYGROUND = System(
    name="playground",
    title="TensorFlow Playground, ConvNetJS",
    year="2017, 2014",
    papers=(
        Paper(
            "Smilkov and others, Direct-Manipulation Visualization of Deep Networks",
            "https://arxiv.org/abs/1708.03788",
        ),
        Paper("Karpathy, ConvNetJS", "https://cs.stanford.edu/people/karpathy/convnetjs/"),
    ),
    question="How do straight lines become a curved boundary?",
    showed="A network of two inputs can be drawn as a whole: each unit is a picture of the plane.",
    lesson="""
        Every picture is the same plane, as one unit sees it: orange where the unit is on,
        blue where it is off, and white on the line between the two; the last one is what
        the network decides, with the samples in it.

        Units of the first layer (fc1; eight of its 16 are here) can draw one straight line
        each, units of the second (fc2) add such lines up to bent shapes, and the output (fc3)
        adds those up to spirals; a line is a weight, orange above 0 and blue below, thick if
        it is large.

        Play the steps: first the lines turn, then the shapes bend around the samples; the
        pale parts of the last picture are where the network is not sure.
    """,
    parts=(
        ProbePart(
            SPIRALS, "The plane, seen by 18 units and by the whole network", SURFACE, ("links",)
        ),
    ),
    truths=truths,
)
