"""The formats that are measured: what writes one checkpoint in each, as its own library does."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from runs import Floats, Pool, Shapes, Tensors


def write_torch(path: Path, tensors: Tensors) -> None:
    """Write what torch.save writes: a zip."""
    import torch

    torch.save({name: torch.from_numpy(array) for name, array in tensors.items()}, path)


def write_legacy(path: Path, tensors: Tensors) -> None:
    """Write what torch.save wrote before 1.6."""
    import torch

    state = {name: torch.from_numpy(array) for name, array in tensors.items()}
    torch.save(state, path, _use_new_zipfile_serialization=False)


def write_safetensors(path: Path, tensors: Tensors) -> None:
    """Write a safetensors file of float32."""
    from safetensors.numpy import save_file

    save_file(dict(tensors), path)


def write_bfloat16(path: Path, tensors: Tensors) -> None:
    """Write a safetensors file of bfloat16."""
    import torch
    from safetensors.torch import save_file

    save_file({name: torch.from_numpy(a).bfloat16() for name, a in tensors.items()}, path)


def write_npz(path: Path, tensors: Tensors) -> None:
    """Write an uncompressed archive of NumPy."""
    np.savez(path, **tensors)


def write_onnx(path: Path, tensors: Tensors) -> None:
    """Write a graph with a node per layer, its weights in a file beside it."""
    import onnx
    from onnx import TensorProto, helper

    nodes, constants = [], []
    for name, array in tensors.items():
        shape = list(array.shape)
        constants.append(
            helper.make_tensor(name, TensorProto.FLOAT, shape, array.tobytes(), raw=True)
        )
        if name.endswith("weight"):
            nodes.append(_node(name, array, tensors))
    inputs, outputs = (
        [
            helper.make_tensor_value_info(getattr(node, side)[0], TensorProto.FLOAT, None)
            for node in nodes
        ]
        for side in ("input", "output")
    )
    graph = helper.make_graph(nodes, "net", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save_model(
        model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0
    )


def _node(name: str, array: Floats, tensors: Tensors) -> Any:
    """Return the node that uses a weight, and its bias if there is one."""
    from onnx import helper

    layer = name.removesuffix(".weight")
    made, used = [f"{layer}_out"], [f"{layer}_in", name]
    if layer == "embed":
        return helper.make_node("Gather", used[::-1], made, name=layer)
    if f"{layer}.bias" in tensors:
        used.append(f"{layer}.bias")
    kind, options = ("Conv", {}) if array.ndim == 4 else ("Gemm", {"transB": 1})
    return helper.make_node(kind, used, made, name=layer, **options)


def write_hdf5(path: Path, tensors: Tensors) -> None:
    """Write what `save_weights` of Keras 3 writes: kernels end in outputs, data is contiguous."""
    import h5py

    with h5py.File(path, "w") as file:
        numbers: dict[str, int] = {}
        for name, array in tensors.items():
            layer = name.rpartition(".")[0]
            group = file.require_group(f"layers/{layer}/vars")
            group.attrs["name"] = layer
            axes = (2, 3, 1, 0) if array.ndim == 4 else (1, 0)
            as_keras = array if array.ndim == 1 or layer == "embed" else array.transpose(axes)
            number = numbers[layer] = numbers.get(layer, -1) + 1
            group.create_dataset(str(number), data=np.ascontiguousarray(as_keras))


def write_keras(path: Path, tensors: Tensors) -> None:
    """Write what `save` of Keras 3 writes: a zip that holds the HDF5 file as it is."""
    inner = path.with_suffix(".inner")
    write_hdf5(inner, tensors)
    layers = dict.fromkeys(name.rpartition(".")[0] for name in tensors)
    kinds = {n.rpartition(".")[0]: _keras_class(n, a) for n, a in reversed(tensors.items())}
    configuration = {
        "class_name": "Sequential",
        "config": {
            "layers": [{"class_name": kinds[name], "config": {"name": name}} for name in layers]
        },
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps(configuration))
        archive.write(inner, "model.weights.h5")
    inner.unlink()


def _keras_class(name: str, array: Floats) -> str:
    if name.startswith("embed"):
        return "Embedding"
    return "Conv2D" if array.ndim == 4 else "Dense"


@dataclass(frozen=True)
class Format:
    """A format to measure.

    Attributes:
        suffix: Of its files.
        write: Writes one checkpoint.
    """

    suffix: str
    write: Callable[[Path, Tensors], None]


FORMATS: Mapping[str, Format] = {
    "safetensors": Format(".safetensors", write_safetensors),
    ".pt zip": Format(".pt", write_torch),
    ".pt legacy": Format(".pth", write_legacy),
    "ONNX external": Format(".onnx", write_onnx),
    ".npz": Format(".npz", write_npz),
    ".weights.h5": Format(".weights.h5", write_hdf5),
    ".keras": Format(".keras", write_keras),
    "bfloat16": Format(".safetensors", write_bfloat16),
}


def write_run(folder: Path, pool: Pool, shapes: Shapes, form: Format) -> list[str]:
    """Write a checkpoint per state of the pool in one format; return what opens them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"step_{step}{form.suffix}" for step in range(len(pool.states))]
    for step, path in enumerate(paths):
        form.write(path, pool.tensors(shapes, step))
    return [str(path) for path in paths]


def files_of(paths: Sequence[str]) -> list[str]:
    """Return every file of a run: those named, and the external data beside them."""
    beside = [f"{path}.data" for path in paths if Path(f"{path}.data").exists()]
    return [*paths, *beside]
