"""Track a model while Hugging Face's Trainer trains it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback

from accweight_adapters.callbacks.training import TrackedTraining
from accweight_adapters.hf_trainer_state import NOT_MEASURED
from accweight_core.live.schedule import Every
from accweight_core.live.tracker import ChangeTracker


class ChangeCallback(TrainerCallback):  # type: ignore[misc]
    """Gives a `ChangeTracker` the weights before training and after every epoch or `every` steps.

    A step is the Trainer's `global_step`, also where updates are per epoch. The Trainer logs and
    evaluates after it tells of the end of a step or epoch, so weights are taken when the next one
    begins: they are the same, and have their own figures. Figures are the last values logged.
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
                is resumed from a checkpoint continues it.
            every: ``"epoch"``, or steps as of `ChangeTracker`, such as 100.
            options: Further options of `ChangeTracker`.

        Raises:
            ArgumentTypeError, ArgumentValueError: If `every` is neither.
        """
        self._training = TrackedTraining(store, every, "epoch", options)
        self._logged: dict[str, Any] = {}

    @property
    def tracker(self) -> ChangeTracker | None:
        """The tracker; None before training."""
        return self._training.tracker

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Take the weights, restored if they were, before they are trained."""
        self._logged.clear()
        self._training.begin(state.global_step)
        self._offer(state, given)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Take the weights after the epoch before."""
        if self._training.is_by_period:
            self._offer(state, given)

    def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Take the weights after the step before, if that is due."""
        if not self._training.is_by_period:
            self._offer(state, given)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        """Keep the figures."""
        self._logged |= {n: v for n, v in (logs or {}).items() if not NOT_MEASURED.fullmatch(n)}

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Have in the store what a training that goes on from a checkpoint will not repeat.

        `on_save` comes when the checkpoint is there already, and the process may have been killed.
        """
        if control.should_save:
            self._training.flush()

    def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Likewise, if the checkpoint was not announced: other callbacks may ask for one."""
        self._training.flush()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Take the last weights, unless they are evaluated first or stay until the end."""
        if control.should_save:
            self._training.flush()
        if args.load_best_model_at_end and not control.should_evaluate:
            self._offer_last(state, control, given)

    def on_evaluate(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Take the last weights if the best ones are about to be loaded over them."""
        if args.load_best_model_at_end:
            self._offer_last(state, control, given)

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Take the last step, due or not, and write what is not in the store yet."""
        if not args.load_best_model_at_end:
            self._offer(state, given, force=True)
        self._training.close()

    def _offer_last(self, state: Any, control: Any, given: Mapping[str, Any]) -> None:
        if control.should_training_stop or state.global_step >= state.max_steps:
            self._offer(state, given, force=True)

    def _offer(self, state: Any, given: Mapping[str, Any], *, force: bool = False) -> None:
        self._training.offer(
            state.global_step,
            lambda: given["model"],
            lambda: {**self._logged, "epoch": state.epoch},
            force=force,
        )
