"""Networks of small matrices: strangers and restarts are told, honest training is left alone."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch
from thorough import sampled
from torch import Tensor

import accweight_core as aw

Weights = dict[str, Tensor]


def walked(seed: int, count: int, *, width: int = 8, layers: int = 1) -> list[Weights]:
    """Return a small network over some steps, each a small random step from the last."""
    chance = torch.Generator().manual_seed(seed)
    state = {
        f"fc{i}.weight": torch.randn(width, width, generator=chance) / width**0.5
        for i in range(layers)
    }
    states = []
    for _ in range(count):
        states.append({name: value.clone() for name, value in state.items()})
        for value in state.values():
            value += 0.02 * torch.randn(value.shape, generator=chance)
    return states


def trained(seed: int, rate: float, momentum: float, *, width: int, depth: int) -> list[Weights]:
    """Return a network that learns a teacher's map, a checkpoint every 20 steps."""
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(width, width) for _ in range(depth)]
    net = torch.nn.Sequential(*layers)
    inputs, teacher = torch.randn(128, width), torch.randn(width, width) / width**0.5
    update = torch.optim.SGD(net.parameters(), rate, momentum)
    states = []
    for _ in range(8):
        states.append({name: value.clone() for name, value in net.state_dict().items()})
        for _ in range(20):
            update.zero_grad()
            ((net(inputs) - torch.tanh(inputs @ teacher)) ** 2).mean().backward()
            update.step()
    return states


def warnings_of(states: list[Weights]) -> tuple[str, ...]:
    return aw.analyze(states).header.warnings


def in_turn(a: list[Weights], b: list[Weights]) -> list[Weights]:
    return [state for pair in zip(a, b, strict=True) for state in pair]


def test_two_small_networks_taken_in_turn_are_told_once() -> None:
    (warning,) = warnings_of(in_turn(walked(1, 5), walked(2, 5)))

    assert warning.startswith("step 1 does not look like a continuation of step 0: ")
    assert "those of steps 0 and 2 by 1.00, and so on up to step 9" in warning
    assert warning.endswith("so two networks are probably taken in turn")


def test_even_matrices_of_sixteen_are_told_where_they_alternate() -> None:
    run = in_turn(walked(1, 5, width=4), walked(2, 5, width=4))

    assert len(warnings_of(run)) == 1


def test_a_restart_of_a_small_network_is_told_where_it_begins() -> None:
    (warning,) = warnings_of(walked(1, 5) + walked(2, 4))

    assert warning.startswith("step 5 does not look like a continuation of step 4: ")
    assert warning.endswith("so this is probably a restart or from another run")


def test_a_foreign_checkpoint_of_a_small_network_is_told_on_both_sides() -> None:
    run = walked(1, 7)
    run[3] = walked(2, 7)[3]

    found = warnings_of(run)

    assert [warning.partition(" does")[0] for warning in found] == ["step 3", "step 4"]
    assert all("so step 3 is probably from another run" in warning for warning in found)


def test_a_frozen_small_matrix_hides_no_restart() -> None:
    run = walked(1, 4) + walked(2, 4)
    for state in run:
        state["backbone.weight"] = run[0]["fc0.weight"]

    assert len(warnings_of(run)) == 1


@pytest.mark.parametrize(
    ("rate", "momentum", "width", "depth"),
    list(sampled(product([0.01, 0.1, 1.0], [0.0, 0.9], [4, 8], [1, 2]), 5)),
)
def test_honest_training_of_small_networks_is_not_reported(
    rate: float, momentum: float, width: int, depth: int
) -> None:
    for seed in range(3):
        states = trained(seed, rate, momentum, width=width, depth=depth)

        assert not [w for w in warnings_of(states) if "continuation" in w]


def test_swinging_between_two_sides_is_no_change_of_networks() -> None:
    start, way = walked(1, 1)[0]["fc0.weight"], walked(2, 1)[0]["fc0.weight"]
    run = [{"fc0.weight": start + (-1) ** step * 0.7 * way} for step in range(8)]

    assert warnings_of(run) == ()


def test_unrelated_weights_at_every_step_are_no_two_networks() -> None:
    assert warnings_of([walked(seed, 1)[0] for seed in range(8)]) == ()


def test_sound_runs_are_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_again(*_: object) -> None:
        raise AssertionError("weights were read again")

    monkeypatch.setattr("accweight_core.analysis.small_networks._vectors", read_again)

    assert warnings_of(walked(1, 6)) == ()
    with pytest.raises(AssertionError, match="read again"):
        warnings_of(walked(1, 3) + walked(2, 3))


def test_the_warning_is_kept_and_is_a_finding_of_check(tmp_path: Path) -> None:
    for step, state in enumerate(walked(1, 4) + walked(2, 4)):
        torch.save(state, tmp_path / f"epoch_{step}.pt")
    aw.analyze(tmp_path, tmp_path / "run.accw")

    result = aw.check(tmp_path / "run.accw")

    assert [(f.kind, f.step, f.is_wrong) for f in result.findings] == [("discontinuity", 4, True)]


def test_a_restart_where_checkpoints_are_appended_is_told(tmp_path: Path) -> None:
    for step, state in enumerate(walked(1, 4) + walked(2, 4)):
        torch.save(state, tmp_path / f"epoch_{step}.pt")
    files = sorted(tmp_path.iterdir())
    aw.analyze(files[:4], tmp_path / "run.accw", keep_state=True)

    grown = aw.append(files, tmp_path / "run.accw")

    assert grown.header.warnings == aw.analyze(files).header.warnings
    assert len(grown.header.warnings) == 1


def test_what_is_gone_costs_the_warning_and_no_more(tmp_path: Path) -> None:
    for step, state in enumerate(walked(1, 4) + walked(2, 4)):
        torch.save(state, tmp_path / f"epoch_{step}.pt")
    files = sorted(tmp_path.iterdir())
    aw.analyze(files[:4], tmp_path / "run.accw", keep_state=True)
    for file in files[:4]:
        file.unlink()

    grown = aw.append(files[4:], tmp_path / "run.accw")

    assert grown.header.complete
    assert grown.header.warnings == ()
