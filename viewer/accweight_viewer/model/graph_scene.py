"""The graph of a network as the viewer shows it: what is unfolded, and the colours of a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from accweight_core.analysis.graph_colours import graph_scale, stripes
from accweight_core.analysis.layer_graphs import CHAIN, graph_at
from accweight_core.colours.scale import ColourScale
from accweight_core.errors import AccweightError
from accweight_core.graphs.layer_graph import LayerGraph
from accweight_core.graphs.layout import Drawing
from accweight_core.graphs.modules import Item, ModuleTree
from accweight_core.metrics.totals import Floats
from accweight_core.text import plain
from accweight_viewer.model.runs import ShownRun
from accweight_viewer.model.session import Session

PER_CARD = 120 * 64
"""Pixels that a card takes with what is around it, where its name can be read."""

LEAST_ROOM, MOST_ROOM = 6, 48
"""Cards that are shown at first, in a small room and in a large one."""


@dataclass(frozen=True)
class Number:
    """A number of layers that can be the colour.

    Attributes:
        key: Its name.
        words: What it is.
    """

    key: str
    words: str

    @property
    def title(self) -> str:
        """What it is called on the screen."""
        return self.key


class GraphScene:
    """The graph of the first run of a session.

    Attributes:
        session: The session.
        failure: Why there is no graph but the order of the layers; empty if nothing failed.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.failure = ""
        self._chosen: str | None = None
        self._run: ShownRun | None = None
        self._graph: LayerGraph | None = None
        self._tree = ModuleTree(LayerGraph((), ()))
        self._room = LEAST_ROOM
        self._own: frozenset[int] | None = None  # what the user has unfolded
        self._values = lru_cache(maxsize=2)(_values_of)

    @property
    def tree(self) -> ModuleTree:
        """The modules of the graph; those of the run as it is now."""
        run = self.session.runs[0]
        if run is self._run:
            return self._tree
        names = [layer.name for layer in run.layers]
        self.failure = ""
        try:
            graph = graph_at(run.path, names)
        except (AccweightError, OSError) as error:
            self.failure = plain(str(error))
            graph = LayerGraph.chain(names, CHAIN)
        if graph != self._graph:
            self._graph, self._tree = graph, ModuleTree(graph)
            self._own = None
        self._run = run
        return self._tree

    @property
    def is_known(self) -> bool:
        """Whether a graph is known, and not only the order of the layers."""
        return not self.tree.graph.is_chain

    @property
    def note(self) -> str:
        """What the drawing is of."""
        return self.failure or self.tree.graph.origin

    # --- folding --------------------------------------------------------------------------

    @property
    def unfolded(self) -> frozenset[int]:
        """Numbers of the modules that are open; until the user says so, as far as they fit."""
        return self.tree.opening(self._room) if self._own is None else self._own

    def fit(self, wide: float, high: float) -> None:
        """Say how many pixels there are."""
        self._room = min(max(int(wide * high / PER_CARD), LEAST_ROOM), MOST_ROOM)

    def toggle(self, number: int) -> None:
        """Unfold a module, or fold it with all modules in it."""
        if number not in self.unfolded:
            self._own = self.unfolded | {number}
            return
        items = self.tree.items
        inside = {number}
        for item in items[number:]:  # modules come before what is in them
            if item.parent is not None and item.parent.number in inside:
                inside.add(item.number)
        self._own = self.unfolded - inside

    def unfold_all(self, on: bool) -> None:
        """Unfold as much as can be drawn, or go back to the beginning."""
        self._own = self.tree.whole() if on else None

    def shown_by(self, layer: str | None) -> Item | None:
        """Return the item that shows a layer: its node, or a folded module."""
        return None if layer is None else self.tree.around(layer, self.unfolded)

    # --- colours --------------------------------------------------------------------------

    @property
    def choices(self) -> list[Number]:
        """The numbers that can be the colour."""
        return [Number(name, words) for name, words in self.session.probes.metric_words.items()]

    @property
    def chosen(self) -> Number:
        """The number that is the colour: that of the table unless another was chosen."""
        wanted = self._chosen or self.session.settings.columns[0]
        choices = self.choices
        return next((one for one in choices if one.key == wanted), choices[0])

    def choose(self, number: Number) -> None:
        """Let another number be the colour."""
        self._chosen = number.key

    @property
    def _numbers(self) -> tuple[Floats, Mapping[str, int]]:
        return self._values(self.session.runs[0], self.chosen.key)

    @property
    def scale(self) -> ColourScale:
        """The colour scale, the same at all steps."""
        settings = self.session.settings
        return graph_scale(
            self._numbers[0],
            settings.colour_map,
            logarithmic=settings.logarithmic,
            light=settings.theme == "light",
        )

    def values(self, item: Item) -> list[tuple[str, float]]:
        """Return the layers of an item with their numbers at the step, in network order."""
        numbers, rows = self._numbers
        at = self.session.run_position(0)
        return [
            (leaf.name, float(numbers[rows[leaf.name], at]))
            for leaf in item.leaves()
            if leaf.name in rows and leaf.kind == "layer"
        ]

    def stripes(self, item: Item, scale: ColourScale) -> list[tuple[int, int, int] | None]:
        """Return the colours of an item at the step; None where no number is known."""
        return [*stripes(np.array([value for _, value in self.values(item)]), scale)]

    @staticmethod
    def at(drawing: Drawing, x: float, y: float) -> tuple[int, bool] | None:
        """Return the item at a point of a drawing, and whether it is an open module."""
        for place in drawing.cards:
            if 0 <= x - place.x <= place.width and 0 <= y - place.y <= place.height:
                return place.item, False
        for place in reversed(drawing.boxes):
            if 0 <= x - place.x <= place.width and 0 <= y - place.y <= place.height:
                return place.item, True
        return None


def _values_of(run: ShownRun, name: str) -> tuple[Floats, Mapping[str, int]]:
    return run.metric(name), {layer.name: at for at, layer in enumerate(run.layers)}
