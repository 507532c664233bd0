"""What is differentiated at every sample: its loss, or the output of its class.

Gradients are of single samples: those of a whole batch would cancel out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from accweight_core.errors import ArgumentValueError
from accweight_core.probes.context import Context
from accweight_core.probes.network import OUTPUT, BoundNetwork, filled_up, samples_at_once
from accweight_core.probes.probe import Array, Batch
from accweight_core.probes.scoring import Form, Loss, Scoring, scoring_of
from accweight_core.probes.varied import Explained

What = Literal["auto", "loss", "output"]
"""What is differentiated; auto: the loss if there are targets."""


@dataclass(frozen=True)
class Differentiated:
    """What is differentiated.

    Attributes:
        of: How outputs are held against targets, or which output is explained.
        at_once: Samples that the network takes at a time; 0 for any.
    """

    of: Scoring | Explained
    at_once: int

    @classmethod
    def chosen(
        cls, context: Context, what: What, loss: Loss, form: Form, at: int
    ) -> Differentiated:
        """Return it for the samples of a probe.

        Args:
            context: What the probe is told.
            what: What the user asks for.
            loss: The loss.
            form: What the outputs are.
            at: Position of the output, where there are several.

        Raises:
            ArgumentValueError: If there is no loss, or no such output.
        """
        scores, data = context.tried()[OUTPUT], context.data
        at_once = samples_at_once(context.network.inputs)
        if what == "loss" and not data.has_targets:
            raise ArgumentValueError(
                f"probe {context.probe!r}: {data.path} has no targets, so there is no loss; "
                "save them as y, or say of=output"
            )
        if what != "output" and data.has_targets:
            return cls(scoring_of(loss, form, data, scores), at_once)
        return cls(Explained.of(context, scores, at), at_once)

    @property
    def word(self) -> str:
        """What is differentiated, in a word."""
        return "output" if isinstance(self.of, Explained) else "loss"

    def factors(self, batch: Batch) -> Array:
        """Return what is differentiated as factors of the output of each sample, of its shape."""
        scores = batch.outputs[OUTPUT]
        if not isinstance(self.of, Explained):
            return self.of.gradient(scores, batch.rows)
        numbers, _ = self.of.chosen(scores, batch.targets)
        found = np.zeros(scores.shape)
        for own, number in zip(found, numbers, strict=True):
            own[self.of.unit(int(number))] = 1
        return found

    def gradients(
        self, network: BoundNetwork, batch: Batch, wrt: Sequence[str]
    ) -> Iterator[Mapping[str, Array]]:
        """Yield the gradients of every sample, one after the other, by name.

        Args:
            network: The network with its weights.
            batch: The samples, and their output.
            wrt: Nodes and parameters.
        """
        factors = self.factors(batch)
        for at in range(len(batch.rows)):
            own = {name: value[at : at + 1] for name, value in batch.inputs.items()}
            of = np.zeros((max(self.at_once, 1), *factors.shape[1:]), factors.dtype)
            of[0] = factors[at]
            yield dict(network.gradient(filled_up(own, self.at_once), (OUTPUT, of), wrt))
