"""Every kind of network, as both exporters of torch write it: results and gradients equal torch's.

What the newer exporter writes is in `data/zoo` (`generators/zoo_exports.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from zoo import ZOO, export, network

import accweight_core as aw
from accweight_core.errors import MissingLibraryError, UnsupportedOperatorError

Array = npt.NDArray[Any]

DATA = Path(__file__).parent / "data" / "zoo"
TOLERANCE = 5e-6
"""Of results and gradients, relative to the largest value."""


def assert_close(made: Array, expected: Array) -> None:
    assert made.shape == expected.shape
    assert np.abs(made - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.fixture(scope="module", params=list(ZOO))
def legacy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A network, its samples, and the file that the older exporter writes."""
    net, samples = network(request.param)
    path = tmp_path_factory.mktemp("zoo") / f"{request.param}.onnx"
    return net, samples, export(net, samples, path, dynamo=False)


def squares(net: Any, x: torch.Tensor) -> tuple[Array, Array]:
    """Return the output, and the gradient of the sum of its squares."""
    x = x.clone().requires_grad_()
    y = net(x)
    (gradient,) = torch.autograd.grad(y.square().sum(), x)
    return y.detach().numpy(), gradient.numpy()


def assert_network_computes(path: Path, x: Array, expected: tuple[Array, Array]) -> None:
    bound: Any = aw.Network.from_onnx(path).with_weights({})
    for _ in range(2):  # the second time from what the first has kept
        made = squares(lambda t: bound.forward({"x": t})["output"], torch.from_numpy(x))
        assert_close(made[0], expected[0])
        assert_close(made[1], expected[1])


def test_networks_of_the_older_exporter_compute_what_torch_does(legacy: Any) -> None:
    net, samples, path = legacy

    assert_network_computes(path, samples.numpy(), squares(net, samples))


@pytest.mark.parametrize("name", ZOO)
def test_networks_of_the_newer_exporter_compute_what_torch_does(name: str) -> None:
    with np.load(DATA / f"{name}.npz") as stored:
        x, y, gradient = stored["x"], stored["y"], stored["gradient"]

    assert_network_computes(DATA / f"{name}.onnx", x, (y, gradient))


def test_layers_have_the_results_of_the_modules_of_their_names(legacy: Any) -> None:
    net, samples, path = legacy
    network = aw.Network.from_onnx(path)
    modules: Any = aw.Network.from_module(net).with_weights({})
    folded = {"conv1", "conv2"} if hasattr(net, "bn1") else set()  # batch norm is in them
    called_inside = {name for name in network.layers if "attn" in name}
    names = [n for n in network.layers if n in modules.nodes and n not in folded | called_inside]

    kept = network.with_weights({}).run(samples.numpy(), keep=names)

    assert set(names) | folded | called_inside >= {n for n in network.layers if "." not in n}
    for name, expected in modules.run(samples.numpy(), keep=names).items():
        assert_close(kept[name], expected)


def test_the_runtime_gives_the_same_and_has_no_gradients(legacy: Any) -> None:
    _, samples, path = legacy
    try:
        runtime = aw.Network.from_onnx(path, engine="ort")
    except MissingLibraryError:
        pytest.skip("ONNX Runtime is not installed")
    network = aw.Network.from_onnx(path)
    weights = {name: np.full(shape, 0.01, np.float32) for name, shape in network.parameters.items()}

    own = [n.with_weights({}).run(samples.numpy(), keep=n.layers) for n in (runtime, network)]
    other = [n.with_weights(weights).run(samples.numpy()) for n in (runtime, network)]

    assert runtime.layers == network.layers
    assert runtime.parameters.keys() == network.parameters.keys()
    for made, expected in (own, other):
        for name, value in expected.items():
            np.testing.assert_allclose(made[name], value, rtol=1e-4, atol=1e-5)
    with pytest.raises(UnsupportedOperatorError, match="take the engine 'onnx'"):
        runtime.with_weights({}).gradient(samples.numpy(), ("output", 0))
