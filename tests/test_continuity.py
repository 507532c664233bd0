"""One run or not: restarts and foreign checkpoints are told, honest training is left alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import accweight_core as aw
from accweight_adapters.demo.experiment import Digits, sklearn_digits

Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def digits() -> Digits:
    return sklearn_digits()


def trained(digits: Digits, rates: list[float], *, seed: int, order: int = 0) -> list[Weights]:
    def states() -> Iterator[Weights]:
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=rates[0], momentum=0.9)
        chance = torch.Generator().manual_seed(order)
        yield {name: value.clone() for name, value in model.state_dict().items()}
        for rate in rates:
            optimizer.param_groups[0]["lr"] = rate
            for batch in torch.randperm(len(digits.images), generator=chance).split(32):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(
                    model(digits.images[batch]), digits.labels[batch]
                )
                loss.backward()
                optimizer.step()
            yield {name: value.clone() for name, value in model.state_dict().items()}

    return list(states())


def warnings_of(checkpoints: list[Weights]) -> tuple[str, ...]:
    return aw.analyze(aw.open_run(checkpoints)).header.warnings


@pytest.mark.parametrize(
    "rates",
    [[0.02] * 8, [0.05] * 4 + [0.0005] * 4, [0.05, 0.03, 0.001, 0.0001] * 2, [1e-4, 1e-3, 0.05]],
    ids=["steady", "hundredfold drop", "warm restarts", "warm-up"],
)
def test_honest_training_is_not_reported(digits: Digits, rates: list[float]) -> None:
    run = trained(digits, rates, seed=1)

    assert warnings_of(run) == ()


def test_uneven_steps_are_not_reported(digits: Digits) -> None:
    run = trained(digits, [0.02] * 12, seed=1)

    assert warnings_of([run[i] for i in (0, 1, 2, 6, 12)]) == ()


def test_a_run_of_another_seed_is_reported_where_it_begins(digits: Digits) -> None:
    run = trained(digits, [0.02] * 4, seed=1) + trained(digits, [0.02] * 3, seed=2)

    (warning,) = warnings_of(run)

    assert "step 5 does not look like a continuation of step 4" in warning
    assert "align by" in warning


def test_a_foreign_checkpoint_is_reported_on_both_sides(digits: Digits) -> None:
    run = trained(digits, [0.02] * 6, seed=1)
    run[3] = trained(digits, [0.02] * 3, seed=2)[3]

    found = warnings_of(run)

    assert [warning.partition(" does")[0] for warning in found] == ["step 3", "step 4"]


def test_a_restart_from_the_same_initial_weights_is_reported(digits: Digits) -> None:
    run = trained(digits, [0.02] * 5, seed=1) + trained(digits, [0.02] * 3, seed=1, order=9)

    (warning,) = warnings_of(run)

    assert "step 6 does not look like a continuation of step 5" in warning
    assert "of the distance from the first checkpoint is left" in warning


def test_frozen_parameters_hide_no_restart(digits: Digits) -> None:
    run = trained(digits, [0.02] * 3, seed=1) + trained(digits, [0.02] * 3, seed=2)
    frozen = torch.randn(64, 64)
    for checkpoint in run:
        checkpoint["backbone.weight"] = frozen
        checkpoint["backbone2.weight"] = frozen
        checkpoint["backbone3.weight"] = frozen

    assert len(warnings_of(run)) == 1


def test_a_run_that_never_moves_is_not_reported() -> None:
    weights = {"fc.weight": torch.randn(32, 32)}

    assert warnings_of([weights, weights, weights]) == ()
