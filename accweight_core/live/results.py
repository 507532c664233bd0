"""What a tracker has to tell of the steps so far: its analysis, a summary, A_t of the last step."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.event_log import flat_summary
from accweight_core.analysis.shown import Shown
from accweight_core.analysis.sources import Live
from accweight_core.analysis.summary import completed, measured
from accweight_core.arguments import checked_text
from accweight_core.errors import MismatchError, SourceError
from accweight_core.live.measuring import Measuring
from accweight_core.live.reports import Reports
from accweight_core.naming import parameter_called


class Results:
    """The results of measurements that may go on."""

    def __init__(self, measuring: Measuring, reports: Reports) -> None:
        """Tell of measurements.

        Args:
            measuring: The measurements.
            reports: What went wrong, which explains why there are too few.
        """
        self._measuring = measuring
        self._reports = reports

    @property
    def is_sharded(self) -> bool:
        """Whether other processes hold parts of the parameters; known after the first update."""
        return self._measuring.is_sharded

    @property
    def elements(self) -> int:
        """Number of weights that are tracked, in all processes together."""
        return sum(parameter.elements for parameter in self._measuring.parameters.values())

    def analysis(self) -> Analysis:
        """Return the result so far, in memory; the tracker can go on.

        Tables and rankings have every step, exact cumulative changes are those of the last one.

        Raises:
            MismatchError: If there have been fewer than two updates.
        """
        taken = len(self._measuring.steps)
        if taken < 2:
            problem = self._reports.last
            raise MismatchError(
                f"change needs at least two updates, there have been {taken}"
                + (f"; one was left out: {problem}" if problem else "")
            )
        source = self._source()
        values = source.values()
        return Analysis(Live(completed(source.header, values), values, source.latest))

    def summary(self) -> dict[str, float]:
        """Return the metrics of all layers at the last step, for wandb, MLflow and the like.

        Returns:
            ``{"accweight/LAYER/METRIC": value}``; undefined values are left out. It is empty as
            long as no update was taken, because a training loop that logs it must not stop.

        Raises:
            MismatchError: If no update was taken; with ``errors="raise"`` only.
        """
        if not self._measuring.steps:
            nothing = MismatchError("there has been no update yet, so there is nothing to sum up")
            self._reports.take(nothing, "the summary is empty")
            return {}
        return flat_summary(self._shown().rows, -1)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Analysis:
        """Store the result so far; see `Analysis.save`."""
        return self.analysis().save(path, overwrite=overwrite)

    def cumulative(self, name: str) -> npt.NDArray[np.float64]:
        """Return A_t of a parameter at the last step, in its own shape.

        Args:
            name: Name of the parameter, or of its layer.

        Raises:
            UnknownNameError: If it is not tracked; the message lists the tracked names.
        """
        checked_text(name, "a parameter")
        parameter = parameter_called(name, list(self._measuring.parameters.values()))
        if self._measuring.is_sharded:
            raise SourceError(
                f"parameter {parameter.name!r} is sharded over processes, each of which has exact "
                "values of its part alone; tables and rankings have all of it"
            )
        return self._measuring.state(parameter.name).path.reshape(parameter.shape)

    def _source(self) -> Live:
        """Return the sums so far, and A_t of the last step."""
        header, values = self._measuring.result()
        last = self._measuring.steps[-1]

        def latest(name: str) -> npt.NDArray[np.float64]:
            now = self._measuring.steps[-1] if self._measuring.steps else None
            if now != last:
                raise SourceError(
                    f"the tracker has gone on from step {last} to step {now} and "
                    "keeps exact values of its last step only; call its analysis() again"
                )
            return self.cumulative(name)

        return Live(header, values, latest)

    def _shown(self) -> Shown:
        """Return what is logged of the steps so far."""
        source = self._source()
        return Shown(source, measured(source.header, source.values()))
