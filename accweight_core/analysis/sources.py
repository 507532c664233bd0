"""Sources of an analysis: numbers in memory, a store on disk, or a model in training.

`Analysis` uses one `Source` without knowing its kind. A source raises a one-line error for what it
lacks (a model in training has no checkpoints). To add a kind of source, add a class here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from accweight_core.arguments import checked_path
from accweight_core.errors import AccweightError, SourceError, StoreError, reason_of
from accweight_core.metrics.table import Floats
from accweight_core.schema import Checkpoint, Parameter, Run
from accweight_core.store.analysis_store import Store
from accweight_core.store.header import Header

Values = npt.NDArray[np.float64]


class Source(Protocol):
    """Provides the numbers and the exact values of one analysis."""

    @property
    def header(self) -> Header:
        """The run, its parameters, and how the analysis was made."""

    @property
    def store(self) -> Store | None:
        """The store on disk, if any."""

    def values(self) -> Floats:
        """Return (steps, parameters, sums); NaN for unfinished parameters."""

    def finished(self) -> list[bool]:
        """Tell, per parameter, whether its numbers and pictures are available."""

    def run(self) -> Run:
        """Return the run with all checkpoints; raise a `SourceError` if they are missing."""

    def checkpoint(self, step_index: int) -> Checkpoint:
        """Return one checkpoint of the run; raise a `SourceError` if it is missing."""

    def cumulative(self, parameter: Parameter, step_index: int) -> Values:
        """Return exact A_t of a parameter; raise a `SourceError` if it is unavailable."""


class InMemory:
    """Numbers in memory, and the run they were measured from."""

    store = None

    def __init__(self, header: Header, values: Floats, run: Run) -> None:
        self.header = header
        self._values = values
        self._run = run

    def values(self) -> Floats:
        """Return (steps, parameters, sums)."""
        return self._values

    def finished(self) -> list[bool]:
        """Return True for every parameter."""
        return [True] * len(self.header.parameters)

    def run(self) -> Run:
        """Return the run."""
        return self._run

    def checkpoint(self, step_index: int) -> Checkpoint:
        """Return one checkpoint."""
        return self._run.checkpoint(step_index)

    def cumulative(self, parameter: Parameter, step_index: int) -> Values:
        """Return A_t, computed from the checkpoints."""
        return _walked(self, parameter, step_index)


class Stored:
    """A store on disk. Its checkpoints are described again on first use."""

    def __init__(self, store: Store, run: Run | None = None) -> None:
        """Use an open store.

        Args:
            store: The store.
            run: The run, if this process has just measured it, so that weights in memory are
                available.
        """
        self.store = store
        self.header = store.header
        self._run = run

    @classmethod
    def at(cls, path: str | os.PathLike[str], *, unfinished: bool) -> Stored:
        """Open the store of a path.

        Args:
            path: Folder of the analysis.
            unfinished: Whether it may be one that is being written or was stopped.

        Raises:
            StoreError: If there is none, or it is unfinished, damaged or too new.
        """
        checked_path(path, "an analysis")
        try:
            store = Store.open(Path(path))
        except AccweightError:
            raise
        except (OSError, ValueError) as error:  # a name that the system cannot hold
            reason = reason_of(error) if isinstance(error, OSError) else str(error)
            raise StoreError(f"{path}: cannot be opened ({reason})") from None
        if not (store.header.complete or unfinished):
            done = store.finished()
            raise StoreError(
                f"{path}: the analysis is not finished ({sum(done)} of {len(done)} parameters); "
                "run the same accweight analyze again to continue it"
            )
        return cls(store)

    def values(self) -> Floats:
        """Return (steps, parameters, sums) as on disk now."""
        return self.store.totals

    def finished(self) -> list[bool]:
        """Tell, per parameter, whether it is on disk now."""
        return self.store.finished()

    def run(self) -> Run:
        """Return the run; the checkpoints are described once."""
        from accweight_core.analysis.reopen import reopened

        if self._run is None:
            self._run = reopened(self.header, self.store.path)
        return self._run

    def checkpoint(self, step_index: int) -> Checkpoint:
        """Return one checkpoint; the others may be missing."""
        from accweight_core.analysis.reopen import reopened_checkpoint

        if self._run is not None:
            return self._run.checkpoint(step_index)
        return reopened_checkpoint(self.header, step_index, self.store.path)

    def cumulative(self, parameter: Parameter, step_index: int) -> Values:
        """Return A_t, computed from the checkpoints."""
        return _walked(self, parameter, step_index)


class Live:
    """The sums of a tracker while a model trains, up to one step.

    Attributes:
        latest: Returns A_t of a parameter at the last step, by name.
    """

    store = None

    def __init__(self, header: Header, values: Floats, latest: Callable[[str], Values]) -> None:
        """Use the numbers of a tracker.

        Args:
            header: The run so far.
            values: (steps, parameters, sums).
            latest: Returns A_t of a parameter at the last step, by name.
        """
        self.header = header
        self._values = values
        self.latest = latest

    def values(self) -> Floats:
        """Return (steps, parameters, sums)."""
        return self._values

    def finished(self) -> list[bool]:
        """Return True for every parameter."""
        return [True] * len(self.header.parameters)

    def run(self) -> Run:
        """Raise a `SourceError`: there are no checkpoints."""
        raise self._no_checkpoints()

    def checkpoint(self, step_index: int) -> Checkpoint:
        """Raise a `SourceError`: there are no checkpoints."""
        raise self._no_checkpoints()

    def cumulative(self, parameter: Parameter, step_index: int) -> Values:
        """Return A_t of the last step, from the tracker."""
        if step_index != len(self.header.steps) - 1:
            raise self._no_checkpoints()
        return self.latest(parameter.name)

    def _no_checkpoints(self) -> SourceError:
        return SourceError(
            "tracked while training: there are no checkpoints to read; exact values are kept of "
            f"the last step alone, {self.header.steps[-1]}, and in memory alone; tables and "
            "rankings have every step. Save checkpoints and analyse them to trace single weights"
        )


def _walked(source: Source, parameter: Parameter, step_index: int) -> Values:
    from accweight_core.analysis.exact_values import cumulative_change  # reads files

    return cumulative_change(source.run().checkpoints, parameter, step_index)
