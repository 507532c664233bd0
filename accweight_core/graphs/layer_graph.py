"""The graph of a network with layers as nodes: a plain description, of any format.

Operators without weights are contracted. Where several values meet (a residual, a concatenation)
there is a *join*, a small node of its own: without it, every layer behind n residuals would have n
edges. `between_layers` contracts joins as well.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

NodeKind = Literal["layer", "join", "input", "output"]

Edge = tuple[int, int]

MOST_NODES = 50_000
MOST_EDGES = 200_000


class GraphSizeError(ValueError):
    """Raised if a graph has more nodes or edges than can be used."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node.

    Attributes:
        kind: A layer, a join of several values, or an input or output of the network.
        name: Name of a layer, an input or an output; of a join, what it does, such as "+".
        module: Path of the module that a join is in; empty if it is not known.
        parameters: Names of the parameters of a layer, as the file has them.
    """

    kind: NodeKind
    name: str
    module: str = ""
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True)
class LayerGraph:
    """Nodes in network order, and the edges between them.

    Attributes:
        nodes: The nodes.
        edges: Pairs of indices of nodes: what the first makes is taken by the second. Each once.
        origin: What it was read from, in words.
        is_chain: Whether it is no more than the order of the layers, since no graph is known.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    origin: str = ""
    is_chain: bool = False

    @classmethod
    def chain(cls, layers: Sequence[str], origin: str) -> LayerGraph:
        """Return layers one after the other: what is drawn where no graph is known."""
        nodes = tuple(Node("layer", name) for name in layers)
        edges = tuple((at, at + 1) for at in range(len(nodes) - 1))
        return cls(nodes, edges, origin, is_chain=True)

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers in network order."""
        return tuple(node.name for node in self.nodes if node.kind == "layer")

    def between_layers(self) -> set[tuple[str, str]]:
        """Return the edges between layers, inputs and outputs by name, with joins contracted."""
        after = neighbours(len(self.nodes), self.edges)
        found = set()
        for start, node in enumerate(self.nodes):
            if node.kind == "join":
                continue
            waiting, seen = list(after[start]), set[int]()
            while waiting:
                at = waiting.pop()
                if self.nodes[at].kind != "join":
                    found.add((node.name, self.nodes[at].name))
                elif at not in seen:
                    seen.add(at)
                    waiting += after[at]
        return found

    def with_layers(self, shown: Sequence[str], called: Mapping[str, str]) -> LayerGraph:
        """Return the graph with the layers of a run in place of its own.

        Args:
            shown: Names of the layers that are wanted, in network order. Those that the graph does
                not have are nodes without edges.
            called: Name of the layer in the run, by that in the graph. Several layers of the graph
                can be one of the run. Other layers, such as norms whose movement is not counted,
                are contracted.
        """
        wanted = frozenset(shown)
        merged = _Merging(self, lambda name: called[name] if called.get(name) in wanted else None)
        graph = merged.graph
        there = frozenset(graph.layers)
        missing = [name for name in shown if name not in there]
        nodes = (*graph.nodes, *(Node("layer", name) for name in missing))
        return contracted(replace(graph, nodes=nodes))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "origin": self.origin,
            "is_chain": self.is_chain,
            "nodes": [
                {"kind": n.kind, "name": n.name, "module": n.module, "parameters": [*n.parameters]}
                for n in self.nodes
            ],
            "edges": [list(edge) for edge in self.edges],
        }


@dataclass
class _Merging:
    """A graph in which layers have the names of a run; unknown ones have become joins."""

    source: LayerGraph
    name_of: Callable[[str], str | None]
    nodes: list[Node] = field(default_factory=list)

    @property
    def graph(self) -> LayerGraph:
        """The graph."""
        places: dict[str, int] = {}
        at: list[int] = []
        for node in self.source.nodes:
            name = self.name_of(node.name) if node.kind == "layer" else None
            if name is not None and name in places:
                at.append(places[name])
                continue
            at.append(len(self.nodes))
            if name is not None:
                places[name] = len(self.nodes)
                self.nodes.append(replace(node, name=name))
            elif node.kind == "layer":
                self.nodes.append(Node("join", "", node.name.rpartition(".")[0]))
            else:
                self.nodes.append(node)
        edges = dict.fromkeys((at[a], at[b]) for a, b in self.source.edges)
        kept = tuple((a, b) for a, b in edges if a != b)
        return replace(self.source, nodes=tuple(self.nodes), edges=kept)


def neighbours(count: int, edges: Collection[Edge]) -> list[list[int]]:
    """Return the nodes that each node leads to."""
    after: list[list[int]] = [[] for _ in range(count)]
    for a, b in edges:
        after[a].append(b)
    return after


def contracted(graph: LayerGraph) -> LayerGraph:
    """Return the graph without joins that join nothing.

    Those that lead nowhere go; one that only another join takes becomes part of it; one with a
    single source, or a single reader and nothing to say, is an edge.

    Raises:
        GraphSizeError: If there are more nodes or edges than can be used.
    """
    count = len(graph.nodes)
    after: list[dict[int, None]] = [{} for _ in range(count)]
    before: list[dict[int, None]] = [{} for _ in range(count)]
    for a, b in graph.edges:
        after[a][b] = before[b][a] = None
    nodes = list(graph.nodes)
    joins = [at for at, node in enumerate(nodes) if node.kind == "join"]
    gone = set[int]()

    def leave_out(at: int) -> None:
        for a in before[at]:
            after[a].pop(at, None)
        for b in after[at]:
            before[b].pop(at, None)
        for a in before[at]:
            for b in after[at]:
                if a != b:
                    after[a][b] = before[b][a] = None
        gone.add(at)

    for at in reversed(joins):
        if not after[at]:
            leave_out(at)
    for at in joins:
        if at not in gone and len(before[at]) <= 1:
            leave_out(at)
    for at in joins:
        if at in gone:
            continue
        reader = next(iter(after[at])) if len(after[at]) == 1 else None
        into_join = reader is not None and nodes[reader].kind == "join" and reader != at
        unnamed = not nodes[at].name and (len(after[at]) == 1 or len(before[at]) == 1)
        if reader is not None and into_join and len(before[at]) > 1:
            names = {nodes[at].name, nodes[reader].name} - {""}
            nodes[reader] = replace(
                nodes[reader],
                name=names.pop() if len(names) == 1 else MIXED,
                module=shared_path([nodes[at].module, nodes[reader].module]),
            )
        if len(before[at]) <= 1 or into_join or unnamed:
            leave_out(at)
    kept = [at for at in range(count) if at not in gone]
    place = {at: n for n, at in enumerate(kept)}
    edges = tuple((place[a], place[b]) for a in kept for b in after[a])
    if len(kept) > MOST_NODES or len(edges) > MOST_EDGES:
        raise GraphSizeError(
            f"the graph has {len(kept)} nodes and {len(edges)} edges, "
            f"more than {MOST_NODES} and {MOST_EDGES}"
        )
    return replace(graph, nodes=tuple(nodes[at] for at in kept), edges=edges)


MIXED = "\N{MIDDLE DOT}"
"""What a join of several kinds is called."""


def shared_path(paths: Sequence[str]) -> str:
    """Return the leading modules that all paths share.

    >>> shared_path(["layer1.0.conv1", "layer1.0.conv2"]), shared_path(["a", "b"])
    ('layer1.0', '')
    """
    split = [path.split(".") for path in paths if path]
    found: list[str] = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        found.append(parts[0])
    if len(split) != len(paths):
        return ""
    return ".".join(found)
