"""Layers in the modules that their names tell of, so that a drawing can be folded.

`encoder.layer.3.attention.query` is in `encoder.layer.3.attention`, which is in `encoder.layer.3`,
and so on. A module with a single child is one with it. Neighbours with very many siblings are put
into ranges, so that no module unfolds to more than `MOST_CHILDREN`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from accweight_core.graphs.labels import LONGEST, tell_apart
from accweight_core.graphs.layer_graph import LayerGraph, neighbours, shared_path
from accweight_core.short_names import block_name
from accweight_core.text import plain

MOST_CHILDREN = 60
FEWEST_ALIKE = 4
"""Neighbouring modules that are alike, from which on they are one, if they have other siblings."""

ROOM = 34
"""Nodes that are shown at first, if modules can be folded to so few."""

MOST_SHOWN = 700
"""Nodes that can be shown at once."""

LETTER, PADDING = 6.4, 26
"""Units of width of a letter, and of what is around a label."""

LEAST_WIDTH, HEIGHT, DOT = 64, 34, 22

DEEPEST = 12
"""Modules within modules; further ones are one."""

_NUMBER = re.compile(r"\d+")


@dataclass(eq=False)
class Item:
    """A module, or a node of the graph.

    Attributes:
        name: Path of a module; name of a layer, input or output.
        label: What it is called within the module around it.
        kind: That of the node, or "module".
        parent: The module around it; None for the outermost.
        node: Index of the node; -1 for modules.
        children: Of a module, in network order.
        alike: How many blocks of one form it has, as children; 0 if these differ.
        number: Index among the items of a tree.
    """

    name: str
    label: str
    kind: str
    parent: Item | None = None
    node: int = -1
    children: list[Item] = field(default_factory=list)
    alike: int = 0
    number: int = -1

    def leaves(self) -> Iterator[Item]:
        """Yield the nodes in it, in network order."""
        waiting = [self]
        while waiting:
            item = waiting.pop()
            if item.kind == "module":
                waiting += reversed(item.children)
            else:
                yield item

    @property
    def title(self) -> str:
        """Its label, with how many blocks it has."""
        return f"{self.label}  \N{MULTIPLICATION SIGN}{self.alike}" if self.alike else self.label


class ModuleTree:
    """The modules of a graph.

    Attributes:
        graph: The graph.
        items: All modules and nodes; the first one is the network.
    """

    def __init__(self, graph: LayerGraph) -> None:
        self.graph = graph
        root = _planted(graph)
        while len(root.children) == 1 and root.children[0].kind == "module":
            root = root.children[0]
            root.parent = None
        _fold_chains(root)
        _gather_alike(root)
        _split_wide(root)
        for item in _walk(root):
            tell_apart(item.children)
        self.items: list[Item] = []
        self._openings: dict[int, frozenset[int]] = {}
        waiting = [root]
        while waiting:
            item = waiting.pop()
            item.number = len(self.items)
            self.items.append(item)
            waiting += reversed(item.children)

    @property
    def root(self) -> Item:
        """The network."""
        return self.items[0]

    @cached_property
    def apart(self) -> frozenset[int]:
        """Numbers of the layers without edges, whose place the graph does not tell."""
        joined = {at for edge in self.graph.edges for at in edge}
        return frozenset(
            item.number for item in self.items if item.kind == "layer" and item.node not in joined
        )

    @cached_property
    def of_layer(self) -> dict[str, Item]:
        """The item of every layer."""
        return {item.name: item for item in self.items if item.kind == "layer"}

    def opening(self, room: int = ROOM) -> frozenset[int]:
        """Return the modules that are unfolded at first: from the outside, as far as they fit.

        Modules that differ by numbers only are unfolded together or not at all.

        Args:
            room: Nodes that may be shown.
        """
        if room not in self._openings:
            self._openings[room] = self._opened(room)
        return self._openings[room]

    def _opened(self, room: int) -> frozenset[int]:
        unfolded, shown = {0}, len(self.root.children)
        frontier = [item for item in self.root.children if item.kind == "module"]
        while frontier:
            alike: dict[str, list[Item]] = {}
            for item in frontier:
                alike.setdefault(_NUMBER.sub("#", item.label), []).append(item)
            ordered = sorted(alike.values(), key=lambda of: sum(len(i.children) - 1 for i in of))
            frontier = []
            for items in ordered:
                more = sum(len(item.children) - 1 for item in items)
                if shown + more > room:
                    break
                shown += more
                unfolded |= {item.number for item in items}
                frontier += [c for item in items for c in item.children if c.kind == "module"]
        return frozenset(unfolded)

    def whole(self) -> frozenset[int]:
        """Return all modules, as far as there may be so many nodes."""
        return self.opening(MOST_SHOWN)

    def around(self, layer: str, unfolded: frozenset[int]) -> Item | None:
        """Return what shows a layer: its node, or the folded module that it is in."""
        item = self.of_layer.get(layer)
        shown = item
        while item is not None and item.parent is not None:
            item = item.parent
            if item.number not in unfolded:
                shown = item
        return shown

    def to_json(self) -> dict[str, Any]:
        """Return what a drawing needs, as plain JSON values."""
        at = {item.node: item.number for item in self.items if item.kind != "module"}
        return {
            "items": [
                {
                    "parent": -1 if item.parent is None else item.parent.number,
                    "kind": item.kind,
                    "name": plain(item.name),
                    "label": plain(item.title),
                    "width": width_of(item),
                    "height": DOT if item.kind == "join" else HEIGHT,
                }
                for item in self.items
            ],
            "edges": [[at[a], at[b]] for a, b in self.graph.edges],
        }


def width_of(item: Item) -> float:
    """Return the width of what shows a folded module or a node."""
    if item.kind == "join":
        return DOT if len(item.label) < 2 else round(len(item.label) * LETTER) + DOT / 2
    return max(LEAST_WIDTH, round(len(item.title) * LETTER) + PADDING)


def _planted(graph: LayerGraph) -> Item:
    """Return the network with all modules that names tell of."""
    root = Item("", "", "module")
    modules: dict[str, Item] = {"": root}
    for at, node in enumerate(graph.nodes):
        if node.kind == "layer":
            path, _, label = _dotted(node.name).rpartition(".")
            _hang(Item(node.name, label, "layer", node=at), path, modules)
    before = neighbours(len(graph.nodes), [(b, a) for a, b in graph.edges])
    after = neighbours(len(graph.nodes), graph.edges)
    where = {item.node: item.parent.name for item in _walk(root) if item.parent and item.node >= 0}
    for at, node in enumerate(graph.nodes):
        if node.kind == "layer":
            continue
        path = _dotted(node.module) if node.kind == "join" else ""
        if node.kind == "join" and path not in modules:
            path = shared_path([where.get(source, "") for source in before[at]])
        while path not in modules:
            path = path.rpartition(".")[0]
        if node.kind == "join":
            path = _around(path, [where.get(n, "") for n in before[at]],
                           [where.get(n, "") for n in after[at]])  # fmt: skip
        where[at] = path
        item = Item(node.name, node.name or "\N{MIDDLE DOT}", node.kind, node=at)
        item.parent = modules[path]
        modules[path].children.append(item)
    for item in modules.values():
        item.children.sort(key=lambda child: next(child.leaves()).node)
    return root


def _around(path: str, sources: Sequence[str], targets: Sequence[str]) -> str:
    """Return the module of a join: the innermost that it both comes from and leads on to.

    Outside of that module, such as a residual in the middle of a block, it would lead back to it.
    """
    inner = _all_around(sources) & _all_around(targets)
    return max([path, *(one for one in inner if not path or one.startswith(f"{path}."))], key=len)


def _all_around(paths: Sequence[str]) -> set[str]:
    """Return some modules, and all that these are in."""
    parts = (path.split(".") for path in set(paths))
    return {".".join(part[:stop]) for part in parts for stop in range(1, len(part) + 1)}


def _dotted(name: str) -> str:
    """Return a name with dots between modules, of which there are not too many."""
    parts = [part for part in re.split(r"[./]", name) if part] or [name.replace(".", "/")]
    inner = parts[DEEPEST:-1]
    return ".".join(
        [*parts[:DEEPEST], *(["/".join(inner)] if inner else []), *parts[DEEPEST:][-1:]]
    )


def _hang(leaf: Item, path: str, modules: dict[str, Item]) -> None:
    """Put a layer into its module, which is made if there is none yet."""
    child, name = leaf, path
    while name not in modules:
        above, _, label = name.rpartition(".")
        module = Item(name, label, "module")
        modules[name] = module
        child.parent = module
        module.children.append(child)
        child, name = module, above
    child.parent = modules[name]
    modules[name].children.append(child)


def _walk(root: Item) -> Iterator[Item]:
    waiting = [root]
    while waiting:
        item = waiting.pop()
        yield item
        waiting += reversed(item.children)


def _fold_chains(root: Item) -> None:
    """Make one of a module and its only child, and let numbers stand behind what they number."""
    for item in _walk(root):  # children that have been replaced are not walked
        for at, child in enumerate(item.children):
            label, inner = child.label, child
            while inner.kind == "module" and len(inner.children) == 1:
                inner = inner.children[0]
                label = f"{label}.{inner.label}"
            if inner is not child:
                inner.parent, inner.label = item, label
                item.children[at] = inner
    for item in _walk(root):
        word = item.name.rpartition(".")[2]
        if item.parent is not None and _NUMBER.match(item.label):
            word = item.parent.name.rpartition(".")[2]
            number, dot, rest = item.label.partition(".")
            label = block_name(word, number) + dot + rest
            # cut in its middle it would lose the number; the module around it has the word
            item.label = item.label if rest and len(label) > LONGEST else label


def _form(item: Item) -> Any:
    """Return what is equal for blocks of one form: their labels, but not their numbers."""
    label = _NUMBER.sub("#", item.label)
    if item.kind != "module":
        return item.kind, label if item.kind == "layer" else ""
    if item.alike:
        return "alike", _form(next(c for c in item.children if c.kind == "module"))
    return "module", label, tuple(_form(child) for child in item.children)


def _gather_alike(root: Item) -> None:
    """Count the blocks of one form in a module; of several kinds of children, put them together."""
    for item in list(_walk(root)):
        groups = _runs(item)
        if len(groups) == 1 and len(item.children) >= FEWEST_ALIKE and item.parent is not None:
            if item.children[0].kind == "module":
                item.alike = len(item.children)
            continue
        children: list[Item] = []
        for group in groups:
            if len(group) < FEWEST_ALIKE or len(item.children) <= 12:
                children += group
            else:
                children.append(_together(item, group))
        item.children = children


def _runs(item: Item) -> list[list[Item]]:
    """Return the children, those next to each other that are of one form together.

    Joins between blocks belong to the run.
    """
    runs: list[list[Item]] = []
    before: Any = None
    for child in item.children:
        form = _form(child)
        fits = child.kind == "join" or (child.kind == "module" and form == before)
        if runs and runs[-1][0].kind == "module" and fits:
            runs[-1].append(child)
            continue
        runs.append([child])
        before = form
    return runs


def _together(parent: Item, children: Sequence[Item]) -> Item:
    """Return a module that holds some neighbours."""
    named = [child for child in children if child.kind in ("layer", "module")] or list(children)
    first, last = named[0], named[-1]
    label = f"{first.label} \N{EN DASH} {last.label}"
    module = Item(f"{first.name} \N{EN DASH} {last.name}", label, "module", parent)
    module.children = list(children)
    blocks = [child for child in children if child.kind == "module"]
    if len({repr(_form(block)) for block in blocks}) == 1 and len(blocks) == len(named):
        module.alike = len(blocks)
    for child in children:
        child.parent = module
    return module


def _split_wide(root: Item) -> None:
    """Put neighbours into ranges where a module has very many children."""
    waiting = [root]
    while waiting:
        item = waiting.pop()
        while len(item.children) > MOST_CHILDREN:
            size = max(2, math.ceil(len(item.children) / MOST_CHILDREN))
            size = max(size, round(math.sqrt(len(item.children)))) if size <= 8 else size
            children = item.children
            item.children = [
                _together(item, children[at : at + size]) if len(children[at : at + size]) > 1
                else children[at]
                for at in range(0, len(children), size)
            ]  # fmt: skip
        waiting += [child for child in item.children if child.kind == "module"]
