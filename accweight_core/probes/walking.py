"""One parameter at many steps, for probes of weights that compare steps with each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from accweight_core.io.reading import OpenFiles
from accweight_core.io.stamp import held_to, stamps_of
from accweight_core.probes.context import Context
from accweight_core.probes.passes import read_parameter
from accweight_core.probes.probe import Array
from accweight_core.probes.unit_weights import rows_of
from accweight_core.schema import Parameter


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
