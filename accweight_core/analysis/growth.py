"""What a header says once steps were added, computed from these steps and the one before them.

The result is that of computing it from all steps (`summary.completed`), without reading them. A
network of small matrices is the exception: its breaks show in weights of several steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.continuity import BREAK, breaks
from accweight_core.analysis.reopen import reopened_checkpoint
from accweight_core.analysis.small_networks import has_small_matrices, small_breaks
from accweight_core.analysis.summary import (
    elements_of,
    maximum,
    metric_arrays,
    nonfinite_in,
    nonfinite_notes,
    order_notes,
)
from accweight_core.errors import StoreError
from accweight_core.metrics.table import TABLE, Floats
from accweight_core.metrics.totals import metrics_of
from accweight_core.schema import Checkpoint
from accweight_core.store.analysis_store import Store
from accweight_core.store.header import Header
from accweight_core.store.part import Part
from accweight_core.store.records import NonFinite


def extended(
    earlier: Store, header: Header, added: Part, checkpoints: Sequence[Checkpoint]
) -> tuple[Header, tuple[NonFinite, ...]]:
    """Return the header of an analysis with its maximum and warnings after steps were added.

    Args:
        earlier: The analysis without these steps.
        header: Its header with the added checkpoints.
        added: Their totals.
        checkpoints: The added checkpoints, as far as their weights can be read.

    Returns:
        The header, and the parameters that have held NaN or infinity.
    """
    nonfinite = _nonfinite_of(earlier)
    before = len(earlier.header.checkpoints)
    for steps in added.blocks_of_steps():
        nonfinite = _added(nonfinite, nonfinite_in(added.totals_at(steps)), before + steps.start)
    warnings = (
        *_breaks(earlier, header, added, checkpoints),
        *order_notes(header),
        *nonfinite_notes(header, nonfinite),
    )
    largest = maximum(header, added.totals_at(slice(-1, None)))
    return replace(header, maximum=largest, warnings=warnings, complete=True), nonfinite


def added_metrics(earlier: Store, added: Part) -> dict[str, Iterator[Floats]]:
    """Return every metric of added steps, (some steps, parameters) at a time.

    Args:
        earlier: The analysis without these steps.
        added: Their totals.
    """
    elements, names = elements_of(added.header), earlier.header.metrics
    if len(list(added.blocks_of_steps())) > 1:
        return {name: _metric_of(name, elements, earlier, added) for name in names}
    running = {name: _running(earlier, name) for name in names if TABLE[name].is_running}
    values = next(_with_step_before(earlier, added))
    found = metrics_of(elements, values, names, running)
    return {name: iter([metric[1:]]) for name, metric in found.items()}


def _metric_of(
    name: str, elements: npt.NDArray[np.int64], earlier: Store, added: Part
) -> Iterator[Floats]:
    running = {name: _running(earlier, name)} if TABLE[name].is_running else None
    for values in _with_step_before(earlier, added):
        found = metrics_of(elements, values, [name], running)[name]
        running = {name: found[-1]}
        yield found[1:]


def _with_step_before(earlier: Store, added: Part) -> Iterator[Floats]:
    """Yield the sums of some added steps at a time, after those of the step before."""
    last = earlier.last_totals[None]
    for steps in added.blocks_of_steps():
        values = added.totals_at(steps)
        yield np.concatenate([last, values])
        last = values[-1:]


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
    for steps in earlier.blocks_of_steps():
        found = _added(found, nonfinite_in(earlier.totals_at(steps)), steps.start)
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
    earlier: Store, header: Header, added: Part, checkpoints: Sequence[Checkpoint]
) -> list[str]:
    """Return the warnings about steps that do not continue the run, old and new ones."""
    before = len(earlier.header.checkpoints)

    def checkpoint_at(place: int) -> Checkpoint:
        if place < before:
            return reopened_checkpoint(header, place)
        return checkpoints[place - before]

    found = [warning for warning in earlier.header.warnings if BREAK.match(warning)]
    if checkpoints and has_small_matrices(header):
        every = np.concatenate([earlier.totals, added.totals])
        small = small_breaks(header, every, checkpoint_at)
        return found if small is None else list(map(str, small))
    first = before - 1
    for values in _with_step_before(earlier, added):
        records = header.checkpoints[first : first + len(values)]
        alone = replace(header, checkpoints=records, type_changes=())
        found += list(map(str, breaks(alone, values, found)))
        first += len(values) - 1
    return found
