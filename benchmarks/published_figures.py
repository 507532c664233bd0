"""The figures of the published MNIST experiment, and how near those of a trial come to them."""

from __future__ import annotations

import math

from torch import Tensor

LAYERS = ("conv1", "conv2", "fc1", "fc2")
REFERENCES = ("init", "first")

#: The figures the score is made of: (statistic, layer) -> published value.
PUBLISHED: dict[tuple[str, str], float] = {
    ("mean", "conv1"): 0.2605,
    ("mean", "conv2"): 0.0900,
    ("mean", "fc1"): 0.0268,
    ("max", "fc2"): 0.6575,
    ("max", "fc1"): 0.3977,
}
#: Reported beside the score, not in it: it may be some other quantity.
PUBLISHED_CONV2_MAX = 0.1188


def statistics(changes: dict[str, Tensor]) -> dict[str, list[float]]:
    """Return the mean and the largest cumulative change of every layer, in order."""
    return {
        "mean": [round(float(changes[name].mean()), 5) for name in LAYERS],
        "max": [round(float(changes[name].max()), 5) for name in LAYERS],
    }


def score(figures: dict[str, list[float]]) -> float:
    """Return the sum of the absolute log ratios to the published figures."""
    total = 0.0
    for (statistic, layer), published in PUBLISHED.items():
        value = figures[statistic][LAYERS.index(layer)]
        total += abs(math.log(value / published)) if value > 0 else math.inf
    return total


def claims(figures: dict[str, list[float]]) -> dict[str, bool]:
    """Return which of the published orders hold."""
    conv1, conv2, fc1, fc2 = figures["mean"]
    largest = dict(zip(LAYERS, figures["max"], strict=True))
    return {
        "mean: conv1 > conv2 > fc1": conv1 > conv2 > fc1,
        "mean: conv1 is the highest": conv1 == max(figures["mean"]),
        "mean: fc1 is the lowest": fc1 == min(figures["mean"]),
        "mean: fc2 is between conv1 and fc1": fc1 < fc2 < conv1,
        "max: the network's is in fc2": largest["fc2"] == max(figures["max"]),
        "max: fc1 is above conv2": largest["fc1"] > largest["conv2"],
    }
