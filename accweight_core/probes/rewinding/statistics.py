"""Running statistics of batch norm, computed anew after a layer was put back.

A batch norm divides by the spread of what came in while the network was trained. Behind a layer
that is another one now, that spread is wrong, and so would be the loss. As in training, each batch
is normalised by its own statistics on its way through the network, so that one pass gives those of
all norms (`torch.optim.swa_utils.update_bn`); over all batches they are the mean of the means, and
the variance within and between batches.

What the node of a norm returns tells what came in: y = beta + a (x - mean), a = gamma / sqrt(var +
epsilon). So norms that an exporter has folded into the layer before are no different.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from accweight_core.errors import AccweightError
from accweight_core.probes.binding.arrays import Array
from accweight_core.probes.binding.described import Described
from accweight_core.probes.binding.folding import BatchNorm, batch_norms
from accweight_core.probes.context import Portion
from accweight_core.probes.network import BoundNetwork, ResumableNetwork
from accweight_core.probes.rewinding.measuring import differing
from accweight_core.probes.rewinding.states import States

CLOSE = 1e-3
"""Largest error, in parts of the largest value, of what a node should return."""

LARGEST_EPSILON = 0.5


@dataclass(frozen=True)
class NormNode:
    """A batch norm of the checkpoints, and the node of the network that returns its result.

    Attributes:
        norm: Names of its tensors.
        node: The node; samples along axis 0, channels along axis 1.
        epsilon: What it adds to the variance.
    """

    norm: BatchNorm
    node: str
    epsilon: float


@dataclass(frozen=True)
class Found:
    """The batch norms of a network.

    Attributes:
        nodes: Those whose statistics can be computed anew.
        others: Layers whose statistics stay, with the reason.
    """

    nodes: tuple[NormNode, ...] = ()
    others: Mapping[str, str] = field(default_factory=dict)


def norm_nodes(states: States, portion: Portion) -> Found:
    """Find the nodes of all batch norms, and try them on some samples.

    Args:
        states: The weights.
        portion: A few samples.
    """
    norms = batch_norms(states.binding.run.layers)
    if not norms:
        return Found()
    layers = Described.of(states.binding.network).parameters
    nodes: list[NormNode] = []
    others: dict[str, str] = {}
    for norm in norms:
        made = [i.name for i in states.binding.assignments if set(i.sources) & set(norm.names)]
        if not made:
            continue  # no output depends on it
        homes = {layers[name].layer for name in made if name in layers}
        known = homes & set(states.binding.network.layers)
        if len(homes) != 1 or not known:
            others[norm.layer] = "no node of the network is its result"
            continue
        try:
            epsilon = _epsilon(states, norm, known.pop(), portion)
        except AccweightError as error:
            others[norm.layer] = " ".join(str(error).split())
            continue
        if isinstance(epsilon, NormNode):
            nodes.append(epsilon)
        else:
            others[norm.layer] = epsilon
    return Found(tuple(nodes), others)


def _epsilon(states: States, norm: BatchNorm, node: str, portion: Portion) -> NormNode | str:
    """Return the node of a norm, or why it is none.

    With a variance of 0 and of 1 it returns values that differ by sqrt((1 + epsilon) / epsilon).
    """
    sources = states.sources()
    size = sources[norm.variance].shape
    shift = sources[norm.beta].astype(np.float64).reshape(-1) if norm.beta else np.zeros(1)
    found = []
    for variance in (0.0, 1.0):
        network = states.bound({norm.variance: np.full(size, variance, np.float32)})
        network = network.patch({node: lambda value: value})  # refused here if it cannot be
        value = network.run(portion.inputs, [node])[node].astype(np.float64)
        if value.ndim < 2 or value.shape[1] != sources[norm.variance].size:
            return "its channels are not along axis 1"
        found.append(np.moveaxis(value, 1, -1) - shift)
    narrow, wide = found
    most = float(np.abs(wide).max(initial=0))
    ratio = float(np.abs(narrow).sum()) / max(float(np.abs(wide).sum()), np.finfo(float).tiny)
    if most == 0:
        return NormNode(norm, node, 1e-5)  # its scale is 0: what comes in does not matter
    if not np.isfinite(ratio) or ratio <= 1:
        return "its node does not return what a batch norm does"
    epsilon = 1 / (ratio**2 - 1)
    error = float(np.abs(narrow / ratio - wide).max())
    if epsilon > LARGEST_EPSILON or error > CLOSE * most:
        return "its node does not return what a batch norm does"
    return NormNode(norm, node, epsilon)


class _Sums:
    """Statistics of what comes into one norm, over batches."""

    def __init__(self, node: NormNode, sources: Mapping[str, Array]) -> None:
        def taken(name: str, missing: float) -> Array:
            if not name:
                return np.full(size, missing)
            return np.asarray(sources[name], np.float64).reshape(-1)

        size = sources[node.norm.variance].size
        self._node = node
        self._mean, self._variance = taken(node.norm.mean, 0), taken(node.norm.variance, 1)
        self._gamma, self._beta = taken(node.norm.gamma, 1), taken(node.norm.beta, 0)
        self._scale = self._gamma / np.sqrt(self._variance + node.epsilon)
        self._counts: list[int] = []
        self._means: list[Array] = []
        self._variances: list[Array] = []

    def normalised(self, value: Any) -> Any:
        """Return the result for one batch, normalised by its own statistics.

        Args:
            value: A tensor of torch, (samples, channels, ...).
        """
        axes = (0, *range(2, value.ndim))
        shape = (1, -1, *(1,) * (value.ndim - 2))
        middle = value.mean(axes)
        centred = value - middle.reshape(shape)
        mean = np.asarray(middle.tolist(), np.float64)
        # torch's own `var` takes eight times as long
        variance = np.asarray(centred.square().mean(axes).tolist(), np.float64)
        known = self._scale != 0
        scale = np.where(known, self._scale, 1)
        came_in = np.where(known, self._mean + (mean - self._beta) / scale, self._mean)
        spread = np.where(known, variance / scale**2, self._variance)
        self._counts.append(value.shape[0])
        self._means.append(came_in)
        self._variances.append(spread)
        epsilon = self._node.epsilon
        factor = np.sqrt((self._variance + epsilon) / (spread + epsilon))
        factors = value.new_tensor(np.where(known, factor, 1.0).tolist()).reshape(shape)
        shifts = value.new_tensor(np.where(known, self._beta, mean).tolist()).reshape(shape)
        return centred * factors + shifts

    @property
    def is_known(self) -> bool:
        """Whether anything has come in."""
        return bool(self._counts)

    def result(self, shape: Sequence[int]) -> dict[str, Array]:
        """Return mean and variance by the checkpoint's names."""
        counts = np.array(self._counts, np.float64)[:, None]
        means, variances = np.array(self._means), np.array(self._variances)
        mean = (counts * means).sum(0) / counts.sum()
        variance = (counts * (variances + (means - mean) ** 2)).sum(0) / counts.sum()
        return {
            self._node.norm.mean: mean.astype(np.float32).reshape(shape),
            self._node.norm.variance: variance.astype(np.float32).reshape(shape),
        }


