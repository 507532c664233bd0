"""Each registered operator passes all of ONNX's own node tests, or refuses that form by name."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import GraphProto, TensorProto, helper
from thorough import sampled

from accweight_adapters.execution.devices import full_precision
from accweight_adapters.execution.element_types import as_array, as_tensor, stored_tensor
from accweight_adapters.execution.graph import compiled
from accweight_adapters.execution.operators import OPERATORS
from accweight_adapters.execution.operators.table import NEWEST_OPSET
from accweight_core.errors import UnsupportedOperatorError

REFUSED = {
    # 2-, 4- and 6-bit numbers, and scales without a sign, which torch does not have
    "Cast": 68,
    "CastLike": 39,
    "QuantizeLinear": 9,
    "DequantizeLinear": 6,
    # what is drawn at random, or belongs to training
    "Dropout": 6,
    "BatchNormalization": 2,
    # align_corners to no whole length, which torch and ONNX Runtime see differently than its tests
    "Resize": 2,
    # forms that nobody has met in a network
    "BitShift": 2,
    "Col2Im": 1,
    "Identity": 1,
    # texts, and cases of the first operator set
    "Equal": 2,
    "Not": 3,
}
"""Most cases of which a form is refused, by the operator that refuses it; what stands in their
graphs depends on the version of onnx and on what it has installed beside it."""

CPU = torch.device("cpu")

UNTESTED = {"ConcatFromSequence", "GlobalLpPool", "SequenceErase"}
"""Operators for which ONNX has no node tests; they have tests below."""

ROUNDING = {torch.float16: 3e-3, torch.bfloat16: 2e-2}
"""Results in half precision depend on the order of sums."""


def node_types(graph: GraphProto) -> set[str]:
    """Return the operators of a graph and of its bodies."""
    found = {f"{n.domain}:{n.op_type}".removeprefix(":") for n in graph.node}
    for node in graph.node:
        for attribute in node.attribute:
            found |= node_types(attribute.g)
    return found


def tensor(value: Any) -> Any:
    """Return a value of a case as an engine takes it."""
    if isinstance(value, list):
        return [tensor(item) for item in value]
    if isinstance(value, TensorProto):
        return stored_tensor(value)
    return None if value is None else as_tensor(value)


def assert_same(made: Any, expected: Any, case: Any) -> None:
    """Compare type, shape and values."""
    if isinstance(expected, list):
        assert len(made) == len(expected)
        for one, other in zip(made, expected, strict=True):
            assert_same(one, other, case)
        return
    if expected is None or made is None:
        assert made is expected
        return
    assert (made.dtype, made.shape) == (expected.dtype, expected.shape)
    if torch.equal(made, expected):
        return
    got, wanted = as_array(made), as_array(expected)
    floats = wanted.dtype.kind in "fc"
    largest = float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0)) if floats else 0.0
    half = ROUNDING.get(made.dtype, 0.0)
    np.testing.assert_allclose(
        got,
        wanted,
        rtol=max(case.rtol, half) if floats else 0,
        # noise about zero is of the size of the terms of a sum, which the cases do not allow for
        atol=max(case.atol, half / 2, 1e-6 * largest),
    )


def moved(value: Any, device: torch.device) -> Any:
    """Return tensors and lists of them on a device."""
    if isinstance(value, list):
        return [moved(item, device) for item in value]
    return value.to(device) if isinstance(value, torch.Tensor) else value


def devices_of(value: Any) -> set[str]:
    """Return the kinds of devices of tensors, and of lists of them."""
    if isinstance(value, list):
        return set().union(*map(devices_of, value))
    return {value.device.type} if isinstance(value, torch.Tensor) else set()


def run_case(case: Any, device: torch.device) -> None:
    """Run a case twice, since the second run uses what the first has kept."""
    model = case.model
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    opset = max(versions, default=NEWEST_OPSET)  # operators of other domains alone
    made = compiled(model.graph, opset, device)
    program = made.program()
    plan = program.plan(program.outputs)
    for inputs, outputs in case.data_sets:
        values = (moved(tensor(value), device) for value in inputs)
        given = dict(zip(made.arguments, values, strict=True))
        expected = [tensor(value) for value in outputs]
        for _ in range(2):
            for value, wanted in zip(plan.run(given), expected, strict=True):
                assert devices_of(value) <= {device.type}
                assert_same(moved(value, CPU), wanted, case)


@dataclass
class Outcomes:
    """What became of the cases.

    Attributes:
        right: How many passed.
        refused: How many were refused, by the operator that refused.
        wrong: What is wrong with each of the others.
        seen: Operators that were run.
    """

    right: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)


def outcomes(device: torch.device, stride: int = 1) -> Outcomes:
    """Run the cases of ONNX on a device; one in a stride, unless the tests are thorough."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some cases compute NaN on purpose
        from onnx.backend.test.case.node import collect_testcases

        cases = collect_testcases(None)
    found = Outcomes()
    for case in sampled(cases, stride):
        types = node_types(case.model.graph)
        unknown = types - OPERATORS.keys()
        found.seen |= set() if unknown else types
        try:
            with full_precision(device):
                run_case(case, device)
            found.right += 1
        except UnsupportedOperatorError as error:
            told = re.match(r"operator ([\w.]+(?::\w+)?)", str(error))
            what = told[1] if told else "/".join(sorted(types))
            if what not in unknown:
                found.refused[what] += 1
            if "cannot be computed: " in str(error) and device != CPU:
                found.wrong.append(f"{case.name}: {str(error)[:300]}")
        except Exception as error:
            found.wrong.append(f"{case.name}: {' '.join(str(error).split())[:200]}")
    return found


