"""The callback of Stable-Baselines3, in real learning, held against files that it saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from framework_runs import check_same, measures_of, ran

import accweight_core as aw

pytest.importorskip("stable_baselines3")

from stable_baselines3 import DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback

from accweight_adapters.callbacks.stable_baselines3 import ChangeCallback

pytestmark = pytest.mark.filterwarnings("ignore")  # of gymnasium


class Saves(BaseCallback):  # type: ignore[misc]
    """Saves the algorithm whenever its weights may have changed, and keeps their losses."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.losses = folder, dict[int, float]()

    def _save(self) -> None:
        self.model.save(self.folder / f"model_{self.model.num_timesteps}_steps.zip")
        loss = self.model.logger.name_to_value.get("train/loss", np.nan)
        self.losses[self.model.num_timesteps] = float(loss)

    def _on_step(self) -> bool:
        return True

    _on_rollout_start = _on_training_end = _save


def ppo() -> Any:
    options = {"n_steps": 64, "batch_size": 32, "n_epochs": 2, "seed": 0, "device": "cpu"}
    return PPO("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [8, 8]}, **options)


def dqn() -> Any:
    options = {"learning_starts": 20, "buffer_size": 100, "batch_size": 8, "device": "cpu"}
    return DQN("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [8]}, seed=0, **options)


def files(folder: Path, *steps: int) -> list[Path]:
    return [folder / f"model_{step}_steps.zip" for step in steps]


def test_the_page_of_the_docs_tracks_its_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    ran("stable-baselines3")

    assert aw.open_analysis("run.accw").steps.tolist() == [0, 64, 128, 192]


def test_rollouts_are_tracked_as_files_of_the_library_have_them(tmp_path: Path) -> None:
    saves = Saves(tmp_path / "files")

    ppo().learn(192, callback=[ChangeCallback(tmp_path / "run.accw", errors="raise"), saves])

    analysis = aw.open_analysis(tmp_path / "run.accw")
    check_same(analysis, tmp_path / "files", 0, 64, 128, 192)
    losses = measures_of(analysis, "loss")
    np.testing.assert_array_equal(losses, [saves.losses[step] for step in (0, 64, 128, 192)])
    assert np.isfinite(losses[1:]).all()
    assert np.isfinite(measures_of(analysis, "ep_rew_mean")[1:]).all()


def test_short_rollouts_are_taken_by_number_and_the_last_one_always(tmp_path: Path) -> None:
    callback = ChangeCallback(tmp_path / "run.accw", every=40, errors="raise")

    dqn().learn(96, callback=[callback, Saves(tmp_path / "files")])

    steps = 0, 40, 80, 96
    analysis = aw.open_analysis(tmp_path / "run.accw")
    check_same(analysis, files(tmp_path / "files", *steps), *steps)


def test_a_loaded_algorithm_goes_on_where_it_was(tmp_path: Path) -> None:
    store = tmp_path / "run.accw"
    model = ppo()
    model.learn(128, callback=[ChangeCallback(store, errors="raise"), Saves(tmp_path / "files")])
    model.save(tmp_path / "last.zip")

    loaded = PPO.load(tmp_path / "last.zip", model.get_env())
    again = [ChangeCallback(store, errors="raise"), Saves(tmp_path / "files")]
    loaded.learn(64, callback=again, reset_num_timesteps=False)

    check_same(aw.open_analysis(store), tmp_path / "files", 0, 64, 128, 192)
