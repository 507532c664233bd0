"""Metrics per layer or parameter from the stored totals, and the maximum.

Only stored totals are used, so other roles or another metric need no checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.continuity import breaks
from accweight_core.analysis.small_networks import CheckpointAt, small_breaks
from accweight_core.metrics.sums import SUMS
from accweight_core.metrics.table import TABLE, Floats
from accweight_core.metrics.totals import Totals, are_known, folded_groups, metrics_of
from accweight_core.naming import natural_key
from accweight_core.runs.order_doubts import Told, do_ends_tell_all, order_warnings
from accweight_core.schema import Kind, Parameter
from accweight_core.store.analysis_store import Store
from accweight_core.store.header import Header
from accweight_core.store.records import Maximum, NonFinite

Per = Literal["layer", "parameter", "head"]


@dataclass(frozen=True)
class Measured:
    """One layer or parameter with its metrics over the steps.

    Attributes:
        name: Its name.
        kind: Kind of the layer.
        parameters: The parameters included, in the order their sums were merged.
        totals: Their sums.
        metrics: All metrics that the stored sums allow, over steps.
    """

    name: str
    kind: Kind
    parameters: tuple[Parameter, ...]
    totals: Totals
    metrics: dict[str, Floats]

    @property
    def elements(self) -> int:
        """Number of elements included."""
        return self.totals.elements

    def maximum_at(self, step_index: int) -> tuple[Parameter, tuple[int, ...]]:
        """Return the parameter and the index of the largest A_t at a step.

        Raises:
            IndexError: If the layer has not been measured or has no elements.
        """
        if not self.totals.are_known:
            raise IndexError(f"layer {self.name!r} has not been measured yet")
        flat = int(self.totals.column("path_argmax")[step_index])
        for parameter in self.parameters:
            if flat < parameter.elements:
                index = np.unravel_index(flat, parameter.shape) if parameter.shape else ()
                return parameter, tuple(int(i) for i in index)
            flat -= parameter.elements
        raise IndexError(f"layer {self.name!r} has no element {flat}")


def measured(header: Header, values: Floats, per: Per = "layer") -> list[Measured]:
    """Return the metrics of all shown layers or parameters, in network order.

    Args:
        header: Header of the analysis.
        values: (steps, parameters, sums); NaN for unfinished parameters. The metrics of a row
            that includes one of them are NaN.
        per: Whether rows are layers or parameters; heads are not in the sums (see `heads`). Only
            the header's roles are shown.
    """
    rows = _rows(header, per)
    elements, totals = _folded(header, values, rows)
    found = metrics_of(elements, totals, header.metrics)
    series = {name: values.T.copy() for name, values in found.items()}
    return [
        Measured(
            name,
            kind,
            tuple(members),
            Totals(int(elements[row]), totals[:, row]),
            {metric: values[row] for metric, values in series.items()},
        )
        for row, (name, kind, members) in enumerate(rows)
    ]


def measured_at(
    header: Header, store: Store, step_index: int, per: Per = "layer"
) -> list[Measured]:
    """Return the metrics of all shown layers or parameters at one step alone.

    The sums are read a few steps at a time, so that memory does not grow with their number.

    Args:
        header: Header of the analysis, with the roles to show.
        store: The analysis.
        step_index: Position of the step.
        per: Whether rows are layers or parameters.
    """
    rows = _rows(header, per)
    running = None
    for steps in store.blocks_of_steps():
        if steps.start > step_index:
            break
        some = slice(max(steps.start - 1, 0), min(steps.stop, step_index + 1))
        elements, totals = _folded(header, store.totals_at(some), rows)
        is_last = steps.stop > step_index
        names = [n for n in header.metrics if is_last or TABLE[n].is_running]
        found = metrics_of(elements, totals, names, running)
        running = {name: values[-1] for name, values in found.items()}
    return [
        Measured(
            name,
            kind,
            tuple(members),
            Totals(int(elements[row]), totals[-1:, row]),
            {metric: values[-1:, row] for metric, values in found.items()},
        )
        for row, (name, kind, members) in enumerate(rows)
    ]


_Row = tuple[str, Kind, Sequence[Parameter]]
"""Name and kind of a row, and its parameters in the order their sums are merged."""


def _rows(header: Header, per: Per) -> list[_Row]:
    rows: list[_Row] = []
    for layer in header.layers:
        shown = [p for p in layer.parameters if p.role in header.roles and p.elements]
        if per == "parameter":
            rows += [(p.name, p.kind, [p]) for p in shown]
        elif shown:
            members = sorted(shown, key=lambda p: natural_key(p.name)) if shown[1:] else shown
            rows.append((layer.name, layer.kind, members))
    return rows


def _folded(
    header: Header, values: Floats, rows: Sequence[_Row]
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return the elements and sums of every row: (rows,) and (steps, rows, sums)."""
    places = [[header.parameter_index(p.name) for p in members] for _, _, members in rows]
    elements, totals = folded_groups(places, elements_of(header), values)
    unknown = ~are_known(values)
    totals[:, [bool(unknown[members].any()) for members in places]] = np.nan
    return elements, totals


