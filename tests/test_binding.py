"""Binding: weights of every format in graphs of both exporters, equal to the framework's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from binding_models import DYNAMO, LEGACY, OWN, Steps, export, steps_of
from click.testing import CliRunner

import accweight_core as aw
from accweight_adapters.execution.module_network import ModuleNetwork
from accweight_adapters.execution.onnx_network import OnnxNetwork
from accweight_core.errors import BindingError
from accweight_core.probes.binding.binding import Binding
from accweight_core.probes.binding.model_check import COLUMNS, check_model
from accweight_core.schema import Checkpoint

CLOSE = 1e-5

Made = Callable[[str], Steps]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return the steps of a network by its name; each is made once."""
    known: dict[str, Steps] = {}

    def get(name: str) -> Steps:
        if name not in known:
            known[name] = steps_of(name, tmp_path_factory.mktemp(name))
        return known[name]

    return get


@pytest.mark.parametrize("exporter", [LEGACY, DYNAMO])
@pytest.mark.parametrize("name", ["cnn", "lstm", "gru", "encoder"])
def test_every_format_goes_into_the_graphs_of_both_exporters(
    made: Made, name: str, exporter: str
) -> None:
    steps = made(name)

    for kind in ("pt", "safetensors", "onnx"):
        found = steps.checked(steps.run(kind), steps.graph(exporter))

        assert found.binding.proof.verdict == "verified", (kind, found.summary())
        assert steps.error(found) < CLOSE, kind


@pytest.mark.parametrize("times", [5, 0.5])
def test_a_graph_of_a_fixed_batch_is_proven_with_other_numbers_of_samples(
    made: Made, times: float
) -> None:
    steps = made("cnn")
    samples = steps.inputs.numpy()
    count = int(times * len(samples))
    given = np.resize(samples, (count, *samples.shape[1:]))

    network = OnnxNetwork.opened(steps.graph())
    assert network.inputs[0].shape is not None
    assert network.inputs[0].shape[0] == len(samples)

    found = check_model(steps.run("pt"), network, given)

    assert found.binding.proof.verdict == "verified"


def test_a_plain_rnn_is_bound_as_well(made: Made) -> None:
    steps = made("rnn")

    found = steps.checked(steps.run(), steps.graph())

    assert found.binding.proof.verdict == "verified"
    assert steps.error(found) < CLOSE


@pytest.mark.parametrize("exporter", [LEGACY, DYNAMO])
@pytest.mark.parametrize("name", ["cnn", "lstm"])
def test_graphs_that_keep_everything_apart_are_bound_by_name(
    made: Made, name: str, exporter: str
) -> None:
    steps = made(name)

    found = steps.checked(steps.run(), steps.graph(exporter, apart=True))

    assert found.binding.proof.verdict == "verified"
    assert steps.error(found) < CLOSE
    assert not any("folded" in item.words for item in found.binding.assignments)


def test_a_module_is_bound_like_a_graph_given_samples(made: Made) -> None:
    steps = made("cnn")
    network = ModuleNetwork.opened(steps.at(OWN))

    found = check_model(steps.run("pt"), network, steps.inputs.numpy())

    assert found.binding.proof.verdict == "verified"
    assert steps.error(found) < CLOSE
    assert "give data" in check_model(steps.run("pt"), network).binding.proof.reason


def test_weights_in_half_precision_equal_those_of_the_graph_to_their_digits(made: Made) -> None:
    steps = made("encoder")
    for dtype in (torch.bfloat16, torch.float16):
        run = aw.open_run([{k: v.to(dtype) for k, v in s.items()} for s in steps.states])

        assert steps.checked(run, steps.graph()).binding.proof.verdict == "verified"


def test_an_analysis_is_bound_with_the_statistics_that_it_does_not_measure(
    made: Made, tmp_path: Path
) -> None:
    steps = made("cnn")
    analysis = aw.analyze(steps.run("pt"), tmp_path / "run.accw")
    assert not any("running" in parameter.name for parameter in analysis.parameters)

    found = steps.checked(analysis.run(), steps.graph())

    assert found.binding.proof.verdict == "verified"
    assert steps.error(found) < CLOSE


def test_one_checkpoint_is_bound_alone(made: Made) -> None:
    steps = made("squares")
    network = OnnxNetwork.opened(steps.graph())
    run = steps.run()

    assert network.bind(run.checkpoint(OWN)).proof == "verified"
    assert network.bind(run.checkpoint(2)).proof == "not verified"
    assert network.bind(run.checkpoint(2), run).proof == "verified"


def test_a_patched_network_keeps_its_proof(made: Made) -> None:
    steps = made("squares")
    run = steps.run()

    bound = OnnxNetwork.opened(steps.graph()).bind(run.checkpoint(OWN))

    assert bound.patch({"a": lambda value: value * 0}).proof == "verified"


# --- the proof


