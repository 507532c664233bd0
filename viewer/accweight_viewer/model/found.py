"""What probes have found in the runs that are shown, by the kind of its arrays, not by names.

Results are read once per state of a run. A damaged one is left out: the viewer shows the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.probe_kinds import ResultKind, arrays_of, kind_of
from accweight_core.analysis.probe_results import ProbeResult, Probes
from accweight_core.errors import AccweightError
from accweight_core.io.stamp import stamp_if_there
from accweight_core.schema import Stamp
from accweight_core.store.documents import METADATA
from accweight_core.store.graph_document import GRAPH
from accweight_core.store.probe_store import PROBES, probes_in

Steps = npt.NDArray[np.int64]
FoundStamps = Mapping[Path, Stamp | None]


@dataclass(frozen=True)
class FoundArray:
    """An array of a result that a pane can show.

    Attributes:
        run: Index of the run.
        probe: Name of the result: the probe, with options if it was asked for in several ways.
        array: Its name.
        stage: Index of the stage that is shown, of points at several.
        result: The result.
        title: What it is called on the screen.
    """

    run: int
    probe: str
    array: str
    stage: int | None
    result: ProbeResult
    title: str

    @property
    def key(self) -> tuple[int, str, str, int | None]:
        """What identifies it while results are read anew."""
        return self.run, self.probe, self.array, self.stage

    @property
    def kind(self) -> ResultKind | None:
        """What is shown of it."""
        return kind_of(self.result.fields[self.array])

    @property
    def name(self) -> str:
        """Its name as a metric."""
        return f"{self.probe}.{self.array}"

    @property
    def of_units(self) -> str:
        """What values of units are called beside others: the probe, and which of its arrays."""
        is_main = self.array == "values"
        return self.probe if is_main else f"{self.probe} {self.array.replace('_', ' ')}"

    @property
    def words(self) -> str:
        """What it is, as the probe says it."""
        return self.result.fields[self.array].words

    @property
    def layer(self) -> str:
        """The layer or node that it is of; empty if it is of none or of several."""
        attributes = self.result.attributes
        return str(attributes.get("layer") or attributes.get("node") or "")


def found_stamps(analysis: Path) -> FoundStamps:
    """Return stamps of the results of each probe, which change with every step, and of the graph.

    A probe stores the graph of its network at its end, after its last results.

    Returns:
        A stamp by folder.
    """
    stamps = {}
    for folder in (*(analysis / PROBES / name for name in probes_in(analysis)), analysis / GRAPH):
        with suppress(OSError):
            stamps[folder] = stamp_if_there(folder / METADATA)
    return stamps


def results_of(
    probes: Probes, kept: Mapping[Path, ProbeResult] | None = None
) -> dict[str, ProbeResult]:
    """Return the results of an analysis that can be read and have a finished step.

    Args:
        probes: The results on disk.
        kept: Results read before that are still the same, by folder.
    """
    found = {}
    for name in probes:
        try:
            result = probes[name]
            result = (kept or {}).get(result.path, result)
            if len(result.steps):
                found[name] = result
        except (AccweightError, OSError):
            continue
    return found


def found_arrays(
    runs: list[Mapping[str, ProbeResult]], names: list[str], *kinds: ResultKind
) -> list[FoundArray]:
    """Return the arrays of some kinds of all runs.

    Args:
        runs: The results of each run.
        names: Names of the runs, which stand in titles if there are several.
        kinds: The kinds.
    """
    found = []
    for run, results in enumerate(runs):
        of_run = f" \N{MIDDLE DOT} {names[run]}" if len(runs) > 1 else ""
        for probe, result in results.items():
            for array in arrays_of(result, *kinds):
                title = f"{probe}{_of(result, probe)}"
                if array not in ("images", "coordinates", "views", "values", "links"):
                    title += f" \N{MIDDLE DOT} {array.replace('_', ' ')}"
                if kind_of(result.fields[array]) is not ResultKind.STAGES:
                    found.append(FoundArray(run, probe, array, None, result, title + of_run))
                    continue
                for stage, name in enumerate(result.labels("stage")):
                    staged = f"{title} \N{MIDDLE DOT} {name}{of_run}"
                    found.append(FoundArray(run, probe, array, stage, result, staged))
    return found


def _of(result: ProbeResult, shown: str) -> str:
    of = result.attributes.get("parameter") or result.attributes.get("node") or ""
    return f" of {of}" if of and f"={of}" not in shown else ""


def measured_place(steps: Steps, step: float) -> int:
    """Return the index of the last finished step that is not after a step; the first at least."""
    return max(int(np.searchsorted(steps, step, side="right")) - 1, 0)
