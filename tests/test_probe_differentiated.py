"""What is differentiated at each sample, and the weights that belong to units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from probe_networks import Plain, stack
from torch import nn

from accweight_core.probes.differentiated import Differentiated
from accweight_core.probes.probe import Batch
from accweight_core.probes.unit_weights import UnitWeights
from accweight_core.probes.units import UnitAxes
from accweight_core.probes.varied import Explained

X = np.random.default_rng(0).random((5, 3), np.float32)


def batch_of(bound: Any, targets: Any) -> Batch:
    return Batch(np.arange(5), {"input": X}, targets, bound.run(X))


def test_factors_choose_the_output_of_the_class_at_its_position() -> None:
    outputs = {"output": np.zeros((2, 4, 3))}
    batch = Batch(np.arange(2), {}, np.array([[0, 2, 1, 0], [1, 0, 0, 2]]), outputs)

    found = Differentiated(Explained(3, at=1), 0).factors(batch)

    expected = np.zeros((2, 4, 3))
    expected[0, 1, 2] = expected[1, 1, 0] = 1
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("at_once", [0, 2])
def test_gradients_of_samples_are_those_of_autograd_one_by_one(at_once: int) -> None:
    torch.manual_seed(0)
    module, classes = stack(3, 6, 2), np.array([0, 1, 1, 0, 1])
    bound = Plain(module).with_weights({})
    differentiated = Differentiated(Explained(2), at_once)

    found = [*differentiated.gradients(bound, batch_of(bound, classes), ["2.weight"])]

    assert differentiated.word == "output"
    assert len(found) == 5
    for x, label, own in zip(X, classes, found, strict=True):
        module.zero_grad()
        module(torch.from_numpy(x)[None])[0, label].backward()
        np.testing.assert_allclose(own["2.weight"], module[2].weight.grad, rtol=1e-5)


def test_weights_belong_to_the_units_of_their_layer_and_nodes_that_are_none_have_none() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    nodes = {"0": UnitAxes(0, (1,), 4, ()), "relu": UnitAxes(0, (1,), 4, ())}

    found = UnitWeights.of_nodes(Plain(module), nodes)

    state = {name: value.numpy() for name, value in module.state_dict().items()}
    expected = (state["0.weight"] ** 2).sum(axis=1) + state["0.bias"] ** 2
    np.testing.assert_allclose(found["0"].squares(state), expected, rtol=1e-6)
    assert found["0"].norm(state) == pytest.approx(np.sqrt(expected.sum()), rel=1e-6)
    assert found["relu"].names == ()
    assert found["relu"].norm(state) == 0
