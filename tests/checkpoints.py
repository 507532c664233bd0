"""Real checkpoint files for tests: the same weights written in every format.

`Net` has a layer of most kinds; `states` are its weights over some steps of made-up training.
`FORMATS` maps the name of a format to what writes one checkpoint of it, so that a test can run
over all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import safetensors.torch
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

State = dict[str, Tensor]

ONNX_TYPES = {
    torch.float32: TensorProto.FLOAT,
    torch.float16: TensorProto.FLOAT16,
    torch.bfloat16: TensorProto.BFLOAT16,
    torch.int64: TensorProto.INT64,
}


class Net(nn.Module):
    """One layer of most kinds: conv, batch norm, linear, LSTM, embedding."""

    def __init__(self, words: int = 20) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 12, 3)
        self.fc1 = nn.Linear(48, 16)
        self.embed = nn.Embedding(words, 6)
        self.lstm = nn.LSTM(6, 5, batch_first=False)
        self.fc2 = nn.Linear(16, 10)


def states(
    count: int = 5, *, seed: int = 0, dtype: torch.dtype = torch.float32, words: int = 20
) -> list[State]:
    """Return the weights of `Net` over `count` steps, each a small random step from the last."""
    torch.manual_seed(seed)
    state = {name: value.clone() for name, value in Net(words).state_dict().items()}
    series = []
    for step in range(count):
        if step:
            state = {
                name: value + 0.05 * torch.randn_like(value)
                if value.is_floating_point()
                else value + 1
                for name, value in state.items()
            }
        series.append(
            {
                name: value.to(dtype) if value.is_floating_point() else value.clone()
                for name, value in state.items()
            }
        )
    return series


def small(value: float = 0.0, **extra: Any) -> State:
    """Return the weights of one linear layer, every element moved by `value`."""
    weight = torch.arange(12, dtype=torch.float32).reshape(3, 4) / 8 + value
    return {"fc.weight": weight, "fc.bias": torch.zeros(3) + value, **extra}


def write_torch(path: Path, state: Mapping[str, Tensor]) -> Path:
    """Write what ``torch.save(model.state_dict())`` writes."""
    torch.save(dict(state), path)
    return path


def write_legacy(path: Path, state: Mapping[str, Tensor]) -> Path:
    """Write the format of torch before 1.6."""
    torch.save(dict(state), path, _use_new_zipfile_serialization=False)
    return path


def write_safetensors(path: Path, state: Mapping[str, Tensor]) -> Path:
    """Write one safetensors file."""
    safetensors.torch.save_file(dict(state), path)
    return path


def write_sharded(path: Path, state: Mapping[str, Tensor], shards: int = 2) -> Path:
    """Write shards and their index into a folder named after `path`; return the index."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names, stem = list(state), path.name.partition(".")[0]
    weight_map = {}
    for number in range(shards):
        file = f"{stem}-{number + 1:05d}-of-{shards:05d}.safetensors"
        part = names[number::shards]
        safetensors.torch.save_file({name: state[name] for name in part}, path.parent / file)
        weight_map |= dict.fromkeys(part, file)
    path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return path


def write_onnx(path: Path, state: Mapping[str, Tensor]) -> Path:
    """Write a graph that uses the weights of `Net`, its values in a file beside it."""
    model = helper.make_model(
        helper.make_graph(
            _nodes(),
            "net",
            [
                helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 6, 6]),
                helper.make_tensor_value_info("tokens", TensorProto.INT64, [7, 1]),
            ],
            [
                helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 10]),
                helper.make_tensor_value_info("states", TensorProto.FLOAT, [7, 1, 1, 5]),
            ],
            initializer=[
                *(_initializer(name, value) for name, value in state.items()),
                _initializer("first_axis", torch.tensor([0])),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    onnx.save_model(
        model,
        path,
        save_as_external_data=True,
        location=f"{path.name}.data",
        size_threshold=0,
    )
    return path


def _initializer(name: str, value: Tensor) -> TensorProto:
    raw = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return helper.make_tensor(name, ONNX_TYPES[value.dtype], list(value.shape), raw, raw=True)


def _nodes() -> list[onnx.NodeProto]:
    """Return the nodes of `Net`, the gates of its LSTM in the order of PyTorch."""
    node = helper.make_node
    return [
        node("Conv", ["image", "conv1.weight", "conv1.bias"], ["c1"], name="/conv1/Conv"),
        node(
            "BatchNormalization",
            ["c1", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"],
            ["n1"],
            name="/bn1/BatchNormalization",
        ),
        node("Conv", ["n1", "conv2.weight", "conv2.bias"], ["c2"], name="/conv2/Conv"),
        node("Flatten", ["c2"], ["flat"], name="/Flatten"),
        node("Gemm", ["flat", "fc1.weight", "fc1.bias"], ["h"], transB=1, name="/fc1/Gemm"),
        node("Gemm", ["h", "fc2.weight", "fc2.bias"], ["logits"], transB=1, name="/fc2/Gemm"),
        node("Gather", ["embed.weight", "tokens"], ["vectors"], name="/embed/Gather"),
        node("Unsqueeze", ["lstm.weight_ih_l0", "first_axis"], ["lstm_w"]),
        node("Unsqueeze", ["lstm.weight_hh_l0", "first_axis"], ["lstm_r"]),
        node("Concat", ["lstm.bias_ih_l0", "lstm.bias_hh_l0"], ["lstm_biases"], axis=0),
        node("Unsqueeze", ["lstm_biases", "first_axis"], ["lstm_b"]),
        node(
            "LSTM",
            ["vectors", "lstm_w", "lstm_r", "lstm_b"],
            ["states"],
            hidden_size=5,
            name="/lstm/LSTM",
        ),
    ]


FORMATS: dict[str, tuple[str, Callable[[Path, Mapping[str, Tensor]], Path]]] = {
    "torch zip": ("epoch_{step}.pt", write_torch),
    "torch legacy": ("epoch_{step}.pth", write_legacy),
    "safetensors": ("epoch_{step}.safetensors", write_safetensors),
    "sharded safetensors": ("checkpoint-{step}/model.safetensors.index.json", write_sharded),
    "onnx": ("epoch_{step}.onnx", write_onnx),
}
"""Per format: how a checkpoint is called, and what writes it."""


def write_run(
    folder: Path,
    series: Sequence[Mapping[str, Tensor]],
    format_name: str = "torch zip",
    steps: Sequence[int] | None = None,
) -> Path:
    """Write a checkpoint per state into a folder; return the folder."""
    pattern, write = FORMATS[format_name]
    for step, state in zip(steps or range(len(series)), series, strict=True):
        path = folder / pattern.format(step=step)
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, state)
    return folder


def write_small_run(folder: Path, names: Sequence[str], **beside: Any) -> Path:
    """Write one small torch checkpoint per file name, each moved a little further."""
    for index, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"state_dict": small(index / 4), **beside}, path)
    return folder


def as_arrays(state: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Return the values as NumPy arrays; half precision is widened, which is exact."""
    return {
        name: (value.float() if value.is_floating_point() else value).numpy()
        for name, value in state.items()
    }
