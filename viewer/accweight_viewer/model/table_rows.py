"""The rows of the layer table: one layer at one step, with a value per column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from accweight_viewer.model.runs import ShownRun
from accweight_viewer.model.runs_together import RunsTogether


@dataclass(frozen=True)
class Row:
    """One row of the layer table at one step.

    Attributes:
        layer: Name.
        kind: Kind of the layer.
        position: Index in network order.
        values: The metrics of the columns; NaN for unfinished layers.
        only_in: Name of the only run with this layer; '' if both have it, or there is one run.
    """

    layer: str
    kind: str
    position: int
    values: tuple[float, ...]
    only_in: str = ""


def table_rows(
    run: ShownRun, position: int, columns: Sequence[str], together: RunsTogether
) -> list[Row]:
    """Return the rows of a run at one checkpoint, in network order.

    Args:
        run: The run.
        position: Index of its checkpoint.
        columns: Names of metrics.
        together: All runs that are shown, of which this is one.
    """
    values = [run.metric(name)[:, position] for name in columns]
    return [
        Row(
            layer.name,
            str(layer.kind),
            layer.position,
            tuple(float(column[i]) for column in values),
            together.only_in(layer.name),
        )
        for i, layer in enumerate(run.layers)
    ]
