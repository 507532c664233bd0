"""Embedding Projector: samples as points, by what a layer makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accweight_adapters.demo.gallery.made import Made
from accweight_adapters.demo.gallery.networks.digits import DIGITS
from accweight_adapters.demo.gallery.networks.training import ANALYSIS
from accweight_adapters.demo.gallery.system import Paper, ProbePart, System, Truth

POINTS, NEAREST = "embedding:layer=fc1", "neighbors:layer=fc1,count=1"


def truths(made: Made) -> Sequence[Truth]:
    """Return whether pictures that are there twice are neighbours, and stay so on the map."""
    pairs, found = made.of(DIGITS)["pairs"], made.result(DIGITS, NEAREST)
    place = {row: at for at, row in enumerate(found.attributes["rows"])}
    nearest = found.array("nearest", int(found.steps[-1]))[:, 0].astype(int)
    twins = [(place[a], place[b]) for a, b in pairs]
    met = sum(int(nearest[a] == b) + int(nearest[b] == a) for a, b in twins)
    points = made.result(DIGITS, POINTS).array("coordinates")
    radius = np.sqrt(((points - points.mean(axis=1, keepdims=True)) ** 2).sum(axis=2).mean())
    apart = max(float(np.linalg.norm(points[:, a] - points[:, b], axis=1).max()) for a, b in twins)
    return (
        Truth("digits that are there twice, whose nearest neighbour is their twin",
              2 * len(pairs), met, met == 2 * len(pairs)),
        Truth("how far twins are apart on the map at any step, in radii of the map",
              0.0, apart / float(radius), apart < 0.02 * radius),
    )  # fmt: skip


EMBEDDING_PROJECTOR = System(
    name="embedding_projector",
    title="Embedding Projector",
    year="2016",
    papers=(
        Paper(
            "Smilkov and others, Embedding Projector: Interactive Visualization and "
            "Interpretation of Embeddings",
            "https://arxiv.org/abs/1611.05469",
        ),
    ),
    question="Which samples are alike to the network?",
    showed="The values of a layer for each sample as a point: what is near is alike.",
    lesson="""
        Each point is a handwritten digit of the test set, put where the 32 values of layer
        fc1 put it; 32 axes are pressed onto two, those along which the last step varies
        most.

        Play the steps: a heap of all digits comes apart into groups; point at one that lies
        in a group of others, and you will often find that you would hesitate as well.

        Trustworthiness says how many neighbours on the map are neighbours in the layer:
        below 0.9 or so, do not read much into who is next to whom.
    """,
    parts=(
        ProbePart(DIGITS, "370 digits", POINTS, ("coordinates",)),
        ProbePart(
            DIGITS, "The nearest neighbour of each", NEAREST, ("agreement", "pixel_agreement")
        ),
    ),
    truths=truths,
    more=lambda made: (
        [
            "accweight",
            "export",
            str(made.folder(DIGITS) / ANALYSIS),
            "--to",
            "projector",
            "-o",
            str(made.home / "projector"),
            "--overwrite",
        ],
    ),
)
