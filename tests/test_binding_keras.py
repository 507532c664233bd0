"""Binding: checkpoints of Keras in graphs that were exported from the same network in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from binding_models import APART, DYNAMO, FOLDED, LEGACY, export
from keras_models import quiet
from networks import Cnn
from thorough import THOROUGH
from torch import Tensor, nn

import accweight_core as aw
from accweight_adapters.execution.onnx_network import OnnxNetwork
from accweight_core.probes.binding.binding import Binding

Arrays = Mapping[str, np.ndarray]
Port = Callable[[Arrays], dict[str, Tensor]]
CLOSE, STEPS, OWN = 1e-5, 3, 1


class Layers(nn.Module):
    """A recurrent layer or attention, and a projection; each as Keras has it."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        if kind == "attention":
            self.inner: nn.Module = nn.MultiheadAttention(8, 2, batch_first=True)
            self.norm = nn.LayerNorm(8)
        else:
            self.inner = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](8, 5, batch_first=True)
        self.out = nn.Linear(8 if kind == "attention" else 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return three numbers per position."""
        if self.kind == "attention":
            y = self.norm(x + self.inner(x, x, x, need_weights=False)[0])
        else:
            y = self.inner(x)[0]
        return self.out(y)  # type: ignore[no-any-return]


def t(values: np.ndarray, *axes: int) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values.transpose(axes) if axes else values))


def cnn(w: Arrays) -> dict[str, Tensor]:
    """Return the weights of `Cnn`: channels first, and the columns of fc in that order."""
    state = {
        "conv1.weight": t(w["conv1/kernel"], 3, 2, 0, 1),
        "conv1.bias": t(w["conv1/bias"]),
        "conv2.weight": t(w["conv2/kernel"], 3, 2, 0, 1),
        "fc.weight": t(w["fc/kernel"].reshape(4, 4, 8, 10), 3, 2, 0, 1).reshape(10, 128),
        "fc.bias": t(w["fc/bias"]),
    }
    leaves = {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    }
    return state | {
        f"{norm}.{ours}": t(w[f"{norm}/{theirs}"])
        for norm in ("bn1", "bn2")
        for ours, theirs in leaves.items()
    }


def projection(w: Arrays) -> dict[str, Tensor]:
    return {"out.weight": t(w["out/kernel"], 1, 0), "out.bias": t(w["out/bias"])}


def lstm(w: Arrays) -> dict[str, Tensor]:
    """Return the weights of an LSTM; Keras has one bias where PyTorch has two."""
    return projection(w) | {
        "inner.weight_ih_l0": t(w["lstm/lstm_cell/kernel"], 1, 0),
        "inner.weight_hh_l0": t(w["lstm/lstm_cell/recurrent_kernel"], 1, 0),
        "inner.bias_ih_l0": t(w["lstm/lstm_cell/bias"]),
        "inner.bias_hh_l0": torch.zeros(20),
    }


def gru(w: Arrays) -> dict[str, Tensor]:
    """Return the weights of a GRU, with reset and update gate exchanged."""

    def gates(values: np.ndarray) -> np.ndarray:
        z, r, h = np.split(values, 3, -1)
        return np.concatenate([r, z, h], -1)

    bias = gates(w["gru/gru_cell/bias"])
    return projection(w) | {
        "inner.weight_ih_l0": t(gates(w["gru/gru_cell/kernel"]), 1, 0),
        "inner.weight_hh_l0": t(gates(w["gru/gru_cell/recurrent_kernel"]), 1, 0),
        "inner.bias_ih_l0": t(bias[0]),
        "inner.bias_hh_l0": t(bias[1]),
    }


def attention(w: Arrays) -> dict[str, Tensor]:
    """Return the weights of attention, q, k and v in one matrix."""
    parts = [w[f"mha/{name}/kernel"].reshape(8, 8) for name in ("query", "key", "value")]
    biases = [w[f"mha/{name}/bias"].reshape(8) for name in ("query", "key", "value")]
    return projection(w) | {
        "inner.in_proj_weight": t(np.concatenate(parts, 1), 1, 0),
        "inner.in_proj_bias": t(np.concatenate(biases)),
        "inner.out_proj.weight": t(w["mha/attention_output/kernel"].reshape(8, 8), 1, 0),
        "inner.out_proj.bias": t(w["mha/attention_output/bias"]),
        "norm.weight": t(w["norm/gamma"]),
        "norm.bias": t(w["norm/beta"]),
    }


PORTS: dict[str, Port] = {"cnn": cnn, "lstm": lstm, "gru": gru, "attention": attention}


def keras_model(name: str) -> object:
    import keras
    from keras import layers

    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 1) if name == "cnn" else (5, 8))
    if name == "cnn":
        x = layers.Conv2D(4, 3, name="conv1")(x)
        x = layers.ReLU()(layers.BatchNormalization(name="bn1")(x))
        x = layers.Conv2D(8, 3, use_bias=False, name="conv2")(x)
        x = layers.ReLU()(layers.BatchNormalization(name="bn2")(x))
        return keras.Model(inputs, layers.Dense(10, name="fc")(layers.Flatten()(x)))
    if name == "attention":
        x = x + layers.MultiHeadAttention(2, 4, name="mha")(x, x)
        x = layers.LayerNormalization(epsilon=1e-5, name="norm")(x)
    elif name == "lstm":
        x = layers.LSTM(5, return_sequences=True, name="lstm")(x)
    else:
        x = layers.GRU(5, return_sequences=True, name="gru")(x)
    return keras.Model(inputs, layers.Dense(3, name="out")(x))


def torch_model(name: str) -> nn.Module:
    net = Cnn() if name == "cnn" else Layers(name)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3  # as in Keras
    return net.eval()


def exports(name: str) -> list[tuple[str, dict[str, dict[str, Any]]]]:
    """Return exporters with options: all for the convolutions, else one where there is a sample."""
    found = [(LEGACY, FOLDED), (DYNAMO, FOLDED), (LEGACY, APART)]
    return found if THOROUGH or name == "cnn" else [found[list(PORTS).index(name) - 1]]


@pytest.mark.parametrize("name", list(PORTS))
def test_weights_of_keras_go_into_exported_graphs(tmp_path: Path, name: str) -> None:
    chance = np.random.default_rng(0)
    shape = (2, 8, 8, 1) if name == "cnn" else (2, 5, 8)
    samples = chance.standard_normal(shape).astype(np.float32)
    ours = samples.transpose(0, 3, 1, 2) if name == "cnn" else samples
    net, outputs, graphs = torch_model(name), [], []
    with quiet():
        model: object = keras_model(name)
        for step in range(STEPS):
            model.save_weights(tmp_path / f"net_{step}.weights.h5")  # type: ignore[attr-defined]
            outputs.append(model(samples, training=False).detach().numpy())  # type: ignore[operator]
            variables = model.weights  # type: ignore[attr-defined]
            weights = {v.path: v.value.detach().numpy().copy() for v in variables}
            if step == OWN:
                net.load_state_dict(PORTS[name](weights), strict=False)
                for exporter, options in exports(name):
                    path = tmp_path / f"{len(graphs)}.onnx"
                    graphs.append(export(net, torch.tensor(ours), path, options[exporter]))
            for variable in variables:
                if "seed" not in variable.path:
                    moved = 0.1 * chance.random(variable.shape)
                    variable.assign(variable + moved.astype(np.float32))
    run = aw.open_run([tmp_path / f"net_{step}.weights.h5" for step in range(STEPS)])

    for graph in graphs:
        network = OnnxNetwork.opened(graph)
        binding = Binding.of(network, run)

        assert binding.proof.verdict == "verified", binding.proof
        for checkpoint, wanted in zip(run.checkpoints, outputs, strict=True):
            made = binding.bind(checkpoint).run({network.inputs[0].name: ours})["output"]
            assert np.abs(made - wanted).max() < CLOSE * max(np.abs(wanted).max(), 1)
    if name == "cnn":
        words = {item.name: item.words for item in binding.assignments}
        assert words["fc.weight"].startswith("columns after Flatten from channels last to first")
        blind = Binding.of(network, aw.open_run([run.checkpoints[i].path for i in (0, 2)]))
        assert blind.proof.verdict == "not verified"
        assert "columns after Flatten" in blind.proof.reason
