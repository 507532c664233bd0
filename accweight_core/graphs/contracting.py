"""From the operators of a network, in network order, to the graph of its layers.

An adapter names, for every operator, the sources of the values that it takes; it gets back the
source of the values that the operator makes. A source is the node that a value comes from: all
operators without weights pass theirs on, so that one number per value is enough, and a graph of a
million operators takes a second.
"""

from __future__ import annotations

from collections.abc import Iterable

from accweight_core.graphs.layer_graph import (
    MOST_EDGES,
    Edge,
    GraphSizeError,
    LayerGraph,
    Node,
    contracted,
    shared_path,
)

MOST_JOINS = 200_000
"""Joins before those are left out that join nothing."""

MOST_PORTS = 8
"""Inputs, and outputs, that are nodes: caches of decoders have hundreds."""

JOINS = {
    "Add": "+", "Sum": "+", "add": "+", "Sub": "\N{MINUS SIGN}", "sub": "\N{MINUS SIGN}",
    "Mul": "\N{MULTIPLICATION SIGN}", "mul": "\N{MULTIPLICATION SIGN}",
    "MatMul": "\N{MULTIPLICATION SIGN}", "matmul": "\N{MULTIPLICATION SIGN}",
    "bmm": "\N{MULTIPLICATION SIGN}", "Einsum": "\N{MULTIPLICATION SIGN}",
    "Concat": "concat", "cat": "concat", "If": "if",
}  # fmt: skip
"""What joins are called, by the operator; others are called by its name."""


class Contraction:
    """Collects the graph of a network, operator by operator."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._edges: dict[Edge, None] = {}
        self._weak: set[int] = set()
        self._layers: dict[str, int] = {}
        self._ports = {"input": 0, "output": 0}

    def input(self, name: str, *, integers: bool = False) -> int:
        """Return the source of an input of the network.

        Args:
            name: Its name.
            integers: Whether it has indices or a mask: where it meets the values of layers, it is
                no source of its own.
        """
        place = self._add(Node("input", name))
        if integers:
            self._weak.add(place)
        return place

    def layer(self, name: str, parameters: Iterable[str] = ()) -> int:
        """Return the source of what a layer makes; layers are added in network order."""
        if name not in self._layers:
            self._layers[name] = self._add(Node("layer", name, "", tuple(parameters)))
        return self._layers[name]

    def operator(
        self, sources: Iterable[int | None], word: str, *, layer: str = "", module: str = ""
    ) -> int | None:
        """Return the source of what an operator makes; None if it depends on constants alone.

        Args:
            sources: Those of what it takes; None for constants.
            word: Type of the operator.
            layer: Name of the layer that it belongs to.
            module: Path of the module that it is in, if known.

        Raises:
            GraphSizeError: If there are too many joins or edges.
        """
        found = dict.fromkeys(source for source in sources if source is not None)
        if layer:
            own = self.layer(layer)
            self._connect(found, own)
            return own
        strong = [source for source in found if source not in self._weak]
        met = strong or list(found)[:1]
        if len(met) < 2:
            return met[0] if met else None
        join = self._add(Node("join", JOINS.get(word, word), module or self._module(met)))
        self._connect(met, join)
        return join

    def output(self, name: str, source: int | None) -> None:
        """Say what an output of the network is made of."""
        if source is not None and self._ports["output"] < MOST_PORTS:
            self._ports["output"] += 1
            self._connect([source], self._add(Node("output", name)))

    def graph(self, origin: str) -> LayerGraph:
        """Return the graph.

        Raises:
            GraphSizeError: If it has too many nodes or edges.
        """
        taken = {a for a, _ in self._edges}
        inputs = [at for at, n in enumerate(self._nodes) if n.kind == "input" and at in taken]
        kept = {*inputs[:MOST_PORTS], *(a for a, n in enumerate(self._nodes) if n.kind != "input")}
        order = [at for at in range(len(self._nodes)) if at in kept]
        place = {at: n for n, at in enumerate(order)}
        edges = tuple((place[a], place[b]) for a, b in self._edges if a in kept and b in kept)
        return contracted(LayerGraph(tuple(self._nodes[at] for at in order), edges, origin))

    def _module(self, met: Iterable[int]) -> str:
        """Return the module that all of some nodes are in."""
        nodes = [self._nodes[at] for at in met]
        return shared_path([n.module if n.kind == "join" else n.name.rpartition(".")[0]
                            for n in nodes])  # fmt: skip

    def _add(self, node: Node) -> int:
        if len(self._nodes) > MOST_JOINS:
            raise GraphSizeError(f"the graph has more than {MOST_JOINS} places where values meet")
        self._nodes.append(node)
        return len(self._nodes) - 1

    def _connect(self, sources: Iterable[int], to: int) -> None:
        for source in sources:
            if source != to:
                self._edges[source, to] = None
        if len(self._edges) > 2 * MOST_EDGES:
            raise GraphSizeError(f"the graph has more than {2 * MOST_EDGES} edges")
