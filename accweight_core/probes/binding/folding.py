"""Batch norm that an exporter has folded into the layer before it, undone for every step.

In inference a batch norm is a scale and a shift per channel, so exporters compute

    weight' = weight * gamma / sqrt(variance + epsilon)
    bias'   = (bias - mean) * gamma / sqrt(variance + epsilon) + beta

and drop the norm, some under the same name and shape (`FuseBatchNormIntoConv` of torch's dynamo
exporter). The graph then has no place for the checkpoint's norm, and the same sum must be made of
each checkpoint. Epsilon is not in the file. Where one checkpoint equals the graph's own weights it
follows from them; elsewhere folded graphs are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from accweight_core.alignment.matching.parameters import leaf_of
from accweight_core.probes.binding.arrays import Array
from accweight_core.probes.binding.forms import Form, Move
from accweight_core.probes.binding.recipes import Recipe
from accweight_core.schema import Kind, Layer, Parameter

USUAL: Final = (1e-5, 1e-3, 1e-6, 1e-4, 1e-2, 1e-8, 1e-12, 2e-5)
"""Epsilons of the frameworks; a solution near one of them is that one."""

PRECISION: Final = 2e-5
"""Largest relative difference between a folded value and the exporter's, in float32."""

NOISE: Final = 1e-6
"""Relative rounding in float32 of what exporters compute; less cannot tell two epsilons apart."""

KEEP_APART: Final = (
    "export it with the norm kept apart: torch.onnx.export(model.eval(), args, path, dynamo=True, "
    "optimize=False), or with dynamo=False, do_constant_folding=False"
)
"""What to do about a folded graph; tried with torch 2.13."""


@dataclass(frozen=True)
class BatchNorm:
    """The names of the tensors of a batch norm; empty for those that it lacks."""

    layer: str
    mean: str
    variance: str
    gamma: str = ""
    beta: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its tensors."""
        return tuple(n for n in (self.gamma, self.beta, self.mean, self.variance) if n)


def batch_norms(layers: Sequence[Layer]) -> list[BatchNorm]:
    """Return the layers that have running statistics."""
    found = []
    for layer in layers:
        leaves = {leaf_of(p): p.name for p in layer.parameters}
        if layer.kind is Kind.NORM and {"mean", "variance"} <= set(leaves):
            gamma, beta = leaves.get("weight", ""), leaves.get("bias", "")
            found.append(BatchNorm(layer.name, leaves["mean"], leaves["variance"], gamma, beta))
    return found


@dataclass(frozen=True)
class Fold:
    """A batch norm folded into a layer.

    Attributes:
        norm: The norm.
        epsilons: What it may add to the variance, the likeliest first.
        weight: Name of the checkpoint's weight before it.
        bias: Name of the bias of that layer; empty without one.
        move: How the weight is moved into the network's.
    """

    norm: BatchNorm
    epsilons: tuple[float, ...]
    weight: str
    bias: str
    move: Move

    def scale(self, weights: Mapping[str, Array]) -> Array:
        """Return gamma / sqrt(variance + epsilon), in float64."""
        return _scale(self.norm, weights, self.epsilons[0])

    def shift(self, weights: Mapping[str, Array]) -> Array:
        """Return the bias of the folded layer, in float64."""
        scale = self.scale(weights)
        bias = weights[self.bias].astype(np.float64).reshape(-1) if self.bias else 0.0
        beta = weights[self.norm.beta].astype(np.float64) if self.norm.beta else 0.0
        return np.asarray((bias - weights[self.norm.mean].astype(np.float64)) * scale + beta)

    def of_weight(self, target: Parameter) -> Recipe:
        """Return how the folded weight is made."""
        form = Form.of(target)

        def make(weights: Mapping[str, Array]) -> Array:
            taken = form.taken(self.move.make(weights[self.weight])).astype(np.float64)
            scale = self.scale(weights)
            apart = _by_group(taken, scale.size)
            whole = scale.reshape(apart.shape[1], -1).T[:, :, None, None]
            return form.put((apart * whole).reshape(taken.shape).astype(np.float32))

        moved = "" if self.move.words == "as it is" else f"{self.move.words}, "
        sources = (self.weight, *self.norm.names)
        return Recipe(sources, moved + self._words(), make, computed=True)

    def of_bias(self, target: Parameter) -> Recipe:
        """Return how the folded bias is made."""

        def make(weights: Mapping[str, Array]) -> Array:
            return self.shift(weights).astype(np.float32).reshape(target.shape)

        sources = (*((self.bias,) if self.bias else ()), *self.norm.names)
        return Recipe(sources, self._words(), make, computed=True)

    def _words(self) -> str:
        return f"{self.norm.layer} folded in (epsilon {self.epsilons[0]:.3g})"


def folds(
    move: Move,
    source: Parameter,
    bias: str,
    target: Parameter,
    own: Array,
    norms: Sequence[BatchNorm],
    weights: Mapping[str, Array],
) -> Iterator[Fold]:
    """Yield the folds that give the network's own weight from the checkpoint's.

    Args:
        move: How the weight would be moved.
        source: The checkpoint's weight.
        bias: Name of its bias; empty without one.
        target: The network's weight.
        own: Its own values.
        norms: Norms that the network has no place for.
        weights: The checkpoint whose weights these are.
    """
    form = Form.of(target)
    if len(form.sizes) < 2:
        return
    taken = form.taken(move.make(weights[source.name])).astype(np.float64)
    wanted = form.taken(own).astype(np.float64)
    for norm in norms:
        channels = weights[norm.variance].size
        if not _has_channels(target, form, channels):
            continue
        ratios = scale_between(_by_group(taken, channels), _by_group(wanted, channels))
        epsilons = [] if ratios is None else _epsilons(norm, weights, ratios)
        if epsilons:
            yield Fold(norm, tuple(epsilons), source.name, bias, move)


def _has_channels(target: Parameter, form: Form, channels: int) -> bool:
    """Tell whether a weight has so many output channels; a transposed one has a group's."""
    outputs, inputs = form.sizes[:2]
    if channels == outputs:
        return True
    groups = channels // max(outputs, 1)
    is_whole = groups > 1 and outputs * groups == channels and inputs % groups == 0
    return target.kind is Kind.CONV_TRANSPOSE and is_whole


