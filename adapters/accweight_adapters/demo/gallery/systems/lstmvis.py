"""LSTMVis: select what hidden units do in a span, and find it elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accweight_adapters.demo.gallery.made import Made
from accweight_adapters.demo.gallery.networks.brackets import BRACKETS, FIRST, SPAN, SPAN_LENGTH
from accweight_adapters.demo.gallery.system import Paper, ProbePart, System, Truth

PATTERN = f"hidden_state:sample=0,begin_at={SPAN},length={SPAN_LENGTH}"
ENOUGH = 0.9


def truths(made: Made) -> Sequence[Truth]:
    """Return whether the spans found are as deep as the one selected."""
    found, depth = made.result(BRACKETS, PATTERN), made.of(BRACKETS)["depth"]
    agreement, chance = (float(found.array(name)[-1]) for name in ("agreement", "by_chance"))
    best = float(np.nanmax(np.abs(found.array("correlation")[-1])))
    return (
        Truth(f"share of the 50 spans found where {depth} brackets are open, too (of all spans "
              f"{chance:.0%})", 1.0, agreement, agreement >= ENOUGH, is_share=True),
        Truth("largest correlation of a unit with the number of open brackets", "0.7 at least",
              best, best >= 0.7),
    )  # fmt: skip


LSTMVIS = System(
    name="lstmvis",
    title="LSTMVis",
    year="2018",
    papers=(
        Paper(
            "Strobelt and others, LSTMVis: A Tool for Visual Analysis of Hidden State Dynamics "
            "in Recurrent Neural Networks",
            "https://arxiv.org/abs/1606.07461",
        ),
    ),
    question="What does a recurrent network keep in mind?",
    showed="Select a span of a sequence and see where else the hidden units do the same.",
    lesson=f"""
        The columns are the letters of the text {FIRST}, the rows the 16 hidden units of an
        LSTM that has learned to say how many brackets are open; bright is high.

        Selected are the two letters in colour, the third bracket and the a in it, where
        three are open: the units that are on throughout are a pattern, which is looked for
        in 200 texts.

        Agreement is the share of the spans found that are three deep as well: it is far
        above that of all spans, so the pattern stands for depth; correlation says which
        single units follow the depth.
    """,
    parts=(
        ProbePart(
            BRACKETS,
            "States of the hidden units along one text",
            PATTERN,
            ("states", "agreement", "correlation"),
        ),
    ),
    truths=truths,
)
