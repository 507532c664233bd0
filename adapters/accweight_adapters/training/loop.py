"""The training loop: epochs of updates with a checkpoint after each, initial weights first.

Loss and accuracy of an epoch are averages over its updates, each computed before the update, as
usual; those of epoch 0 are computed on the same samples without updates. Validation follows each
epoch. The order of samples depends only on seed and epoch, so that a resumed run has the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from accweight_adapters.training.artifacts import Session
from accweight_adapters.training.config import Epochs
from accweight_adapters.training.folder import RunFolder
from accweight_adapters.training.library import reason_of
from accweight_adapters.training.loss import right
from accweight_adapters.training.setup import Setup
from accweight_core.errors import AccweightError, NonFiniteError
from accweight_core.samples.samples import Array, Data, batches

VALIDATION: Final = "validation_"
SHUFFLE: Final = 1
"""Random stream for the order of samples; another one draws the validation samples."""


@dataclass(frozen=True, slots=True)
class Done:
    """Progress of the training.

    Attributes:
        epoch: The epoch; 0 for the evaluation of the initial weights.
        batch: Finished batches of the epoch.
        of: Batches per epoch.
        measures: Its loss and accuracy so far.
        saved: Path of its checkpoint, once saved.
    """

    epoch: int
    batch: int
    of: int
    measures: dict[str, float]
    saved: Path | None = None


Watch = Callable[[Done], None]


@dataclass
class _Mean:
    """Mean loss and accuracy over the samples so far."""

    samples: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, count: int, values: dict[str, float]) -> None:
        self.samples += count
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + count * value

    @property
    def values(self) -> dict[str, float]:
        return {name: total / self.samples for name, total in self.sums.items()}


def trained(
    setup: Setup, session: Session, folder: RunFolder, epochs: Epochs, watch: Watch
) -> dict[int, dict[str, float]]:
    """Train; return the measures of every saved epoch.

    Raises:
        NonFiniteError: If the loss is not finite; finished checkpoints are kept.
        AccweightError: If the user stops it; finished checkpoints are kept.
    """
    history: dict[int, dict[str, float]] = {}
    epoch = epochs.first - 1
    try:
        if epochs.first == 1:
            measures = _walked(setup, session, setup.data, 0, watch)
            measures |= _validated(setup, session)
            _keep(folder, session, 0, measures, watch, history)
        for epoch in range(epochs.first, epochs.last + 1):
            measures = _epoch(setup, session, epochs, epoch, watch)
            measures |= _validated(setup, session)
            if epoch % epochs.save_every == 0 or epoch == epochs.last:
                _keep(folder, session, epoch, measures, watch, history)
    except KeyboardInterrupt:
        raise AccweightError(_interrupted(folder, epoch)) from None
    return history


def _interrupted(folder: RunFolder, epoch: int) -> str:
    kept = folder.checkpoints()
    if not kept:
        return f"stopped before the first checkpoint; {folder.path} holds nothing to keep"
    return (
        f"stopped in epoch {epoch}; {len(kept)} checkpoints up to {kept[-1].name} are in "
        f"{folder.path}: continue with --resume, or analyse them"
    )


def _keep(
    folder: RunFolder,
    session: Session,
    epoch: int,
    measures: dict[str, float],
    watch: Watch,
    history: dict[int, dict[str, float]],
) -> None:
    saved = folder.save(session.state, epoch, measures, resumable=True)
    history[epoch] = measures
    watch(Done(epoch, 0, 0, measures, saved))


def _epoch(
    setup: Setup, session: Session, epochs: Epochs, epoch: int, watch: Watch
) -> dict[str, float]:
    """Make the updates of one epoch; return its measures."""
    chance = np.random.default_rng([epochs.seed, SHUFFLE, epoch])
    order = chance.permutation(len(setup.data))
    return _walked(setup, session, setup.data, epoch, watch, order)


def _walked(
    setup: Setup,
    session: Session,
    data: Data,
    epoch: int,
    watch: Watch | None = None,
    order: Array | None = None,
) -> dict[str, float]:
    """Go through samples: in random order with updates, or in file order without."""
    mean = _Mean()
    size, whole = setup.batch_size, setup.whole_batches
    count = len(data) // size if whole else math.ceil(len(data) / size)
    inputs = setup.network.inputs
    for number, batch in enumerate(batches(data, inputs, size, order, whole=whole), start=1):
        try:
            loss, scores = session.evaluate(batch) if order is None else session.step(batch)
        except RuntimeError as error:
            raise AccweightError(
                f"{setup.network.source}: the runtime failed in epoch {epoch}, batch {number}: "
                f"{reason_of(error)}"
            ) from error
        if not math.isfinite(loss):
            raise NonFiniteError(_lost(setup, epoch, number, order is None))
        values = {"loss": loss}
        if setup.loss.knows_right:
            values["accuracy"] = right(
                setup.loss, scores, batch[-1], classes_last=setup.classes_last
            )
        mean.add(len(batch[-1]), values)
        if watch is not None:
            watch(Done(epoch, number, count, mean.values))
    return mean.values


def _lost(setup: Setup, epoch: int, batch: int, is_look: bool) -> str:
    where = f"{setup.network.source}: the loss is not a number in epoch {epoch}, batch {batch}"
    if is_look and epoch == 0:
        return f"{where}, before any update: the model gives NaN or infinity for these samples"
    return (
        f"{where}: the training has diverged; finished checkpoints are kept; use a smaller "
        "--learning-rate, or scale the samples"
    )


def _validated(setup: Setup, session: Session) -> dict[str, float]:
    """Return the measures on the validation samples."""
    if setup.validation is None:
        return {}
    measures = _walked(setup, session, setup.validation, 0)
    return {VALIDATION + name: value for name, value in measures.items()}
