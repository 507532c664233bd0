"""A network as columns of unit pictures, with links as wide as weights are large.

A probe stores it as arrays and attributes: columns of units, beginning with the inputs, have their
pictures in `inputs` and then `images`; one more picture is that of the result. An end of a link is
a place among all. Figures, pages and the viewer draw it from here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.probe_pictures import Pixels, pictures_at
from accweight_core.analysis.probe_results import ProbeResult

ABOVE, BELOW = "#e07b14", "#146edc"
"""Colours of links above and below 0."""


@dataclass(frozen=True)
class UnitNetwork:
    """Units and links of a result.

    Attributes:
        columns: Layer of each column, that of the inputs first, and how many units are drawn.
        names: Names of all units, column by column, and of the result.
        ends: The two units of each link.
        weights: (steps, links).
        high: The largest weight of all steps; 1 if all are 0.
    """

    columns: tuple[tuple[str, int], ...]
    names: tuple[str, ...]
    ends: tuple[tuple[int, int], ...]
    weights: npt.NDArray[np.float64]
    high: float

    @classmethod
    def of(cls, result: ProbeResult, links: str) -> UnitNetwork:
        """Return the network of a result that `is_network`.

        Args:
            result: The result.
            links: Name of the array with the weights.

        Raises:
            StoreError: If that is damaged.
        """
        weights = result.array(links).astype(np.float64)
        return cls(
            tuple((str(text), int(count)) for text, count in result.attributes["columns"]),
            (*result.labels("input"), *result.labels("unit")),
            tuple((int(source), int(target)) for source, target in result.attributes["ends"]),
            weights,
            float(np.abs(weights[np.isfinite(weights)]).max(initial=0.0)) or 1.0,
        )


def is_network(result: ProbeResult) -> bool:
    """Tell whether pictures of a result are the units of a network, and its links are known."""
    columns, ends = (result.attributes.get(name) for name in ("columns", "ends"))
    if not (columns and ends and {"inputs", "images"} <= {*result.arrays}):
        return False
    count = sum(int(shown) for _, shown in columns)
    drawn = result.fields["inputs"].shape[0] + result.fields["images"].shape[1] - 1
    return count == drawn and all(0 <= int(end) < count for pair in ends for end in pair)


def network_pictures(result: ProbeResult, step: int) -> list[Pixels]:
    """Return (height, width, channels) of every unit at a step, and of the result.

    Raises:
        StoreError: If they are damaged.
    """
    return [*result.array("inputs"), *pictures_at(result, "images", step)]
