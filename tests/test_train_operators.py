"""Gradients of operators: those listed as trainable are right, all others are refused by name.

Every gradient that the runtime computes is held against differences of the loss itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from train_models import Array, floats, model, node

from accweight_core.errors import FormatError

pytest.importorskip("onnxruntime.training.api", reason="onnxruntime-training is not installed")

from accweight_adapters.train_artifacts import OptimizerKind, Recipe, build, opened
from accweight_adapters.train_graph import with_one_output
from accweight_adapters.train_library import session
from accweight_adapters.train_model import Choice
from accweight_adapters.train_operators import (
    TRAINABLE,
    WRITTEN_OUT,
    check_gradients,
    write_out,
)

DIFFERENCE = 1e-2
"""Step of the differences: small beside the values, large beside the rounding of float32."""

ROWS, IMAGE = (2, 6), (2, 4, 6, 6)
INT = np.int64


def rnn(kind: str, gates: int) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    sizes = {"w": (1, 3 * gates, 4), "r": (1, 3 * gates, 3), "b": (1, 6 * gates)}
    weights = {
        name: floats(*shape, seed=seed) * np.float32(0.5)
        for seed, (name, shape) in enumerate(sizes.items())
    }
    states = "h c" if kind == "LSTM" else "h"
    weights |= {state: floats(1, 2, 3, seed=9) for state in states.split()}
    options = {"linear_before_reset": 1} if kind == "GRU" else {}
    return [node(kind, f"p w r b _ {states}", "y", hidden_size=3, **options)], weights


def sums() -> dict[str, tuple[list[onnx.NodeProto], dict[str, Array], tuple[int, ...]]]:
    """Return, by operator, nodes from `p` to `y`, their constants, and the shape of `p`."""
    one = ("Abs Cos Erf Exp Identity LeakyRelu Neg Relu Sigmoid Sin Tanh Elu Selu Celu "
           "HardSigmoid HardSwish Mish Softplus Softsign").split()  # fmt: skip
    cases: dict[str, Any] = {kind: ([node(kind, "p", "y")], {}, ROWS) for kind in one}
    cases |= {kind: ([node("Exp", "p", "e"), node(kind, "e", "y")], {}, ROWS)
              for kind in ("Log", "Sqrt", "Reciprocal")}  # fmt: skip
    cases |= {kind: ([node(kind, "p b", "y")], {"b": floats(6, seed=5) + 3}, ROWS)
              for kind in ("Add", "Sub", "Mul", "Div")}  # fmt: skip
    cases |= {kind: ([node(kind, "p b", "y")], {"b": np.array([-1, 1, -1, 1, -0.02, 0.02], np.float32)}, ROWS)
              for kind in ("Max", "Min")}  # fmt: skip
    cases |= {
        kind: ([node(kind, "p", "y", axis=1)], {}, ROWS)
        for kind in ("Softmax", "LogSoftmax", "Flatten")
    }
    cases |= {kind: ([node(kind, "p", "y", axes=[1])], {}, ROWS) for kind in ("ReduceMean",)}
    cases |= {
        "Sum": ([node("Sum", "p b", "y")], {"b": floats(2, 6)}, ROWS),
        "Pow": ([node("Sigmoid", "p", "e"), node("Pow", "e b", "y")], {"b": np.array(2.5, np.float32)}, ROWS),
        "Cast": ([node("Cast", "p", "y", to=1)], {}, ROWS),
        "Clip": ([node("Clip", "p lo hi", "y")], {"lo": np.array(-0.4, np.float32), "hi": np.array(0.6, np.float32)}, ROWS),
        "Dropout": ([node("Dropout", "p", "y")], {}, ROWS),
        "Concat": ([node("Concat", "p b", "y", axis=1)], {"b": floats(2, 3)}, ROWS),
        "Expand": ([node("Expand", "p s", "y")], {"s": np.array([3, 2, 6], INT)}, ROWS),
        "Gather": ([node("Gather", "p i", "y", axis=0)], {"i": np.array([1, 0, 1], INT)}, ROWS),
        "Gelu": ([node("Gelu", "p", "y")], {}, ROWS),
        "Gemm": ([node("Gemm", "p b c", "y", transB=1)], {"b": floats(3, 6), "c": floats(3)}, ROWS),
        "MatMul": ([node("MatMul", "p b", "y")], {"b": floats(6, 3)}, ROWS),
        "Pad": ([node("Pad", "p s", "y")], {"s": np.array([0, 1, 0, 2], INT)}, ROWS),
        "ReduceSum": ([node("ReduceSum", "p s", "y")], {"s": np.array([1], INT)}, ROWS),
        "Reshape": ([node("Reshape", "p s", "y")], {"s": np.array([3, 4], INT)}, ROWS),
        "Slice": ([node("Slice", "p a b c", "y")], {"a": np.array([1], INT), "b": np.array([5], INT), "c": np.array([1], INT)}, ROWS),
        "Split": ([node("Split", "p s", "y y2", axis=1)], {"s": np.array([2, 4], INT)}, ROWS),
        "Squeeze": ([node("Squeeze", "p s", "y")], {"s": np.array([1], INT)}, (6, 1)),
        "Unsqueeze": ([node("Unsqueeze", "p s", "y")], {"s": np.array([1], INT)}, ROWS),
        "Tile": ([node("Tile", "p s", "y")], {"s": np.array([1, 2], INT)}, ROWS),
        "Transpose": ([node("Transpose", "p", "y", perm=[1, 0])], {}, ROWS),
        "Where": ([node("Where", "c p b", "y")], {"c": np.arange(6) % 2 == 0, "b": floats(6)}, ROWS),
        "PRelu": ([node("PRelu", "p s", "y")], {"s": np.full(6, 0.3, np.float32)}, ROWS),
        "LayerNormalization": ([node("LayerNormalization", "p s b", "y")], {"s": floats(6), "b": floats(6)}, ROWS),
        "Conv": ([node("Conv", "p w b", "y", pads=[1, 1, 1, 1])], {"w": floats(3, 4, 3, 3), "b": floats(3)}, IMAGE),
        "GlobalAveragePool": ([node("GlobalAveragePool", "p", "y")], {}, IMAGE),
        "MaxPool": ([node("MaxPool", "p", "y", kernel_shape=[2, 2], strides=[2, 2])], {}, IMAGE),
        "AveragePool": ([node("AveragePool", "p", "y", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 0], count_include_pad=1)], {}, IMAGE),
        "BatchNormalization": ([node("BatchNormalization", "p s b m v", "y", epsilon=0.01)], {"s": floats(4), "b": floats(4, seed=1), "m": floats(4, seed=2), "v": np.exp(floats(4))}, IMAGE),
        "InstanceNormalization": ([node("InstanceNormalization", "p s b", "y")], {"s": floats(4), "b": floats(4, seed=1)}, IMAGE),
        "GroupNormalization": ([node("GroupNormalization", "p s b", "y", num_groups=2)], {"s": floats(4), "b": floats(4, seed=1)}, IMAGE),
        "LSTM": (*rnn("LSTM", 4), (5, 2, 4)),
        "GRU": (*rnn("GRU", 3), (5, 2, 4)),
    }  # fmt: skip
    return cases


CASES = sums()
NEWER = {"Gelu": 20, "Mish": 18, "GroupNormalization": 21}


def summed(kind: str) -> onnx.ModelProto:
    """Return a model whose output is one number that depends on every element of `y`."""
    nodes, constants, shape = CASES[kind]
    p = floats(*shape, seed=7)
    constants = dict(constants, p=p + np.sign(p) * np.float32(0.1))  # off the kinks
    constants = {
        k: v if v.dtype != np.float64 else v.astype(np.float32) for k, v in constants.items()
    }
    start = [node("Mul", "p x", "scaled")]
    rest = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    for item in rest:
        item.input[:] = ["scaled" if name == "p" else name for name in item.input]
    end = [node("Sin", "y", "waves"), node("Mul", "waves waves", "squares"),
           node("Add", "waves squares", "both"), node("ReduceMean", "both", "loss", keepdims=0)]  # fmt: skip
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
    write_out(forward, names, folder)
    before = session(proto.SerializeToString(), 1)
    assert loss_at(session(forward.SerializeToString(), 1)) == pytest.approx(
        loss_at(before), abs=1e-5
    )
    recipe = Recipe(OptimizerKind.sgd, 1.0, 0.0, 1)
    build(forward, Choice(names, ()), recipe, folder, folder)
    training = opened(folder, recipe, folder)
    old = {name: p.data.copy() for name, p in training.state.parameters}
    training.module.train()(np.ones(1, np.float32))
    training.optimizer.step()
    return {name: old[name] - p.data for name, p in training.state.parameters}


@pytest.mark.parametrize("kind", sorted(TRAINABLE | WRITTEN_OUT.keys()))
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
    constants = {"p": floats(2, 6), "sizes": np.array([1, 2, 3], INT)}
    proto = model(nodes, constants, inputs={"x": (1,)}, outputs={"loss": ()})

    gradients = by_training(proto, ("p",), tmp_path)

    np.testing.assert_allclose(gradients["p"], by_differences(proto, "p"), atol=1e-3)
