"""The probe `trajectory`: the path of the weights, from their inner products alone.

G[s, t] = <W_s - W_0, W_t - W_0>, summed block by block, has everything that depends on distances
and angles between steps: principal components of the path, displacement, cosines. A path of 40
checkpoints with two million weights takes 0.4 s so, a randomised PCA of the weights 11 s, and both
agree to 2e-14. The walk of an analysis can observe it, so that nothing is read twice; the bits are
the same.

A random walk also looks like a smooth path in its principal components: they explain 6/(pi k)^2 of
its variance, 61 %, 15 % and 7 % (Antognini and Sohl-Dickstein, arXiv 1806.08805). What is found
has to be held against that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from accweight_core.accumulate.cutting import blocks_of
from accweight_core.accumulate.grams import Grams, one_blas_thread
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.dtypes import is_measurable
from accweight_core.errors import ArgumentValueError, MismatchError
from accweight_core.io.reading import OpenFiles, is_read_whole, read_stretch
from accweight_core.io.stamp import held_to, stamps_of
from accweight_core.io.widening import working_dtype
from accweight_core.metrics.random_walk import walk_shares
from accweight_core.probes.context import Context
from accweight_core.probes.known import ratio
from accweight_core.probes.probe import Array, Lengths, Needs, Probe, Results, Schema, final, option
from accweight_core.schema import MEASURED_ROLES, Checkpoint, Parameter, Run

MOST_BYTES = 1 << 30
"""Limit of the stored inner products."""


@dataclass
class Trajectory(Probe):
    """The path of the weights: principal components, distances and angles between steps."""

    name, version, needs = "trajectory", 1, Needs.WEIGHTS
    takes_grams = True

    components: int = option(3, "principal components to keep", least=1)

    def start(self, context: Context) -> Schema:
        """Return the arrays; all of them are computed in the end, from all steps."""
        self._context = context
        self._parameters = walked_parameters(context.run)
        count = len(context.run.checkpoints)
        size_bytes = 8 * len(self._parameters) * count**2
        if size_bytes > MOST_BYTES:
            raise ArgumentValueError(
                f"inner products of {count} steps and {len(self._parameters)} parameters take "
                f"{size_bytes >> 20} MiB, more than {MOST_BYTES >> 20}; thin out the run"
            )
        lengths: Lengths = {
            "parameter": [parameter.name for parameter in self._parameters],
            "layer": list(dict.fromkeys(parameter.layer for parameter in self._parameters)),
            "component": self.components,
        }
        return Schema.of(
            lengths,
            final("gram", "parameter step step", "inner products of W_t - W_0"),
            final("coordinates", "step component", "principal components of all"),
            final("variance", "component", "share of the variance that each explains"),
            final("cosine", "step step", "cosine between W_s - W_0 and W_t - W_0"),
            final("displacement", "step", "norm of W_t - W_0"),
            final("layer_displacement", "step layer", "the same per layer"),
            final("layer_step", "step layer", "norm of the last move"),
            final("layer_direction", "step layer", "cosine between W_t - W_0 and the last step's"),
            final("layer_coordinates", "step layer component", "principal components per layer"),
            final("layer_variance", "layer component",
                  "share of the variance that each explains, per layer"),
            attributes={"random_walk": walk_shares(count, self.components)},
        )  # fmt: skip

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Walk the run once, and return everything that follows from the inner products."""
        grams = grams_of(self._context, self._parameters, results.steps)
        layers = [parameter.layer for parameter in self._parameters]
        names = list(dict.fromkeys(layers))
        whole = grams.sum(axis=0)
        per_layer = np.stack([grams[[at == name for at in layers]].sum(axis=0) for name in names])
        coordinates, variance = path_components(whole, self.components)
        paths = [path_components(gram, self.components) for gram in per_layer]
        return {
            "gram": grams,
            "coordinates": coordinates,
            "variance": variance,
            "cosine": cosines(whole),
            "displacement": norms(whole),
            "layer_displacement": np.stack([norms(gram) for gram in per_layer], axis=1),
            "layer_step": np.stack([moves(gram) for gram in per_layer], axis=1),
            "layer_direction": np.stack([cosines(gram)[:, -1] for gram in per_layer], axis=1),
            "layer_coordinates": np.stack([path for path, _ in paths], axis=1),
            "layer_variance": np.stack([share for _, share in paths]),
        }

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return what the components explain, beside what they explain of a random walk."""
        found, null = result.array("variance"), result.attributes["random_walk"]
        shares = [
            f"{k}: {share:.0%} ({chance:.0%})"
            for k, (share, chance) in enumerate(zip(found, null, strict=False), start=1)
        ]  # T checkpoints have T - 1 components at most
        return [f"variance explained by components (of a random walk): {', '.join(shares)}"]


def walked_parameters(run: Run) -> tuple[Parameter, ...]:
    """Return the trained parameters of a run, in network order.

    Raises:
        MismatchError: If there are none.
    """
    found = tuple(p for p in run.parameters if p.role in MEASURED_ROLES and is_measurable(p.dtype))
    if not found:
        raise MismatchError(f"{run.source}: has no parameters that are trained")
    return found


def grams_of(context: Context, parameters: Sequence[Parameter], steps: Sequence[int]) -> Array:
    """Return (parameters, steps, steps): inner products of W_t - W_0, W_0 of the run's first step.

    Elements that are NaN or infinite at one of the steps are left out. Parameters that the walk of
    the analysis has observed at these steps are not read again.
    """
    chosen, first = [context.checkpoint(step) for step in steps], context.run.checkpoints[0]
    grams = np.zeros((len(parameters), len(steps), len(steps)))
    seen = context.grams if list(steps) == context.run.steps.tolist() else None
    total = sum(p.elements for p in parameters)
    done = 0
    with held_to(stamps_of([first, *chosen])), OpenFiles() as files, one_blas_thread():
        for index, parameter in enumerate(parameters):
            known = seen.found(parameter.name, parameter.elements) if seen else None
            grams[index] = _gram(files, first, chosen, parameter) if known is None else known
            done += parameter.elements
            context.advance(done, total)
    return grams


def _gram(
    files: OpenFiles, first: Checkpoint, chosen: Sequence[Checkpoint], parameter: Parameter
) -> Array:
    """Return the inner products of one parameter, block by block."""
    extra = 0 if chosen[0] is first else 1  # the reference, if it is none of the steps
    rows = [first, *chosen] if extra else chosen
    tensors = [checkpoint.tensors[parameter.name] for checkpoint in rows]
    at_once = any(is_read_whole(tensor) for tensor in tensors)
    grams = Grams(len(tensors))
    dtype = np.result_type(*map(working_dtype, tensors))
    size = max(parameter.elements, 1) if at_once else grams.block_elements
    for block in blocks_of(parameter.shape, size):
        weights = np.empty((len(tensors), block.stop - block.start), dtype)
        for row, tensor in zip(weights, tensors, strict=True):
            own = np.empty(row.size, working_dtype(tensor))
            read_stretch(files, tensor, block.start, block.stop, own)
            row[...] = own
        grams.take(parameter.name, parameter.shape, block, weights)
    found = grams.found(parameter.name, parameter.elements)
    assert found is not None  # blocks cover the parameter
    return found[extra:, extra:]


def path_components(gram: Array, count: int) -> tuple[Array, Array]:
    """Return principal components of a path, and the share of its variance that each explains.

    Args:
        gram: (steps, steps) inner products.
        count: Components to return; those that do not exist are 0.

    Returns:
        (steps, count) and (count,). The last step is on the positive side of each component.
    """
    steps = len(gram)
    centring = np.eye(steps) - 1 / steps
    values, vectors = np.linalg.eigh(centring @ gram @ centring)
    values = np.maximum(values[::-1], 0)
    values[values < values[0] * steps * np.finfo(np.float64).eps] = 0
    coordinates = vectors[:, ::-1] * np.sqrt(values)
    coordinates = coordinates * np.where(coordinates[-1] < 0, -1.0, 1.0)
    total = values.sum()
    shares = values / total if total > 0 else values
    missing = max(count - steps, 0)
    return (
        np.pad(coordinates[:, :count], ((0, 0), (0, missing))),
        np.pad(shares[:count], (0, missing)),
    )


def cosines(gram: Array) -> Array:
    """Return the cosine between any two steps; NaN at steps that have not moved."""
    lengths = norms(gram)
    return np.clip(ratio(gram, np.outer(lengths, lengths)), -1, 1)


def norms(gram: Array) -> Array:
    """Return the norm of W_t - W_0 at every step."""
    return np.asarray(np.sqrt(np.maximum(np.diagonal(gram), 0)))


def moves(gram: Array) -> Array:
    """Return the norm of W_t - W_s, with s the step before; 0 at the first one."""
    squares = [gram[t, t] - 2 * gram[s, t] + gram[s, s] for s, t in pairwise(range(len(gram)))]
    return np.sqrt(np.maximum([0.0, *squares], 0))
