"""Prove that the weights of a run are in their places in a network, or say what is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accweight_core.errors import AccweightError, BindingError
from accweight_core.probes.binding.arrays import Array, coarser, rounded
from accweight_core.probes.binding.assignment import Assignment
from accweight_core.probes.binding.described import Described
from accweight_core.probes.binding.inputs import random_inputs
from accweight_core.probes.binding.recorded import Reproduced, compared, figures_of, told_measures
from accweight_core.probes.network import BoundNetwork, Proof, samples_at_once
from accweight_core.schema import Checkpoint, Run
from accweight_core.text import some

CLOSE = 1e-4
"""Largest difference of two forward passes, in parts of the largest output."""

MOST_STEPS = 4
"""Steps at which a recorded measure is compared."""

MOST_SAMPLES = 64
"""Samples of the user's data that the two forward passes take."""

Bind = Callable[[Checkpoint], BoundNetwork]


@dataclass(frozen=True)
class Proven:
    """What is proven of a binding, and why not more.

    Attributes:
        verdict: "verified", "consistent" or "not verified".
        reason: What it rests on, or what is missing, in words.
        step: The step that has the network's own weights; None if there is none.
        difference: Largest difference of the two forward passes there.
        scale: Largest output there.
        reproduced: The recorded measure that was compared, if any.
        doubts: What speaks against it.
    """

    verdict: Proof
    reason: str
    step: int | None = None
    difference: float | None = None
    scale: float | None = None
    reproduced: Reproduced | None = None
    doubts: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        item = self.reproduced
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "step": self.step,
            "difference": self.difference,
            "largest_output": self.scale,
            "recorded": None
            if item is None
            else {
                "measure": item.measure,
                "figure": item.figure,
                "steps": list(item.steps),
                "recorded": list(item.recorded),
                "computed": list(item.computed),
            },
            "doubts": list(self.doubts),
        }


def proven(
    described: Described,
    run: Run,
    assignments: Sequence[Assignment],
    own: int | None,
    doubts: Sequence[str],
    bind: Bind,
    inputs: Mapping[str, Array] | None,
    targets: Array | None,
) -> Proven:
    """Return what is proven of a binding.

    Args:
        described: The network.
        run: The run.
        assignments: What it is made of.
        own: Index of the checkpoint with the network's own weights.
        doubts: What speaks against it.
        bind: Puts the weights of a checkpoint into the network.
        inputs: Samples by input, if there are data.
        targets: What their outputs should be.

    Raises:
        BindingError: If forward passes that must agree differ.
    """
    doubts = [*doubts, *(doubt for item in assignments for doubt in item.doubts)]
    recorded = _recorded(run, bind, inputs, targets)
    if own is None:
        return _without_own_step(run, doubts, recorded, targets)
    step = int(run.checkpoints[own].step)
    here = described.network.with_weights(_rounded(described, run.checkpoints[own], assignments))
    passed = _forward(described, here, bind(run.checkpoints[own]), inputs, step)
    verdict: Proof = "verified"
    difference, scale = (None, None) if isinstance(passed, str) else passed
    if isinstance(passed, str):
        verdict, reason = "not verified", passed
    elif doubts:
        verdict, reason = "not verified", doubts[0]
    else:
        reason = f"equal to the network's own weights and outputs at step {step}"
    if verdict != "verified" and recorded is not None and recorded.is_equal:
        verdict, reason = "consistent", f"{recorded}; {reason}"
    return Proven(verdict, reason, step, difference, scale, recorded, tuple(doubts))


