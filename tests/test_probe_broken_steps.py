"""Probes of a run that diverged: results of the good steps, and which steps have none."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from probe_networks import Classifier, Plain, probed, said, stack, steps_of, write_states

import accweight_core as aw
from accweight_core.analysis.figures.of_probes.choosing import figures_of
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.cli.probes import page
from accweight_core.probes.gradient_ratings import largest_share, missing_shares
from accweight_core.probes.registry import probes
from accweight_core.store.probe_store import ProbeStore

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


def small_run(values: dict[int, float]) -> tuple[torch.nn.Module, list[dict[str, torch.Tensor]]]:
    """Return a module, and four states of it; at some steps its matrices have one value."""
    torch.manual_seed(0)
    module = stack(3, 4, 3)
    states = steps_of(module, 4)
    for step, state in enumerate(states):
        for name in state:
            state[name] += 0.1 * (step + 1)
        if step in values:
            for name in ("0.weight", "2.weight"):
                state[name].fill_(values[step])
    return module, states


SAMPLES = {"x": np.random.default_rng(0).random((12, 3), np.float32), "y": np.arange(12) % 3}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38], ids=["nan", "inf", "large"])
def test_layers_are_put_back_from_the_last_step_that_is_finite(
    tmp_path: Path, value: float
) -> None:
    module, states = small_run({3: value})
    good = probed(tmp_path, module, states[:3], SAMPLES, "rewind")

    found = probed(tmp_path, module, states, SAMPLES, "rewind")

    told = "It starts from step 2, the last one that is finite: weights or outputs of step 3"
    assert any(line.startswith(told) for line in said(found))
    assert not any("It starts" in line for line in said(good))
    for array in ("loss_rise", "accuracy_fall"):
        np.testing.assert_array_equal(found.array(array)[:3], good.array(array))
        assert np.isnan(found.array(array)[3:]).all()
    assert found.array("random_loss_rise").tolist() == good.array("random_loss_rise").tolist()


def test_random_draws_are_those_of_the_first_finite_step(tmp_path: Path) -> None:
    module, states = small_run({0: float("nan")})

    found = probed(tmp_path, module, states, SAMPLES, "rewind")

    assert found.steps.tolist() == [1, 2, 3]
    assert np.isfinite(found.array("random_loss_rise")).all()


def test_a_run_without_a_finite_step_is_not_rewound(tmp_path: Path) -> None:
    module, states = small_run(dict.fromkeys(range(4), float("nan")))

    with pytest.raises(aw.AccweightError, match=r"rewind.*no step to start from"):
        probed(tmp_path, module, states, SAMPLES, "rewind")


def test_what_outputs_are_is_told_by_the_first_finite_step(tmp_path: Path) -> None:
    module, states = small_run({0: float("nan")})
    network = torch.nn.Sequential(*module.children(), torch.nn.Softmax(-1))
    good = probed(tmp_path, network, states[1:], SAMPLES, "evaluate")

    found = probed(tmp_path, network, states, SAMPLES, "evaluate")

    assert found.array("loss").tolist() == good.array("loss").tolist()


def test_samples_break_only_the_probes_that_look_at_them(tmp_path: Path) -> None:
    module, states = small_run({})
    run, network, some = aw.open_run(states), aw.Network.from_module(module), "embedding:points=4"
    alone, together = [], []
    for row in range(3):
        x = SAMPLES["x"].copy()
        x[row] = 3e38  # of which the network makes NaN
        for asked, broken in (([some], alone), (["evaluate", some], together)):
            out = tmp_path / f"{row}-{len(asked)}.accw"
            found = aw.probe(run, network, {**SAMPLES, "x": x}, asked, out=out)
            broken.append(found["embedding"].broken_steps)

    assert () in alone
    assert together == alone


def test_steps_that_an_earlier_version_has_measured_are_left_out(tmp_path: Path) -> None:
    module, states = small_run({3: float("nan")})
    found = probed(tmp_path, module, states, SAMPLES, "evaluate")
    document = found._store.document
    as_before = msgspec.structs.replace(document, broken=())
    ProbeStore(found.path, as_before)._write_document()
    analysis = found.path.parent.parent
    assert aw.open_analysis(analysis).probes["evaluate"].steps.tolist() == [0, 1, 2, 3]

    again = aw.probe(aw.open_analysis(analysis), Plain(module), SAMPLES, "evaluate", out=analysis)[
        "evaluate"
    ]

    assert again.steps.tolist() == [0, 1, 2]
    assert again.broken_steps == (3,)
    assert "loss" in again.arrays


class Hiding(torch.nn.Module):
    """A network whose output is finite where a layer is not."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.shown = torch.nn.Linear(3, 4), torch.nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores."""
        hidden = torch.nan_to_num(self.hidden(x)).sum(1, keepdim=True)
        scores: torch.Tensor = self.shown(x) + 0 * hidden
        return scores


@pytest.mark.parametrize("asked", ["embedding:layer=hidden", "neighbors:layer=hidden,count=3"])
def test_what_takes_only_finite_values_has_no_results_where_a_layer_has_others(
    tmp_path: Path, asked: str
) -> None:
    module = Hiding()
    states = [{n: v + 1 for n, v in state.items()} for state in steps_of(module, 3)]
    states[2]["hidden.bias"][0] = float("nan")

    found = probed(tmp_path, module, states, SAMPLES, asked)

    assert (found.steps.tolist(), found.broken_steps) == ([0, 1], (2,))
