"""Trains a tiny model in a framework, is killed, goes on from the framework's own checkpoint.

    python killed_training.py FRAMEWORK FOLDER SEED [KILLS]

Run as a program of its own: the framework is imported once, and every training is a fork that has
no threads yet. The store of one that was never killed is in FOLDER/whole, that of one that was
killed (twice, each time right after a checkpoint, while steps wait to be written) in FOLDER/killed.
With KILLS, trainings are killed so many times in all, each time at any moment, and go on until they
are finished: FOLDER/killed_0, killed_1 and so on.
"""

from __future__ import annotations

import importlib
import os
import random
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch

import accweight_core as aw
from accweight_core.live.writing import BackgroundWriter, WaitingStep

STEPS, SAVED_EVERY = 12, 3
X = np.random.default_rng(0).random((8, 4), np.float32)
Y = X.sum(1, keepdims=True)

Saved = Callable[[int], None]
"""Called with a step when its checkpoint is on disk."""


def trained_by_jax(folder: Path, saved: Saved) -> None:
    """Train in a loop of JAX that saves its variables as msgpack of Flax."""
    import flax.linen as nn
    import jax
    import optax
    from flax import serialization

    network, optimizer, file = nn.Dense(3), optax.adam(0.01), folder / "last.msgpack"
    variables = network.init(jax.random.key(0), X)
    state, done = optimizer.init(variables), 0
    if file.exists():
        variables, state, done = serialization.from_bytes(
            (variables, state, done), file.read_bytes()
        )

    def loss_of(variables: Any) -> Any:
        return ((network.apply(variables, X) - Y) ** 2).mean()

    with aw.ChangeTracker(folder / "run.accw", every=2, resume=True, errors="raise") as tracker:
        tracker.update(variables, done)
        for step in range(done + 1, STEPS + 1):
            gradients = jax.grad(loss_of)(variables)
            updates, state = optimizer.update(gradients, state)
            variables = optax.apply_updates(variables, updates)
            tracker.update(variables, step)
            if step % SAVED_EVERY == 0:
                tracker.flush()
                draft = file.with_suffix(".draft")
                draft.write_bytes(serialization.to_bytes((variables, state, step)))
                draft.replace(file)
                saved(step)


def trained_by_torch(folder: Path, saved: Saved, **options: Any) -> None:
    """Train in a loop of PyTorch that saves the state of the tracker with the model."""
    torch.manual_seed(0)
    model, file = torch.nn.Linear(4, 3), folder / "last.pt"
    optimizer, done = torch.optim.Adam(model.parameters(), lr=0.01), 0
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    is_begun = file.exists()
    if not is_begun and not options.get("keep_state", True):
        shutil.rmtree(folder / "run.accw", ignore_errors=True)  # nothing to go on from
    with aw.ChangeTracker(folder / "run.accw", resume=True, errors="raise", **options) as tracker:
        if is_begun:
            last = torch.load(file, weights_only=True)
            model.load_state_dict(last["model"])
            optimizer.load_state_dict(last["optimizer"])
            done = last["step"]
            tracker.load_state_dict(last["tracker"])
        else:
            tracker.update(model, 0)
        for step in range(done + 1, STEPS + 1):
            loss = (model(x) - y).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            tracker.update(model, step, loss=loss)
            if step % SAVED_EVERY == 0:
                tracker.flush()
                draft = file.with_suffix(".draft")
                states = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                torch.save({**states, "step": step, "tracker": tracker.state_dict()}, draft)
                draft.replace(file)
                saved(step)


