"""The probe `rewind`, held against planted truths and against torch."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from probe_networks import Classifier, Plain, digits, trained, write_states
from torch import nn

import accweight_core as aw
from accweight_core.alignment.rank_correlation import spearman
from accweight_core.analysis.probe_kinds import ResultKind, arrays_of
from accweight_core.cli import rewinding
from accweight_core.cli.app import application
from accweight_core.errors import ArgumentValueError
from accweight_core.naming import layers_of
from accweight_core.probes.context import Portion
from accweight_core.probes.network import ResumableNetwork
from accweight_core.probes.rewinding import prediction
from accweight_core.probes.rewinding.measuring import pieces
from accweight_core.probes.rewinding.parts import norm_owners
from accweight_core.probes.rewinding.prediction import LayerCriticality, predictions
from accweight_core.probes.rewinding.prediction import layers_of as beside
from accweight_core.probes.rewinding.rewind import Rewind, usual_steps
from accweight_core.probes.rewinding.said import prediction_said
from accweight_core.schema import HiddenValues, StoredTensor

State = Mapping[str, torch.Tensor]


class Planted(nn.Module):
    """A linear network of two layers, and one that no output depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.second = nn.Linear(6, 3)
        self.unused = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores; what `unused` makes is thrown away."""
        self.unused(x)
        scores: torch.Tensor = self.second(self.first(x))
        return scores


def rewound(
    tmp_path: Path, states: Any, network: Any, data: Any, probe: Any = "rewind", **how: Any
) -> Any:
    """Return the results of a rewind of states that were saved as checkpoints."""
    if not (tmp_path / "run").exists():
        write_states(tmp_path / "run", states)
    out = how.pop("out", tmp_path / "run.accw")
    run = aw.open_run(tmp_path / "run")
    return aw.probe(run, network, data, [probe], out=out, **how)["rewind"]


def loss_of(module: nn.Module, state: State, x: Any, y: Any) -> float:
    """Return the loss of a module by torch."""
    with torch.no_grad():
        scores = torch.func.functional_call(module.eval(), dict(state), (torch.from_numpy(x),))
    return float(nn.functional.cross_entropy(scores.double(), torch.from_numpy(y)))


def test_the_layer_that_carries_the_change_is_critical_and_no_other(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, x = Planted(), torch.randn(64, 4)
    start = {n: v.clone() for n, v in module.state_dict().items()}
    end = {n: v + 3 * torch.randn_like(v) * (not n.startswith("first")) for n, v in start.items()}
    y = torch.func.functional_call(module, end, (x,)).argmax(1).numpy()

    found = rewound(tmp_path, [start, end], Plain(module), (x.numpy(), y))

    assert found.labels("layer") == ("first", "second", "unused")
    assert found.array("base_accuracy").tolist() == [1, 1]
    first, second, unused = found.array("loss_rise", 0)
    assert (first, unused) == (0, 0)
    put_back = {n: (start if n.startswith("second") else end)[n] for n in end}
    lost = loss_of(module, put_back, x.numpy(), y) - loss_of(module, end, x.numpy(), y)
    assert second == pytest.approx(lost, rel=1e-5)
    assert second > 0.1
    assert found.array("accuracy_fall", 0)[1] > 0.2
    assert found.array("moved", 0).tolist() == [0, 1, 1]
    assert "moved" in found.table().columns
    assert "moved" not in arrays_of(found, ResultKind.LAYERS), "a flag is no curve"
    assert found.array("loss_rise", 1).tolist() == [0, 0, 0]
    drawn = found.array("random_loss_rise")
    assert drawn.shape == (1, 3)
    assert drawn[0, 2] == 0
    assert (drawn[0, :2] != 0).all()


class Normed(nn.Module):
    """Convolutions with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4, eps=1e-3)
        self.fc = nn.Linear(64, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores of the classes."""
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        scores: torch.Tensor = self.fc(x.flatten(1))
        return scores


class Folded(nn.Module):
    """The same with the batch norms folded into the convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 4, 3)
        self.fc = nn.Linear(64, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores of the classes."""
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        scores: torch.Tensor = self.fc(x.flatten(1))
        return scores


@pytest.fixture(scope="module")
def normed() -> tuple[Any, Any, Any]:
    """A trained network with batch norm: samples with classes, module, states."""
    torch.manual_seed(0)
    (x, y), module = digits(96), Normed()
    return (x, y), module, trained(module.train(), x, y, epochs=3)


def folded(module: Normed, state: State) -> Folded:
    """Return a network with the batch norms of a state folded into its convolutions."""
    module.load_state_dict(dict(state))
    module.eval()
    found = Folded()
    with torch.no_grad():
        for name in ("1", "2"):
            conv, norm = getattr(module, f"conv{name}"), getattr(module, f"bn{name}")
            fused = torch.nn.utils.fusion.fuse_conv_bn_eval(conv, norm)
            getattr(found, f"conv{name}").load_state_dict(fused.state_dict())
        found.fc.load_state_dict(module.fc.state_dict())
    return found


def torch_statistics(module: nn.Module, state: State, x: Any) -> State:
    """Return a state with the statistics of batch norm of some samples, in one batch."""
    module.load_state_dict(dict(state))
    for norm in (part for part in module.modules() if isinstance(part, nn.BatchNorm2d)):
        norm.momentum = None
        norm.reset_running_stats()
    with torch.no_grad():
        module.train()(torch.from_numpy(x))
    found = {n: v.clone() for n, v in module.state_dict().items()}
    for name in found:  # torch keeps the unbiased variance
        if name.endswith("running_var"):
            positions = 36 if "bn1" in name else 16
            found[name] *= (len(x) * positions - 1) / (len(x) * positions)
    return found


@pytest.mark.parametrize("is_folded", [False, True])
def test_a_norm_goes_with_its_convolution_and_its_statistics_are_computed_anew(
    tmp_path: Path, normed: Any, *, is_folded: bool
) -> None:
    (x, y), module, states = normed
    network = Plain(folded(module, states[-1]) if is_folded else module)
    if not is_folded:
        module.load_state_dict(states[-1])

    found = rewound(tmp_path, states, network, (x, y), Rewind(draws=0), batch_size=96)

    assert found.proof == "verified"
    assert found.labels("layer") == ("conv1", "conv2", "fc")
    assert found.attributes["with"] == {"conv1": ["bn1"], "conv2": ["bn2"]}
    assert found.attributes["recomputed"] == ["bn1", "bn2"]
    said = " ".join(Rewind.summary(found))
    assert f"2 layers were computed anew on {len(x)} samples" in said, "1024 were asked for"
    base = torch_statistics(module, states[-1], x)
    assert found.array("base_loss") == pytest.approx(
        [loss_of(module, states[-1], x, y), loss_of(module, base, x, y)], rel=1e-4
    )
    for place, layer in enumerate((("conv1", "bn1"), ("conv2", "bn2"), ("fc",))):
        mixed = {n: states[(n.split(".")[0] in layer and 1) or -1][n] for n in base}
        expected = loss_of(module, torch_statistics(module, mixed, x), x, y)
        assert found.array("loss", 1)[place] == pytest.approx(expected, rel=1e-4)


def test_a_graph_that_goes_on_from_the_layer_gives_what_a_module_gives(
    tmp_path: Path, normed: Any
) -> None:
    (x, y), module, states = normed
    module.load_state_dict(states[-1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(), (torch.from_numpy(x[:2]),), str(tmp_path / "net.onnx"),
            dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "samples"}},
        )  # fmt: skip
    graph = aw.Network.from_onnx(tmp_path / "net.onnx")
    assert isinstance(graph.with_weights({}), ResumableNetwork)

    ways = [
        rewound(tmp_path, states, network, (x, y), out=tmp_path / out, batch_size=48)
        for network, out in ((graph, "graph.accw"), (Plain(module), "module.accw"))
    ]

    assert ways[0].attributes["recomputed"] == ["bn1", "bn2"]
    for name in ("loss", "random_loss", "base_loss"):
        assert ways[0].array(name) == pytest.approx(ways[1].array(name), rel=1e-5)


def test_batches_are_run_in_even_pieces_that_have_every_sample() -> None:
    rows, x = np.arange(300), np.zeros((300, 1, 28, 28), np.float32)

    found = list(pieces(Portion(rows, {"x": x})))

    assert [len(one.rows) for one in found] == [150, 150]
    assert [len(one.inputs["x"]) for one in found] == [150, 150]
    assert np.concatenate([one.rows for one in found]).tolist() == rows.tolist()


def test_statistics_are_kept_when_asked(tmp_path: Path, normed: Any) -> None:
    (x, y), module, states = normed
    module.load_state_dict(states[-1])

    found = rewound(tmp_path, states, Plain(module), (x, y), "rewind:statistics=0,draws=0")

    assert found.attributes["recomputed"] == []
    mixed = {n: states[0 if n.startswith(("conv1", "bn1")) else -1][n] for n in states[0]}
    assert found.array("loss", 0)[0] == pytest.approx(loss_of(module, mixed, x, y), rel=1e-4)
    assert found.array("base_loss")[0] == found.array("base_loss")[1]


class StoppedError(Exception):
    """Stands for a killed process."""


def test_a_stopped_rewind_goes_on_and_the_bits_are_those_of_a_whole_one(tmp_path: Path) -> None:
    torch.manual_seed(1)
    (x, y), module = digits(), Classifier()
    states = trained(module, x, y, epochs=2)

    def stop(done: int, total: int) -> None:
        if done >= total - 1:
            raise StoppedError

    network = Plain(module)
    with pytest.raises(StoppedError):
        rewound(tmp_path, states, network, (x, y), progress=stop, batch_size=32)
    before = len(network.passes)
    gone_on = rewound(tmp_path, states, network, (x, y), batch_size=32)
    after = len(network.passes) - before
    whole = rewound(tmp_path, states, Plain(module), (x, y), batch_size=32, out=tmp_path / "b.accw")

    assert after < before
    for name in whole.arrays:
        np.testing.assert_array_equal(gone_on.array(name), whole.array(name))


def test_other_steps_are_added_to_those_that_are_there(tmp_path: Path) -> None:
    torch.manual_seed(2)
    (x, y), module = digits(48), Classifier()
    states = trained(module, x, y, epochs=2)
    network = Plain(module)

    rewound(tmp_path, states, network, (x, y), steps="first")
    once = len(network.passes)
    found = rewound(tmp_path, states, network, (x, y), steps="1")

    assert found.steps.tolist() == [0, 1]
    assert found.array("loss_rise").shape == (2, 3)
    assert np.isfinite(found.array("loss_rise")).all()
    assert len(network.passes) - once < once


def test_squared_errors_rise_for_numbers(tmp_path: Path) -> None:
    module, x = nn.Sequential(nn.Linear(3, 1)), np.eye(3, dtype=np.float32)
    start = {"0.weight": torch.zeros(1, 3), "0.bias": torch.zeros(1)}
    end = {"0.weight": torch.tensor([[1.0, 2, 3]]), "0.bias": torch.zeros(1)}

    found = rewound(tmp_path, [start, end], Plain(module), (x, np.array([1, 2, 3], np.float32)))

    assert found.attributes["loss"] == "mse"
    assert found.array("loss_rise", 0)[0] == pytest.approx(14 / 3)
    assert "accuracy" not in found.arrays


@pytest.mark.parametrize(
    ("names", "owner"),
    [
        (("conv1.weight", "bn1.running_var", "conv2.weight"), "conv1"),
        (("convs.0.weight", "convs.1.weight", "norms.0.weight", "norms.1.weight"), "convs.0"),
        (("0.weight", "1.running_mean", "1.running_var", "3.weight"), "0"),
        (("h.0.mlp.weight", "h.1.ln_1.weight", "h.1.attn.weight"), "h.1.attn"),
        (("layers.0.linear2.weight", "layers.0.norm2.weight", "head.weight"), "layers.0.linear2"),
    ],
)
def test_norms_belong_to_the_layer_that_is_called_like_them_or_beside(
    names: tuple[str, ...], owner: str
) -> None:
    def shape(name: str) -> tuple[int, ...]:
        return (8,) if any(word in name for word in ("bn", "norm", "ln", "running")) else (8, 8)

    layers = layers_of(
        StoredTensor(name, HiddenValues(lambda: None, "float32", shape(name))) for name in names
    )

    found = norm_owners(layers)

    assert next(iter(found.values())) == owner


def test_intervals_are_those_of_resampled_layers() -> None:
    chance = np.random.default_rng(0)
    left, right = chance.integers(0, 5, 9).astype(float), chance.random(9)
    counts = chance.multinomial(9, np.full(9, 1 / 9), 20)

    found = prediction._weighted(left, right, counts)

    expected = [
        spearman(np.repeat(left, row).tolist(), np.repeat(right, row).tolist()) for row in counts
    ]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    orders = np.argsort(chance.random((10, 9)), axis=1)
    permuted = prediction._permuted(left, right, orders)
    expected = [spearman(left[order].tolist(), right.tolist()) for order in orders]
    np.testing.assert_allclose(permuted, expected, atol=1e-12)


def test_a_metric_in_the_order_of_criticality_predicts_it_and_unmoved_layers_do_not_count() -> None:
    def layer(value: float, *, moved: bool = True) -> LayerCriticality:
        metrics = {"relative": value, "mean": 1.0}
        return LayerCriticality(f"fc{value}", {0: value**2}, 0.0, moved, metrics, None)

    layers = [*(layer(float(n)) for n in range(1, 9)), layer(0.0, moved=False)]
    by = {one.by: one for one in predictions(layers)}

    assert by["relative"].spearman == pytest.approx(1)
    assert by["relative"].layers == 8
    assert by["relative"].low == pytest.approx(1)
    assert 0.5 < (by["relative"].null or 0) < 0.9
    assert by["mean"].spearman is None


def test_of_so_few_layers_that_chance_reaches_one_nothing_is_told() -> None:
    def found(count: int) -> list[prediction.Prediction]:
        rows = [
            LayerCriticality(f"layer{n}", {0: float(n)}, 0, True, {"mean": -float(n)}, n + 1)
            for n in range(count)
        ]
        return predictions(rows)

    assert not found(3)[0].tells
    assert found(8)[0].tells
    assert "cannot be told from the 3 layers" in prediction_said(found(3))[-1]
    assert "8 layers are few" in prediction_said(found(8))[-1]


def test_layers_stand_beside_their_movement(tmp_path: Path) -> None:
    torch.manual_seed(3)
    (x, y), module = digits(48), Classifier()
    found = rewound(tmp_path, trained(module, x, y), Plain(module), (x, y), "rewind:draws=2")
    analysis = aw.open_analysis(tmp_path / "run.accw")

    layers = beside(analysis, found, "loss_rise")

    relative = dict(zip(*(analysis.ranking()[n] for n in ("layer", "relative")), strict=True))
    assert {one.layer: one.metrics["relative"] for one in layers} == relative
    most = max(layers, key=lambda one: one.lost[0])
    assert most.rank == 1
    assert all(
        one.random == np.mean(found.array("random_loss_rise")[:, at])
        for at, one in enumerate(layers)
    )


def test_usual_steps_begin_with_the_first_and_leave_out_the_last() -> None:
    assert usual_steps([3]) == (3,)
    assert usual_steps([0, 10]) == (0,)
    assert usual_steps(range(21)) == (0, 4, 8, 12, 16)


def test_the_command_prints_criticality_and_what_predicts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(4)
    (x, y), module = digits(48), Classifier()
    states = trained(module, x, y)
    run = write_states(tmp_path / "run", states)
    np.savez(tmp_path / "test.npz", x=x, y=y)
    (tmp_path / "net.onnx").touch()
    monkeypatch.setattr(rewinding, "network_at", lambda *given: Plain(module))
    out = str(tmp_path / "run.accw")
    arguments = ["rewind", str(run), "-o", out, "--model", str(tmp_path / "net.onnx")]
    arguments += ["--data", str(tmp_path / "test.npz"), "--steps", "first,2"]

    shown = CliRunner().invoke(application(), arguments)
    document = json.loads(CliRunner().invoke(application(), [*arguments, "--json"]).stdout)
    asked = [*arguments, "--metric", "accuracy", "--json"]
    accuracy = json.loads(CliRunner().invoke(application(), asked).stdout)

    assert shown.exit_code == 0, shown.output
    assert "not whether the layer is needed" in shown.output.replace("\n", " ")
    assert "cannot be told from the 3 layers" in shown.output
    assert document["proof"] == "verified"
    rows = document["criticality"]
    assert {(r["layer"], r["step"], r["metric"]) for r in rows} == {
        (layer, step, metric)
        for layer in ("conv", "fc1", "fc2")
        for step in (0, 2)
        for metric in ("loss", "accuracy")
    }
    assert {"by", "spearman", "low", "high"} <= set(document["prediction"][0])
    assert {r["metric"] for r in accuracy["criticality"]} == {"accuracy"}
    again = json.loads(CliRunner().invoke(application(), [*arguments, "--json"]).stdout)
    assert again == document


def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    (x, _), module = digits(24), Classifier()
    states = [module.state_dict()] * 2

    with pytest.raises(ArgumentValueError, match="has no targets to evaluate against"):
        rewound(tmp_path, states, Plain(module), x)
    with pytest.raises(ArgumentValueError, match="draws must be at least 0, got -1"):
        rewound(tmp_path, states, Plain(module), (x, np.zeros(24, int)), Rewind(draws=-1))
