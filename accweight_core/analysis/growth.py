"""What a header says once steps were added, computed from these steps and the one before them.

The result is that of computing it from all steps (`summary.completed`), without reading them. A
network of small matrices is the exception: its breaks show in weights of several steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from accweight_core.analysis.continuity import BREAK, breaks
from accweight_core.analysis.reopen import reopened_checkpoint
from accweight_core.analysis.small_networks import has_small_matrices, small_breaks
from accweight_core.analysis.summary import (
    maximum,
    metric_arrays,
    nonfinite_in,
    nonfinite_notes,
    order_notes,
)
from accweight_core.errors import StoreError
from accweight_core.metrics.table import TABLE, Floats
from accweight_core.schema import Checkpoint
from accweight_core.store.analysis_store import Store
from accweight_core.store.header import Header
from accweight_core.store.records import NonFinite

STEPS_AT_A_TIME = 64
"""Steps whose sums are read at a time, to look for elements that are not finite."""


def extended(
    earlier: Store, header: Header, values: Floats, checkpoints: Sequence[Checkpoint]
) -> tuple[Header, tuple[NonFinite, ...]]:
    """Return the header of an analysis with its maximum and warnings after steps were added.

    Args:
        earlier: The analysis without these steps.
        header: Its header with the added checkpoints.
        values: (added steps, parameters, sums).
        checkpoints: The added checkpoints, as far as their weights can be read.

    Returns:
        The header, and the parameters that have held NaN or infinity.
    """
    before = len(earlier.header.checkpoints)
    nonfinite = _added(_nonfinite_of(earlier), nonfinite_in(values), before)
    warnings = (
        *_breaks(earlier, header, values, checkpoints),
        *order_notes(header),
        *nonfinite_notes(header, nonfinite),
    )
    largest = maximum(header, values[-1:])
    return replace(header, maximum=largest, warnings=warnings, complete=True), nonfinite


def added_metrics(earlier: Store, values: Floats) -> dict[str, Floats]:
    """Return every metric of added steps, (added steps, parameters).

    Args:
        earlier: The analysis without these steps.
        values: (added steps, parameters, sums).
    """
    last = earlier.totals_at(slice(-1, None))
    running = {
        name: _running(earlier, name) for name in earlier.header.metrics if TABLE[name].is_running
    }
    found = metric_arrays(earlier.header, np.concatenate([last, values]), running)
    return {name: metric[1:] for name, metric in found.items()}


def _running(earlier: Store, name: str) -> Floats:
    """Return a running metric at the last step: (parameters,)."""
    try:
        found = earlier.metric_at(name, slice(-1, None))
    except StoreError:  # an older version had no such metric
        found = metric_arrays(earlier.header, earlier.totals)[name]
    last: Floats = found[-1]
    return last


def _nonfinite_of(earlier: Store) -> tuple[NonFinite, ...]:
    """Return the parameters that have held NaN or infinity before the steps were added."""
    known = earlier.nonfinite()
    if known is not None:
        return known
    found: tuple[NonFinite, ...] = ()
    for first in range(0, len(earlier.header.checkpoints), STEPS_AT_A_TIME):
        values = earlier.totals_at(slice(first, first + STEPS_AT_A_TIME))
        found = _added(found, nonfinite_in(values), first)
    return found


def _added(
    before: Sequence[NonFinite], later: Sequence[NonFinite], first: int
) -> tuple[NonFinite, ...]:
    """Return the parameters hit in two stretches of steps; the later one begins at `first`."""
    found = {hit.parameter: hit for hit in before}
    for hit in later:
        known = found.get(hit.parameter)
        found[hit.parameter] = (
            replace(hit, first=first + hit.first)
            if known is None
            else replace(
                known,
                most=max(known.most, hit.most),
                checkpoints=known.checkpoints + hit.checkpoints,
            )
        )
    return tuple(found.values())


def _breaks(
    earlier: Store, header: Header, values: Floats, checkpoints: Sequence[Checkpoint]
) -> list[str]:
    """Return the warnings about steps that do not continue the run, old and new ones."""
    before = len(earlier.header.checkpoints)

    def checkpoint_at(place: int) -> Checkpoint:
        if place < before:
            return reopened_checkpoint(header, place)
        return checkpoints[place - before]

    if has_small_matrices(header):
        every = np.concatenate([earlier.totals, values])
        return [str(found) for found in small_breaks(header, every, checkpoint_at)]
    known = [warning for warning in earlier.header.warnings if BREAK.match(warning)]
    latest = replace(header, checkpoints=header.checkpoints[before - 1 :], type_changes=())
    last = earlier.totals_at(slice(before - 1, before))
    return [*known, *map(str, breaks(latest, np.concatenate([last, values])))]
