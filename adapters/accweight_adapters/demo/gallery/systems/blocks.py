"""Blocks: which classes a network takes for each other, and when they come apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accweight_adapters.demo.gallery.made import Made
from accweight_adapters.demo.gallery.networks.stripes import STRIPES
from accweight_adapters.demo.gallery.system import Paper, ProbePart, System, Truth
from accweight_core.probes.class_hierarchy import APART

HIERARCHY, LAYER = "class_hierarchy", "fc2"


def truths(made: Made) -> Sequence[Truth]:
    """Return the groups of classes, and whether they come apart before their classes."""
    from sklearn.metrics import adjusted_rand_score

    found = made.result(STRIPES, HIERARCHY)
    index = float(adjusted_rand_score(made.of(STRIPES)["groups"], found.array("group")))
    at = found.labels("layer").index(LAYER)
    groups, classes = (
        _first(found.array(f"{what}_apart")[:, at], found.steps) for what in ("groups", "classes")
    )
    return (
        Truth("agreement of the groups with lying and standing stripes (adjusted Rand index)",
              1.0, index, index == 1),
        Truth(f"steps at which groups, then classes are apart at {LAYER}", "groups first",
              f"{groups:.0f}, then {classes:.0f}", groups < classes),
    )  # fmt: skip


def _first(shares: np.ndarray, steps: np.ndarray) -> float:
    """Return the first step at which a share is large; infinity if it never is."""
    large = np.flatnonzero(shares >= APART)
    return float(steps[large[0]]) if len(large) else float("inf")


BLOCKS = System(
    name="blocks",
    title="Blocks",
    year="2018",
    papers=(
        Paper(
            "Bilal and others, Do Convolutional Neural Networks Learn Class Hierarchy?",
            "https://arxiv.org/abs/1710.06501",
        ),
    ),
    question="Are mistakes random, or do classes form families?",
    showed="Networks tell families of classes apart first, and the classes within them later.",
    lesson="""
        The table counts what stripes are (down) and what the network says they are
        (across), in an order that the probe finds: classes that are mixed up stand next to
        each other, so families are blocks on the diagonal.

        Play the steps: at first the network says one class of everything, at step 3 two
        blocks are left, lying and standing stripes whose spacing is not told yet, in the
        end the diagonal.

        The curves say the same per layer: groups are apart before classes are, and deeper
        layers tell both better than the first.
    """,
    parts=(
        ProbePart(
            STRIPES,
            "Six kinds of stripes",
            HIERARCHY,
            ("confusion", "groups_apart", "classes_apart"),
        ),
    ),
    truths=truths,
    begin_at=3,
)
