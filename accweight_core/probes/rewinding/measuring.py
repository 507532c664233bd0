"""Loss and accuracy of networks on all samples, several networks at a time."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accweight_core.probes.context import Context, Portion
from accweight_core.probes.evaluate import Scoring
from accweight_core.probes.network import OUTPUT, Array, BoundNetwork, ResumableNetwork

SCORES = ("loss", "accuracy")

Scores = dict[str, float]
"""Loss, and accuracy if there are classes."""


@dataclass
class Measuring:
    """Measures networks on the samples.

    Attributes:
        context: What has the samples.
        scoring: How outputs are held against the targets.
        output: The node that is.
    """

    context: Context
    scoring: Scoring
    output: str

    def of(self, networks: Sequence[BoundNetwork], base: BoundNetwork) -> list[Scores]:
        """Return the scores of each network; each batch is read once for all.

        Args:
            networks: The networks.
            base: One that is like them up to the layer that was put back: what it makes until
                there is computed once for all of them, if the engine can go on from it.
        """
        keep = [] if self.output == OUTPUT else [self.output]
        sums = [copy.copy(self.scoring) for _ in networks]
        for one in sums:
            one.reset()
        changed = differing(networks, base)
        for portion in self.context.portions():
            count = len(portion.rows)
            for made, one in zip(
                _outputs(networks, base, portion, changed, keep), sums, strict=True
            ):
                one.add(made[self.output][:count], portion.rows)
        found = [one.result() for one in sums]
        return [{n: float(result[n]) for n in SCORES if n in result} for result in found]


def _outputs(
    networks: Sequence[BoundNetwork],
    base: BoundNetwork,
    portion: Portion,
    changed: Sequence[str],
    keep: Sequence[str],
) -> Iterator[Mapping[str, Array]]:
    """Yield what each network makes of some samples."""
    if not changed or not isinstance(base, ResumableNetwork):
        yield from (network.run(portion.inputs, keep) for network in networks)
        return
    beginning = base.beginning(portion.inputs, changed, keep)
    for network in networks:
        if isinstance(network, ResumableNetwork):
            yield network.resumed(beginning)


def differing(networks: Sequence[BoundNetwork], base: BoundNetwork) -> list[str]:
    """Return the parameters in which one of some networks differs from another one."""
    return [
        name
        for name, values in base.parameters.items()
        if any(not _are_same(network.parameters[name], values) for network in networks)
    ]


def _are_same(left: Array, right: Array) -> bool:
    is_shared = left.ctypes.data == right.ctypes.data
    return is_shared or np.array_equal(left, right)
