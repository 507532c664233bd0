"""Where the nodes of a folded graph are: dagre, run by QuickJS.

The layout is `assets/graph_layout.js` on dagre, which pages run as well, so that a graph looks the
same everywhere and unfolds on a page without a server. Of what was tried, dagre by module takes a
second for a transformer of 50 blocks and no edge runs through a node; dot is as good, but a program
that has to be installed apart and cannot unfold on a page; others draw edges through nodes.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from accweight_core.errors import DrawingError, MissingLibraryError
from accweight_core.graphs.modules import ModuleTree

SCRIPTS = ("dagre.min.js", "graph_layout.js")

MEMORY_BYTES = 1 << 29
"""What a layout may take; that of 700 nodes takes a tenth."""

MOST_SECONDS = 20.0
"""What a layout may take; 452 cards in 152 open modules take one."""

STACK_BYTES = 6 << 20
"""Of the eight MiB that its thread has."""

BESIDE_BROWSERS = """
globalThis.structuredClone ??= (value) =>
  value === undefined ? value : JSON.parse(JSON.stringify(value));
"""
"""What browsers have and QuickJS lacks."""

Command = tuple[Literal["M", "L", "C", "Q"], tuple[float, ...]]
"""A part of a line, as in SVG: begin, straight, cubic or quadratic curve; with its points."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an item is: left, top, width and height, in units of pixels at full size."""

    item: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """A graph with some modules open.

    Attributes:
        cards: Nodes and folded modules.
        boxes: Open modules, outer ones first.
        lines: The edges, from border to border of cards and boxes.
        ends: The items that each edge joins; one of them, or none, where it leads out of a module.
        pairs: The cards that edges join, by item.
        width: Width of everything.
        height: Its height.
        implied: Edges that are not drawn, since there are very many and most follow from others.
    """

    cards: tuple[Place, ...]
    boxes: tuple[Place, ...]
    lines: tuple[tuple[Command, ...], ...]
    ends: tuple[frozenset[int], ...]
    pairs: frozenset[tuple[int, int]]
    width: float
    height: float
    implied: int


def laid_out(
    tree: ModuleTree, unfolded: Collection[int], room: tuple[float, float] = (1280, 720)
) -> Drawing:
    """Return the drawing of a graph.

    Args:
        tree: Its modules.
        unfolded: Numbers of the items that are open.
        room: Width and height that it is to fit into, at full size if it can; what is taller is
            broken into columns.

    Raises:
        MissingLibraryError: If QuickJS is not installed.
        DrawingError: If it takes too much memory or time.
    """
    given = json.dumps(tree.to_json()), json.dumps(sorted(unfolded)), *map(float, room)
    engine = _engine()
    try:
        document: dict[str, Any] = json.loads(engine(*given))
    except engine.Failure as error:
        reason = str(error).strip().partition("\n")[0]
        raise DrawingError(f"the graph cannot be laid out ({reason}); fold some modules") from None
    return Drawing(
        cards=tuple(Place(**one) for one in document["cards"]),
        boxes=tuple(Place(**one) for one in document["boxes"]),
        lines=tuple(
            tuple((name, tuple(at)) for name, *at in one["path"]) for one in document["edges"]
        ),
        ends=tuple(
            frozenset(end for end in (one["from"], one["to"]) if isinstance(end, int))
            for one in document["edges"]
        ),
        pairs=frozenset((a, b) for a, b in document["pairs"]),
        width=document["width"],
        height=document["height"],
        implied=document["implied"],
    )


@cache
def _engine() -> Any:
    """Return the layout as a function of texts; it has a thread of its own, with a large stack.

    Its attribute `Failure` is what it raises.
    """
    try:
        import quickjs
    except ImportError:
        raise MissingLibraryError("quickjs", "graph", "drawing a graph") from None
    call = """
    function drawn(tree, unfolded, width, height) {
      return JSON.stringify(laidOut(JSON.parse(tree), JSON.parse(unfolded), width, height));
    }
    """
    engine = quickjs.Function("drawn", "\n".join([BESIDE_BROWSERS, *map(script, SCRIPTS), call]))
    engine.set_memory_limit(MEMORY_BYTES)
    engine.set_max_stack_size(STACK_BYTES)
    engine.set_time_limit(MOST_SECONDS)
    engine.Failure = quickjs.JSException
    return engine


def script(name: str) -> str:
    """Return the text of a script in `assets`."""
    return (files("accweight_core.graphs") / "assets" / name).read_text("utf-8")