def test_operators_pass_the_node_tests_of_onnx_or_refuse_by_name() -> None:
    found = outcomes(CPU)

    assert found.wrong == []
    assert OPERATORS.keys() - found.seen == UNTESTED
    assert found.right > 1600
    assert found.refused - Counter(REFUSED) == Counter()


def test_the_latest_version_of_each_operator_has_been_read() -> None:
    newer = {
        name: onnx.defs.get_schema(name).since_version
        for name, operator in OPERATORS.items()
        if onnx.defs.get_schema(name).since_version > operator.newest
    }

    assert newer == {}  # otherwise look at what has changed, and raise `newest`


def result_of(node: onnx.NodeProto, *values: Any, opset: int = 21) -> Any:
    """Run one node on tensors."""
    names = list(dict.fromkeys(name for name in node.input if name))
    types = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names]
    out = helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)
    made = compiled(helper.make_graph([node], "one", types, [out]), opset, CPU)
    program = made.program()
    given = dict(zip(made.arguments, values, strict=True))
    return program.plan(program.outputs).run(given)[0]


def test_sequences_are_joined_and_lose_elements() -> None:
    items = [torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])]
    cat = helper.make_node("ConcatFromSequence", ["s"], ["y"], axis=0)
    stack = helper.make_node("ConcatFromSequence", ["s"], ["y"], axis=1, new_axis=1)
    erase = helper.make_node("SequenceErase", ["s", "i"], ["y"])

    assert result_of(cat, items).tolist() == [1, 2, 3, 4]
    assert result_of(stack, items).tolist() == [[1, 3], [2, 4]]
    assert [v.tolist() for v in result_of(erase, items, torch.tensor(0))] == [[3, 4]]


def test_global_lp_pooling_is_a_norm_over_positions() -> None:
    node = helper.make_node("GlobalLpPool", ["x"], ["y"], p=2)

    made = result_of(node, torch.tensor([[[[3.0, 0.0], [0.0, 4.0]]]]))

    assert made.tolist() == [[[[5.0]]]]


@pytest.mark.parametrize("opset", [7, 12])
def test_softmax_of_older_operator_sets_is_over_all_axes_from_one(opset: int) -> None:
    x = torch.randn(2, 3, 4)

    made = result_of(helper.make_node("Softmax", ["x"], ["y"]), x, opset=opset)

    torch.testing.assert_close(made, torch.softmax(x.flatten(1), 1).reshape(x.shape))


def test_arguments_of_older_operator_sets_are_attributes() -> None:
    x = torch.randn(1, 3, 4)
    pads = helper.make_node("Pad", ["x"], ["y"], pads=[0, 0, 1, 0, 0, 2], value=5.0)
    cut = helper.make_node("Slice", ["x"], ["y"], starts=[1], ends=[-1], axes=[2])
    larger = helper.make_node("Upsample", ["x"], ["y"], scales=[1.0, 1.0, 2.0], mode="nearest")

    assert result_of(pads, x, opset=7).shape == (1, 3, 7)
    torch.testing.assert_close(result_of(cut, x, opset=7), x[..., 1:-1])
    torch.testing.assert_close(result_of(larger, x, opset=7), x.repeat_interleave(2, 2))


@pytest.mark.parametrize("opset", [6, 29])
def test_operator_sets_that_nobody_has_read_are_refused(opset: int) -> None:
    with pytest.raises(UnsupportedOperatorError, match=f"operator set {opset}; known here are 7"):
        result_of(helper.make_node("Relu", ["x"], ["y"]), torch.zeros(1), opset=opset)


def test_forms_are_refused_by_the_name_of_their_node() -> None:
    node = helper.make_node("Gelu", ["x"], ["y"], name="act", approximate="cubic")

    with pytest.raises(UnsupportedOperatorError) as caught:
        result_of(node, torch.zeros(1), opset=20)

    assert str(caught.value) == (
        "operator Gelu ('act') has approximate='cubic', which is not known here"
    )
    assert caught.value.operator == "Gelu"


def test_nearest_neighbours_are_those_of_scales_in_float32() -> None:
    x = torch.arange(6.0)[None, None]
    names = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    resize = helper.make_node("Resize", ["x", "", "s"], ["y"], **names)
    older = helper.make_node("Resize", ["x", "s"], ["y"], mode="nearest")

    def scaled(by: float, opset: int = 13) -> list[float]:
        given = torch.tensor([1, 1, by], dtype=torch.float32)
        node = resize if opset > 10 else older
        return result_of(node, x, given, opset=opset)[0, 0].tolist()  # type: ignore[no-any-return]

    assert scaled(5 / 3) == [0, 0, 1, 1, 2, 3, 3, 4, 4, 5]  # ten, not nine
    assert scaled(2 / 3) == [0, 1, 3, 4]  # 3, not 2.9999999
    assert scaled(2 / 3, opset=10) == [0, 2, 3, 5]  # older ones round up here
    assert scaled(1.5, opset=10) == [0, 0, 1, 2, 2, 3, 4, 4, 5]


def test_corners_that_scales_do_not_align_are_refused() -> None:
    node = helper.make_node(
        "Resize", ["x", "", "s"], ["y"], name="up", mode="linear",
        coordinate_transformation_mode="align_corners",
    )  # fmt: skip
    x = torch.arange(4.0)[None, None]

    made = result_of(node, x, torch.tensor([1, 1, 1.75]), opset=13)
    with pytest.raises(
        UnsupportedOperatorError, match=r"Resize \('up'\) scales 4 values by 1.6 with"
    ):
        result_of(node, x, torch.tensor([1, 1, 1.6]), opset=13)

    torch.testing.assert_close(made[0, 0], torch.linspace(0, 3, 7))
