"""The probe `hidden_state`: where else the hidden units do what they do in a span of a sequence.

Select a span of one sequence: the units above a threshold throughout it are a pattern. All other
spans of that length are ranked by how many units they have in common with it (the units of both by
those of either), and of equal ones by how near their states are (Strobelt et al., "LSTMVis", IEEE
TVCG 2018). What the first of them share is what the units may stand for; with a target for every
time, `agreement` says how many of them have that of the span.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.analysis.shown_names import MARKED, SHOWN_AS
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.collecting import Values
from accweight_core.probes.context import Context
from accweight_core.probes.known import ratio
from accweight_core.probes.probe import (
    Array,
    Needs,
    Probe,
    Results,
    Schema,
    array,
    final,
    option,
)
from accweight_core.probes.timed import States, names_at_times, span_text
from accweight_core.text import some

SHOWN = 6
"""Spans that are told of those found."""


@dataclass
class HiddenState(Probe):
    """The pattern of hidden units in a span of a sequence, and the same pattern elsewhere."""

    name, version, needs = "hidden_state", 3, Needs.FORWARD
    reading = (
        "States of the chosen sequence, units down and times across, the span marked. That spans "
        "share a pattern is a guess at what it stands for; agreement has to be held against that "
        "of all spans."
    )

    layer: str = option("", "recurrent layer or node; by default the first one with times")
    sample: int = option(0, "sequence of the span", least=0)
    begin_at: int = option(0, "first time of the span", least=0)
    length: int = option(3, "times of the span", least=1)
    threshold: float = option(0.3, "value from which on a unit is on")
    matches: int = option(50, "spans that are found", least=0)
    points: int = option(500, "sequences that are searched, each class with its share")

    def start(self, context: Context) -> Schema:
        """Return the arrays, by the times and units of the layer."""
        layer = States.of(context, self.layer)
        node, times = layer.node, layer.times
        self._states = context.collect(Values(lambda batch: layer.of_batch(batch).astype("f4")))
        if self.begin_at + self.length > times:
            raise ArgumentValueError(
                f"probe {self.name!r}: {node} has {times} times; the span from {self.begin_at} of "
                f"length {self.length} is not among them (begin_at=, length=, layer=)"
            )
        rows = np.union1d(context.chosen_rows(self.points), context.checked_rows([self.sample]))
        self._place = int(np.searchsorted(rows, self.sample))
        self._kept = min(self.matches, len(rows) * (times - self.length + 1) - 1)
        self._rows, self._named = rows, names_at_times(context, rows)
        own = self._named[self._place] if self._named else []
        targets = context.data.targets
        is_timed = targets.ndim == 2 and targets.shape[1] == times
        self._targets = targets[rows].astype(np.float64) if is_timed else None
        return Schema.of(
            {"unit": layer.units, "time": times, "rank": self._kept, "row": 3,
             "span": self._kept},
            array("states", "step unit time", "states of the sequence"),
            array("pattern", "step unit", "1 if a unit is on throughout the span"),
            array("correlation", "step unit",
                  "correlation of a unit with the target, over all times"),
            array("agreement", "step", "share of the spans found with the same target"),
            array("by_chance", "step", "the same of all spans"),
            array("overlap", "step", "mean share of units in common with the spans found"),
            array("found", "step rank row",
                  "spans found, the most alike first: sequence, first time, units in common"),
            final("alike", "span", "units in common with the spans found at the last step"),
            attributes={"node": node, "rows": rows.tolist(), SHOWN_AS: {"time": own},
                        MARKED: {"time": [*range(self.begin_at, self.begin_at + self.length)]}},
            rows=rows,
        )  # fmt: skip

    def end(self) -> Mapping[str, Array]:
        """Return the pattern of the span, and where else it is."""
        states = self._states.whole()
        windows = np.lib.stride_tricks.sliding_window_view(states, self.length, axis=2)
        on: Array = np.asarray((windows >= self.threshold).all(axis=3))  # sequences, units, spans
        pattern = on[self._place, :, self.begin_at]
        shared = np.einsum("nus,u->ns", on, pattern.astype(np.float32))
        either = on.sum(axis=1) + pattern.sum() - shared
        overlap = np.divide(shared, either, out=np.zeros_like(shared), where=either > 0)
        means = windows.mean(axis=3)
        far = np.linalg.norm(means - means[self._place, :, self.begin_at][:, None], axis=1)
        overlap[self._place, self.begin_at] = -1  # the span itself comes last
        order = np.lexsort((far.reshape(-1), -overlap.reshape(-1)))[: self._kept]
        rows, firsts = np.unravel_index(order, overlap.shape)
        shares = overlap[rows, firsts]
        return {
            "states": states[self._place],
            "pattern": pattern,
            "overlap": shares.mean(),
            "found": np.stack([rows, firsts, shares], axis=1),
            **self._by_targets(states, rows, firsts),
        }

    def _by_targets(self, states: Array, rows: Array, firsts: Array) -> Mapping[str, Array]:
        """Return what targets say of units, and of the spans found; NaN without targets."""
        if self._targets is None:
            nothing = np.array(np.nan)
            unknown = np.full(states.shape[1], np.nan)
            return {"correlation": unknown, "agreement": nothing, "by_chance": nothing}
        ends = self._targets[:, self.length - 1 :]
        own = ends[self._place, self.begin_at]
        return {
            "correlation": correlations(states, self._targets),
            "agreement": (ends[rows, firsts] == own).mean(),
            "by_chance": (ends == own).mean(),
        }

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Return how alike the spans found at the last step are."""
        self._last = results.at("found", len(results.steps) - 1)
        return {"alike": self._last[:, 2]}

    def labels(self, values: Mapping[str, Array]) -> Mapping[str, tuple[str, ...]]:
        """Return where the spans found at the last step are, and what comes in there."""
        return {"span": tuple(self._span(int(r), int(first)) for r, first, _ in self._last)}

    def _span(self, place: int, first: int) -> str:
        where = f"sample {self._rows[place]} from {first}"
        if not self._named:
            return where
        return f"{span_text(self._named[place], first, self.length)} ({where})"

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return the units of the pattern, and the first spans that have it, at the last step."""
        said, shown = result.options, result.attributes.get(SHOWN_AS) or {}
        on = np.flatnonzero(result.array("pattern")[-1] > 0)
        span = f"from time {said['begin_at']} of sample {said['sample']}"
        if not len(on):
            line = f"no unit is on {span}, over {said['length']} times: lower threshold="
            return [f"{line}{said['threshold']:g}, or choose begin_at= and length= otherwise"]
        units, names = some(list(map(str, on)), 12), shown.get("time") or ()
        text = f" {span_text(names, said['begin_at'], said['length'])}" if names else ""
        lines = [f"on {span}{text}: {units}"]
        found = [*zip(result.array("alike"), result.labels("span"), strict=True)]
        lines += ["most alike, by the share of units in common:"] if found else []
        lines += [f"{share:.0%} {where}" for share, where in found[:SHOWN]]
        agree, chance = result.array("agreement")[-1], result.array("by_chance")[-1]
        if np.isfinite(agree):
            lines.append(f"of these {agree:.0%} have the target of the span, of all {chance:.0%}")
        return lines


def correlations(states: Array, targets: Array) -> Array:
    """Return the correlation of every unit with targets; NaN of constant ones.

    Args:
        states: (samples, units, times).
        targets: (samples, times).
    """
    flat = np.moveaxis(states, 1, 0).reshape(states.shape[1], -1).astype(np.float64)
    wanted = targets.reshape(-1) - targets.mean()
    centred = flat - flat.mean(axis=1, keepdims=True)
    size = np.linalg.norm(centred, axis=1) * np.linalg.norm(wanted)
    return ratio(centred @ wanted, np.where(size > 1e-9, size, 0))
