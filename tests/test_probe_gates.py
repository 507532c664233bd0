"""The probe `gates`: planted biases saturate their gates, and values equal those by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from binding_models import export
from networks import DYNAMO, LEGACY
from probe_networks import probed, said, stack, steps_of, write_states
from test_probe_sequences import graph
from torch import Tensor, nn

import accweight_core as aw
from accweight_adapters.execution.module_network import ModuleNetwork
from accweight_adapters.execution.onnx_network import OnnxNetwork
from accweight_adapters.execution.ort_network import OrtNetwork
from accweight_core.errors import AccweightError, ArgumentValueError, UnknownNameError
from accweight_core.reports.probe_content import probe_content
from accweight_core.reports.probe_views import Room

UNITS = 4


class Recurrent(nn.Module):
    """A recurrent layer, and scores of its last state."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU] = nn.LSTM, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = kind(3, UNITS, batch_first=True, **options)
        self.out = nn.Linear(UNITS * (2 if self.rnn.bidirectional else 1), 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return two scores."""
        scores: Tensor = self.out(self.rnn(x)[0][:, -1])
        return scores


X = torch.randn(20, 6, 3, generator=torch.Generator().manual_seed(1))


def by_hand(kind: str, x: Tensor, weights: dict[str, Tensor], level: str = "l0") -> dict[str, Any]:
    """Return the gates of a layer in one direction, and its states, as torch documents them."""
    w, r = weights[f"weight_ih_{level}"], weights[f"weight_hh_{level}"]
    b, c = weights[f"bias_ih_{level}"], weights[f"bias_hh_{level}"]
    h = cell = torch.zeros(len(x), UNITS)
    found: dict[str, list[Tensor]] = {}
    for t in range(x.shape[1]):
        a, d = x[:, t] @ w.T + b, h @ r.T + c
        if kind == "LSTM":
            i, f, g, o = (a + d).chunk(4, 1)
            gates = {"input": i.sigmoid(), "forget": f.sigmoid(), "output": o.sigmoid()}
            cell = gates["forget"] * cell + gates["input"] * g.tanh()
            h = gates["output"] * cell.tanh()
        else:
            (r_, z, n), (s, y, m) = a.chunk(3, 1), d.chunk(3, 1)
            gates = {"reset": (r_ + s).sigmoid(), "update": (z + y).sigmoid()}
            h = (1 - gates["update"]) * (n + gates["reset"] * m).tanh() + gates["update"] * h
        for name, value in {**gates, "states": h}.items():
            found.setdefault(name, []).append(value)
    return {name: torch.stack(each, 1) for name, each in found.items()}


@pytest.mark.parametrize("exporter", [LEGACY, DYNAMO, "module"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_gates_equal_those_by_hand(tmp_path: Path, kind: str, exporter: str) -> None:
    module = Recurrent(getattr(nn, kind)).eval()
    network: Any = ModuleNetwork(module, ("x",))
    if exporter != "module":
        graph(module, X, tmp_path / "net.onnx", {"dynamo": exporter == DYNAMO})
        network = OnnxNetwork.opened(tmp_path / "net.onnx")
    bound = network.with_weights({})

    (found,) = bound.gates(X.numpy(), bound.gated).values()

    expected = by_hand(kind, X, module.rnn.state_dict())
    torch.testing.assert_close(module.rnn(X)[0], expected.pop("states"), atol=1e-6, rtol=0)
    assert found.keys() == expected.keys()
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], atol=1e-6)


def test_levels_directions_and_lengths_are_those_of_torch() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(3, UNITS, num_layers=2, bidirectional=True)

        def forward(self, x: Tensor) -> Tensor:
            lengths = torch.tensor([6, 2, 4])
            packed = nn.utils.rnn.pack_padded_sequence(x.transpose(0, 1), lengths,
                                                       enforce_sorted=False)  # fmt: skip
            last: Tensor = self.rnn(packed)[1][0][-1]
            return last

    torch.manual_seed(0)
    module, x = Packed().eval(), X[:3]
    bound = ModuleNetwork(module, ("x",)).with_weights({})

    found = bound.gates(x.numpy(), ["rnn"])["rnn"]

    assert list(found) == [f"level {k} {g}" for k in (0, 1) for g in ("input", "forget", "output")]
    weights = module.rnn.state_dict()
    forward = by_hand("LSTM", x[1:2, :2], weights)
    backward = by_hand("LSTM", x[1:2, :2].flip(1), weights, "l0_reverse")
    both = torch.cat([forward["forget"], backward["forget"].flip(1)], 2)
    np.testing.assert_allclose(found["level 0 forget"][1, :2], both[0], atol=1e-6)
    above = torch.cat([forward["states"], backward["states"].flip(1)], 2)
    second = by_hand("LSTM", above, weights, "l1")["output"]
    np.testing.assert_allclose(found["level 1 output"][1, :2, :UNITS], second[0], atol=1e-6)
    assert np.isnan(found["level 1 output"][1, 2:]).all()
    assert np.isfinite(found["level 1 output"][0]).all()


def test_cells_in_a_loop_have_the_gates_of_every_call() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(3, UNITS)

        def forward(self, x: Tensor) -> Tensor:
            h = x.new_zeros(len(x), UNITS)
            for t in range(x.shape[1]):
                h = self.cell(x[:, t], hx=h)
            return h

    torch.manual_seed(0)
    module = Loop().eval()
    bound = ModuleNetwork(module, ("x",)).with_weights({})

    found = bound.gates(X.numpy(), ["cell"])["cell"]

    expected = by_hand("GRU", X, {f"{n}_l0": v for n, v in module.cell.state_dict().items()})
    for name in ("update", "reset"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)


def planted() -> tuple[Recurrent, list[dict[str, Tensor]]]:
    """Return an LSTM, later without recurrence and with forget gates 0 and 1 open and closed."""
    module = Recurrent()
    states = steps_of(module, 3)
    for state in states[1:]:
        state["rnn.weight_hh_l0"] *= 0
        state["rnn.bias_ih_l0"][UNITS : UNITS + 2] = torch.tensor([20.0, -20.0])  # i f g o
    states[2]["rnn.weight_ih_l0"][2] *= 50  # the input gate of unit 2
    return module, states


@pytest.mark.parametrize("engine", ["module", "onnx"])
def test_planted_gates_are_open_and_closed_and_no_others_move(tmp_path: Path, engine: str) -> None:
    module, states = planted()
    data = (X.numpy(), np.arange(len(X)) % 2)
    if engine == "module":
        found = probed(tmp_path, module, states, data, "gates")
    else:
        graph(module.eval(), X, tmp_path / "net.onnx", {"dynamo": False})
        run = write_states(tmp_path / "run", states)
        network = aw.Network.from_onnx(tmp_path / "net.onnx")
        found = aw.probe(aw.open_run(run), network, data, "gates", out=tmp_path / "a.accw")["gates"]

    names = found.labels("gate")
    right, left = (dict(zip(names, found.array(one, 2), strict=True)) for one in ("right", "left"))
    assert [name.split()[-1] for name in names] == ["input", "forget", "output"]
    forget = names[1]
    assert right[forget][0] == 1.0
    assert left[forget][0] == 0.0
    assert left[forget][1] == 1.0
    assert right[forget][1] == 0.0
    moved = np.argwhere(found.array("right", 1) != found.array("right", 2))
    assert moved.tolist() == [[0, 2]]
    points = found.array("saturation", 2)
    place = found.labels("place").index(f"{forget}, unit 1")
    assert points[place].tolist() == [0.0, 1.0]
    assert found.array("open", 2)[1] == pytest.approx(right[forget].mean())
    (curves,) = (view for view in probe_content(found, Room())["views"] if "charts" in view)
    assert curves["labels"] == list(names)
    assert curves["of_classes"]  # curves have the colours of the points of their gate
    told = said(found)
    assert told[1].startswith(f"{forget}: open ")
    assert told[1].endswith("always open: 0; always closed: 1")


def test_the_number_of_samples_at_a_time_does_not_matter(tmp_path: Path) -> None:
    module, states = planted()
    export(module, X[:8], tmp_path / "net.onnx", {"dynamo": False})  # 8 at a time, of 20
    run = write_states(tmp_path / "run", [states[0], states[2]])
    network = aw.Network.from_onnx(tmp_path / "net.onnx")

    fixed = aw.probe(aw.open_run(run), network, X.numpy(), "gates", out=tmp_path / "a.accw")

    free = probed(tmp_path, module, [states[0], states[2]], X.numpy(), "gates")
    np.testing.assert_array_equal(fixed["gates"].array("right"), free.array("right"))


def test_networks_without_gates_are_told(tmp_path: Path) -> None:
    states, x = steps_of(stack(3, 2), 2), np.zeros((20, 3), np.float32)

    with pytest.raises(ArgumentValueError, match="the network has no LSTM or GRU; its layers"):
        probed(tmp_path, stack(3, 2), states, x, "gates")
    module, states = planted()
    with pytest.raises(UnknownNameError, match="'out' is no LSTM or GRU; layers with gates: rnn"):
        probed(tmp_path, module, states, X.numpy(), "gates:layers=out")
    with pytest.raises(ArgumentValueError, match="left below right"):
        probed(tmp_path, module, states, X.numpy(), "gates:left=0.9,right=0.1")
    graph(module.eval(), X, tmp_path / "net.onnx", {"dynamo": False})
    run = write_states(tmp_path / "run", states)
    network = OrtNetwork.opened(tmp_path / "net.onnx")
    with pytest.raises(AccweightError, match="gates are no values of the engine 'ort'; give the"):
        aw.probe(aw.open_run(run), network, X.numpy(), "gates", out=tmp_path / "b.accw")
