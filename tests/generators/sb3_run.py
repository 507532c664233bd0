"""Writes the checkpoints of a real run of Stable-Baselines3 into the folder named.

Called by `tests/test_sb3_reader.py`.
The weights as the library has them in memory are written beside, in `expected`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback


class Expected(BaseCallback):
    """Keeps the weights of the policy at the steps at which a checkpoint is saved."""

    def __init__(self, folder: Path, every: int) -> None:
        super().__init__()
        self.folder, self.every = folder, every
        folder.mkdir(parents=True)

    def _on_step(self) -> bool:
        if self.n_calls % self.every == 0:
            torch.save(self.model.policy.state_dict(), self.folder / f"{self.num_timesteps}.pt")
        return True


def write(folder: Path) -> None:
    """Train for 192 steps of the environment, with a checkpoint every 64."""
    options = {"n_steps": 64, "batch_size": 32, "n_epochs": 2, "seed": 0, "device": "cpu"}
    net = {"net_arch": [8, 8]}
    model = PPO("MlpPolicy", "CartPole-v1", policy_kwargs=net, **options)
    keep = CheckpointCallback(64, str(folder / "run"), name_prefix="ppo", save_replay_buffer=True)
    model.learn(192, callback=[keep, Expected(folder / "expected", 64)])


if __name__ == "__main__":
    write(Path(sys.argv[1]))
