"""The graph of an analysis: kept in it, read from its checkpoints, or the order of its layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from accweight_core.errors import AccweightError
from accweight_core.graphs.layer_graph import LayerGraph
from accweight_core.readers import graph_in, readers
from accweight_core.remote import is_url
from accweight_core.schema import Layer
from accweight_core.store.graph_document import keep_graph, stored_graph
from accweight_core.store.header import Header

CHAIN = (
    "the order of the layers: no graph of this network is known; accweight graph RUN --model "
    "NET.onnx reads one"
)
"""What is said of a drawing where no graph is known."""


def graph_at(path: Path | None, shown: Sequence[str]) -> LayerGraph:
    """Return the graph of an analysis with the layers that are shown of it.

    Args:
        path: Folder of the analysis; None in memory.
        shown: Names of its layers, in network order.

    Raises:
        StoreError: If the stored graph is damaged.
    """
    held = None if path is None else stored_graph(path)
    if held is None:
        return LayerGraph.chain(shown, CHAIN)
    return held.with_layers(shown, {name: name for name in held.layers})


def by_parameters(graph: LayerGraph, layers: Iterable[Layer]) -> dict[str, str]:
    """Return the layer of a run for every layer of a graph that has a parameter of its name."""
    of_parameter = {p.name: layer.name for layer in layers for p in layer.parameters}
    return {
        node.name: of_parameter[parameter]
        for node in graph.nodes
        for parameter in reversed(node.parameters)
        if parameter in of_parameter
    }


def own_graph(header: Header) -> LayerGraph | None:
    """Return the graph that the last checkpoint of a run has in its file, or None.

    Nothing is fetched: files at URLs are not asked.
    """
    checkpoint = header.checkpoints[-1]
    reader = readers().get(header.reader)
    if not hasattr(reader, "graph") or is_url(checkpoint.path):
        return None
    with suppress(AccweightError, OSError):
        graph = graph_in(Path(checkpoint.path))
        if graph is not None:
            called = by_parameters(graph, header.layers)
            return graph.with_layers([layer.name for layer in header.layers], called)
    return None


def keep_own_graph(path: Path, header: Header) -> None:
    """Keep the graph that the checkpoints have in an analysis, unless there is one."""
    with suppress(AccweightError, OSError):
        if stored_graph(path) is None and (graph := own_graph(header)) is not None:
            keep_graph(path, graph)
