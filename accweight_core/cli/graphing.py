"""The command that draws the graph of a network: `graph`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accweight_core.cli import options

if TYPE_CHECKING:
    from accweight_core.analysis.analysis import Analysis
    from accweight_core.graphs.layer_graph import LayerGraph


@click.command()
@options.analysis
@click.option(
    "--model",
    type=options.FILE,
    metavar="FILE",
    help="Read the graph from an ONNX model, or an archive of torch.export (.pt2), and keep it in "
    "the analysis. By default the kept one, or that of the checkpoints.",
)
@click.option(
    "-o", "--out", type=options.OUT, help="File to write: .svg, .png, .pdf, .html or .dot."
)
@options.graph_metric
@click.option("--at", "--step", "at", type=int, metavar="STEP", help="Step; the last by default.")
@click.option("--unfold", is_flag=True, help="Open all modules, as far as that can be drawn.")
@options.overwrite
@options.as_json
def graph(
    analysis: Path,
    model: Path | None,
    out: str | None,
    by: str | None,
    at: int | None,
    *,
    unfold: bool,
    overwrite: bool,
    json: bool,
) -> None:
    """Draw the layers of a network as a graph, folded by module, coloured by how they moved."""
    from accweight_core.analysis.analysis import open_analysis
    from accweight_core.cli import output

    opened = open_analysis(analysis)
    found = _graph_of(opened, model)
    opened.step_index(at)
    written = {}
    if out is not None:
        path = _written(opened, found, out, by, at, unfold=unfold, overwrite=overwrite)
        written = {"out": str(path)}
    if json:
        output.show({**written, **document(opened, found)})
    else:
        told = [f"graph written to {written['out']}"] if written else []
        output.show([*told, *summary(found)])


def _graph_of(opened: Analysis, model: Path | None) -> LayerGraph:
    """Return the graph of an analysis, after keeping that of a model or of its checkpoints."""
    from accweight_core.alignment.graph_binding import graph_from
    from accweight_core.analysis.layer_graphs import keep_own_graph
    from accweight_core.store.graph_document import keep_graph

    if opened.path is not None:
        if model is not None:
            keep_graph(opened.path, graph_from(model, opened.layers))
        else:
            keep_own_graph(opened.path, opened.header)
    return opened.graph


def _written(
    opened: Analysis,
    found: LayerGraph,
    out: str,
    by: str | None,
    at: int | None,
    *,
    unfold: bool,
    overwrite: bool,
) -> Path:
    from accweight_core.analysis.figures.plots import Plots, ending_of, write_figure
    from accweight_core.graphs.dot import dot_of
    from accweight_core.io.target import replaced_whole, target_at

    ending = Path(out).suffix.lower()
    if ending == ".html":
        from accweight_core.reports.graph_page import graph_page

        return graph_page(opened, found, out, by, at, overwrite=overwrite)
    if ending == ".dot":
        path = target_at(out, "a graph")
        with replaced_whole(path, overwrite=overwrite) as draft:
            draft.write_text(dot_of(found), "utf-8")
        return path
    ending_of(Path(out), also=("html", "dot"))
    drawn = Plots(opened.shown).graph(by, at, graph=found, unfolded=unfold)
    return write_figure(drawn, out, overwrite=overwrite)


def document(opened: Analysis, found: LayerGraph) -> dict[str, Any]:
    """Return the JSON document of a graph."""
    from accweight_core.graphs.modules import ModuleTree

    tree = ModuleTree(found)
    modules = [
        {"name": item.name, "layers": [leaf.name for leaf in item.leaves() if leaf.kind == "layer"]}
        for item in tree.items[1:]
        if item.kind == "module"
    ]
    return {"source": opened.header.source, **found.to_json(), "modules": modules}


def summary(found: LayerGraph) -> list[str]:
    """Return what a graph has, in lines."""
    from accweight_core.graphs.modules import ModuleTree
    from accweight_core.text import plain

    joins = sum(node.kind == "join" for node in found.nodes)
    joined = {at for edge in found.edges for at in edge}
    apart = [n.name for at, n in enumerate(found.nodes) if n.kind == "layer" and at not in joined]
    modules = [item for item in ModuleTree(found).items[1:] if item.kind == "module"]
    counts = f"{len(found.layers)} layers, {joins} joins, {len(found.edges)} edges"
    lines = [f"graph: {plain(found.origin)}", f"{counts}, {len(modules)} modules"]
    if apart and len(found.layers) > 1:
        more = f" and {len(apart) - 3} more" if len(apart) > 3 else ""
        lines.append(f"not in the graph: {plain(', '.join(apart[:3]))}{more}")
    return lines
