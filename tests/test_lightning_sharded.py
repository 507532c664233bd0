"""Lightning with a sharded model in two processes: killed, and continued from its checkpoint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_tracker_store import assert_same
from torch import distributed

import accweight_core as aw

pytest.importorskip("pytorch_lightning.strategies.model_parallel")
pytestmark = pytest.mark.skipif(not distributed.is_gloo_available(), reason="needs gloo")

SCRIPT = """
import os, signal, sys, warnings
warnings.simplefilter("ignore")
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader, TensorDataset

from accweight_adapters.callbacks.lightning import ChangeCallback

out, killed_at = sys.argv[1], int(sys.argv[2])


class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(65, 97), nn.ReLU(), nn.Linear(97, 3))

    def configure_model(self):
        mesh = self.device_mesh["data_parallel"]
        fully_shard(self.model[0], mesh=mesh)
        fully_shard(self.model, mesh=mesh)

    def training_step(self, batch, index):
        if self.global_step == killed_at:
            open(f"{out}/reached", "w").close()
            signal.pause()
        loss = nn.functional.cross_entropy(self.model(batch[0]), batch[1])
        self.log("loss", loss, on_epoch=True, on_step=False)  # of each process alone
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.05)


torch.set_num_threads(1)
inputs = torch.randn(64, 65, generator=torch.Generator().manual_seed(1))
loader = DataLoader(TensorDataset(inputs, (inputs.sum(1) > 0).long()), 8)
trainer = pl.Trainer(
    max_epochs=2,
    accelerator="cpu",
    devices=2,
    strategy=ModelParallelStrategy(2, 1, process_group_backend="gloo"),
    callbacks=[
        ChangeCallback(f"{out}/run.accw"),
        ModelCheckpoint(out, save_last=True, every_n_epochs=1),
    ],
    logger=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
last = f"{out}/last.ckpt"
trainer.fit(Module(), loader, ckpt_path=last if os.path.exists(last) else None)
"""


def trained(folder: Path, killed_at: int = -1) -> int:
    """Train to the end, or to a step at which all processes are killed; return the exit status."""
    folder.mkdir(exist_ok=True)
    script = folder.parent / "train.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(folder), str(killed_at)]
    with open(folder / "log", "w") as log:
        training = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    while killed_at >= 0 and not (folder / "reached").exists():
        assert training.poll() is None, (folder / "log").read_text()
        time.sleep(0.1)
    if killed_at >= 0:
        os.killpg(training.pid, signal.SIGKILL)
    return training.wait()


@pytest.mark.timeout(900)  # three trainers of two processes, each of which imports Lightning
def test_sharded_training_that_was_killed_goes_on_with_the_bits_of_one_go(tmp_path: Path) -> None:
    one_go, killed = tmp_path / "one_go", tmp_path / "killed"

    assert trained(one_go) == 0
    assert trained(killed, killed_at=6) == -signal.SIGKILL
    assert trained(killed) == 0

    expected, found = (aw.open_analysis(folder / "run.accw") for folder in (one_go, killed))
    assert expected.steps.tolist() == [0, 4, 8]
    assert_same(found, expected)
