"""Findings: what an analysis shows that its user would want to be told, in sentences.

Did it train, what never moved, when did it stop, where was the first NaN. Most come from the stored
sums, so an analysis can be asked later and without its checkpoints (`findings`); what needs values
again is in `reading`. How parameters moved is read off the sums by `movement`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from accweight_core.analysis.continuity import BREAK
from accweight_core.analysis.movement import Movement, rounding
from accweight_core.analysis.training_figures import figures_not_finite
from accweight_core.metrics.table import Floats
from accweight_core.store.header import Header

SHOWN = 5
"""Names listed in a sentence; `Finding` has all of them."""

FEWEST_STILL = 2
"""Steps without movement at the end from which training counts as stopped: a learning rate that is
scheduled to end at zero gives one."""

MOST_RUNS = 3
"""Groups of identical checkpoints that get a sentence each; more share one."""

LORA_B = re.compile(r"(^|[._])lora[0-9]*[._](B|up|embedding_B)([._]|$)")
"""Names of the LoRA matrix that begins at zero: PEFT's, and those of diffusers and kohya."""

FACTOR = re.compile(rf"{LORA_B.pattern}|(^|[._])(hada_w[12]_[ab]|lokr_w[12](_[ab])?)([._]|$)")
"""Names of factors that make an adapter zero if they are: of LoHa and LoKr any may begin so."""


@dataclass(frozen=True)
class Finding:
    """Something about a run that its user would want to be told.

    Attributes:
        kind: What it is, in a word: "nonfinite", "nonfinite_figure", "nothing_moved",
            "discontinuity", "stopped", "lora_b_zero", "type_change", "buffers_moved", "frozen",
            "partly_frozen", "identical" or "reference"; `check` adds "expected_frozen" and
            "expected_moving".
        text: It in a sentence.
        step: The step it is about, if it is about one.
        layers: The layers it is about, in network order; none if it is about all.
        parameters: The parameters it is about, in network order.
        is_wrong: Whether something is wrong with the run.
        sure: "exact" for what follows from the values, "likely" for what is inferred.
    """

    kind: str
    text: str
    step: int | None = None
    layers: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    is_wrong: bool = False
    sure: str = "exact"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "kind": self.kind,
            "layer": self.layers[0] if self.layers else None,
            "step": self.step,
            "text": self.text,
            "wrong": self.is_wrong,
            "sure": self.sure,
            "layers": list(self.layers),
            "parameters": list(self.parameters),
        }


def findings(header: Header, values: Floats) -> list[Finding]:
    """Return what the sums of an analysis show; what is wrong comes first.

    Args:
        header: Header of the analysis.
        values: (steps, parameters, sums); NaN for unfinished parameters, which are left out.
    """
    movement = Movement(header, values)
    if not movement.trained:
        return []
    found = [
        *_nonfinite(movement),
        *_figures_not_finite(header),
        *_nothing_moved(movement),
        *_discontinuities(header),
        *_stopped(movement),
        *_lora_b_zero(movement),
        *_type_changes(movement),
        *_frozen(movement),
        *_partly_frozen(movement),
        *_identical(movement),
        *_reference(movement),
    ]
    return sorted(found, key=lambda finding: not finding.is_wrong)