def trained_by_keras(folder: Path, saved: Saved) -> None:
    """Train epochs of one batch, backed up after each: within one, Keras would repeat it."""
    import keras

    from accweight_adapters.callbacks.keras import ChangeCallback

    class Tells(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            saved(epoch + 1)

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Dense(3, "relu"), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    backup = keras.callbacks.BackupAndRestore(folder / "backup")
    tracked = ChangeCallback(folder / "run.accw", every=2, resume=True, errors="raise")
    how = {"epochs": STEPS, "batch_size": 8, "shuffle": False, "verbose": 0}
    model.fit(X, Y, callbacks=[backup, tracked, Tells()], **how)


def trained_by_trainer(folder: Path, saved: Saved) -> None:
    """Train by Hugging Face's Trainer, in epochs of two steps."""
    from transformers import PretrainedConfig, PreTrainedModel, Trainer, TrainerCallback
    from transformers import TrainingArguments as Arguments

    from accweight_adapters.callbacks.transformers import ChangeCallback

    class Network(PreTrainedModel):  # type: ignore[misc]
        config_class = PretrainedConfig

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.fc = torch.nn.Linear(4, 1)
            self.post_init()

        def forward(self, x: Any = None, y: Any = None) -> Any:
            return {"loss": ((self.fc(x) - y) ** 2).mean()}

    class Tells(TrainerCallback):  # type: ignore[misc]
        def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            saved(state.global_step)

    torch.manual_seed(0)
    trainer = Trainer(
        model=Network(PretrainedConfig()),
        args=Arguments(
            str(folder / "run"),
            num_train_epochs=STEPS // 2,
            per_device_train_batch_size=4,
            save_steps=SAVED_EVERY,
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=[{"x": x, "y": y} for x, y in zip(X, Y, strict=True)],
        callbacks=[
            Tells(),
            ChangeCallback(folder / "run.accw", every=1, resume=True, errors="raise"),
        ],
    )
    trainer.train(resume_from_checkpoint=any(folder.glob("run/checkpoint-*")))


def trained_by_lightning(folder: Path, saved: Saved) -> None:
    """Train by Lightning, saved at ends of epochs: within one, it would begin the data anew."""
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import ModelCheckpoint

    from accweight_adapters.callbacks.lightning import ChangeCallback

    class Network(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, index: int) -> Any:
            return ((self.fc(batch[0]) - batch[1]) ** 2).mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=0.01)

    class Checkpoint(ModelCheckpoint):  # type: ignore[misc]
        def _save_checkpoint(self, trainer: Any, filepath: str) -> None:
            super()._save_checkpoint(trainer, filepath)
            saved(trainer.global_step)

    torch.manual_seed(0)
    tracked = ChangeCallback(folder / "run.accw", every=1, resume=True, errors="raise")
    files = Checkpoint(folder / "files", every_n_train_steps=SAVED_EVERY, save_top_k=-1)
    loader = torch.utils.data.DataLoader(list(zip(X, Y, strict=True)), 8)
    trainer = pl.Trainer(
        max_steps=STEPS, logger=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu", callbacks=[tracked, files],
    )  # fmt: skip
    last = max(folder.glob("files/*"), key=lambda path: path.stat().st_mtime_ns, default=None)
    trainer.fit(Network(), loader, ckpt_path=last)


def trained_by_sb3(folder: Path, saved: Saved) -> None:
    """Learn by PPO with a rollout per step, saved within rollouts, whose rest is lost."""
    import gymnasium
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback

    from accweight_adapters.callbacks.stable_baselines3 import ChangeCallback

    length, file = 8, folder / "last.zip"

    class Saves(BaseCallback):  # type: ignore[misc]
        def _on_step(self) -> bool:
            rollout, within = divmod(self.model.num_timesteps, length)
            if within == 2 and rollout and rollout % SAVED_EVERY == 0:
                self.model.save(folder / "draft.zip")
                (folder / "draft.zip").replace(file)
                saved(rollout)
            return True

    tracked = ChangeCallback(folder / "run.accw", every=length, resume=True, errors="raise")
    if file.exists():
        model = PPO.load(file)
        model.set_env(gymnasium.make("CartPole-v1"))
    else:
        net = {"net_arch": [4]}
        model = PPO("MlpPolicy", "CartPole-v1", n_steps=length, batch_size=8, seed=0,
                    n_epochs=1, policy_kwargs=net, device="cpu")  # fmt: skip
    rest = STEPS * length - model.num_timesteps
    model.learn(rest, reset_num_timesteps=not file.exists(), callback=[Saves(), tracked])


BY_NAME: dict[str, tuple[Callable[[Path, Saved], None], tuple[str, ...]]] = {
    "torch": (trained_by_torch, ("torch._dynamo",)),
    "torch, no state": (partial(trained_by_torch, keep_state=False), ("torch._dynamo",)),
    "torch, files": (partial(trained_by_torch, state_in="files"), ("torch._dynamo",)),
    "jax": (trained_by_jax, ("jax", "optax", "flax.linen", "flax.serialization")),
    "keras": (trained_by_keras, ("accweight_adapters.callbacks.keras",)),
    "trainer": (trained_by_trainer, ("transformers.trainer",)),
    "lightning": (trained_by_lightning, ("pytorch_lightning",)),
    "sb3": (trained_by_sb3, ("stable_baselines3",)),
}
"""What trains by the name of a framework, and what it imports."""


def write_slowly() -> None:
    """Let every step take longer to write than it takes to train."""
    write = BackgroundWriter._write

    def slowly(self: BackgroundWriter, step: WaitingStep) -> None:
        time.sleep(0.05)
        write(self, step)

    BackgroundWriter._write = slowly  # type: ignore[method-assign]


def started(train: Callable[[Path, Saved], None], folder: Path, last: int | None = None) -> int:
    """Train in another process, which kills itself right after the checkpoint of a step."""
    folder.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if child:
        return child

    def saved(step: int) -> None:
        if step == last:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        train(folder, saved)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(3)


def was_killed(child: int, folder: Path) -> bool:
    """Wait for a training; tell whether it was killed, and end this program if it failed."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, -signal.SIGKILL):
        raise SystemExit(f"the training in {folder} ended with {code}")
    return code != 0


def kill_after_checkpoints(
    train: Callable[[Path, Saved], None], folder: Path, chance: random.Random
) -> None:
    """Train, killed right after two of the checkpoints."""
    for last in sorted(chance.sample(range(SAVED_EVERY, STEPS, SAVED_EVERY), 2)):
        if not was_killed(started(train, folder, last), folder):
            raise SystemExit(f"the training in {folder} was not killed at step {last}")
    was_killed(started(train, folder), folder)


def kill_at_any_moment(
    train: Callable[[Path, Saved], None],
    folder: Path,
    chance: random.Random,
    seconds: float,
    kills: int,
) -> int:
    """Train until it is finished, killed at random moments; return how often it was.

    Args:
        train: Trains.
        folder: Where.
        chance: Source of the moments.
        seconds: How long training takes that is not killed.
        kills: How often to kill it at most.
    """
    for killed in range(kills):
        child = started(train, folder)
        time.sleep(chance.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)  # no other process has its number before it is waited for
        if not was_killed(child, folder):
            return killed
    was_killed(started(train, folder), folder)
    return kills


def main(framework: str, folder: str, seed: str, kills: str = "0") -> None:
    """Train one that is never killed, and one that is, or several."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    write_slowly()
    train, modules = BY_NAME[framework]
    for module in modules:  # once, not in every fork
        importlib.import_module(module)
    aw.ChangeTracker().update({"fc.weight": X}).update({"fc.weight": X})
    chance = random.Random(int(seed))
    begin = time.monotonic()
    was_killed(started(train, Path(folder, "whole")), Path(folder, "whole"))
    seconds, left = time.monotonic() - begin, int(kills)
    if not left:
        kill_after_checkpoints(train, Path(folder, "killed"), chance)
    for number in count():
        if left <= 0:
            break
        place = Path(folder, f"killed_{number}")
        left -= kill_at_any_moment(train, place, chance, seconds, min(left, 4))


if __name__ == "__main__":
    main(*sys.argv[1:])
