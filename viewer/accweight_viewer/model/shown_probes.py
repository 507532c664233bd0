"""What probes have found, as a session shows it: arrays for panes, metrics, values of units."""

from __future__ import annotations

from collections.abc import Callable

from accweight_core.analysis.probe_kinds import ResultKind
from accweight_core.analysis.probe_metrics import (
    check_is_no_probe,
    full_name,
    is_probe_metric,
    probe_metric_names,
)
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.colours.scale import ColourScale, colour_table
from accweight_core.metrics.table import DEFAULT, METRICS, TABLE, checked_metric
from accweight_viewer.model.found import FoundArray, found_arrays
from accweight_viewer.model.runs import ShownRun
from accweight_viewer.model.settings import MOVEMENT, Settings
from accweight_viewer.model.unit_values import UnitValues


class ShownProbes:
    """The results of the probes of a session's runs."""

    def __init__(
        self, runs: Callable[[], list[ShownRun]], settings: Callable[[], Settings]
    ) -> None:
        """Use what a session has at the time.

        Args:
            runs: Returns its runs.
            settings: Returns its settings.
        """
        self._runs, self._settings = runs, settings
        self._units: UnitValues | None = None

    def of_kind(self, *kinds: ResultKind) -> list[FoundArray]:
        """Return the arrays of some kinds that probes have found in the runs."""
        runs = self._runs()
        return found_arrays([run.results for run in runs], [run.name for run in runs], *kinds)

    @property
    def metric_words(self) -> dict[str, str]:
        """What each metric of layers is that can be chosen: of the table, and of probes.

        The one that rankings are by is the first.
        """
        found = {name: TABLE[name].line for name in dict.fromkeys((DEFAULT, *METRICS))}
        for run in self._runs():
            found |= probe_metric_names(run.results)
        return found

    def known(self, metric: str) -> str:
        """Return the whole name of a metric, which may be said with fewer options of its probe.

        Raises:
            UnknownNameError: If no run has such a metric, of a probe or of its own; lists those
                there are.
        """
        if metric in self.metric_words:
            return metric
        found: dict[str, ProbeResult] = {}
        for run in self._runs():
            found |= run.results
        if is_probe_metric(metric):
            return full_name(found, metric)
        check_is_no_probe(found, metric)
        return checked_metric(metric)

    @property
    def unit_values(self) -> UnitValues | None:
        """The values of units that the plates show; None if they show movement."""
        wanted, runs = self._settings().plate_values, self._runs()
        if wanted == MOVEMENT or len(runs) != 1:
            return None
        held = self._units
        if held is None or held.run is not runs[0] or held.array.name != wanted:
            found = self.of_kind(ResultKind.UNITS)
            array = next((one for one in found if one.name == wanted), None)
            self._units = None if array is None else UnitValues(runs[0], array)
        return self._units

    @property
    def unit_scale(self) -> ColourScale | None:
        """The colour scale of the values of units; None if plates show movement."""
        units, settings = self.unit_values, self._settings()
        if units is None:
            return None
        light = "_light" if settings.theme == "light" else ""
        name = f"difference{light}" if units.signed else settings.colour_map
        return ColourScale(colour_table(name), signed=units.signed)
