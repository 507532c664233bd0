"""The benchmark of validity: what it draws, trains and counts."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parent.parent / "benchmarks" / "validity"
NAMES = ("tasks", "training", "movement", "claims", "interventions", "tables")


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    """Return the modules of the benchmark by name, and forget them in the end."""
    from importlib import import_module

    sys.path.insert(0, str(FOLDER))
    yield {name: import_module(name) for name in NAMES}
    sys.path.remove(str(FOLDER))
    for name in NAMES:
        del sys.modules[name]


def test_the_class_of_brackets_is_the_one_that_closes_next(modules: dict[str, ModuleType]) -> None:
    tasks = modules["tasks"]

    sequences, labels = tasks.brackets(50)

    assert len({tuple(row) for row in sequences.tolist()}) == 50
    for tokens, label in zip(sequences.tolist(), labels.tolist(), strict=True):
        text = "".join(("abcd" + "ABCD")[token] for token in tokens)
        while any(pair in text for pair in ("aA", "bB", "cC", "dD")):
            for pair in ("aA", "bB", "cC", "dD"):
                text = text.replace(pair, "")
        assert text[-1] == "abcd"[label]


def test_a_run_that_goes_on_unchanged_ends_like_the_first_and_frozen_layers_stay(
    modules: dict[str, ModuleType],
) -> None:
    task, training = modules["tasks"].TASKS["dense"], modules["training"]
    samples = training.Samples.of(task, 0)
    first = training.Training(task, "adamw", 0, samples)
    list(first.checkpoints(last=1))
    stored = torch.load(_saved(first.state()), weights_only=True)
    list(first.checkpoints(1, 2))

    again = training.Training(task, "adamw", 0, samples)
    frozen = training.Training(task, "adamw", 0, samples, training.Change(frozen=("fc3",)))
    for other in (again, frozen):
        other.load(stored)
        list(other.checkpoints(1, 2))

    end, same, held = (one.module.state_dict() for one in (first, again, frozen))
    assert all(torch.equal(end[name], same[name]) for name in end)
    assert torch.equal(held["fc3.weight"], stored["model"]["fc3.weight"])
    assert not torch.equal(held["fc4.weight"], stored["model"]["fc4.weight"])


def _saved(state: object) -> io.BytesIO:
    place = io.BytesIO()
    torch.save(state, place)
    place.seek(0)
    return place


def test_a_halved_layer_is_half_as_wide_and_the_network_runs(
    modules: dict[str, ModuleType],
) -> None:
    for task in modules["tasks"].TASKS.values():
        whole = task.network(8)
        x = torch.zeros(2, 1, 8, 8) if task.is_pictures else torch.zeros(2, 12, dtype=torch.long)
        for name in task.shrinkable:
            narrow = task.network(8, (name,))
            assert narrow.eval()(x).shape == whole.eval()(x).shape
            sizes = [sum(p.numel() for p in one.parameters()) for one in (narrow, whole)]
            assert sizes[0] < sizes[1]


def test_precision_is_held_against_the_others_of_the_same_run(
    modules: dict[str, ModuleType],
) -> None:
    outcome, verdict = modules["claims"].Outcome, modules["claims"].verdict

    found = verdict(
        [
            outcome((True, False), (True, True, False, False)),
            outcome((True, True), (True, False, False, False)),
            outcome((), (True,)),
        ]
    )

    assert (found.runs, found.fired, found.claims) == (3, 2, 4)
    assert (found.precision, found.chance) == (0.75, 0.375)


def test_as_many_layers_are_drawn_as_are_named_and_opposite_ones_come_last(
    modules: dict[str, ModuleType],
) -> None:
    chosen = modules["interventions"].chosen
    order = list("abcdefgh")

    named = {one.who: one.layers for one in chosen(["b", "z", "a"], order, 0)}
    nearest = {one.who: one.layers for one in chosen([], order, 0)}

    assert named["named"] == ("b", "a")
    assert named["opposite"] == ("h", "g")
    assert len({*named["random"], "a", "b"}) == 4
    assert (nearest["nearest"], nearest["opposite"]) == (("a",), ("h",))


def test_the_band_of_chance_is_that_of_random_orders(modules: dict[str, ModuleType]) -> None:
    document = {"metrics": {name: {} for name in "abcdefghij"}}

    one, mean = modules["tables"].null_band([document] * 25)

    assert one == pytest.approx(0.648, abs=0.02)  # the table of Spearman's rho for 10 items
    assert mean == pytest.approx(1.96 / np.sqrt(9 * 25), abs=0.01)
