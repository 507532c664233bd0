"""Writes tests/data/ort with onnxruntime-training 1.19.2: small checkpoints of all forms.

Run it from the folder of the tests; the last form needs 4 GB of memory and disk for a moment.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.training import artifacts, onnxblock
from onnxruntime.training.api import CheckpointState, Module, Optimizer
from train_models import model, node

OUT = Path(__file__).parents[1] / "data" / "ort"
LARGE = 250_000_000
"""Elements of a tensor that the library puts into a file of its own."""


def small(out: Path) -> None:
    """Train one step, so that there is the state of an optimizer; freeze a part."""
    weights = {
        "fc1.weight": np.arange(12, dtype=np.float32).reshape(3, 4) / 8,
        "fc1.bias": np.zeros(3, np.float32),
        "fc2.weight": np.arange(6, dtype=np.float32).reshape(2, 3) / 4,
        "fc2.bias": np.ones(2, np.float32),
    }
    nodes = [
        node("Gemm", "x fc1.weight fc1.bias", "h", transB=1),
        node("Gemm", "h fc2.weight fc2.bias", "y", transB=1),
    ]
    proto = model(nodes, weights, inputs={"x": ("n", 4)}, outputs={"y": ("n", 2)})
    artifacts.generate_artifacts(
        proto,
        requires_grad=["fc2.weight", "fc2.bias"],
        frozen_params=["fc1.weight", "fc1.bias"],
        loss=artifacts.LossType.MSELoss,
        optimizer=artifacts.OptimType.AdamW,
        artifact_directory=str(out),
        nominal_checkpoint=True,
    )
    optimizer = onnx.load(out / "optimizer_model.onnx")
    optimizer.ir_version = 10
    onnx.save(optimizer, out / "optimizer_model.onnx")
    state = CheckpointState.load_checkpoint(out / "checkpoint")
    module = Module(out / "training_model.onnx", state)
    updates = Optimizer(out / "optimizer_model.onnx", module)
    module(np.ones((2, 4), np.float32), np.zeros((2, 2), np.float32))
    updates.step()
    state.properties["epoch"] = 7
    state.properties["loss"] = 0.25
    state.properties["author"] = "nobody"
    CheckpointState.save_checkpoint(state, out / "with_optimizer", True)
    np.savez(out / "with_optimizer.npz", **{name: p.data for name, p in state.parameters})
    for name in ("training_model.onnx", "eval_model.onnx", "optimizer_model.onnx"):
        (out / name).unlink()
    (out / "checkpoint").unlink()


def external(out: Path) -> None:
    """Save tensors so large that their values go into a second file, which is not kept."""
    large = np.zeros(LARGE, np.float32)
    trained = [numpy_helper.from_array(large, "a.weight"),
               numpy_helper.from_array(np.arange(3, dtype=np.float32), "a.bias")]  # fmt: skip
    frozen = [numpy_helper.from_array(large, "b.weight")]
    onnxblock.save_checkpoint((trained, frozen), out / "external")
    (out / "external.data").unlink()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    OUT.mkdir(parents=True, exist_ok=True)
    small(OUT)
    external(OUT)
