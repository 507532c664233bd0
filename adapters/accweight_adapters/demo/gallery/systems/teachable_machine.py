"""Teachable Machine: classes of one's own from a few pictures."""

from __future__ import annotations

from collections.abc import Sequence

from accweight_adapters.demo.gallery.made import Made
from accweight_adapters.demo.gallery.networks.shapes import FEW, OTHERS, SHAPES
from accweight_adapters.demo.gallery.system import Paper, ProbePart, System, Truth

NEAREST = "few_shot:count=3"


def truths(made: Made) -> Sequence[Truth]:
    """Return what the best layer tells, and whether the picture in a wrong folder is found."""
    found, wrong = made.result(SHAPES, NEAREST, FEW), made.of(SHAPES)["mistaken"]
    step = int(found.steps[-1])
    accuracy = found.array("accuracy", step)
    best, by_pixels = int(accuracy.argmax()), float(found.attributes["pixels"])
    labels = found.attributes["targets"]
    voted = found.array("voted", step)[best].astype(int)
    files = [path.relative_to(made.folder(SHAPES) / FEW).as_posix()
             for name in sorted(OTHERS)
             for path in sorted((made.folder(SHAPES) / FEW / name).iterdir())]  # fmt: skip
    confused = [files[at] for at in range(len(files)) if voted[at] != labels[at]]
    layer = found.labels("layer")[best]
    return (
        Truth("pictures that are told by another class than that of their folder",
              wrong, ", ".join(confused) or "none", wrong in confused),
        Truth(f"share told right at the best layer ({layer}); by pixels alone {by_pixels:.0%}",
              1 - 1 / len(files), float(accuracy[best]), accuracy[best] > by_pixels + 0.2),
    )  # fmt: skip


TEACHABLE_MACHINE = System(
    name="teachable_machine",
    title="Teachable Machine",
    year="2017",
    papers=(
        Paper("Carney and others, Teachable Machine: Approachable Web-Based Tool for Exploring "
              "Machine Learning Classification", "https://doi.org/10.1145/3334480.3382839"),
    ),  # fmt: skip
    question="Can a trained network learn new classes from five pictures?",
    showed="Anyone can make a classifier: show a trained network a few pictures of each class.",
    sentences=(
        "The folder has five pictures each of four shapes that the network has never seen; every "
        "picture is given the class of the three others that are nearest to it, by what a layer "
        "makes of them.",
        "The curves say how many are told right at each layer, step by step: where a curve is "
        "highest is where you would cut the network to build on it.",
        "The pairs are the pictures that are told wrong, with the nearest one at the right; one of "
        "them we have put into a wrong folder on purpose, and the network notices.",
    ),
    parts=(ProbePart(SHAPES, "A folder of twenty pictures of new shapes", NEAREST,
                     ("images", "confusion", "accuracy"), data=FEW),),
    truths=truths,
)  # fmt: skip
