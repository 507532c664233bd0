"""Runs to measure on: checkpoints of any shapes in every format, whose A_t is known exactly.

All weights are stretches of one pool that takes a random step from checkpoint to checkpoint, so
that a billion of them are written as fast as the disk takes them, and the mean and the maximum
of each parameter are checked in float64 without walking through it.
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
Floats = npt.NDArray[np.float32]
Tensors = Mapping[str, Floats]

POOL = 1 << 20
"""Random weights per checkpoint, of which parameters repeat stretches."""

NETWORK: Shapes = {
    "embed.weight": (8000, 512),
    "conv1.weight": (64, 3, 7, 7),
    "conv1.bias": (64,),
    "conv2.weight": (512, 512, 3, 3),
    "conv2.bias": (512,),
    "block.0.weight": (2048, 2048),
    "block.0.bias": (2048,),
    "block.1.weight": (4096, 2048),
    "block.1.bias": (4096,),
    "block.2.weight": (2048, 4096),
    "block.2.bias": (2048,),
    "block.3.weight": (2048, 2048),
    "block.3.bias": (2048,),
    "head.weight": (8000, 512),
    "head.bias": (8000,),
}
"""A network of 35 million weights, to be scaled."""


class WrongValueError(AssertionError):
    """A benchmark has measured something that computed another result."""


def elements(shapes: Shapes) -> int:
    """Return the number of weights of one checkpoint."""
    return sum(math.prod(shape) for shape in shapes.values())


def network(weights: float) -> dict[str, Shape]:
    """Return the shapes of `NETWORK`, scaled to about so many weights."""
    factor = (weights / elements(NETWORK)) ** 0.5
    return {
        name: tuple(max(1, round(n * factor)) if n > 64 else n for n in shape)
        for name, shape in NETWORK.items()
    }


def alike(count: int, weights: float) -> dict[str, Shape]:
    """Return `count` nearly square matrices that have about so many weights together."""
    rows = max(1, math.isqrt(int(weights) // count))
    columns = max(1, round(weights / count / rows))
    return {f"layers.{number}.weight": (rows, columns) for number in range(count)}


class Pool:
    """The weights of every checkpoint, and how far they have travelled at the last one.

    Args:
        checkpoints: How many there are.
        narrow: Round every weight to bfloat16, so that all formats hold the same values.
    """

    def __init__(self, checkpoints: int, *, narrow: bool = False) -> None:
        chance = np.random.default_rng(0)
        weights = chance.standard_normal(POOL, np.float32) * np.float32(0.05)
        self.states: list[Floats] = []
        self.path = np.zeros(POOL)
        for step in range(checkpoints):
            if step:
                weights = weights + chance.standard_normal(POOL, np.float32) * np.float32(0.002)
            self.states.append(
                (weights.view(np.uint32) & 0xFFFF0000).view("f4") if narrow else weights
            )
            if step:
                last, current = (state.astype(np.float64) for state in self.states[-2:])
                self.path += np.abs(current - last)

    def stretch(self, name: str, shape: Shape, step: int) -> Iterator[Floats]:
        """Yield the weights of a parameter at a checkpoint, part by part."""
        at, left = _offset(name), math.prod(shape)
        while left:
            part = self.states[step][at : at + left]
            yield part
            left, at = left - len(part), 0

    def tensors(self, shapes: Shapes, step: int) -> dict[str, Floats]:
        """Return every parameter at a checkpoint, as whole arrays."""
        return {
            name: np.concatenate(list(self.stretch(name, shape, step))).reshape(shape)
            for name, shape in shapes.items()
        }

    def expected(self, name: str, shape: Shape) -> tuple[float, float]:
        """Return the mean and the maximum of A_T of a parameter."""
        path = np.roll(self.path, -_offset(name))
        times, rest = divmod(math.prod(shape), POOL)
        total = times * path.sum() + path[:rest].sum()
        return float(total / math.prod(shape)), float((path if times else path[:rest]).max())

    def check(
        self, found: Mapping[str, Sequence[float]], shapes: Shapes, tolerance: float = 2e-7
    ) -> None:
        """Compare mean and maximum of A_T of every weight with sums in float64.

        Biases are walked but do not rank, so that their figures are not looked at. Step changes
        are rounded to float32, hence the tolerance.

        Raises:
            WrongValueError: If one is missing or wrong.
        """
        names = {name for name in shapes if name.endswith(".weight")}
        if names - found.keys():
            raise WrongValueError(f"not measured: {', '.join(sorted(names - found.keys()))}")
        for name in names:
            right = self.expected(name, shapes[name])
            if not np.allclose(found[name], right, rtol=tolerance, atol=0):
                raise WrongValueError(
                    f"{name}: mean and maximum of A_T are {found[name]}, expected {right}"
                )


def _offset(name: str) -> int:
    """Return where in the pool a parameter begins."""
    return zlib.crc32(name.encode()) % POOL


def write_stream(path: Path, pool: Pool, shapes: Shapes, step: int) -> None:
    """Write a safetensors file of float32, part by part: no memory for models of any size."""
    header, at = {}, 0
    for name, shape in shapes.items():
        end = at + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            for part in pool.stretch(name, shape, step):
                file.write(part.data)


def write_streams(folder: Path, pool: Pool, shapes: Shapes) -> list[str]:
    """Write a safetensors file per checkpoint; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"step_{step}.safetensors" for step in range(len(pool.states))]
    for step, path in enumerate(paths):
        write_stream(path, pool, shapes, step)
    return [str(path) for path in paths]


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
        size_bytes: Of one weight in it.
        limit: What limits it where it does not read as fast as others.
    """

    suffix: str
    write: Callable[[Path, Tensors], None]
    size_bytes: int = 4


FORMATS: Mapping[str, Format] = {
    "safetensors": Format(".safetensors", write_safetensors),
    ".pt zip": Format(".pt", write_torch),
    ".pt legacy": Format(".pth", write_legacy),
    "ONNX external": Format(".onnx", write_onnx),
    ".npz": Format(".npz", write_npz),
    ".weights.h5": Format(".weights.h5", write_hdf5),
    ".keras": Format(".keras", write_keras),
    "bfloat16": Format(".safetensors", write_bfloat16, 2),
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
