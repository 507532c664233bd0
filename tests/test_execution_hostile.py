"""What a file can ask for is bounded: cycles, loops without end, huge values, deep graphs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

import accweight_core as aw
from accweight_adapters.execution import limits
from accweight_core.errors import AccweightError, FormatError, MemoryLimitError

INT64 = TensorProto.INT64
node = helper.make_node


def values(**arrays: Any) -> list[TensorProto]:
    """Return initializers; Python's numbers are int64."""
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()]


def stored(
    path: Path, nodes: Sequence[NodeProto], constants: Sequence[TensorProto] = (), opset: int = 17
) -> Path:
    """Write a model of x, (n, 3), that gives y."""
    x, y = (
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
        for n, s in [("x", ["n", 3]), ("y", None)]
    )
    graph = helper.make_graph(nodes, "net", [x], [y], initializer=constants)
    imports = [helper.make_opsetid("", opset)]
    path.write_bytes(helper.make_model(graph, opset_imports=imports).SerializeToString())
    return path


def run(path: Path) -> dict[str, Any]:
    """Run a model on two samples."""
    x = np.ones((2, 3), np.float32)
    return aw.Network.from_onnx(path, engine="onnx").with_weights({}).run(x)


def body(nodes: Sequence[NodeProto]) -> GraphProto:
    """Return the body of a loop with one state, which goes on for ever."""
    number, going = (
        helper.make_tensor_value_info(n, t, []) for n, t in [("i", INT64), ("c", TensorProto.BOOL)]
    )
    state, out = (helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("s", "t"))
    again = helper.make_tensor_value_info("d", TensorProto.BOOL, [])
    same = node("Identity", ["c"], ["d"])
    return helper.make_graph([same, *nodes], "body", [number, going, state], [again, out])