def listed(names: Sequence[str]) -> str:
    """Return names for a sentence: all if they are few, else the first ones and how many more."""
    if len(names) <= SHOWN:
        return ", ".join(names)
    return f"{', '.join(names[: SHOWN - 1])} and {len(names) - SHOWN + 1} more"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _nonfinite(movement: Movement) -> Iterator[Finding]:
    counts = np.nan_to_num(movement.sums("nonfinite"))
    hit = [int(index) for index in np.flatnonzero(counts.any(axis=0))]
    if not hit:
        return
    begins = {index: int(np.flatnonzero(counts[:, index])[0]) for index in hit}
    hit.sort(key=lambda index: (begins[index], index))
    first, at = hit[0], begins[hit[0]]
    parameter, step = movement.parameter(first), movement.steps[at]
    text = (
        f"the first NaN or infinity is in {parameter.name} at step {step} "
        f"({int(counts[at, first]):,} of {counted(parameter.elements, 'element')})"
    )
    if hit[1:]:
        after = movement.parameter(hit[1]).name, movement.steps[begins[hit[1]]]
        text += f"; {after[0]} follows at step {after[1]}"
        text += f", and {counted(len(hit) - 2, 'parameter')} more" if hit[2:] else ""
    names = [movement.parameter(index).name for index in hit]
    layers = dict.fromkeys(movement.parameter(index).layer for index in hit)
    yield Finding("nonfinite", text, step, tuple(layers), tuple(names), is_wrong=True)


def _figures_not_finite(header: Header) -> Iterator[Finding]:
    for found in figures_not_finite(header):
        yield Finding("nonfinite_figure", found.text, found.step, is_wrong=found.is_wrong)


def _nothing_moved(movement: Movement) -> Iterator[Finding]:
    moving = [index for index in movement.trained if not movement.is_still[index]]
    if len(movement.steps) < 2:
        text = "there is one checkpoint so far; what moved is known from the second on"
        yield Finding("nothing_moved", text, is_wrong=True)
    elif not moving:
        text = f"nothing moved: every weight is bit-equal in all {len(movement.steps)} checkpoints"
        yield Finding("nothing_moved", text, is_wrong=True)
    elif all(_is_rounding(movement, index) for index in moving):
        text = "nothing moved, except for the rounding of weights where their element type changes"
        yield Finding("nothing_moved", text, is_wrong=True, sure="likely")


def _is_rounding(movement: Movement, index: int) -> bool:
    name = movement.parameter(index).name
    changes = [change for change in movement.header.type_changes if name in change.parameters]
    return len(changes) == 1 and movement.is_rounding(index, changes[0])


def _discontinuities(header: Header) -> Iterator[Finding]:
    """Find the steps that do not continue the run, as they were told when it was measured."""
    for warning in header.warnings:
        told = BREAK.match(warning)
        if told:
            yield Finding("discontinuity", warning, int(told[1]), is_wrong=True, sure="likely")


def _still_at_the_end(movement: Movement) -> int:
    """Return how many steps at the end changed nothing; all of them for a run that never moved."""
    moving = np.flatnonzero(movement.is_moving)
    return len(movement.steps) - 1 - int(moving[-1]) if moving.size else len(movement.steps) - 1


def _stopped(movement: Movement) -> Iterator[Finding]:
    still = _still_at_the_end(movement)
    if FEWEST_STILL <= still < len(movement.steps) - 1:
        step = movement.steps[-1 - still]
        text = (
            f"training stopped at step {step}: every weight is bit-equal in the "
            f"{still} later checkpoints"
        )
        yield Finding("stopped", text, step, is_wrong=True)


def _lora_b_zero(movement: Movement) -> Iterator[Finding]:
    names = [movement.parameter(i).name for i in movement.trained]
    found = {i: FACTOR.search(n) for i, n in zip(movement.trained, names, strict=True)}
    adapters = {i: movement.parameter(i).name[: m.start()] for i, m in found.items() if m}
    held = (movement.sums("square") > 0) | (movement.sums("nonfinite") > 0)
    is_zero = np.logical_not(np.logical_or.reduce(held, axis=0))
    zero = [index for index in adapters if is_zero[index]]
    if zero:
        names = [movement.parameter(index).name for index in zero]
        lost, count = len({adapters[index] for index in zero}), len(set(adapters.values()))
        is_lora = all(map(LORA_B.search, names))
        which = "no lora_B has ever" if is_lora else "in every adapter a factor has never"
        text = f"{which} left zero, so the adapters change nothing"
        if lost < count:
            text = (
                f"{'lora_B' if is_lora else 'a factor'} has never left zero in {lost} of {count} "
                f"adapters, which so change nothing: {listed(names)}"
            )
        layers = dict.fromkeys(movement.parameter(index).layer for index in zero)
        yield Finding("lora_b_zero", text, None, tuple(layers), tuple(names), is_wrong=True)


