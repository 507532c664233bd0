"""Samples as points at the time that is shown: where they are, which are chosen.

A point keeps its identity through time. Between two steps it is on the straight line from one
place to the other; a jump on the time line is a short flight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.motion import between
from accweight_core.analysis.probe_kinds import ResultKind, arrays_of
from accweight_core.samples.pictures import Pictures
from accweight_core.text import plain
from accweight_viewer.model.chosen_array import ChosenArray
from accweight_viewer.model.found import FoundArray, measured_place
from accweight_viewer.model.session import Session

Places = npt.NDArray[np.float64]
"""(points, 2), what is seen from -1 to 1, upwards."""

ARRIVAL = 12.0
"""Share of the way to another step that points fly per second."""

NEAR = 0.004
"""Distance from a step at which points have arrived, in steps."""

MARGIN = 1.06
"""Half the side of what is seen, as a multiple of that of what there is."""


class Scatter(ChosenArray):
    """The points of a session's probes: samples, or other things by two quantities.

    Attributes:
        at: The time shown: a position among the steps of the session, and between them.
        own_size: Whether each step fills the plane, or all steps share one scale.
        chosen_points: Indices of the points that were chosen, ascending.
        pointed_at: Index of the point under the mouse, or None.
    """

    kinds = (ResultKind.POINTS, ResultKind.STAGES, ResultKind.AGAINST)

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.at = float(session.cursor.position)
        self.own_size = False
        self.chosen_points: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self.pointed_at: int | None = None
        self._held: tuple[object, npt.NDArray[np.float64]] | None = None

    # --- what is shown --------------------------------------------------------------------

    @property
    def choices(self) -> list[FoundArray]:
        """The arrays that can be shown; points at every stage stand in for those of one."""
        found = super().choices
        staged = {one.probe for one in found if one.stage is not None}
        return [
            one for one in found if one.kind is not ResultKind.POINTS or one.probe not in staged
        ]

    def choose(self, array: FoundArray) -> None:
        """Show another array; points of the same samples stay chosen."""
        before = self.chosen
        super().choose(array)
        if before is None or self.rows_of(before) != self.rows_of(array):
            self.choose_points(np.zeros(0, np.int64))
        self.pointed_at = None

    @staticmethod
    def rows_of(array: FoundArray) -> object:
        """Return which samples the points are, as the probe says it; what else they are."""
        return (
            array.key if array.kind is ResultKind.AGAINST else array.result.attributes.get("rows")
        )

    @property
    def axes(self) -> tuple[str, ...]:
        """What is across and upwards, where that has a meaning; nothing for samples."""
        chosen = self.chosen
        if chosen is None or chosen.kind is not ResultKind.AGAINST:
            return ()
        return tuple(chosen.result.labels("coordinate")[:2])

    def _coordinates(self) -> npt.NDArray[np.float64]:
        """Return (steps, points, 2) of the array shown."""
        chosen = self.chosen
        if chosen is None:
            return np.zeros((1, 0, 2))
        key = chosen.result, chosen.array, chosen.stage
        if self._held is None or self._held[0] != key:
            whole = chosen.result.array(chosen.array)
            points = whole if chosen.stage is None else whole[:, chosen.stage]
            self._held = key, points[..., :2].astype(np.float64)
        return self._held[1]

    @property
    def count(self) -> int:
        """Number of points."""
        return int(self._coordinates().shape[1])

    @property
    def classes(self) -> npt.NDArray[np.int64]:
        """Class of every point as an index of `class_names`; none if samples have none."""
        chosen = self.chosen
        targets = list(chosen.result.attributes.get("targets") or []) if chosen else []
        if len(targets) != self.count or len(set(targets)) in (1, len(targets)):
            return np.zeros(0, np.int64)
        found: npt.NDArray[np.int64] = np.unique(targets, return_inverse=True)[1]
        return found

    @property
    def class_names(self) -> list[str]:
        """Names of the classes that samples are of."""
        chosen = self.chosen
        if chosen is None or not len(self.classes):
            return []
        named = list(chosen.result.attributes.get("classes") or [])
        known = sorted(set(chosen.result.attributes["targets"]))
        return [str(named[one]) if 0 <= one < len(named) else str(one) for one in known]

    def text_of(self, point: int) -> str:
        """Return which sample a point is, and of which class; of others, its name and numbers.

        It is to be written as it is.
        """
        chosen = self.chosen
        if chosen is not None and self.axes:
            values = self._coordinates()[self.place, point]
            named = zip(map(brief_axis, self.axes), values, strict=True)
            told = [f"{name} {value:.3g}" for name, value in named]
            return "\n".join(map(plain, (self.name_of(point), *told)))
        rows = list(chosen.result.attributes.get("rows") or []) if chosen else []
        row = rows[point] if len(rows) == self.count else point
        name = f"{self.class_names[self.classes[point]]}, " if len(self.classes) else ""
        return plain(f"{name}sample {row}")

    def name_of(self, point: int) -> str:
        """Return the name of something that is no sample."""
        chosen = self.chosen
        axis = "" if chosen is None else chosen.result.fields[chosen.array].axes[1]
        return "" if chosen is None else chosen.result.labels(axis)[point]

    def pictures_of(self, points: Sequence[int]) -> Pictures | None:
        """Return (points, height, width, channels) of bytes: the samples of some points.

        Those that the user gave, else those that the probe has kept; None if there are none.
        """
        chosen, given = self.chosen, self.session.given
        if chosen is None or self.axes:
            return None
        at = np.array(points, np.int64)
        own = given.pictures(chosen.result, at) if given is not None else None
        if own is not None:
            return own
        found = chosen.result.samples
        return found[at] if found is not None and len(found) == self.count else None

    @property
    def obstacle(self) -> str:
        """Why points do not lead to the samples that the user gave; '' if they do."""
        chosen, given = self.chosen, self.session.given
        if chosen is None or given is None or self.axes:
            return ""
        return given.obstacle(chosen.result)

    @property
    def quality(self) -> dict[str, float]:
        """What the picture is worth at the step, by name."""
        chosen = self.chosen
        if chosen is None or self.axes:
            return {}
        known = {
            name: float(chosen.result.array(name)[self.place])
            for name in arrays_of(chosen.result, ResultKind.NUMBERS)
        }
        return {name: value for name, value in known.items() if np.isfinite(value)}

    @property
    def note(self) -> str:
        """How the points were placed."""
        chosen = self.chosen
        if chosen is None:
            return ""
        return str(chosen.result.attributes.get("said") or chosen.result.fields[chosen.array].words)

    # --- time -----------------------------------------------------------------------------

    @property
    def target(self) -> float:
        """The time of the session."""
        cursor = self.session.cursor
        blends = cursor.playing and self.session.settings.smooth
        return cursor.position + (cursor.phase if blends else 0.0)

    @property
    def arrived(self) -> bool:
        """Whether the time shown is that of the session."""
        return self.at == self.target

    def advance(self, seconds: float) -> bool:
        """Fly towards the time of the session; return whether points have moved.

        While it plays, points follow it at once.
        """
        before, away = self.at, self.target - self.at
        share = 1.0 if self.session.cursor.playing else min(ARRIVAL * seconds, 1.0)
        self.at += away * share
        if abs(self.target - self.at) < NEAR:
            self.at = self.target
        return self.at != before

    def places(self) -> Places:
        """Return where the points are; NaN for those that are nowhere."""
        coordinates = self._coordinates()
        chosen, steps = self.chosen, self.session.steps
        if chosen is None or not coordinates.shape[1]:
            return np.zeros((0, 2))
        step = float(np.interp(self.at, np.arange(len(steps)), steps))
        own = chosen.result.steps
        before = measured_place(own, step)
        after = min(before + 1, len(own) - 1)
        length = float(own[after] - own[before])
        way = min(max((step - own[before]) / length, 0.0), 1.0) if length else 0.0
        here, there = (self._seen_at(at).placed(coordinates[at]) for at in (before, after))
        return between(here, there, way)

    def _seen_at(self, place: int) -> _Frame:
        """Return what is seen of the plane at a step."""
        chosen, coordinates = self.chosen, self._coordinates()
        if chosen is not None and self.axes:
            bounds = chosen.result.attributes.get("bounds")
            ends = np.array([[end, end] for end in bounds or ()], np.float64)
            return _Frame.around(ends if len(ends) else coordinates)
        return _Frame.around(coordinates[place] if self.own_size else coordinates)

    @property
    def box(self) -> tuple[Places, Places]:
        """Two corners of the box around what is seen: their places, and their coordinates."""
        seen = self._seen_at(0)
        corners = np.array([[-1.0, -1.0], [1.0, 1.0]]) / MARGIN
        return corners, seen.middle + corners * seen.half

    # --- choosing -------------------------------------------------------------------------

    def choose_points(self, points: npt.NDArray[np.int64]) -> None:
        """Choose points, and no others."""
        self.chosen_points = np.sort(points)

    def choose_inside(self, corners: Places) -> None:
        """Choose the points inside a closed line.

        Args:
            corners: (corners, 2), in the coordinates of `places`.
        """
        self.choose_points(np.flatnonzero(inside(self.places(), corners)))

    def nearest(self, x: float, y: float, reach: float) -> int | None:
        """Return the point nearest to a place, if one is within reach."""
        places = self.places()
        if not len(places):
            return None
        distances = np.hypot(places[:, 0] - x, places[:, 1] - y)
        if not np.isfinite(distances).any():
            return None
        best = int(np.nanargmin(distances))
        return best if distances[best] <= reach else None

    def chosen_text(self) -> str:
        """Return how many points are chosen, of which classes, to be written as it is."""
        count = len(self.chosen_points)
        if not count:
            return ""
        told = f"{count} {'point' if self.axes else 'sample'}{'' if count == 1 else 's'}"
        if len(self.classes):
            numbers = np.bincount(self.classes[self.chosen_points], minlength=1)
            order = np.argsort(-numbers, kind="stable")
            names = list(map(plain, self.class_names))
            each = [f"{numbers[at]}\N{NO-BREAK SPACE}of\N{NO-BREAK SPACE}{names[at]}"
                    for at in order if numbers[at]]  # fmt: skip
            told += f": {', '.join(each[:6])}{', ...' if len(each) > 6 else ''}"
        return told


@dataclass(frozen=True)
class _Frame:
    """A square of the plane of coordinates: its middle, and half of its side."""

    middle: npt.NDArray[np.float64]
    half: float

    @classmethod
    def around(cls, points: npt.NDArray[np.float64]) -> _Frame:
        """Return the square around points; around nothing, NaN."""
        flat = points.reshape(-1, 2)
        known = flat[np.isfinite(flat).all(axis=1)]
        if not len(known):
            return cls(np.full(2, np.nan), 1.0)
        low, high = known.min(axis=0), known.max(axis=0)
        return cls((low + high) / 2, float((high - low).max()) / 2 * MARGIN or 1.0)

    def placed(self, points: Places) -> Places:
        """Return points with the square from -1 to 1."""
        found: Places = (points - self.middle) / self.half
        return found


def brief_axis(name: str) -> str:
    """Return what an axis is called where there is little room.

    >>> brief_axis("open: share of positions above 0.9")
    'open'
    """
    return name.partition(":")[0]


def inside(points: Places, corners: Places) -> npt.NDArray[np.bool_]:
    """Tell which points are inside a closed line, by how often a ray crosses it."""
    found = np.zeros(len(points), bool)
    x, y = points[:, 0], points[:, 1]
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        crosses = (ay > y) != (by > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            at = (bx - ax) * (y - ay) / (by - ay) + ax
        found ^= crosses & (x < at)
    return found & np.isfinite(points).all(axis=1)
