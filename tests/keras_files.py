"""Files in the layouts of Keras, written by hand with h5py: small, and as odd as need be."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Arrays = Mapping[str, np.ndarray]


def weights() -> dict[str, np.ndarray]:
    """Return the variables of a small network by name, as Keras calls them."""
    chance = np.random.default_rng(0)
    shapes = {
        "conv.kernel": (3, 3, 2, 4),
        "conv.bias": (4,),
        "words.embeddings": (7, 5),
        "lstm.lstm_cell.kernel": (5, 12),
        "lstm.lstm_cell.recurrent_kernel": (3, 12),
        "lstm.lstm_cell.bias": (12,),
        "fc.kernel": (6, 3),
        "fc.bias": (3,),
    }
    return {name: chance.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


KEYS = {
    "conv": "layers/conv2d",
    "words": "layers/embedding",
    "lstm": "layers/lstm",
    "lstm.lstm_cell": "layers/lstm/cell",
    "fc": "layers/dense",
}
"""Groups of Keras 3 by layer."""

CLASSES = {"conv": "Conv2D", "words": "Embedding", "lstm": "LSTM", "fc": "Dense"}


def configuration() -> dict[str, Any]:
    """Return the configuration of the network, as far as readers look at it."""
    layers = [
        {"class_name": kind, "config": {"name": name, "units": 3}} for name, kind in CLASSES.items()
    ]
    return {"class_name": "Sequential", "config": {"name": "net", "layers": layers}}


def write_keras3(path: Path | io.BytesIO, arrays: Arrays, step: int = 7, **options: Any) -> Any:
    """Write what `save_weights` of Keras 3 writes into a `.weights.h5`."""
    with h5py.File(path, "w") as file:
        numbers: dict[str, int] = {}
        for name, values in arrays.items():
            layer = name.rpartition(".")[0]
            group = file.require_group(f"{KEYS[layer]}/vars")
            group.attrs["name"] = layer.rpartition(".")[2]
            numbers[layer] = numbers.get(layer, -1) + 1
            group.create_dataset(str(numbers[layer]), data=values, **options)
        file.require_group("layers/lstm/vars").attrs["name"] = "lstm"
        file["optimizer/vars/0"] = np.int64(step)
        file["optimizer/vars/1"] = np.float32(0.25)
        for number, values in enumerate(arrays.values(), start=2):
            file[f"optimizer/vars/{number}"] = np.zeros_like(values)
    return path


def write_archive(
    path: Path, arrays: Arrays, step: int = 7, method: int = zipfile.ZIP_STORED
) -> Path:
    """Write what `save` of Keras 3 writes into a `.keras`."""
    content = io.BytesIO()
    write_keras3(content, arrays, step)
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps(configuration()))
        archive.writestr("model.weights.h5", content.getvalue())
    return path


def write_keras2(
    path: Path, arrays: Arrays, step: int | None = 7, *, whole: bool = True, **options: Any
) -> Path:
    """Write what Keras 2 wrote: a whole model with its optimizer, or weights alone."""
    layers: dict[str, list[str]] = {}
    for name in arrays:
        layers.setdefault(name.partition(".")[0], []).append(name)
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights") if whole else file
        if whole:
            file.attrs["model_config"] = json.dumps(configuration())
            file.attrs["keras_version"] = "2.15.0"
        group.attrs["layer_names"] = _fixed(list(layers))
        for layer, names in layers.items():
            variables = [name.replace(".", "/") + ":0" for name in names]
            group.create_group(layer).attrs["weight_names"] = _fixed(variables)
            for variable, name in zip(variables, names, strict=True):
                group.create_dataset(f"{layer}/{variable}", data=arrays[name], **options)
        if step is not None:
            _write_optimizer(file, step)
    return path


def _write_optimizer(file: Any, step: int) -> None:
    group = file.create_group("optimizer_weights")
    group.attrs["weight_names"] = _fixed(["Adam/iter:0", "Adam/conv/kernel/m:0"])
    group["Adam/iter:0"] = np.int64(step)
    group["Adam/conv/kernel/m:0"] = np.zeros((3, 3, 2, 4), np.float32)


def _fixed(texts: Sequence[str]) -> np.ndarray:
    """Return texts of fixed length, as Keras 2 writes its lists."""
    return np.array([text.encode() for text in texts])
