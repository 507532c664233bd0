"""Loss and accuracy of networks on all samples, several networks at a time."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from accweight_core.probes.context import Context
from accweight_core.probes.evaluate import Scoring
from accweight_core.probes.network import OUTPUT, BoundNetwork

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

    def of(self, networks: Sequence[BoundNetwork]) -> list[Scores]:
        """Return the scores of each network; each batch is read once for all."""
        keep = [] if self.output == OUTPUT else [self.output]
        sums = [copy.copy(self.scoring) for _ in networks]
        for one in sums:
            one.reset()
        for portion in self.context.portions():
            count = len(portion.rows)
            for network, one in zip(networks, sums, strict=True):
                made = network.run(portion.inputs, keep)[self.output]
                one.add(made[:count], portion.rows)
        found = [one.result() for one in sums]
        return [{n: float(result[n]) for n in SCORES if n in result} for result in found]
