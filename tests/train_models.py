"""Small ONNX models to train, built by hand, and what drives their training in tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(3)


def floats(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    """Return an operator; inputs and outputs are separated by blanks, `_` stands for none."""
    taken = ["" if name == "_" else name for name in inputs.split()]
    made = ["" if name == "_" else name for name in output.split()]
    return helper.make_node(kind, taken, made, name=f"/{made[0]}/{kind}", **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Array],
    *,
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str] | None],
    types: Mapping[str, int] | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    kinds = types or {}
    graph = helper.make_graph(
        list(nodes),
        "g",
        [
            helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), shape)
            for name, shape in inputs.items()
        ],
        [
            helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), shape)
            for name, shape in outputs.items()
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=min(8, opset)
    )


def classifier(
    folder: Path,
    *,
    batch: int | str = "n",
    opset: int = 17,
    end: str = "",
    middle: str = "Relu",
    name: str = "model.onnx",
) -> Path:
    """Write a network of two linear layers for samples of four numbers and three classes."""
    weights = {
        "fc1.weight": floats(4, 8, seed=1) * np.float32(0.4),
        "fc1.bias": np.zeros(8, np.float32),
        "fc2.weight": floats(8, 3, seed=2) * np.float32(0.4),
        "fc2.bias": np.zeros(3, np.float32),
    }
    nodes = [
        node("Gemm", "x fc1.weight fc1.bias", "h"),
        node(middle, "h", "a"),
        node("Gemm", "a fc2.weight fc2.bias", "z"),
    ]
    if end:
        nodes.append(node(end, "z", "p"))
    output = "p" if end else "z"
    proto = model(
        nodes, weights, inputs={"x": (batch, 4)}, outputs={output: (batch, 3)}, opset=opset
    )
    path = folder / name
    onnx.save(proto, path)
    return path


def separable(count: int = 60, seed: int = 0) -> tuple[Array, Array]:
    """Return samples of three classes that lie apart."""
    chance = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    centres = np.array([[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0]], np.float32)
    samples = centres[labels] + 0.3 * chance.standard_normal((count, 4)).astype(np.float32)
    return samples.astype(np.float32), labels.astype(np.int64)


def saved_data(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path