def _without_own_step(
    run: Run, doubts: Sequence[str], recorded: Reproduced | None, targets: Array | None
) -> Proven:
    missing = "no checkpoint of the run has the network's own weights"
    if recorded is not None and recorded.is_equal:
        return Proven("consistent", str(recorded), None, None, None, recorded, tuple(doubts))
    if recorded is not None and recorded.is_telling:
        reason = f"{missing}, and a recorded measure is not reproduced: {recorded}"
    elif recorded is not None:
        reason = f"{missing}, and {recorded.measure} hardly changes, so it tells nothing"
    elif not told_measures([c.measures for c in run.checkpoints]):
        reason = f"{missing}, nor a loss to compare with; export the network from one of them"
    else:
        reason = f"{missing}; give data with targets to compare with the loss that they recorded"
        if targets is not None:
            reason = f"{missing}, and these targets fit no loss that they recorded"
    if doubts:
        reason += f"; {some(list(doubts), 1)}"
    return Proven("not verified", reason, None, None, None, recorded, tuple(doubts))


def _rounded(
    described: Described, checkpoint: Checkpoint, assignments: Sequence[Assignment]
) -> dict[str, Array]:
    """Return the network's own values in the element types of the checkpoint, where coarser."""
    found = {}
    for item in assignments:
        dtypes = [checkpoint.tensors[name].dtype for name in item.sources]
        dtype = coarser(described.dtype(item.name), *dtypes)
        if dtype in dtypes and dtype != "float32":
            own = described.own[item.name]
            found[item.name] = rounded(own, dtype).astype(own.dtype)
    return found


def _forward(
    described: Described,
    here: BoundNetwork,
    bound: BoundNetwork,
    inputs: Mapping[str, Array] | None,
    step: int,
) -> tuple[float, float] | str:
    """Return the largest difference of both forward passes and the largest output, or why not."""
    at_once = samples_at_once(described.network.inputs)
    given = [_few(inputs, at_once)] if inputs is not None else random_inputs(described)
    problem = ""
    for x in given:
        try:
            mine, theirs = here.run(x), bound.run(x)
        except AccweightError as error:
            if inputs is not None:
                raise
            problem = problem or str(error)
            continue
        return _difference(mine, theirs, step)
    reason = f" ({problem})" if problem else ""
    return f"forward passes were not compared: random samples cannot be run{reason}; give data"


def _few(inputs: Mapping[str, Array], at_once: int) -> dict[str, Array]:
    """Return some samples, as many as a network takes at a time; some twice if there are fewer."""
    if not at_once:
        return {name: values[:MOST_SAMPLES] for name, values in inputs.items()}
    return {
        name: values[np.arange(at_once) % len(values)] if len(values) else values
        for name, values in inputs.items()
    }


def _difference(
    mine: Mapping[str, Array], theirs: Mapping[str, Array], step: int
) -> tuple[float, float]:
    largest, scale = 0.0, 0.0
    for name, values in mine.items():
        if values.dtype.kind != "f" or not values.size:
            continue
        wide, other = values.astype(np.float64), theirs[name].astype(np.float64)
        here = float(np.nanmax(np.abs(wide), initial=0))
        gap = np.abs(wide - other)
        same = (wide == other) | (np.isnan(wide) & np.isnan(other))
        worst = float(np.where(same, 0, np.where(np.isnan(gap), np.inf, gap)).max())
        largest, scale = max(largest, worst), max(scale, here)
        if worst > CLOSE * max(here, 1e-30):
            raise BindingError(
                f"output {name!r} of the network differs by {worst:.3g} (outputs up to {here:.3g}) "
                f"between its own weights and those of step {step}, which should be the same; "
                "look at the table of --check-model for what is not equal"
            )
    return largest, scale


def _recorded(
    run: Run, bind: Bind, inputs: Mapping[str, Array] | None, targets: Array | None
) -> Reproduced | None:
    """Return the comparison with what the checkpoints recorded, if there is anything to compare."""
    measures = [checkpoint.measures for checkpoint in run.checkpoints]
    if inputs is None or targets is None or not len(targets) or not told_measures(measures):
        return None
    last = len(run.checkpoints) - 1
    places = sorted({round(i * last / (MOST_STEPS - 1)) for i in range(MOST_STEPS)})
    figures = [figures_of(bind(run.checkpoints[i]), inputs, targets) for i in places]
    steps = [int(run.checkpoints[i].step) for i in places]
    return compared([measures[i] for i in places], figures, steps, len(targets))
