"""RNNVis: what each hidden unit answers to, and which belong together."""

from __future__ import annotations

from collections.abc import Sequence

from accweight_adapters.demo.gallery.made import Made
from accweight_adapters.demo.gallery.networks.switches import SWITCHES, SWITCHES_GRU
from accweight_adapters.demo.gallery.system import Paper, ProbePart, System, Truth

RESPONSE, GATES = f"hidden_response:groups={SWITCHES}", "gates"


def truths(made: Made) -> Sequence[Truth]:
    """Return whether units and inputs are put together as they were wired."""
    from sklearn.metrics import adjusted_rand_score

    planted, found = made.of(SWITCHES_GRU), made.result(SWITCHES_GRU, RESPONSE)
    units, inputs = (
        float(adjusted_rand_score(planted[f"{what}s"], found.array(f"{what}_group")))
        for what in ("unit", "input")
    )
    return (
        Truth("agreement of the groups of units with the wiring (adjusted Rand index)",
              1.0, units, units == 1),
        Truth("agreement of the groups of inputs with the switches", 1.0, inputs, inputs == 1),
    )  # fmt: skip


RNNVIS = System(
    name="rnnvis",
    title="RNNVis",
    year="2017",
    papers=(
        Paper(
            "Ming and others, Understanding Hidden Memories of Recurrent Neural Networks",
            "https://arxiv.org/abs/1710.10777",
        ),
    ),
    question="Which hidden units answer to which inputs?",
    showed="The expected response of every hidden unit to every input, in groups.",
    lesson="""
        A GRU hears of three switches being turned on and off and remembers how they stand;
        a row is one of its 9 units, a column one of the six inputs, and a cell how much
        the state of the unit changes on average when that input comes.

        Bright means it rises, dark that it falls, and the tone of the empty cells is no
        change: most units go up at on and down at off of one switch, or the other way
        round.

        Units and inputs are sorted into three groups together, and each group of units
        stands in the columns of one switch: just as we have wired them; below, a point is
        a gate of a unit: an open update gate keeps the state, a closed one takes what is
        new.
    """,
    parts=(
        ProbePart(SWITCHES_GRU, "9 units and 6 inputs", RESPONSE, ("response", "size")),
        ProbePart(
            SWITCHES_GRU,
            "How often gates are open and closed",
            GATES,
            ("saturation", "open", "closed"),
        ),
    ),
    truths=truths,
)
