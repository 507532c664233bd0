"""Rows of an analysis as DataFrames; pandas is imported when one is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.ranking import chosen_metric, ranking
from accweight_core.analysis.summary import Measured, Per

if TYPE_CHECKING:
    import pandas as pd


def table_frame(
    rows: Sequence[Measured], steps: npt.NDArray[np.int64], metrics: Sequence[str], per: Per
) -> pd.DataFrame:
    """Return a line per row and step: its name, kind, elements, the step, a column per metric."""
    import pandas as pd

    frames = [
        pd.DataFrame(
            {per: row.name, "kind": str(row.kind), "elements": row.elements, "step": steps}
            | row.metrics
        )
        for row in rows
    ]
    columns = [per, "kind", "elements", "step", *metrics]
    return (
        pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)
    )


def ranking_frame(
    rows: Sequence[Measured], by: str | None, place: int, metrics: Sequence[str], per: Per
) -> pd.DataFrame:
    """Return rows in the order of a metric, largest first.

    Args:
        rows: Rows, whose metrics have a value at `place`.
        by: The metric; see `chosen_metric` for None.
        place: Index of the step in the metrics of the rows.
        metrics: Columns beside rank, name, kind and elements.
        per: What rows are.

    Returns:
        The frame; ``attrs`` has the metric, ``by``, and what is to be known of it, ``notes``.
    """
    import pandas as pd

    chosen = chosen_metric(rows, by, place)
    ranked = ranking(rows, chosen.by, place, per)
    frame = pd.DataFrame(ranked, columns=["rank", per, "kind", "elements", *metrics])
    frame.attrs |= {"by": chosen.by, "notes": list(chosen.notes)}
    return frame
