"""ActiVis: units against subsets of the samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accweight_adapters.demo.gallery.made import Made
from accweight_adapters.demo.gallery.networks.dense import DENSE, PIXEL
from accweight_adapters.demo.gallery.system import Paper, ProbePart, System, Truth

RULE = f"x{PIXEL}>0.5"
SUBSETS = f"neuron_activation:layers=fc1+fc2,units=16,rule={RULE}"


def truths(made: Made) -> Sequence[Truth]:
    """Return which unit answers to the rule most, at the first and at the last step."""
    found, wired = made.result(DENSE, SUBSETS), made.of(DENSE)["wired"]
    column, rows = found.labels("subset").index(RULE), found.labels("row")
    of_layer = [at for at, row in enumerate(rows) if row.startswith("fc1/")]
    best = [
        rows[of_layer[int(np.nanargmax(means[of_layer, column]))]] for means in found.array("means")
    ]
    share = best.count(wired) / len(best)
    return (
        Truth(f"unit of fc1 that answers most to {RULE} in the end", wired, best[-1],
              best[-1] == wired),
        Truth("share of the steps at which it is this one", 1.0, share, share == 1, is_share=True),
    )  # fmt: skip


ACTIVIS = System(
    name="activis",
    title="ActiVis",
    year="2018",
    papers=(
        Paper(
            "Kahng and others, ActiVis: Visual Exploration of Industry-Scale Deep Neural Network "
            "Models",
            "https://arxiv.org/abs/1704.01942",
        ),
    ),
    question="Which units answer to which samples?",
    showed="Compare subsets of the samples, not single ones: classes, mistakes, rules of your own.",
    lesson=f"""
        A row is a unit and a column a subset of the digits: the ten classes, those that the
        network gets wrong at the step, and a rule of our own, {RULE}: digits with ink on
        pixel {PIXEL}, which lies at the lower edge.

        A bright cell is a unit that is higher for the subset than for all digits, in
        standard deviations; units that answer to the same subset are next to each other,
        and the second layer (fc2) has clearer units than the first.

        Unit fc1/7 was wired by hand to pixel {PIXEL} alone: it has to be the brightest of
        its layer in the column of the rule, at every step.
    """,
    parts=(ProbePart(DENSE, "32 units and 12 subsets", SUBSETS, ("answers", "explained")),),
    truths=truths,
)
