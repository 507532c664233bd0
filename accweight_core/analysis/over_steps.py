"""Layers over the steps: a metric at every step, when each layer moved, and its null."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from accweight_core.analysis.timing import NEVER, timing
from accweight_core.analysis.training_figures import check_is_no_figure
from accweight_core.metrics.random_walk import random_walk, walk_shares
from accweight_core.metrics.table import TABLE, checked_metric

if TYPE_CHECKING:
    from accweight_core.analysis.analysis import Analysis
    from accweight_core.analysis.summary import Per


def over_steps(analysis: Analysis, by: str, per: Per = "layer") -> dict[str, Any]:
    """Return the JSON document of ``layers --json``, in network order.

    Args:
        analysis: The analysis.
        by: A metric.
        per: Whether rows are layers, parameters or attention heads.

    Raises:
        UnknownNameError: If there is no such metric.
    """
    check_is_no_figure(analysis.header, by)
    checked_metric(by, analysis.metrics)
    steps = analysis.steps
    rows = []
    for row in analysis.measured(per):
        moved = row.metrics.get("step_mean")
        when = NEVER if moved is None else timing(steps, moved)
        walk = random_walk(row.totals, -1)
        rows.append(
            {
                per: row.name,
                "kind": str(row.kind),
                "elements": row.elements,
                "values": row.metrics[by].tolist(),
                **when.to_json(),
                "random_walk": {name: expected.to_json() for name, expected in walk.items()},
            }
        )
    return {
        "source": analysis.header.source,
        "by": by,
        "per": per,
        "evidence": TABLE[by].sentence,
        "steps": [int(step) for step in steps],
        "uneven": len(set(np.diff(steps).tolist())) > 1,
        "layers": rows,
        "walk_shares": walk_shares(len(steps)),
    }
