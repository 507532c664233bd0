"""Gradients of operators: those listed as trainable are right, all others are refused by name.

Every gradient that the runtime computes is held against differences of the loss itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from train_models import Array, floats, model, node

pytest.importorskip("onnxruntime.training.api", reason="onnxruntime-training is not installed")

from accweight_adapters.training.artifacts import build, opened
from accweight_adapters.training.config import OptimizerConfig, OptimizerKind, TrainSelection
from accweight_adapters.training.decompose import DECOMPOSITIONS
from accweight_adapters.training.library import session
from accweight_adapters.training.operators import TRAINABLE, check_gradients, decompose

DIFFERENCE = 1e-2
"""Step of the differences: small beside the values, large beside the rounding of float32."""

ROWS, IMAGE = (2, 6), (2, 4, 6, 6)


Case = tuple[list[onnx.NodeProto], dict[str, Array], tuple[int, ...]]


def case(
    kind: str,
    inputs: str = "p",
    *,
    shape: tuple[int, ...] = ROWS,
    before: str = "",
    outputs: str = "y",
    constants: Mapping[str, Any] | None = None,
    **attributes: Any,
) -> Case:
    """Return an operator from `p` to `y`, behind another one if that keeps it in its domain."""
    nodes = [node(before, "p", "e")] if before else []
    arrays = {name: np.asarray(value) for name, value in (constants or {}).items()}
    return [*nodes, node(kind, inputs, outputs, **attributes)], arrays, shape


def lengths(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def number(value: float) -> Array:
    return np.array(value, np.float32)


def rnn(kind: str, gates: int) -> Case:
    sizes = {"w": (1, 3 * gates, 4), "r": (1, 3 * gates, 3), "b": (1, 6 * gates)}
    weights = {
        name: floats(*shape, seed=seed) * np.float32(0.5)
        for seed, (name, shape) in enumerate(sizes.items())
    }
    states = "h c" if kind == "LSTM" else "h"
    weights |= {state: floats(1, 2, 3, seed=9) for state in states.split()}
    options = {"linear_before_reset": 1} if kind == "GRU" else {}
    inputs = f"p w r b _ {states}"
    return case(kind, inputs, shape=(5, 2, 4), constants=weights, hidden_size=3, **options)


OF_ONE = [
    "Abs", "Celu", "Cos", "Dropout", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish",
    "Identity", "LeakyRelu", "Mish", "Neg", "Relu", "Selu", "Sigmoid", "Sin", "Softplus",
    "Softsign", "Tanh",
]  # fmt: skip
NEAR = np.array([-1, 1, -1, 1, -0.02, 0.02], np.float32)
PER_CHANNEL = {"s": floats(4), "b": floats(4, seed=1)}

CASES: dict[str, Case] = {
    **{kind: case(kind) for kind in OF_ONE},
    **{kind: case(kind, "e", before="Exp") for kind in ("Log", "Sqrt", "Reciprocal")},
    **{
        kind: case(kind, "p b", constants={"b": floats(6, seed=5) + 3})
        for kind in ("Add", "Sub", "Mul", "Div")
    },
    **{kind: case(kind, "p b", constants={"b": NEAR}) for kind in ("Max", "Min")},
    **{kind: case(kind, axis=1) for kind in ("Softmax", "LogSoftmax", "Flatten")},
    "AveragePool": case(
        "AveragePool", shape=IMAGE, kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 0],
        count_include_pad=1,
    ),
    "BatchNormalization": case(
        "BatchNormalization", "p s b m v", shape=IMAGE, epsilon=0.01,
        constants={**PER_CHANNEL, "m": floats(4, seed=2), "v": np.exp(floats(4))},
    ),
    "Cast": case("Cast", to=1),
    "Clip": case("Clip", "p lo hi", constants={"lo": number(-0.4), "hi": number(0.6)}),
    "Concat": case("Concat", "p b", constants={"b": floats(2, 3)}, axis=1),
    "Conv": case(
        "Conv", "p w b", shape=IMAGE, pads=[1, 1, 1, 1],
        constants={"w": floats(3, 4, 3, 3), "b": floats(3)},
    ),
    "Expand": case("Expand", "p s", constants={"s": lengths(3, 2, 6)}),
    "GRU": rnn("GRU", 3),
    "Gather": case("Gather", "p i", constants={"i": lengths(1, 0, 1)}, axis=0),
    "Gemm": case("Gemm", "p b c", constants={"b": floats(3, 6), "c": floats(3)}, transB=1),
    "GlobalAveragePool": case("GlobalAveragePool", shape=IMAGE),
    "GroupNormalization": case(
        "GroupNormalization", "p s b", shape=IMAGE, constants=PER_CHANNEL, num_groups=2
    ),
    "InstanceNormalization": case(
        "InstanceNormalization", "p s b", shape=IMAGE, constants=PER_CHANNEL
    ),
    "LSTM": rnn("LSTM", 4),
    "LayerNormalization": case(
        "LayerNormalization", "p s b", constants={"s": floats(6), "b": floats(6)}
    ),
    "MatMul": case("MatMul", "p b", constants={"b": floats(6, 3)}),
    "MaxPool": case("MaxPool", shape=IMAGE, kernel_shape=[2, 2], strides=[2, 2]),
    "PRelu": case("PRelu", "p s", constants={"s": np.full(6, 0.3, np.float32)}),
    "Pad": case("Pad", "p s", constants={"s": lengths(0, 1, 0, 2)}),
    "Pow": case("Pow", "e b", before="Sigmoid", constants={"b": number(2.5)}),
    "ReduceMean": case("ReduceMean", axes=[1]),
    "ReduceSum": case("ReduceSum", "p s", constants={"s": lengths(1)}),
    "Reshape": case("Reshape", "p s", constants={"s": lengths(3, 4)}),
    "Slice": case(
        "Slice", "p a b c", constants={"a": lengths(1), "b": lengths(5), "c": lengths(1)}
    ),
    "Split": case("Split", "p s", outputs="y y2", constants={"s": lengths(2, 4)}, axis=1),
    "Squeeze": case("Squeeze", "p s", shape=(6, 1), constants={"s": lengths(1)}),
    "Sum": case("Sum", "p b", constants={"b": floats(2, 6)}),
    "Tile": case("Tile", "p s", constants={"s": lengths(1, 2)}),
    "Transpose": case("Transpose", perm=[1, 0]),
    "Unsqueeze": case("Unsqueeze", "p s", constants={"s": lengths(1)}),
    "Where": case("Where", "c p b", constants={"c": np.arange(6) % 2 == 0, "b": floats(6)}),
}  # fmt: skip
"""An operator each: nodes from `p` to `y`, their constants, and the shape of `p`."""

NEWER = {"Gelu": 20, "Mish": 18, "GroupNormalization": 21}


def summed(kind: str) -> onnx.ModelProto:
    """Return a model whose output is one number that depends on every element of `y`."""
    nodes, constants, shape = CASES[kind]
    p = floats(*shape, seed=7)
    constants = dict(constants, p=p + np.sign(p) * np.float32(0.1))  # off the kinks
    start = [node("Mul", "p x", "scaled")]
    rest = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    for item in rest:
        item.input[:] = ["scaled" if name == "p" else name for name in item.input]
    end = [
        node("Sin", "y", "waves"),
        node("Mul", "waves waves", "squares"),
        node("Add", "waves squares", "both"),
        node("ReduceMean", "both", "loss", keepdims=0),
    ]
    return model(
        [*start, *rest, *end],
        constants,
        inputs={"x": (1,)},
        outputs={"loss": ()},
        opset=NEWER.get(kind, 17),
    )


def loss_at(runner: Any) -> float:
    return float(runner.run(None, {"x": np.ones(1, np.float32)})[0])


def by_differences(proto: onnx.ModelProto, name: str) -> Array:
    """Return the gradient of the output with respect to a tensor, one element after the other."""
    values = next(onnx.numpy_helper.to_array(t) for t in proto.graph.initializer if t.name == name)
    inputs = onnx.ModelProto.FromString(proto.SerializeToString())
    kept = [t for t in proto.graph.initializer if t.name != name]
    del inputs.graph.initializer[:]
    inputs.graph.initializer.extend(kept)
    kind = onnx.helper.make_tensor_value_info(name, 1, values.shape)
    inputs.graph.input.append(kind)
    runner = session(inputs.SerializeToString(), 1)
    gradient = np.zeros(values.shape)
    for index in np.ndindex(values.shape):
        sides = []
        for side in (DIFFERENCE, -DIFFERENCE):
            moved = values.copy()
            moved[index] += side
            feeds = {"x": np.ones(1, np.float32), name: moved}
            sides.append(float(runner.run(None, feeds)[0]))
        gradient[index] = (sides[0] - sides[1]) / (2 * DIFFERENCE)
    return gradient


def by_training(proto: onnx.ModelProto, names: tuple[str, ...], folder: Path) -> dict[str, Array]:
    """Return what one update with a learning rate of 1 takes off each tensor."""
    forward = onnx.ModelProto.FromString(proto.SerializeToString())
    check_gradients(forward, names, folder)
    decompose(forward, names, folder)
    before = session(proto.SerializeToString(), 1)
    assert loss_at(session(forward.SerializeToString(), 1)) == pytest.approx(
        loss_at(before), abs=1e-5
    )
    config = OptimizerConfig(OptimizerKind.sgd, 1.0, 0.0, 1)
    build(forward, TrainSelection(names, ()), config, folder, folder)
    training = opened(folder, config, folder)
    old = {name: p.data.copy() for name, p in training.state.parameters}
    training.module.train()(np.ones(1, np.float32))
    training.optimizer.step()
    return {name: old[name] - p.data for name, p in training.state.parameters}


@pytest.mark.parametrize("kind", sorted(TRAINABLE | DECOMPOSITIONS.keys()))
def test_the_gradient_of_every_operator_listed_is_right(kind: str, tmp_path: Path) -> None:
    proto = summed(kind)
    trained = [
        t.name
        for t in proto.graph.initializer
        if t.data_type == 1 and t.dims and not (kind == "BatchNormalization" and t.name in "mv")
    ]

    gradients = by_training(proto, tuple(trained), tmp_path)

    for name in trained:
        expected = by_differences(proto, name)
        assert np.abs(expected).max() > 1e-4, name
        np.testing.assert_allclose(gradients[name], expected, atol=2e-3, rtol=2e-2, err_msg=name)


@pytest.mark.parametrize("used", [("a",), ("b",), ("a", "c"), ("a", "b", "c")])
def test_every_part_of_a_split_that_is_used_has_its_gradient(
    used: tuple[str, ...], tmp_path: Path
) -> None:
    nodes = [node("Mul", "p x", "s"), node("Split", "s sizes", "a b c", axis=1)]
    total = used[0]
    for other in used[1:]:
        nodes.append(node("Concat", f"{total} {other}", f"{total}{other}", axis=1))
        total += other
    nodes += [node("Mul", f"{total} {total}", "q"), node("ReduceMean", "q", "loss", keepdims=0)]
    constants = {"p": floats(2, 6), "sizes": lengths(1, 2, 3)}
    proto = model(nodes, constants, inputs={"x": (1,)}, outputs={"loss": ()})

    gradients = by_training(proto, ("p",), tmp_path)

    np.testing.assert_allclose(gradients["p"], by_differences(proto, "p"), atol=1e-3)
