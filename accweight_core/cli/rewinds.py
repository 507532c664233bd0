"""Format what a rewind found: criticality, and how well metrics of movement predict it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.cli.output import Page
from accweight_core.cli.tables import Table, number
from accweight_core.errors import ArgumentValueError
from accweight_core.metrics.table import DEFAULT
from accweight_core.probes.rewinding.prediction import (
    LayerCriticality,
    Prediction,
    layers_of,
    predictions,
)
from accweight_core.probes.rewinding.said import prediction_said, summary_of
from accweight_core.text import plain

LOST = {"loss": "loss_rise", "mse": "loss_rise", "accuracy": "accuracy_fall"}


@dataclass(frozen=True)
class Shown:
    """What a rewind found, to be shown.

    Attributes:
        result: The results of the probe.
        metric: What is lost: "loss", "mse" or "accuracy".
        asked: Whether the user asked for it.
        layers: The layers beside their movement.
        predictions: How well each metric predicts criticality.
    """

    result: ProbeResult
    metric: str
    asked: bool
    layers: Sequence[LayerCriticality]
    predictions: Sequence[Prediction]

    @classmethod
    def of(
        cls, analysis: Analysis, result: ProbeResult, metric: str | None, seed: int = 0
    ) -> Shown:
        """Return what to show.

        Args:
            analysis: The analysis that holds the results.
            result: The results.
            metric: What is lost; None for the loss.
            seed: Seed of the intervals.

        Raises:
            ArgumentValueError: If there is no accuracy.
        """
        if metric == "accuracy" and "accuracy_fall" not in result.arrays:
            raise ArgumentValueError(
                "the targets are numbers, which have no accuracy; leave out --metric accuracy"
            )
        is_squared = result.attributes.get("loss") == "mse"
        word = metric or ("mse" if is_squared else "loss")
        layers = layers_of(analysis, result, LOST[word])
        return cls(result, word, metric is not None, layers, predictions(layers, seed))

    @property
    def _metrics(self) -> list[str]:
        """What is in the document: what was asked for, or all that was measured."""
        both = [self.metric, *(["accuracy"] if "accuracy_fall" in self.result.arrays else [])]
        return [self.metric] if self.asked else list(dict.fromkeys(both))

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        result, said = self.result, self.result.attributes
        names = result.labels("layer")
        steps = [int(step) for step in result.steps]
        tables = {metric: result.array(LOST[metric]) for metric in self._metrics}
        drawn = {
            metric: result.array(f"random_{LOST[metric]}")
            for metric in self._metrics
            if f"random_{LOST[metric]}" in result.arrays
        }
        return {
            "proof": result.proof or None,
            "engine": result.engine,
            "out": str(result.path),
            "metric": self.metric,
            "steps": steps,
            "last": said["last"],
            "base": {
                name: dict(zip(result.labels("state"), map(float, values), strict=True))
                for name in ("loss", "accuracy")
                if f"base_{name}" in result.arrays
                for values in [result.array(f"base_{name}")]
            },
            "criticality": [
                {"layer": layer, "step": step, "metric": metric, "value": float(table[row, at])}
                for metric, table in tables.items()
                for at, layer in enumerate(names)
                for row, step in enumerate(steps)
            ],
            "random": [
                {"layer": layer, "draw": draw, "metric": metric, "value": float(values[at])}
                for metric, table in drawn.items()
                for at, layer in enumerate(names)
                for draw, values in enumerate(table)
            ],
            "layers": [
                {
                    "layer": one.layer,
                    "rank": one.rank,
                    "moved": one.moved,
                    "with": said.get("with", {}).get(one.layer, []),
                    **one.metrics,
                }
                for one in self.layers
            ],
            "prediction": [one.to_json() for one in self.predictions],
            "notes": [*summary_of(result), *prediction_said(self.predictions)],
        }

    def page(self) -> Page:
        """Return the tables, with what they say and do not say."""
        result, said = self.result, self.result.attributes
        steps = [int(step) for step in result.steps]
        of = {"loss": "rise of the loss", "mse": "rise of the mean squared error"}
        heading = of.get(self.metric, "fall of the accuracy")
        lines: list[str | Table] = [
            f"Criticality: {heading} when one layer is put back, from step {said['last']} to step",
            "",
            self._table(steps),
            "",
            *(plain(line) for line in summary_of(result)),
        ]
        if result.proof:
            lines.append(f"weights in their places: {result.proof}")
        if not self.predictions:
            return lines
        told = [one for one in self.predictions if one.tells]
        if not told:
            return [*lines, *prediction_said(self.predictions)]
        heads = ("metric", "Spearman", "from", "to", "by chance within")
        rows = [
            (one.by, *(_text(value) for value in (one.spearman, one.low, one.high)), _band(one))
            for one in told
        ]
        return [
            *lines,
            "",
            f"Rank correlation of each metric with criticality at step {steps[0]}",
            "",
            Table.of_rows(heads, rows, *heads[1:]),
            "",
            *prediction_said(self.predictions),
        ]

    def _table(self, steps: Sequence[int]) -> Table:
        has_random = any(not math.isnan(one.random) for one in self.layers)
        heads = ["#", "layer", *map(str, steps), *(["random"] if has_random else []), DEFAULT]
        ordered = sorted(self.layers, key=lambda one: one.rank or len(self.layers) + 1)
        rows = [
            [
                str(one.rank or "-"),
                plain(one.layer),
                *(number(one.lost[step]) for step in steps),
                *([number(one.random)] if has_random else []),
                number(one.metrics.get(DEFAULT, math.nan)),
            ]
            for one in ordered
        ]
        return Table.of_rows(heads, rows, *(head for head in heads if head != "layer"))


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _band(one: Prediction) -> str:
    return "-" if one.null is None else f"+-{one.null:.2f}"
