"""The graph of a network in an analysis: ``NAME.accw/graph``, a group without arrays.

Its attributes have the layers by the names of the run, so that it is drawn without the model. An
analysis of an older version has none.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from accweight_core.errors import StoreError, reason_of
from accweight_core.graphs.layer_graph import MOST_EDGES, MOST_NODES, LayerGraph, Node
from accweight_core.store.documents import METADATA, checked, read
from accweight_core.store.files import refuse_links
from accweight_core.store.groups import create_group

GRAPH = "graph"
ATTRIBUTE = "accweight_graph"
FORMAT: Literal[1] = 1


class _Node(Struct, frozen=True):
    kind: Literal["layer", "join", "input", "output"]
    name: str
    module: str = ""
    parameters: tuple[str, ...] = ()


class _Document(Struct, frozen=True):
    format: Literal[1]
    origin: str
    nodes: tuple[_Node, ...]
    edges: tuple[tuple[int, int], ...]


def stored_graph(analysis: Path) -> LayerGraph | None:
    """Return the graph in an analysis; None if it has none.

    Raises:
        StoreError: If it is damaged.
    """
    refuse_links(analysis, GRAPH)
    try:
        found = read(analysis / GRAPH / METADATA)
        attributes = found.get("attributes") if isinstance(found, dict) else None
        held = attributes.get(ATTRIBUTE) if isinstance(attributes, dict) else None
        document = checked(held, _Document)
        _check(document)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StoreError(
            f"{analysis}: {GRAPH} is damaged ({error}); remove that folder, and read the graph "
            "again with: accweight graph RUN --model NET.onnx"
        ) from None
    nodes = tuple(Node(n.kind, n.name, n.module, n.parameters) for n in document.nodes)
    return LayerGraph(nodes, document.edges, document.origin)


def keep_graph(analysis: Path, graph: LayerGraph) -> None:
    """Store a graph in an analysis, in the place of another one.

    Raises:
        StoreError: If it cannot be written.
    """
    refuse_links(analysis, GRAPH)
    document: dict[str, Any] = {"format": FORMAT, **graph.to_json()}
    del document["is_chain"]
    try:
        os.makedirs(analysis / GRAPH, exist_ok=True)
        create_group(analysis / GRAPH, {ATTRIBUTE: document})
    except OSError as error:
        raise StoreError(f"{analysis}: the graph cannot be stored ({reason_of(error)})") from error


def _check(document: _Document) -> None:
    """Raise a ValueError unless the nodes and edges agree with each other."""
    count = len(document.nodes)
    if count > MOST_NODES or len(document.edges) > MOST_EDGES:
        raise ValueError(f"it has {count} nodes and {len(document.edges)} edges")
    if not all(0 <= a < count and 0 <= b < count and a != b for a, b in document.edges):
        raise ValueError("an edge joins nodes that it does not have")
    if len(set(document.edges)) < len(document.edges):
        raise ValueError("an edge is there twice")
    layers = [node.name for node in document.nodes if node.kind == "layer"]
    if len(set(layers)) < len(layers):
        raise ValueError("two layers have one name")
