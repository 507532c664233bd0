"""Track a LightningModule while it trains."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from accweight_adapters.callbacks.training import State, TrackedTraining
from accweight_adapters.torch.lightning import bare_names
from accweight_core.live.flat_shards import has_flat_shards
from accweight_core.live.schedule import Every
from accweight_core.live.tracker import ChangeTracker
from accweight_core.live.weights import state_of

if "lightning.pytorch" in sys.modules and not TYPE_CHECKING:  # one library under two names
    from lightning.pytorch import Callback
else:
    from pytorch_lightning import Callback


class ChangeCallback(Callback):  # type: ignore[misc]
    """Gives a `ChangeTracker` the weights before training and after every epoch or `every` steps.

    A step is Lightning's `global_step`, also where updates are per epoch. Figures are those in
    `trainer.callback_metrics`; where updates are per step, also the loss of the batch.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | None = None,
        *,
        every: Every = "epoch",
        **options: Any,
    ) -> None:
        """Create it.

        Args:
            store: Folder of an analysis (NAME.accw) that every step is written to. Training that
                is resumed from a checkpoint continues it. Without one, or where processes hold
                shards, the tracker's state, 16 bytes per float32 weight, is in the checkpoints of
                Lightning.
            every: ``"epoch"``, or steps as of `ChangeTracker`, such as 100.
            options: Further options of `ChangeTracker`.

        Raises:
            ArgumentTypeError, ArgumentValueError: If `every` is neither.
        """
        self._training = TrackedTraining(store, every, "epoch", options)
        self._saved: State | None = None
        self._key = {"store": None if store is None else os.fspath(store)}

    @property
    def tracker(self) -> ChangeTracker | None:
        """The tracker; None before training."""
        return self._training.tracker

    @property
    def state_key(self) -> str:
        """Name of its state in checkpoints, so that one trainer may have several."""
        return str(self._generate_state_key(**self._key))

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Take the weights on their device, restored if they were, before they are trained."""
        self._training.begin(trainer.global_step, self._saved)
        self._offer(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the weights if this step is due."""
        if not self._training.is_by_period:
            loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
            self._offer(trainer, pl_module, loss=loss)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Take the weights and the figures, of validation as well, after an epoch."""
        if self._training.is_by_period:
            self._offer(trainer, pl_module)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Take the last step, due or not."""
        self._offer(trainer, pl_module, force=True)
        self._training.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Write what was taken."""
        self._training.close()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the tracker, unless that is in the store."""
        state = self._training.state()
        return {"tracker": state} if state else {}

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        """Have in the store what a training that goes on from this checkpoint will not repeat."""
        self._training.flush()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep a state until training begins."""
        self._saved = state_dict.get("tracker")

    def _offer(self, trainer: Any, module: Any, *, force: bool = False, **figures: Any) -> None:
        self._training.offer(
            trainer.global_step,
            partial(_weights, trainer, module),
            lambda: {**figures, **trainer.callback_metrics},
            force=force,
        )


def _weights(trainer: Any, module: Any) -> dict[str, Any]:
    """Return the weights by the names that they have in a checkpoint read from its file."""
    wrapped = trainer.strategy.model  # of FSDPStrategy: the shards are those of the wrapper
    state = state_of(wrapped if has_flat_shards(wrapped) else module)
    return dict(zip(bare_names(state), state.values(), strict=True))
