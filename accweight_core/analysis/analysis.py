"""The result of an analysis: tables, rankings, exact values of any weight.

Numbers are read from the store on first use. Exact values of single weights are recomputed from the
checkpoints, so they do not depend on the resolution of the stored pictures.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.frames import ranking_frame, table_frame
from accweight_core.analysis.probe_metrics import (
    check_is_no_probe,
    is_probe_metric,
    with_probe_metric,
)
from accweight_core.analysis.restart_notes import restart_notes
from accweight_core.analysis.rows import layer_maximum, rows_at, rows_of
from accweight_core.analysis.saving import saved
from accweight_core.analysis.sources import Source, Stored
from accweight_core.analysis.summary import Measured, Per, maximum
from accweight_core.analysis.training_figures import check_is_no_figure
from accweight_core.arguments import checked_choice, checked_text
from accweight_core.errors import ArgumentTypeError, StoreError
from accweight_core.metrics.sums import SUMS
from accweight_core.metrics.table import Floats
from accweight_core.pictures.texel_map import Layout
from accweight_core.schema import Checkpoint, Layer, Parameter, Role, Run, in_short
from accweight_core.store.analysis_store import Store
from accweight_core.store.records import Maximum

if TYPE_CHECKING:
    import pandas as pd

    from accweight_core.analysis.figures.plots import Plots
    from accweight_core.analysis.probe_results import Probes
    from accweight_core.analysis.shown import Shown
    from accweight_core.analysis.tracing import Trace
    from accweight_core.graphs.layer_graph import LayerGraph
    from accweight_core.io.reading import OpenFiles


class Analysis:
    """The result of a run.

    Attributes:
        header: The run, its parameters, and how the analysis was made.
    """

    def __init__(self, source: Source) -> None:
        """Create it from a source: `sources.InMemory`, `Stored` or `Live`."""
        self.header = source.header
        self._source = source

    def __repr__(self) -> str:
        """Return a one-line summary: the run, and where the analysis is stored."""
        kept = f"in {self.path}" if self.path else "in memory"
        unfinished = "" if self.header.complete else ", not finished"
        short = in_short(self.steps, self.layers)
        return f"<Analysis of {self.header.source}: {short}; {kept}{unfinished}>"

    def _repr_html_(self) -> str:
        """Return the ranking with pictures and curves, for a notebook."""
        from accweight_core.analysis.notebook import page_of

        return page_of(self.shown)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, unfinished: bool = False) -> Analysis:
        """Open a stored analysis; numbers are read on first use.

        Args:
            path: Folder of the analysis.
            unfinished: Also open an analysis that is being written or was stopped. Its numbers are
                those finished at first use; open it again to see more.

        Raises:
            StoreError: If there is none at `path`, or it is unfinished, damaged or too new.
        """
        return cls(Stored.at(path, unfinished=unfinished))

    @property
    def path(self) -> Path | None:
        """Folder of the store; None in memory."""
        return self.store.path if self.store else None

    @property
    def store(self) -> Store | None:
        """The store of the analysis; None in memory."""
        return self._source.store

    @property
    def restarts(self) -> tuple[str, ...]:
        """What it follows, and what goes on from it, if `watch` has seen the job restarted."""
        return restart_notes(self.header, self.path)

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        """Steps, ascending; the first one is the reference."""
        return self.header.steps

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Layers in network order, with all measured parameters."""
        return self.header.layers

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Measured parameters in network order."""
        return self.header.parameters

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that the stored sums allow, in table order."""
        return self.header.metrics

    @cached_property
    def maximum(self) -> Maximum | None:
        """The largest element of A_T over all shown, finished layers."""
        if self.header.complete:
            return self.header.maximum
        return maximum(self.header, self.values)

    def finished(self) -> list[bool]:
        """Tell, per parameter, whether its numbers and pictures are on disk.

        Read again on every call, whereas `values` keeps what it read first.
        """
        return self._source.finished()

    @cached_property
    def values(self) -> Floats:
        """(steps, parameters, sums): the sums that all metrics are computed from.

        NaN for unfinished parameters.
        """
        return self._source.values()

    def measured(
        self, per: Per = "layer", roles: Iterable[Role | str] | None = None
    ) -> list[Measured]:
        """Return the metrics of all shown layers, parameters or heads, in network order.

        Args:
            per: Whether rows are layers, parameters or attention heads. Heads are measured from
                the checkpoints, which must still be in place.
            roles: Roles to include; those of the analysis by default.

        Raises:
            MismatchError: If no parameter has one of the roles, or no heads are known.
            SourceError: If heads are asked for, and checkpoints are missing or have changed.
        """
        return rows_of(self._source, self.values, per, roles)

    def table(self, per: Per = "layer", roles: Iterable[Role | str] | None = None) -> pd.DataFrame:
        """Return a DataFrame with one row per layer and step, and a column per metric.

        Args:
            per: Whether rows are layers or parameters.
            roles: Roles to include; those of the analysis by default.

        Raises:
            MismatchError: If no parameter has one of the roles.
        """
        checked_choice(per, get_args(Per), "per")
        return table_frame(self.measured(per, roles), self.steps, self.metrics, per)

    def ranking(
        self,
        by: str | None = None,
        step: int | None = None,
        *,
        per: Per = "layer",
        roles: Iterable[Role | str] | None = None,
    ) -> pd.DataFrame:
        """Return the layers ordered by one metric at one step, largest first.

        ``attrs`` of the result has the metric, ``by``, and what is to be known of it, ``notes``.

        Args:
            by: A metric, or a number that a probe found of layers, as "activations.dead"; by
                default `relative`, or what `notes` says where that is undefined.
            step: A step of the run; the last one by default.
            per: Whether rows are layers, parameters or attention heads; see `measured`.
            roles: Roles to include; those of the analysis by default.

        Raises:
            UnknownNameError: If there is no such metric or step.
            MismatchError: If no parameter has one of the roles, or no heads are known.
        """
        if by is not None and is_probe_metric(by) and per == "layer":
            wide = with_probe_metric(self.measured(per, roles), self.probes, by, self.steps)
            return ranking_frame(wide, by, self.step_index(step), [by, *self.metrics], per)
        check_is_no_probe(self.probes, by)
        check_is_no_figure(self.header, by)
        rows, place = rows_at(self._source, lambda: self.values, self.step_index(step), per, roles)
        return ranking_frame(rows, by, place, self.metrics, per)

    @property
    def plot(self) -> Plots:
        """Figures of the analysis: ``plot.ranking()``, ``curves()``, ``heatmap()``, ``layers()``.

        Raises:
            MissingLibraryError: If Matplotlib is not installed.
        """
        from accweight_core.analysis.figures.plots import Plots

        return Plots(self.shown)

    @cached_property
    def shown(self) -> Shown:
        """What figures and pages show of it."""
        from accweight_core.analysis.shown import Shown

        return Shown(self._source, self.measured())

    @property
    def probes(self) -> Probes:
        """Results of probes by name, as they are on disk when asked for; see `aw.probe`."""
        from accweight_core.analysis.probe_results import Probes

        return Probes(self.path)

    @property
    def graph(self) -> LayerGraph:
        """The graph of the network, with its layers as nodes; their order if no graph is known.

        Raises:
            StoreError: If the stored graph is damaged.
        """
        from accweight_core.analysis.layer_graphs import graph_at

        return graph_at(self.path, [row.name for row in self.measured()])

    def step_index(self, step: int | None) -> int:
        """Return the index of a step; of the last step for None.

        Raises:
            UnknownNameError: If the run has no such step.
        """
        return self.header.step_index(step)

    def parameter_index(self, name: str) -> int:
        """Return the index of a parameter.

        Raises:
            UnknownNameError: If it was not measured.
        """
        checked_text(name, "a parameter")
        return self.header.parameter_index(name)

    def layout(self, name: str) -> Layout:
        """Return the mapping between the elements of a parameter and the texels of its picture."""
        return self.header.layouts[self.parameter_index(name)]

    def cumulative(self, name: str, step: int | None = None) -> npt.NDArray[np.float64]:
        """Return A_t of a parameter, exact, in the parameter's shape.

        Computed from the checkpoints, which must still be in place.

        Args:
            name: A measured parameter.
            step: A step of the run; the last one by default.

        Raises:
            SourceError: If checkpoints are missing or have changed.
        """
        parameter = self.parameters[self.parameter_index(name)]
        return self._source.cumulative(parameter, self.step_index(step))

    def trace(self, name: str, index: Iterable[int], *, files: OpenFiles | None = None) -> Trace:
        """Return W_t and A_t of one weight at every step, exact; reads hardly more than its bytes.

        Args:
            name: A measured parameter.
            index: Index of the element, one number per axis, from 0.
            files: Open files to read through; they are not closed. New ones if None.

        Raises:
            UnknownNameError: If there is no such parameter or element.
            SourceError: If checkpoints are missing or have changed.
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
        """Return ``N_t = A_t / M``, or 0 if nothing has moved.

        Args:
            name: A measured parameter.
            step: A step of the run; the last one by default.
            scope: Whether M is the largest element of A_T over all shown layers, or over the
                parameters of the same layer.
        """
        checked_choice(scope, ("global", "layer"), "scope")
        total = self.cumulative(name, step)
        largest = self.scale(name, scope)
        return np.zeros_like(total) if largest == 0 else total / largest

    def scale(self, name: str, scope: Literal["global", "layer"] = "global") -> float:
        """Return M, the divisor of `normalized`; NaN for an unfinished layer."""
        if scope == "global":
            return self.maximum.value if self.maximum else 0.0
        checked_text(name, "a parameter")
        return layer_maximum(self._source, lambda: self.values, name)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Analysis:
        """Store the numbers of an analysis in memory; return the stored analysis.

        Pictures are not stored: they need the checkpoints.

        Args:
            path: Folder to store it in (NAME.accw).
            overwrite: Replace an analysis at `path`, which is kept until the new one is complete.

        Raises:
            StoreError: If the path exists and is not to be replaced or not an analysis, or if the
                analysis is unfinished.
        """
        if not self.header.complete:
            raise StoreError(f"{self.path}: the analysis is not finished, so it cannot be saved")
        return Analysis.open(saved(path, self.header, self.values, overwrite=overwrite))

    def checkpoint(self, step_index: int) -> Checkpoint:
        """Return one checkpoint of the run; for a stored analysis it is described again.

        Raises:
            UnknownNameError: If the run has no such checkpoint.
            SourceError: If it is missing or has changed.
        """
        return self._source.checkpoint(self.header.checkpoint_index(step_index))

    def run(self) -> Run:
        """Return the run of the analysis; for a stored analysis it is described again.

        Raises:
            SourceError: If checkpoints are missing or have changed.
        """
        return self._source.run()


def open_analysis(path: str | os.PathLike[str], *, unfinished: bool = False) -> Analysis:
    """Open a stored analysis; see `Analysis.open`."""
    return Analysis.open(path, unfinished=unfinished)


def as_analysis(given: Analysis | str | os.PathLike[str]) -> Analysis:
    """Return an analysis, opening it if a path is given.

    Raises:
        StoreError: If there is no analysis at the path.
        ArgumentTypeError: If the argument is something else, such as a run.
    """
    if isinstance(given, Analysis):
        return given
    if isinstance(given, (str, os.PathLike)):
        return open_analysis(given)
    raise ArgumentTypeError(
        f"expected an analysis or the path of one, got {type(given).__name__}; "
        "call analyze(run) to analyse a run"
    )
