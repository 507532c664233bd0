"""Small ONNX models for tests, and how to read what is described of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from accweight_adapters.onnx.reader import OnnxReader
from accweight_core.schema import HiddenValues, Role, StoredTensor

NUMPY = {"float8_e4m3fn": "uint8", "bfloat16": "uint16"}
"""Types that numpy lacks, compared by their bits."""

RNG = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def saved(
    folder: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray | TensorProto],
    *,
    inputs: tuple[str, ...] = ("x",),
    outputs: tuple[str, ...] = ("y",),
    functions: tuple[onnx.FunctionProto, ...] = (),
    **options: Any,
) -> Path:
    """Write a model with these nodes and initializers, and return where."""
    tensors = [
        value if isinstance(value, TensorProto) else numpy_helper.from_array(value, name)
        for name, value in constants.items()
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        tensors,
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    opsets += [helper.make_opsetid("local", 1)] if functions else []
    model = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)
    path = folder / "model.onnx"
    onnx.save(model, path, **options)
    return path


def described(path: Path) -> dict[str, StoredTensor]:
    return {tensor.name: tensor for tensor in OnnxReader().describe(path).tensors}


def read(tensor: StoredTensor) -> np.ndarray:
    """Return the values of a tensor, from its extent or by its function."""
    values = tensor.values
    if isinstance(values, HiddenValues):
        return np.asarray(values.load())
    with open(values.path, "rb") as file:
        file.seek(values.offset)
        dtype = np.dtype(NUMPY.get(values.dtype, values.dtype))
        data = file.read(dtype.itemsize * values.elements)
    return np.frombuffer(data, dtype).reshape(values.shape)


def layers(tensors: dict[str, StoredTensor]) -> dict[str, list[tuple[str, Role | None]]]:
    found: dict[str, list[tuple[str, Role | None]]] = {}
    for tensor in tensors.values():
        found.setdefault(str(tensor.hints.layer), []).append((tensor.name, tensor.hints.role))
    return found


def node(
    kind: str, inputs: str, output: str = "y", name: str = "", **attributes: Any
) -> onnx.NodeProto:
    return helper.make_node(
        kind, inputs.split(), [output], name or f"/{output}/{kind}", **attributes
    )


def branch(name: str, weight: np.ndarray) -> onnx.GraphProto:
    nodes = [
        node("Constant", "", "fc.weight", value=numpy_helper.from_array(weight)),
        node("MatMul", "x fc.weight", f"{name}_out"),
    ]
    out = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)
    return helper.make_graph(nodes, name, [], [out])


def stored_as(name: str, values: np.ndarray, data_type: int, *, raw: bool) -> TensorProto:
    if raw:
        cast = values.astype(helper.tensor_dtype_to_np_dtype(data_type))
        return numpy_helper.from_array(cast, name)
    return helper.make_tensor(name, data_type, values.shape, values.reshape(-1))


def of_every_kind(folder: Path) -> Path:
    """Write a model with inline, external, packed, quantised and nested tensors."""
    half = stored_as("h.weight", floats(5, 5), TensorProto.FLOAT16, raw=False)
    nodes = [
        node("MatMul", "x a.weight", "a"),
        node("MatMul", "a h.weight", "h"),
        node("DequantizeLinear", "q s", "qd"),
        node("MatMul", "h qd", "m"),
        node("Unsqueeze", "c axis", "cu"),
        node("Add", "m cu", "n"),
        node(
            "If", "n", then_branch=branch("t", floats(5, 5)), else_branch=branch("e", floats(5, 5))
        ),
    ]
    constants = {
        "a.weight": floats(4, 5), "h.weight": half, "q": np.ones((5, 5), np.int8),
        "s": np.float32(2).reshape(()), "c": floats(5), "axis": np.array([0]),
    }  # fmt: skip
    path = saved(folder, nodes, constants)
    model = onnx.load(path)
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "a.bin", 0, 80)
    model.graph.initializer[0].ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    (folder / "a.bin").write_bytes(bytes(80))
    return path
