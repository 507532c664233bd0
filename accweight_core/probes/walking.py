"""Parameters at many steps, for probes of weights that compare steps with each other.

One after the other (`weights_at`, `filters_at`), or as the inner products of all (`grams_at`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from accweight_core.accumulate.cutting import blocks_of
from accweight_core.accumulate.grams import Grams, one_blas_thread
from accweight_core.dtypes import is_measurable
from accweight_core.errors import MismatchError
from accweight_core.io.reading import OpenFiles, is_read_whole, read_stretch
from accweight_core.io.stamp import held_to, stamps_of
from accweight_core.io.widening import working_dtype
from accweight_core.probes.context import Context
from accweight_core.probes.passes import read_parameter
from accweight_core.probes.probe import Array
from accweight_core.probes.unit_weights import rows_of
from accweight_core.schema import MEASURED_ROLES, Checkpoint, Parameter, Run


def weights_at(context: Context, name: str, steps: Sequence[int]) -> Iterator[Array]:
    """Yield a parameter at some steps, one at a time, in its own shape.

    Args:
        context: What the probe is told.
        name: The parameter.
        steps: Steps of the run, in any order.

    Returns:
        Arrays of float64, or complex128.
    """
    chosen = [context.checkpoint(step) for step in steps]
    with held_to(stamps_of(chosen)), OpenFiles() as files:
        for checkpoint in chosen:
            found = read_parameter(files, checkpoint, name)
            yield found.astype(np.result_type(found, np.float64), copy=False)


def filters_at(context: Context, parameter: Parameter, steps: Sequence[int]) -> Iterator[Array]:
    """Yield (filters, weights of each) of a parameter at some steps, as `weights_at` does."""
    for weights in weights_at(context, parameter.name, steps):
        yield rows_of(weights, parameter)


def walked_parameters(run: Run) -> tuple[Parameter, ...]:
    """Return the trained parameters of a run, in network order.

    Raises:
        MismatchError: If there are none.
    """
    found = tuple(p for p in run.parameters if p.role in MEASURED_ROLES and is_measurable(p.dtype))
    if not found:
        raise MismatchError(f"{run.source}: has no parameters that are trained")
    return found


def grams_at(context: Context, parameters: Sequence[Parameter], steps: Sequence[int]) -> Array:
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
