"""Three small networks, trained once, and the same weights saved by every framework.

PyTorch trains; its weights at every step are then written in each format as that framework lays
them out: transposed, renamed, with the gates of an LSTM in another order. What a framework
cannot express is left out (`NETWORKS` says which layers there are).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812, so everybody calls it

State = dict[str, Tensor]
STEPS = 3


class Cnn(nn.Module):
    """Two convolutions with a normalisation, two dense layers.

    The normalisation comes behind the activation: exporters multiply one that follows a
    convolution into its weights, and then these are other weights, which move differently.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 9, 3, stride=2)
        self.fc1 = nn.Linear(36, 14)
        self.fc2 = nn.Linear(14, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(F.relu(self.conv1(x)))
        x = F.relu(self.conv2(x))
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        logits: Tensor = self.fc2(x)
        return logits

    @staticmethod
    def batch() -> Tensor:
        return torch.randn(8, 1, 8, 8)


class Lstm(nn.Module):
    """An embedding, a recurrent layer, a dense one."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(30, 7)
        self.lstm = nn.LSTM(7, 6, batch_first=True)
        self.head = nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.lstm(self.embed(x))
        logits: Tensor = self.head(states[:, -1])
        return logits

    @staticmethod
    def batch() -> Tensor:
        return torch.randint(0, 30, (8, 5))


class Attention(nn.Module):
    """Attention of one head, every projection a layer of its own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.query(x) @ self.key(x).transpose(1, 2) * x.shape[-1] ** -0.5
        mixed: Tensor = self.out(torch.softmax(scores, -1) @ self.value(x))
        return mixed


class Transformer(nn.Module):
    """One block of a transformer between an embedding and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(30, 12)
        self.attention = Attention(12)
        self.norm1 = nn.LayerNorm(12)
        self.up = nn.Linear(12, 40)
        self.down = nn.Linear(40, 12)
        self.norm2 = nn.LayerNorm(12)
        self.head = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = self.norm1(x + self.attention(x))
        x = self.norm2(x + self.down(F.gelu(self.up(x))))
        logits: Tensor = self.head(x.mean(1))
        return logits

    @staticmethod
    def batch() -> Tensor:
        return torch.randint(0, 30, (8, 5))


NETWORKS: dict[str, type[Cnn | Lstm | Transformer]] = {
    "cnn": Cnn,
    "lstm": Lstm,
    "transformer": Transformer,
}


@cache
def trained(name: str) -> Sequence[nn.Module]:
    """Return a network as it was before training and after each epoch of it; not to be changed."""
    torch.manual_seed(7)
    model = NETWORKS[name]()
    batch, labels = model.batch(), torch.arange(8)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    series = []
    for step in range(STEPS):
        for _ in range(4 if step else 0):
            optimizer.zero_grad()
            F.cross_entropy(model(batch), labels).backward()
            optimizer.step()
        copy = NETWORKS[name]()
        copy.load_state_dict(model.state_dict())
        series.append(copy.eval())
    return series


@contextmanager
def quiet() -> Iterator[None]:
    """Let frameworks warn of what they do themselves; tests make errors of warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# ---------------------------------------------------------------- PyTorch's own layout


def save_torch(model: nn.Module, folder: Path, step: int) -> None:
    torch.save(model.state_dict(), folder / f"epoch_{step}.pt")


def save_safetensors(model: nn.Module, folder: Path, step: int) -> None:
    from safetensors.torch import save_file

    save_file(model.state_dict(), folder / f"epoch_{step}.safetensors")


def save_npz(model: nn.Module, folder: Path, step: int) -> None:
    arrays: dict[str, Any] = {name: value.numpy() for name, value in model.state_dict().items()}
    np.savez_compressed(folder / f"epoch_{step}.npz", **arrays)


def save_distributed(model: nn.Module, folder: Path, step: int) -> None:
    import torch.distributed.checkpoint as dcp

    with quiet():
        dcp.save(model.state_dict(), checkpoint_id=folder / f"step_{step}")


# ---------------------------------------------------------------- ONNX


def save_onnx(model: nn.Module, folder: Path, step: int, *, dynamo: bool = False) -> None:
    options: dict[str, Any] = {"external_data": False, "verbose": False} if dynamo else {}
    with quiet():
        torch.onnx.export(
            model,
            (NETWORKS[type(model).__name__.lower()].batch(),),
            str(folder / f"epoch_{step}.onnx"),
            input_names=["x"],
            output_names=["logits"],
            dynamo=dynamo,
            **options,
        )


def save_onnx_dynamo(model: nn.Module, folder: Path, step: int) -> None:
    save_onnx(model, folder, step, dynamo=True)


# ---------------------------------------------------------------- outputs last: Keras and JAX


def outputs_last(state: State) -> dict[str, dict[str, np.ndarray]]:
    """Return the arrays of each layer as frameworks with outputs last keep them.

    Kernels are (..., inputs, outputs). An LSTM has one bias, the sum of PyTorch's two.
    """
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, value in state.items():
        layer, _, leaf = name.rpartition(".")
        array = value.numpy()
        if leaf == "num_batches_tracked":
            continue
        if leaf == "weight" and "embed" not in layer and array.ndim > 1:
            array = np.moveaxis(array, (0, 1), (-1, -2))
        elif leaf.startswith("weight_"):
            array = array.T
        layers.setdefault(layer, {})[leaf] = np.ascontiguousarray(array)
    for arrays in layers.values():
        if "bias_ih_l0" in arrays:
            arrays["bias"] = arrays.pop("bias_ih_l0") + arrays.pop("bias_hh_l0")
    return layers


@cache
def keras_network(name: str) -> Any:
    """Return the network in Keras, its layers called as PyTorch's, for any weights."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    from keras import layers, ops

    keras.utils.clear_session()
    if name == "cnn":
        x = image = keras.Input((8, 8, 1))
        x = layers.Conv2D(6, 3, activation="relu", name="conv1")(x)
        x = layers.BatchNormalization(name="bn1")(x)
        x = layers.Flatten()(layers.Conv2D(9, 3, strides=2, name="conv2")(x))
        x = layers.Dense(10, name="fc2")(layers.Dense(14, name="fc1")(x))
        return keras.Model(image, x)
    tokens = keras.Input((5,))
    if name == "lstm":
        x = layers.LSTM(6, name="lstm")(layers.Embedding(30, 7, name="embed")(tokens))
        return keras.Model(tokens, layers.Dense(10, name="head")(x))
    x = layers.Embedding(30, 12, name="embed")(tokens)
    x = layers.LayerNormalization(name="norm1")(
        x + layers.MultiHeadAttention(1, 12, name="attention")(x, x)
    )
    x = layers.Dense(12, name="down")(layers.Dense(40, name="up")(x))
    x = layers.LayerNormalization(name="norm2")(x)
    return keras.Model(tokens, layers.Dense(10, name="head")(ops.mean(x, 1)))


KERAS_LEAVES = ("weight", "weight_ih_l0", "weight_hh_l0", "bias", "running_mean", "running_var")
"""What PyTorch calls the variables of a layer, in the order in which Keras has them."""


def save_keras(model: nn.Module, folder: Path, step: int, pattern: str) -> None:
    with quiet():
        network = keras_network(type(model).__name__.lower())
        values: dict[str, list[np.ndarray]] = {}
        for layer, arrays in outputs_last(model.state_dict()).items():
            own, _, _ = layer.partition(".")  # attention has its projections' variables
            values.setdefault(own, []).extend(arrays[f] for f in KERAS_LEAVES if f in arrays)
        for layer, held in values.items():
            shapes = [variable.shape for variable in network.get_layer(layer).weights]
            network.get_layer(layer).set_weights(
                [array.reshape(shape) for array, shape in zip(held, shapes, strict=True)]
            )
        path = folder / pattern.format(step=step)
        (network.save_weights if ".weights." in pattern else network.save)(path)


def save_keras_archive(model: nn.Module, folder: Path, step: int) -> None:
    save_keras(model, folder, step, "epoch_{step}.keras")


def save_keras_weights(model: nn.Module, folder: Path, step: int) -> None:
    save_keras(model, folder, step, "epoch_{step}.weights.h5")


def save_keras_legacy(model: nn.Module, folder: Path, step: int) -> None:
    save_keras(model, folder, step, "epoch_{step}.h5")


# ---------------------------------------------------------------- JAX

FLAX_LEAVES = {"running_mean": "mean", "running_var": "var", "bias": "bias"}


def flax_tree(model: nn.Module) -> dict[str, Any]:
    """Return the variables as Flax keeps them: trees of parameters and of statistics."""
    tree: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for layer, arrays in outputs_last(model.state_dict()).items():
        if "weight_ih_l0" in arrays:
            put(tree["params"], f"{layer}.dense_i.kernel", arrays["weight_ih_l0"])
            put(tree["params"], f"{layer}.dense_h.kernel", arrays["weight_hh_l0"])
            put(tree["params"], f"{layer}.dense_h.bias", arrays["bias"])
            continue
        weight = arrays["weight"]
        kernel = "embedding" if "embed" in layer else "scale" if weight.ndim == 1 else "kernel"
        if layer.startswith("attention."):
            width = weight.shape[0]  # one head
            weight = weight.reshape((1, width, -1) if layer.endswith("out") else (width, 1, -1))
        put(tree["params"], f"{layer}.{kernel}", weight)
        for leaf, name in FLAX_LEAVES.items():
            if leaf in arrays:
                bias = arrays[leaf]
                if layer.startswith("attention.") and not layer.endswith("out"):
                    bias = bias.reshape(1, -1)
                put(tree["params" if leaf == "bias" else "batch_stats"], f"{layer}.{name}", bias)
    return tree


def put(tree: dict[str, Any], name: str, value: Any) -> None:
    """Put a value into nested mappings under a name with dots."""
    *parents, leaf = name.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[leaf] = value


def save_orbax(model: nn.Module, folder: Path, step: int) -> None:
    with quiet():
        import orbax.checkpoint as ocp

        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save((folder / str(step)).absolute(), flax_tree(model))


def save_msgpack(model: nn.Module, folder: Path, step: int) -> None:
    with quiet():
        from flax import serialization

        (folder / f"checkpoint_{step}").write_bytes(serialization.to_bytes(flax_tree(model)))


# ---------------------------------------------------------------- others


def save_gguf(model: nn.Module, folder: Path, step: int) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(folder / f"checkpoint-{step}.gguf", "twin")
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            writer.add_tensor(name, value.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def save_ort(model: nn.Module, folder: Path, step: int) -> None:
    """Write the checkpoint with which ONNX Runtime begins to train these weights."""
    from accweight_core.cli.app import run

    reason = "onnxruntime-training is not installed"
    pytest.importorskip("onnxruntime.training.api", reason=reason)
    network = NETWORKS[type(model).__name__.lower()]
    with tempfile.TemporaryDirectory() as text:
        home = Path(text)
        save_onnx(model, home, step)
        np.savez(home / "data.npz", x=network.batch().numpy(), y=np.arange(8))
        model_path = str(home / f"epoch_{step}.onnx")
        given = ["--data", str(home / "data.npz"), "--epochs", "1", "-o", str(home / "run")]
        assert run(["train", model_path, *given, "--json"]) == 0
        shutil.copy(home / "run" / "epoch_0.ckpt", folder / f"step_{step}.ckpt")
        shutil.copy(home / "run" / "network.onnx", folder / "network.onnx")


SAVERS: dict[str, Callable[[nn.Module, Path, int], None]] = {
    "PyTorch": save_torch,
    "safetensors": save_safetensors,
    "npz": save_npz,
    "torch.distributed": save_distributed,
    "ONNX, legacy exporter": save_onnx,
    "ONNX, dynamo exporter": save_onnx_dynamo,
    "ONNX Runtime training": save_ort,
    "GGUF, float32": save_gguf,
    "Keras archive": save_keras_archive,
    "Keras weights": save_keras_weights,
    "Keras 2 file": save_keras_legacy,
    "Orbax": save_orbax,
    "Flax msgpack": save_msgpack,
}
"""What writes one checkpoint, by format."""


EXACT = frozenset({"safetensors", "npz", "torch.distributed", "GGUF, float32"})
"""Formats that keep PyTorch's layout of every tensor, so that figures have the same bits."""


def write_twin(series: Sequence[nn.Module], folder: Path, format_name: str) -> Path:
    """Write the checkpoints of a run in one format; return the folder."""
    folder.mkdir(parents=True)
    for step, model in enumerate(series):
        SAVERS[format_name](model, folder, step)
    return folder
