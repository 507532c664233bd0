"""Pickles of every kind for tests: of arrays, tensors and whole modules, by any protocol."""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from torch import nn


class Network(nn.Module):
    """A network with every kind of entry in its state, among them one that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.register_buffer("mask", torch.ones(2), persistent=False)
        self.register_buffer("scale", torch.full((2,), 2.0))
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Sequential(nn.Linear(2, 2)))
        self.tokens = nn.ParameterList([nn.Parameter(torch.ones(4)), nn.Parameter(torch.zeros(1))])
        self.tied = self.head[0]
        self.nothing = None
        self.remembered = torch.ones(3)  # neither a parameter nor a buffer

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return something."""
        found: torch.Tensor = self.head(self.norm(self.conv(image)).mean((2, 3)))
        return found


def write_pickle(path: Path, content: object, protocol: int = 4) -> Path:
    """Write what `pickle.dump` writes."""
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def write_joblib(path: Path, content: object, compress: Any = 0) -> Path:
    """Write what `joblib.dump` writes."""
    joblib.dump(content, path, compress=compress)
    return path


def write_module(path: Path, module: nn.Module, *, is_zip: bool = True, protocol: int = 2) -> Path:
    """Write what ``torch.save(model)`` writes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(module, path, _use_new_zipfile_serialization=is_zip, pickle_protocol=protocol)
    return path


def write_script(path: Path, module: nn.Module) -> Path:
    """Write what ``torch.jit.save(torch.jit.script(model))`` writes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module.eval()), path)  # type: ignore[no-untyped-call]
    return path


def script_state(path: Path) -> dict[str, torch.Tensor]:
    """Return the state dict that torch reads from a TorchScript archive."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(torch.jit.load(path).state_dict())  # type: ignore[no-untyped-call]


def write_export(path: Path, module: nn.Module, example: torch.Tensor) -> Path:
    """Write what `torch.export.save` writes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(module.eval(), (example,)), path)
    return path


def write_older_baselines(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    method: int = zipfile.ZIP_STORED,
    **members: bytes | None,
) -> Path:
    """Write a zip as `BaseRLModel._save_to_file_zip` did; None leaves a member out."""
    buffer = io.BytesIO()
    given: dict[str, Any] = dict(arrays)
    np.savez(buffer, **given)
    content: Mapping[str, bytes | None] = {
        "data": json.dumps({"num_timesteps": 1000, "learning_rate": 0.25}).encode(),
        "parameter_list": json.dumps(list(arrays)).encode(),
        "parameters": buffer.getvalue(),
        **members,
    }
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, value in content.items():
            if value is not None:
                archive.writestr(name, value)
    return path
