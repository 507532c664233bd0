"""Training anew what advice names: frozen from a step, at half its width, at another rate.

Each is held against as many layers drawn at random, and against the opposite ones, by the same
measure. Everything else stays: initial weights where shapes allow, batches, optimiser. How far runs
come apart anyway is told by one that sees other batches. Where a rule names no layer, the layer
that comes nearest to it is taken, and counted apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from claims import cases, facts, place_of
from movement import Run
from training import CHECKPOINTS, Change, Training

from accweight_core.analysis.advice.facts import Facts

HALF = CHECKPOINTS // 2
SEED = 1000
"""Added to the seed of a run where layers are drawn at random."""


@dataclass(frozen=True)
class Choice:
    """Layers that something is done to.

    Attributes:
        who: "named", "nearest", "random" or "opposite".
        layers: The layers.
    """

    who: str
    layers: tuple[str, ...]


def chosen(
    named: Sequence[str], order: Sequence[str], seed: int, *, at_most: int = 3
) -> list[Choice]:
    """Return the layers a rule names, as many at random, and the opposite ones.

    Args:
        named: Layers that the rule names, the strongest first.
        order: All layers that it could be done to, the nearest to the rule first.
        seed: Seed of those drawn.
        at_most: Most layers of each kind.
    """
    possible = [name for name in named if name in order][:at_most]
    who = "named" if possible else "nearest"
    first = possible or list(order[:1])
    others = [name for name in order if name not in first]
    if not first or len(others) < len(first):
        return []
    drawn = np.random.default_rng(SEED + seed).choice(others, len(first), replace=False)
    opposite = [name for name in reversed(order) if name not in first][: len(first)]
    return [
        Choice(who, tuple(first)),
        Choice("random", tuple(map(str, drawn))),
        Choice("opposite", tuple(opposite)),
    ]


@dataclass
class Interventions:
    """What is done to one run.

    Attributes:
        run: The run.
        document: What was measured.
    """

    run: Run
    document: Mapping[str, Any]

    def measured(self) -> list[dict[str, Any]]:
        """Return what came of each; it is trained unless a file has it."""
        place = self.run.folder / f"{self.run.name}.trained.json"
        if place.exists():
            found: list[dict[str, Any]] = json.loads(place.read_text())
            return found
        self._samples = self.run.samples()
        made = [*self._frozen(), *self._narrower(), *self._at_other_rates()]
        whole = place.with_suffix(".part")
        whole.write_text(json.dumps(made))
        whole.replace(place)
        return made

    def _facts(self, *, with_rewind: bool) -> Facts:
        return facts(self.run.folder, self.document, with_rewind=with_rewind)

    def _frozen(self) -> list[dict[str, Any]]:
        """Go on from a stored checkpoint with layers frozen."""
        known = self._facts(with_rewind=False)
        found = [c for c in cases(known, "settled_early") if c.layer in self._trained]
        names = [case.layer for case in found]
        after = max((place_of(self.document, case.step or 0) for case in found[:3]), default=HALF)
        order = sorted(self._trained, key=lambda name: late_movement(known, name, after))
        made = [self._outcome("freeze", Choice("nothing", ()), Change(), after)]
        other = Change(batches=1)
        made.append(self._outcome("freeze", Choice("other batches", ()), other, after))
        for choice in chosen(names, order, self.run.seed):
            change = Change(frozen=choice.layers)
            made.append(self._outcome("freeze", choice, change, after))
        return made

    def _narrower(self) -> list[dict[str, Any]]:
        """Train with layers at half their width."""
        known = self._facts(with_rewind=True)
        names = [case.layer for case in cases(known, "far_not_critical")]
        possible = [name for name in self.run.task.shrinkable if name in self._trained]
        lost = {name: self.document["lost"][name][0] for name in possible}
        by_relative = sorted(possible, key=self._relative, reverse=True)
        far = by_relative[: max(1, len(possible) // 3)]
        nearest = min(far, key=lambda name: lost[name])
        order = [nearest, *sorted((n for n in possible if n != nearest), key=lambda n: lost[n])]
        made = [self._outcome("shrink", Choice("other batches", ()), Change(batches=1))]
        for choice in chosen(names, order, self.run.seed, at_most=1):
            made.append(self._outcome("shrink", choice, Change(halved=choice.layers)))
        return made

    def _at_other_rates(self) -> list[dict[str, Any]]:
        """Train critical layers that hardly moved at twice their rate, oscillating ones at half."""
        known = self._facts(with_rewind=True)
        names = [case.layer for case in cases(known, "critical_hardly_moving")]
        lost = {name: self.document["lost"][name][0] for name in self._trained}
        still = sorted(self._trained, key=self._relative)[: max(1, len(lost) // 3)]
        nearest = max(still, key=lambda name: lost[name])
        order = [nearest, *sorted((n for n in lost if n != nearest), key=lambda n: -lost[n])]
        made = []
        for choice in chosen(names, order, self.run.seed, at_most=1):
            change = Change(rates=dict.fromkeys(choice.layers, 2.0))
            made.append(self._outcome("rate x 2", choice, change))
        names = [case.layer for case in cases(known, "oscillating") if case.layer in lost]
        if names:
            for choice in chosen(names, list(lost), self.run.seed)[:2]:
                change = Change(rates=dict.fromkeys(choice.layers, 0.5))
                made.append(self._outcome("rate / 2", choice, change))
        return made

    @property
    def _trained(self) -> list[str]:
        return list(self.document["metrics"])

    def _relative(self, name: str) -> float:
        return float(self.document["metrics"][name]["relative"])

    def _outcome(self, what: str, choice: Choice, change: Change, after: int = 0) -> dict[str, Any]:
        """Train with something changed, and return what came of it.

        Args:
            what: What is done.
            choice: To which layers.
            change: The same, for the training.
            after: Place of the checkpoint that it goes on from; 0 to train from the start.
        """
        run = self.run
        members = self.document["members"]
        training = Training(run.task, run.optimiser, run.seed, self._samples, change, members)
        if after:
            training.load(run.checkpoint(after))
        elif change.halved:
            first, own = run.checkpoint(0)["model"], training.module.state_dict()
            same = {n: v for n, v in first.items() if v.shape == own[n].shape}
            training.module.load_state_dict({**own, **same})
        loss, accuracy = training.finished(after)
        sizes = [p.numel() for p in training.module.parameters()]
        taught = [p.numel() for p in training.module.parameters() if p.requires_grad]
        return {
            "task": run.task.name,
            "optimiser": run.optimiser,
            "seed": run.seed,
            "what": what,
            "who": choice.who,
            "layers": list(choice.layers),
            "after": after,
            "loss": loss,
            "accuracy": accuracy,
            "seconds": training.seconds,
            "parameters": sum(sizes),
            "trained": sum(taught),
        }


def late_movement(known: Facts, name: str, place: int) -> float:
    """Return the movement of a layer at a place over its largest until there."""
    row = next(row for row in known.rows if row.name == name)
    moved = np.asarray(row.metrics["step_mean"][1 : place + 1])
    return float(moved[-1] / moved.max()) if moved.max() > 0 else 0.0
