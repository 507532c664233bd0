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
from typing import ClassVar

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.collecting import Values
from accweight_core.probes.context import Context
from accweight_core.probes.probe import (
    Array,
    Batch,
    Field,
    Needs,
    Probe,
    Schema,
    option,
)
from accweight_core.schema import Kind
from accweight_core.text import some

RECURRENT = (Kind.RNN, Kind.LSTM, Kind.GRU)


@dataclass
class HiddenState(Probe):
    """The pattern of hidden units in a span of a sequence, and the same pattern elsewhere."""

    name: ClassVar[str] = "hidden_state"
    version: ClassVar[int] = 1
    needs: ClassVar[Needs] = Needs.FORWARD
    reading: ClassVar[str] = (
        "States of the chosen sequence, units down and times across. That spans share a pattern is "
        "a guess at what it stands for; agreement has to be held against that of all spans."
    )

    layer: str = option("", "recurrent layer or node; by default the first one with times")
    sample: int = option(0, "sequence of the span")
    begin_at: int = option(0, "first time of the span")
    length: int = option(3, "times of the span")
    threshold: float = option(0.3, "value from which on a unit is on")
    matches: int = option(50, "spans that are found")
    points: int = option(500, "sequences that are searched, each class with its share")

    def start(self, context: Context) -> Schema:
        """Return the arrays, by the times and units of the layer."""
        node = self.layer or recurrent_layer(context)
        self._axes, self._node = context.checked_axes(node, "choose another one with layer="), node
        self._states = context.collect(Values(self._of_batch))
        times, units = self._axes.positions, self._axes.count
        if len(self._axes.places) != 1:
            raise ArgumentValueError(
                f"probe {self.name!r}: node {node} has places of shape {self._axes.places}, and "
                "not one axis of times; name a recurrent layer with layer="
            )
        if not (self.begin_at >= 0 and 1 <= self.length <= times - self.begin_at):
            raise ArgumentValueError(
                f"probe {self.name!r}: {node} has {times} times; the span from {self.begin_at} of "
                f"length {self.length} is not among them (begin_at=, length=, layer=)"
            )
        if not 0 <= self.sample < len(context.data):
            raise ArgumentValueError(f"sample is {self.sample}; there are {len(context.data)}")
        rows = np.unique([*context.chosen_rows(self.points), self.sample])
        self._place = int(np.searchsorted(rows, self.sample))
        self._spans = times - self.length + 1
        kept = min(self.matches, len(rows) * self._spans - 1)
        self._kept, targets = kept, context.data.targets
        is_timed = targets.ndim == 2 and targets.shape[1] == times
        self._targets = targets[rows].astype(np.float64) if is_timed else None
        fields = (
            Field("states", ("step", "unit", "time"), (0, units, times), "states of the sequence"),
            Field("pattern", ("step", "unit"), (0, units), "1 if a unit is on throughout the span"),
            Field("correlation", ("step", "unit"), (0, units),
                  "correlation of a unit with the target, over all times"),
            Field("agreement", ("step",), (0,), "share of the spans found with the same target"),
            Field("by_chance", ("step",), (0,), "the same of all spans"),
            Field("overlap", ("step",), (0,), "mean share of units in common with the spans found"),
            Field("found", ("step", "rank", "row"), (0, kept, 3),
                  "spans found, the most alike first: sequence, first time, units in common"),
        )  # fmt: skip
        attributes = {"node": node, "rows": rows.tolist()}
        return Schema(fields, attributes=attributes, rows=rows)

    def _of_batch(self, batch: Batch) -> Array:
        """Return (samples, units, times) of a batch."""
        return self._axes.of(batch.outputs[self._node]).astype(np.float32)

    def end(self) -> Mapping[str, Array]:
        """Return the pattern of the span, and where else it is."""
        states, length = self._states.whole(), self.length
        windows = np.lib.stride_tricks.sliding_window_view(states, length, axis=2)
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
        agreement, chance = self._agreement(rows, firsts)
        return {
            "states": states[self._place].astype(np.float64),
            "pattern": pattern.astype(np.float64),
            "correlation": self._correlations(states),
            "agreement": np.array(agreement),
            "by_chance": np.array(chance),
            "overlap": np.array(overlap[rows, firsts].mean()),
            "found": np.stack([rows, firsts, overlap[rows, firsts]], axis=1).astype(np.float64),
        }

    def _agreement(self, rows: Array, firsts: Array) -> tuple[float, float]:
        """Return the shares of spans, found and all, whose last target is that of the span."""
        if self._targets is None:
            return float("nan"), float("nan")
        ends = self._targets[:, self.length - 1 :]
        own = ends[self._place, self.begin_at]
        return float((ends[rows, firsts] == own).mean()), float((ends == own).mean())

    def _correlations(self, states: Array) -> Array:
        """Return the correlation of every unit with the targets; NaN of constant ones."""
        if self._targets is None:
            return np.full(states.shape[1], np.nan)
        flat = np.moveaxis(states, 1, 0).reshape(states.shape[1], -1).astype(np.float64)
        wanted = self._targets.reshape(-1) - self._targets.mean()
        centred = flat - flat.mean(axis=1, keepdims=True)
        size = np.linalg.norm(centred, axis=1) * np.linalg.norm(wanted)
        nothing = np.full(len(flat), np.nan)
        found: Array = np.divide(centred @ wanted, size, out=nothing, where=size > 1e-9)
        return found

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return the units of the pattern, and the first spans that have it, at the last step."""
        said, rows = result.options, result.attributes["rows"]
        on = np.flatnonzero(result.array("pattern")[-1] > 0)
        found = result.array("found")[-1]
        spans = [f"{rows[int(row)]} from {first:.0f} ({share:.0%})" for row, first, share in found]
        if not len(on):
            span = f"from time {said['begin_at']} of sample {said['sample']}"
            line = f"no unit is on {span}, over {said['length']} times: lower threshold="
            return [f"{line}{said['threshold']:g}, or choose begin_at= and length= otherwise"]
        units = some([str(unit) for unit in on], 12)
        lines = [
            f"on from time {said['begin_at']} of sample {said['sample']}: {units}",
            f"most alike: sample {some(spans, 5)}",
        ]
        agreement, chance = result.array("agreement")[-1], result.array("by_chance")[-1]
        if np.isfinite(agreement):
            lines.append(
                f"of these {agreement:.0%} have the target of the span, of all {chance:.0%}"
            )
        return lines


def recurrent_layer(context: Context) -> str:
    """Return the first recurrent layer; without one, the first layer with times, if any."""
    found = [one.name for one in context.run.layers if one.kind in RECURRENT]
    axes = {name: context.unit_axes(name) for name in context.layers}
    timed = [n for n, a in axes.items() if a and len(a.places) == 1 and a.positions > 1]
    return next((n for n in [*found, *timed] if n in context.layers), context.layers[0])
