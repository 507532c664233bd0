"""Checkpoints as trainers write them, for tests that need the form and not the trainer.

The real files of each are in `tests/data`, or written by `tests/generators`.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor

DATA = Path(__file__).parent / "data"


def write_lightning(path: Path, state: Mapping[str, Tensor], *, is_zip: bool = True) -> Path:
    """Write what a Trainer of Lightning saves, with settings of a class beside the weights."""
    score = {"monitor": "val_loss", "best_model_score": torch.tensor(0.25)}
    content = {
        "epoch": 1,
        "global_step": 20,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": {f"model.{name}": value for name, value in state.items()},
        "callbacks": {"ModelCheckpoint": {**score, "current_score": torch.tensor(0.5)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{}]}],
        "hyper_parameters": argparse.Namespace(rate=0.1, more=[argparse.Namespace()]),
    }
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    return path


def write_torch_shards(path: Path, state: Mapping[str, Tensor]) -> Path:
    """Write two shards of torch.save and the index that is `path`."""
    names, places = list(state), {}
    for number in (1, 2):
        file = f"pytorch_model-0000{number}-of-00002.bin"
        part = names[number - 1 :: 2]
        torch.save({name: state[name] for name in part}, path.parent / file)
        places |= dict.fromkeys(part, file)
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return path


def write_distributed(folder: Path, state: Mapping[str, Tensor]) -> Path:
    """Write what one process saves with torch.distributed.checkpoint; return the metadata."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there is no group of processes
        dcp.save({"model": dict(state), "step": 20}, checkpoint_id=folder, no_dist=True)
    return folder / ".metadata"


def copy_sharded(folder: Path) -> Path:
    """Copy a real checkpoint of four ranks into `folder`; return the metadata."""
    shutil.copytree(DATA / "dcp_sharded" / "step-10", folder, dirs_exist_ok=True)
    return folder / ".metadata"


def write_sb3(path: Path, state: Mapping[str, Tensor], method: int = zipfile.ZIP_STORED) -> Path:
    """Write a zip as Stable-Baselines3 does, or compressed."""
    policy = io.BytesIO()
    torch.save(dict(state), policy)
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("data", json.dumps({"num_timesteps": 20, "learning_rate": 0.25}))
        archive.writestr("policy.pth", policy.getvalue())
        archive.writestr("_stable_baselines3_version", "2.9.2")
    return path
