"""What the updates of a tracker are given: the weights that this process tracks, and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from accweight_core.errors import ArgumentTypeError
from accweight_core.live.figures import figures_of
from accweight_core.live.reports import Reports
from accweight_core.live.shards import is_sharded, rank
from accweight_core.live.weights import OTHER_MODEL, Weights, weights_of


class Given:
    """Takes what updates are given, and reports what is left out of it."""

    def __init__(self, reports: Reports, *, each_rank: bool) -> None:
        """Create it, before the first update.

        Args:
            reports: Takes what is left out.
            each_rank: As of `ChangeTracker`.
        """
        self._reports = reports
        self._each_rank = each_rank
        self._count = 0

    def weights(self, model: Any, step: int) -> Weights | None:
        """Return the weights of a model; None if another process tracks it.

        That is the first one, if each has it whole; all track a model that is in shards.

        Args:
            model: As of `ChangeTracker.update`.
            step: Step of the update.

        Raises:
            ArgumentTypeError, MismatchError: As of `weights_of`.
        """
        found = weights_of(model, f"at step {step}")
        is_tracked = self._each_rank or rank() == 0 or is_sharded(found.values.values())
        return found if is_tracked else None

    def figures(self, measures: Mapping[str, Any]) -> dict[str, Callable[[], float]]:
        """Return figures, to be fetched later; none, which is reported, if one is no number."""
        try:
            return figures_of(measures)
        except ArgumentTypeError as error:
            self._reports.take(error, "the figures of this update are left out")
            return {}

    def measured(self, weights: Weights, step: int) -> None:
        """Report, after a measurement, that there were more parameters than at the one before."""
        if len(weights.values) > self._count > 0:
            self._reports.tell(
                "grown",
                f"the model has parameters at step {step} that it had not at the first update; "
                f"these are not tracked: {OTHER_MODEL}",
            )
        self._count = len(weights.values)
