"""Every probe on recurrent networks and transformers, whatever format their checkpoints have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from binding_models import APART, FOLDED, export, state_of, stirred
from checkpoints import write_safetensors
from click.testing import CliRunner
from networks import DYNAMO, LEGACY
from torch import Tensor, nn

import accweight_core as aw
from accweight_core.cli.app import application

STEPS = 2


class Rows(nn.Module):
    """The rows of a picture one after the other: an LSTM in both directions, and classes."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 5, batch_first=True, bidirectional=True)
        self.out = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes."""
        scores: Tensor = self.out(self.lstm(x)[0].mean(1))
        return scores


class Tokens(nn.Module):
    """A transformer of one block over tokens, and classes."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(10, 8), nn.Parameter(torch.zeros(7, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes."""
        scores: Tensor = self.out(self.block(self.embed(x) + self.place).mean(1))
        return scores


X = {
    "lstm": torch.randn(40, 7, 6, generator=torch.Generator().manual_seed(0)),
    "tokens": torch.randint(0, 10, (40, 7), generator=torch.Generator().manual_seed(0)),
}
Y = np.arange(40) % 3
NETS: dict[str, type[nn.Module]] = {"lstm": Rows, "tokens": Tokens}
FEATURES = "feature_visualization:units=2,iterations=3,position=last"
PROBES = (
    "trajectory", "evaluate", "filters", "activations", "embedding", "neighbors",
    "representation", "attribution:samples=4", "attribution:method=integrated,samples=4,points=4",
    FEATURES,
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, list[nn.Module]]]:
    """Return folders with checkpoints of every format, samples and graphs; and the modules."""
    found = {}
    for name, make in NETS.items():
        torch.manual_seed(0)
        folder, modules = tmp_path_factory.mktemp(name), [make().eval()]
        modules.append(stirred(make()))
        for step, module in enumerate(modules):
            (folder / "pt").mkdir(exist_ok=True)
            (folder / "safetensors").mkdir(exist_ok=True)
            (folder / "onnx").mkdir(exist_ok=True)
            torch.save(state_of(module), folder / "pt" / f"net_{step}.pt")
            write_safetensors(folder / "safetensors" / f"net_{step}.safetensors", state_of(module))
            graph(module, X[name], folder / "onnx" / f"net_{step}.onnx", FOLDED[LEGACY])
        graph(modules[-1], X[name], folder / f"{LEGACY}.onnx", FOLDED[LEGACY])
        graph(modules[-1], X[name], folder / f"{DYNAMO}.onnx", APART[DYNAMO])
        np.savez(folder / "data.npz", x=X[name].numpy(), y=Y)
        found[name] = folder, modules
    return found


def graph(module: nn.Module, x: Tensor, path: Path, options: dict[str, Any]) -> None:
    """Write a module as ONNX, for any number of samples."""
    free: dict[str, Any] = {"input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}}
    if options["dynamo"]:
        free = {"dynamic_shapes": ({0: torch.export.Dim("n")},)}
    export(module, x[:2], path, {**options, **free})


def command(run: Path, folder: Path, exporter: str, *probes: str) -> Any:
    options = ["--model", str(folder / f"{exporter}.onnx"), "--data", str(folder / "data.npz")]
    asked = [word for probe in probes for word in ("--probe", probe)]
    return CliRunner().invoke(application(), ["probe", str(run), *options, *asked])


@pytest.mark.parametrize("kind", ["pt", "safetensors", "onnx"])
@pytest.mark.parametrize("name", NETS)
def test_every_probe_gives_its_result_from_checkpoints_of_any_format(
    made: Any, tmp_path: Path, name: str, kind: str
) -> None:
    (folder, modules), run = made[name], tmp_path / "run.accw"
    aw.analyze(aw.open_run(folder / kind), run)

    for exporter, probes in ((LEGACY, PROBES), (DYNAMO, ("evaluate", FEATURES))):
        able = [p for p in probes if name != "tokens" or p != FEATURES]
        found = command(run, folder, exporter, *able)
        assert found.exit_code == 0, (exporter, found.output, found.exception)

    results = aw.open_analysis(run).probes
    evaluated = [result for result in results.values() if result.name == "evaluate"]
    with torch.no_grad():
        losses = [nn.functional.cross_entropy(m(X[name]), torch.from_numpy(Y)) for m in modules]
    assert len(evaluated) == 2
    for result in evaluated:
        assert result.proof == "verified"
        np.testing.assert_allclose(result.array("loss"), losses, rtol=1e-4)


def test_tokens_are_no_numbers_that_could_be_optimised(made: Any, tmp_path: Path) -> None:
    (folder, _), run = made["tokens"], tmp_path / "run.accw"
    aw.analyze(aw.open_run(folder / "pt"), run)

    found = command(run, folder, LEGACY, FEATURES)

    assert "the input is whole numbers, which have no gradient" in str(found.exception)


def test_units_of_both_directions_are_those_of_the_module(made: Any, tmp_path: Path) -> None:
    (folder, modules), run = made["lstm"], tmp_path / "run.accw"
    aw.analyze(aw.open_run(folder / "pt"), run)
    asked = [
        "activations:node=lstm,rows=3",
        "neighbors:layer=lstm,points=9",
        "attribution:samples=2",
    ]

    network = aw.Network.from_onnx(folder / f"{LEGACY}.onnx")
    found = aw.probe(run, network, folder / "data.npz", asked, batch_size=7)["activations"]

    with torch.no_grad():
        states = modules[0].lstm(X["lstm"])[0].numpy()
    assert found.attributes["units"]["lstm"] == 10
    np.testing.assert_allclose(found.array("maps", 0)[0, :, :, 0], states[3].T, atol=1e-6)
    place = found.labels("layer").index("lstm")
    shares = (states > 0).any(axis=1).mean(axis=0)
    np.testing.assert_allclose(found.array("values", 0)[place][:10], shares)


def test_a_unit_of_a_recurrent_layer_is_excited_at_the_end(made: Any, tmp_path: Path) -> None:
    (folder, modules), run = made["lstm"], tmp_path / "run.accw"
    aw.analyze(aw.open_run(folder / "pt"), run)
    network = aw.Network.from_onnx(folder / f"{LEGACY}.onnx")
    options = "layers=lstm,units=7,iterations=2,position=last"

    found = aw.probe(run, network, folder / "data.npz", f"feature_visualization:{options}")

    x = torch.zeros(7, 7, 6)
    for _ in range(2):
        x = x.detach().requires_grad_()
        states = modules[1].lstm(x)[0]
        states[torch.arange(7), -1, torch.arange(7)].sum().backward()
        x = x + (x.grad if x.grad is not None else 0)
    optimum = found["feature_visualization"].array("optimum", 1)
    np.testing.assert_allclose(optimum, x.detach(), rtol=1e-4, atol=1e-5)
