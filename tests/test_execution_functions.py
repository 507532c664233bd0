"""Functions as networks: they give what a module gives, and say what they cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from probe_networks import Classifier, Plain, digits, trained, write_states

import accweight_core as aw
from accweight_core.errors import ArgumentTypeError, ArgumentValueError, UnsupportedOperatorError
from accweight_core.probes.identity import network_digest

Weights = dict[str, torch.Tensor]


def classifier(x: torch.Tensor, weights: Weights) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what `Classifier` returns, and its hidden values."""
    maps = torch.nn.functional.conv2d(x, weights["conv.weight"], weights["conv.bias"])
    flat = torch.relu(maps).flatten(1)
    hidden = flat @ weights["fc1.weight"].T + weights["fc1.bias"]
    return torch.relu(hidden) @ weights["fc2.weight"].T + weights["fc2.bias"], hidden


@pytest.fixture(scope="module")
def states() -> list[Weights]:
    """Three steps of the classifier."""
    torch.manual_seed(0)
    return trained(Classifier(), *digits(96), epochs=2)


def network(states: list[Weights]) -> Any:
    return aw.Network.from_module(classifier, weights=states[-1], nodes=["hidden"])


def test_a_function_of_weights_gives_what_the_module_gives_at_every_step(
    states: list[Weights], tmp_path: Path
) -> None:
    aw.analyze(aw.open_run(write_states(tmp_path / "run", states)), tmp_path / "run.accw")
    asked = ["evaluate", "attribution:method=integrated,samples=3,points=4"]

    found = aw.probe(tmp_path / "run.accw", network(states), digits(40), asked)
    expected = aw.probe(tmp_path / "run.accw", Plain(Classifier()), digits(40), asked)

    assert found["evaluate"].proof == "verified"
    for probe, name in (("evaluate", "loss"), ("attribution", "parts")):
        pairs = found[probe].array(name), expected[probe].array(name)
        np.testing.assert_allclose(*pairs, rtol=1e-4, atol=1e-6)


def test_what_is_returned_after_the_first_result_are_nodes(states: list[Weights]) -> None:
    x = digits(5)[0]

    made = network(states).with_weights({}).run(x, ["hidden"])

    module = Classifier()
    module.load_state_dict(states[-1])
    expected = Plain(module).with_weights({}).run(x, ["fc1"])
    np.testing.assert_allclose(made["hidden"], expected["fc1"], rtol=1e-5, atol=1e-6)
    assert list(made) == ["output", "hidden"]


def test_a_function_without_weights_is_run_as_it_is() -> None:
    double = aw.Network.from_module(lambda x: 2 * x)

    bound = double.with_weights({})

    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(bound.run(x)["output"], 2 * x)
    np.testing.assert_array_equal(bound.gradient(x, ("output", 1)), [[0, 2, 0]] * 2)


def test_functions_of_other_code_are_other_networks(states: list[Weights]) -> None:
    twice, thrice = (aw.Network.from_module(f) for f in (lambda x: 2 * x, lambda x: 3 * x))

    assert network_digest(twice) != network_digest(thrice)
    assert network_digest(network(states)) == network_digest(network(states))


def test_what_a_function_cannot_do_is_said(states: list[Weights]) -> None:
    bound, x = network(states).with_weights({}), digits(2)[0]
    with pytest.raises(ArgumentValueError, match=r"such as 'hidden', can be neither replaced nor"):
        bound.patch({"hidden": lambda value: value * 0}).run(x)
    with pytest.raises(ArgumentTypeError, match="returns Tensor, Tensor; expected torch tensors"):
        aw.Network.from_module(classifier, weights=states[0]).with_weights({}).run(x)
    with pytest.raises(UnsupportedOperatorError, match="classifier cannot be computed"):
        bound.run(x[:, :, :3])
    with pytest.raises(ArgumentTypeError, match="weights and nodes are for functions"):
        aw.Network.from_module(Classifier(), weights=states[0])
