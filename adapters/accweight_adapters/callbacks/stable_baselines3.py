"""Track an algorithm of Stable-Baselines3 while it learns."""

from __future__ import annotations

import os
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import safe_mean

from accweight_adapters.callbacks.training import TrackedTraining
from accweight_core.live.schedule import Every
from accweight_core.live.tracker import ChangeTracker


class ChangeCallback(BaseCallback):  # type: ignore[misc]
    """Gives a `ChangeTracker` the weights before learning and after rollouts and their training.

    A step is `num_timesteps`. Weights change between rollouts only, so they are taken when the next
    one begins: at step t they are those that all timesteps up to t have trained. Figures are what
    the training since then logged, without `train/`, and the mean reward of recent episodes.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | None = None,
        *,
        every: Every = "rollout",
        **options: Any,
    ) -> None:
        """Create it.

        Args:
            store: Folder of an analysis (NAME.accw) that every step is written to. Learning with
                ``reset_num_timesteps=False`` continues it.
            every: ``"rollout"``, or timesteps as of `ChangeTracker`, such as 10_000.
            options: Further options of `ChangeTracker`.

        Raises:
            ArgumentTypeError, ArgumentValueError: If `every` is neither.
        """
        super().__init__()
        self._training = TrackedTraining(store, every, "rollout", options)

    @property
    def tracker(self) -> ChangeTracker | None:
        """The tracker; None before learning."""
        return self._training.tracker

    def _on_training_start(self) -> None:
        self._training.begin(self.model.num_timesteps)
        self._offer()

    def _on_rollout_start(self) -> None:
        self._offer()
        self._training.flush()  # other callbacks save within the rollout, and tell nobody

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self._offer(force=True)
        self._training.close()

    def _offer(self, *, force: bool = False) -> None:
        self._training.offer(
            self.model.num_timesteps, lambda: self.model, self._figures, force=force
        )

    def _figures(self) -> dict[str, Any]:
        logged = self.logger.name_to_value
        mark = "train/"
        found = {n.removeprefix(mark): v for n, v in logged.items() if n.startswith(mark)}
        episodes = self.model.ep_info_buffer
        if episodes:
            found["ep_rew_mean"] = safe_mean([episode["r"] for episode in episodes])
        return found
