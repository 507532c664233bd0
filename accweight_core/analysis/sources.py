"""What an analysis is made of: numbers in memory, a store on disk, or a model that still trains.

`Analysis` asks one `Source` and never which kind it is. What a source cannot give (a model that
trains has no checkpoints to read) it says in one line. A new kind of source is a class here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from accweight_core.errors import SourceError
from accweight_core.metrics.table import Floats
from accweight_core.schema import Checkpoint, Parameter, Run
from accweight_core.store.analysis_store import Store
from accweight_core.store.header import Header

Values = npt.NDArray[np.float64]


class Source(Protocol):
    """Where the numbers and the exact values of one analysis come from."""

    @property
    def header(self) -> Header:
        """The run, its parameters, and how the analysis was made."""

    @property
    def store(self) -> Store | None:
        """The store on disk, if there is one."""

    def values(self) -> Floats:
        """Return (steps, parameters, sums); NaN for parameters that are not finished."""

    def finished(self) -> list[bool]:
        """Tell, per parameter, whether its numbers and pictures are there by now."""

    def run(self) -> Run:
        """Return the run with all its checkpoints; raise a `SourceError` if they are gone."""

    def checkpoint(self, step_index: int) -> Checkpoint:
        """Return one checkpoint of the run; raise a `SourceError` if it is gone."""

    def cumulative(self, parameter: Parameter, step_index: int) -> Values:
        """Return A_t of a parameter, exact; raise a `SourceError` if it cannot be had."""


class InMemory:
    """Numbers that were just measured, and the run they were measured from."""

    store = None

    def __init__(self, header: Header, values: Floats, run: Run) -> None:
        self.header = header
        self._values = values
        self._run = run

    def values(self) -> Floats:
        """Return (steps, parameters, sums)."""
        return self._values

    def finished(self) -> list[bool]:
        """Tell that everything is."""
        return [True] * len(self.header.parameters)

    def run(self) -> Run:
        """Return the run as it was opened."""
        return self._run

    def checkpoint(self, step_index: int) -> Checkpoint:
        """Return one checkpoint as it was opened."""
        return self._run.checkpoint(step_index)

    def cumulative(self, parameter: Parameter, step_index: int) -> Values:
        """Return A_t, walked from the checkpoints."""
        return _walked(self, parameter, step_index)


class Stored:
    """A store on disk. Its checkpoints are described anew when they are first asked for."""

    def __init__(self, store: Store, run: Run | None = None) -> None:
        """Take a store.

        Args:
            store: An open one.
            run: The run behind it where this process has just measured it, so that weights in
                memory are found as well.
        """
        self.store = store
        self.header = store.header
        self._run = run

    def values(self) -> Floats:
        """Return (steps, parameters, sums) as they are on disk now."""
        return self.store.totals

    def finished(self) -> list[bool]:
        """Tell, per parameter, what is on disk now."""
        return self.store.finished()

    def run(self) -> Run:
        """Return the run, described anew once."""
        from accweight_core.analysis.reopen import reopened

        if self._run is None:
            self._run = reopened(self.header)
        return self._run

    def checkpoint(self, step_index: int) -> Checkpoint:
        """Return one checkpoint; the others need not be there any more."""
        from accweight_core.analysis.reopen import reopened_checkpoint

        if self._run is not None:
            return self._run.checkpoint(step_index)
        return reopened_checkpoint(self.header, step_index)

    def cumulative(self, parameter: Parameter, step_index: int) -> Values:
        """Return A_t, walked from the checkpoints."""
        return _walked(self, parameter, step_index)


class Live:
    """What a tracker has added up while a model trains, up to one step."""

    store = None

    def __init__(self, header: Header, values: Floats, latest: Callable[[str], Values]) -> None:
        """Take the numbers of a tracker.

        Args:
            header: The run so far.
            values: Its numbers.
            latest: Returns A_t of a parameter at the last step, by name.
        """
        self.header = header
        self._values = values
        self._latest = latest

    def values(self) -> Floats:
        """Return (steps, parameters, sums)."""
        return self._values

    def finished(self) -> list[bool]:
        """Tell that everything is, up to the last step."""
        return [True] * len(self.header.parameters)

    def run(self) -> Run:
        """Raise: nothing was written."""
        raise self._no_checkpoints()

    def checkpoint(self, step_index: int) -> Checkpoint:
        """Raise: nothing was written."""
        raise self._no_checkpoints()

    def cumulative(self, parameter: Parameter, step_index: int) -> Values:
        """Return A_t of the last step, which the tracker holds."""
        if step_index != len(self.header.steps) - 1:
            raise self._no_checkpoints()
        return self._latest(parameter.name)

    def _no_checkpoints(self) -> SourceError:
        return SourceError(
            "tracked while training: there are no checkpoints to read; exact values are kept of "
            f"the last step alone, {self.header.steps[-1]}; tables and rankings have every step"
        )


def _walked(source: Source, parameter: Parameter, step_index: int) -> Values:
    from accweight_core.analysis.exact_values import cumulative_change  # reads files

    return cumulative_change(source.run().checkpoints, parameter, step_index)
