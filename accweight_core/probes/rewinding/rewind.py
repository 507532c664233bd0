"""The probe `rewind`: what is lost when one layer is put back to an earlier step.

In the network of the last step one layer at a time, with its norm, gets the weights of an earlier
step, or a random draw of those of the first one. The rise of the loss is the layer's criticality:
what its training since then is worth to the network that came of it (Zhang, Bengio and Singer, "Are
All Layers Created Equal?", JMLR 23, 2022). The statistics of batch norm are computed anew for each.

A layer whose weights are those of the last step loses nothing, by construction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.context import Context
from accweight_core.probes.network import OUTPUT, BoundNetwork
from accweight_core.probes.probe import Array, Field, Needs, Probe, Results, Schema, option
from accweight_core.probes.rewinding.measuring import SCORES, Measuring, Scores
from accweight_core.probes.rewinding.parts import LayerPart, parts_of
from accweight_core.probes.rewinding.said import summary_of
from accweight_core.probes.rewinding.states import States
from accweight_core.probes.rewinding.statistics import Found, counted, norm_nodes, recomputed
from accweight_core.probes.scoring import (
    Form,
    Loss,
    check_targets,
    finite_samples,
    scoring_of,
)

TRIED = 8
"""Samples on which batch norms are looked for."""

LOST = {"loss": "loss_rise", "accuracy": "accuracy_fall"}
"""What is lost, by what is measured."""

USUAL = 5
"""Steps that layers are put back to."""

Goal = tuple[str, int]
"""Where a layer is put: ("step", step) or ("draw", number)."""


@dataclass
class Rewind(Probe):
    """What is lost when one layer, with its norm, is put back to a step or a random draw."""

    name, version, needs = "rewind", 5, Needs.FORWARD
    told_at = "first"  # at the last one nothing is put back

    loss: Loss = option("auto", "loss: by default cross_entropy for classes, mse for numbers")
    draws: int = option(1, "random draws per layer")
    statistics: int = option(1024, "samples for the statistics of batch norm; 0 to keep them")
    output: str = option(OUTPUT, "node that is held against the targets")
    output_is: Form = option("auto", "scores (logits) or probabilities; by default by its values")

    def start(self, context: Context) -> Schema:
        """Return the arrays; all of them are computed in the end, layer by layer."""
        for name in ("draws", "statistics"):
            if getattr(self, name) < 0:
                raise ArgumentValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        context.keep(self.output)
        data, scores = context.data, context.tried(self.output)[self.output]
        check_targets(data)
        self._context = context
        self._ends = self._finite_ends()
        scoring = scoring_of(self.loss, self.output_is, data, scores)
        self._measuring = Measuring(context, scoring, self.output)
        self._parts = parts_of(context.run, context.binding.assignments)
        context.parts = len(self._parts)
        self._norms = self._found_norms()
        of_scores = scoring.schema(data)
        measured = {f.name: f.words for f in of_scores.fields if f.name in SCORES}
        self._scores = tuple(measured)
        labels = {
            "layer": tuple(part.name for part in self._parts),
            "state": ("as stored", "statistics recomputed"),
        }
        attributes = {
            **of_scores.attributes,
            "last": self._ends[1],
            "not_finite": [int(s) for s in context.run.steps if s > self._ends[1]],
            "with": {part.name: list(part.others) for part in self._parts if part.others},
            "unused": [part.name for part in self._parts if not part.tensors],
            "recomputed": [node.norm.layer for node in self._norms.nodes],
            "statistics_samples": self._samples_of_statistics(),
            "not_recomputed": dict(self._norms.others),
        }
        fields = _fields(measured, len(self._parts), self.draws)
        nothing = np.zeros(0, np.int64)  # its samples go through other networks
        return Schema(fields, labels, attributes, rows=nothing)

    def _finite_ends(self) -> tuple[int, int]:
        """Return the first and the last step whose weights and outputs are finite.

        Raises:
            ArgumentValueError: If there is none.
        """
        context = self._context
        steps = [int(s) for s in context.run.steps if int(s) not in context.broken]
        last = next((step for step in reversed(steps) if self._is_finite(step)), None)
        if last is None:
            raise ArgumentValueError(
                "probe 'rewind': there is no step to start from, as weights or outputs are not "
                "finite at any; the probe failure says where that begins"
            )
        return steps[0], last

    def _is_finite(self, step: int) -> bool:
        """Tell whether some of a few samples have a finite output at a step."""
        network = self._context.binding.bind(self._context.checkpoint(step))
        batches = self._context.batches(network, self._context.chosen_rows(TRIED))
        return any(finite_samples(batch.outputs[OUTPUT]).any() for batch in batches)

    def _found_norms(self) -> Found:
        """Return the batch norms whose statistics are computed anew."""
        if not self.statistics:
            return Found()
        few = self._context.chosen_rows(TRIED)
        with self._states() as states:
            return norm_nodes(states, next(iter(self._context.portions(few))))

    def _samples_of_statistics(self) -> int:
        """Return on how many samples statistics are computed anew."""
        if not self._norms.nodes:
            return 0
        rows = self._context.chosen_rows(self.statistics)
        return sum(len(one.rows) for one in counted(self._context.portions(rows)))

    def _states(self) -> States:
        return States(self._context.binding, self._context.seed, *self._ends)

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Put back layer after layer; what is finished is taken from an earlier call."""
        self._last: BoundNetwork | None = None
        rows = self._context.chosen_rows(max(self.statistics, 1))
        self._rows = self._context.random().permutation(rows)
        steps = [step for step in results.steps if step <= self._ends[1]]
        goals: list[Goal] = [("step", step) for step in steps]
        goals += [("draw", number) for number in range(self.draws)]
        found: list[dict[Goal, Scores]] = []
        moved: list[dict[Goal, bool]] = []
        with self._states() as states:
            stored, base = self._base(states)
            for place, part in enumerate(self._parts):
                values = {goal: _values(states, part, goal) for goal in goals}
                moved.append({goal: self._moved(states, part, values[goal]) for goal in goals})
                todo = {g: values[g] for g in goals if moved[-1][g] and part.tensors}
                found.append({**dict.fromkeys(goals, base), **self._put_back(states, part, todo)})
                self._context.advance(place + 1, len(self._parts))
        later: list[Goal] = [("step", step) for step in results.steps[len(steps) :]]
        nothing = dict.fromkeys(self._scores, np.nan)  # a step that is not finite either
        found = [{**row, **dict.fromkeys(later, nothing)} for row in found]
        goals = [*goals[: len(steps)], *later, *goals[len(steps) :]]
        arrays = _arrays(self._scores, goals, found, base)
        is_moved = [[row.get(g, False) for row in moved] for g in goals if g[0] == "step"]
        bases = {f"base_{n}": np.array([stored[n], base[n]]) for n in self._scores}
        return {**arrays, **bases, "moved": np.array(is_moved, np.uint8)}

    def _base(self, states: States) -> tuple[Scores, Scores]:
        """Return the scores of the last step: as it is stored, and with statistics recomputed."""
        (stored,) = self._kept(states, [self._key("as stored")], lambda _: [states.bound()])
        if not self._norms.nodes:
            return stored, stored
        key = self._key("statistics recomputed")
        return stored, self._kept(states, [key], lambda _: [self._like_last(states)])[0]

    def _put_back(
        self, states: States, part: LayerPart, values: Mapping[Goal, Mapping[str, Array]]
    ) -> dict[Goal, Scores]:
        """Return the scores with one layer put back, by where it is put.

        Args:
            states: The weights.
            part: The layer.
            values: Its tensors in the checkpoint's names, by where it is put.
        """
        goals = list(values)
        keys = [self._key(part.name, *goal) for goal in goals]
        scores = self._kept(
            states, keys, lambda places: self._bound(states, [values[goals[at]] for at in places])
        )
        return dict(zip(goals, scores, strict=True))

    def _kept(
        self,
        states: States,
        keys: Sequence[str],
        bound: Callable[[Sequence[int]], Sequence[BoundNetwork]],
    ) -> list[Scores]:
        """Return the scores of networks, measured unless an earlier call has finished them.

        Args:
            states: The weights.
            keys: What they are kept under.
            bound: Returns the networks at some places among the keys.
        """
        pieces = self._context.pieces
        found = [pieces.get(key) for key in keys]
        todo = [at for at, one in enumerate(found) if one is None or set(one) != set(self._scores)]
        fresh = self._measuring.of(bound(todo), self._like_last(states)) if todo else []
        for at, scores in zip(todo, fresh, strict=True):
            pieces.put(keys[at], scores)
            found[at] = scores
        return [scores for scores in found if scores is not None]

    def _like_last(self, states: States) -> BoundNetwork:
        """Return the network of the last step, statistics recomputed."""
        if self._last is None:
            (self._last,) = self._bound(states, [{}])
        return self._last

    def _key(self, *parts: str | int) -> str:
        return json.dumps([self._ends[1], *parts])

    def _moved(self, states: States, part: LayerPart, values: Mapping[str, Array]) -> bool:
        """Tell whether tensors of a layer are not those of the last step."""
        are_kept = not self._norms.nodes or bool(self._norms.others)
        return states.differs(part, values, statistics=are_kept)

    def _bound(self, states: States, changes: Sequence[Mapping[str, Array]]) -> list[BoundNetwork]:
        """Return networks with tensors of the checkpoint replaced, statistics recomputed."""
        if not self._norms.nodes:
            return [states.bound(values) for values in changes]
        portions = self._context.portions(self._rows)
        fresh = recomputed(states, self._norms.nodes, changes, portions)
        return [
            states.bound(statistics, values)
            for statistics, values in zip(fresh, changes, strict=True)
        ]

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return what the network lost nothing of, and what became of batch norm."""
        return summary_of(result)


def _values(states: States, part: LayerPart, goal: Goal) -> dict[str, Array]:
    """Return the tensors of a layer where it is put."""
    kind, number = goal
    return states.at(part, number) if kind == "step" else states.drawn(part, number)


def _arrays(
    names: Sequence[str],
    goals: Sequence[Goal],
    found: Sequence[Mapping[Goal, Scores]],
    base: Scores,
) -> dict[str, Array]:
    """Return what was measured and what is lost, per step or draw and layer."""
    arrays: dict[str, Array] = {}
    for name in names:
        for kind, of_kind in (("step", ""), ("draw", "random_")):
            chosen = [goal for goal in goals if goal[0] == kind]
            values = [[scores[goal][name] for scores in found] for goal in chosen]
            whole = np.array(values, np.float64).reshape(len(chosen), len(found))
            if kind == "draw" and not chosen:
                continue
            arrays[f"{of_kind}{name}"] = whole
            lost = whole - base[name] if name == "loss" else base[name] - whole
            arrays[f"{of_kind}{LOST[name]}"] = lost
    return arrays


def _fields(measured: Mapping[str, str], layers: int, draws: int) -> tuple[Field, ...]:
    """Return the arrays that are stored, by what is measured and in which words."""
    fields: list[Field] = []
    places: list[tuple[str, tuple[str, ...], tuple[int, ...], str]] = [
        ("", ("step", "layer"), (0, layers), "with the layer put back to a step")
    ]
    if draws:
        words = "with the layer's weights drawn at random"
        places.append(("random_", ("draw", "layer"), (draws, layers), words))
    for kind, axes, shape, where in places:
        for name in measured:
            fell = "rise of the loss" if name == "loss" else "fall of the accuracy"
            fields.append(Field(kind + LOST[name], axes, shape, f"{fell} {where}", final=True))
        for name, words in measured.items():
            fields.append(Field(kind + name, axes, shape, f"{words}, {where}", final=True))
    for name, words in measured.items():
        of_last = f"{words}, of the last step"
        fields.append(Field(f"base_{name}", ("state",), (2,), of_last, final=True))
    moved = "1 if the layer's weights differ from the last step's, else 0"
    # bytes, which are no curve: a line that is 1 until it is 0 says nothing to a reader
    fields.append(Field("moved", ("step", "layer"), (0, layers), moved, "uint8", final=True))
    return tuple(fields)


def usual_steps(steps: Sequence[int]) -> tuple[int, ...]:
    """Return the steps that layers are put back to if none are chosen.

    Five, evenly spaced, the first among them; not the last, which they are put back from.

    >>> usual_steps(range(11))
    (0, 2, 4, 6, 8)
    """
    places = np.linspace(0, len(steps) - 1, USUAL + 1).round().astype(int)
    earlier = places[places < max(len(steps) - 1, 1)]
    return tuple(int(steps[place]) for place in np.unique(earlier))
