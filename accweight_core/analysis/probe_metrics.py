"""Numbers that probes found, as metrics of layers and as measures of the run.

``PROBE.NAME``, such as ``activations.dead``, is a metric like those of the table: it ranks layers
and has curves. It is known at the steps that were probed, and at others NaN. Of a probe that was
asked for in several ways, the name has the options: ``linear_probe:trained=1000.held_out``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.probe_kinds import ResultKind, arrays_of
from accweight_core.analysis.probe_names import PATTERN, fits
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.analysis.summary import Measured
from accweight_core.arguments import brief
from accweight_core.errors import AccweightError, UnknownNameError
from accweight_core.metrics.table import TABLE
from accweight_core.text import meant, some

Floats = npt.NDArray[np.float64]
Results = Mapping[str, ProbeResult]

NAME = re.compile(rf"{PATTERN}\.[a-z][a-z0-9_]{{0,47}}")
"""What such a metric is called: a result of a probe, and an array."""

MOST_LISTED = 12
"""Names that a message lists."""

_PROBE = re.compile("[a-z][a-z0-9_]*")

_LAYERS = ResultKind.LAYERS

PICTURED = (ResultKind.POINTS, ResultKind.STAGES, ResultKind.PICTURES, ResultKind.PATH)
"""Kinds beside which a number says what a picture is worth, and is no measure of the run."""


@dataclass(frozen=True)
class ProbeMetric:
    """One number per layer and step.

    Attributes:
        name: PROBE.ARRAY.
        words: What it is.
        by_layer: (steps,) by the name of the layer; NaN at steps that were not probed.
    """

    name: str
    words: str
    by_layer: Mapping[str, Floats]


def is_probe_metric(name: object) -> bool:
    """Tell whether a metric is named as those of probes are."""
    return isinstance(name, str) and NAME.fullmatch(name) is not None


def matching(results: Mapping[str, ProbeResult], asked: str) -> list[str]:
    """Return the names of the results that a text may mean.

    Args:
        results: Results by name.
        asked: A name, ``PROBE:option=value,...`` with options of a result, or the folder of one.

    Raises:
        StoreError: If a result of that probe is damaged.
    """
    if asked in list(results):
        return [asked]
    probe = _PROBE.match(asked)
    alike = [name for name in results if probe and name.startswith(probe[0])]
    found = {name: results[name] for name in alike}
    return [
        name
        for name, one in found.items()
        if asked == one.path.name or fits(one.name, one.options, asked)
    ]


def probe_metric_names(results: Results) -> dict[str, str]:
    """Return what each number of layers is, by its name as a metric; damaged results have none."""
    return _named(results, ResultKind.LAYERS)


def _named(results: Results, kind: ResultKind) -> dict[str, str]:
    found = {}
    for probe in results:
        try:
            result = results[probe]
            if len(result.steps):
                for array in arrays_of(result, kind):
                    found[f"{probe}.{array}"] = result.fields[array].words
        except (AccweightError, OSError):
            continue
    return found


def full_name(results: Results, name: str) -> str:
    """Return the name of a number of layers that may be said with fewer options, or by a folder.

    Raises:
        UnknownNameError: If there is none, or several fit; lists those there are.
        StoreError: If a result is damaged.
    """
    probe, _, array = name.rpartition(".")
    fitting = [one for one in matching(results, probe) if array in arrays_of(results[one], _LAYERS)]
    if len(fitting) != 1:
        raise UnknownNameError(_several(name, fitting, array) if fitting else _none(results, name))
    return f"{fitting[0]}.{array}"


def probe_metric(results: Results, name: str, steps: npt.NDArray[np.int64]) -> ProbeMetric:
    """Return a metric of a probe.

    Args:
        results: The results by name.
        name: PROBE.ARRAY.
        steps: Steps of the run.

    Raises:
        UnknownNameError: If there is none, or several fit; lists those there are.
        StoreError: If the result is damaged.
    """
    probe, _, array = full_name(results, name).rpartition(".")
    result = results[probe]
    values = _along(result, array, steps)
    by_layer = {layer: values[:, at] for at, layer in enumerate(result.layers_of_run)}
    return ProbeMetric(name, result.fields[array].words, by_layer)


def _several(name: str, fitting: Sequence[str], array: str) -> str:
    told = ", ".join(f"{one}.{array}" for one in fitting)
    order = "; of those with a number, a higher one is later" if "#" in told else ""
    return f"{brief(name)} may be of {len(fitting)} results; say which: {told}{order}"


def _none(results: Results, name: str) -> str:
    probe, _, array = name.rpartition(".")
    known = _listed(results, name)
    if any(array in arrays_of(results[o], ResultKind.NUMBERS) for o in matching(results, probe)):
        return (
            f"{brief(name)} is a number of the whole network, not one per layer; of layers, "
            f"probes have found {known}"
        )
    close = meant(name, probe_metric_names(results))
    return f"no number of layers is called {brief(name)}; {close}probes have found {known}"


def others_of(results: Results, name: str) -> tuple[str, ...]:
    """Return a sentence on results of the same probe that have the same number, if there are any.

    Raises:
        StoreError: If one is damaged.
    """
    probe, _, array = full_name(results, name).rpartition(".")
    shown = results[probe]
    alike = {one: results[one] for one in results if one.startswith(shown.name)}
    others = [
        f"{one}.{array}"
        for one, other in alike.items()
        if other.name == shown.name and other.path != shown.path and array in other.arrays
    ]
    return (f"asked for in other ways: {', '.join(others)}",) if others else ()


def _listed(results: Results, asked: str) -> str:
    """Return the numbers of layers that there are: those of the probe in question, if any."""
    names, probe = [*probe_metric_names(results)], re.split(r"[^a-z0-9_]", asked)[0]
    own = [name for name in names if re.split(r"[^a-z0-9_]", name)[0] == probe]
    return some(own or names, MOST_LISTED) or "none"


def check_is_no_probe(results: Results, name: object) -> None:
    """Check that a metric that is asked for is not just the name of a probe.

    Raises:
        UnknownNameError: If it is; lists the numbers of layers that the probe has found.
        StoreError: If the result is damaged.
    """
    if not isinstance(name, str) or name in TABLE or not matching(results, name):
        return
    alike = {one: results[one] for one in results if one.startswith(name)}
    fitting = [one for one, result in alike.items() if result.name == name]
    fitting = fitting or matching(results, name)  # a probe with options
    found = [f"{one}.{array}" for one in fitting for array in arrays_of(results[one], _LAYERS)]
    raise UnknownNameError(
        f"{brief(name)} is a probe; say which of its numbers of layers: {', '.join(found)}"
        if found
        else f"{brief(name)} is a probe that has found no numbers of layers, so nothing to rank "
        f"by; others have found {_listed(results, name)}"
    )


def probe_measures(results: Results, steps: npt.NDArray[np.int64]) -> dict[str, Floats]:
    """Return numbers of the whole network over the steps of a run, as PROBE.ARRAY.

    Those that say what a picture is worth are left out: they stand beside it. Damaged results have
    none.
    """
    found = {}
    for name in _named(results, ResultKind.NUMBERS):
        probe, _, array = name.rpartition(".")
        try:
            result = results[probe]
            if not arrays_of(result, *PICTURED):
                found[name] = _along(result, array, steps)
        except (AccweightError, OSError):
            continue
    return found


def _along(result: ProbeResult, array: str, steps: npt.NDArray[np.int64]) -> Floats:
    """Return an array with all steps of a run along its first axis; NaN where none is known."""
    values = result.array(array).astype(np.float64)
    whole = np.full((len(steps), *values.shape[1:]), np.nan)
    there = np.isin(result.steps, steps)
    whole[np.searchsorted(steps, result.steps[there])] = values[there]
    return whole


def with_probe_metric(
    rows: Sequence[Measured], results: Results, name: str, steps: npt.NDArray[np.int64]
) -> list[Measured]:
    """Return rows of layers with a metric of a probe beside their own.

    Raises:
        UnknownNameError: If there is no such metric.
        StoreError: If the result is damaged.
    """
    metric = probe_metric(results, name, steps)
    unknown = np.full(len(steps), np.nan)
    return [
        replace(row, metrics={name: metric.by_layer.get(row.name, unknown), **row.metrics})
        for row in rows
    ]
