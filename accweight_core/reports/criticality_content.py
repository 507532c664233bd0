"""What a report says of a rewind: which layers are critical, beside how far they moved."""

from __future__ import annotations

from typing import Any

from accweight_core.analysis.analysis import Analysis
from accweight_core.metrics.table import DEFAULT
from accweight_core.probes.rewinding.prediction import layers_of, predictions
from accweight_core.probes.rewinding.said import prediction_said, summary_of

Content = dict[str, Any]


def criticality_content(analysis: Analysis) -> Content | None:
    """Return what was found by the probe `rewind`; None if it has not been run to the end."""
    probes = analysis.probes
    if "rewind" not in probes:
        return None
    result = probes["rewind"]
    if "loss_rise" not in result.arrays or not len(result.steps):
        return None
    names = analysis.shown.names
    layers = layers_of(analysis, result, "loss_rise")
    found = predictions(layers)
    last = int(result.attributes["last"])
    steps = [int(step) for step in result.steps if int(step) != last]
    ordered = sorted(layers, key=lambda one: one.rank or len(layers) + 1)
    squared = result.attributes.get("loss") == "mse"
    return {
        "proof": result.proof,
        "of": "mean squared error" if squared else "loss",
        "by": DEFAULT,
        "last": last,
        "steps": steps,
        "has_random": "random_loss_rise" in result.arrays,
        "rows": [
            {
                "rank": one.rank,
                "layer": one.layer,
                "short": names.get(one.layer, one.layer),
                "lost": [one.lost[step] for step in steps],
                "random": one.random,
                "moved": one.moved,
                DEFAULT: one.metrics.get(DEFAULT),
            }
            for one in ordered
        ],
        "prediction": [one.to_json() for one in found if one.tells],
        "notes": [*summary_of(result), *prediction_said(found)],
    }