def _type_changes(movement: Movement) -> Iterator[Finding]:
    places = {parameter.name: i for i, parameter in enumerate(movement.header.parameters)}
    for change in movement.header.type_changes:
        members = [places[name] for name in change.parameters]
        share, text = rounding(change), str(change)
        if share:
            text += f": movements of up to {share:.2g} of a weight there can be rounding"
        moving = [i for i in members if not movement.is_still[i]]
        if moving and all(movement.is_rounding(i, change) for i in moving):
            text += ", and nothing has moved otherwise"
        layers = dict.fromkeys(movement.parameter(index).layer for index in members)
        yield Finding("type_change", text, change.step, tuple(layers), change.parameters)


def _frozen(movement: Movement) -> Iterator[Finding]:
    still = movement.still_layers
    moved = [name for name in movement.layers if name not in set(still)]
    if not (still and moved):
        return
    if len(moved) < len(still):
        text = (
            f"only {len(moved)} of {len(movement.layers)} layers moved: {listed(moved)}; "
            "the others are bit-equal in every checkpoint"
        )
    else:
        text = (
            f"{len(still)} of {len(movement.layers)} layers never moved, bit-equal in every "
            f"checkpoint: {listed(still)}"
        )
    names = [movement.parameter(i).name for layer in still for i in movement.layers[layer]]
    yield Finding("frozen", text, None, still, tuple(names))


def _partly_frozen(movement: Movement) -> Iterator[Finding]:
    """Find parameters that never moved in layers that did, as in training biases alone."""
    still = [
        index
        for layer, members in movement.layers.items()
        for index in members
        if layer not in movement.still_layers
        and movement.is_still[index]
        and not FACTOR.search(movement.parameter(index).name)
    ]
    if still:
        names = [movement.parameter(index).name for index in still]
        text = f"of layers that moved, these parameters never did: {listed(names)}"
        layers = dict.fromkeys(movement.parameter(index).layer for index in still)
        yield Finding("partly_frozen", text, None, tuple(layers), tuple(names))


def _identical(movement: Movement) -> Iterator[Finding]:
    """Find neighbouring checkpoints that are equal, unless another finding says so."""
    last = len(movement.steps) - 1
    end = _still_at_the_end(movement)
    stop = last if end < FEWEST_STILL else last - end
    still = ~movement.is_moving
    if end == last:
        return
    places = range(1, stop + 1)
    runs = [list(group) for is_equal, group in groupby(places, key=still.__getitem__) if is_equal]
    if len(runs) > MOST_RUNS:
        steps = [movement.steps[at] for run in runs for at in run]
        text = (
            f"the checkpoints of {len(steps)} steps are identical to the ones before them: "
            f"{listed(list(map(str, steps)))}"
        )
        yield Finding("identical", text, steps[0])
        return
    for run in runs:
        steps = [movement.steps[at] for at in (run[0] - 1, *run)]
        yield Finding("identical", identical_text(steps), steps[1])


def identical_text(steps: Sequence[int]) -> str:
    """Return the sentence on checkpoints with equal weights."""
    named = f"{', '.join(map(str, steps[:-1]))} and {steps[-1]}"
    return f"the checkpoints of steps {named} are identical: every weight is bit-equal"


def _reference(movement: Movement) -> Iterator[Finding]:
    first = movement.steps[0]
    if first > 0:
        text = (
            f"the reference is step {first}: what moved before it is not seen "
            "(a checkpoint saved before training, as step 0, shows it)"
        )
        yield Finding("reference", text, first)
