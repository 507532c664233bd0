"""The figures of an analysis, one method each; what `Analysis.plot` returns."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from accweight_core.analysis.probe_metrics import is_probe_metric
from accweight_core.analysis.ranking import Chosen, chosen_metric
from accweight_core.analysis.shown import Shown
from accweight_core.analysis.training_figures import check_is_no_figure
from accweight_core.arguments import brief, check_count
from accweight_core.errors import MissingLibraryError, UnknownNameError
from accweight_core.io.target import replaced_whole, target_at
from accweight_core.text import plain

if TYPE_CHECKING:
    from accweight_core.analysis.figures.page import Drawing
    from accweight_core.graphs.layer_graph import LayerGraph

ENDINGS = ("png", "svg", "pdf")
"""Endings of files that figures are written to."""


class Plots:
    """Figures of one analysis, as `matplotlib.figure.Figure`; notebooks show them by themselves."""

    def __init__(self, shown: Shown) -> None:
        """Use an analysis.

        Raises:
            MissingLibraryError: If Matplotlib is not installed.
        """
        check_can_draw()
        self._shown = shown

    def ranking(
        self, by: str | None = None, step: int | None = None, *, top: int | None = None
    ) -> Drawing:
        """Draw the layers as bars, largest first, by a metric at a step.

        Args:
            by: A metric; by default `relative`, or what the figure says where that is undefined.
            step: A step of the run; the last one by default.
            top: Layers to draw; by default 40.

        Raises:
            UnknownNameError: If there is no such metric or step.
        """
        from accweight_core.analysis.figures.ranking import ranking_figure

        check_count(top, "top")
        at = self._at(step)
        chosen = self._metric(by, at)
        return ranking_figure(self._shown, chosen.by, at, top, chosen.notes)

    def curves(self, metric: str | None = None, *, top: int | None = None) -> Drawing:
        """Draw a metric of every layer over the steps, with names at the ends of the curves.

        Args:
            metric: A metric; `relative` by default.
            top: Name the largest so many, and draw the others thin; by default all of up to 14, and
                of more those whose names have room at the ends of their curves.

        Raises:
            UnknownNameError: If there is no such metric.
        """
        from accweight_core.analysis.figures.curves import curves_figure

        check_count(top, "top")
        chosen = self._metric(metric)
        return curves_figure(self._shown, chosen.by, top, chosen.notes)

    def heatmap(self, metric: str | None = None) -> Drawing:
        """Draw a metric as colour: layers in network order down, checkpoints across.

        Args:
            metric: A metric; `relative` by default.

        Raises:
            UnknownNameError: If there is no such metric.
        """
        from accweight_core.analysis.figures.heatmap import heatmap_figure

        chosen = self._metric(metric)
        return heatmap_figure(self._shown, chosen.by, chosen.notes)

    def layers(self, step: int | None = None, *, top: int | None = None) -> Drawing:
        """Draw the layers as pictures, in network order: the farther a weight moved, the brighter.

        Args:
            step: A step of the run; the last one by default.
            top: Pictures to draw, from the first layer on; by default 48.

        Raises:
            UnknownNameError: If there is no such step.
            StoreError: If the analysis has no pictures.
            SourceError: If no pictures are stored, and the checkpoints are missing.
        """
        from accweight_core.analysis.figures.layers import layers_figure

        check_count(top, "top")
        return layers_figure(self._shown, self._at(step), top)

    def graph(
        self,
        by: str | None = None,
        step: int | None = None,
        *,
        graph: LayerGraph | None = None,
        unfolded: bool = False,
    ) -> Drawing:
        """Draw the graph of the network, with layers coloured by a number at a step.

        Args:
            by: A metric, or a number that a probe found of layers; `relative` by default.
            step: A step of the run; the last one by default.
            graph: The graph; the one in the analysis by default.
            unfolded: Whether all modules are open, as far as that can be drawn.

        Raises:
            UnknownNameError: If there is no such number or step.
            StoreError: If the stored graph is damaged.
            MissingLibraryError: If QuickJS is not installed.
        """
        from accweight_core.analysis.figures.graph import graph_figure
        from accweight_core.analysis.graph_colours import layer_numbers
        from accweight_core.analysis.layer_graphs import graph_at
        from accweight_core.analysis.probe_results import Probes
        from accweight_core.graphs.modules import ModuleTree

        at, store = self._at(step), self._shown.source.store
        path = None if store is None else store.path
        names = [row.name for row in self._shown.rows]
        tree = ModuleTree(graph_at(path, names) if graph is None else graph)
        chosen = by if is_probe_metric(by) else self._metric(by, at).by
        words, values = layer_numbers(self._shown, Probes(path), str(chosen))
        opened = tree.whole() if unfolded else tree.opening()
        return graph_figure(self._shown, tree, opened, str(chosen), words, values, at)

    def _metric(self, name: str | None, step_index: int = -1) -> Chosen:
        check_is_no_figure(self._shown.source.header, name)
        chosen = chosen_metric(self._shown.rows, name, step_index)
        return replace(chosen, notes=tuple(map(plain, chosen.notes)))

    def _at(self, step: int | None) -> int:
        return self._shown.source.header.step_index(step)


def check_can_draw() -> None:
    """Raise unless Matplotlib is installed.

    Raises:
        MissingLibraryError: If it is not.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingLibraryError("matplotlib", "plot", "drawing figures") from None


def ending_of(path: Path, also: Sequence[str] = ()) -> str:
    """Return the format that the name of a figure asks for.

    Args:
        path: The file.
        also: Endings that the caller writes by other means, for the error.

    Raises:
        UnknownNameError: If figures are not written in it.
    """
    ending = path.suffix.removeprefix(".").lower()
    if ending not in ENDINGS:
        known = (*ENDINGS, *also)
        raise UnknownNameError(
            f"a figure is not written as {brief(path.name)}; its name must end in "
            f".{', .'.join(known[:-1])} or .{known[-1]}"
        )
    return ending


def write_figure(figure: Drawing, out: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a figure as PNG, SVG or PDF, by the ending of the name; return the path.

    Raises:
        UnknownNameError: If the ending is none of these.
        StoreError: If the file exists or cannot be written.
    """
    path = target_at(out, "a figure")
    ending = ending_of(path)
    with replaced_whole(path, overwrite=overwrite) as draft:
        draft.write_bytes(figure.content(ending))
    return path
