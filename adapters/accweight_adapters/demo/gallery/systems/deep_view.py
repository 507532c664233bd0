"""Deep View: how well layers tell classes apart, and when a network learns by rote."""

from __future__ import annotations

from collections.abc import Sequence

from accweight_adapters.demo.gallery.made import Made
from accweight_adapters.demo.gallery.networks.dense import DENSE, NOISY, TRAINED
from accweight_adapters.demo.gallery.networks.training import Network
from accweight_adapters.demo.gallery.system import Paper, ProbePart, System, Truth
from accweight_core.probes.linear_probe import fallen

SEPARABLE = f"linear_probe:trained={TRAINED}"


def truths(made: Made) -> Sequence[Truth]:
    """Return which layers are warned of, with wrong labels and with right ones."""
    wrong, right = _warned(made, NOISY), _warned(made, DENSE)
    return (
        Truth(f"layers that are warned of, if {made.of(NOISY)['wrong']:.0%} of the labels are "
              "wrong", "at least one", ", ".join(wrong) or "none", bool(wrong)),
        Truth("layers that are warned of, if all labels are right", "none",
              ", ".join(right) or "none", not right),
    )  # fmt: skip


def _warned(made: Made, network: Network) -> list[str]:
    """Return the layers whose held-out separability has fallen while that of training has not."""
    found = made.result(network, SEPARABLE)
    held, fitted = found.array("held_out"), found.array("fitted")
    count = int(found.attributes["held_out"])
    pairs = zip(found.labels("layer"), held.T, fitted.T, strict=True)
    return [layer for layer, own, seen in pairs if fallen(own, seen, count) is not None]


DEEP_VIEW = System(
    name="deep_view",
    title="Deep View",
    year="2017",
    papers=(
        Paper(
            "Zhong and others, Evolutionary Visual Analysis of Deep Neural Networks, told of in "
            "the survey by Hohman and others",
            "https://arxiv.org/abs/1801.06889",
        ),
    ),
    question="At which layer can the classes be told apart, and since when?",
    showed="How separable the classes are at each layer, through the training.",
    lesson="""
        At every step a simple linear classifier is fitted on the values of each layer for
        the 300 training digits and then asked about 360 digits that were held out.

        With right labels both numbers rise together: the layers find what the digits have
        in common.

        With wrong labels what is told of the training samples goes on rising while what is
        told of the others falls at fc1: the layer learns its samples by rote, and that is
        what the warning says. Fewer of the training digits are told than of the held-out
        ones, as their labels are the noisy ones: compare each curve with itself.
    """,
    parts=(
        ProbePart(DENSE, "All labels are right", SEPARABLE, ("held_out", "fitted")),
        ProbePart(NOISY, "Nearly half of the labels are wrong", SEPARABLE, ("held_out", "fitted")),
    ),
    truths=truths,
    beside=True,
)
