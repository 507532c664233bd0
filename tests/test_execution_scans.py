"""Scans and loops over bodies: their forms, weights within bodies, gradients, and bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

import accweight_core as aw
from accweight_adapters.execution import limits
from accweight_core.errors import (
    ArgumentValueError,
    BindingError,
    MemoryLimitError,
    UnsupportedOperatorError,
)

Array = np.ndarray[Any, np.dtype[Any]]

KINDS = {"trip": TensorProto.INT64, "times": TensorProto.INT64, "lengths": TensorProto.INT64,
         "going": TensorProto.BOOL, "on": TensorProto.BOOL}  # fmt: skip


def floats(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def value(name: str, shape: Sequence[Any] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, KINDS.get(name, TensorProto.FLOAT), shape)


def graph(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, Sequence[Any] | None],
    outputs: Mapping[str, Sequence[Any] | None],
    weights: Mapping[str, Array] | None = None,
) -> GraphProto:
    return helper.make_graph(
        list(nodes), "graph", [value(*one) for one in inputs.items()],
        [value(*one) for one in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )  # fmt: skip


def opened(path: Path, made: GraphProto, opset: int = 17, engine: str = "onnx") -> Any:
    """Return the network of a graph, with its own weights."""
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path / "net.onnx")
    return aw.Network.from_onnx(path / "net.onnx", engine=engine)


def results(network: Any, given: Mapping[str, Array]) -> list[Array]:
    return list(network.with_weights({}).run(given).values())


node = helper.make_node

# ---------------------------------------------------------------- forms


@pytest.mark.parametrize(("engine", "opset"), [("onnx", 9), ("onnx", 21), ("ort", 17)])
@pytest.mark.parametrize(
    ("axes", "ways", "axes_out", "ways_out"),
    [
        ((0, 0), (0, 0), (0, 0), (0, 0)),
        ((1, 2), (1, 0), (1, 0), (0, 1)),
        ((-1, -2), (1, 1), (-1, 0), (1, 1)),
    ],
)
def test_scans_have_states_inputs_and_outputs_along_any_axis_both_ways(
    axes: Any, ways: Any, axes_out: Any, ways_out: Any, engine: str, opset: int, tmp_path: Path
) -> None:
    if engine == "ort":
        pytest.importorskip("onnxruntime")
    body = graph(
        [node("Add", ["s", "a"], ["s_out"]), node("ReduceMax", ["b"], ["most"], keepdims=0),
         node("Mul", ["n", "most"], ["n_out"]), node("Mul", ["s_out", "a"], ["y"]),
         node("Identity", ["n_out"], ["z"])],
        {"s": [3], "n": [], "a": [3], "b": [2, 2]},
        {"s_out": [3], "n_out": [], "y": [3], "z": []},
    )  # fmt: skip
    scan = node(
        "Scan", ["s0", "n0", "as", "bs"], ["s1", "n1", "ys", "zs"], body=body, num_scan_inputs=2,
        scan_input_axes=axes, scan_input_directions=ways, scan_output_axes=axes_out,
        scan_output_directions=ways_out,
    )  # fmt: skip
    rows = [floats(5, 3), floats(5, 2, 2, seed=1)]
    s, n = floats(3, seed=2), np.array(1.5, np.float32)
    ys, zs = [], []
    given = {"s0": s, "n0": n}
    for name, row, axis, way in zip(("as", "bs"), rows, axes, ways, strict=True):
        given[name] = np.moveaxis(row[::-1] if way else row, 0, axis)
    shapes = {name: array.shape for name, array in given.items()}
    made = graph([scan], shapes, {"s1": None, "n1": None, "ys": None, "zs": None})
    for a, b in zip(*rows, strict=True):
        s, n = s + a, n * b.max()
        ys.append(s * a)
        zs.append(n)

    found = results(opened(tmp_path, made, opset, engine), given)

    y_rows, z_rows = (np.stack(one) for one in (ys, zs))
    y_rows = y_rows[::-1] if ways_out[0] else y_rows
    z_rows = z_rows[::-1] if ways_out[1] else z_rows
    expected = [s, n, np.moveaxis(y_rows, 0, axes_out[0]), z_rows]
    assert [one.shape for one in found] == [one.shape for one in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def sums(length: Any = 3) -> GraphProto:
    """Return a body: s + x, and the same as a row."""
    return graph([node("Add", ["s", "x"], ["s_out"]), node("Identity", ["s_out"], ["y"])],
                 {"s": [length], "x": [length]}, {"s_out": [length], "y": [length]})  # fmt: skip


@pytest.mark.parametrize("backward", [0, 1])
def test_scans_before_operator_set_9_have_a_batch(backward: int, tmp_path: Path) -> None:
    scan = node("Scan", ["", "s0", "xs"], ["s1", "ys"], body=sums(), num_scan_inputs=1,
                directions=[backward])  # fmt: skip
    made = graph([scan], {"s0": [2, 3], "xs": [2, 4, 3]}, {"s1": None, "ys": None})
    s, xs = floats(2, 3), floats(2, 4, 3, seed=1)

    last, rows = results(opened(tmp_path, made, 8), {"s0": s, "xs": xs})

    wanted = s[:, None] + np.cumsum(xs[:, ::-1] if backward else xs, axis=1)
    np.testing.assert_allclose(rows, wanted, rtol=1e-5)
    np.testing.assert_array_equal(last, rows[:, -1])


def test_forms_of_scan_that_are_not_known_are_refused_by_name(tmp_path: Path) -> None:
    ends = node("Scan", ["lengths", "s0", "xs"], ["s1", "ys"], "ends", body=sums(),
                num_scan_inputs=1)  # fmt: skip
    pairs = graph([node("Add", ["x", "z"], ["y"])], {"x": [3], "z": [3]}, {"y": [3]})
    of_two = node("Scan", ["xs", "zs"], ["ys"], "two", body=pairs, num_scan_inputs=2)
    made = graph([ends], {"lengths": [2], "s0": [2, 3], "xs": [2, 4, 3]}, {"s1": None, "ys": None})
    given = {"lengths": np.array([2, 4]), "s0": floats(2, 3), "xs": floats(2, 4, 3)}
    two = graph([of_two], {"xs": ["a", 3], "zs": ["b", 3]}, {"ys": None})

    with pytest.raises(UnsupportedOperatorError, match="'ends'\\) has sequence lengths, which are"):
        results(opened(tmp_path, made, 8), given)
    with pytest.raises(UnsupportedOperatorError, match="'two'\\) scans inputs of different length"):
        results(opened(tmp_path, two), {"xs": floats(4, 3), "zs": floats(5, 3)})


@pytest.mark.parametrize("scans", [True, False])
def test_a_body_that_is_not_run_gives_rows_of_the_shape_that_it_says(
    scans: bool, tmp_path: Path
) -> None:
    body = sums() if scans else graph(
        [node("Identity", ["going"], ["on"]), node("Add", ["s", "s"], ["s_out"]),
         node("Identity", ["s_out"], ["y"])],
        {"trip": [], "going": [], "s": [3]}, {"on": [], "s_out": [3], "y": [3]},
    )  # fmt: skip
    unknown = GraphProto.FromString(body.SerializeToString())
    unknown.output[-1].type.tensor_type.ClearField("shape")
    given = {"s0": floats(3), **({"xs": floats(0, 3)} if scans else {"times": np.array(0)})}

    def net(inner: GraphProto) -> Any:
        one = (
            node("Scan", ["s0", "xs"], ["s1", "ys"], body=inner, num_scan_inputs=1)
            if scans
            else node("Loop", ["times", "", "s0"], ["s1", "ys"], body=inner)
        )
        inputs = {"s0": [3], **({"xs": ["n", 3]} if scans else {"times": []})}
        return opened(tmp_path, graph([one], inputs, {"s1": None, "ys": None}))

    last, rows = results(net(body), given)

    np.testing.assert_array_equal(last, given["s0"])
    assert (rows.shape, rows.dtype) == ((0, 3), np.float32)
    with pytest.raises(UnsupportedOperatorError, match="runs its body not once, and the body says"):
        results(net(unknown), given)


def test_a_scan_may_give_its_states_alone(tmp_path: Path) -> None:
    body = graph([node("Add", ["s", "x"], ["s_out"])], {"s": [3], "x": [3]}, {"s_out": [3]})
    scan = node("Scan", ["s0", "xs"], ["s1"], body=body, num_scan_inputs=1)
    made = graph([scan], {"s0": [3], "xs": ["n", 3]}, {"s1": None})
    s, xs = floats(3), floats(4, 3, seed=1)

    (last,) = results(opened(tmp_path, made), {"s0": s, "xs": xs})

    np.testing.assert_allclose(last, s + xs.sum(axis=0), rtol=1e-5)


# ---------------------------------------------------------------- bodies in bodies

YES, NO = floats(3, 3), floats(3, 3, seed=1)


def nested(opset: int) -> GraphProto:
    """Return a loop with a branch with a scan: every other trip scans what is around the loop.

    Both branches have a tensor of their own that is called w.
    """
    scanned = graph(
        [node("MatMul", ["s", "w"], ["m"]), node("Add", ["m", "x"], ["sum"]),
         node("Mul", ["sum", "outer"], ["scaled"]), node("Add", ["scaled", "state"], ["s_out"]),
         node("Identity", ["s_out"], ["y"])],
        {"s": [3], "x": [3]}, {"s_out": [3], "y": [3]}, {"w": YES},
    )  # fmt: skip
    taken = graph(
        [node("Scan", ["state", "xs"], ["s1", "ys"], body=scanned, num_scan_inputs=1),
         node("ReduceMax", ["ys"], ["most"], keepdims=0), node("Add", ["s1", "most"], ["t"])],
        {}, {"t": [3]},
    )  # fmt: skip
    left = graph([node("MatMul", ["state", "w"], ["f"])], {}, {"f": [3]}, {"w": NO})
    body = graph(
        [node("Mod", ["trip", "two"], ["odd"]), node("Cast", ["odd"], ["is_odd"], to=9),
         node("If", ["is_odd"], ["next"], then_branch=taken, else_branch=left),
         node("Tanh", ["next"], ["bent"]), node("Identity", ["going"], ["on"]),
         node("Identity", ["bent"], ["row"])],
        {"trip": [], "going": [], "state": [3]}, {"on": [], "bent": [3], "row": [3]},
    )  # fmt: skip
    return graph(
        [node("Mul", ["xs0", "outer"], ["xs"]),
         node("Loop", ["times", "", "s0"], ["last", "rows"], body=body)],
        {"xs0": [4, 3], "outer": [3], "s0": [3], "times": []}, {"last": None, "rows": None},
        {"two": np.array(2)},
    )  # fmt: skip


def by_hand(given: Mapping[str, Array], yes: Array, no: Array) -> Array:
    """Return the rows of `nested`, by NumPy."""
    state, rows = given["s0"], []
    for trip in range(int(given["times"])):
        if trip % 2:
            s, ys = state, []
            for x in given["xs0"] * given["outer"]:
                s = (s @ yes + x) * given["outer"] + state
                ys.append(s)
            state = np.tanh(s + np.max(ys))
        else:
            state = np.tanh(state @ no)
        rows.append(state)
    return np.stack(rows)


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("engine", ["onnx", "ort"])
def test_a_scan_in_a_branch_in_a_loop_takes_what_is_around_all_of_them(
    engine: str, opset: int, tmp_path: Path
) -> None:
    if engine == "ort":
        pytest.importorskip("onnxruntime")
    network = opened(tmp_path, nested(opset), opset, engine)
    given = {"xs0": floats(4, 3) / 4, "outer": floats(3), "s0": floats(3, seed=2),
             "times": np.array(5)}  # fmt: skip
    (yes,) = [n for n, v in network.own.items() if np.array_equal(np.asarray(v), YES)]
    (no,) = [n for n, v in network.own.items() if np.array_equal(np.asarray(v), NO)]

    own = network.with_weights({}).run(given)
    other = network.with_weights({yes: NO, no: YES}).run(given)

    assert {yes, no} == set(network.parameters)
    np.testing.assert_allclose(own["rows"], by_hand(given, YES, NO), rtol=1e-4)
    np.testing.assert_allclose(other["rows"], by_hand(given, NO, YES), rtol=1e-4)


# ---------------------------------------------------------------- weights, gradients

WEIGHTS = {"cell.weight": floats(4, 4) / 2, "cell.bias": floats(4, seed=1), "gain": floats(4)}
XS = floats(6, 2, 4, seed=2)


def recurrent(*, loops: bool) -> GraphProto:
    """Return a recurrent cell as the body of a scan, or of a loop; its weights lie in the body."""
    cell = [node("Gemm", ["s", "cell.weight", "cell.bias"], ["a"], "/cell/Gemm", transB=1),
            node("Add", ["a", "x"], ["b"]), node("Mul", ["b", "gain"], ["c"]),
            node("Tanh", ["c"], ["s_out"]), node("Identity", ["s_out"], ["y"])]  # fmt: skip
    if loops:
        body = graph(
            [node("Gather", ["xs", "trip"], ["x"]), *cell, node("Identity", ["going"], ["on"])],
            {"trip": [], "going": [], "s": [2, 4]}, {"on": [], "s_out": [2, 4], "y": [2, 4]},
            WEIGHTS,
        )  # fmt: skip
        one = node("Loop", ["six", "", "s0"], ["s1", "ys"], body=body)
    else:
        body = graph(cell, {"s": [2, 4], "x": [2, 4]}, {"s_out": [2, 4], "y": [2, 4]}, WEIGHTS)
        one = node("Scan", ["s0", "xs"], ["s1", "ys"], body=body, num_scan_inputs=1)
    fixed = {"s0": np.zeros((2, 4), np.float32), "six": np.array(len(XS))}
    return graph([one], {"xs": list(XS.shape)}, {"ys": list(XS.shape)}, fixed)


def by_torch(xs: torch.Tensor, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
    state, rows = torch.zeros(2, 4), []
    for x in xs:
        made = torch.nn.functional.linear(state, weights["cell.weight"], weights["cell.bias"])
        state = torch.tanh((made + x) * weights["gain"])
        rows.append(state)
    return torch.stack(rows)


@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize("engine", ["onnx", "ort"])
def test_weights_that_lie_in_a_body_are_those_of_the_checkpoint(
    engine: str, loops: bool, tmp_path: Path
) -> None:
    if engine == "ort":
        pytest.importorskip("onnxruntime")
    states = {step: {n: w * (1 + step) for n, w in WEIGHTS.items()} for step in range(3)}
    network = opened(tmp_path, recurrent(loops=loops), engine=engine)
    run = aw.open_run(states)

    for at, state in states.items():
        bound = network.bind(run.checkpoints[at], run, constants=["s0"])
        found = bound.run(XS)["output"]
        expected = by_torch(torch.tensor(XS), {n: torch.tensor(w) for n, w in state.items()})
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-6)
    assert set(WEIGHTS) <= set(network.parameters)


def test_weights_in_a_body_that_no_checkpoint_has_are_named(tmp_path: Path) -> None:
    network = opened(tmp_path, recurrent(loops=False))
    run = aw.open_run({step: {n: w for n, w in WEIGHTS.items() if n != "gain"} for step in (0, 1)})

    with pytest.raises(BindingError, match="gain"):
        network.bind(run.checkpoints[1], run, constants=["s0"])
    bound = network.bind(run.checkpoints[1], run, constants=["s0", "gain"])

    np.testing.assert_array_equal(bound.parameters["gain"], WEIGHTS["gain"])


@pytest.mark.parametrize("loops", [False, True])
def test_gradients_through_scans_and_loops_are_those_of_autograd(
    loops: bool, tmp_path: Path
) -> None:
    bound = opened(tmp_path, recurrent(loops=loops)).with_weights({})
    xs = torch.tensor(XS, requires_grad=True)
    weights = {n: torch.tensor(w, requires_grad=True) for n, w in WEIGHTS.items()}
    factors = floats(*XS.shape, seed=3)

    found = bound.gradient(XS, ("output", factors), ["xs", *WEIGHTS])

    total = (by_torch(xs, weights) * torch.tensor(factors)).sum()
    expected = torch.autograd.grad(total, [xs, *weights.values()])
    for name, gradient in zip(["xs", *weights], expected, strict=True):
        np.testing.assert_allclose(found[name], gradient.numpy(), rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- values within, bounds


def test_a_value_that_a_scan_computes_for_every_row_is_refused_by_its_name(tmp_path: Path) -> None:
    network = opened(tmp_path, recurrent(loops=False))

    with pytest.raises(ArgumentValueError, match="'cell' is in a loop and computed 6 times for"):
        network.with_weights({}).run(XS, ["cell"])


def test_scans_are_bounded_in_steps_and_in_bytes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scan = node("Scan", ["s0", "xs"], ["s1", "ys"], body=sums(), num_scan_inputs=1)
    made = graph([scan], {"s0": [3], "xs": ["n", 3]}, {"s1": None, "ys": None})
    network = opened(tmp_path, made)
    given = {"s0": floats(3), "xs": floats(1000, 3)}

    with limits.at_most(5000), pytest.raises(MemoryLimitError, match="Scan would make a value"):
        results(network, given)
    monkeypatch.setattr(limits, "LARGEST_STEPS", 1000)
    with pytest.raises(UnsupportedOperatorError, match="loops in the graph run more than 1,000"):
        results(network, given)
    assert results(network, {**given, "xs": floats(300, 3)})[1].shape == (300, 3)
