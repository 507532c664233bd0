"""One run: trained, analysed, its layers put back; what movement told of criticality.

Everything goes through accweight's public API and through real checkpoint files, which stay in the
folder of the run for the interventions. A finished run is one JSON document.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tasks import TASKS, Task
from torch import nn
from training import CHECKPOINTS, FURTHER, Samples, State, Training, held_out, step_of

import accweight_core as aw
from accweight_core.probes.rewinding.prediction import LayerCriticality, layers_of, predictions
from accweight_core.probes.rewinding.rewind import Rewind

AVERAGED = 5
"""Last checkpoints whose weights are averaged."""

PUT_BACK = (0, 2, 4, 7, 10)
"""Places of the checkpoints that layers are put back to: to half of training, where layers may
have settled early."""

STATISTICS = 256
"""Samples for the statistics of batch norm."""

AT_A_TIME = 128
"""Samples per batch: larger ones leave the processor's caches."""


@dataclass(frozen=True)
class Run:
    """One run of the table.

    Attributes:
        task: The task.
        optimiser: Name of the optimiser.
        seed: The seed.
        folder: Where all runs are.
        data: Other pictures than the digits.
    """

    task: Task
    optimiser: str
    seed: int
    folder: Path
    data: Path | None = None

    @property
    def name(self) -> str:
        """Its name, and that of its files."""
        return f"{self.task.name}-{self.optimiser}-{self.seed}"

    @property
    def analysis(self) -> Path:
        """The analysis of its checkpoints."""
        return self.folder / self.name / "run.accw"

    def samples(self) -> Samples:
        """Return what it learns, and what is held out."""
        return Samples.of(self.task, self.seed, self.data)

    def checkpoint(self, place: int) -> State:
        """Return a stored checkpoint."""
        state: State = torch.load(self._file(place), weights_only=True)
        return state

    def _file(self, place: int) -> Path:
        part = "checkpoints" if place <= CHECKPOINTS else "further"
        return self.folder / self.name / part / f"step_{step_of(self.task, place):05d}.pt"

    def measured(self) -> dict[str, Any]:
        """Return what the run gives; it is trained and measured unless a file has it."""
        place = self.folder / f"{self.name}.json"
        if place.exists():
            found: dict[str, Any] = json.loads(place.read_text())
            return found
        document = self._trained()
        whole = place.with_suffix(".part")
        whole.write_text(json.dumps(document))
        whole.replace(place)
        return document

    def _trained(self) -> dict[str, Any]:
        shutil.rmtree(self.folder / self.name, ignore_errors=True)
        samples = self.samples()
        training = Training(self.task, self.optimiser, self.seed, samples)
        curve = [held_out(training.module, samples)]
        self._save(training, 0)
        for at in training.checkpoints(last=CHECKPOINTS + FURTHER):
            curve.append(held_out(training.module, samples))
            self._save(training, at)
        analysis = aw.analyze(
            self.analysis.parent / "checkpoints", self.analysis, picture_budget_bytes=0
        )
        module = training.module
        module.load_state_dict(self.checkpoint(CHECKPOINTS)["model"])  # proves where weights go
        found = aw.probe(
            analysis,
            aw.Network.from_module(module),
            (samples.held_x.numpy(), samples.held_y.numpy()),
            Rewind(draws=0, statistics=STATISTICS),
            steps=[step_of(self.task, at) for at in PUT_BACK],
            seed=self.seed,
            batch_size=AT_A_TIME,
        )["rewind"]
        layers = layers_of(analysis, found, "loss_rise")
        members = {k: list(v) for k, v in found.attributes["with"].items()}
        return {
            "task": self.task.name,
            "optimiser": self.optimiser,
            "seed": self.seed,
            "seconds": training.seconds,
            "loss": [one[0] for one in curve],
            "accuracy": [one[1] for one in curve],
            "base_loss": float(found.array("base_loss")[1]),
            "proof": found.proof,
            "parameters": {
                one.layer: _size(module, [one.layer, *members.get(one.layer, ())]) for one in layers
            },
            "members": members,
            "lost": {one.layer: list(one.lost.values()) for one in layers},
            "fall": {
                one.layer: list(one.lost.values())
                for one in layers_of(analysis, found, "accuracy_fall")
            },
            "metrics": {one.layer: one.metrics for one in layers if one.moved},
            "averaged": self._averaged(layers, members, samples),
            "prediction": [one.to_json() for one in predictions(layers)],
        }

    def _save(self, training: Training, place: int) -> None:
        path = self._file(place)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(training.state(), path)

    def _averaged(
        self,
        layers: Sequence[LayerCriticality],
        members: Mapping[str, Sequence[str]],
        samples: Samples,
    ) -> dict[str, float]:
        """Return the rise of the loss with the weights of one layer averaged, by layer."""
        last = [self.checkpoint(CHECKPOINTS - back)["model"] for back in range(AVERAGED)]
        training = Training(self.task, self.optimiser, self.seed, samples)
        training.module.load_state_dict(last[0])
        base = held_out(training.module, samples)[0]
        rises = {}
        for one in layers:
            names = {one.layer, *members.get(one.layer, ())}
            state = {
                key: sum(state[key] for state in last) / AVERAGED
                if key.rpartition(".")[0] in names and value.is_floating_point()
                else value
                for key, value in last[0].items()
            }
            training.module.load_state_dict(state)
            rises[one.layer] = held_out(training.module, samples)[0] - base
        return rises


def _size(module: nn.Module, names: Sequence[str]) -> int:
    return sum(
        value.numel()
        for name, value in module.named_parameters()
        if name.rpartition(".")[0] in names
    )


def runs(folder: Path, tasks: Sequence[str], seeds: Sequence[int], data: Path | None) -> list[Run]:
    """Return the runs of a table, seed by seed."""
    return [
        Run(TASKS[task], optimiser, seed, folder, data)
        for seed in seeds
        for task in tasks
        for optimiser in TASKS[task].rates
    ]
