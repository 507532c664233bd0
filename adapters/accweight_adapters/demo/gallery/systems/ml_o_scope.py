"""ML-o-scope: a time-lapse of filters, and of what they answer to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accweight_adapters.demo.gallery.made import Made
from accweight_adapters.demo.gallery.networks.stripes import STRIPES
from accweight_adapters.demo.gallery.system import Paper, ProbePart, System, Truth, probe_command

FILTERS, MAPS = "filters:layer=conv1", "activations:node=conv1,rows=0+3,units=8"
THERE = 0.9


def truths(made: Made) -> Sequence[Truth]:
    """Return when the filter that was put in is seen, and how alike it is."""
    planted, found = made.of(STRIPES), made.result(STRIPES, FILTERS)
    own = found.array("weights")[:, planted["filter"]].reshape(len(found.steps), -1)
    wanted = planted["weights"].reshape(-1)
    cosines = own @ wanted / np.linalg.norm(own, axis=1) / np.linalg.norm(wanted)
    first = int(found.steps[np.argmax(cosines >= THERE)]) if (cosines >= THERE).any() else -1
    return (
        Truth(f"step at which filter {planted['filter']} becomes a diagonal one",
              planted["planted_from"], first, first == planted["planted_from"]),
        Truth("cosine of the filter with the one that was put in, in the end",
              1.0, float(cosines[-1]), cosines[-1] > 0.999),
    )  # fmt: skip


ML_O_SCOPE = System(
    name="ml_o_scope",
    title="ML-o-scope",
    year="2014",
    papers=(
        Paper(
            "Bruckner, ML-o-scope: a diagnostic visualization system for deep machine learning "
            "pipelines",
            "https://www2.eecs.berkeley.edu/Pubs/TechRpts/2014/EECS-2014-99.html",
        ),
    ),
    question="How does a filter come about?",
    showed="Filters of a convolution as a time-lapse: from noise to what has a meaning.",
    lesson="""
        Each small picture of the first row is a filter of the first convolution: 49
        weights, black is negative, white is positive, and the scale is the same at all
        steps.

        Out of noise come stripes that lie or stand, as in the pictures that the network is
        trained on; below are the maps of the same filters for two of these pictures, bright
        where a filter finds its stripes.

        At step 8 we have replaced filter 3 by hand with a diagonal one: no picture has
        diagonal stripes, so training would not have made it, and you see it appear at once.
    """,
    parts=(
        ProbePart(STRIPES, "The filters", FILTERS, ("images", "similarity")),
        ProbePart(
            STRIPES,
            "What they answer to, as picture/filter: stripes of picture 0 lie, those of 3 stand",
            MAPS,
            ("images",),
        ),
    ),
    truths=truths,
    more=lambda made: (
        [
            *probe_command(made, STRIPES, "test.npz", [FILTERS]),
            "--movie",
            str(made.home / "filters.gif"),
        ],
    ),
)
