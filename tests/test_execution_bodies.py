"""Layers inside of branches and loops are nodes by their names, where they are computed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import accweight_core as aw
from accweight_core.errors import ArgumentValueError, UnknownNameError, UnsupportedOperatorError

Array = np.ndarray[Any, np.dtype[Any]]

CHANCE = np.random.default_rng(0)
WEIGHTS = {
    f"{layer}.{part}": CHANCE.standard_normal(shape).astype(np.float32)
    for layer, wide in (("first", (5, 4)), ("inner", (6, 5)), ("deep", (3, 6)), ("again", (5, 5)))
    for part, shape in (("weight", wide), ("bias", wide[:1]))
}
X = CHANCE.standard_normal((7, 4)).astype(np.float32)


def linear(layer: str, given: str, out: str) -> onnx.NodeProto:
    names = [given, f"{layer}.weight", f"{layer}.bias"]
    return helper.make_node("Gemm", names, [out], f"/{layer}/Gemm", transB=1)


def body(name: str, nodes: list[Any], inputs: list[str], outputs: list[str]) -> onnx.GraphProto:
    kinds = {"trip": TensorProto.INT64, "going": TensorProto.BOOL, "on": TensorProto.BOOL}

    def value(one: str) -> onnx.ValueInfoProto:
        shape = [] if one in kinds else None
        return helper.make_tensor_value_info(one, kinds.get(one, TensorProto.FLOAT), shape)

    return helper.make_graph(nodes, name, list(map(value, inputs)), list(map(value, outputs)))


def written(path: Path) -> Path:
    """Write a network: a layer, a loop over another one, and a branch with two, one in a branch.

    Inputs: x; times, how often the loop runs; yes, whether the branch is taken.
    """
    loop = body("loop", [helper.make_node("Identity", ["going"], ["on"]),
                         linear("again", "state", "looped")],
                ["trip", "going", "state"], ["on", "looped"])  # fmt: skip
    deep = body("deep_yes", [linear("deep", "inner_relu", "deep_out")], [], ["deep_out"])
    none = body("deep_no", [helper.make_node("Identity", ["three"], ["no_out"])], [], ["no_out"])
    taken = body("yes", [linear("inner", "h", "inner_out"),
                         helper.make_node("Relu", ["inner_out"], ["inner_relu"]),
                         helper.make_node("If", ["yes"], ["y_out"], "if2", then_branch=deep,
                                          else_branch=none)], [], ["y_out"])  # fmt: skip
    left = body("no", [helper.make_node("Identity", ["three"], ["n_out"])], [], ["n_out"])
    nodes = [
        linear("first", "x", "f"),
        helper.make_node("Loop", ["times", "", "f"], ["h"], "loop", body=loop),
        helper.make_node("If", ["yes"], ["z"], "if", then_branch=taken, else_branch=left),
        helper.make_node("Tanh", ["z"], ["y"]),
    ]
    constants = {**WEIGHTS, "three": np.zeros((1, 3), np.float32)}
    graph = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4]),
         helper.make_tensor_value_info("times", TensorProto.INT64, []),
         helper.make_tensor_value_info("yes", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


@pytest.fixture
def bound(tmp_path: Path) -> Any:
    """Return the network with its own weights."""
    return aw.Network.from_onnx(written(tmp_path / "net.onnx")).with_weights({})


def given(times: int = 1, *, yes: bool = True) -> dict[str, Array]:
    return {"x": X, "times": np.array(times), "yes": np.array(yes)}


def expected() -> dict[str, Array]:
    """Return the values of all layers by NumPy, and of the output."""
    found, h = {}, X
    for layer in ("first", "again", "inner", "deep"):
        h = h @ WEIGHTS[f"{layer}.weight"].T + WEIGHTS[f"{layer}.bias"]
        found[layer] = h
        h = np.maximum(h, 0) if layer == "inner" else h
    return {**found, "output": np.tanh(h)}


def test_values_inside_of_bodies_are_kept_by_name(bound: Any) -> None:
    layers = ["first", "again", "inner", "deep"]

    found = bound.run(given(), [*layers, "inner_relu"])

    assert sorted(bound.network.layers) == sorted(layers)
    assert set(layers) | {"inner_relu", "looped", "z"} <= set(bound.nodes)
    for name, value in expected().items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["inner_relu"], np.maximum(found["inner"], 0))


def test_layers_inside_of_bodies_have_no_gates_that_could_be_asked_for(bound: Any) -> None:
    assert bound.gated == ()


def test_gradients_and_patches_reach_into_bodies(bound: Any) -> None:
    wanted = expected()
    through = (1 - wanted["output"] ** 2) @ WEIGHTS["deep.weight"]
    by_inner = through * (wanted["inner"] > 0)

    found = bound.gradient(given(), ("output", None), ["inner", "inner.weight"])
    patched = bound.patch({"deep": lambda value: value * 0 + 1}).run(given(), ["deep"])
    of = bound.gradient(given(), ("inner", 2), ["x"])["x"]

    np.testing.assert_allclose(found["inner"], by_inner, rtol=1e-4, atol=1e-6)
    wide = by_inner.T @ wanted["again"]
    np.testing.assert_allclose(found["inner.weight"], wide, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(patched["output"], np.tanh(np.ones((7, 3))), rtol=1e-6)
    assert (patched["deep"] == 1).all()
    row = WEIGHTS["inner.weight"][2] @ WEIGHTS["again.weight"] @ WEIGHTS["first.weight"]
    np.testing.assert_allclose(of, np.tile(row, (7, 1)), rtol=1e-4, atol=1e-5)


def test_what_is_not_computed_once_is_told(bound: Any) -> None:
    with pytest.raises(ArgumentValueError, match="'again' is in a loop and computed 3 times for"):
        bound.run(given(3), ["again"])
    with pytest.raises(ArgumentValueError, match="'deep' is in a branch or loop that is not run"):
        bound.run(given(yes=False), ["deep"])
    with pytest.raises(UnsupportedOperatorError, match="'inner' is inside of a branch or loop"):
        bound.beginning(given(), ["inner.weight"], ["inner"])
    assert bound.run(given(3))["output"].shape == (7, 3)  # nobody asks for it


def test_the_runtime_says_which_engine_keeps_them(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    network = aw.Network.from_onnx(written(tmp_path / "net.onnx"), engine="ort")

    with pytest.raises(UnknownNameError, match="keeps no values inside of branches and loops"):
        network.with_weights({}).run(given(), ["inner"])


def test_probes_take_layers_inside_of_a_branch(tmp_path: Path) -> None:
    path = written(tmp_path / "net.onnx")
    run = aw.open_run({k: {n: v * (1 + k) for n, v in WEIGHTS.items()} for k in range(2)})
    network = aw.Network.from_onnx(constant_inputs(path, tmp_path / "plain.onnx"))

    found = aw.probe(run, network, X, "activations:node=inner", out=tmp_path / "run.accw",
                     constants=["three"])  # fmt: skip

    result = found["activations"]
    assert result.labels("layer") == ("first", "inner", "deep")  # the loop is run twice
    place = result.labels("layer").index("first")
    np.testing.assert_allclose(
        result.array("mean", 0)[place], expected()["first"].mean(), rtol=1e-5
    )


def constant_inputs(path: Path, out: Path) -> Path:
    """Write the network with two trips of the loop, and the branch taken."""
    model = onnx.load(path)
    for name, value in {"times": np.array(2), "yes": np.array(True)}.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    kept = [one for one in model.graph.input if one.name == "x"]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    onnx.save(model, out)
    return out
