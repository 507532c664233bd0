"""The plates that a picture window can show, by name, and the one for the selection."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from accweight_core.naming import leaf_of
from accweight_viewer.model.difference import Difference
from accweight_viewer.model.plates import Plate, PlateSource, ShownLayer
from accweight_viewer.model.runs import ShownRun
from accweight_viewer.model.session import Session

Which = int | Literal["difference"]
"""Index of a run, or the difference of both."""

ACTIVITY = "mean"
"""Metric by which windows choose layers without a selection."""


@dataclass(frozen=True)
class PlateChoice:
    """One plate, identified by names, which remain valid while an analysis grows."""

    which: Which
    parameter: str


class PlateChoices:
    """The plates of a session's runs in one state."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._runs: list[ShownRun] = list(session.runs)
        self._scope = session.settings.scope
        self._scale = session.settings.difference_scale
        self._units = session.probes.unit_values

    @property
    def current(self) -> bool:
        """Whether the session is still in this state."""
        session = self._session
        same = len(self._runs) == len(session.runs) and all(
            old is new for old, new in zip(self._runs, session.runs, strict=True)
        )
        settings = session.settings
        same = same and self._units is session.probes.unit_values
        return same and (self._scope, self._scale) == (settings.scope, settings.difference_scale)

    @cached_property
    def difference(self) -> Difference | None:
        """The difference of two runs."""
        if len(self._runs) != 2:
            return None
        return Difference(self._runs[0], self._runs[1], self._scope, self._scale)

    def source(self, which: Which) -> PlateSource | None:
        """Return a run, what its units do if plates show that, or the difference."""
        if which == "difference":
            return self.difference
        if self._units is not None:
            return self._units
        return self._runs[which] if which < len(self._runs) else None

    def label(self, which: Which) -> str:
        """Return the label of a run, or '' if it is the only one."""
        if which == "difference":
            return "difference"
        if len(self._runs) < 2:
            return ""
        name = self._runs[which].name
        alike = len({run.name for run in self._runs}) < len(self._runs)
        return f"{name} ({chr(ord('A') + which)})" if alike else name

    @cached_property
    def texts(self) -> dict[PlateChoice, str]:
        """The label of every plate, in network order, run by run."""
        each: list[Which] = [*range(len(self._runs))]
        if len(self._runs) > 1:
            each.append("difference")
        return {
            PlateChoice(which, plate.name): self._text(which, plate)
            for which in each
            for plate in self._runs[0 if which == "difference" else which].plates
        }

    def _text(self, which: Which, plate: Plate) -> str:
        """Return the short name of a layer, the parameter's own, and the run."""
        layer = self._runs[0 if which == "difference" else which].layers[plate.layer].name
        own = leaf_of(plate.name, layer)
        short = self._session.short_names[layer]
        name = plate.name if own == plate.name else f"{short}.{own}"
        label = self.label(which)
        return f"{name}  \N{EM DASH}  {label}" if label else name

    @cached_property
    def _numbers(self) -> list[dict[str, int]]:
        return [{plate.name: plate.number for plate in run.plates} for run in self._runs]

    def plate(self, choice: PlateChoice) -> Plate | None:
        """Return the chosen plate, or None if it does not exist."""
        source = self.source(choice.which)
        at = 0 if choice.which == "difference" else choice.which
        if source is None or choice.parameter not in self._numbers[at]:
            return None
        return source.plates[self._numbers[at][choice.parameter]]

    def run_plate(self, choice: PlateChoice) -> tuple[int, Plate] | None:
        """Return the run and its plate; for a difference, those of the first run."""
        run = 0 if choice.which == "difference" else choice.which
        number = self._numbers[run].get(choice.parameter) if run < len(self._runs) else None
        return None if number is None else (run, self._runs[run].plates[number])

    def obstacle(self, choice: PlateChoice | None) -> str:
        """Return why a choice has no picture, or ''."""
        if choice is None:
            return "no layers to show"
        plate = self.plate(choice)
        if plate is None:
            which = 0 if choice.which == "difference" else choice.which
            name = self.label(choice.which) or self._runs[which].name
            return f"{choice.parameter} is not in {name}"
        if plate.ready:
            return ""
        if choice.which == "difference":
            return "no difference: needs a finished parameter of the same shape in both runs"
        if self._units is not None:
            return f"{self._units.array.of_units}: nothing of this layer"
        return "not analysed yet"

    # --- which one to show ------------------------------------------------------------------

    def following(self, number: int) -> PlateChoice | None:
        """Return the plate of the selection, or of the most active layer without a selection.

        Args:
            number: 0 for the window that shows the same run as the scene, 1 for the other one,
                which shows the second run if there are two.
        """
        session = self._session
        which: Which = min(number, len(self._runs) - 1)
        if number == 0 and len(self._runs) > 1 and session.comparison == "difference":
            which = "difference"
        if session.pick is not None:
            return PlateChoice(which, session.pick.plate.name)
        name = session.layer or self._active_layer(0)
        layers = session.layers_called(name) if name else []
        own = layers[which] if isinstance(which, int) and layers else None
        layer = own or next((layer for layer in layers if layer is not None), None)
        if layer is not None and own is None and isinstance(which, int) and not session.related:
            layer = self._called(self._active_layer(0, which))  # what this run has, if not the same
        return PlateChoice(which, layer.plates[0].name) if layer is not None else None

    def _called(self, name: str | None) -> ShownLayer | None:
        layers = self._session.layers_called(name) if name else []
        return next((layer for layer in layers if layer is not None), None)

    def initial(self, number: int) -> PlateChoice | None:
        """Return a window's first plate: of the most active layer, or of the next one."""
        if number == 0 or len(self._runs) > 1:
            return self.following(number)
        name = self._active_layer(number)
        layer = self._session.layers_called(name)[0] if name else None
        return PlateChoice(0, layer.plates[0].name) if layer is not None else None

    def _active_layer(self, rank: int, of: int = 0) -> str | None:
        """Return the layer at a rank, from 0, of activity at the last step of a run."""
        run = self._runs[of]
        if not run.layers:
            return None
        activity = np.nan_to_num(run.metric(ACTIVITY)[:, -1], nan=-1.0)
        order = np.argsort(-activity, kind="stable")
        return run.layers[int(order[min(rank, len(order) - 1)])].name
