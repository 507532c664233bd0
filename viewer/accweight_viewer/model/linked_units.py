"""A network as columns of unit pictures with links between them, at the step that is shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.probe_kinds import ResultKind, arrays_of
from accweight_core.analysis.probe_pictures import Pixels
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.analysis.unit_network import UnitNetwork, is_network, network_pictures
from accweight_viewer.model.chosen_array import ChosenArray
from accweight_viewer.model.found import FoundArray
from accweight_viewer.model.session import Session

Floats = npt.NDArray[np.float64]

TITLE = 18
"""Pixels above the pictures, for the names of layers."""

SIDES = 12, 56
"""Least and largest pixels of the side of a unit."""

LARGE = 0.34, 90, 320
"""Side of the result: a share of the width, and its least and largest pixels."""

APART = 22
"""Least pixels between columns, where links run."""

SAMPLED = 24
"""Points of a link that are compared with where the mouse is."""


def is_linked(result: ProbeResult) -> bool:
    """Tell whether the pictures of a result are those of a network with links."""
    return bool(arrays_of(result, ResultKind.LINKS)) and is_network(result)


@dataclass(frozen=True)
class LinkedPlaces:
    """Where units and links are, in pixels.

    Attributes:
        units: (units + 1, 3), left, top and side of each, the result last; NaN without room.
        links: (links, 4, 2), each a cubic curve.
        titles: Left edge and width of the name of each column, and of the result.
        hidden: Units that there is no room for.
    """

    units: Floats
    links: Floats
    titles: tuple[tuple[float, float], ...]
    hidden: int

    def unit_at(self, x: float, y: float) -> int | None:
        """Return the unit at a point, or None."""
        away = np.array([x, y]) - self.units[:, :2]
        hit = ((away >= 0) & (away < self.units[:, 2:])).all(axis=1)
        return int(hit.argmax()) if hit.any() else None

    def link_at(self, x: float, y: float, reach: Floats) -> int | None:
        """Return the link nearest to a point among those within reach of it, or None.

        Args:
            x: Pixels from the left.
            y: Pixels from the top.
            reach: (links,), pixels within which each is pointed at.
        """
        if not len(self.links):
            return None
        t = np.linspace(0, 1, SAMPLED)
        shares = np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3])
        points = np.einsum("kt,lkc->ltc", shares, self.links)
        before, along = points[:, :-1], np.diff(points, axis=1)
        to = np.array([x, y]) - before
        squared = np.maximum((along**2).sum(axis=2), 1e-9)
        part = np.clip((to * along).sum(axis=2) / squared, 0, 1)
        away = np.linalg.norm(to - part[..., None] * along, axis=2).min(axis=1) - reach
        away = np.where(np.isfinite(away), away, np.inf)
        best = int(away.argmin())
        return best if away[best] <= 0 else None


class LinkedUnits(ChosenArray):
    """The networks of a session's probes.

    Attributes:
        unit: Place of the unit under the mouse, or None.
        link: Index of the link under the mouse, or None.
    """

    kinds = (ResultKind.LINKS,)

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.unit: int | None = None
        self.link: int | None = None
        self._held: tuple[object, UnitNetwork] | None = None
        self._drawn: tuple[object, list[Pixels]] | None = None

    @property
    def choices(self) -> list[FoundArray]:
        """The networks that can be shown."""
        return [one for one in super().choices if is_network(one.result)]

    def choose(self, array: FoundArray) -> None:
        """Show another network."""
        super().choose(array)
        self.unit = self.link = None

    @property
    def network(self) -> UnitNetwork:
        """Its units and links; nothing if there is none.

        Raises:
            StoreError: If they are damaged.
        """
        chosen = self.chosen
        if chosen is None:
            return UnitNetwork((), (), (), np.zeros((1, 0)), 1.0)
        key = chosen.result, chosen.array
        if self._held is None or self._held[0] != key:
            self._held = key, UnitNetwork.of(chosen.result, chosen.array)
        return self._held[1]

    def pictures(self) -> list[Pixels]:
        """Return (height, width, channels) of every unit at the step, and of the result.

        Raises:
            StoreError: If they are damaged.
        """
        chosen = self.chosen
        if chosen is None:
            return []
        key = chosen.result, self.step
        if self._drawn is None or self._drawn[0] != key:
            self._drawn = key, network_pictures(chosen.result, self.step)
        return self._drawn[1]

    @property
    def shares(self) -> Floats:
        """(links,): the weights at the step, as shares of the largest of all steps."""
        shares: Floats = self.network.weights[self.place] / self.network.high
        return shares

    def column_of(self, unit: int) -> int:
        """Return the column of a unit; behind all of them, for the result."""
        ends = np.cumsum([count for _, count in self.network.columns])
        return int(np.searchsorted(ends, unit, side="right"))

    def layer_of(self, column: int) -> str | None:
        """Return the layer of a column; None for what is none, as the inputs."""
        columns = self.network.columns
        name = columns[column][0] if column < len(columns) else None
        return name if name in self.session.layer_names else None

    @property
    def pointed_layer(self) -> str | None:
        """The layer of what is under the mouse: of a link, the one whose weight it is."""
        unit = self.unit if self.link is None else self.network.ends[self.link][1]
        return None if unit is None else self.layer_of(self.column_of(unit))

    @property
    def lit(self) -> npt.NDArray[np.bool_]:
        """(links,): those of the unit under the mouse; all if there is none."""
        ends = np.array(self.network.ends, np.int64).reshape(-1, 2)
        found: npt.NDArray[np.bool_] = (ends == self.unit).any(axis=1)
        return found if found.any() else np.ones(len(ends), bool)

    @property
    def text(self) -> str:
        """What is under the mouse: the name of a unit, or a link and its weight."""
        network = self.network
        if self.link is not None:
            source, target = network.ends[self.link]
            weight = network.weights[self.place, self.link]
            return f"{network.names[source]} to {network.names[target]}: {weight:.4g}"
        return "" if self.unit is None else network.names[self.unit]

    def places(self, width: float, height: float) -> LinkedPlaces:
        """Return where all is in a room of so many pixels."""
        network = self.network
        return placed([count for _, count in network.columns], network.ends, width, height)


def placed(
    counts: list[int], ends: tuple[tuple[int, int], ...], width: float, height: float
) -> LinkedPlaces:
    """Return columns of units that fill a room, the result at the right.

    Args:
        counts: Units of each column.
        ends: The two units of each link.
        width: Pixels of the room.
        height: Likewise.
    """
    share, least, most = LARGE
    high = max(height - TITLE, SIDES[0])
    large = min(max(width * share, least), most, high)
    columns, tallest = max(len(counts), 1), max(counts, default=1)
    across = width - large - APART
    side = (high / tallest) / 1.16
    side = max(min(side, (across - APART * (columns - 1)) / columns, SIDES[1]), SIDES[0])
    gap = side * 0.16
    shown = [min(count, max(int((high + gap) // (side + gap)), 1)) for count in counts]
    step = min((across - side) / (columns - 1), 8 * side) if columns > 1 else 0.0
    left = max((width - (columns - 1) * step - side - APART - large) / 2, 0.0)
    units = np.full((sum(counts) + 1, 3), np.nan)
    begin = 0
    for column, (count, fit) in enumerate(zip(counts, shown, strict=True)):
        top = TITLE + (high - fit * (side + gap) + gap) / 2
        for unit in range(fit):
            units[begin + unit] = left + column * step, top + unit * (side + gap), side
        begin += count
    far = left + (columns - 1) * step + side + APART
    units[-1] = far, TITLE + (high - large) / 2, large
    titles = [(left + column * step, max(step - 6, side)) for column in range(len(counts))]
    if titles:
        titles[-1] = (titles[-1][0], max(side + APART - 4, 1))
    hidden = sum(counts) - sum(shown)
    return LinkedPlaces(units, _curves(units, ends), (*titles, (far, large)), hidden)


def _curves(units: Floats, ends: tuple[tuple[int, int], ...]) -> Floats:
    """Return the curve of each link; those that end at one unit are spread along its side."""
    into: dict[int, list[int]] = {}
    for at, (_, target) in enumerate(ends):
        into.setdefault(target, []).append(at)
    curves = np.full((len(ends), 4, 2), np.nan)
    for target, links in into.items():
        for number, at in enumerate(links):
            x, y, side = units[ends[at][0]]
            u, v, other = units[target]
            down = 0.2 + 0.6 * (number + 1) / (len(links) + 1)
            start, end = (x + side, y + side / 2), (u, v + other * down)
            middle = (start[0] + end[0]) / 2
            curves[at] = start, (middle, start[1]), (middle, end[1]), end
    return curves