USED = node("Where", ["is", "x", "r"], ["y"])
TOO_LARGE = {
    "Expand": ([node("Expand", ["x", "s"], ["y"])], values(s=[1 << 40, 2, 3])),
    "Tile": ([node("Tile", ["x", "s"], ["y"])], values(s=[1 << 30, 1 << 9])),
    "Range": (
        [node("Range", ["a", "b", "d"], ["r"]), USED],
        values(a=0, b=1 << 50, d=1, **{"is": True}),
    ),
    "ConstantOfShape": (
        [node("ConstantOfShape", ["s"], ["r"]), USED],
        values(s=[1 << 20, 1 << 20], **{"is": True}),
    ),
    "Pad": ([node("Pad", ["x", "s"], ["y"])], values(s=[0, 1 << 40, 0, 0])),
    "OneHot": (
        [node("Cast", ["x"], ["i"], to=INT64), node("OneHot", ["i", "s", "v"], ["y"])],
        values(s=1 << 40, v=np.float32([0, 1])),
    ),
    "Resize": ([node("Resize", ["x", "", "s"], ["y"])], values(s=np.float32([1e9, 1e3]))),
    "Concat": (
        [
            node("Concat", [f"v{k}"] * 8, [f"v{k + 1}"], axis=0)
            if k
            else node("Concat", ["x"] * 8, ["v1"], axis=0)
            for k in range(20)
        ]
        + [node("Identity", ["v20"], ["y"])],
        [],
    ),
    "Loop": (
        [
            node(
                "Loop",
                ["m", "", "x"],
                ["y"],
                body=body([node("Concat", ["s", "s"], ["t"], axis=0)]),
            )
        ],
        values(m=1 << 40),
    ),
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_huge_values_are_refused(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SMALL_BYTES", 1 << 16)
    monkeypatch.setattr(limits._run, "largest", 1 << 20)
    path = stored(tmp_path / "net.onnx", *TOO_LARGE[case])

    with pytest.raises(MemoryLimitError, match=r"would make a value of .* GB; at most") as caught:
        run(path)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("inner", [1, 5])
def test_loops_without_end_are_ended(
    inner: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LARGEST_STEPS", 1000)
    chain = [node("Relu", ["s" if k == 0 else f"r{k}"], [f"r{k + 1}"]) for k in range(inner)]
    forever = body([*chain, node("Identity", [f"r{inner}"], ["t"])])
    path = stored(tmp_path / "net.onnx", [node("Loop", ["", "", "x"], ["y"], body=forever)])

    with pytest.raises(AccweightError, match="run more than 1,000 operators"):
        run(path)


def test_a_loop_that_ends_is_run(tmp_path: Path) -> None:
    double = body([node("Add", ["s", "s"], ["t"])])
    nodes = [node("Loop", ["m", "", "x"], ["y"], body=double)]
    path = stored(tmp_path / "net.onnx", nodes, values(m=10))

    assert run(path)["output"].tolist() == [[1024.0] * 3] * 2


BROKEN = {
    "a cycle": [
        node("Add", ["x", "b"], ["a"]),
        node("Relu", ["a"], ["b"]),
        node("Relu", ["b"], ["y"]),
    ],
    "a node before its input": [node("Relu", ["a"], ["y"]), node("Relu", ["x"], ["a"])],
    "an input that nothing makes": [node("Add", ["x", "nowhere"], ["y"])],
    "two values of one name": [
        node("Relu", ["x"], ["a"]),
        node("Tanh", ["x"], ["a"]),
        node("Add", ["a", "x"], ["y"]),
    ],
    "an output that nothing makes": [node("Relu", ["x"], ["a"])],
}


@pytest.mark.parametrize("case", BROKEN)
def test_graphs_that_are_none_are_refused(case: str, tmp_path: Path) -> None:
    path = stored(tmp_path / "net.onnx", BROKEN[case])

    with pytest.raises(FormatError, match="not a valid ONNX model") as caught:
        run(path)

    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_graphs_ten_thousand_deep_are_refused(tmp_path: Path) -> None:
    def field(number: int, length: int) -> bytes:
        head = number << 3 | 2
        coded = [head]
        while length > 127:
            coded.append(length & 127 | 128)
            length >>= 7
        return bytes([*coded, length])

    name, kind = b"\x0a\x01b", b"\xa0\x01\x05"  # attribute b, a graph
    operator = b"\x22\x02If"
    heads, size = [], 0
    for _ in range(10_000):
        attribute = name + field(6, size)
        size += len(attribute) + len(kind)
        whole = operator + field(5, size)
        size += len(whole)
        own = field(1, size)
        size += len(own)
        heads.append(own + whole + attribute)
    graph = b"".join(reversed(heads)) + kind * 10_000
    path = tmp_path / "net.onnx"
    path.write_bytes(b"\x08\x08" + field(7, len(graph)) + graph)

    with pytest.raises(FormatError, match="nested more than"):
        run(path)


STRANGE = {
    "a stride below one": [node("MaxPool", ["p"], ["y"], kernel_shape=[1], strides=[0])],
    "a stride beyond all places": [
        node("MaxPool", ["p"], ["y"], kernel_shape=[1], strides=[1 << 40])
    ],
    "text for numbers": [node("MaxPool", ["p"], ["y"], kernel_shape="large")],
    "an attribute that is missing": [node("MaxPool", ["p"], ["y"])],
    "a type that does not exist": [node("Cast", ["x"], ["y"], to=99)],
    "an axis that does not exist": [node("Concat", ["x", "x"], ["y"], axis=7)],
    "an order of no axes": [node("Transpose", ["x"], ["y"], perm=[0, 9])],
    "an operator of another domain": [node("Gelu", ["x"], ["y"], domain="com.example")],
    "an operator that does not exist": [node("Magic", ["x"], ["y"])],
    "an equation that is none": [node("Einsum", ["x"], ["y"], equation="a->->b")],
    "shapes that do not fit": [node("MatMul", ["x", "x"], ["y"])],
    "an image that decodes itself": [node("ImageDecoder", ["x"], ["y"])],
}


@pytest.mark.parametrize("case", STRANGE)
def test_strange_forms_are_refused_by_name(case: str, tmp_path: Path) -> None:
    nodes = STRANGE[case]
    if nodes[0].input[0] == "p":
        nodes = [node("Unsqueeze", ["x", "one"], ["p"]), *nodes]
    path = stored(tmp_path / "net.onnx", nodes, values(one=[1]))

    with pytest.raises(AccweightError, match=rf"operator \S*{nodes[-1].op_type}") as caught:
        run(path)

    assert "\n" not in str(caught.value)


def test_names_from_files_are_escaped_and_shortened(tmp_path: Path) -> None:
    bad = node("Magic", ["x"], ["y"], name="\x1b[31m" + "n" * 5000)
    path = stored(tmp_path / "net.onnx", [bad])

    with pytest.raises(AccweightError) as caught:
        run(path)

    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_text_in_a_graph_is_refused(tmp_path: Path) -> None:
    words = onnx.helper.make_tensor("w", TensorProto.STRING, [1], [b"word"])
    path = stored(tmp_path / "net.onnx", [node("Equal", ["w", "w"], ["y"])], [words])

    with pytest.raises(AccweightError, match="tensor 'w': values of type string"):
        run(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"x" * 40, "is not an ONNX model"), (b"", "the file is empty"), (None, "cannot be read")],
)
def test_what_is_no_model_is_told_without_options_for_folders(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(FormatError, match=message) as caught:
        aw.Network.from_onnx(path)

    assert "--" not in str(caught.value)


def test_a_checkpoint_that_is_given_as_network_is_told_how_to_export_it(tmp_path: Path) -> None:
    path = tmp_path / "epoch_3.pt"
    torch.save({"weight": torch.ones(2)}, path)

    with pytest.raises(FormatError, match="is not an ONNX model; a file of PyTorch") as caught:
        aw.Network.from_onnx(path)

    assert "torch.onnx.export(model.eval(), args, 'net.onnx'" in str(caught.value)
    assert "aw.Network.from_module(model)" in str(caught.value)
