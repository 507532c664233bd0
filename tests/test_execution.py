"""Networks are run by engines: results, kept nodes, gradients and patches equal torch's own."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

import accweight_core as aw
from accweight_adapters.execution.module_network import ModuleNetwork
from accweight_adapters.execution.onnx_network import OnnxBound, OnnxNetwork
from accweight_core.errors import (
    AccweightError,
    ArgumentTypeError,
    ArgumentValueError,
    ShapeMismatchError,
    UnknownNameError,
)
from accweight_core.probes.network import BoundNetwork, TorchNetwork

Array = npt.NDArray[Any]


class SmallNet(nn.Module):
    """A convolution, pooling, and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.fc1 = nn.Linear(4 * 4 * 4, 6)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.max_pool2d(torch.relu(self.conv(x)), 2)
        result: torch.Tensor = self.fc2(torch.relu(self.fc1(x.flatten(1))))
        return result


@pytest.fixture(scope="module")
def module() -> nn.Module:
    torch.manual_seed(0)
    return SmallNet().eval()


@pytest.fixture(scope="module")
def path(module: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that torch's older exporter writes of it."""
    file = tmp_path_factory.mktemp("net") / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the exporter itself
        torch.onnx.export(
            module,
            (torch.zeros(2, 1, 8, 8),),
            file,
            dynamo=False,
            input_names=["pictures"],
            output_names=["scores"],
            dynamic_axes={"pictures": {0: "n"}, "scores": {0: "n"}},
        )
    return file


@pytest.fixture(scope="module", params=["onnx", "module"])
def bound(request: pytest.FixtureRequest, module: nn.Module, path: Path) -> Any:
    """The network by each engine, with its own weights."""
    network = aw.Network.from_onnx(path) if request.param == "onnx" else None
    return (network or aw.Network.from_module(module)).with_weights({})


@pytest.fixture(scope="module")
def pictures() -> Array:
    return np.random.default_rng(0).standard_normal((5, 1, 8, 8)).astype(np.float32)


def test_a_run_gives_what_the_module_gives(bound: Any, module: nn.Module, pictures: Array) -> None:
    expected = module(torch.from_numpy(pictures)).detach().numpy()

    made = [bound.run(pictures), bound.run(pictures)]  # the second from what the first has kept

    assert isinstance(bound, BoundNetwork)
    assert isinstance(bound, TorchNetwork)
    for results in made:
        assert list(results) == ["output"]
        np.testing.assert_allclose(results["output"], expected, rtol=1e-5, atol=1e-6)


def test_any_number_of_samples_is_run(bound: Any, pictures: Array) -> None:
    whole = bound.run(pictures, keep=["fc1"])

    for count in (1, 3):
        part = bound.run(pictures[:count], keep=["fc1"])
        np.testing.assert_allclose(part["fc1"], whole["fc1"][:count], rtol=1e-5, atol=1e-6)


def test_the_node_of_a_layer_is_its_result_before_the_activation(
    bound: Any, module: nn.Module, pictures: Array
) -> None:
    x = torch.from_numpy(pictures)

    kept = bound.run(pictures, keep=["conv", "fc1"])

    assert bound.nodes[:3] == ("conv", "fc1", "fc2")
    np.testing.assert_allclose(kept["conv"], module.conv(x).detach(), rtol=1e-5, atol=1e-6)  # type: ignore[operator]
    assert kept["fc1"].min() < 0


def test_gradients_equal_those_of_autograd(bound: Any, module: nn.Module, pictures: Array) -> None:
    x = torch.from_numpy(pictures).requires_grad_()
    (score,) = torch.autograd.grad(module(x)[:, 2].sum(), x)
    (channel,) = torch.autograd.grad(module.conv(x)[:, 1].sum(), x)  # type: ignore[operator]

    np.testing.assert_allclose(bound.gradient(pictures, ("output", 2)), score, atol=1e-6)
    np.testing.assert_allclose(bound.gradient(pictures, ("conv", 1)), channel, atol=1e-6)


def test_gradients_of_parameters_and_nodes_have_their_names(
    bound: Any, module: nn.Module, pictures: Array
) -> None:
    module.requires_grad_()
    total = module(torch.from_numpy(pictures))[:, 0].sum()
    weight = module.get_parameter("fc1.weight")
    (expected,) = torch.autograd.grad(total, weight)

    made = bound.gradient(pictures, ("output", 0), wrt=["fc1.weight", "fc1", "fc2"])

    assert set(made) == {"fc1.weight", "fc1", "fc2"}
    np.testing.assert_allclose(made["fc1.weight"], expected, atol=1e-5)
    assert made["fc1"].shape == (5, 6)
    assert made["fc2"].tolist() == [[1.0, 0.0, 0.0]] * 5


def test_what_lies_behind_a_node_has_no_gradient(bound: Any, pictures: Array) -> None:
    made = bound.gradient(pictures, ("conv", (1, 2, 3)), wrt=["fc2.weight", "fc1"])

    assert not made["fc2.weight"].any()
    assert not made["fc1"].any()
    assert made["fc1"].shape == (5, 6)


def test_a_patch_replaces_a_value_for_all_that_follows(bound: Any, pictures: Array) -> None:
    patched = bound.patch({"fc1": lambda value: value * 0 + 1}).patch({"fc1": lambda v: -v})

    made = patched.run(pictures, keep=["fc1"])

    assert (made["fc1"] == -1).all()
    np.testing.assert_allclose(made["output"], made["output"][:1].repeat(5, 0), atol=1e-6)
    assert not patched.gradient(pictures, ("output", 0)).any()
    assert bound.run(pictures)["output"].std(0).min() > 0


def test_a_run_goes_on_from_what_does_not_depend_on_a_layer(path: Path, pictures: Array) -> None:
    network = aw.Network.from_onnx(path, engine="onnx")
    own = network.with_weights({})
    for changed in own.parameters:
        other = network.with_weights({**own.parameters, changed: 2 * own.parameters[changed]})
        keep = network.layers[:1]

        beginning = own.beginning(pictures, [changed], keep)

        expected = other.run(pictures, keep)
        for name, value in other.resumed(beginning).items():
            np.testing.assert_array_equal(value, expected[name])
    last = list(own.parameters)[-1]
    assert len(own.beginning(pictures, [last]).program.steps) < len(network.program.steps)


def test_weights_are_an_argument(bound: Any, module: nn.Module, pictures: Array) -> None:
    network = bound.network
    state = {name: value.detach().numpy() * 0.5 for name, value in module.state_dict().items()}

    other = network.with_weights(state)

    halved = SmallNet()
    halved.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    expected = halved(torch.from_numpy(pictures)).detach()
    np.testing.assert_allclose(other.run(pictures)["output"], expected, atol=1e-6)
    assert set(network.parameters) == set(state)
    assert network.parameters["conv.weight"] == (4, 1, 3, 3)
    np.testing.assert_array_equal(other.parameters["fc2.bias"], state["fc2.bias"])
    assert other.proof == "not verified"
    assert other.proven("verified").proof == "verified"


def test_a_forward_pass_can_be_mapped_and_differentiated(bound: Any, pictures: Array) -> None:
    name = bound.network.inputs[0].name
    x = torch.from_numpy(pictures)

    def score(sample: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = bound.forward({name: sample[None]})["output"][0, 2]
        return result

    each = torch.func.vmap(torch.func.grad(score))(x)

    np.testing.assert_allclose(each, bound.gradient(pictures, ("output", 2)), atol=1e-6)


def test_several_checkpoints_are_run_at_once(bound: Any, pictures: Array) -> None:
    name = bound.network.inputs[0].name
    x = torch.from_numpy(pictures)
    stacked = {n: torch.stack((v, v * 0.5)) for n, v in bound.tensors.items()}

    def run(weights: dict[str, torch.Tensor]) -> torch.Tensor:
        result: torch.Tensor = bound.forward({name: x}, weights=weights)["output"]
        return result

    both = torch.func.vmap(run)(stacked)

    halved = {n: v.numpy() for n, v in stacked.items()}
    for index in range(2):
        other = bound.network.with_weights({n: v[index] for n, v in halved.items()})
        np.testing.assert_allclose(both[index], other.run(pictures)["output"], atol=1e-5)


MISTAKES = {
    "node": (lambda b, x: b.run(x, keep=["fc9"]), UnknownNameError, "no node 'fc9'"),
    "unit": (lambda b, x: b.gradient(x, ("fc1", 6)), ArgumentValueError, "there is no unit 6"),
    "input": (lambda b, x: b.run({"x9": x}), UnknownNameError, "no input 'x9'"),
    "weight": (lambda b, x: b.network.with_weights({"w": x}), UnknownNameError, "parameter 'w'"),
    "shape": (
        lambda b, x: b.network.with_weights({"fc1.bias": np.zeros(5)}),
        ShapeMismatchError,
        "fc1.bias",
    ),
    "patch": (lambda b, x: b.patch({"nope": abs}), UnknownNameError, "no node 'nope'"),
    "value": (lambda b, x: b.run(x[:, :, :4]), AccweightError, ""),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_named(bound: Any, pictures: Array, case: str) -> None:
    call, kind, text = MISTAKES[case]

    with pytest.raises(kind) as caught:
        call(bound, pictures)

    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_says_what_it_takes_and_gives(path: Path, module: nn.Module) -> None:
    network = aw.Network.from_onnx(path)

    assert isinstance(network, OnnxNetwork)
    assert isinstance(network.with_weights({}), OnnxBound)
    assert (network.engine, network.source) == ("onnx", path)
    assert [(p.name, p.shape, p.dtype) for p in network.inputs] == [
        ("pictures", (None, 1, 8, 8), "float32")
    ]
    assert [(p.name, p.dtype) for p in network.outputs] == [("scores", "float32")]
    assert network.layers == ("conv", "fc1", "fc2")
    assert isinstance(aw.Network.from_module(module), ModuleNetwork)


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match="not of int"):
        aw.Network.from_module(3)


def test_a_module_is_left_as_it_was(pictures: Array) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.BatchNorm1d(64))
    before = {name: value.clone() for name, value in module.state_dict().items()}

    made = [aw.Network.from_module(module).with_weights({}).run(pictures) for _ in range(2)]

    np.testing.assert_array_equal(made[0]["output"], made[1]["output"])
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


class Overwriting(SmallNet):
    """The same network, whose activation functions overwrite what they are given."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.max_pool2d(self.relu(self.conv(x)), 2)
        hidden = nn.functional.relu(self.fc1(x.flatten(1)), inplace=True)
        result: torch.Tensor = self.fc2(hidden)
        return result


def test_the_node_of_a_layer_is_not_what_overwrites_it(module: nn.Module, pictures: Array) -> None:
    plain = ModuleNetwork(module, ["x"]).with_weights({})
    other = Overwriting()
    other.load_state_dict(module.state_dict())
    bound, nodes = ModuleNetwork(other, ["x"]).with_weights({}), ["conv", "fc1"]

    made, wanted = bound.run(pictures, nodes), plain.run(pictures, nodes)
    gradients = bound.gradient(pictures, ("output", 1), [*nodes, "conv.weight"])

    assert wanted["fc1"].min() < 0
    for name in ("output", *nodes):
        np.testing.assert_array_equal(made[name], wanted[name])
    for name, value in plain.gradient(pictures, ("output", 1), [*nodes, "conv.weight"]).items():
        np.testing.assert_array_equal(gradients[name], value)
    assert other.relu.inplace
