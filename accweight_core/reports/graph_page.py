"""One page with the graph of a run: it needs nothing else, and no network."""

from __future__ import annotations

import os
import shlex
from importlib.metadata import version
from pathlib import Path

from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.probe_metrics import is_probe_metric
from accweight_core.analysis.ranking import chosen_metric
from accweight_core.analysis.training_figures import check_is_no_figure
from accweight_core.errors import DrawingError
from accweight_core.graphs.layer_graph import LayerGraph
from accweight_core.io.target import replaced_whole, target_at
from accweight_core.reports.graph_content import MOST_ITEMS, graph_content
from accweight_core.reports.run_content import curves_content
from accweight_core.reports.templates import embedded, graph_script, rendered
from accweight_core.schema import in_short
from accweight_core.text import plain


def graph_page(
    analysis: Analysis,
    graph: LayerGraph,
    out: str | os.PathLike[str],
    by: str | None = None,
    step: int | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write a page with a graph, whose steps and numbers are chosen there; return its path.

    Args:
        analysis: The analysis.
        graph: Its graph.
        out: File to write.
        by: The number that is shown first; `relative` by default.
        step: The step that is shown first; the last one by default.
        overwrite: Replace the file if it exists.

    Raises:
        UnknownNameError: If there is no such number or step.
        StoreError: If the file exists or cannot be written.
        MissingLibraryError: If Jinja2 is not installed.
        DrawingError: If the graph is too large for a page.
    """
    path, shown = target_at(out, "a page"), analysis.shown
    place = analysis.step_index(step)
    check_is_no_figure(analysis.header, by)
    name = by if by is not None and is_probe_metric(by) else chosen_metric(shown.rows, by).by
    order = range(len(shown.rows))
    curves = curves_content(shown, order)
    places = sorted({*curves["places"], place})
    if places != curves["places"]:
        curves = curves_content(shown, order, places)
    content = graph_content(analysis, graph, name, order, places)
    if content is None:
        raise DrawingError(f"a page has at most {MOST_ITEMS} layers and modules; draw an .svg")
    run = {"steps": shown.steps.tolist(), **curves}
    options = [*(["--by", by] if by else []), *(["--at", str(step)] if step is not None else [])]
    store = str(analysis.path) if analysis.path else "RUN.accw"
    with replaced_whole(path, overwrite=overwrite) as draft:
        page = rendered(
            "graph_page.html",
            title=plain(shown.run),
            lead=in_short(shown.steps, analysis.layers),
            graph=content,
            command=shlex.join(["accweight", "graph", store, "-o", str(path), *options]),
            version=version("accweight"),
            data=embedded({"runs": [run]}),
            graph_data=embedded([{**content, "first": places.index(place)}]),
            graph_script=graph_script(),
        )
        draft.write_text(page, "utf-8")
    return path
