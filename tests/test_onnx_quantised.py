"""Quantised ONNX weights: floats again where the graph tells how, refused where not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx_models import RNG, described, floats, layers, node, read, saved

from accweight_adapters.onnx.quantised import Dequantised
from accweight_core.errors import UnsupportedDtypeError
from accweight_core.schema import Axis, HiddenValues, Role

OUT, IN = Axis.OUTPUT, Axis.INPUT


@pytest.mark.parametrize(("axis", "code"), [(None, "uint8"), (0, "int8"), (1, "int8")])
def test_a_dequantised_weight_is_what_onnx_computes(
    tmp_path: Path, axis: int | None, code: str
) -> None:
    codes = RNG.integers(0, 100, (6, 4)).astype(code)
    count = 1 if axis is None else codes.shape[axis]
    scale = np.abs(floats(count)).reshape(() if axis is None else -1)
    zero = RNG.integers(0, 9, count).astype(code).reshape(scale.shape)
    attributes = {} if axis is None else {"axis": axis}
    nodes = [
        node("DequantizeLinear", "fc.weight_quantized scale zero", "w", **attributes),
        node("MatMul", "x w"),
    ]
    path = saved(
        tmp_path,
        nodes,
        {"fc.weight_quantized": codes, "scale": scale, "zero": zero},
        outputs=("y", "w"),
    )

    tensors = described(path)

    expected = ReferenceEvaluator(str(path)).run(["w"], {"x": floats(2, 6)})[0]
    tensor = tensors["fc.weight_quantized"]
    assert list(layers(tensors)) == ["fc"]
    assert (tensor.dtype, tensor.refusal, tensor.hints.axes) == ("float32", "", (IN, OUT))
    assert np.array_equal(read(tensor), expected)


def test_four_bit_blocks_are_dequantised(tmp_path: Path) -> None:
    codes = helper.make_tensor("q", TensorProto.INT4, (6, 4), RNG.integers(-8, 8, 24))
    nodes = [node("DequantizeLinear", "q scale", "w", axis=0, block_size=3), node("MatMul", "x w")]
    path = saved(tmp_path, nodes, {"q": codes, "scale": np.abs(floats(2, 4))}, outputs=("y", "w"))

    tensor = described(path)["q"]

    expected = ReferenceEvaluator(str(path)).run(["w"], {"x": floats(2, 6)})[0]
    assert np.array_equal(read(tensor), expected)


def integer_product(tmp_path: Path, names: dict[str, str], *, scaled: bool) -> Path:
    q, scale = names["q"], names["scale"]
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        node("MatMulInteger", f"xq {q} xz zero", "i", "/fc1/MatMul_quant"),
        node("Cast", "i", "f", to=TensorProto.FLOAT),
        node("Mul", f"xs {scale}", "s"),
        node("Mul", "f s" if scaled else "f xs", "m"),
        node("Add", "m onnx::Add_2"),
    ]
    constants = {
        q: np.arange(6, dtype=np.uint8).reshape(3, 2), scale: np.float32(0.5).reshape(()),
        "zero": np.array(2, np.uint8), "onnx::Add_2": floats(2),
    }  # fmt: skip
    return saved(tmp_path, nodes, constants)


@pytest.mark.parametrize(
    ("names", "scaled"),
    [
        ({"q": "onnx::MatMul_1", "scale": "s1"}, True),
        ({"q": "w_quantized", "scale": "w_scale"}, False),
    ],
)
def test_the_scale_of_an_integer_product_is_found_after_it_or_by_name(
    tmp_path: Path, names: dict[str, str], scaled: bool
) -> None:
    tensors = described(integer_product(tmp_path, names, scaled=scaled))

    weight = tensors[names["q"]]
    assert weight.hints.layer == ("fc1" if "::" in names["q"] else "w")
    assert read(weight).tolist() == [[-1.0, -0.5], [0.0, 0.5], [1.0, 1.5]]
    assert layers(tensors)[str(weight.hints.layer)] == [
        (names["q"], Role.WEIGHT),
        ("onnx::Add_2", Role.BIAS),
    ]


def test_an_integer_product_without_a_scale_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = integer_product(tmp_path, {"q": "q", "scale": "s1"}, scaled=False)

    assert "its scale cannot be determined" in described(path)["q"].refusal


def test_quantised_convolutions_are_dequantised_by_channel(tmp_path: Path) -> None:
    codes, bias = RNG.integers(-9, 9, (3, 2, 1, 1)).astype(np.int8), np.array([1, -2, 3], np.int32)
    scales = np.array([0.5, 0.25, 2], np.float32)
    constants = {
        "xs": np.float32(0.5).reshape(()), "xz": np.array(0, np.uint8), "c.weight": codes,
        "ws": scales, "wz": np.zeros(3, np.int8), "c.bias": bias,
    }  # fmt: skip
    nodes = [node("QLinearConv", "x xs xz c.weight ws wz xs xz c.bias")]

    tensors = described(saved(tmp_path, nodes, constants))

    assert np.array_equal(read(tensors["c.weight"]), codes * scales[:, None, None, None])
    assert read(tensors["c.bias"]).tolist() == [0.25, -0.25, 3.0]
    assert isinstance(tensors["c.weight"].values, HiddenValues)
    assert isinstance(tensors["c.weight"].values.load, Dequantised)


def test_a_scale_of_the_wrong_length_is_refused_with_the_reason(tmp_path: Path) -> None:
    nodes = [node("DequantizeLinear", "q s", "w", axis=1), node("MatMul", "x w")]
    constants = {"q": np.zeros((6, 4), np.int8), "s": floats(3)}

    assert (
        "shape (3,), which does not fit (6, 4)"
        in described(saved(tmp_path, nodes, constants))["q"].refusal
    )


def test_sparse_weights_are_refused_with_the_reason(tmp_path: Path) -> None:
    path = saved(tmp_path, [node("MatMul", "x s.weight")], {})
    model = onnx.load(path)
    values = numpy_helper.from_array(floats(2), "s.weight")
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([1, 5])), [4, 4])
    )
    onnx.save(model, path)

    tensor = described(path)["s.weight"]

    assert (tensor.shape, "stored sparsely" in tensor.refusal) == ((4, 4), True)
    assert isinstance(tensor.values, HiddenValues)
    with pytest.raises(UnsupportedDtypeError, match="sparsely"):
        tensor.values.load()


def test_codes_for_an_operator_that_packs_them_are_refused_with_the_reason(tmp_path: Path) -> None:
    operator = helper.make_node(
        "MatMulNBits", ["x", "fc.weight_Q4", "scales"], ["y"], "fc", domain="com.microsoft"
    )
    constants = {"fc.weight_Q4": np.zeros((8, 1, 16), np.uint8), "scales": floats(8)}

    tensors = described(saved(tmp_path, [operator], constants))

    assert list(tensors) == ["fc.weight_Q4"]
    assert "integer codes go into MatMulNBits" in tensors["fc.weight_Q4"].refusal
