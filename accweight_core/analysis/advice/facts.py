"""The numbers that rules of advice may use: layers over the steps, findings, and criticality."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from accweight_core.analysis.findings import Finding, findings
from accweight_core.analysis.summary import Measured
from accweight_core.analysis.timing import NEVER, Timing, timing
from accweight_core.errors import ArgumentTypeError
from accweight_core.metrics.random_walk import Expected, random_walk
from accweight_core.metrics.table import Floats

if TYPE_CHECKING:
    from accweight_core.analysis.analysis import Analysis

LOST = ("value", "loss_rise", "accuracy_fall")
"""Columns with what is lost; the first that a table has is taken."""

LOST_ARRAYS = frozenset(LOST)
"""The same as arrays of the probe `rewind`, which it has once it is finished."""

Criticality = Mapping[tuple[str, int], float]
"""What is lost when a layer is put back to a step, by layer and step."""


@dataclass(frozen=True)
class Facts:
    """What rules may use.

    Attributes:
        steps: Steps, ascending.
        rows: Layers in network order.
        found: Findings on the run, as `check` tells them.
        criticality: What is lost when a layer is put back, by layer and step; empty if it has not
            been measured.
        proof: How sure it is that the weights were in their places when it was measured, if the
            probe says so.
    """

    steps: tuple[int, ...]
    rows: tuple[Measured, ...]
    found: tuple[Finding, ...]
    criticality: Criticality
    proof: str = ""

    @cached_property
    def moving(self) -> tuple[Measured, ...]:
        """Layers that moved, and whose weights are known and finite."""
        return tuple(
            row
            for row in self.rows
            if row.totals.are_known
            and np.nansum(row.totals.column("step_square")) > 0
            and not np.nansum(row.totals.column("nonfinite"))
        )

    @cached_property
    def timings(self) -> dict[str, Timing]:
        """When each layer moved, by name."""
        steps = np.array(self.steps)
        return {
            row.name: timing(steps, row.metrics["step_mean"]) if "step_mean" in row.metrics
            else NEVER
            for row in self.rows
        }  # fmt: skip

    @cached_property
    def walks(self) -> dict[str, dict[str, Expected]]:
        """What a random walk would have given at the last step, by layer."""
        return {row.name: random_walk(row.totals, -1) for row in self.moving}

    def share_of_training(self, step: int) -> float:
        """Return how much of the steps lies before a step, 0 to 1."""
        first, last = self.steps[0], self.steps[-1]
        return (step - first) / (last - first) if last > first else 1.0

    def norms(self, row: Measured) -> Floats:
        """Return the norm of the weights of a layer over the steps."""
        return np.asarray(np.sqrt(row.totals.column("square")))

    def lost(self, layer: str) -> dict[int, float]:
        """Return what is lost when a layer is put back, by step, ascending.

        The last step is left out: putting a layer back to where it is loses nothing.
        """
        found = sorted(self.criticality.items())
        return {step: v for (name, step), v in found if name == layer and step < self.steps[-1]}


def facts_of(analysis: Analysis, criticality: Any = None) -> Facts:
    """Return the facts on an analysis.

    Args:
        analysis: The analysis.
        criticality: A table with the columns layer, step and value (a DataFrame or rows); by
            default that of the probe `rewind`, if the analysis holds its results.
    """
    proof = ""
    result = analysis.probes.get("rewind")
    if criticality is None and result is not None and not LOST_ARRAYS.isdisjoint(result.arrays):
        criticality, proof = result.table("layer"), result.proof
    return Facts(
        tuple(map(int, analysis.steps)),
        tuple(analysis.measured()),
        tuple(findings(analysis.header, analysis.values)),
        {} if criticality is None else _rows_of(criticality),
        proof,
    )


def _rows_of(table: Any) -> Criticality:
    """Return a table as values by layer and step; of several metrics, the loss or the first."""
    records: Iterable[Mapping[str, Any]] = (
        table.to_dict("records") if hasattr(table, "to_dict") else table
    )
    rows = [dict(record) for record in records]
    column = next((name for name in LOST if rows and name in rows[0]), LOST[0])
    if rows and not {"layer", "step", column} <= rows[0].keys():
        raise ArgumentTypeError(
            "criticality needs the columns layer, step and value, "
            f"got {', '.join(map(str, rows[0]))}"
        )
    metrics = list(dict.fromkeys(str(row.get("metric", "")) for row in rows))
    chosen = _preferred(metrics)
    return {
        (str(row["layer"]), int(row["step"])): float(row[column])
        for row in rows
        if str(row.get("metric", "")) == chosen and math.isfinite(float(row[column]))
    }


def _preferred(metrics: Sequence[str]) -> str:
    return "loss" if "loss" in metrics else metrics[0] if metrics else ""
