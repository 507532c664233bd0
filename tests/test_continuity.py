"""One run or not: restarts and foreign checkpoints are told, honest training is left alone."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import accweight_core as aw
from accweight_adapters.demo.experiment import Digits, sklearn_digits
from accweight_core.analysis.continuity import Signals, breaks, signals

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
    assert "of the distance from the first checkpoint remains" in warning


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


# --- figures, by hand -------------------------------------------------------------------------


def turned(degrees: float, scale: float = 1.0) -> Tensor:
    """Return a matrix that is turned so far from `turned(0)`."""
    angle = math.radians(degrees)
    matrix = torch.zeros(16, 16)
    matrix[0, 0], matrix[1, 1] = scale * math.cos(angle), scale * math.sin(angle)
    return matrix


def figures_of(*angles: list[float]) -> Signals:
    """Return the figures of matrices that are turned step by step, one list of angles each."""
    steps = zip(*angles, strict=True)
    run = [{f"fc{i}.weight": turned(a) for i, a in enumerate(at)} for at in steps]
    analysis = aw.analyze(aw.open_run(run))
    return signals(analysis.header, analysis.values)


def test_alignment_is_the_cosine_between_neighbours() -> None:
    figures = figures_of([0, 60, 60, 150, 180])

    np.testing.assert_allclose(figures.alignment, [np.nan, 0.5, np.nan, 0, 3**0.5 / 2], atol=1e-6)


def test_alignment_does_not_see_length() -> None:
    run = [{"fc.weight": turned(0, scale=2)}, {"fc.weight": turned(60, scale=3)}]
    analysis = aw.analyze(aw.open_run(run))

    assert signals(analysis.header, analysis.values).alignment[1] == pytest.approx(0.5)


def test_what_is_left_of_the_distance_is_a_share_of_all_matrices_together() -> None:
    figures = figures_of([0, 90, 0, 90], [0, 0, 180, 180])

    # chords: sqrt(2) and 0, then 0 and 2, then sqrt(2) and 2
    np.testing.assert_allclose(figures.kept, [np.nan, np.nan, 2**0.5, 1.5**0.5], rtol=1e-6)


@pytest.mark.parametrize(
    ("angles", "alignment"),
    [((90, 90, 10), 0.0), ((90, 10, 10), math.cos(math.radians(10))), ((90, 60), 0.25)],
    ids=["most are strangers", "one is begun anew", "two"],
)
def test_the_median_of_all_matrices_counts(angles: tuple[float, ...], alignment: float) -> None:
    figures = figures_of(*([0, angle] for angle in angles))

    assert figures.alignment[1] == pytest.approx(alignment, abs=1e-6)


def test_matrices_that_stand_still_or_are_gone_do_not_count() -> None:
    run = [
        {"moves.weight": turned(angle), "stands.weight": turned(0), "dies.weight": turned(0) * on}
        for angle, on in ((0, 1), (60, 0))
    ]
    analysis = aw.analyze(aw.open_run(run))

    assert signals(analysis.header, analysis.values).alignment[1] == pytest.approx(0.5)


def test_only_matrices_large_enough_to_be_told_apart_count() -> None:
    small = {"a.weight": torch.eye(16)[:15], "norm.weight": torch.ones(300)}
    run = [small, {name: -weights for name, weights in small.items()}]
    analysis = aw.analyze(aw.open_run(run))

    figures = signals(analysis.header, analysis.values)

    assert np.isnan(figures.alignment).all()
    assert np.isnan(figures.kept).all()
    assert breaks(analysis.header, analysis.values) == []


@pytest.mark.parametrize(("degrees", "is_told"), [(85.3, False), (85.5, True)])
def test_strangers_are_told_from_an_alignment_of_eight_hundredths_on(
    degrees: float, is_told: bool
) -> None:
    warnings = warnings_of([{"fc.weight": turned(0)}, {"fc.weight": turned(degrees)}])

    assert ["step 1" in w and "step 0: their weights align by 0.08" in w for w in warnings] == (
        [True] * is_told
    )


@pytest.mark.parametrize(("kept", "is_told"), [(0.51, False), (0.49, True)])
def test_a_restart_is_told_when_half_of_the_way_is_gone(kept: float, is_told: bool) -> None:
    start, way = torch.ones(16, 16), torch.eye(16)
    run = [{"fc.weight": start + share * way} for share in (0, 1, kept)]

    warnings = warnings_of(run)

    assert [f"only {kept:.0%} of the distance" in warning for warning in warnings] == (
        [True] * is_told
    )
