"""Probes of a run that diverged: results of the good steps, and which steps have none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from probe_networks import Classifier, write_states

import accweight_core as aw
from accweight_core.analysis.figures.of_probes.choosing import figures_of
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.cli.probes import page
from accweight_core.probes.gradient_ratings import largest_share, missing_shares
from accweight_core.probes.registry import probes

GOOD = [0, 1, 2, 3]
OTHER_NETWORKS = ("decision_surface", "gates", "hidden_response", "hidden_state")
"""Probes of two inputs, and of sequences."""

TRIED = sorted({*probes()} - {*OTHER_NETWORKS, "failure", "rewind"})


def diverged(broken: str) -> list[dict[str, torch.Tensor]]:
    """Return the states of six steps; what is called so is NaN at the last two."""
    torch.manual_seed(0)
    net, states = Classifier(), []
    for step in range(6):
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                parameter += 0.05 * torch.randn_like(parameter)
                if step > GOOD[-1] and name.startswith(broken):
                    parameter.fill_(float("nan"))
        states.append({name: value.clone() for name, value in net.state_dict().items()})
    return states


@pytest.fixture(scope="module", params=["fc1", ""], ids=["one layer", "all layers"])
def results(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, ProbeResult]:
    x = np.random.default_rng(0).random((24, 1, 8, 8), np.float32)
    data, out = {"x": x, "y": np.arange(24) % 3}, tmp_path_factory.mktemp("broken") / "run.accw"
    run, network = aw.open_run(diverged(request.param)), aw.Network.from_module(Classifier())
    asked = ["attribution:method=integrated" if n == "attribution" else n for n in TRIED]
    return aw.probe(run, network, data, [*asked, "failure"], out=out)


@pytest.mark.parametrize("name", TRIED)
def test_steps_that_are_not_finite_have_no_results(
    results: dict[str, ProbeResult], name: str
) -> None:
    result = results[name]

    assert result.steps.tolist() == GOOD
    assert result.broken_steps == (4, 5)
    assert result.left_out == "no results at steps 4, 5: weights or outputs are not finite"
    assert result.arrays
    for array in result.arrays:
        field = result.fields[array]
        if field.axes[0] == "step":
            assert len(result.array(array)) == len(GOOD)
            assert np.isfinite(result.array(array)[-1].astype(float)).any(), array


def test_figures_say_whole_which_steps_have_no_results(results: dict[str, ProbeResult]) -> None:
    drawn = figures_of(results["evaluate"])["steps"]()

    (told,) = [text.get_text() for text in drawn.texts if "no results" in text.get_text()]
    assert "; no results at steps 4, 5; " in told
    assert not told.endswith("\N{HORIZONTAL ELLIPSIS}")


def test_what_fails_is_still_told(results: dict[str, ProbeResult]) -> None:
    assert results["failure"].steps.tolist() == [*range(6)]
    assert results["failure"].array("failed")[0] == 4


def test_a_check_that_cannot_be_made_is_not_passed() -> None:
    ratings, change = np.array([[1.0, 2.0], [np.nan, 1.0]]), np.array([3.0, 1.0])

    assert largest_share(missing_shares(ratings, change[:1])[:1]) == 0
    assert np.isnan(largest_share(missing_shares(ratings, change)))


def test_steps_that_were_there_are_told(tmp_path: Path) -> None:
    write_states(tmp_path / "steps", diverged("none"))
    run, out = aw.open_run(tmp_path / "steps"), tmp_path / "run.accw"
    told: list[str] = []
    aw.probe(run, probes="filters", out=out, steps=[0, 3], notice=told.append)
    assert told == []

    aw.probe(run, probes="filters", out=out, notice=told.append)
    aw.probe(run, probes="filters", out=out, notice=told.append)

    assert told == [
        "filters: 2 of 6 steps were there",
        "filters: all 6 steps were there; nothing is measured again",
    ]


def test_a_run_without_a_good_step_has_no_results(tmp_path: Path) -> None:
    run = aw.open_run([diverged("")[-1]] * 2)

    (result,) = aw.probe(run, probes=["filters"], out=tmp_path / "run.accw").values()

    assert result.steps.tolist() == []
    assert result.left_out.startswith("no results at steps 0, 1:")
    assert page(result)[0] == "filters: no steps"
