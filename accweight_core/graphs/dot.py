"""A graph in the language of Graphviz, for other programs: modules are clusters."""

from __future__ import annotations

from collections.abc import Iterator

from accweight_core.graphs.layer_graph import LayerGraph
from accweight_core.graphs.modules import Item, ModuleTree
from accweight_core.text import plain

SHAPES = {"layer": "box", "join": "circle", "input": "ellipse", "output": "ellipse"}


def dot_of(graph: LayerGraph) -> str:
    """Return a graph as the text of a .dot file."""
    tree = ModuleTree(graph)
    lines = ["digraph {", "  compound=true; node [shape=box, style=rounded];"]
    lines += _inside(tree.root)
    at = {item.node: item.number for item in tree.items if item.kind != "module"}
    lines += [f"  n{at[a]} -> n{at[b]};" for a, b in graph.edges]
    return "\n".join([*lines, "}", ""])


def _inside(module: Item) -> Iterator[str]:
    for item in module.children:
        if item.kind == "module":
            yield f"  subgraph cluster_{item.number} {{ label={_quoted(item.title)};"
            yield from _inside(item)
            yield "  }"
        else:
            shape, tip = SHAPES[item.kind], _quoted(item.name)
            yield f"  n{item.number} [label={_quoted(item.label)}, shape={shape}, tooltip={tip}];"


def _quoted(text: str) -> str:
    escaped = plain(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
