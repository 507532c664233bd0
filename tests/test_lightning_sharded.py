"""Lightning with a sharded model in two processes: killed, and continued from its checkpoint."""

from __future__ import annotations

import os
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gloo_processes import Scenes, die_together, play
from test_tracker_store import assert_same
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.utils.data import DataLoader, TensorDataset

import accweight_core as aw

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("pytorch_lightning.strategies.model_parallel")
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import ModelCheckpoint
    from pytorch_lightning.strategies import FSDPStrategy, ModelParallelStrategy

from accweight_adapters.callbacks.lightning import ChangeCallback

KILLED_AT = 6
"""The step at which processes are killed; there is a checkpoint of step 4."""

pytestmark = [
    pytest.mark.skipif(not distributed.is_gloo_available(), reason="needs gloo"),
    pytest.mark.filterwarnings("ignore"),  # Lightning advises on workers and devices
]


class Module(pl.LightningModule):  # type: ignore[misc, name-defined]
    """A network that may be killed while it trains."""

    def __init__(self, killed_at: int = -1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(65, 97), nn.ReLU(), nn.Linear(97, 3))
        self.killed_at = killed_at

    def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
        """Return the loss of a batch."""
        if self.global_step == self.killed_at:
            die_together()
        loss = nn.functional.cross_entropy(self.model(batch[0]), batch[1])
        self.log("loss", loss, on_epoch=True, on_step=False)  # of each process alone
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), lr=0.05)


class ModuleInShards(Module):
    """Sharded as Lightning's guide to fully_shard does."""

    def configure_model(self) -> None:
        """Shard each layer with weights, and the rest."""
        mesh = self.device_mesh["data_parallel"]
        fully_shard(self.model[0], mesh=mesh)
        fully_shard(self.model, mesh=mesh)


class FlatShards(FSDPStrategy):  # type: ignore[misc]
    """The strategy as it is on GPUs, as Lightning and torch refuse CPUs unless they are named."""

    def _setup_model(self, model: nn.Module) -> FullyShardedDataParallel:
        given: dict[str, Any] = {"device_id": torch.device("cpu"), **self.kwargs}
        return FullyShardedDataParallel(model, **given)


STRATEGIES = {
    "fully_shard": (ModuleInShards, lambda: ModelParallelStrategy(2, 1)),
    "flat": (Module, lambda: FlatShards(state_dict_type="sharded")),
    "flat_layers": (
        Module,
        lambda: FlatShards(state_dict_type="sharded", auto_wrap_policy={nn.Linear}),
    ),
}
"""The module and the strategy, by the name of a folder."""


def train(name: str, run: str, killed_at: int, place: int, processes: int, out: Path) -> None:
    os.environ |= {"LOCAL_RANK": str(place), "WORLD_SIZE": str(processes), "NODE_RANK": "0"}
    module, strategy = STRATEGIES[name]
    folder = out / name / run
    inputs = torch.randn(64, 65, generator=torch.Generator().manual_seed(1))
    loader = DataLoader(TensorDataset(inputs, (inputs.sum(1) > 0).long()), 8)
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=2,
        strategy=strategy(),
        callbacks=[
            ChangeCallback(folder / "run.accw"),
            ModelCheckpoint(folder, save_last=True, every_n_epochs=1),
        ],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    last = folder / "last.ckpt"
    trainer.fit(module(killed_at), loader, ckpt_path=last if last.exists() else None)


def until_killed(name: str, place: int, processes: int, out: Path) -> None:
    train(name, "killed", KILLED_AT, place, processes, out)


KILLED = ("fully_shard", "flat")

SCENES: Scenes = [
    *((partial(train, name, "one_go", -1), 2) for name in STRATEGIES),
    *((partial(until_killed, name), 2) for name in KILLED),
    *((partial(train, name, "killed", -1), 2) for name in KILLED),
]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the processes of all scenes have written."""
    folder = tmp_path_factory.mktemp("played")
    play(folder, SCENES)
    return folder


@pytest.mark.parametrize("name", KILLED)
def test_sharded_training_that_was_killed_goes_on_with_the_bits_of_one_go(
    played: Path, name: str
) -> None:
    expected, found = (
        aw.open_analysis(played / name / run / "run.accw") for run in ("one_go", "killed")
    )

    assert expected.steps.tolist() == [0, 4, 8]
    assert_same(found, expected)


@pytest.mark.parametrize("name", ["flat", "flat_layers"])
def test_any_strategy_gives_the_numbers_of_the_same_training(played: Path, name: str) -> None:
    expected, found = (
        aw.open_analysis(played / n / "one_go" / "run.accw") for n in ("fully_shard", name)
    )

    assert [p.name for p in found.parameters] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert [p.shape for p in found.parameters] == [(97, 65), (97,), (3, 97), (3,)]
    np.testing.assert_allclose(found.values, expected.values, rtol=4e-12)
