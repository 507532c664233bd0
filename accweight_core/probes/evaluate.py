"""The probe `evaluate`: loss, accuracy and confusion at every step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from accweight_core.probes.context import Context
from accweight_core.probes.network import OUTPUT
from accweight_core.probes.probe import Array, Batch, Needs, Probe, Schema, Step, option
from accweight_core.probes.scoring import Form, Loss, check_targets, scoring_of


@dataclass
class Evaluate(Probe):
    """Loss, accuracy and confusion at every step."""

    name, version, needs = "evaluate", 1, Needs.FORWARD
    reading = (
        "Scores of the checkpoints on these samples, in inference mode; what was recorded "
        "while training may be of other samples."
    )

    loss: Loss = option("auto", "loss: by default cross_entropy for classes, mse for numbers")
    output: str = option(OUTPUT, "node that is held against the targets")
    output_is: Form = option("auto", "scores (logits) or probabilities; by default by its values")

    def start(self, context: Context) -> Schema:
        """Return the arrays, by the form of output and targets."""
        context.keep(self.output)
        data, scores = context.data, context.tried(self.output)[self.output]
        check_targets(data)
        self._scoring = scoring_of(self.loss, self.output_is, data, scores)
        return self._scoring.schema(data)

    def begin(self, step: Step) -> None:
        """Start the sums of a step."""
        self._scoring.reset()

    def measure(self, batch: Batch) -> None:
        """Add the samples of a batch."""
        self._scoring.add(batch.outputs[self.output], batch.rows)

    def end(self) -> Mapping[str, Array]:
        """Return loss, accuracy and confusion."""
        return self._scoring.result()