@dataclass
class _Recording:
    """A network whose norms are normalised by each batch's own statistics, and what came in."""

    network: BoundNetwork
    sums: dict[str, _Sums]

    @classmethod
    def of(
        cls, network: BoundNetwork, nodes: Sequence[NormNode], sources: Mapping[str, Array]
    ) -> _Recording:
        return cls(network, {one.node: _Sums(one, sources) for one in nodes})

    def patched(self, known: Collection[str] = ()) -> BoundNetwork:
        """Return the network with its norms patched, but for those that are known already."""
        functions = {name: one.normalised for name, one in self.sums.items() if name not in known}
        return self.network.patch(functions) if functions else self.network


def counted(portions: Iterable[Portion]) -> Iterator[Portion]:
    """Yield the batches that statistics are computed of."""
    for number, portion in enumerate(portions):
        if number and len(portion.rows) < len(next(iter(portion.inputs.values()))):
            return  # filled up with copies, which would count twice
        yield portion


def recomputed(
    states: States,
    nodes: Sequence[NormNode],
    changes: Sequence[Mapping[str, Array]],
    portions: Iterable[Portion],
) -> list[dict[str, Array]]:
    """Return the running statistics of all norms for some samples, by the checkpoint's names.

    Norms before what is changed have the same statistics in all networks: where the engine can go
    on from there, they are computed once.

    Args:
        states: The weights.
        nodes: The norms.
        changes: For each network, the tensors of the checkpoint that are replaced.
        portions: The samples, in batches of a random order.
    """
    last = _Recording.of(states.bound(), nodes, states.sources())
    those = [_Recording.of(states.bound(one), nodes, states.sources(one)) for one in changes]
    changed = differing([one.network for one in those], last.network)
    beginner = last.patched()
    known: set[str] = set()
    for portion in counted(portions):
        beginning = None
        if changed and isinstance(beginner, ResumableNetwork):
            beginning = beginner.beginning(portion.inputs, changed)
            known = {name for name, one in last.sums.items() if one.is_known}
        for one in those:
            network = one.patched(known)
            if beginning is not None and isinstance(network, ResumableNetwork):
                network.resumed(beginning)
            else:
                network.run(portion.inputs)
    shapes = {one.node: states.sources()[one.norm.mean].shape for one in nodes}
    return [
        {
            tensor: values
            for name, shape in shapes.items()
            for tensor, values in (last if name in known else one).sums[name].result(shape).items()
        }
        for one in those
    ]
