"""The layers of a network as a graph, coloured by how they moved."""

from __future__ import annotations

from dataclasses import dataclass

from accweight_adapters.demo.gallery.made import Made
from accweight_adapters.demo.gallery.networks.training import ANALYSIS, GRAPH
from accweight_adapters.demo.gallery.system import Content, Part
from accweight_core.alignment.graph_binding import graph_from
from accweight_core.analysis.ranking import chosen_metric
from accweight_core.reports.graph_content import graph_content
from accweight_core.reports.run_content import curves_content
from accweight_core.store.graph_document import keep_graph


@dataclass(frozen=True)
class GraphPart(Part):
    """The graph of a network, which follows the time line of its lesson, and its command."""

    def run(self, made: Made) -> None:
        """Keep the graph of the network in its analysis."""
        folder, layers = made.folder(self.network), made.analysis(self.network).layers
        keep_graph(folder / ANALYSIS, graph_from(folder / GRAPH, layers))

    def content(self, made: Made) -> Content:
        """Return what the script of graphs draws."""
        analysis = made.analysis(self.network)
        shown = analysis.shown
        order = range(len(shown.rows))
        curves = curves_content(shown, order)
        by = chosen_metric(shown.rows, None).by
        return {
            "title": self.title,
            "network": self.network.words,
            "probe": "",
            "said": [],
            "steps": shown.steps.tolist(),
            "views": [],
            "graph": graph_content(analysis, analysis.graph, by, order, curves["places"]),
            "curves": {"steps": shown.steps.tolist(), **curves},
        }

    def command(self, made: Made) -> list[str]:
        """Return the command that draws the graph."""
        folder = made.folder(self.network)
        return ["accweight", "graph", str(folder / ANALYSIS), "--model", str(folder / GRAPH),
                "-o", str(made.home / "graph.html"), "--overwrite"]  # fmt: skip
