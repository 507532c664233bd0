"""Whether training that goes on with a store is the one that the store holds."""

from __future__ import annotations

from pathlib import Path

import torch

from accweight_core.analysis.continuity import breaks
from accweight_core.analysis.findings import counted
from accweight_core.live.measuring import Measuring
from accweight_core.live.reports import Reports
from accweight_core.live.shards import is_sharded
from accweight_core.live.weights import Weights, type_of

OTHER_TRAINING = "if this is another training, give it another store"


class Continuing:
    """Compares the first weights of training that goes on with those in its store.

    The store has the weights of its first step and of the last one with a state: an update at one
    of these is compared with them, once. Where training goes on at a later step, that one is told
    like a restart in a folder of checkpoints.
    """

    def __init__(self, path: Path, measuring: Measuring, reports: Reports) -> None:
        """Create it before training goes on.

        Args:
            path: Folder of the analysis.
            measuring: The measurements, with the state in the store.
            reports: Takes what is found.
        """
        self._path, self._measuring, self._reports = path, measuring, reports
        self._stored = len(measuring.steps)
        self._compared = {measuring.steps[0], measuring.steps[-1]}

    def is_compared(self, step: int) -> bool:
        """Tell whether the weights of a step would be compared."""
        return step in self._compared and len(self._measuring.steps) == self._stored

    def compare(self, weights: Weights, step: int) -> None:
        """Tell the user if weights are not those in the store, where `is_compared`.

        Raises:
            MismatchError: If a parameter is missing or has another shape.
        """
        self._compared.discard(step)
        if is_sharded(weights.values.values()):
            return
        names = [name for name in self._measuring.parameters if self._differs(weights, name, step)]
        if names:
            known, last = len(self._measuring.parameters), self._measuring.steps[-1]
            self._reports.tell(
                "other training",
                f"{self._path}: the weights at step {step} are not those in the store "
                f"({len(names)} of {counted(known, 'parameter')}, such as {names[0]}); "
                f"{OTHER_TRAINING}: here, steps up to {last} are skipped, and what follows is "
                "taken for more of the same",
            )

    def _differs(self, weights: Weights, name: str, step: int) -> bool:
        """Tell whether finite weights of a parameter are not those in the store."""
        parameter = self._measuring.parameters[name]
        given = weights.checked(parameter, step, strict=False)
        state, is_first = self._measuring.state(name), step == self._measuring.steps[0]
        dtype = parameter.dtype if is_first else self._measuring.types[name]
        if not isinstance(given, torch.Tensor) or type_of(given) != dtype:
            return False  # of another type, they are rounded
        then = state.reference if is_first else state.previous
        now = given.detach().reshape(-1).cpu().to(then.dtype)
        both = now.isfinite() & then.isfinite()
        return not torch.equal(now[both], then[both])

    def check_step(self) -> None:
        """Tell the user if the first step that was measured since looks like another training."""
        if len(self._measuring.steps) != self._stored + 1:
            return
        header, values = self._measuring.last_two()
        for found in breaks(header, values):
            self._reports.tell("other training", f"{self._path}: {found}; {OTHER_TRAINING}")
