"""Loss and accuracy of networks on all samples, several networks at a time."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accweight_core.probes.context import Context, Portion
from accweight_core.probes.network import (
    OUTPUT,
    Array,
    BoundNetwork,
    Network,
    ResumableNetwork,
)
from accweight_core.probes.scoring import Scoring

SCORES = ("loss", "accuracy")

CACHED_BYTES = 1 << 19
"""Bytes of samples that run at a time on a CPU, where values of many leave the caches, and memory
for each is asked of the system anew. On 28 x 28 pixels, 128 samples took 0.6 of the time of 256."""

FEWEST = 8
"""Samples that run at a time at least."""

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
        cut = _is_cut(self.context.network, base)
        whole = self.context.portions()
        for portion in (p for w in whole for p in (pieces(w) if cut else [w])):
            count = len(portion.rows)
            for made, one in zip(
                _outputs(networks, base, portion, changed, keep), sums, strict=True
            ):
                one.add(made[self.output][:count], portion.rows)
        found = [one.result() for one in sums]
        return [_told(result) for result in found]


def _told(result: Mapping[str, Array]) -> Scores:
    """Return loss and accuracy; the largest of numbers that are not finite is no class."""
    scores = {name: float(result[name]) for name in SCORES if name in result}
    return dict.fromkeys(scores, math.nan) if math.isnan(scores["loss"]) else scores


def _is_cut(network: Network, base: BoundNetwork) -> bool:
    """Tell whether batches are run in pieces: on a CPU, by networks that take any number."""
    is_free = all(port.shape is None or port.shape[:1] == (None,) for port in network.inputs)
    return is_free and str(getattr(base, "device", "cpu")) == "cpu"


def pieces(portion: Portion) -> Iterator[Portion]:
    """Yield a batch in parts of about equal size that stay in the processor's caches."""
    count = len(portion.rows)
    size_bytes = sum(value.nbytes for value in portion.inputs.values()) / max(count, 1)
    most = max(FEWEST, int(CACHED_BYTES / max(size_bytes, 1)))
    parts = max(1, -(-count // most))
    for place in range(parts):
        part = slice(count * place // parts, count * (place + 1) // parts)
        yield Portion(portion.rows[part], {n: v[part] for n, v in portion.inputs.items()})


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