def losses(steps: Steps, targets: np.ndarray) -> list[float]:
    return [
        float(torch.nn.functional.cross_entropy(torch.tensor(o), torch.tensor(targets)))
        for o in steps.outputs
    ]


def recorded(steps: Steps, values: list[float], kept: tuple[int, ...]) -> aw.schema.Run:
    """Return a run of some steps whose checkpoints recorded a loss."""
    run = steps.run("", kept)
    checkpoints = [
        Checkpoint(
            c.path, c.step, c.step_source, c.format, c.tensors, measures={"val_loss": values[k]}
        )
        for c, k in zip(run.checkpoints, kept, strict=True)
    ]
    return type(run)(run.source, run.reader, tuple(checkpoints), run.layers)


def test_a_recorded_loss_that_comes_out_makes_a_binding_consistent(made: Made) -> None:
    steps = made("squares")
    targets = np.array([0, 3, 5])
    run = recorded(steps, losses(steps, targets), (0, 2))

    found = steps.checked(
        run, steps.graph(), data=steps.inputs.numpy(), targets=targets
    ).binding.proof

    assert found.verdict == "consistent"
    assert found.reason.startswith("val_loss ")
    assert found.reproduced is not None
    assert found.reproduced.figure == "cross entropy"


def test_a_recorded_loss_that_does_not_come_out_is_told(made: Made) -> None:
    steps = made("squares")
    targets = np.array([0, 3, 5])
    run = recorded(steps, [9.0, 8.0, 7.0], (0, 2))

    found = steps.checked(run, steps.graph(), data=steps.inputs.numpy(), targets=targets)

    assert not found.ok
    assert "a recorded measure is not reproduced: val_loss 7 recorded" in found.summary()[0]


def test_without_the_step_of_the_graph_nothing_is_verified(made: Made) -> None:
    steps = made("squares")

    found = steps.checked(steps.run("", (0, 2)), steps.graph())

    assert found.binding.proof.verdict == "not verified"
    assert "no checkpoint of the run has the network's own weights" in found.binding.proof.reason
    assert "or perhaps transposed" in " ".join(found.summary())


def test_samples_of_a_user_are_what_both_forward_passes_take(made: Made) -> None:
    steps = made("gru")

    found = steps.checked(steps.run(), steps.graph(), data=steps.inputs.numpy())

    assert found.binding.proof.difference == 0
    assert found.binding.proof.scale == pytest.approx(np.abs(steps.outputs[OWN]).max())


# --- the table


def test_the_table_says_from_where_and_how(made: Made) -> None:
    steps = made("cnn")

    found = steps.checked(steps.run(), steps.graph(DYNAMO))

    rows = {row[0]: row for row in found.rows()}
    assert rows["conv1.weight"][2:5] == (
        "conv1.weight, bn1.weight and 3 more",
        "bn1 folded in (epsilon 1e-05)",
        "100%",
    )
    assert rows["fc.weight"][2:4] == ("fc.weight", "as it is")
    document = json.loads(json.dumps(found.to_json()))
    assert document["proof"]["verdict"] == "verified"
    assert [t["name"] for t in document["tensors"]] == list(rows)
    assert found.lines()[-1].startswith("forward passes at step 1: largest difference ")


def test_a_command_shows_the_table_and_fails_if_nothing_is_proven(made: Made) -> None:
    import click

    from accweight_core.cli.model_checks import show_model_check, takes_binding

    steps = made("squares")
    network = OnnxNetwork.opened(steps.graph())

    @click.command()
    @click.option("--last", is_flag=True)
    @takes_binding
    def command(
        constants: tuple[str, ...], unused: tuple[str, ...], *, check_model: bool, last: bool
    ) -> None:
        assert check_model
        run = steps.run("", (2,) if last else (0, 1))
        show_model_check(run, network, None, constants, unused, json=False)

    good = CliRunner().invoke(command, ["--check-model"])
    bad = CliRunner().invoke(command, ["--check-model", "--last"])

    assert (good.exit_code, bad.exit_code) == (0, 1)
    assert good.stdout.splitlines()[0].split() == list(COLUMNS)
    assert "verified: equal to the network's own weights and outputs at step 1" in good.stdout
    assert "\nnot verified: " in bad.stdout


def test_a_checkpoint_of_another_run_is_refused(made: Made) -> None:
    steps = made("squares")
    binding = Binding.of(OnnxNetwork.opened(steps.graph()), steps.run())

    with pytest.raises(BindingError, match=r"has no tensor 'a.weight', of which 'a.weight'"):
        binding.bind(made("gru").run().checkpoint(0))


def test_another_network_is_refused_in_one_line(made: Made, tmp_path: Path) -> None:
    other = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 6))
    path = export(other, torch.ones(1, 6), tmp_path / "net.onnx", {"dynamo": False})

    with pytest.raises(BindingError) as caught:
        Binding.of(OnnxNetwork.opened(path), made("squares").run())

    assert "\n" not in str(caught.value)
    assert caught.value.tensors
