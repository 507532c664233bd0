"""Runs, and what is needed to compare stores, for tests of engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

Save = Callable[[dict[str, Tensor], Path], object]


def as_npz(weights: Mapping[str, Tensor], path: Path) -> None:
    """Save as an archive whose members are compressed: no byte range shows any value."""
    np.savez_compressed(path, **{name: tensor.numpy() for name, tensor in weights.items()})


FORMS: dict[str, tuple[str, Save]] = {
    "torch": ("pt", torch.save),
    "safetensors": ("safetensors", save_file),
    "npz": ("npz", as_npz),
}

SHAPES = {
    "embed.weight": (700, 160),
    "conv.weight": (16, 16, 3, 3),
    "conv.bias": (16,),
    "fc.weight": (400, 300),
    "fc.bias": (300,),
    "wide.weight": (3, 70_000),
    "out.weight": (300, 200),
    **{f"norm{i}.bias": (64,) for i in range(12)},
}


def write_run(folder: Path, form: str, checkpoints: int = 4) -> Path:
    """Write checkpoints of parameters that are cut in many ways, and others too small to cut."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(shape, generator=chance) for name, shape in SHAPES.items()}
    suffix, save = FORMS[form]
    for step in range(checkpoints):
        for tensor in weights.values():
            tensor += 0.1 * torch.randn(tensor.shape, generator=chance)
        kept = {name: tensor.clone() for name, tensor in weights.items()}
        if form == "torch":
            kept["half.weight"] = kept["out.weight"].to(torch.bfloat16)
            kept["complex.weight"] = torch.complex(kept["out.weight"], kept["out.weight"])
            kept["fc.weight"][3, 4] = torch.nan if step < 2 else 1.0
        save(kept, folder / f"epoch_{step}.{suffix}")
    return folder


def tree_of(folder: Path) -> dict[str, bytes]:
    """Return every file with its bytes, and every folder."""
    return {
        str(entry.relative_to(folder)): entry.read_bytes() if entry.is_file() else b""
        for entry in folder.rglob("*")
    }


def assert_same(ours: Path, theirs: Path) -> None:
    """Fail unless two stores have the same files with the same bytes."""
    left, right = tree_of(ours), tree_of(theirs)
    assert sorted(left) == sorted(right)
    assert [name for name in left if left[name] != right[name]] == []
