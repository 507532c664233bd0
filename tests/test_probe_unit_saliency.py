"""The probe `unit_saliency`: gradients are those of autograd, and planted units come out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from binding_models import FOLDED, export
from networks import LEGACY
from probe_networks import Classifier, Plain, digits, probed, said, stack, steps_of, write_states
from torch import Tensor, nn

import accweight_core as aw
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.scoring import scoring_of
from accweight_core.samples.opening import open_samples

Found = dict[str, Any]

CLOSE: Any = {"rtol": 1e-5, "atol": 1e-7}


def expected(module: nn.Module, x: Tensor, y: Tensor, layers: dict[str, int]) -> Found:
    """Return saliency and gradient of all units by autograd, a sample at a time.

    Args:
        module: The network.
        x: Samples.
        y: Their classes.
        layers: For each layer the axis of its units, after the samples.
    """
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(part: Any, arguments: Any, result: Any) -> None:
            kept[name] = result[0] if isinstance(result, tuple) else result

        return hook

    hooks = [module.get_submodule(name).register_forward_hook(keep(name)) for name in layers]
    sums: dict[str, list[Any]] = {name: [0.0, 0.0] for name in layers}
    for sample, label in zip(x, y, strict=True):
        loss = nn.functional.cross_entropy(module(sample[None]), label[None])
        found = torch.autograd.grad(loss, [*kept.values(), *module.parameters()])
        by_weights = dict(zip([n for n, _ in module.named_parameters()], found[len(kept) :],
                              strict=True))  # fmt: skip
        for (name, value), gradient in zip(kept.items(), found, strict=False):
            units = (value * gradient)[0].movedim(layers[name] - 1, 0).flatten(1) if (
                value.dim() > 2
            ) else (value * gradient)[0][:, None]  # fmt: skip
            sums[name][0] += units.sum(1).abs().detach().numpy() / len(x)
            sums[name][1] += rows_norm(name, by_weights, len(units)) / len(x)
    for hook in hooks:
        hook.remove()
    return sums


def rows_norm(layer: str, gradients: dict[str, Tensor], count: int) -> Any:
    """Return the norm over the weights of each unit: gates and both matrices of an LSTM."""
    squares: Any = np.zeros(count)
    for name, gradient in gradients.items():
        if name.rpartition(".")[0] != layer:
            continue
        rows = (gradient.detach().numpy() ** 2).reshape(len(gradient), -1).sum(1)
        if len(rows) == count:
            squares += rows
        else:  # four gates of one direction
            first = count // 2 if name.endswith("reverse") else 0
            squares[first : first + len(rows) // 4] += rows.reshape(4, -1).sum(0)
    return np.sqrt(squares)


def graph(module: nn.Module, x: Tensor, path: Path, *, free: bool = True) -> aw.Network:
    options = dict(FOLDED[LEGACY])
    if free:
        options |= {"input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}}
    export(module, x, path, options)
    return aw.Network.from_onnx(path)


def agree(found: Any, step: int, wanted: Found) -> None:
    for name, (saliency, gradient) in wanted.items():
        place = found.labels("layer").index(name)
        for array, values in (("saliency", saliency), ("gradient", gradient)):
            got = found.array(array, step)[place]
            np.testing.assert_allclose(got[: len(values)], values, err_msg=name, **CLOSE)
            assert np.isnan(got[len(values) :]).all()
        total = found.array("layer_saliency", step)[place]
        assert total == pytest.approx(saliency.sum(), rel=1e-5)


@pytest.mark.parametrize("engine", ["module", "onnx"])
def test_gradients_are_those_of_autograd(tmp_path: Path, engine: str) -> None:
    torch.manual_seed(0)
    module = Classifier()
    states = steps_of(module, 2)
    states[1]["fc1.weight"] *= 1.5
    x, y = digits(20)
    network: Any = Plain(Classifier())
    if engine == "onnx":
        network = graph(module, torch.from_numpy(x[:2]), tmp_path / "net.onnx")
    run = aw.open_run(write_states(tmp_path / "run", states))

    found = aw.probe(run, network, (x, y), "unit_saliency", out=tmp_path / "run.accw",
                     batch_size=8)["unit_saliency"]  # fmt: skip

    for step, state in enumerate(states):
        module.load_state_dict(state)
        wanted = expected(module, torch.from_numpy(x), torch.from_numpy(y),
                          {"conv": 1, "fc1": 1, "fc2": 1})  # fmt: skip
        agree(found, step, wanted)
    assert found.attributes["of"] == "loss"
    ranked = aw.open_analysis(tmp_path / "run.accw").ranking("unit_saliency.layer_gradient")
    assert set(ranked["layer"]) == {"conv", "fc1", "fc2"}


class Rows(nn.Module):
    """An LSTM in both directions, and classes."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 5, batch_first=True, bidirectional=True)
        self.out = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes."""
        scores: Tensor = self.out(self.lstm(x)[0].mean(1))
        return scores


@pytest.mark.parametrize("engine", ["module", "onnx", "fixed"])
def test_units_of_an_lstm_have_the_rows_of_all_gates(tmp_path: Path, engine: str) -> None:
    torch.manual_seed(0)
    module, x = Rows(), torch.randn(7, 4, 6)
    y = torch.arange(7) % 3
    network: Any = Plain(Rows())
    if engine != "module":
        network = graph(module, x[:2], tmp_path / "net.onnx", free=engine == "onnx")
    run = aw.open_run(write_states(tmp_path / "run", steps_of(module, 2)))

    found = aw.probe(run, network, (x.numpy(), y.numpy()), "unit_saliency",
                     out=tmp_path / "run.accw")["unit_saliency"]  # fmt: skip

    wanted = expected(module, x, y, {"lstm": 2, "out": 1})
    if engine != "module":  # a graph has both biases of a gate in one tensor, as PyTorch in two
        assert found.array("gradient", 0)[0][:10] == pytest.approx(wanted["lstm"][1], rel=1e-5)
    agree(found, 1, wanted)


def wired() -> tuple[nn.Sequential, dict[str, Tensor]]:
    """Return a network in which unit 2 of layer 0 alone leads on, and unit 5 to nothing."""
    module = stack(6, 8, 3)
    state = steps_of(module, 1)[0]
    state["0.weight"], state["0.bias"] = state["0.weight"].abs(), state["0.bias"].abs()
    state["2.weight"][:, 5] = 0
    module.load_state_dict(state)
    alone = {name: value.clone() for name, value in state.items()}
    alone["2.weight"][:, torch.arange(8) != 2] = 0
    return module, alone


def test_a_unit_that_leads_to_nothing_has_none_and_one_alone_is_first(tmp_path: Path) -> None:
    module, alone = wired()
    states = [*steps_of(module, 1), alone]
    x = np.random.default_rng(0).uniform(0.5, 1, (40, 6)).astype(np.float32)

    for data in ((x, np.arange(40) % 3), x):
        found = probed(tmp_path, module, states, data, "unit_saliency:points=16")

        saliency, gradient = found.array("saliency"), found.array("gradient")
        assert saliency[0, 0, 5] == gradient[0, 0, 5] == 0
        assert np.count_nonzero(saliency[0, 0] > 0) > 2
        assert saliency[1, 0].argmax() == gradient[1, 0].argmax() == 2
        assert np.delete(saliency[1, 0], 2).tolist() == [0] * 7
        assert found.attributes["of"] == ("loss" if isinstance(data, tuple) else "output")
    assert said(found)[0].startswith("saliency for the output; most at the last step: ")


def test_saliency_is_by_how_much_the_output_of_the_class_changes(tmp_path: Path) -> None:
    module, alone = wired()
    x = np.random.default_rng(0).uniform(0.5, 1, (12, 6)).astype(np.float32)
    y = np.arange(12) % 3

    found = probed(tmp_path, module, [alone, alone], (x, y), "unit_saliency:of=output")

    hidden = x @ alone["0.weight"].numpy().T + alone["0.bias"].numpy()
    owed = np.abs(hidden[:, 2] * alone["2.weight"].numpy()[y, 2]).mean()
    assert found.array("saliency", 0)[0, 2] == pytest.approx(owed, rel=1e-5)


@pytest.mark.parametrize("loss", ["cross_entropy", "probabilities", "positions", "bce", "mse"])
def test_gradients_of_losses_are_those_of_autograd(loss: str) -> None:
    chance = np.random.default_rng(0)
    shape = (6, 4, 5) if loss == "positions" else (6, 4)
    scores = torch.tensor(chance.standard_normal(shape), requires_grad=True)
    classes, bits = chance.integers(0, 4, (6, *shape[2:])), chance.integers(0, 2, (6, 4))
    values = chance.standard_normal((6, 4))
    output, kind, targets = scores, "cross_entropy", classes
    if loss == "probabilities":
        output = scores.softmax(1)
    if loss in ("bce", "mse"):
        kind, targets = loss, bits if loss == "bce" else values.astype(np.float32)
    data = open_samples((np.zeros((6, 2), np.float32), targets), [], resize=None, normalise=None)
    given = output.detach().numpy()

    found = scoring_of(kind, "auto", data, given).gradient(given, np.arange(6))  # type: ignore[arg-type]

    right = torch.from_numpy(np.asarray(targets))
    of = {
        "bce": lambda: nn.functional.binary_cross_entropy_with_logits(scores, right.double()),
        "mse": lambda: nn.functional.mse_loss(scores, right.double()),
        "probabilities": lambda: nn.functional.nll_loss(output.log(), right),
    }.get(loss, lambda: nn.functional.cross_entropy(scores, right))()
    (wanted,) = torch.autograd.grad(of * 6, [output])  # samples are averaged afterwards
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-5, atol=1e-9)


def test_a_loss_without_targets_is_told(tmp_path: Path) -> None:
    module = stack(6, 8, 3)
    x = np.zeros((8, 6), np.float32)

    with pytest.raises(ArgumentValueError, match="no targets, so there is no loss; save them as y"):
        probed(tmp_path, module, steps_of(module, 2), x, "unit_saliency:of=loss")


def test_factors_of_a_node_have_its_shape() -> None:
    bound = Plain(stack(6, 8, 3)).with_weights({})

    with pytest.raises(ArgumentValueError, match=r"values of shape \(2, 3\); their factors have"):
        bound.gradient(np.zeros((2, 6), np.float32), ("output", np.zeros((2, 4))))
