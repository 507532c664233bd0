"""An analysis to ask questions of: tables, rankings, exact values of any weight.

Numbers come from the store when they are asked for; exact values of single weights are
computed anew from the checkpoints, so that they never depend on what fitted the store.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.ranking import ranking as ranked
from accweight_core.analysis.sources import Source, Stored
from accweight_core.analysis.summary import Measured, Per, maximum, measured, metric_arrays
from accweight_core.arguments import (
    brief,
    checked_choice,
    checked_path,
    checked_roles,
    checked_text,
    whole,
)
from accweight_core.errors import (
    AccweightError,
    ArgumentTypeError,
    MismatchError,
    StoreError,
    UnknownNameError,
    reason_of,
)
from accweight_core.io.target import target_at
from accweight_core.metrics.sums import SUMS
from accweight_core.metrics.table import Floats
from accweight_core.pictures.texel_map import Layout
from accweight_core.schema import Checkpoint, Layer, Parameter, Role, Run, in_short
from accweight_core.store.analysis_store import Store
from accweight_core.store.header import Maximum

if TYPE_CHECKING:
    import pandas as pd

    from accweight_core.analysis.tracing import Trace
    from accweight_core.io.reading import OpenFiles


class Analysis:
    """The result of a run.

    Attributes:
        header: The run, its parameters, and how the analysis was made.
    """

    def __init__(self, source: Source) -> None:
        """Take what it is made of: `sources.InMemory`, `Stored` or `Live`."""
        self.header = source.header
        self._source = source

    def __repr__(self) -> str:
        """Return in a line what it is of, and where it is kept."""
        kept = f"in {self.path}" if self.path else "in memory"
        unfinished = "" if self.header.complete else ", not finished"
        short = in_short(self.steps, self.layers)
        return f"<Analysis of {self.header.source}: {short}; {kept}{unfinished}>"

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, unfinished: bool = False) -> Analysis:
        """Open a stored analysis; numbers are read when they are asked for.

        Args:
            path: Folder of the analysis.
            unfinished: Open one that is being written, or was stopped, too. It shows what
                was finished when its numbers were first asked for; to see more, open it anew.

        Raises:
            StoreError: If there is none at `path`, or it is unfinished, damaged or newer.
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
                "run the same accweight analyze again and it continues there"
            )
        return cls(Stored(store))

    @property
    def path(self) -> Path | None:
        """Folder of the store, None in memory."""
        return self.store.path if self.store else None

    @property
    def store(self) -> Store | None:
        """The store behind the analysis, None in memory."""
        return self._source.store

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        """Steps, ascending; the first one is the reference."""
        return self.header.steps

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Layers in network order, with every measured parameter."""
        return self.header.layers

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Measured parameters in network order."""
        return self.header.parameters

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that it has the sums for, in the order of tables."""
        return self.header.metrics

    @cached_property
    def maximum(self) -> Maximum | None:
        """The largest element of A_T over all shown layers, or over those finished so far."""
        if self.header.complete:
            return self.header.maximum
        return maximum(self.header, self.values)

    def finished(self) -> list[bool]:
        """Tell, per parameter, whether its numbers and pictures are on disk by now.

        Read anew at every call, where `values` stay what they were when first asked for.
        """
        return self._source.finished()

    @cached_property
    def values(self) -> Floats:
        """(steps, parameters, sums): what every metric is computed from.

        NaN for parameters that are not finished.
        """
        return self._source.values()

    def measured(
        self, per: Per = "layer", roles: Iterable[Role | str] | None = None
    ) -> list[Measured]:
        """Return the metrics of every shown layer or parameter, in network order.

        Args:
            per: What a row stands for.
            roles: Roles that count; those of the analysis by default.

        Raises:
            MismatchError: If no parameter has one of these roles.
        """
        header = self.header
        if roles is not None:
            header = replace(header, roles=checked_roles(roles))
            found = dict.fromkeys(parameter.role for parameter in self.parameters)
            if not found.keys() & set(header.roles):
                raise MismatchError(
                    f"{header.source}: no parameter has the role {' or '.join(header.roles)}; "
                    f"roles measured: {', '.join(found) or 'none'}"
                )
        checked_choice(per, get_args(Per), "per")
        return measured(header, self.values, per)

    def table(self, per: Per = "layer") -> pd.DataFrame:
        """Return one row per layer and step, with every metric."""
        import pandas as pd

        checked_choice(per, get_args(Per), "per")
        rows = self.measured(per)
        frames = [
            pd.DataFrame(
                {per: row.name, "kind": str(row.kind), "elements": row.elements, "step": self.steps}
                | row.metrics
            )
            for row in rows
        ]
        columns = [per, "kind", "elements", "step", *self.metrics]
        return (
            pd.concat(frames, ignore_index=True)[columns]
            if frames
            else pd.DataFrame(columns=columns)
        )

    def ranking(
        self,
        by: str = "mean",
        step: int | None = None,
        *,
        per: Per = "layer",
        roles: Iterable[Role | str] | None = None,
    ) -> pd.DataFrame:
        """Return the layers ordered by one metric at one step, most active first.

        Args:
            by: A metric.
            step: A step of the run; the last one by default.
            per: What a row stands for.
            roles: Roles that count; those of the analysis by default.

        Raises:
            UnknownNameError: If there is no such metric or step.
            MismatchError: If no parameter has one of these roles.
        """
        import pandas as pd

        rows = ranked(self.measured(per, roles), by, self.step_index(step), per)
        return pd.DataFrame(rows, columns=["rank", per, "kind", "elements", *self.metrics])

    def step_index(self, step: int | None) -> int:
        """Return the position of a step, of the last one for None.

        Raises:
            UnknownNameError: If the run has no such step.
        """
        if step is None:
            return len(self.steps) - 1
        number = whole(step)
        found = np.flatnonzero(self.steps == number)
        if number is None or not found.size:
            known = ", ".join(map(str, self.steps[:12])) + (", ..." if len(self.steps) > 12 else "")
            raise UnknownNameError(f"the run has no step {brief(step)}; its steps are {known}")
        return int(found[0])

    def parameter_index(self, name: str) -> int:
        """Return the position of a parameter.

        Raises:
            UnknownNameError: If it is not among the measured ones.
        """
        checked_text(name, "a parameter")
        return self.header.parameter_index(name)

    def layout(self, name: str) -> Layout:
        """Return the map between the picture of a parameter and its elements."""
        return self.header.layouts[self.parameter_index(name)]

    def cumulative(self, name: str, step: int | None = None) -> npt.NDArray[np.float64]:
        """Return A_t of a parameter, exact, in the parameter's own shape.

        Computed from the checkpoints, which must still be where they were.

        Args:
            name: A measured parameter.
            step: A step of the run; the last one by default.

        Raises:
            SourceError: If the checkpoints are gone or have changed.
        """
        parameter = self.parameters[self.parameter_index(name)]
        return self._source.cumulative(parameter, self.step_index(step))

    def trace(self, name: str, index: Iterable[int], *, files: OpenFiles | None = None) -> Trace:
        """Return W_t and A_t of one weight at every step, exact, reading little else.

        Args:
            name: A measured parameter.
            index: A number per axis, from 0.
            files: Where to read through; they stay open. Closed afterwards if None.

        Raises:
            UnknownNameError: If there is no such parameter, or no such element in it.
            SourceError: If the checkpoints are gone or have changed.
        """
        from accweight_core.analysis.tracing import trace  # reads files, like `cumulative`

        number = self.parameter_index(name)
        squares = self.values[:, number, SUMS.index("square")]
        checkpoints = self.run().checkpoints
        return trace(checkpoints, self.parameters[number], index, squares, files=files)

    def normalized(
        self,
        name: str,
        step: int | None = None,
        scope: Literal["global", "layer"] = "global",
    ) -> npt.NDArray[np.float64]:
        """Return ``N_t = A_t / M``, 0 where nothing moved.

        Args:
            name: A measured parameter.
            step: A step of the run; the last one by default.
            scope: Whether M is the largest element of A_T over all shown layers, or over
                the parameters of this one's layer.
        """
        checked_choice(scope, ("global", "layer"), "scope")
        total = self.cumulative(name, step)
        largest = self.scale(name, scope)
        return np.zeros_like(total) if largest == 0 else total / largest

    def scale(self, name: str, scope: Literal["global", "layer"] = "global") -> float:
        """Return M, by which `normalized` divides; NaN for a layer that is not finished."""
        if scope == "global":
            return self.maximum.value if self.maximum else 0.0
        layer = self.parameters[self.parameter_index(name)].layer
        for row in self.measured():
            if row.name == layer:
                return float(row.metrics["max"][-1])
        largest = self.values[-1, self.parameter_index(name), SUMS.index("path_max")]
        return float(np.maximum(largest, 0.0))

    def save(self, path: str | os.PathLike[str]) -> Analysis:
        """Store the numbers of an analysis in memory, and return it opened from there.

        Pictures need the checkpoints and are not part of it.

        Raises:
            StoreError: If something is there already, or the analysis is not finished.
        """
        if not self.header.complete:
            raise StoreError(f"{self.path}: the analysis is not finished, so it cannot be saved")
        target = target_at(path, "an analysis")
        if target.exists():
            raise StoreError(f"{target}: exists already; nothing is overwritten")
        header = replace(self.header, picture_bases=(), packs=(), complete=False)
        store = Store.create(target, header)
        store.finish_parameters(range(len(header.parameters)), self.values)
        store.finish(header, metric_arrays(header, self.values))
        return Analysis.open(target)

    def checkpoint(self, step_index: int) -> Checkpoint:
        """Return one checkpoint of the run, described anew if the analysis comes from disk.

        Raises:
            SourceError: If it is gone, or has changed since.
        """
        place = whole(step_index)
        if place is None or not -len(self.steps) <= place < len(self.steps):
            raise UnknownNameError(
                f"the run has no checkpoint {brief(step_index)}; it has {len(self.steps)}, "
                "counted from 0"
            )
        return self._source.checkpoint(place)

    def run(self) -> Run:
        """Return the run behind the analysis, described anew if it was opened from disk.

        Raises:
            SourceError: If checkpoints are gone, or have changed since.
        """
        return self._source.run()


def open_analysis(path: str | os.PathLike[str], *, unfinished: bool = False) -> Analysis:
    """Open a stored analysis; see `Analysis.open`."""
    return Analysis.open(path, unfinished=unfinished)


def as_analysis(given: Analysis | str | os.PathLike[str]) -> Analysis:
    """Return an analysis that is given as such, or by the path it is stored at.

    Raises:
        StoreError: If there is none at the path.
        ArgumentTypeError: If it is something else, such as a run.
    """
    if isinstance(given, Analysis):
        return given
    if isinstance(given, (str, os.PathLike)):
        return open_analysis(given)
    raise ArgumentTypeError(
        f"expected an analysis or the path of one, got {type(given).__name__}; "
        "a run is analysed with analyze(run)"
    )
