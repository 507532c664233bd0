"""Writes `tests/data/dcp_sharded`: a distributed checkpoint whose tensors are cut over ranks.

Four processes take half a minute to start, so its files are kept in the repository. To write
them anew, with nothing but torch::

    python tests/generators/dcp_sharded.py tests/data/dcp_sharded
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import multiprocessing
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

RANKS = 4
STEPS = (10, 20)


def whole(step: int) -> dict[str, torch.Tensor]:
    """Return the tensors before they are cut."""
    rows = torch.arange(35, dtype=torch.float32).reshape(7, 5) / 8 + step
    return {
        "layer10.weight": rows,
        "layer2.weight": rows.T.contiguous(),
        "layer2.bias": torch.full((5,), float(step)),
        "half.weight": rows.bfloat16(),
        "eighth.weight": rows.to(torch.float8_e4m3fn),
        "table.codes": torch.arange(6),
    }


CUTS = {
    "layer10.weight": (Shard(0), Shard(1)),
    "layer2.weight": (Shard(1), Replicate()),
    "layer2.bias": (Replicate(), Replicate()),
    "half.weight": (Replicate(), Shard(0)),
    "eighth.weight": (Shard(0), Replicate()),
    "table.codes": (Shard(0), Replicate()),
}


def _work(rank: int, folder: Path) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517"}
    dist.init_process_group("gloo", rank=rank, world_size=RANKS)
    mesh = init_device_mesh("cpu", (2, 2))
    os.chdir(folder)  # the metadata notes the path it was given
    for step in STEPS:
        tensors = whole(step)
        model = {
            name: distribute_tensor(tensors[name], mesh, CUTS[name], src_data_rank=None)
            for name in tensors
        }
        moments = {name: {"exp_avg": tensor} for name, tensor in model.items()}
        optimizer = {"state": moments, "param_groups": [{"lr": 0.1, "params": list(model)}]}
        dcp.save({"model": model, "optim": optimizer}, checkpoint_id=f"step-{step}")
    dist.destroy_process_group()


def write(folder: Path) -> None:
    """Write two checkpoints of four ranks."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    multiprocessing.spawn(_work, args=(folder,), nprocs=RANKS)


if __name__ == "__main__":
    write(Path(sys.argv[1]).resolve())
