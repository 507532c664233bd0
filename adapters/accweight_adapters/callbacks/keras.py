"""Track a Keras model while it trains."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import keras

from accweight_adapters.callbacks.training import TrackedTraining
from accweight_core.live.schedule import Every
from accweight_core.live.tracker import ChangeTracker


class ChangeCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Gives a `ChangeTracker` the weights before training and after every epoch or `every` steps.

    A step is a batch, counted on from those that the optimizer has seen, also where updates are per
    epoch and where gradients of several batches are accumulated. Figures are the logs of Keras.
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
            store: Folder of an analysis (NAME.accw) that every step is written to. A model that is
                loaded with its optimizer continues it.
            every: ``"epoch"``, or steps as of `ChangeTracker`, such as 100.
            options: Further options of `ChangeTracker`.

        Raises:
            ArgumentTypeError, ArgumentValueError: If `every` is neither.
        """
        super().__init__()
        self._training = TrackedTraining(store, every, "epoch", options)
        self._before_epoch = self._step = 0
        self._savers: dict[str, Callable[..., Any]] = {}

    @property
    def tracker(self) -> ChangeTracker | None:
        """The tracker; None before training."""
        return self._training.tracker

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Take the weights, which Keras has built by now, before they are trained."""
        self._step = _batches_seen(self.model.optimizer)
        self._training.begin(self._step)
        self._offer({})
        self._savers = _flushing(self.model, self._training.flush)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Count batches from here."""
        self._before_epoch = self._step

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Take the weights if this step is due."""
        self._step = self._before_epoch + batch + 1
        if not self._training.is_by_period:
            self._offer(logs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Take the weights and the figures, of validation as well; those of the last epoch always.

        The end of training is too late: other callbacks restore the best weights there.
        """
        is_last = epoch + 1 == self.params["epochs"]
        if self._training.is_by_period or is_last:
            self._offer(logs, force=is_last)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Write what is not in the store yet."""
        for name, saver in self._savers.items():
            if vars(self.model).get(name) is saver:
                delattr(self.model, name)
        self._training.close()

    def _offer(self, logs: Mapping[str, Any] | None, *, force: bool = False) -> None:
        self._training.offer(self._step, lambda: self.model, lambda: logs or {}, force=force)


def _flushing(model: Any, flush: Callable[[], None]) -> dict[str, Callable[..., Any]]:
    """Let a model have all steps in the store before it is saved; return its methods that do.

    A training that goes on from the file will not repeat them. Keras tells callbacks nothing of
    saving, and other callbacks save at any batch; waiting after each step would slow down training.
    """

    def flushed(save: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(save)
        def saver(*given: Any, **options: Any) -> Any:
            flush()
            return save(*given, **options)

        return saver

    savers = {name: flushed(getattr(model, name)) for name in ("save", "save_weights")}
    for name, saver in savers.items():
        setattr(model, name, saver)
    return savers


def _batches_seen(optimizer: Any) -> int:
    """Return the batches that an optimizer was applied to; it is stored with the model.

    `optimizer.iterations` are fewer where gradients are accumulated: whole groups of batches.
    """
    counting = getattr(optimizer, "inner_optimizer", optimizer)  # of one that scales losses
    return next(int(v.numpy()) for v in counting.variables if v.name == "iteration")
