"""Teachable Machine: classes of one's own from a few pictures."""

from __future__ import annotations

from collections.abc import Sequence

from accweight_adapters.demo.gallery.made import Made
from accweight_adapters.demo.gallery.networks.shapes import FEW, SHAPES
from accweight_adapters.demo.gallery.system import Paper, ProbePart, System, Truth

NEAREST = "few_shot:count=3,pairs=6"


def truths(made: Made) -> Sequence[Truth]:
    """Return which pictures the best layer tells wrong, and how many it tells right."""
    found, wrong = made.result(SHAPES, NEAREST, FEW), made.of(SHAPES)["mistaken"]
    step, labels = int(found.steps[-1]), found.attributes["targets"]
    accuracy = found.array("accuracy", step)
    best, by_pixels = int(accuracy.argmax()), float(found.attributes["pixels"])
    voted = found.array("voted", step)[best].astype(int)
    files = [path.relative_to(made.folder(SHAPES) / FEW).as_posix()
             for name in found.attributes["classes"]
             for path in sorted((made.folder(SHAPES) / FEW / name).iterdir())]  # fmt: skip
    confused = [name for name, own, label in zip(files, voted, labels, strict=True) if own != label]
    right, layer = 1 - 1 / len(files), found.labels("layer")[best]
    return (
        Truth("pictures that belong into another folder, by their neighbours", wrong,
              ", ".join(confused) or "none", confused == [wrong]),
        Truth(f"share told right at {layer}, the best layer (by pixels alone {by_pixels:.0%})",
              right, float(accuracy[best]), abs(accuracy[best] - right) < 1e-6, is_share=True),
    )  # fmt: skip


TEACHABLE_MACHINE = System(
    name="teachable_machine",
    title="Teachable Machine",
    year="2017",
    papers=(
        Paper(
            "Carney and others, Teachable Machine: Approachable Web-Based Tool for Exploring "
            "Machine Learning Classification",
            "https://doi.org/10.1145/3334480.3382839",
        ),
    ),
    question="Can you make a classifier from five pictures of each class?",
    showed="Anyone can make a classifier: show a trained network a few pictures of each class.",
    lesson="""
        The folder has five new pictures of each of four shapes; every picture is given the
        class of the three others that are nearest to it, by what a layer makes of them.

        The curves say how many are told right at each layer, step by step: where a curve is
        highest is where you would cut the network to build on it; the pixels alone do not
        tell, as shapes are anywhere in the picture.

        The pairs are the pictures that are told wrong, with the nearest one at the right:
        in the end one is left, a plus that we have put into the folder of the discs on
        purpose.
    """,
    parts=(
        ProbePart(
            SHAPES,
            "A folder of twenty pictures",
            NEAREST,
            ("images", "confusion", "accuracy"),
            data=FEW,
        ),
    ),
    truths=truths,
)