def elements_of(header: Header) -> npt.NDArray[np.int64]:
    """Return the number of elements of every parameter."""
    return np.array([parameter.elements for parameter in header.parameters], dtype=np.int64)


def metric_arrays(header: Header, values: Floats) -> dict[str, Floats]:
    """Return every metric as (steps, parameters)."""
    return metrics_of(elements_of(header), values, header.metrics)


def maximum(header: Header, values: Floats) -> Maximum | None:
    """Return the largest element of A_T over all shown layers; None if there is none.

    Unfinished layers are ignored.
    """
    rows = _rows(header, "layer")
    elements, totals = _folded(header, values, rows)
    known = np.flatnonzero(are_known(totals))
    if not known.size or "max" not in header.metrics:
        return None
    top = int(known[totals[-1, known, SUMS.index("path_max")].argmax()])
    name, kind, members = rows[top]
    layer = Measured(name, kind, tuple(members), Totals(int(elements[top]), totals[:, top]), {})
    parameter, index = layer.maximum_at(-1)
    return Maximum(name, parameter.name, index, float(layer.totals.column("path_max")[-1]))


def completed(header: Header, values: Floats, checkpoint_at: CheckpointAt | None = None) -> Header:
    """Return the header with the entries that depend on the numbers: maximum and warnings.

    Args:
        header: Header of the analysis.
        values: (steps, parameters, sums).
        checkpoint_at: Returns a checkpoint by its position; without it, restarts of networks of
            small matrices are not found.
    """
    suspects = breaks(header, values)
    if checkpoint_at is not None:
        suspects += small_breaks(header, values, checkpoint_at) or []
    warnings = (
        *map(str, suspects),
        *order_notes(header),
        *nonfinite_notes(header, nonfinite_in(values)),
    )
    return replace(header, maximum=maximum(header, values), warnings=warnings, complete=True)


def order_notes(header: Header) -> tuple[str, ...]:
    """Return what the user has to check in the order of the checkpoints."""
    records = header.checkpoints
    paths = (record.path for record in records)
    if len(records) > 2 and do_ends_tell_all(records[0].step_source, paths):
        records = records[0], records[-1]
    return order_warnings([Told(c.path, c.step, c.step_source) for c in records])


def nonfinite_in(values: Floats) -> tuple[NonFinite, ...]:
    """Return the parameters that hold NaN or infinity at some steps: (steps, parameters, sums)."""
    counts = np.nan_to_num(values[:, :, SUMS.index("nonfinite")])
    return tuple(
        NonFinite(
            int(index),
            int(counts[:, index].max()),
            int(np.count_nonzero(counts[:, index])),
            int(np.flatnonzero(counts[:, index])[0]),
        )
        for index in np.flatnonzero(counts.any(axis=0))
    )


def nonfinite_notes(header: Header, found: Sequence[NonFinite]) -> list[str]:
    """Return one line per parameter that has held NaN or infinity, the first hit first."""
    notes = []
    for hit in sorted(found, key=lambda hit: (hit.first, hit.parameter)):
        parameter = header.parameters[hit.parameter]
        notes.append(
            f"parameter {parameter.name!r} holds up to {hit.most} of {parameter.elements} elements "
            f"that are not finite, in {hit.checkpoints} checkpoints from step "
            f"{header.steps[hit.first]}; they are left out of the change"
        )
    return notes
