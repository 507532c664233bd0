"""Graphs of models with known edges: what is drawn is what is computed."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from onnx import TensorProto, helper
from planted_graphs import TWELVE, TWELVE_EDGES, dense, model, two_branches, value
from torch import nn

from accweight_core.errors import AccweightError, FormatError
from accweight_core.graphs import contracting, layer_graph
from accweight_core.graphs.layer_graph import LayerGraph, Node
from accweight_core.readers import graph_in


def read(path: Path) -> LayerGraph:
    found = graph_in(path)
    assert found is not None
    return found


def test_branches_residuals_and_operators_between_layers(tmp_path: Path) -> None:
    graph = read(two_branches(tmp_path / "net.onnx"))

    assert graph.layers == TWELVE
    assert graph.between_layers() == TWELVE_EDGES
    assert [node.name for node in graph.nodes if node.kind == "join"] == ["+", "concat"]


def test_a_weight_that_is_used_twice_is_one_layer_with_the_edges_of_both_uses(
    tmp_path: Path,
) -> None:
    nodes = [
        dense("shared", "x", "a"), dense("between", "a", "b"),
        dense("shared", "b", "c"), dense("last", "c", "y"),
    ]  # fmt: skip

    graph = read(model(tmp_path / "net.onnx", nodes, ["shared", "between", "last"]))

    assert graph.between_layers() == {
        ("x", "shared"), ("shared", "between"), ("between", "shared"),
        ("shared", "last"), ("last", "y"),
    }  # fmt: skip


def test_a_parameter_that_nothing_uses_is_a_node_without_edges(tmp_path: Path) -> None:
    nodes = [dense("used", "x", "y")]

    graph = read(model(tmp_path / "net.onnx", nodes, ["used", "unused"]))

    assert set(graph.layers) == {"used", "unused"}
    assert graph.between_layers() == {("x", "used"), ("used", "y")}


def test_shapes_that_are_computed_and_masks_of_integers_are_no_edges(tmp_path: Path) -> None:
    op = helper.make_node
    nodes = [
        dense("first", "x", "a"),
        op("Shape", ["x"], ["shape"]), op("Reshape", ["a", "shape"], ["b"]),
        op("Cast", ["mask"], ["m"], to=TensorProto.FLOAT), op("Mul", ["b", "m"], ["c"]),
        dense("second", "c", "y"),
    ]  # fmt: skip
    inputs = [value("x"), value("mask", kind=TensorProto.INT64)]

    graph = read(model(tmp_path / "net.onnx", nodes, ["first", "second"], inputs=inputs))

    assert graph.between_layers() == {("x", "first"), ("first", "second"), ("second", "y")}
    assert not any(node.kind == "join" for node in graph.nodes)


def test_both_branches_of_an_if_lead_on(tmp_path: Path) -> None:
    branches = {
        key: helper.make_graph(
            [dense(layer, "a", f"{layer}_out")], key, [], [value(f"{layer}_out")]
        )
        for key, layer in (("then_branch", "yes"), ("else_branch", "no"))
    }
    nodes = [
        dense("first", "x", "a"),
        helper.make_node("If", ["chosen"], ["b"], **branches),
        dense("last", "b", "y"),
    ]
    inputs = [value("x"), value("chosen", (), TensorProto.BOOL)]

    graph = read(model(tmp_path / "n.onnx", nodes, ["first", "yes", "no", "last"], inputs=inputs))

    assert graph.between_layers() == {
        ("x", "first"), ("first", "yes"), ("first", "no"), ("yes", "last"), ("no", "last"),
        ("last", "y"),
    }  # fmt: skip


def test_what_goes_into_a_loop_comes_out_of_its_body(tmp_path: Path) -> None:
    inner = [
        dense("inside", "state", "next"),
        helper.make_node("Identity", ["go"], ["goes"]),
    ]
    body = helper.make_graph(
        inner,
        "body",
        [value("i", (), TensorProto.INT64), value("go", (), TensorProto.BOOL), value("state")],
        [value("goes", (), TensorProto.BOOL), value("next")],
    )
    nodes = [
        dense("first", "x", "a"),
        helper.make_node("Loop", ["times", "", "a"], ["b"], body=body),
        dense("last", "b", "y"),
    ]
    inputs = [value("x"), value("times", (), TensorProto.INT64)]

    graph = read(model(tmp_path / "net.onnx", nodes, ["first", "inside", "last"], inputs=inputs))

    assert graph.between_layers() == {
        ("x", "first"), ("first", "inside"), ("inside", "last"), ("last", "y"),
    }  # fmt: skip


class Residual(nn.Module):
    """Two layers beside a residual, and a branch at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner = nn.Linear(3, 3), nn.ModuleDict({"fc": nn.Linear(3, 3)})
        self.heads = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 4)])
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Any) -> Any:
        x = torch.relu(self.first(x))
        x = x + self.inner["fc"](x)
        return self.heads[0](x), self.heads[1](x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_archive_of_torch_export_has_the_same_graph_as_onnx(tmp_path: Path) -> None:
    module, args = Residual().eval(), (torch.zeros(2, 3),)
    torch.export.save(torch.export.export(module, args), tmp_path / "net.pt2")
    torch.onnx.export(module, args, tmp_path / "net.onnx", dynamo=False)

    from_torch, from_onnx = read(tmp_path / "net.pt2"), read(tmp_path / "net.onnx")

    inner = {edge for edge in from_torch.between_layers() if not {*edge} - {*from_torch.layers}}
    assert inner == {
        ("first", "inner.fc"), ("first", "heads.0"), ("first", "heads.1"),
        ("inner.fc", "heads.0"), ("inner.fc", "heads.1"),
    }  # fmt: skip
    assert inner == {e for e in from_onnx.between_layers() if not {*e} - {*from_onnx.layers}}
    assert from_torch.layers == ("first", "inner.fc", "heads.0", "heads.1", "unused")


@pytest.mark.parametrize(
    "damage",
    [
        lambda program: program["graph_module"].pop("graph"),
        lambda program: program["graph_module"]["graph"].update(nodes=[{"target": 3}]),
        lambda program: program["graph_module"]["signature"].update(input_specs=7),
        lambda program: program.update(graph_module=[[]] * 3),
    ],
)
def test_a_damaged_program_is_an_error_in_one_line(tmp_path: Path, damage: Any) -> None:
    path, damaged = tmp_path / "net.pt2", tmp_path / "damaged.pt2"
    torch.export.save(torch.export.export(Residual(), (torch.zeros(2, 3),)), path)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(damaged, "w") as target:
        for info in source.infolist():
            content = source.read(info)
            if info.filename.endswith("models/model.json"):
                program = json.loads(content)
                damage(program)
                content = json.dumps(program).encode()
            target.writestr(info.filename, content)

    with pytest.raises(FormatError, match=r"program in it is damaged.*export it again") as raised:
        graph_in(damaged)

    assert "\n" not in str(raised.value)


def test_weights_alone_have_no_graph(tmp_path: Path) -> None:
    torch.save(Residual().state_dict(), tmp_path / "net.pt")

    assert graph_in(tmp_path / "net.pt") is None


def test_a_graph_that_is_a_circle_ends(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["x", "c"], ["a"]),
        dense("one", "a", "b"), dense("two", "b", "c"), dense("last", "c", "y"),
    ]  # fmt: skip

    graph = read(model(tmp_path / "net.onnx", nodes, ["one", "two", "last"]))

    assert ("one", "two") in graph.between_layers()


def test_a_graph_of_too_many_nodes_is_an_error_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = two_branches(tmp_path / "net.onnx")
    monkeypatch.setattr(contracting, "MOST_JOINS", 5)

    with pytest.raises(AccweightError, match=r"net\.onnx.*cannot be drawn: .* more than 5 places"):
        graph_in(path)

    monkeypatch.undo()
    monkeypatch.setattr(layer_graph, "MOST_EDGES", 4)
    with pytest.raises(AccweightError, match=r"cannot be drawn: .*edges"):
        graph_in(path)


def test_layers_that_a_run_does_not_show_are_contracted() -> None:
    nodes = tuple(Node("layer", name) for name in ("a", "norm", "b", "c"))
    graph = LayerGraph(nodes, ((0, 1), (1, 2), (1, 3)), "planted")

    found = graph.with_layers(
        ["A", "b", "c", "new"], {"a": "A", "b": "b", "c": "c", "norm": "norm"}
    )

    assert found.between_layers() == {("A", "b"), ("A", "c")}
    assert set(found.layers) == {"A", "b", "c", "new"}
