"""The probe `decision_surface`: the boundary of known weights, within a cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from probe_networks import probed, said, stack, steps_of, write_states
from torch import nn

import accweight_core as aw
from accweight_core.analysis.probe_pictures import class_key
from accweight_core.colours.themes import LIGHT
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.plane_pictures import with_dots

CELLS = 50


def test_the_boundary_is_that_of_the_weights_within_a_cell(tmp_path: Path) -> None:
    x = np.array([[-1, -1], [1, 1], [-1, 1], [1, -1]], np.float32).repeat(8, axis=0)
    y = (x[:, 0] > 0).astype(np.int64)
    states = steps_of(stack(2, 2), 2)
    states[1]["0.weight"] = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    states[1]["0.bias"] = torch.tensor([0.0, -0.5])  # x + 2 y = 0.5

    asked = f"decision_surface:cells={CELLS},margin=0"
    found = probed(tmp_path, stack(2, 2), states, (x, y), asked)

    across, up = np.linspace(-1, 1, CELLS), np.linspace(1, -1, CELLS)
    a, b = np.meshgrid(across, up)
    np.testing.assert_allclose(found.array("surface", 1)[1], a + 2 * b - 0.5, atol=1e-5)
    predicted = found.array("predicted", 1)
    for column in range(CELLS):
        line = (0.5 - across[column]) / 2
        turn = np.flatnonzero(np.diff(predicted[:, column]))
        assert len(turn) == 1
        assert abs(up[turn[0]] - line) <= 2 / (CELLS - 1)
    assert found.array("shares", 1).sum() == pytest.approx(1)
    colours = found.array("images", 1)[1].astype(int)
    above = colours[..., 0] > colours[..., 2]  # orange
    clear = np.abs(a + 2 * b - 0.5) > 0.05
    np.testing.assert_array_equal(above[clear], (a + 2 * b > 0.5)[clear])
    assert found.labels("unit") == ("0/0", "0/1", "predicted")


def plane(count: int = 20) -> np.ndarray[Any, Any]:
    """Return points around 0."""
    return np.random.default_rng(0).uniform(-1, 1, (count, 2)).astype(np.float32)


def test_links_are_the_weights_between_the_units_drawn(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2))
    states = steps_of(module, 2)
    for name in ("0.weight", "2.weight", "4.weight"):
        states[1][name] = torch.arange(states[1][name].numel()).reshape(states[1][name].shape) - 2.5

    found = probed(tmp_path, module, states, plane(), "decision_surface:units=2,cells=4")

    cut = "drawn are the first 2 of 3 units of 0, 2 of 3 units of 2; units=N for more"
    assert said(found)[1] == cut
    assert class_key(found) == list(zip("01", LIGHT.classes, strict=False))

    ends, links = (
        found.attributes["ends"],
        dict(zip(found.labels("link"), found.array("links", 1), strict=True)),
    )
    assert found.attributes["columns"] == [["inputs", 2], ["0", 2], ["2", 2], ["4", 2]]
    names = [*found.labels("input"), *found.labels("unit")]
    assert [f"{names[a]} to {names[b]}" for a, b in ends] == list(links)
    for layer, before in (("0", "input"), ("2", "0"), ("4", "2")):
        weight = states[1][f"{layer}.weight"]
        for target in range(2):
            for source in range(2):
                left = f"input {source}" if before == "input" else f"{before}/{source}"
                assert links[f"{left} to {layer}/{target}"] == weight[target, source]
    across = np.linspace(-1, 1, 4) > 0
    given = found.array("inputs").astype(int)
    np.testing.assert_array_equal(given[0, ..., 0] > given[0, ..., 2], np.tile(across, (4, 1)))
    np.testing.assert_array_equal(given[1, ..., 0] > given[1, ..., 2],
                                  np.tile(across[::-1, None], (1, 4)))  # fmt: skip


def test_links_of_a_graph_that_stores_inputs_by_outputs_are_the_same(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 2))
    run = write_states(tmp_path / "run", steps_of(module, 2))
    network = aw.Network.from_onnx(transposed(module, tmp_path / "net.onnx"))

    asked = "decision_surface:cells=4"
    found = aw.probe(aw.open_run(run), network, plane(), asked, out=tmp_path / "a.accw")

    links = found["decision_surface"].array("links", 1)
    weights = [module[at].weight.detach().numpy().reshape(-1) for at in range(3)]
    np.testing.assert_allclose(links, np.concatenate(weights), atol=1e-6)


def transposed(module: nn.Sequential, path: Path) -> Path:
    """Write linear layers as ONNX whose matrices are inputs x outputs."""
    nodes, values, last = [], [], "x"
    for name, part in module.named_children():
        weight, bias = part.weight.detach().numpy().T.copy(), part.bias.detach().numpy()
        values += [numpy_helper.from_array(weight, f"{name}.weight"),
                   numpy_helper.from_array(bias, f"{name}.bias")]  # fmt: skip
        product, value = f"product{name}", f"value{name}"
        nodes += [helper.make_node("MatMul", [last, f"{name}.weight"], [product]),
                  helper.make_node("Add", [product, f"{name}.bias"], [value])]  # fmt: skip
        last = value
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 2]) for n in ("x", last)]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], values)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, path)
    return path


def test_columns_without_one_matrix_between_them_have_no_links(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))
    states = steps_of(module, 2)

    found = probed(tmp_path, module, states, plane(), "decision_surface:cells=4")
    alone = probed(tmp_path, module, states, plane(), "decision_surface:cells=4,layers=3")

    told = {link.split(" to ")[0].split("/")[0] for link in found.labels("link")}
    assert told == {"input 0", "input 1", "1"}
    assert "links" not in alone.arrays


def test_other_inputs_than_two_are_told(tmp_path: Path) -> None:
    states, x = steps_of(stack(3, 2), 2), np.zeros((20, 3), np.float32)

    with pytest.raises(ArgumentValueError, match="shows the plane of two inputs; a sample of"):
        probed(tmp_path, stack(3, 2), states, x, "decision_surface")


def test_samples_are_dots_where_they_are_in_the_plane() -> None:
    white = np.full((5, 5, 3), 255, np.uint8)

    drawn = with_dots(white, np.array([[0.25, 0.0], [1.0, 0.75]]), [0, 1])

    dots = np.argwhere((drawn != 255).any(axis=2)).tolist()
    assert dots == [[1, 4], [4, 1]], "rows downwards, of a second input upwards"
