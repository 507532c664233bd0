"""The probe `evaluate`, held against torch and scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from probe_networks import Classifier, Plain, digits, trained, write_states
from sklearn.metrics import confusion_matrix, r2_score
from torch import nn

import accweight_core as aw
from accweight_core.errors import ArgumentValueError, FormatError


def probed(tmp_path: Path, module: nn.Module, states: Any, data: Any, *probes: Any) -> Any:
    run = aw.open_run(write_states(tmp_path / "run", states))
    return aw.probe(run, Plain(module), data, list(probes), out=tmp_path / "run.accw")


def test_loss_accuracy_and_confusion_are_those_of_torch_and_scikit_learn(tmp_path: Path) -> None:
    torch.manual_seed(0)
    (x, y), module = digits(), Classifier()
    states = trained(module, x, y)

    found = probed(tmp_path, module, states, (x, y), "evaluate")["evaluate"]

    for step, state in enumerate(states):
        with torch.no_grad():
            scores = torch.func.functional_call(module, state, (torch.from_numpy(x),))
        loss = nn.functional.cross_entropy(scores.double(), torch.from_numpy(y))
        assert found.array("loss", step) == pytest.approx(float(loss), rel=1e-6)
        expected = confusion_matrix(y, scores.argmax(1).numpy(), labels=range(3))
        np.testing.assert_array_equal(found.array("confusion", step), expected)
    table = found.table()
    assert list(table.columns) == ["step", "loss", "accuracy"]
    assert table["accuracy"].iloc[-1] > 0.9 > table["accuracy"].iloc[0]
    assert found.table("class")["class_accuracy"].iloc[-3:].min() > 0.8


def test_names_of_classes_that_cannot_be_seen_are_signs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    (x, y), module = digits(), Classifier()
    data = tmp_path / "letters.npz"
    np.savez(data, x=x, y=y, classes=np.array([" ", "\n", "e"]))
    probes = "evaluate", "embedding:method=pca"

    found = probed(tmp_path, module, trained(module, x, y), data, *probes)

    assert found["evaluate"].labels("class") == ("\u2423", "\u21b5", "e")
    assert found["evaluate"].labels("predicted") == ("\u2423", "\u21b5", "e")
    assert set(found["evaluate"].table("class")["class"]) == {"\u2423", "\u21b5", "e"}
    assert found["embedding"].attributes["classes"] == ["\u2423", "\u21b5", "e"]


class Regression(nn.Module):
    """A linear map."""

    def __init__(self, end: nn.Module) -> None:
        super().__init__()
        self.fc, self.end = nn.Linear(4, 1), end

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return one number per sample."""
        value: torch.Tensor = self.end(self.fc(x))
        return value


def test_numbers_are_held_against_the_output_by_squared_error(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    x, module = chance.standard_normal((40, 4)).astype(np.float32), Regression(nn.Identity())
    y = x @ np.float32([1, -2, 0.5, 0])
    exact = {"fc.weight": torch.tensor([[1, -2, 0.5, 0]]), "fc.bias": torch.zeros(1)}

    found = probed(tmp_path, module, [module.state_dict(), exact], (x, y), "evaluate")["evaluate"]

    with torch.no_grad():
        before = module(torch.from_numpy(x)).numpy()[:, 0]
    assert found.array("loss")[0] == pytest.approx(((before - y) ** 2).mean(), rel=1e-5)
    assert found.array("r2")[0] == pytest.approx(r2_score(y, before), rel=1e-5)
    assert found.array("loss")[1] == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("end", [nn.Identity(), nn.Sigmoid()])
def test_one_output_for_two_classes_is_binary_cross_entropy(tmp_path: Path, end: nn.Module) -> None:
    torch.manual_seed(1)
    x, module = torch.randn(30, 4), Regression(end)
    y = (x[:, 0] > 0).long().numpy()
    states = [module.state_dict(), {n: v + 0.1 for n, v in module.state_dict().items()}]

    found = probed(tmp_path, module, states, (x.numpy(), y), "evaluate")["evaluate"]

    with torch.no_grad():
        logits = module.fc(x)[:, 0].double()
    loss = nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(y).double())
    assert found.array("loss")[0] == pytest.approx(float(loss), rel=1e-5)
    assert found.array("accuracy")[0] == ((logits > 0).numpy() == y).mean()


class Softmax(nn.Module):
    """Probabilities of classes for every token."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (samples, tokens, classes)."""
        return self.fc(x).softmax(-1)


def test_probabilities_with_the_classes_last_are_taken_as_they_are(tmp_path: Path) -> None:
    torch.manual_seed(2)
    x, module = torch.randn(6, 3, 5), Softmax()
    y = torch.randint(0, 7, (6, 3))
    states = [module.state_dict(), {n: v * 2 for n, v in module.state_dict().items()}]

    found = probed(tmp_path, module, states, (x.numpy(), y.numpy()), "evaluate")["evaluate"]

    with torch.no_grad():
        expected = nn.functional.nll_loss(module(x).log().flatten(0, 1), y.flatten())
    assert found.array("loss")[0] == pytest.approx(float(expected), rel=1e-5)
    assert found.attributes["output_is"] == "probabilities"


def test_targets_that_do_not_fit_are_told_before_anything_is_run(tmp_path: Path) -> None:
    (x, y), module = digits(24), Classifier()
    states = [module.state_dict()] * 2

    with pytest.raises(FormatError, match="targets go from 0 to 7; the model has 3 classes"):
        probed(tmp_path, module, states, (x, y + np.where(y == 2, 5, 0)), "evaluate")
    with pytest.raises(ArgumentValueError, match="data: has no targets to evaluate against"):
        aw.probe(tmp_path / "run.accw", Plain(module), x, "evaluate")
    with pytest.raises(
        ArgumentValueError, match=r"class numbers, one per sample; mse .* of the 3 "
    ):
        aw.probe(tmp_path / "run.accw", Plain(module), (x, y), "evaluate:loss=mse")
