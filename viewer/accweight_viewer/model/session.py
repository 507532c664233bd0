"""The state shared by all panes: runs, time, selection, settings.

Panes never call each other. They call the session, and its signals tell all panes what has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from accweight_core.colours.scale import ColourScale
from accweight_core.errors import UnknownNameError
from accweight_core.metrics.totals import Floats
from accweight_core.text import meant
from accweight_viewer.model.arrangement import Arrangement, arrange
from accweight_viewer.model.colour_range import colour_scale, fitted_high, low_end
from accweight_viewer.model.difference import Difference
from accweight_viewer.model.picking import Pick
from accweight_viewer.model.plates import PlateSource, ShownLayer
from accweight_viewer.model.runs import ShownRun
from accweight_viewer.model.runs_together import RunsTogether
from accweight_viewer.model.settings import Settings
from accweight_viewer.model.shown_probes import ShownProbes
from accweight_viewer.model.signal import Signal
from accweight_viewer.model.table_rows import Row, table_rows
from accweight_viewer.model.timeline import TimeCursor

if TYPE_CHECKING:
    from accweight_viewer.model.given_samples import GivenSamples

MOST_SCENES = 2
"""Runs whose plates are shown; others have curves and columns of the table."""

ComparisonMode = Literal["beside", "difference"]


class Session:
    """The state of the viewer.

    Attributes:
        runs: One, two to compare, or more, of which the first two have plates.
        settings: Display settings.
        cursor: Position in time.
        layer: Name of the selected layer, or None.
        pointed_at: Name of the layer under the mouse in a table, or None.
        pick: The selected texel, or None.
        comparison: How two runs are shown.
        time_changed: Emitted, without arguments, when another checkpoint is shown.
        playing_changed: Emitted when playback starts or stops.
        selection_changed: Emitted when another layer or texel is selected.
        pointing_changed: Emitted when the mouse points at another layer in a table.
        settings_changed: Emitted with the names of the settings that changed.
        data_changed: Emitted when runs, layers, steps or plates have changed.
        replaced: Paths of runs in whose place other runs have been put.
        found: Layers that match what is searched for; None if nothing is.
        found_changed: Emitted when others match.
        probes: What probes have found.
        given: Samples that the user gave, to which points lead; None if they gave none.
        jump_asked: Emitted with the name of the layer that the camera should go to.
        open_asked: Emitted with the analyses that another window should show.
    """

    def __init__(self, paths: Sequence[Path], settings: Settings | None = None) -> None:
        self.runs = [ShownRun(path) for path in paths]
        self._together = RunsTogether(self.runs)
        self.settings = settings or Settings()
        self.comparison: ComparisonMode = "beside"
        self.cursor = TimeCursor(len(self.steps))
        self.layer: str | None = None
        self.pointed_at: str | None = None
        self.pick: Pick | None = None
        self.time_changed: Signal[[]] = Signal()
        self.playing_changed: Signal[[]] = Signal()
        self.selection_changed: Signal[[]] = Signal()
        self.pointing_changed: Signal[[]] = Signal()
        self.settings_changed: Signal[[frozenset[str]]] = Signal()
        self.data_changed: Signal[[]] = Signal()
        self.jump_asked: Signal[[str]] = Signal()
        self.open_asked: Signal[[tuple[Path, ...]]] = Signal()
        self.replaced: set[Path] = set()
        self.found: frozenset[str] | None = None
        self.probes = ShownProbes(lambda: self.runs, lambda: self.settings)
        self.given: GivenSamples | None = None
        self.found_changed: Signal[[]] = Signal()
        self.cursor.move_to(self.cursor.last)

    # --- time -----------------------------------------------------------------------------

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        """Steps of all runs, ascending."""
        return self._together.steps

    @property
    def step(self) -> int:
        """The step shown."""
        return int(self.steps[self.cursor.position]) if len(self.steps) else 0

    def run_position(self, run: int) -> int:
        """Return the checkpoint of a run to show: its last one up to this step."""
        return self.runs[run].position_at(self.step)

    def source_position(self, source: PlateSource) -> int:
        """Return the checkpoint of a source to show."""
        return max(int(np.searchsorted(source.steps, self.step, side="right")) - 1, 0)

    def move_to(self, position: int) -> None:
        """Show another checkpoint."""
        if self.cursor.move_to(position):
            self.time_changed.emit()

    def move_to_step(self, step: int) -> None:
        """Show the checkpoint of a step.

        Raises:
            UnknownNameError: If there is none.
        """
        found = np.flatnonzero(self.steps == step)
        if not len(found):
            first, last = (int(self.steps[i]) for i in (0, -1)) if len(self.steps) else (0, 0)
            raise UnknownNameError(
                f"there is no step {step}; the {len(self.steps)} steps go from {first} to {last}"
            )
        self.move_to(int(found[0]))

    def play(self) -> None:
        """Start playback."""
        before = self.cursor.position
        self.cursor.play()
        self.playing_changed.emit()
        if self.cursor.position != before:
            self.time_changed.emit()

    def pause(self) -> None:
        """Stop playback."""
        self.cursor.pause()
        self.playing_changed.emit()

    def advance(self, seconds: float) -> None:
        """Advance in time during playback."""
        if not self.cursor.playing:
            return
        moved = self.cursor.advance(seconds, speed=self.settings.speed, loop=self.settings.loop)
        if not self.cursor.playing:
            self.playing_changed.emit()
        if moved:
            self.time_changed.emit()

    def show_between(self, position: int, phase: float) -> None:
        """Show a moment between a checkpoint and the next, as in playback."""
        self.move_to(position)
        self.cursor.phase = phase if self.cursor.position < self.cursor.last else 0.0

    # --- what is shown --------------------------------------------------------------------

    @property
    def layer_names(self) -> list[str]:
        """Names of all layers of all runs, in network order."""
        return self._together.layer_names

    @property
    def related(self) -> bool:
        """Whether all runs are of one network."""
        return self._together.related

    @property
    def short_names(self) -> dict[str, str]:
        """What layers are called where there is little room, by name."""
        return self._together.short_names

    def layers_called(self, name: str) -> list[ShownLayer | None]:
        """Return the layer of that name in each run, or None."""
        return self._together.layers_called(name)

    def only_in(self, name: str) -> str:
        """Return the name of the only run with a layer; '' if all or none have it."""
        return self._together.only_in(name)

    @property
    def sources(self) -> list[PlateSource]:
        """The sources of the scenes: each run, or one difference."""
        if len(self.runs) == 2 and self.comparison == "difference":
            first, second = self.runs
            settings = self.settings
            return [Difference(first, second, settings.scope, settings.difference_scale)]
        units = self.probes.unit_values
        return [units] if units is not None else list(self.runs[:MOST_SCENES])

    def scene_scale(self) -> ColourScale:
        """Return the colour scale of the scenes."""
        return self.scale_of(signed=len(self.runs) == 2 and self.comparison == "difference")

    def scale_of(self, *, signed: bool) -> ColourScale:
        """Return the colour scale of change, of a difference, or of what units do."""
        units = None if signed else self.probes.unit_scale
        return units or self.colour_scale(signed=signed)

    def compare_as(self, comparison: ComparisonMode) -> None:
        """Show two runs side by side, or their difference."""
        if comparison != self.comparison:
            self.comparison = comparison
            self.data_changed.emit()

    def arrangement(self, source: PlateSource) -> Arrangement:
        """Return the positions of the plates of a source."""
        together = self.related and len(self.runs) > 1
        return arrange(
            source.layers,
            self.settings.arrangement,
            true_scale=self.settings.true_scale,
            slots=self.layer_names if together else None,
            beside=[run.layers for run in self.runs[:MOST_SCENES]] if together else (),
        )

    def colour_scale(self, *, signed: bool = False) -> ColourScale:
        """Return the colour scale of changes, or of differences."""
        return colour_scale(self.runs, self.settings, signed=signed)

    @property
    def low(self) -> float:
        """The dark end of the colours: set by hand, or fitted if they are logarithmic."""
        return low_end(self.runs, self.settings)

    @property
    def fitted_high(self) -> float:
        """The bright end of the colours that distinguishes most changes.

        Of two runs, the brighter end of both.
        """
        return fitted_high(self.runs, self.settings.scope)

    # --- numbers --------------------------------------------------------------------------

    @property
    def columns(self) -> list[str]:
        """Metrics of the table: those chosen that there are in the runs, or else the default."""
        known = self.probes.metric_words
        chosen = [name for name in self.settings.columns if name in known]
        return chosen or [Settings().columns[0]]

    def rows(self, run: int = 0) -> list[Row]:
        """Return the rows of the layer table at the current step, in network order."""
        return table_rows(self.runs[run], self.run_position(run), self.columns, self._together)

    def curves(self, run: int = 0) -> Floats:
        """Return (layers, steps) of the metric of the timeline curves."""
        return self.runs[run].metric(self.settings.curve_metric)

    # --- selection ------------------------------------------------------------------------

    def select_layer(self, name: str | None) -> None:
        """Select a layer, or none.

        Raises:
            UnknownNameError: If no run has such a layer.
        """
        if name is not None and name not in self.layer_names:
            close = ", ".join(self.layer_names[:8])
            more = ", ..." if len(self.layer_names) > 8 else ""
            raise UnknownNameError(
                f"no layer is called {name!r}; {meant(name, self.layer_names)}layers are "
                f"{close}{more}"
            )
        if name != self.layer or self.pick is not None:
            self.layer, self.pick = name, None
            self.selection_changed.emit()

    def select_texel(self, pick: Pick) -> None:
        """Select a texel and its layer."""
        if pick != self.pick:
            self.pick = pick
            self.layer = self.runs[pick.run].layers[pick.plate.layer].name
            self.selection_changed.emit()

    def point_at(self, layer: str | None) -> None:
        """Light up a layer, as long as the mouse points at it in a table."""
        if layer != self.pointed_at:
            self.pointed_at = layer
            self.pointing_changed.emit()

    def show_found(self, names: Iterable[str] | None) -> None:
        """Show which layers match what is searched for; None if nothing is."""
        found = None if names is None else frozenset(names)
        if found != self.found:
            self.found = found
            self.found_changed.emit()

    def jump_to(self, name: str) -> None:
        """Select a layer and ask the camera to go there; a selected texel in it stays selected."""
        if name != self.layer:
            self.select_layer(name)
        self.jump_asked.emit(name)

    # --- settings and growth --------------------------------------------------------------

    def change(self, **values: Any) -> None:
        """Change settings; emits the names of those that differ."""
        before = self.settings
        self.settings = before.changed(**values)
        names = frozenset(n for n in values if getattr(before, n) != getattr(self.settings, n))
        if names:
            self.settings_changed.emit(names)

    @property
    def growing(self) -> bool:
        """Whether an analysis is still being written."""
        return not all(run.complete for run in self.runs)

    def redraw(self) -> None:
        """Tell that pictures have changed, and nothing else."""
        self.data_changed.emit()

    def refresh(self) -> bool:
        """Check whether the analyses have grown; return whether they have.

        If the last step is shown, the new last step is shown.
        """
        return self.take([run.refreshed() for run in self.runs])

    def take(self, found: Sequence[ShownRun | None]) -> bool:
        """Show later states of the runs, None for those that are unchanged; see `refresh`."""
        if not any(found):
            return False
        for old, new in zip(self.runs, found, strict=True):
            if new is not None and new.is_of_another_run(old):
                self.replaced.add(new.path)
        followed, step = self.cursor.position == self.cursor.last, self.step
        self.runs = [new or old for new, old in zip(found, self.runs, strict=True)]
        self._together = RunsTogether(self.runs)
        self.cursor.count = len(self.steps)
        at = self.cursor.last if followed else int(np.searchsorted(self.steps, step))
        self.cursor.position = min(at, self.cursor.last)
        selected = self.layer, self.pick is None
        self.layer = self.layer if self.layer in self.layer_names else None
        pick = self.pick if self.layer else None
        self.pick = pick.in_state(self.runs[pick.run]) if pick else None
        self.data_changed.emit()
        self.time_changed.emit()
        if (self.layer, self.pick is None) != selected:  # another analysis
            self.selection_changed.emit()
        return True
