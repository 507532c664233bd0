"""What the results of a rewind say and do not say, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.probes.rewinding.prediction import Prediction
from accweight_core.text import some

MOST_NAMED = 6

FEW = 12
"""Layers below which a correlation says little."""

SAYS = (
    "Criticality: what is lost when one layer, with its norm, is put back to a step while all "
    "others stay. It tells what the layer's training since then is worth to this network; not "
    "whether the layer is needed (it was trained together with the others), nor what happens when "
    "two are put back."
)
RANDOM_SAYS = (
    "random: the layer's first weights permuted. If that costs much more than step {first}, the "
    "first weights themselves mattered."
)


def summary_of(result: ProbeResult) -> Sequence[str]:
    """Return what the network lost nothing of, and what became of batch norm."""
    said = result.attributes
    lines = [SAYS]
    broken = [str(step) for step in said.get("not_finite", [])]
    if broken:
        of = f"step{'s' * (len(broken) > 1)} {some(broken, MOST_NAMED)}"
        lines.append(
            f"It starts from step {said['last']}, the last one that is finite: weights or outputs "
            f"of {of} are not"
        )
    if "random_loss" in result.arrays and len(result.steps):
        lines.append(RANDOM_SAYS.format(first=result.steps[0]))
    if "moved" in result.arrays and len(result.steps):
        first = np.asarray(result.array("moved", int(result.steps[0])))
        still = [n for n, m in zip(result.labels("layer"), first, strict=True) if m == 0]
        if still:
            lines.append(
                f"{some(still, MOST_NAMED)}: not moved since step {result.steps[0]}, so nothing "
                "can be lost, by construction"
            )
    if said.get("unused"):
        lines.append(f"{some(said['unused'], MOST_NAMED)}: no output depends on it")
    if said.get("recomputed"):
        count = len(said["recomputed"])
        layers = "1 layer" if count == 1 else f"{count} layers"
        used = said.get("statistics_samples")
        of = f"{used} samples" if used else f"at most {result.options['statistics']} samples"
        lines.append(
            f"batch norm: the statistics of {layers} were computed anew on {of}, also for the last "
            "step"
        )
    for layer, reason in dict(said.get("not_recomputed", {})).items():
        lines.append(f"batch norm: the statistics of {layer} are those stored ({reason})")
    return lines


def prediction_said(found: Sequence[Prediction]) -> list[str]:
    """Return how far to trust correlations with criticality."""
    if not found:
        return []
    layers = max(one.layers for one in found)
    if not any(one.tells for one in found):
        line = (
            f"Which metric goes with criticality cannot be told from the {layers} layers of this "
            "run that have moved: so few reach a rank correlation of +-1 in random order, too."
        )
        return [line]
    text = (
        f"It rests on the {layers} layers of this run that have moved; an unmoved layer has no "
        "criticality by construction. The interval holds 95 % of bootstrap samples of layers, the "
        "band of chance 95 % of random orders."
    )
    few = f"{layers} layers are few: only a correlation outside the band of chance says anything."
    return [text, few] if layers < FEW else [text]
