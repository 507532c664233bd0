"""ONNX graphs: layers, roles and axes as a person who knows the model would name them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx_models import branch, described, floats, layers, node, read, saved

from accweight_adapters.onnx import names
from accweight_adapters.onnx.reader import OnnxReader
from accweight_core.errors import FormatError
from accweight_core.schema import Axis, Kind, Role

OUT, IN, KERNEL, OTHER = Axis.OUTPUT, Axis.INPUT, Axis.KERNEL, Axis.OTHER


@pytest.mark.parametrize(
    ("operator", "axes"),
    [
        (node("Gemm", "x w", transB=1), (OUT, IN)),
        (node("Gemm", "x w", transB=0), (IN, OUT)),
        (node("Gemm", "w x"), (OUT, IN)),
        (node("MatMul", "x w"), (IN, OUT)),
        (node("MatMul", "w x"), (OUT, IN)),
        (node("Einsum", "x w", equation="bi,oi->bo"), (OUT, IN)),
    ],
)
def test_a_matrix_knows_its_inputs_from_its_outputs(
    tmp_path: Path, operator: onnx.NodeProto, axes: tuple[Axis, ...]
) -> None:
    hints = described(saved(tmp_path, [operator], {"w": floats(4, 5)}))["w"].hints

    assert (hints.kind, hints.role, hints.axes) == (Kind.LINEAR, Role.WEIGHT, axes)


@pytest.mark.parametrize(
    ("operator", "kind", "axes"),
    [
        ("Conv", Kind.CONV, (OUT, IN, KERNEL, KERNEL)),
        ("ConvTranspose", Kind.CONV_TRANSPOSE, (IN, OUT, KERNEL, KERNEL)),
    ],
)
def test_a_convolution_knows_its_axes(
    tmp_path: Path, operator: str, kind: Kind, axes: tuple[Axis, ...]
) -> None:
    constants = {"c.weight": floats(4, 2, 3, 3), "c.bias": floats(4)}

    tensors = described(saved(tmp_path, [node(operator, "x c.weight c.bias")], constants))

    assert tensors["c.weight"].hints.axes == axes
    assert {t.hints.kind for t in tensors.values()} == {kind}
    assert layers(tensors) == {"c": [("c.weight", Role.WEIGHT), ("c.bias", Role.BIAS)]}


def test_axes_are_followed_through_transpose_reshape_and_unsqueeze(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", "a", "at", perm=[1, 0]),
        node("MatMul", "x at", "y1"),
        node("Reshape", "b shape", "br"),
        node("MatMul", "y1 br", "y2"),
        node("Unsqueeze", "c axis", "cu"),
        node("Conv", "y2 cu"),
    ]
    constants = {
        "a": floats(6, 5), "b": floats(2, 3, 7), "c": floats(4, 7, 3),
        "shape": np.array([-1, 7]), "axis": np.array([3]),
    }  # fmt: skip

    tensors = described(saved(tmp_path, nodes, constants))

    assert {name: tensor.hints.axes for name, tensor in tensors.items()} == {
        "a": (OUT, IN),
        "b": (IN, IN, OUT),
        "c": (OUT, IN, KERNEL),
    }


def test_a_bias_added_later_belongs_to_the_layer_of_its_weight(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x Parameter5", "c", "Convolution28"),
        node("Add", "c Parameter6", "p", "Plus30"),
        node("MatMul", "p onnx::MatMul_9", "m", "/head/fc/MatMul"),
        node("Reshape", "m shape", "r"),
        node("Add", "onnx::Add_10 r", "y", "/head/fc/Add"),
    ]
    constants = {
        "Parameter5": floats(8, 1, 5, 5), "Parameter6": floats(8, 1, 1), "shape": np.array([0, -1]),
        "onnx::MatMul_9": floats(8, 3), "onnx::Add_10": floats(3),
    }  # fmt: skip

    tensors = described(saved(tmp_path, nodes, constants))

    assert layers(tensors) == {
        "Convolution28": [("Parameter5", Role.WEIGHT), ("Parameter6", Role.BIAS)],
        "head.fc": [("onnx::MatMul_9", Role.WEIGHT), ("onnx::Add_10", Role.BIAS)],
    }
    assert tensors["Parameter6"].hints.axes == (OUT, OTHER, OTHER)


def test_a_norm_written_out_in_small_operators_is_one_norm(tmp_path: Path) -> None:
    nodes = [
        node("ReduceMean", "x", "m"),
        node("Sub", "x m", "d"),
        node("Pow", "d two", "s"),
        node("ReduceMean", "s", "v"),
        node("Add", "v eps", "ve"),
        node("Sqrt", "ve", "root"),
        node("Div", "d root", "n"),
        node("Mul", "n ln.weight", "scaled"),
        node("Add", "scaled ln.bias"),
    ]
    constants = {
        "two": np.float32(2).reshape(()), "eps": np.float32(1e-5).reshape(()),
        "ln.weight": floats(6), "ln.bias": floats(6),
    }  # fmt: skip

    tensors = described(saved(tmp_path, nodes, constants))

    assert layers(tensors) == {"ln": [("ln.weight", Role.NORM), ("ln.bias", Role.NORM)]}
    assert tensors["ln.bias"].hints.kind is Kind.NORM


@pytest.mark.parametrize("scaled", [True, False])
def test_a_mask_added_to_attention_scores_is_no_bias(tmp_path: Path, scaled: bool) -> None:
    nodes = [node("MatMul", "x x", "scores")]
    nodes += [node("Div", "scores root", "s")] if scaled else []
    nodes.append(node("Add", "s alibi" if scaled else "scores alibi"))
    constants = {"root": floats(1), "alibi": floats(1, 1, 1, 6)}

    tensors = described(saved(tmp_path, nodes, constants))

    assert {name: t.hints.role for name, t in tensors.items()} == {"alibi": Role.BUFFER}


def test_a_group_norm_is_one_layer_without_the_stand_ins_of_the_exporter(tmp_path: Path) -> None:
    nodes = [
        node("Reshape", "x shape", "groups"),
        node("InstanceNormalization", "groups val_1 val_2", "n", "/gn/InstanceNormalization"),
        node("Reshape", "n shape", "r"),
        node("Mul", "r onnx::Mul_3", "m", "/gn/Mul"),
        node("Add", "m onnx::Add_4", "y", "/gn/Add"),
    ]
    constants = {
        "shape": np.array([0, 2, -1]), "val_1": np.ones(2, np.float32), "val_2": floats(2),
        "onnx::Mul_3": floats(6, 1, 1), "onnx::Add_4": floats(6, 1, 1),
    }  # fmt: skip

    tensors = described(saved(tmp_path, nodes, constants))

    assert layers(tensors) == {"gn": [("onnx::Mul_3", Role.NORM), ("onnx::Add_4", Role.NORM)]}


def test_a_tensor_that_nothing_uses_is_left_to_its_name(tmp_path: Path) -> None:
    tensors = described(saved(tmp_path, [node("Relu", "x")], {"fc.weight": floats(3, 3)}))

    hints = tensors["fc.weight"].hints
    assert (hints.layer, hints.kind, hints.role, hints.axes) == ("fc", None, None, None)


def test_what_is_no_parameter_is_left_out(tmp_path: Path) -> None:
    nodes = [
        node("Constant", "", "half", value=numpy_helper.from_array(np.float32(0.5))),
        node("Constant", "", "table", value=numpy_helper.from_array(floats(9))),
        node("Mul", "x half", "a"),
        node("Where", "a table a", "b"),
        node("Reshape", "b shape"),
    ]

    assert described(saved(tmp_path, nodes, {"shape": np.array([2, -1])})) == {}


def test_a_table_that_is_looked_up_is_an_embedding(tmp_path: Path) -> None:
    nodes = [node("Gather", "tok.weight ids", "e"), node("Add", "e pos_embed")]
    constants = {"tok.weight": floats(20, 6), "pos_embed": floats(1, 4, 6)}

    tensors = described(saved(tmp_path, nodes, constants, inputs=("ids",)))

    assert layers(tensors) == {
        "tok": [("tok.weight", Role.EMBEDDING)],
        "pos_embed": [("pos_embed", Role.EMBEDDING)],
    }
    assert tensors["tok.weight"].hints.kind is Kind.EMBEDDING
    assert tensors["tok.weight"].hints.axes == (OUT, IN)


def test_projections_inside_attention_are_attention_and_others_are_not(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", "x onnx::MatMul_1", "a", "/blocks.0/attn/qkv/MatMul"),
        node("MatMul", "a onnx::MatMul_2", "b", "/blocks.0/attn/proj/MatMul"),
        node("MatMul", "b onnx::MatMul_3", "y", "/blocks.0/mlp/fc1/MatMul"),
    ]
    constants = {f"onnx::MatMul_{i}": floats(6, 6) for i in (1, 2, 3)}

    tensors = described(saved(tmp_path, nodes, constants)).values()

    assert [(t.hints.layer, t.hints.kind) for t in tensors] == [
        ("blocks.0.attn.qkv", Kind.ATTENTION),
        ("blocks.0.attn.proj", Kind.ATTENTION),
        ("blocks.0.mlp.fc1", Kind.LINEAR),
    ]


def test_fused_attention_has_sections(tmp_path: Path) -> None:
    operator = helper.make_node(
        "Attention", ["x", "w", "b"], ["y"], "att", domain="com.microsoft", num_heads=2
    )

    tensors = described(saved(tmp_path, [operator], {"w": floats(6, 18), "b": floats(18)}))

    assert tensors["w"].hints.axes == (IN, OUT)
    assert [t.hints.sections for t in tensors.values()] == [("q", "k", "v")] * 2
    assert {t.hints.kind for t in tensors.values()} == {Kind.ATTENTION}


def test_two_weights_of_one_module_get_layers_of_their_own(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", "x onnx::MatMul_1", "a", "/mix/MatMul"),
        node("MatMul", "a onnx::MatMul_2", "b", "/mix/MatMul_1"),
        node("MatMul", "b gate.w1", "c"),
        node("MatMul", "c gate.w2"),
    ]
    constants = {
        n: floats(6, 6) for n in ("onnx::MatMul_1", "onnx::MatMul_2", "gate.w1", "gate.w2")
    }

    tensors = described(saved(tmp_path, nodes, constants))

    assert list(layers(tensors)) == ["mix.MatMul", "mix.MatMul_1", "gate.w1", "gate.w2"]


def test_cells_of_a_recurrent_layer_stay_one_layer(tmp_path: Path) -> None:
    nodes = [
        node("Gemm", "x cell.weight_ih", "a", transB=1),
        node("Gemm", "h cell.weight_hh", "b", transB=1),
        node("Add", "a b"),
    ]
    constants = {"cell.weight_ih": floats(24, 5), "cell.weight_hh": floats(24, 6)}

    assert list(layers(described(saved(tmp_path, nodes, constants)))) == ["cell"]


def test_weights_in_constant_nodes_of_both_branches_are_found(tmp_path: Path) -> None:
    yes, no = floats(40, 40), floats(40, 40)
    nodes = [
        node("MatMul", "x first.weight", "a"),
        node("If", "cond", "b", then_branch=branch("then", yes), else_branch=branch("else", no)),
        node("MatMul", "b last.weight"),
    ]
    constants = {"last.weight": floats(40, 2), "first.weight": floats(40, 40)}

    tensors = described(saved(tmp_path, nodes, constants))

    assert list(layers(tensors)) == ["first", "fc", "fc@2", "last"]
    expected = [yes, no] if np.array_equal(read(tensors["fc.weight"]), yes) else [no, yes]
    assert np.array_equal(read(tensors["fc.weight"]), expected[0])
    assert np.array_equal(read(tensors["fc.weight@2"]), expected[1])


def test_a_weight_handed_to_a_function_is_found_in_its_body(tmp_path: Path) -> None:
    body = [node("Transpose", "w", "wt", perm=[1, 0]), node("MatMul", "x wt", "m")]
    body.append(node("Add", "m b"))
    opset = [helper.make_opsetid("", 21)]
    function = helper.make_function("local", "dense", ["x", "w", "b"], ["y"], body, opset)
    calls = [
        helper.make_node("dense", ["x", "f.weight", "f.bias"], ["h"], "f", domain="local"),
        helper.make_node("dense", ["h", "g.weight", "g.bias"], ["y"], "g", domain="local"),
    ]
    constants = {
        "f.weight": floats(3, 2),
        "f.bias": floats(3),
        "g.weight": floats(4, 3),
        "g.bias": floats(4),
    }

    tensors = described(saved(tmp_path, calls, constants, functions=(function,)))

    assert layers(tensors) == {
        "f": [("f.weight", Role.WEIGHT), ("f.bias", Role.BIAS)],
        "g": [("g.weight", Role.WEIGHT), ("g.bias", Role.BIAS)],
    }
    assert tensors["g.weight"].hints.axes == (OUT, IN)


def test_functions_that_call_themselves_are_refused(tmp_path: Path) -> None:
    calls = [helper.make_node("loop", ["x"], ["y"], domain="local")]
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("local", 1)]
    function = helper.make_function("local", "loop", ["x"], ["y"], calls, opsets)

    with pytest.raises(FormatError, match="nested more than"):
        OnnxReader().describe(saved(tmp_path, calls, {}, functions=(function,)))


def test_statistics_of_batch_norm_are_buffers(tmp_path: Path) -> None:
    constants = {f"bn.{n}": floats(4) for n in ("weight", "bias", "running_mean", "running_var")}
    constants["bn.num_batches_tracked"] = np.array(7)

    tensors = described(
        saved(
            tmp_path, [node("BatchNormalization", f"x {' '.join(list(constants)[:4])}")], constants
        )
    )

    assert layers(tensors) == {
        "bn": [
            ("bn.weight", Role.NORM),
            ("bn.bias", Role.NORM),
            ("bn.running_mean", Role.BUFFER),
            ("bn.running_var", Role.BUFFER),
            ("bn.num_batches_tracked", None),
        ]
    }


def test_weights_made_of_a_direction_and_a_length_are_one_layer(tmp_path: Path) -> None:
    nodes = [
        node("ReduceL2", "c.weight_v", "norm"),
        node("Div", "c.weight_g norm", "factor"),
        node("Mul", "c.weight_v factor", "w"),
        node("Conv", "x w c.bias"),
    ]
    constants = {
        "c.weight_g": floats(4, 1, 1),
        "c.weight_v": floats(4, 2, 3),
        "c.bias": floats(4),
    }

    tensors = described(saved(tmp_path, nodes, constants))

    assert sorted(layers(tensors)["c"]) == [
        ("c.bias", Role.BIAS),
        ("c.weight_g", Role.WEIGHT),
        ("c.weight_v", Role.WEIGHT),
    ]
    assert tensors["c.weight_v"].hints.axes == (OUT, IN, KERNEL)


@pytest.mark.parametrize(
    ("name", "module", "leaf"),
    [
        ("encoder.0.weight", "encoder.0", "weight"),
        ("fire2/squeeze1x1_w_0", "fire2.squeeze1x1", "w"),
        ("resnetv17_batchnorm0_gamma", "resnetv17_batchnorm0", "gamma"),
        ("sequential/dense/MatMul/ReadVariableOp:0", "sequential.dense", "MatMul"),
        ("model/conv/kernel:0", "model.conv", "kernel"),
        ("conv2d_0.w_0", "conv2d_0", "w_0"),
        ("fc.weight@2", "fc@2", "weight"),
        ("fc.weight_quantized", "fc", "weight"),
        ("pos_embed", "pos_embed", ""),
    ],
)
def test_names_of_every_framework_are_split_into_module_and_leaf(
    name: str, module: str, leaf: str
) -> None:
    assert names.is_meaningful(name)
    assert names.split(name) == (module, leaf)


@pytest.mark.parametrize(
    "name",
    ["onnx::MatMul_215", "Parameter193", "Parameter193_reshape1", "val_7", "23", "t5", "const_12",
     "/model/rnn/Constant_12_output_0", "onnx::MatMul_13_quantized", "const_fold_opt__118", ""],
)  # fmt: skip
def test_names_made_up_by_exporters_are_known(name: str) -> None:
    assert not names.is_meaningful(name)


@pytest.mark.parametrize(
    ("name", "output", "module"),
    [
        ("/encoder/layer.0/attn/MatMul", "", "encoder.layer.0.attn"),
        ("/layer1/layer1.0/conv1/Conv", "", "layer1.0.conv1"),
        ("/fc1/MatMul_quant", "", "fc1"),
        ("Convolution28", "", "Convolution28"),
        ("node_MatMul_3", "", "MatMul_3"),
        ("", "Plus214_Output_0", "Plus214"),
        ("", "", ""),
    ],
)
def test_nodes_tell_their_module(name: str, output: str, module: str) -> None:
    assert names.module_of_node(name, output) == module
