"""Small networks, their states at three steps, and graphs exported at the middle one."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from checkpoints import write_safetensors
from networks import DYNAMO, LEGACY, Cnn
from torch import Tensor, nn

import accweight_core as aw
from accweight_adapters.execution.onnx_network import OnnxNetwork
from accweight_core.probes.binding.model_check import ModelCheck, check_model
from accweight_core.schema import Run

State = dict[str, Tensor]

STEPS, OWN = 3, 1
TOKENS = torch.arange(10).reshape(2, 5)

APART: dict[str, dict[str, Any]] = {
    LEGACY: {"dynamo": False, "do_constant_folding": False},
    DYNAMO: {"dynamo": True, "optimize": False, "verbose": False, "external_data": False},
}
"""Options by which an exporter leaves norms, gates and matrices as they are."""

FOLDED: dict[str, dict[str, Any]] = {
    LEGACY: {"dynamo": False},
    DYNAMO: {"dynamo": True, "verbose": False, "external_data": False},
}


class Recurrent(nn.Module):
    """Tokens, a recurrent layer, a projection."""

    def __init__(self, kind: type[nn.RNNBase], **options: Any) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 6)
        self.cell = kind(6, 5, batch_first=True, **options)  # type: ignore[arg-type]
        self.out = nn.Linear(10 if options.get("bidirectional") else 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits per token."""
        return self.out(self.cell(self.embed(x))[0])  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """A transformer of one block as PyTorch has it: q, k and v in one matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.blocks = nn.TransformerEncoder(block, 1, enable_nested_tensor=False)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits per token."""
        return self.out(self.blocks(self.embed(x)))  # type: ignore[no-any-return]


class Squares(nn.Module):
    """Matrices that are square, so that shapes tell nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
        self.c = nn.Linear(6, 6, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return six numbers."""
        return self.c(torch.relu(self.b(torch.tanh(self.a(x)))))  # type: ignore[no-any-return]


Make = Callable[[], tuple[nn.Module, Tensor]]

NETS: dict[str, Make] = {
    "cnn": lambda: (Cnn(), torch.randn(2, 1, 8, 8)),
    "lstm": lambda: (Recurrent(nn.LSTM, num_layers=2, bidirectional=True), TOKENS),
    "gru": lambda: (Recurrent(nn.GRU), TOKENS),
    "rnn": lambda: (Recurrent(nn.RNN), TOKENS),
    "encoder": lambda: (Encoder(), TOKENS),
    "squares": lambda: (Squares(), torch.randn(3, 6)),
}


def stirred(net: nn.Module) -> nn.Module:
    """Move all weights and statistics, in place; variances stay positive."""
    with torch.no_grad():
        for value in net.state_dict().values():
            if value.is_floating_point():
                value += 0.1 * torch.rand_like(value)
    return net


def state_of(net: nn.Module) -> State:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def export(net: nn.Module, inputs: Tensor, path: Path, options: dict[str, Any]) -> Path:
    """Write a network as ONNX."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(net.eval(), (inputs,), path, **options)
    finally:
        logging.disable(logging.NOTSET)
    return path


@dataclass
class Steps:
    """A network at some steps, with graphs exported at one of them.

    Attributes:
        folder: Where its files are.
        net: The module.
        inputs: Samples.
        own: The step at which graphs are exported.
        states: The weights at each step.
        outputs: What the module makes of the samples there.
    """

    folder: Path
    net: nn.Module
    inputs: Tensor
    own: int = OWN
    states: list[State] = field(default_factory=list)
    outputs: list[np.ndarray] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path, net: nn.Module, inputs: Tensor, own: int = OWN) -> Steps:
        steps = cls(folder, net.eval(), inputs, own)
        for _ in range(STEPS):
            steps.states.append(state_of(net))
            with torch.no_grad():
                steps.outputs.append(net(inputs).numpy())
            stirred(net)
        return steps

    def at(self, step: int) -> nn.Module:
        self.net.load_state_dict(self.states[step])
        return self.net

    def graph(self, exporter: str = LEGACY, *, apart: bool = False) -> Path:
        """Return the graph of the own step, exported once."""
        path = self.folder / f"graph_{exporter}_{apart}.onnx"
        if not path.exists():
            options = (APART if apart else FOLDED)[exporter]
            export(self.at(self.own), self.inputs, path, options)
        return path

    def run(self, kind: str = "", steps: tuple[int, ...] = tuple(range(STEPS))) -> Run:
        """Return the run in a format; in memory by default."""
        if not kind:
            return aw.open_run([self.states[step] for step in steps])
        folder = self.folder / kind
        folder.mkdir(exist_ok=True)
        return aw.open_run([self._written(folder / f"net_{step}", kind, step) for step in steps])

    def _written(self, path: Path, kind: str, step: int) -> Path:
        path = path.with_suffix(f".{kind}")
        if not path.exists():
            if kind == "pt":
                torch.save(self.states[step], path)
            elif kind == "safetensors":
                write_safetensors(path, self.states[step])
            else:
                export(self.at(step), self.inputs, path, FOLDED[LEGACY])
        return path

    def checked(self, run: Run, path: Path, **options: Any) -> ModelCheck:
        return check_model(run, OnnxNetwork.opened(path), **options)

    def error(self, found: ModelCheck) -> float:
        """Return the largest difference of bound network and module, in parts of the output."""
        worst = 0.0
        name = found.binding.network.inputs[0].name
        for index, checkpoint in enumerate(found.binding.run.checkpoints):
            made = found.binding.bind(checkpoint).run({name: self.inputs.numpy()})["output"]
            wanted = self.outputs[checkpoint.step if checkpoint.step < STEPS else index]
            worst = max(worst, float(np.abs(made - wanted).max() / max(np.abs(wanted).max(), 1)))
        return worst


def steps_of(name: str, folder: Path, own: int = OWN) -> Steps:
    torch.manual_seed(0)
    net, inputs = NETS[name]()
    return Steps.of(folder, net, inputs, own)
