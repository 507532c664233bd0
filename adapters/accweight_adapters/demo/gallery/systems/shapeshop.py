"""ShapeShop: what a class looks like to a network follows what it was trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accweight_adapters.demo.gallery.made import Made
from accweight_adapters.demo.gallery.networks.pictures import SHAPES
from accweight_adapters.demo.gallery.networks.templates import SETS, TEMPLATES_A, TEMPLATES_B, clean
from accweight_adapters.demo.gallery.networks.training import ANALYSIS, SAMPLES, Network
from accweight_adapters.demo.gallery.system import Paper, ProbePart, System, Truth, probe_command

CLASSES = "feature_visualization:layers=fc2,units=3,begin_at=mean"


def _likeness(made: Made, network: Network) -> Truth:
    """Return how many pictures of classes are most like the shape of their class."""
    names = made.of(network)["names"]
    found = made.result(network, CLASSES)
    optima = found.array("optimum", int(found.steps[-1])).reshape(len(names), -1)
    shapes = np.stack([clean(name).reshape(-1) for name in SHAPES])
    alike = np.corrcoef(np.concatenate([optima, shapes]))[: len(names), len(names) :]
    best = [list(SHAPES)[at] for at in alike.argmax(axis=1)]
    return Truth(
        f"what the classes look like to {network.name}, of {len(SHAPES)} shapes",
        ", ".join(names), ", ".join(best), best == list(names),
    )  # fmt: skip


def truths(made: Made) -> Sequence[Truth]:
    """Return whether the classes of both networks look like what they were trained on."""
    return _likeness(made, TEMPLATES_A), _likeness(made, TEMPLATES_B)


def side_by_side(made: Made) -> Sequence[list[str]]:
    """Return the command that shows the classes of both networks on one page."""
    words = probe_command(made, TEMPLATES_A, SAMPLES, [CLASSES])
    both = [*words[:3], str(made.folder(TEMPLATES_B) / ANALYSIS), *words[3:]]
    return ([*both, "--html", str(made.home / "shapeshop.html")],)


SHAPESHOP = System(
    name="shapeshop",
    title="ShapeShop",
    year="2017",
    papers=(
        Paper(
            "Hohman, Hodas and Chau, ShapeShop: Towards Understanding Deep Learning "
            "Representations via Interactive Experimentation",
            "https://doi.org/10.1145/3027063.3053103",
        ),
    ),
    question="What does a class look like to a network?",
    showed="Ask a network to draw its classes, then change the training data and ask again.",
    lesson="""
        A picture of grey is changed little by little so that the score of one class grows,
        and what comes out is what the class looks like to the network.

        The two networks are the same but for their data: the first has seen a square, a
        disc and a cross, the second a plus, a ring and a corner, all in noise.

        Compare the two: every network draws its own data, and bright and dark show what
        speaks for a class and against it, which is not a shape alone but how it differs
        from the others.
    """,
    parts=(
        ProbePart(
            TEMPLATES_A,
            "Trained on a square, a disc and a cross",
            CLASSES,
            ("images",),
            names=SETS["a"],
        ),
        ProbePart(
            TEMPLATES_B,
            "Trained on a plus, a ring and a corner",
            CLASSES,
            ("images",),
            names=SETS["b"],
        ),
    ),
    beside=True,
    truths=truths,
    more=side_by_side,
)
