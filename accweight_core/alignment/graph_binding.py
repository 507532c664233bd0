"""The graph of a model file, with the layers of a run in place of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from accweight_core.alignment.alignment import aligned
from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.layer_graphs import by_parameters
from accweight_core.errors import AccweightError, MismatchError, SourceError
from accweight_core.graphs.layer_graph import LayerGraph
from accweight_core.naming import natural_key
from accweight_core.readers import graph_in
from accweight_core.remote import path_at
from accweight_core.remote.local import check_not_special
from accweight_core.runs.opening import open_run
from accweight_core.schema import Layer
from accweight_core.store.graph_document import keep_graph, stored_graph
from accweight_core.text import some

EXPORT = 'torch.onnx.export(model.eval(), args, "net.onnx", dynamo=True, optimize=False)'
"""What a user of PyTorch types to get a file with a graph."""


def graph_from(model: str | os.PathLike[str], layers: Sequence[Layer]) -> LayerGraph:
    """Return the graph in a model file, bound to the layers of a run.

    Args:
        model: An ONNX model, or an archive of torch.export.
        layers: Layers of the run, in network order.

    Raises:
        SourceError: If there is no such file, it is a folder, or it has no graph.
        FormatError: If it is damaged.
        MismatchError: If none of its layers is one of the run.
    """
    path = path_at(model)
    if not path.exists():
        raise SourceError(f"{path}: there is no such model file")
    check_not_special(path)
    check_is_file(path)
    graph = graph_in(path)
    if graph is None:
        raise SourceError(f"{path}: has weights but no graph; write one with: {EXPORT}")
    called = by_parameters(graph, layers)
    missing = [name for name in graph.layers if name not in called]
    if missing:
        called = {**_aligned(graph, str(path), layers), **called}
    if not called:
        raise MismatchError(
            f"{path}: none of its {len(graph.layers)} layers is one of the run "
            f"({some(graph.layers)} against {some([layer.name for layer in layers])})"
        )
    return graph.with_layers([layer.name for layer in layers], called)


def check_is_file(path: Path) -> None:
    """Refuse a folder where one model file is asked for, and say which file of it to give.

    Raises:
        SourceError: If it is a folder.
    """
    if not path.is_dir():
        return
    files = sorted(path.rglob("*.onnx"), key=lambda file: natural_key(str(file)))
    if not files:
        raise SourceError(f"{path}: is a folder without an ONNX file; write one with: {EXPORT}")
    count = f"{len(files)} ONNX files" if len(files) > 1 else "an ONNX file"
    raise SourceError(
        f"{path}: is a folder with {count}, and a network is one file; give --model {files[-1]}"
    )


def keep_model_graph(analysis: Analysis, model: str | os.PathLike[str]) -> None:
    """Keep the graph of a model in a stored analysis, if it has one and none is kept."""
    with suppress(AccweightError, OSError):
        if analysis.path is not None and stored_graph(analysis.path) is None:
            keep_graph(analysis.path, graph_from(model, analysis.layers))


def _aligned(graph: LayerGraph, path: str, layers: Sequence[Layer]) -> dict[str, str]:
    """Return the layers of a run by those of a graph, as far as names, order and shapes tell."""
    try:
        own = open_run(path).layers
    except AccweightError:
        return {}
    called = {node: name for node, name in by_parameters(graph, own).items()}
    partners = {
        a: match.layers_b[0] for match in aligned(own, layers).matches for a in match.layers_a
    }
    return {node: partners[name] for node, name in called.items() if name in partners}