def _by_group(values: Array, channels: int) -> Array:
    """Return (outputs of a group, groups, inputs of a group, kernel)."""
    outputs, inputs = values.shape[:2]
    groups = channels // outputs
    return values.reshape(outputs, groups, inputs // groups, -1)


def scale_between(taken: Array, wanted: Array) -> Array | None:
    """Return the factor per output channel between two weights; None if there is none.

    Args:
        taken: The checkpoint's, (outputs of a group, groups, inputs of a group, kernel).
        wanted: The network's, likewise.
    """
    channels = taken.shape[0] * taken.shape[1]
    rows, goal = (v.swapaxes(0, 1).reshape(channels, -1) for v in (taken, wanted))
    squares = (rows * rows).sum(1)
    if not (squares > 0).all():
        return None
    ratios = (rows * goal).sum(1) / squares
    error = np.abs(goal - ratios[:, None] * rows).max(1)
    if not (error <= PRECISION * np.maximum(np.abs(goal).max(1), 1e-30)).all():
        return None
    return np.asarray(ratios)


def _scale(norm: BatchNorm, weights: Mapping[str, Array], epsilon: float) -> Array:
    variance = weights[norm.variance].astype(np.float64).reshape(-1)
    gamma = weights[norm.gamma].astype(np.float64).reshape(-1) if norm.gamma else 1.0
    return np.asarray(gamma / np.sqrt(variance + epsilon))


def _epsilons(norm: BatchNorm, weights: Mapping[str, Array], ratios: Array) -> list[float]:
    """Return the epsilons by which a norm has these scales, the best first; none if there is none.

    Several usual ones are left if all variances are so large that they make no difference here.
    """
    variance = weights[norm.variance].astype(np.float64).reshape(-1)
    told = np.abs(ratios) > 1e-12
    if not told.any():
        return []
    gamma = weights[norm.gamma].astype(np.float64).reshape(-1) if norm.gamma else np.ones(told.size)
    solved = float(np.median((gamma[told] / ratios[told]) ** 2 - variance[told]))
    errors = {
        epsilon: float(np.abs(_scale(norm, weights, epsilon)[told] / ratios[told] - 1).max())
        for epsilon in (*USUAL, solved)
        if 0 < epsilon < 1
    }
    least = min(errors.values(), default=np.inf)
    if least > PRECISION or np.abs(_scale(norm, weights, 1e-5)[~told]).max(initial=0) > 1e-6:
        return []
    usual = [e for e in USUAL if errors[e] <= least + NOISE]
    return usual or [solved]


def differs(norm: BatchNorm, weights: Mapping[str, Array], epsilons: Sequence[float]) -> bool:
    """Tell whether it matters at this checkpoint which of several epsilons it is."""
    scales = [_scale(norm, weights, epsilon) for epsilon in epsilons]
    return any(not np.allclose(scales[0], other, rtol=1e-6, atol=1e-12) for other in scales[1:])
